"""The CDS service for a patient who goes home: what to do, what to watch for, when to come back.

What may be offered is the assessment's to say; the words for the patient are knowledge (`say` in the recommendations of
kind going-home). With a critical red flag there is no message: the card says that the patient does not go home yet.
Where no reason against a medicine arrived, none is named.
Specification: CDS Hooks Library, encounter-discharge; FHIR R4 CommunicationRequest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cds_hooks import Action, HookRequest
from service.answers.answered import Answered
from service.answers.cards import Advice, Change
from service.answers.orders import Ordering, communication_request
from service.knowledge_model.conditions import Value
from service.knowledge_model.vocabulary import AT_DISCHARGE
from service.prefetch_keys import MEDICINES
from service.reasoning.assessment import Judgement
from service.reasoning.evidence import Fired
from service.reasoning.visit_limits import read_for_limits
from service.services.evaluation import Evaluation, Evaluator

_KIND = AT_DISCHARGE
# What is read of the chart, of what an answer can change.
_TERMS = frozenset({"tier", "flag", "offer", "hold", "without"})


class DischargeAdvice:
    """Answers encounter-discharge; made once."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator, assessor = evaluator, evaluator.assessor
        kernel, knowledge = assessor.kernel, evaluator.knowledge
        adds = (r for r in knowledge.recommendations if any(call.adds for call in r.treatment))
        self._read = frozenset(
            (
                *assessor.read_by(assessor.by_kind[_KIND]),
                *read_for_limits(knowledge, kernel),
                *((place,) for (term, _name), place in kernel.outcome.items() if term in _TERMS),
                *((kernel.recommendations[r.id].holds,) for r in adds),
            )
        )

    def answer(self, request: HookRequest) -> Answered:
        """One card; none where the chart has nothing to do with this pain."""
        evaluation = self._evaluator.evaluate(request, orders=False)
        judgement = self._judged(evaluation)
        would_change = evaluation.would_change(
            _KIND, lambda other: [(_KIND, self._judged(other).fired)], lambda decision: decision.read(self._read)
        )
        fired, topic = judgement.fired, self._evaluator.knowledge.engine.topics[_KIND]
        words = [line for item in fired for line in item.recommendation.say]
        advice = [Advice(topic, _KIND, _with_reasons(evaluation, fired), tuple(_message(evaluation, fired)))]
        return evaluation.advise(
            advice if fired else (),
            [judgement],
            judged={"goingHome": {"message": bool(words)}},
            would_change=would_change,
        )

    def _judged(self, evaluation: Evaluation) -> Judgement:
        assessment = evaluation.assessment
        offered = assessment.offered()
        without = {what for call in assessment.treatment for what in call.without}
        added = {what for f in assessment.fired for call in f.recommendation.treatment for what in call.adds}
        unknown, limit = assessment.complaint == "unknown", evaluation.limit()
        flags = {flag.id for f in assessment.fired if (flag := f.recommendation.red_flag)}
        knowledge = self._evaluator.knowledge
        facts: dict[str, Value] = {
            f"{treatment}-offered": treatment in offered for treatment in knowledge.engine.treatments
        }
        for what, treatments in knowledge.additions().items():
            of_it = not treatments.isdisjoint(offered)
            facts |= {
                f"{what}-offered": of_it and what in added - without,
                f"{what}-left-out": of_it and what in without,
            }
        facts |= {name: flag in flags for name, flag in knowledge.engine.at_discharge.items()}
        facts = {name: fact for name, fact in facts.items() if name in knowledge.wording.facts}
        facts |= {
            "value-not-read": bool(self._evaluator.responder.unread_values.of(evaluation.case)),
            "medicine-not-read": bool(evaluation.case.unrecognised),
            "assessment-due": any(f.indicator == "warning" for f in assessment.fired),
            "same-day-due": limit is not None and limit.days == 0,
            "medicines-not-heard": evaluation.case.lacks(MEDICINES),
            "chart-not-heard": unknown,
        }
        judging = evaluation.screened(()) if unknown else evaluation
        return judging.judge(_KIND, facts)


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
