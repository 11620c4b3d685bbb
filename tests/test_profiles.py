"""One decision in the dialects of EHRs: what changes, and that nothing of its meaning is lost."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cds_hooks import Action, Card, Indicator, Source, Suggestion
from cds_hooks.trust.signing import claims_for, key_set, new_key, sign
from fixtures.build import dialects
from service.answers.profiles import in_style
from service.answers.spelling import Spelling
from service.app import create_app
from service.settings import EHR_PROFILES, Settings, Style
from tests.charts import CLOCK, Json, named_cases, packaged, sentence

WORDING = packaged().wording
SPELLING = Spelling({"hematoma": "haematoma", "acetaminophen": "paracetamol", "orthopedics": "orthopaedics"})
UUIDS = tuple(f"6f1c9d0e-3c57-4d0b-9a55-00000000000{number}" for number in range(4))
CREATE = Action("create", "New order", resource={"resourceType": "MedicationRequest"})
DELETE = Action("delete", "Remove this order", resource_id="MedicationRequest/m1")
REPLACE = Suggestion("Replace", UUIDS[1], (DELETE, CREATE), is_recommended=True)
REMOVE = Suggestion("Remove", UUIDS[2], (DELETE,))
ORDERS = tuple(Suggestion(f"Order {number}", UUIDS[number], (CREATE,)) for number in (1, 2))
FOLDER = Path(__file__).parents[1] / "fixtures" / "dialects"


def answer(*suggestions: Suggestion, behaviour: str | None = "any") -> Card:
    return Card(
        UUIDS[0],
        "Summary",
        Indicator.WARNING,
        Source("Sitbone"),
        detail="Detail",
        suggestions=suggestions,
        selection_behavior=behaviour if suggestions else None,  # type: ignore[arg-type]
    )


def test_the_generic_dialect_is_the_answer_as_it_is() -> None:
    card = answer(REPLACE, REMOVE, behaviour="at-most-one")
    assert in_style(Style("generic"), card, WORDING, SPELLING) is card


@pytest.mark.parametrize("ehr", EHR_PROFILES)
def test_a_card_without_suggestions_stays_as_it_is(ehr: str) -> None:
    card = answer()
    assert in_style(Style(ehr), card, WORDING, SPELLING) is card


def test_for_epic_a_replacement_becomes_numbered_steps_that_belong_together() -> None:
    card = in_style(Style("epic"), answer(REPLACE, REMOVE, behaviour="at-most-one"), WORDING, SPELLING)
    assert card.selection_behavior == "any"
    assert [[action.type for action in suggestion.actions] for suggestion in card.suggestions] == [
        ["create"],
        ["delete"],
    ]
    said = [suggestion.actions[0].description for suggestion in card.suggestions]
    assert said == [
        "1 of 2, to be taken together: New order",
        "2 of 2, to be taken together: Remove this order",
    ]
    assert [suggestion.label for suggestion in card.suggestions] == said
    assert card.detail is not None
    assert card.detail.startswith(sentence("steps_together", count=2))
    assert card.detail.endswith("Detail")


def test_for_epic_alternatives_are_left_out_because_all_of_them_could_be_taken() -> None:
    recommended_last = answer(ORDERS[0], REPLACE, behaviour="at-most-one")
    kept = in_style(Style("epic"), recommended_last, WORDING, SPELLING).suggestions
    assert {action.type for suggestion in kept for action in suggestion.actions} == {"create", "delete"}
    assert len(kept) == 2
    first_of_equals = in_style(Style("epic"), answer(*ORDERS, behaviour="at-most-one"), WORDING, SPELLING)
    assert [suggestion.label for suggestion in first_of_equals.suggestions] == ["Order 1"]


def test_for_epic_a_question_is_left_out() -> None:
    question = Suggestion("Ask", UUIDS[2], (Action("create", "Ask", resource={"resourceType": "Task"}),))
    card = in_style(Style("epic"), answer(ORDERS[0], question, behaviour="at-most-one"), WORDING, SPELLING)
    assert card.suggestions == (ORDERS[0],)
    bare = in_style(Style("epic"), answer(question, behaviour="at-most-one"), WORDING, SPELLING)
    assert (bare.suggestions, bare.selection_behavior, bare.detail) == ((), None, "Detail")


def test_for_oracle_health_a_choice_with_a_question_stays() -> None:
    question = Suggestion("Ask", UUIDS[2], (Action("create", "Ask", resource={"resourceType": "Task"}),))
    card = in_style(Style("oracle-health"), answer(ORDERS[0], question, behaviour="at-most-one"), WORDING, SPELLING)
    assert (card.suggestions, card.selection_behavior) == ((ORDERS[0], question), "at-most-one")


def test_for_epic_orders_that_may_all_be_taken_stay() -> None:
    card = in_style(Style("epic"), answer(*ORDERS), WORDING, SPELLING)
    assert card.suggestions == ORDERS
    assert card.detail == "Detail"


def test_for_oracle_health_orders_that_may_all_be_taken_are_offered_together_first() -> None:
    card = in_style(Style("oracle-health"), answer(*ORDERS), WORDING, SPELLING)
    assert card.selection_behavior == "at-most-one"
    assert [len(suggestion.actions) for suggestion in card.suggestions] == [2, 1, 1]
    assert [bool(suggestion.is_recommended) for suggestion in card.suggestions] == [True, False, False]


def test_for_oracle_health_a_replacement_stays_one_suggestion() -> None:
    card = in_style(Style("oracle-health"), answer(REPLACE, REMOVE, behaviour="at-most-one"), WORDING, SPELLING)
    assert card.suggestions == (REPLACE, REMOVE)


@pytest.mark.parametrize("ehr", EHR_PROFILES)
def test_ids_of_suggestions_are_unique_and_the_same_from_call_to_call(ehr: str) -> None:
    def ids() -> list[str]:
        card = in_style(Style(ehr), answer(REPLACE, REMOVE, *ORDERS[:0]), WORDING, SPELLING)
        return [suggestion.uuid for suggestion in card.suggestions]

    assert ids() == ids()
    assert len(set(ids())) == len(ids())


def test_the_entry_of_a_client_says_which_dialect_its_answers_are_in(tmp_path: Path) -> None:
    key = new_key("ES384", "mine")
    (tmp_path / "jwks.json").write_text(json.dumps(key_set(key)))
    (tmp_path / "store").mkdir(mode=0o700)
    entries = (
        f'[clients.{name}]\nissuers = ["https://{name}.example.org/"]\njwks_file = "jwks.json"\nehr = "{ehr}"\n'
        for name, ehr in (("north", "epic"), ("south", "generic"))
    )
    (tmp_path / "clients.toml").write_text("".join(entries))
    settings = Settings(
        clients=tmp_path / "clients.toml",
        store=tmp_path / "store",
        public_base_url="https://cds.example.org",
        ehr="epic",
    )
    client = create_app(settings, clock=lambda: CLOCK).test_client()
    (case,) = (case for case in named_cases() if case.fixture == "nsaid-with-kidney-disease")
    url = f"/cds-services/{case.service}"
    said = {}
    for name in ("north", "south"):
        claims = claims_for(f"https://{name}.example.org/", f"https://cds.example.org{url}", CLOCK.timestamp())
        headers = {"Authorization": f"Bearer {sign(key, claims)}"}
        said[name] = client.post(url, json=case.request(), headers=headers).get_json()["cards"][0]["selectionBehavior"]
    assert said == {"north": "any", "south": "at-most-one"}


def _cards(ehr: str) -> list[Json]:
    client = create_app(Settings(ehr=ehr), clock=lambda: CLOCK).test_client()
    cases = [case for case in named_cases() if case.dialects]
    return [
        card
        for case in cases
        for card in client.post(f"/cds-services/{case.service}", json=case.request()).get_json()["cards"]
    ]


def test_whatever_epic_gets_it_can_take() -> None:
    cards = _cards("epic")
    assert any("suggestions" in card for card in cards)
    for card in cards:
        assert card.get("selectionBehavior", "any") == "any"
        assert all(len(suggestion["actions"]) == 1 for suggestion in card.get("suggestions", ()))
        assert card["source"]["topic"]["code"] in WORDING.topics


def test_whatever_oracle_health_gets_is_in_release_one() -> None:
    assert {card["selectionBehavior"] for card in _cards("oracle-health") if "suggestions" in card} == {"at-most-one"}


def test_the_dialects_of_the_fixtures_are_those_of_the_service() -> None:
    kept = {
        path.relative_to(FOLDER).with_suffix("").as_posix(): json.loads(path.read_text(encoding="utf-8"))
        for path in FOLDER.rglob("*.json")
    }
    assert kept == dialects()
    assert {name.partition("/")[0] for name in kept} == {"epic", "oracle-health"}


def test_a_reader_in_the_united_kingdom_gets_their_words_on_the_card_and_in_the_order() -> None:
    code: Json = {"coding": [{"code": "x", "display": "hematoma"}], "text": "Acetaminophen"}
    resource = {"resourceType": "ServiceRequest", "code": code}
    order = Suggestion("Order: Orthopedics", REPLACE.uuid, (Action("create", "hematomas and hematoma", resource),))
    card = replace(answer(order), summary="Hematoma: orthopedics today", detail="Acetaminophen, no orthopedics.")
    changed = in_style(Style(spelling="uk"), card, WORDING, SPELLING)
    assert (changed.summary, changed.detail) == ("Haematoma: orthopaedics today", "Paracetamol, no orthopaedics.")
    (suggestion,) = changed.suggestions
    (action,) = suggestion.actions
    assert (suggestion.label, action.description) == ("Order: Orthopaedics", "hematomas and haematoma")
    assert action.resource == resource | {"code": code | {"text": "Paracetamol"}}
    assert in_style(Style(), card, WORDING, SPELLING) is card


def test_without_extensions_a_card_has_none() -> None:
    card = replace(answer(*ORDERS), extension={"org.example": 1})
    assert in_style(Style(extensions=False), card, WORDING, SPELLING).extension is None
