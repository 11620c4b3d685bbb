"""What would change the card of a draft order, an appointment or a discharge: exact, and read from the one decision."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cds_hooks.request import read_envelope, request_for
from service.reasoning.questions import Questions, SingleAnswers
from service.services.evaluation import Evaluator
from service.services.registry import services_by
from tests.charts import CLOCK, packaged

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


def told(service: str, path: Path) -> list[dict[str, Any]]:
    """What the service says would change its cards about the request in a file."""
    body = path.read_bytes()
    of = registry().find(service, CARDS_OF[service])
    answered = of.answer(request_for(read_envelope(body), of, correlation_id="test"))
    assert answered.has_cards()
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


def answers_in(cards: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The same whatever the order of the answers."""
    return [
        (
            card["topic"],
            card["about"],
            card.get("noSingleAnswer"),
            *(
                {json.dumps((kind, each)) for kind, of in card.get(member, {}).items() for each in of}
                for member in ("removedBy", "raisedBy")
            ),
        )
        for card in cards
    ]


@pytest.mark.parametrize(("service", "path"), with_cards()[::2], ids=lambda of: getattr(of, "stem", of))
def test_each_answer_by_itself_changes_what_is_said_of_those_that_are_alike(
    monkeypatch: pytest.MonkeyPatch, service: str, path: Path
) -> None:
    found = answers_in(told(service, path))

    def each_by_itself(self: Questions, decision: Any, _read: Any, _apart: Any) -> list[SingleAnswers]:
        every = self._answered_alone(decision)
        return [(answer,) for answer in self._answers_in(decision.charts, every)]

    monkeypatch.setattr(Questions, "alike", each_by_itself)
    assert found == answers_in(told(service, path))


def of_card(service: str, name: str, about: str) -> dict[str, Any]:
    cards = {card["about"]: card for card in told(service, FIXTURES / "requests" / service / f"{name}.json")}
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
