"""The CDS service that judges draft orders of NSAIDs, acetaminophen and corticosteroid injections.

What speaks against a medicine is the assessment's to say (its treatment holds and cautions); here it is found out what
the drafts are. A hold of an NSAID or of acetaminophen is said also where the chart is not about this pain, because it
is about the medicine; a corticosteroid injection is judged for this pain only.
Specification: CDS Hooks Library, order-select and order-sign; FHIR R4 MedicationRequest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cds_hooks import Action, HookRequest, HookResponse
from service.answers.cards import Advice, Change
from service.answers.orders import Ordering, medication_request
from service.chart.dosage import most_in_a_day
from service.chart.drafts import Draft, in_hand
from service.chart.statements import as_dict, as_list, as_text, medicine_of
from service.guideline.conditions import Interval, Value
from service.reasoning.assessment import Fired
from service.services.consultation import Consultant, Consultation

ID = "analgesic-safety"
_KIND = _TOPIC = "analgesic-order"
_NSAID, _ACETAMINOPHEN, _STEROID = "nsaid-medicine", "acetaminophen-medicine", "steroid-injection-medicine"
# Medicine -> the treatment whose holds are about it.
_TREATMENTS = {_NSAID: "nsaid", _ACETAMINOPHEN: "acetaminophen", _STEROID: "corticosteroid-injection"}
# What harms by itself, whatever it was meant for.
_SCREENED = frozenset({"nsaid", "acetaminophen"})
_ON_THE_SKIN = re.compile(r"\b(?:topical|gel|cream|ointment|patch|transdermal|cutaneous|ophthalmic)", re.IGNORECASE)
_INJECTED = re.compile(r"\b(?:inject|intra-?articular|intra-?bursal|peri-?tendin|infiltrat)", re.IGNORECASE)
_STRENGTH = re.compile(r"(\d+(?:\.\d+)?) ?MG (?:\w+ )*(?:Tablet|Capsule)", re.IGNORECASE)
_KEYS = ("conditions", "observations", "medications", "allergies")


@dataclass(frozen=True, slots=True)
class _Order:
    """A draft MedicationRequest, as far as this service is concerned with it."""

    draft: Draft
    medicines: frozenset[str]
    topical: bool
    # Acetaminophen that it allows in 24 hours, in grams.
    a_day: float | None

    @property
    def reference(self) -> str:
        return self.draft.reference

    def treatments(self) -> frozenset[str]:
        """What of the assessment is about it: the screen is for what is swallowed or injected, not for a gel."""
        return frozenset(_TREATMENTS[name] for name in self.medicines if not (self.topical and name == _NSAID))


class AnalgesicSafety:
    """Answers order-select and order-sign; made once."""

    def __init__(self, consultant: Consultant) -> None:
        self._consultant = consultant
        self._index = consultant.index

    def answer(self, request: HookRequest) -> HookResponse:
        """A card for each selected draft that something speaks against; nothing for the others."""
        hand = in_hand(request, "draftOrders")
        medications = {as_text(d.resource.get("id")): d.resource for d in hand.drafts if d.kind == "Medication"}
        orders = [
            order
            for draft in hand.drafts
            if draft.kind == "MedicationRequest" and (order := self._order(draft, medications))
        ]
        consultation = self._consultant.consult(request)
        # With too little known, or in an emergency, the assessment offers no medicine and names no reason against one.
        # Here somebody is about to order it.
        screened = consultation.screened(_SCREENED)
        reasons = (*consultation.assessment.fired, *screened.assessment.fired)
        said = tuple({fired.recommendation.id: fired for fired in reasons}.values())
        if consultation.assessment.complaint != "present":
            consultation = screened
        judged = [(order, _judge(consultation, said, orders, order)) for order in orders if order.draft.selected]
        advice = [
            Advice(_TOPIC, order.reference, fired, tuple(_changes(consultation, orders, order, fired)))
            for order, fired in judged
            if fired
        ]
        return consultation.advise(
            advice,
            judged={
                "medications": [_entry(order, fired) for order, fired in judged],
                "draftsLeftOut": hand.left_out(),
            },
        )

    def _order(self, draft: Draft, medications: Mapping[str, Mapping[str, Any]]) -> _Order | None:
        """None for a medicine that this service has nothing to say about."""
        concept = medicine_of(draft.resource, medications)
        known = {row.concept for row in self._index.rows(concept)}
        said = [as_text(as_dict(concept).get("text"))]
        said += [as_text(as_dict(coding).get("display")) for coding in as_list(as_dict(concept).get("coding"))]
        given = [*said, *_routes(draft.resource)]
        topical = any(map(_ON_THE_SKIN.search, given))
        if known.isdisjoint(_TREATMENTS):
            known = {row.concept for row in self._index.named_medicines(concept, on_the_skin=True)}
        if not any(map(_INJECTED.search, given)):
            known.discard(_STEROID)
        medicines = frozenset(known & _TREATMENTS.keys())
        if not medicines:
            return None
        display = [row.display for row in self._index.rows(concept)]
        strength = next(
            (float(found[1]) / 1000 for text in (*display, *said) if (found := _STRENGTH.search(text))), None
        )
        a_day = most_in_a_day(draft.resource, strength) if _ACETAMINOPHEN in medicines else None
        return _Order(draft, medicines, topical, a_day)


def _judge(
    consultation: Consultation, said: Sequence[Fired], orders: Sequence[_Order], order: _Order
) -> tuple[Fired, ...]:
    """What fires for this draft, followed by what of the assessment it rests on."""
    holds, cares = _said_of(said, order, "hold"), _said_of(said, order, "caution")
    present = consultation.assessment.complaint == "present"
    swallowed = [other for other in orders if _NSAID in other.medicines and not other.topical]
    acetaminophen = [other for other in orders if _ACETAMINOPHEN in other.medicines]
    prescribed = _prescribed(consultation, _ACETAMINOPHEN, orders)
    is_nsaid, is_acetaminophen = _NSAID in order.medicines, _ACETAMINOPHEN in order.medicines
    facts: dict[str, Value] = {
        "nsaid-drafted": is_nsaid and not order.topical,
        "topical-nsaid-drafted": is_nsaid and order.topical,
        "acetaminophen-drafted": is_acetaminophen,
        "steroid-injection-drafted": _STEROID in order.medicines,
        "held-by-the-chart": bool(holds),
        "care-needed": bool(cares),
        "second-nsaid-drafted": _is_second(order, swallowed),
        "second-acetaminophen": is_acetaminophen and (prescribed or _is_second(order, acetaminophen)),
        "nsaid-with-acetaminophen": _is_second(order, [o for o in orders if o in swallowed or o in acetaminophen])
        and bool(swallowed and acetaminophen),
        "acetaminophen-in-24-hours": None if order.a_day is None else Interval(order.a_day, order.a_day),
        "complaint-documented": present,
        "chart-not-heard": consultation.case.unheard(_KEYS),
    }
    fired = consultation.judge(_KIND, facts)
    named = {leaf.finding for item in fired for leaf in item.recommendation.when.leaves()}
    behind = (*(holds if "held-by-the-chart" in named else ()), *(cares if "care-needed" in named else ()))
    return (*fired, *behind)


def _routes(resource: Mapping[str, Any]) -> Iterator[str]:
    """The words of route, method and instruction, which say whether it is put on the skin or injected."""
    for instruction in map(as_dict, as_list(resource.get("dosageInstruction"))):
        yield as_text(instruction.get("text"))
        for concept in (as_dict(instruction.get("route")), as_dict(instruction.get("method"))):
            yield as_text(concept.get("text"))
            yield from (as_text(as_dict(coding).get("display")) for coding in as_list(concept.get("coding")))


def _said_of(said: Sequence[Fired], order: _Order, state: str) -> list[Fired]:
    """What of the assessment holds or cautions this order; that the chart has the draft itself is no reason."""
    treatments = order.treatments()
    return [
        fired
        for fired in said
        if any(call.state == state and call.id in treatments for call in fired.recommendation.treatment)
        and not (fired.evidence and all(item.resource == order.reference for item in fired.evidence))
    ]


def _prescribed(consultation: Consultation, medicine: str, orders: Sequence[_Order]) -> bool:
    drafted = {order.reference for order in orders}
    return any(
        statement.value is True and statement.resource not in drafted
        for statement in consultation.case.statements.get(medicine, ())
    )


def _is_second(order: _Order, alike: Sequence[_Order]) -> bool:
    """Whether there is another one, of which this one is to say so: the last that was selected, once for all."""
    selected = [other for other in alike if other.draft.selected]
    return len(alike) > 1 and bool(selected) and order is selected[-1]


def _changes(
    consultation: Consultation, orders: Sequence[_Order], order: _Order, fired: Sequence[Fired]
) -> Iterator[Change]:
    """To take the draft away, and where acetaminophen can be offered for this pain, to put that in its place."""
    changes = {item.recommendation.change for item in fired}
    if changes == {""} or not order.draft.can_be_named:
        return
    guideline, assessment = consultation.consultant.guideline, consultation.assessment
    sentences = guideline.wording.sentences
    delete = Action("delete", sentences["remove_label"], resource_id=order.reference)
    states = {call.id: call.state for call in assessment.treatment}
    in_use = _prescribed(consultation, _ACETAMINOPHEN, orders) or any(_ACETAMINOPHEN in o.medicines for o in orders)
    replaces = "replace" in changes and states.get("acetaminophen") == "offer" and not in_use
    if replaces:
        template = guideline.medicines["acetaminophen"]
        ordering = Ordering.of(
            consultation.request,
            assessment.side,
            consultation.now,
            fired[0].recommendation.title,
            (item.resource for each in fired for item in each.evidence),
        )
        create = Action("create", template.title, resource=medication_request(template, ordering))
        label = sentences["replace_label"].format(title=template.title)
        yield Change("replace", label, (delete, create), recommended=True)
    yield Change("remove", sentences["remove_label"], (delete,), recommended=not replaces)


def _entry(order: _Order, fired: Sequence[Fired]) -> dict[str, Any]:
    """One order in the extension: what it is taken for and what came of it."""
    own = [item for item in fired if item.recommendation.kind == _KIND]
    grounds = [name for item in fired if item not in own for name in item.findings()]
    return {
        "reference": order.reference,
        "medicines": sorted(_TREATMENTS[name] for name in order.medicines),
        "topical": order.topical,
        **({} if order.a_day is None else {"acetaminophenInADay": order.a_day}),
        "recommendations": [item.recommendation.id for item in own],
        "because": list(dict.fromkeys(grounds)),
    }
