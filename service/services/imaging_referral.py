"""The CDS service that judges draft imaging orders of hip, pelvis, thigh, lumbar spine and sacroiliac joint.

What is held of each draft is the reasoning's to say (draft_imaging.py); here it becomes advice. A draft that is
appropriate gets no card.
Specification: CDS Hooks Library, order-select and order-sign; Argonaut CDS Hooks for PAMA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from cds_hooks import Action, HookRequest, SystemAction
from service.answers.answered import Answered
from service.answers.cards import Advice, Change, order_label
from service.chart.draft_orders import HookContext, as_written
from service.chart.elements import as_list
from service.chart.orders import Order
from service.knowledge_model.model import capital
from service.knowledge_model.vocabulary import INDICATORS
from service.reasoning.draft_imaging import (
    APPROPRIATE,
    CANNOT_TELL,
    CT,
    KIND,
    MRI,
    USUALLY_NOT,
    WORK_UP,
    DraftImaging,
    DraftOrder,
    JudgedDrafts,
    JudgedOrder,
    Proposal,
    RatedOrder,
    WorkUp,
)
from service.reasoning.order_matching import Applicable, Call
from service.services.evaluation import Evaluation, Evaluator, in_context

_PAMA = "http://fhir.org/argonaut/Extension/pama-rating"
_PAMA_CONSULT = f"{_PAMA}-consult-id"
_PAMA_SYSTEM = "http://fhir.org/argonaut/CodeSystem/pama-rating"
_PAMA_CODES = {APPROPRIATE: "appropriate", "may-be-appropriate": "appropriate", USUALLY_NOT: "not-appropriate"}
_RATING_SYSTEM = "https://sitbone.example.org/fhir/CodeSystem/imaging-ratings"
# What the programme behind that annotation is about; radiographs and ultrasound are not.
_ADVANCED = frozenset({MRI, CT})


class ImagingReferral:
    """Answers order-select and order-sign; made once. `annotates`: whose orders get the PAMA annotation, by client."""

    def __init__(self, evaluator: Evaluator, annotates: Callable[[str | None], bool]) -> None:
        self._evaluator, self._annotates = evaluator, annotates
        self._imaging = DraftImaging(evaluator.assessor)

    def needs_chart(self, request: HookRequest) -> bool:
        """Whether any selected draft may be imaging of this complaint, or an order that a red flag calls for."""
        return any(map(self._is_concerned, self._drafts(in_context(request, "draftOrders"))))

    def _drafts(self, context: HookContext) -> list[DraftOrder]:
        order = self._evaluator.orders.order
        drafts = (draft for draft in context.resources if draft.kind == "ServiceRequest")
        return [DraftOrder(draft, order(draft.resource, draft.reference)) for draft in drafts]

    def _is_concerned(self, one: DraftOrder) -> bool:
        if not one.draft.selected:
            return False
        if one.order.referral or one.order.region:
            return True
        return not (one.order.elsewhere or self._evaluator.orders.is_unrelated(one.draft.resource))

    def answer(self, request: HookRequest) -> Answered:
        """A card for each selected draft that something is to be said about; the rating of each in the extension."""
        context = in_context(request, "draftOrders")
        drafts = self._drafts(context)
        if not any(map(self._is_concerned, drafts)):
            return self._evaluator.say_nothing(request, _members(context, (), drafts))
        evaluation = self._evaluator.evaluate(request)
        judged = self._imaging.judge(evaluation.case, evaluation.assessment, drafts, evaluation.on_chart)
        if not judged.rated:
            # Nothing would say that a red flag may stand in what did not arrive.
            evaluation.require_chart()
        tiers = self._imaging.tiers(evaluation.assessment, drafts, evaluation.on_chart, judged)
        would_change = evaluation.would_change(KIND, tiers)
        advising = _Advising(evaluation, drafts)
        advice = [*map(advising.of_draft, judged.orders), *map(advising.of_work_up, judged.work_ups)]
        annotates = request.hook == "order-sign" and self._annotates(request.client)
        return evaluation.advise(
            sorted(advice, key=lambda one: INDICATORS.index(one.fired[0].indicator)),
            judged.judgements,
            judged=_members(context, judged.rated, drafts),
            would_change=would_change,
            system_actions=tuple(_annotations(request, judged, self._evaluator)) if annotates else (),
        )


def _members(context: HookContext, rated: Iterable[RatedOrder], drafts: Iterable[DraftOrder]) -> dict[str, Any]:
    return {
        "orders": [_entry(one) for one in rated],
        "draftsLeftOut": context.left_out(),
        "notRecognised": sum(not one.recognised for one in drafts),
    }


class _Advising:
    """What is said of the drafts of one call, in the words of the knowledge."""

    def __init__(self, evaluation: Evaluation, drafts: Sequence[DraftOrder]) -> None:
        self.evaluation, self.drafts = evaluation, drafts
        self.knowledge = evaluation.evaluator.knowledge
        self.words, self.topic = self.knowledge.wording, self.knowledge.engine.topics[KIND]
        spoken = evaluation.spoken()
        calls: tuple[Call, ...] = (*spoken.imaging, *spoken.referrals)
        self._called = {call.key: call for call in calls}
        self._fired = {fired.recommendation.id: fired for fired in spoken.fired}

    def of_draft(self, judged: JudgedOrder) -> Advice:
        """The advice about a draft."""
        notes = (*self._notes(judged.rated), *self._elsewhere(judged.elsewhere))
        reference = judged.rated.order.reference
        title = self._title(judged.rated.order)
        return Advice(self.topic, reference, judged.fired, tuple(self._changes(judged)), notes, title=title)

    def of_work_up(self, work_up: WorkUp) -> Advice:
        """The advice about what red flags call for beside the drafts."""
        changes = tuple(
            self._addition(proposal, recommended=number == 0) for number, proposal in enumerate(work_up.proposals)
        )
        notes = (*self._not_recognised(), *self._elsewhere(work_up.elsewhere))
        return Advice(self.topic, WORK_UP, work_up.fired, changes, notes, several=True)

    # -- notes --------------------------------------------------------------------------------------------------------

    def _notes(self, one: RatedOrder) -> Iterator[str]:
        title = self._title(one.order)
        if one.by:
            # What is usually not appropriate is so as the first test, and not after the radiograph.
            after = one.radiograph_first is not None and one.by[1].rating != USUALLY_NOT
            yield self._say_rating(title, one.by, after_radiograph=after)
        elif one.because == "another-region":
            yield self.words.say("another_region", title=title)
        shown = one.done is not None and one.done not in self.evaluation.on_chart.done
        for sentence, order in (
            ("already_ordered", one.placed),
            ("already_shown" if shown else "already_done", one.done),
        ):
            if order:
                date = self.evaluation.evaluator.responder.date_of(order, self.evaluation.now)
                yield self.words.say(sentence, title=title, date=date)

    def _elsewhere(self, calls: Iterable[Call]) -> Iterator[str]:
        for call in (each for each in calls if each.key in self._called):
            title = self.knowledge.orders[call.key].title
            yield self.words.say("proposed_elsewhere", title=title)

    def _not_recognised(self) -> Iterator[str]:
        if count := sum(not one.recognised for one in self.drafts):
            yield self.words.say("not_recognised", count=count)

    def _say_rating(self, title: str, by: Applicable, *, after_radiograph: bool) -> str:
        """The rating of a draft; where a radiograph comes first, that it is the one after it."""
        presentation, rating = by
        say = self.words.say
        source = [
            say("criteria", publisher=presentation.publisher, topic=presentation.topic, year=presentation.year)
            if presentation.publisher
            else self.words.sentences["own_judgement"]
        ]
        if rating.score is not None:
            source.append(say("score", score=rating.score))
        if rating.radiation is not None:
            source.append(say("radiation", level=rating.radiation))
        return say(
            "rated_after_radiograph" if after_radiograph else "rated",
            title=title,
            rating=self.knowledge.rating_words[rating.rating],
            presentation=presentation.presentation,
            source=", ".join(source),
        )

    def _title(self, order: Order) -> str:
        template = self.knowledge.orders.get(order.key)
        return template.title if template else self.words.topics[self.topic].display

    # -- suggestions --------------------------------------------------------------------------------------------------

    def _changes(self, judged: JudgedOrder) -> Iterator[Change]:
        """What the clinician may do at once: order what comes first, put another order in its place or take it away.
        Whoever keeps it overrides the card, with a reason. What to ask stands in its text.
        """
        sentences, each_of_them = self.words.sentences, tuple(frozenset({f.recommendation.id}) for f in judged.fired)
        if judged.first:
            yield self._addition(judged.first, recommended=True)
        remove = sentences["remove_label"]
        delete = Action("delete", remove, resource_id=judged.rated.order.reference) if judged.can_go else None
        if delete and judged.instead:
            if not (instead := self._spoken(judged.instead)):
                return
            create = self.evaluation.order(instead.call, instead.side, instead.behind)
            label = self.words.say("replace_label", title=create.description)
            yield Change("replace", label, (create, delete), True, proposes=instead.call.key, stands_on=each_of_them)
        elif delete and judged.removable:
            yield Change("remove", remove, (delete,), recommended=True, stands_on=each_of_them)

    def _spoken(self, proposal: Proposal) -> Proposal | None:
        """The proposal by what is not muted: where another recommendation calls for the same, by that one."""
        if self.evaluation.said([proposal.behind]):
            return proposal
        call = self._called.get(proposal.call.key)
        if call is None or proposal.behind.recommendation.kind == KIND:
            return None
        return Proposal(call, proposal.side, self._fired[call.recommendation])

    def _addition(self, proposal: Proposal, *, recommended: bool) -> Change:
        spoken = self._spoken(proposal)
        told = spoken or proposal
        create = self.evaluation.order(told.call, told.side, told.behind)
        label = order_label(self.knowledge, create.description, told.call.priority)
        key = proposal.call.key
        stands_on = () if spoken else (frozenset({proposal.behind.recommendation.id}),)
        return Change(f"add-{key}", label, (create,), recommended, proposes=key, stands_on=stands_on)


def _entry(one: RatedOrder) -> dict[str, Any]:
    """A draft for the assessment in the extension."""
    order = one.order
    entry: dict[str, Any] = {
        "reference": order.reference,
        "modality": order.modality,
        **({"region": order.region} if order.region else {}),
        "side": "unspecified" if order.sides_differ else order.side or "unspecified",
        "rating": one.rating,
        "because": one.because,
    }
    if one.by:
        presentation, rating = one.by
        entry["variant"] = {
            "id": presentation.id,
            "topic": " ".join(filter(None, (presentation.publisher, presentation.topic))),
            "year": presentation.year,
            "rating": rating.rating,
            "evidence": list(presentation.evidence),
            "verified": presentation.verified,
            **({"score": rating.score} if rating.score is not None else {}),
            **({"radiation": rating.radiation} if rating.radiation is not None else {}),
        }
    return entry


def _annotations(request: HookRequest, judged: JudgedDrafts, evaluator: Evaluator) -> Iterator[SystemAction]:
    """Each order as it came, with its rating in the words of the Argonaut guide; what cannot be told has none.

    It stands on published criteria where any hold, whatever a judgement of this knowledge makes of the order.
    """
    written = as_written(request.context.get("draftOrders")) if judged.rated else {}
    for one in judged.rated:
        if one.rating == CANNOT_TELL or one.order.modality not in _ADVANCED or not one.drafted.draft.can_be_named:
            continue
        rated = one.published[1].rating if one.published else one.rating
        code = _PAMA_CODES[rated] if one.published else "no-criteria-apply"
        resource = written.get(one.drafted.draft.place, {})
        given = as_list(resource.get("extension"))
        kept = [it for it in given if not (isinstance(it, dict) and it.get("url") in (_PAMA, _PAMA_CONSULT))]
        consult = evaluator.responder.ids.of(request.hook_instance, request.patient_id, str(one.order.reference))
        rating = {"coding": [{"system": _PAMA_SYSTEM, "code": code}, {"system": _RATING_SYSTEM, "code": rated}]}
        added = [
            {"url": _PAMA, "valueCodeableConcept": rating},
            {"url": _PAMA_CONSULT, "valueUri": f"urn:uuid:{consult}"},
        ]
        try:
            words = capital(evaluator.knowledge.rating_words[rated])
            yield SystemAction("update", words, {**resource, "extension": [*kept, *added]})
        except ValueError:
            # A draft with a null in it, or one nested too deeply, cannot be sent back as it came.
            continue
