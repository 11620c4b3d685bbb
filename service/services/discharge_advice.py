"""The CDS service for a patient who goes home: what to do, what to watch for, when to come back.

What may be offered is the assessment's to say; the words for the patient are knowledge (`say` in the recommendations of
kind going-home). With a critical red flag there is no message: the card says that the patient does not go home yet.
Where no reason against a medicine arrived, none is named.
Specification: CDS Hooks Library, encounter-discharge; FHIR R4 CommunicationRequest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import or_

from cds_hooks import Action, HookRequest
from service.answers.answered import Answered
from service.answers.cards import Advice, Change
from service.answers.orders import Ordering, communication_request
from service.knowledge_model.vocabulary import AT_DISCHARGE
from service.prefetch_keys import MEDICINES
from service.reasoning.assessment import Assessment, Judgement
from service.reasoning.decision import Fact
from service.reasoning.evidence import Fired
from service.reasoning.visit_limits import limits_of_variants
from service.services.evaluation import Evaluation, Evaluator

_KIND = AT_DISCHARGE


class DischargeAdvice:
    """Answers encounter-discharge; made once."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator, self._knowledge = evaluator, evaluator.knowledge
        of_chart = [r for r, _compiled in evaluator.assessor.of_chart()]
        self._told = self._knowledge.wording.facts.keys() & self._knowledge.facts_of_offers()
        self._additions = self._knowledge.additions()
        self._adding = {
            what: [r.id for r in of_chart if any(what in call.adds for call in r.treatment)] for what in self._additions
        }
        self._flagging = {
            flag: [r.id for r in of_chart if r.red_flag and r.red_flag.id == flag]
            for flag in self._knowledge.engine.at_discharge.values()
        }
        self._warning = [r.id for r in of_chart if r.indicator == "warning"]

    def answer(self, request: HookRequest) -> Answered:
        """One card; none where the chart has nothing to do with this pain."""
        evaluation = self._evaluator.evaluate(request, orders=False)
        judgement = self._judged(evaluation)
        would_change = evaluation.would_change(_KIND, [(_KIND, self._evaluator.assessor.tiers(judgement))])
        fired, topic = judgement.fired, self._knowledge.engine.topics[_KIND]
        said = evaluation.said(fired)
        words = tuple(item.recommendation.id for item in said if item.recommendation.say)
        message = tuple(_message(evaluation, said))
        advice = [Advice(topic, _KIND, _with_reasons(evaluation, fired), message, to_patient=words)]
        return evaluation.advise(
            advice if fired else (),
            [judgement],
            judged={"goingHome": {"message": bool(words)}},
            would_change=would_change,
        )

    def _judged(self, evaluation: Evaluation) -> Judgement:
        assessment = evaluation.assessment
        unknown, limits = assessment.complaint == "unknown", limits_of_variants(self._knowledge, assessment)
        unread = self._evaluator.responder.unread_values.of(evaluation.case)
        facts = {
            **self._facts_of(assessment),
            "value-not-read": assessment.so_in(self._evaluator.assessor.still_unread(assessment, unread)),
            "medicine-not-read": bool(evaluation.case.unrecognised),
            "same-day-due": assessment.fact((limit is not None and limit.days == 0, of) for limit, of in limits),
            "medicines-not-heard": evaluation.case.lacks(MEDICINES),
            "chart-not-heard": unknown,
        }
        judging = evaluation.screened(()) if unknown else evaluation
        return judging.judge(_KIND, facts)

    def _facts_of(self, assessment: Assessment) -> dict[str, Fact]:
        """What is told of what the assessment offers and raises."""
        decision = assessment.decision
        if decision is None or assessment.complaint != "present":
            return dict.fromkeys((*self._told, "assessment-due"), False)

        def says_any(ids: Iterable[str]) -> int:
            return reduce(or_, map(decision.says, ids), 0)

        found = {f"{treatment}-offered": decision.offered(treatment) for treatment in self._knowledge.engine.treatments}
        for what, treatments in self._additions.items():
            of_it, left_out = reduce(or_, map(decision.offered, treatments), 0), decision.outcome("without", what)
            found[f"{what}-offered"] = of_it & says_any(self._adding[what]) & ~left_out
            found[f"{what}-left-out"] = of_it & left_out
        found |= {name: says_any(self._flagging[flag]) for name, flag in self._knowledge.engine.at_discharge.items()}
        found = {name: variants for name, variants in found.items() if name in self._told}
        found["assessment-due"] = reduce(
            or_, (decision.says(id_) & ~decision.is_critical(id_) for id_ in self._warning), 0
        )
        return {name: assessment.so_in(variants) for name, variants in found.items()}


def _with_reasons(evaluation: Evaluation, fired: Sequence[Fired]) -> tuple[Fired, ...]:
    """What is urgent brings along what makes it so, such as the red flag that keeps the patient from going home."""
    if not fired or fired[0].indicator == "info":
        return tuple(fired)
    behind = (item for item in evaluation.assessment.fired if item.recommendation.kind in ("red-flag", "plan"))
    return (*fired, *(item for item in behind if item.indicator == fired[0].indicator))


def _message(evaluation: Evaluation, fired: Sequence[Fired]) -> Iterator[Change]:
    """The words for the patient, where there are any."""
    lines = [line for item in fired for line in item.recommendation.say]
    if not lines:
        return
    knowledge = evaluation.evaluator.knowledge
    ordering = Ordering.of(evaluation.request, evaluation.assessment.side, evaluation.now, evaluation.indication())
    request = communication_request(knowledge.message, (knowledge.message.opening, *lines), ordering)
    action = Action("create", knowledge.message.title, resource=request)
    yield Change("message", knowledge.wording.sentences["message_label"], (action,), recommended=True)
