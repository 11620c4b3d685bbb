"""Every named case of fixtures/cases, and what must hold of the answer to each of them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from service.guideline import loader as knowledge
from service.guideline.model import Guideline
from service.service_ids import DIAGNOSIS
from tests.charts import Json, NamedCase, assessment_of, named_cases

Ask = Callable[[NamedCase], Json]
CASES = named_cases()
CHART_CASES = tuple(case for case in CASES if case.service == DIAGNOSIS)
SAFETY_NET = "Go to emergency care now"
# Section 5.4 of the evidence: what a card never says.
FORBIDDEN = re.compile(
    r"diagnosis is|confirm(s|ed|ing)\b|rul(e|es|ed|ing) out|%|no red flag|needs? surgery", re.IGNORECASE
)


@pytest.fixture(scope="session")
def guideline() -> Guideline:
    return knowledge.load()


def assessment(answer: Json) -> Json:
    return assessment_of(answer)


def text(answer: Json) -> str:
    return "\n".join(f"{card['summary']}\n{card['detail']}" for card in answer["cards"])


def _calls(entries: list[Json], *members: str) -> list[str]:
    return [" ".join(entry[member] for member in members) for entry in entries]


def _held(answer: Json, expect: Mapping[str, Any]) -> Json:
    """What the answer holds of what is expected, in the same form."""
    found = assessment(answer)
    imaging, referrals = (
        _calls(found["imaging"], "modality", "region", "priority"),
        _calls(found["referrals"], "to", "priority"),
    )
    words = text(answer)
    treatment = {entry["id"]: entry["state"] for entry in found["treatment"]}
    bands: dict[str, str] = {}
    for cause in found["causes"]:
        bands[f"{cause['side']} {cause['id']}" if "side" in cause else cause["id"]] = cause["band"]
    without = {entry["id"]: entry.get("without", []) for entry in found["treatment"]}
    cautions = {entry["id"]: entry.get("cautions", []) for entry in found["treatment"]}
    leads = [cause for cause, band in bands.items() if band == "leads"]
    held = {
        "complaint": found["complaint"],
        "side": found["side"],
        "cards": [card["indicator"] for card in answer["cards"]],
        "red_flags": {flag["id"]: flag["indicator"] for flag in found["redFlags"]},
        "flags_absent": [flag["id"] for flag in found["redFlags"] if flag["id"] in expect.get("flags_absent", ())],
        "causes": {id_: bands.get(id_) for id_ in expect.get("causes", {})},
        "leads": leads,
        "imaging": imaging,
        "imaging_absent": [call for call in imaging if call.startswith(tuple(expect.get("imaging_absent", ["-"])))],
        "alternative": [entry.get("alternative", "") for entry in found["imaging"]],
        "referrals": referrals,
        "referrals_absent": [call for call in referrals if call.split()[0] in expect.get("referrals_absent", ())],
        "treatment": {id_: treatment.get(id_, "not mentioned") for id_ in expect.get("treatment", {})},
        "without": {id_: without.get(id_, []) for id_ in expect.get("without", {})},
        "cautions": {id_: cautions.get(id_, []) for id_ in expect.get("cautions", {})},
        "ask": [finding for finding in expect.get("ask", ()) if finding in found["ask"]],
        "ask_first": (found["ask"] or ["nothing"])[0],
        "ask_nothing": not found["ask"],
        "judged": _judged(found),
        "silenced": [entry["topic"] for entry in found.get("silenced", ())],
        "topics": [card["source"]["topic"]["code"] for card in answer["cards"]],
        "suggestions": [suggestion["label"] for card in answer["cards"] for suggestion in card.get("suggestions", [])],
        "message_says": [phrase for phrase in expect.get("message_says", ()) if phrase.lower() in _message(answer)],
        "message_never_says": [
            phrase for phrase in expect.get("message_never_says", ()) if phrase.lower() in _message(answer)
        ],
        "card_says": [phrase for phrase in expect.get("card_says", ()) if phrase.lower() in words.lower()],
        "card_never_says": [phrase for phrase in expect.get("card_never_says", ()) if phrase.lower() in words.lower()],
    }
    return {member: held[member] for member in expect}


def _judged(found: Json) -> Json:
    """What came of each thing in hand: the recommendations about an order, or how many days an appointment is late."""
    orders = {entry["reference"]: entry.get("recommendations", []) for entry in found.get("medications", ())}
    orders |= {
        entry["reference"]: " ".join((entry["rating"], entry.get("variant", {}).get("id", entry["because"])))
        for entry in found.get("orders", ())
    }
    return orders | {
        entry["reference"]: f"day {entry.get('days', 'unknown')} of {entry.get('limitDays', 'any')}"
        for entry in found.get("appointments", ())
    }


def _message(answer: Json) -> str:
    """The words for the patient."""
    return "\n".join(
        payload["contentString"]
        for card in answer["cards"]
        for suggestion in card.get("suggestions", ())
        for action in suggestion["actions"]
        for payload in action.get("resource", {}).get("payload", ())
    ).lower()


_NONE_OF = ("message_never_says", "flags_absent", "imaging_absent", "referrals_absent", "card_never_says")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_named_case_is_assessed_as_expected(case: NamedCase, answer_to: Ask) -> None:
    expected = {member: [] if member in _NONE_OF else value for member, value in case.expect.items()}
    assert _held(answer_to(case), case.expect) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_card_claims_certainty(case: NamedCase, answer_to: Ask) -> None:
    assert not FORBIDDEN.findall(text(answer_to(case)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_card_has_its_reasons_its_grounds_and_the_safety_net(case: NamedCase, answer_to: Ask) -> None:
    for card in answer_to(case)["cards"]:
        assert SAFETY_NET in card["detail"]
        assert "does not replace clinical judgement" in card["detail"]
        assert re.search(r"Strength: .*S\d", card["detail"]) or re.search(r"Strength: .*\[", card["detail"])
        assert card["overrideReasons"]
        basis = card["extension"]["org.sitbone.basis"]
        assert basis["recommendations"]
        assert basis["findings"]
        assert "**Why**" in card["detail"]


@pytest.mark.parametrize("case", CHART_CASES, ids=lambda case: case.name)
def test_the_leading_cause_stands_on_a_card(case: NamedCase, answer_to: Ask, guideline: Guideline) -> None:
    answer = answer_to(case)
    for cause in assessment(answer)["causes"]:
        # A card whose orders are all placed is named instead of shown.
        if cause["band"] == "leads" and not assessment(answer).get("silenced"):
            assert guideline.causes[cause["id"]].title.lower() in text(answer).lower()


@pytest.mark.parametrize("case", CHART_CASES, ids=lambda case: case.name)
def test_there_is_one_card_for_each_tier_and_decision_most_urgent_first(case: NamedCase, answer_to: Ask) -> None:
    cards = answer_to(case)["cards"]
    topics = [card["source"]["topic"]["code"] for card in cards]
    assert len(topics) == len(set(topics)) <= 4
    urgency = [("critical", "warning", "info").index(card["indicator"]) for card in cards]
    assert urgency == sorted(urgency)
    assert max(urgency.count(0), urgency.count(1)) <= 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_critical_red_flag_holds_self_care_and_exercise(case: NamedCase, answer_to: Ask) -> None:
    answer = answer_to(case)
    found = assessment(answer)
    if not any(flag["indicator"] == "critical" for flag in found["redFlags"]):
        return
    states = {entry["id"]: entry["state"] for entry in found["treatment"]}
    assert {states[id_] for id_ in ("self-care", "physiotherapy", "nsaid")} == {"hold"}
    assert "care-plan" not in [card["source"]["topic"]["code"] for card in answer["cards"]]
    assert "cushion" not in text(answer)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_card_offers_what_is_held(case: NamedCase, answer_to: Ask, guideline: Guideline) -> None:
    answer = answer_to(case)
    held = {entry["id"] for entry in assessment(answer)["treatment"] if entry["state"] == "hold"}
    shown = {
        entry["id"] for card in answer["cards"] for entry in card["extension"]["org.sitbone.basis"]["recommendations"]
    }
    for recommendation in guideline.recommendations:
        if recommendation.id in shown:
            assert not held & {call.id for call in recommendation.treatment if call.state != "hold"}, recommendation.id


@pytest.mark.parametrize("case", CHART_CASES, ids=lambda case: case.name)
def test_every_hold_of_the_treatment_names_what_of_the_chart_holds_it(
    case: NamedCase, answer_to: Ask, guideline: Guideline
) -> None:
    for entry in assessment(answer_to(case))["treatment"]:
        if entry["state"] == "hold":
            assert set(entry["because"]) & (guideline.findings.keys() | {"age", "sex"}), entry["id"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_at_most_three_findings_are_asked_for_and_none_that_is_known(case: NamedCase, answer_to: Ask) -> None:
    asked = assessment(answer_to(case))["ask"]
    assert len(asked) == len(set(asked)) <= 3
    # An entry with a mark may be too old, of one side or no evidence at all.
    known = {entry for state in ("present", "absent") for entry in case.chart.get(state, ()) if "," not in entry}
    # What is recorded in two ways is asked although it is recorded: a finding, or the onset.
    twice = {entry for entry in case.chart.get("present", ()) if entry in case.chart.get("absent", ())}
    contradictory = {"gradual-onset"} <= known and known & {"sudden-onset", "pop-at-injury"}
    assert not (set(asked) & known - twice) or contradictory


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_names_statements_and_rules_that_exist(case: NamedCase, guideline: Guideline) -> None:
    assert set(case.statements) <= guideline.statements.keys()
    assert set(case.rules) <= guideline.rules().keys()
    assert case.statements or case.rules


def test_every_statement_of_the_source_document_has_a_case(guideline: Guideline) -> None:
    assert guideline.statements.keys() == {statement for case in CASES for statement in case.statements}


def test_every_rule_that_the_knowledge_names_has_a_case(guideline: Guideline) -> None:
    open_rules = frozenset[str]().union(*(group.open for group in guideline.rule_groups))
    assert guideline.carried_rules() - open_rules - {rule for case in CASES for rule in case.rules} == set()
