"""The CDS service that judges draft orders of NSAIDs, aspirin, acetaminophen and corticosteroid injections.

What speaks against a medicine is the assessment's to say (its treatment holds and cautions); here it is found out what
the drafts are. A hold of an NSAID or of acetaminophen is said also where the chart is not about this pain, because it
is about the medicine; cautions, and a corticosteroid injection, are for this pain only, and then also where the
assessment offers nothing: the medicine is about to be ordered.
Specification: CDS Hooks Library, order-select and order-sign; FHIR R4 MedicationRequest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cds_hooks import Action, HookRequest
from service.answers.answered import Answered
from service.answers.cards import Advice, Change
from service.answers.orders import Ordering, medication_request
from service.chart.assertions import Assertion
from service.chart.dosage import most_in_a_day, strength_of
from service.chart.draft_orders import ContextResource
from service.chart.elements import as_dict, as_list, as_text, words_of
from service.chart.medicines import ALLERGY, Unrecognised, medicine_of
from service.knowledge_model.conditions import Interval
from service.knowledge_model.model import Recommendation, capital, label
from service.knowledge_model.vocabulary import MEDICINE_ROLES
from service.prefetch_keys import MEDICINES
from service.reasoning.assessment import Assessment, Judgement
from service.reasoning.decision import Fact
from service.reasoning.evidence import Fired
from service.services.evaluation import Evaluation, Evaluator, in_context

_KIND = "analgesic-order"
# The roles of medicines in engine.toml.
_NSAID, _ASPIRIN, _ACETAMINOPHEN, _STEROID = MEDICINE_ROLES
_ALL_NSAIDS = frozenset({_NSAID, _ASPIRIN})
# What harms by itself, whatever it was meant for, and what harms where it is given, for this pain.
_SCREENED, _GATED = (_NSAID, _ACETAMINOPHEN), (_STEROID,)
# A Liqui-Gel is swallowed, and so is whatever the product or its route calls oral.
_ON_THE_SKIN = re.compile(
    r"\b(?:topical|cream|ointment|patch|transdermal|cutaneous|ophthalmic)|(?<![\w-])gel\b(?!-?\s?cap)", re.IGNORECASE
)
_SWALLOWED = re.compile(
    r"\b(?:oral|by mouth|per os|tablet|capsule|chewable|suspension|syrup|rectal|suppositor)", re.IGNORECASE
)
_INJECTED = re.compile(r"\b(?:inject|intra-?articular|intra-?bursal|peri-?tendin|infiltrat)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Order:
    """A draft MedicationRequest, as far as this service is concerned with it."""

    draft: ContextResource
    medicines: frozenset[str]
    # Of each of them, the treatment whose reasons are about it.
    treated_as: Mapping[str, str]
    topical: bool
    # Acetaminophen that it allows in 24 hours, in grams; aspirin, in milligrams.
    a_day: float | None
    aspirin_a_day: float | None
    # Whether that is aspirin in no more than a low dose.
    low_dose: bool
    # How it is called on a card, in our words.
    title: str

    @property
    def reference(self) -> str:
        return self.draft.reference

    @property
    def aspirin(self) -> bool:
        return _ASPIRIN in self.medicines and not self.topical

    @property
    def nsaid(self) -> bool:
        """Whether the NSAID screen is about it: not about a gel, nor about aspirin in a dose that is known as low."""
        return (_NSAID in self.medicines and not self.topical) or (self.aspirin and not self.low_dose)

    @property
    def doubtful(self) -> bool:
        """Whether it counts as an NSAID for no other reason than that a dose of aspirin cannot be told."""
        return self.aspirin and self.aspirin_a_day is None and _NSAID not in self.medicines

    def treatments(self) -> frozenset[str]:
        """What of the assessment is about it."""
        return frozenset(self.treated_as[name] for name in self.medicines if self.nsaid or name not in _ALL_NSAIDS)


class _Reasons(NamedTuple):
    """What of a chart fires, and of which recommendations that may speak against a medicine."""

    assessment: Assessment
    fired: Sequence[Fired]
    recommendations: Sequence[Recommendation]


class _Judged(NamedTuple):
    """What fires for each draft, beside what of the chart."""

    evaluation: Evaluation
    unread: Sequence[Assertion]
    judgements: list[Judgement]
    of_orders: list[tuple[_Order, tuple[Fired, ...]]]


class AnalgesicSafety:
    """Answers order-select and order-sign; made once."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._index = evaluator.index
        self._roles = evaluator.knowledge.engine.medicines
        self._by_finding = {medicine.finding: role for role, medicine in self._roles.items()}
        self._called = {role: self._index.names_of(medicine.finding) for role, medicine in self._roles.items()}
        aspirin = self._roles.get(_ASPIRIN)
        low_dose = evaluator.knowledge.thresholds[aspirin.low_dose]["value"] if aspirin and aspirin.low_dose else 0
        self._low_dose = float(low_dose)
        judged = self._treatments(MEDICINE_ROLES)
        # What speaks against a medicine, or for care with it.
        self._speaking = [
            recommendation
            for recommendation, _compiled in evaluator.assessor.of_chart()
            if any(call.state != "offer" and call.id in judged for call in recommendation.treatment)
        ]
        self._held = {roles: evaluator.assessor.holding(self._treatments(roles)) for roles in (_SCREENED, _GATED)}

    def answer(self, request: HookRequest) -> Answered:
        """A card for each selected draft that something speaks against; nothing for the others."""
        orders, left_out = self._orders(request)
        if not any(order.draft.selected for order in orders):
            return self._evaluator.say_nothing(request, {"medications": [], "draftsLeftOut": left_out})
        evaluation = self._evaluator.evaluate(request, orders=False)
        judged = self._judged(evaluation, orders)
        tiers = map(self._evaluator.assessor.tiers, judged.judgements)
        would_change = evaluation.would_change(
            _KIND,
            [(order.reference, of_order) for (order, _fired), of_order in zip(judged.of_orders, tiers, strict=True)],
        )
        evaluation = judged.evaluation
        advice = [
            Advice(
                self._evaluator.knowledge.engine.topics[_KIND],
                order.reference,
                fired,
                tuple(_changes(evaluation, orders, order, fired)),
                _unread(evaluation, order, judged.unread),
                title=order.title,
            )
            for order, fired in judged.of_orders
            if fired
        ]
        return evaluation.advise(
            advice,
            judged.judgements,
            judged={
                "medications": [_entry(order, evaluation.said(fired)) for order, fired in judged.of_orders],
                "draftsLeftOut": left_out,
            },
            would_change=would_change,
        )

    def _judged(self, evaluation: Evaluation, orders: Sequence[_Order]) -> _Judged:
        # With too little known, or in an emergency, the assessment offers no medicine and names no reason against one,
        # nor for care with it. Here somebody is about to order it.
        screened = evaluation.screened(self._treatments(_SCREENED))
        reasons = [_Reasons(screened.assessment, screened.assessment.fired, self._held[_SCREENED])]
        if evaluation.assessment.complaint == "present":
            gate = evaluation.screened(self._treatments(_GATED), by_side=True).assessment
            reasons += [_Reasons(gate, gate.fired, self._held[_GATED])]
            reasons += [_Reasons(evaluation.assessment, evaluation.assessment.all_fired, self._speaking)]
        else:
            evaluation = screened
        fired_on_chart = tuple({fired.recommendation.id: fired for of in reasons for fired in of.fired}.values())
        selected = [order for order in orders if order.draft.selected]
        unread = self._evaluator.responder.unread_values.of(evaluation.case)
        judgements = [self._judge(evaluation, reasons, orders, order, unread) for order in selected]
        fired = [
            (order, (*judgement.fired, *_behind(judgement, fired_on_chart, order)))
            for order, judgement in zip(selected, judgements, strict=True)
        ]
        return _Judged(evaluation, unread, judgements, fired)

    def _judge(
        self,
        evaluation: Evaluation,
        reasons: Sequence[_Reasons],
        orders: Sequence[_Order],
        order: _Order,
        unread: Sequence[Assertion],
    ) -> Judgement:
        assessor, assessment = self._evaluator.assessor, evaluation.assessment
        present = assessment.complaint == "present"
        swallowed = [other for other in orders if other.nsaid and not other.doubtful]
        perhaps = [other for other in orders if other.nsaid]
        acetaminophen = [other for other in orders if _ACETAMINOPHEN in other.medicines]
        is_nsaid, is_acetaminophen = _NSAID in order.medicines, _ACETAMINOPHEN in order.medicines
        facts: dict[str, Fact] = {
            "nsaid-drafted": is_nsaid and not order.topical,
            "topical-nsaid-drafted": order.topical and not _ALL_NSAIDS.isdisjoint(order.medicines),
            "acetaminophen-drafted": is_acetaminophen,
            "aspirin-drafted": order.aspirin,
            "steroid-injection-drafted": _STEROID in order.medicines,
            "held-by-the-chart": assessment.so_in(self._spoken_by(reasons, order, "hold")),
            "care-needed": assessment.so_in(self._spoken_by(reasons, order, "caution")),
            "second-nsaid-drafted": _is_second(order, swallowed),
            "second-acetaminophen": is_acetaminophen
            and (
                _is_second(order, acetaminophen)
                or assessment.so_in(assessor.stated_in(assessment, *_prescribed(evaluation, _ACETAMINOPHEN, orders)))
            ),
            "nsaid-with-acetaminophen": _is_second(order, [o for o in orders if o in swallowed or o in acetaminophen])
            and bool(swallowed and acetaminophen),
            "acetaminophen-in-24-hours": _amount(order.a_day),
            "aspirin-in-24-hours": _amount(order.aspirin_a_day),
            "aspirin-of-unknown-dose": order.doubtful,
            "nsaid-beside-such-aspirin": len(perhaps) > len(swallowed) and _is_second(order, perhaps),
            "value-not-read": order.nsaid and assessment.so_in(assessor.still_unread(assessment, unread)),
            "medicine-not-read": not _ALL_NSAIDS.isdisjoint(order.medicines) and bool(_unrecognised(evaluation, order)),
            "complaint-documented": None if assessment.complaint == "unknown" else present,
            "chart-not-heard": evaluation.case.lacks(MEDICINES),
        }
        return evaluation.judge(_KIND, facts)

    def _spoken_by(self, reasons: Sequence[_Reasons], order: _Order, state: str) -> int:
        """The variants in which anything holds this order, or cautions of it; that the chart has the draft itself is no
        reason.
        """
        assessor, treatments, found = self._evaluator.assessor, order.treatments(), 0
        for recommendation in self._speaking:
            if not any(call.state == state and call.id in treatments for call in recommendation.treatment):
                continue
            rest = -1
            for of in reversed(reasons):
                if of.assessment.decision and recommendation in of.recommendations:
                    fires = rest & of.assessment.decision.fires(recommendation.id)
                    found |= fires & ~assessor.rests_on(of.assessment, recommendation, order.reference)
                    rest &= ~fires
        return found

    def _treatments(self, roles: Iterable[str]) -> frozenset[str]:
        return frozenset(self._roles[role].treatment for role in roles if role in self._roles)

    def needs_chart(self, request: HookRequest) -> bool:
        """Whether any selected draft is of a medicine that this service judges."""
        return any(order.draft.selected for order in self._orders(request)[0])

    def _orders(self, request: HookRequest) -> tuple[list[_Order], dict[str, int]]:
        """The drafts that are judged, and what of the others was left out."""
        context = in_context(request, "draftOrders")
        medications = {as_text(d.resource.get("id")): d.resource for d in context.resources if d.kind == "Medication"}
        drafts = [draft for draft in context.resources if draft.kind == "MedicationRequest"]
        medicines = [medicine_of(draft.resource, medications) for draft in drafts]
        unread = sum(not self._index.names_something(medicine) for medicine in medicines)
        named = zip(drafts, medicines, strict=True)
        orders = [order for draft, medicine in named if (order := self._order(draft, medicine))]
        # Of what medicine an order is may be said elsewhere, out of reach.
        return orders, replace(context, unreadable=context.unreadable + unread).left_out()

    def _order(self, draft: ContextResource, concept: Mapping[str, Any]) -> _Order | None:
        """None for a medicine that this service has nothing to say about."""
        known = {self._by_finding.get(row.concept) for row in self._index.rows(concept)}
        names = words_of(concept)
        routes = list(_routes(draft.resource))
        topical = _is_topical(names, routes)
        if not any(known):
            rows = self._index.named_medicines(concept, on_the_skin=True)
            known = {self._by_finding.get(row.concept) for row in rows}
        if not any(map(_INJECTED.search, (*names, *routes, *_instructions(draft.resource)))):
            known.discard(_STEROID)
        medicines = frozenset(role for role in known if role)
        if not medicines:
            return None
        names = [*(row.display for row in self._index.rows(concept)), *names]
        a_day = aspirin_a_day = None
        if _ACETAMINOPHEN in medicines:
            a_day = most_in_a_day(draft.resource, strength_of(names, self._called[_ACETAMINOPHEN]))
        if _ASPIRIN in medicines:
            grams = most_in_a_day(draft.resource, strength_of(names, self._called[_ASPIRIN]))
            aspirin_a_day = None if grams is None else round(grams * 1000, 3)
        low_dose = aspirin_a_day is not None and aspirin_a_day <= self._low_dose
        treated_as = {role: self._roles[role].treatment for role in medicines}
        title = capital(next((row.display for row in self._index.rows(concept)), "") or label(min(medicines)))
        return _Order(draft, medicines, treated_as, topical, a_day, aspirin_a_day, low_dose, title)


def _behind(judgement: Judgement, fired_on_chart: Sequence[Fired], order: _Order) -> Iterator[Fired]:
    """What of the assessment rests behind what fired for a draft."""
    named = {leaf.finding for item in judgement.fired for leaf in item.recommendation.when.leaves()}
    for fact, state in (("held-by-the-chart", "hold"), ("care-needed", "caution")):
        if fact in named:
            yield from _fired_for(fired_on_chart, order, state)


def _unrecognised(evaluation: Evaluation, order: _Order) -> tuple[Unrecognised, ...]:
    """What of the chart could not be read and may speak against it: of a gel and a low dose of aspirin, an allergy."""
    found = evaluation.case.unrecognised
    if _ALL_NSAIDS.isdisjoint(order.medicines) or order.nsaid:
        return found
    return tuple(one for one in found if one.kind == ALLERGY)


def _unread(evaluation: Evaluation, order: _Order, unread: Sequence[Assertion]) -> tuple[str, ...]:
    responder = evaluation.evaluator.responder
    values = responder.unread(unread, evaluation.now) if order.nsaid else ()
    return (*values, *responder.unrecognised(_unrecognised(evaluation, order), evaluation.now))


def _amount(a_day: float | None) -> Interval | None:
    return None if a_day is None else Interval(a_day, a_day)


def _is_topical(names: Sequence[str], routes: Sequence[str]) -> bool:
    """Whether it is put on the skin: as its routes say, otherwise as its names do. Where they disagree it is not."""
    for texts in (routes, names):
        if any(map(_SWALLOWED.search, texts)):
            return False
        if any(map(_ON_THE_SKIN.search, texts)):
            return True
    return False


def _instructions(resource: Mapping[str, Any]) -> Iterator[str]:
    for instruction in map(as_dict, as_list(resource.get("dosageInstruction"))):
        yield as_text(instruction.get("text"))


def _routes(resource: Mapping[str, Any]) -> Iterator[str]:
    """The words of route and method. Those of the instruction may be about something else: "stop the gel"."""
    for instruction in map(as_dict, as_list(resource.get("dosageInstruction"))):
        yield from words_of(instruction.get("route"))
        yield from words_of(instruction.get("method"))


def _fired_for(fired_on_chart: Sequence[Fired], order: _Order, state: str) -> list[Fired]:
    """What of the assessment holds or cautions this order; that the chart has the draft itself is no reason."""
    treatments = order.treatments()
    return [
        fired
        for fired in fired_on_chart
        if any(call.state == state and call.id in treatments for call in fired.recommendation.treatment)
        and not (fired.evidence and all(item.resource == order.reference for item in fired.evidence))
    ]


def _prescribed(evaluation: Evaluation, role: str, orders: Sequence[_Order]) -> tuple[str, bool]:
    """The finding that a medicine is in use, and whether the chart says so beside these drafts."""
    drafted = {order.reference for order in orders}
    medicine = evaluation.evaluator.knowledge.engine.medicines.get(role)
    if medicine is None:
        return "", False
    return medicine.finding, any(
        assertion.value is True and assertion.resource not in drafted
        for assertion in evaluation.case.assertions.get(medicine.finding, ())
    )


def _is_second(order: _Order, alike: Sequence[_Order]) -> bool:
    """Whether there is another one, of which this one is to say so: the last that was selected, once for all."""
    selected = [other for other in alike if other.draft.selected]
    return len(alike) > 1 and bool(selected) and order is selected[-1]


def _changes(
    evaluation: Evaluation, orders: Sequence[_Order], order: _Order, fired: Sequence[Fired]
) -> Iterator[Change]:
    """To take the draft away, and where acetaminophen can be offered for this pain, to put that in its place."""
    changes = {item.recommendation.change for item in fired}
    if changes == {""} or not order.draft.can_be_named:
        return
    knowledge, assessment = evaluation.evaluator.knowledge, evaluation.assessment
    sentences = knowledge.wording.sentences
    delete = Action("delete", sentences["remove_label"], resource_id=order.reference)
    instead = knowledge.engine.medicines.get(_ACETAMINOPHEN)
    states = {call.id: call.state for call in assessment.treatment}
    _finding, prescribed = _prescribed(evaluation, _ACETAMINOPHEN, orders)
    in_use = prescribed or any(_ACETAMINOPHEN in o.medicines for o in orders)
    template = None
    if "replace" in changes and not in_use and instead and states.get(instead.treatment) == "offer":
        template = knowledge.medicines.get(instead.order)
    # What is recommended is decided by all that fires; what is muted is left out of it.
    changing = {item.recommendation.id: item.recommendation.change for item in fired if item.recommendation.change}
    if template and instead and instead.treatment in evaluation.spoken().offered():
        ordering = Ordering.of(
            evaluation.request,
            assessment.side,
            evaluation.now,
            evaluation.indication(),
            (item.resource for each in evaluation.said(fired) for item in each.evidence),
        )
        create = Action("create", template.title, resource=medication_request(template, ordering))
        label = knowledge.wording.say("replace_label", title=template.title)
        replacing = frozenset(id_ for id_, change in changing.items() if change == "replace")
        yield Change("replace", label, (create, delete), recommended=True, stands_on=(replacing,))
    # Aspirin may be for heart or vessels, which an order need not say: to take it away is no recommendation.
    recommended = not template and _ASPIRIN not in order.medicines
    yield Change("remove", sentences["remove_label"], (delete,), recommended, stands_on=(frozenset(changing),))


def _entry(order: _Order, fired: Sequence[Fired]) -> dict[str, Any]:
    """One order in the extension: what it is taken for and what came of it."""
    own = [item for item in fired if item.recommendation.kind == _KIND]
    evidence = [name for item in fired if item not in own for name in item.findings()]
    entry = {
        "reference": order.reference,
        "medicines": sorted(order.medicines),
        "topical": order.topical,
        **({} if order.a_day is None else {"acetaminophenInADay": order.a_day}),
        **({} if order.aspirin_a_day is None else {"aspirinInADay": order.aspirin_a_day}),
        "recommendations": [item.recommendation.id for item in own],
        "because": list(dict.fromkeys(evidence)),
    }
    # A response holds no empty array.
    return {name: value for name, value in entry.items() if value != []}
