"""What would change the card of a draft order, an appointment or a discharge: exact, and read from the one decision."""

import json
import random
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_hooks.request import read_envelope, request_for
from service.answers.cards import Advice
from service.knowledge_model.conditions import Interval
from service.knowledge_model.vocabulary import INDICATORS
from service.reasoning.decision import ones
from service.services.evaluation import Evaluation, Evaluator
from service.services.registry import services_by
from tests.charts import CLOCK, build_request, packaged

FIXTURES = Path(__file__).parents[1] / "fixtures"
CARDS_OF = {
    "imaging-referral-sign": "order-sign",
    "imaging-referral": "order-select",
    "analgesic-safety-sign": "order-sign",
    "appointment-timing": "appointment-book",
    "discharge-advice": "encounter-discharge",
}


@cache
def registry() -> Any:
    return services_by(Evaluator(packaged(), lambda: CLOCK))


def told(service: str, body: bytes, *, with_cards: bool = True) -> list[dict[str, Any]]:
    """What the service says would change its cards about a request."""
    of = registry().find(service, CARDS_OF[service])
    answered = of.answer(request_for(read_envelope(body), of, correlation_id="test"))
    assert answered.has_cards() or not with_cards
    return list(answered.extension.get("wouldChange", ()))


def with_cards() -> list[tuple[str, Path]]:
    """The fixtures of these services that have a card about a chart with this complaint."""
    found = []
    for path in sorted((FIXTURES / "responses").rglob("*.json")):
        body, service = json.loads(path.read_text("utf-8")), path.parent.name
        has_cards = service in CARDS_OF and body.get("cards")
        if has_cards and body["extension"]["org.sitbone.assessment"]["complaint"] == "present":
            found.append((service, FIXTURES / "requests" / path.relative_to(FIXTURES / "responses")))
    return found


def urgency(advice: Sequence[Advice]) -> dict[str, int]:
    """How urgent each card is, by what it is about; the lower the more urgent."""
    return {each.about: INDICATORS.index(each.fired[0].indicator) for each in advice}


def becomes_of(about: str, before: dict[str, int], after: dict[str, int]) -> str:
    """What a chart with one answer more makes of a card."""
    new = min((after[other] for other in after.keys() - before.keys()), default=len(INDICATORS))
    if after.get(about, new) < before[about]:
        return "raisedBy"
    return "" if about in after else "removedBy"


@pytest.mark.parametrize(("service", "path"), with_cards(), ids=lambda of: getattr(of, "stem", of))
def test_each_card_becomes_what_a_whole_assessment_of_the_answered_chart_makes_of_it(
    monkeypatch: pytest.MonkeyPatch, service: str, path: Path
) -> None:
    hold_against_whole_assessments(monkeypatch, service, path.read_bytes(), answers=20)


# What an answer adds to the evidence is news, or of both sides, also where the condition was true before.
EVIDENCE: dict[str, dict[str, Any]] = {
    "what is news since the radiograph is so by a test beside another that is one of the same criterion": {
        "present": ["buttock-pain", "pain-with-sitting", "low-back-pain, 20 days ago", "cancer-history, 20 days ago"],
        "imaging": [{"order": "loinc|37622-8", "days_ago": 10}],
        "drafts": [{"id": "o1", "order": "loinc|37622-8"}],
    },
    "what an answer shows is imaging that was done": {
        "present": ["buttock-pain", "sudden-onset"],
        "drafts": [{"id": "o1", "order": "loinc|30673-8"}],
    },
    "of two sides an answer is about both": {
        "present": ["buttock-pain", "buttock-pain, right", "pop-at-injury, right", "sudden-onset, right"],
        "drafts": [{"id": "o1", "order": "loinc|30673-8", "side": "left"}],
    },
    "what was asked and not answered decides with what else a red flag reads": {
        "present": ["low-back-pain", "buttock-pain", "radiating-numbness-or-tingling"],
        "unknown": ["saddle-numbness"],
        "drafts": [{"id": "o1", "order": "loinc|30679-5"}],
    },
}


@pytest.mark.parametrize("chart", EVIDENCE.values(), ids=EVIDENCE)
def test_a_card_of_a_draft_becomes_so_where_an_answer_adds_to_the_evidence(
    monkeypatch: pytest.MonkeyPatch, chart: dict[str, Any]
) -> None:
    service = "imaging-referral-sign"
    request = build_request({"age": 60, "side": "left", "service": service, **chart})
    hold_against_whole_assessments(monkeypatch, service, json.dumps(request).encode(), answers=50)


def hold_against_whole_assessments(monkeypatch: pytest.MonkeyPatch, service: str, body: bytes, *, answers: int) -> None:
    """Each card with so many single answers, beside a whole assessment of the chart so answered."""
    said: list[tuple[Advice, ...]] = []
    evaluations: list[Evaluation] = []
    advise, evaluate = Evaluation.advise, Evaluator.evaluate

    def note_advice(self: Evaluation, advice: Iterable[Advice], *of: Any, **members: Any) -> Any:
        said.append(tuple(advice))
        return advise(self, said[-1], *of, **members)

    def note_evaluation(self: Evaluator, *of: Any, **members: Any) -> Evaluation:
        evaluations.append(evaluate(self, *of, **members))
        return evaluations[-1]

    monkeypatch.setattr(Evaluation, "advise", note_advice)
    monkeypatch.setattr(Evaluator, "evaluate", note_evaluation)
    found = {card["about"]: card for card in told(service, body)}
    [evaluation], before = evaluations, urgency(said[-1])
    assert evaluation.assessment.decision is not None
    assert found.keys() == before.keys()
    assessor, charts = evaluation.evaluator.assessor, evaluation.assessment.decision.charts.layout.charts
    alone = ones(assessor.questions._answered_alone(evaluation.assessment.decision))
    monkeypatch.setattr(Evaluation, "would_change", lambda *_of: ())
    for first in random.Random(7).sample(alone, min(len(alone), answers)):  # noqa: S311 - no secret
        values = assessor.questions.answers[first // charts - 1].values
        [(finding, value)] = values.items()
        case = evaluation.case.answered(values)
        other = msgspec.structs.replace(evaluation, case=case, assessment=assessor.assess(case))
        monkeypatch.setattr(Evaluator, "evaluate", lambda *_of, other=other, **_members: other)
        told(service, body, with_cards=False)
        after = urgency(said[-1])
        for about, card in found.items():
            for member in ("raisedBy", "removedBy"):
                by = card.get(member, {})
                numbers = [(each["finding"], each["as"]) for each in by.get("numbers", ())]
                words = {True: "present", False: "absent"}
                listed = (
                    (finding, value.low) in numbers
                    if isinstance(value, Interval)
                    else finding in by.get(words[bool(value)], ())
                )
                assert listed == (becomes_of(about, before, after) == member), (about, finding, value)


def of_card(service: str, name: str, about: str) -> dict[str, Any]:
    body = (FIXTURES / "requests" / service / f"{name}.json").read_bytes()
    cards = {card["about"]: card for card in told(service, body)}
    return cards[about]


def test_a_lumbar_mri_that_is_called_too_early_is_no_more_so_beside_saddle_numbness() -> None:
    card = of_card("imaging-referral-sign", "lumbar-mri-too-early", "ServiceRequest/o1")
    assert "saddle-numbness" in card["raisedBy"]["present"]
    assert "noSingleAnswer" not in card


def test_an_mri_that_may_not_be_appropriate_is_after_a_pop() -> None:
    card = of_card("imaging-referral-sign", "piriformis-mri", "ServiceRequest/o1")
    assert "pop-at-injury" in card["removedBy"]["present"]


def test_an_egfr_that_is_known_takes_away_the_card_about_one_that_cannot_be_read() -> None:
    card = of_card("analgesic-safety-sign", "egfr-that-cannot-be-read", "MedicationRequest/m1")
    assert card["removedBy"]["numbers"] == [{"finding": "egfr", "as": 60.0}]


def test_of_the_most_urgent_work_up_it_is_said_that_no_single_answer_changes_it() -> None:
    card = of_card("imaging-referral-sign", "adolescent-without-radiograph", "red-flags")
    assert card["noSingleAnswer"] is True


def test_without_the_complaint_nothing_is_asked_and_nothing_is_said_to_change_a_card() -> None:
    body = json.loads(
        (FIXTURES / "responses/analgesic-safety-sign/nsaid-allergy-without-the-complaint.json").read_text("utf-8")
    )
    assert "wouldChange" not in body["extension"]["org.sitbone.assessment"]
