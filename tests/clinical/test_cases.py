"""Every named case of fixtures/cases, and what must hold of the answer to each of them.

A case is one test: what the case expects and every invariant that says something of its answer are asked of one call,
and the test names all that do not hold.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations
from typing import Any, TypeAlias

import pytest
from flask.testing import FlaskClient

from cds_hooks import RESPONSE_SCHEMA
from service.app import create_app
from service.knowledge_model.model import ORDER_SYSTEM, Recommendation
from service.release.hazard_log import read_hazards
from service.service_ids import DIAGNOSIS, IMAGING_REFERRAL_SIGN
from service.settings import Settings
from tests.charts import CLOCK, Json, NamedCase, assessment_of, collection, named_cases, packaged, sentence

CASES = named_cases()
STATUS = sentence(f"status_{packaged().status}", version=packaged().version)
# Section 5.4 of the evidence: what a card never says.
FORBIDDEN = re.compile(
    r"diagnosis is|confirm(s|ed|ing)\b|rul(e|es|ed|ing) out|%|no red flag|needs? surgery", re.IGNORECASE
)


@cache
def _answering_in_full() -> FlaskClient:
    return create_app(Settings(detail="full"), clock=lambda: CLOCK).test_client()


def in_full(case: NamedCase) -> str:
    """The cards of a case for a client that wants their whole depth."""
    answer = _answering_in_full().post(f"/cds-services/{case.service}", json=case.request()).get_json()
    return "\n".join(card["detail"] for card in answer["cards"])


@dataclass(frozen=True)
class Answered:
    """A named case with the answer to it."""

    case: NamedCase
    answer: Json

    @property
    def cards(self) -> list[Json]:
        cards: list[Json] = self.answer["cards"]
        return cards

    @cached_property
    def found(self) -> Json:
        return assessment_of(self.answer)

    @cached_property
    def text(self) -> str:
        return "\n".join(f"{card['summary']}\n{card['detail']}" for card in self.cards)

    @property
    def about_the_chart(self) -> bool:
        return self.case.service == DIAGNOSIS

    def said(self) -> list[str]:
        """What each card says beside its headline and its status."""
        return [card["detail"].removesuffix(f"\n\n{STATUS}") for card in self.cards]

    def on_hold(self) -> list[Json]:
        return [entry for entry in self.found["treatment"] if entry["state"] == "hold"]

    def shown(self) -> set[str]:
        """The recommendations on the cards."""
        basis = "org.sitbone.basis"
        return {entry["id"] for card in self.cards for entry in card["extension"][basis]["recommendations"]}


Check: TypeAlias = Callable[[Answered], None]
INVARIANTS: dict[Check, Callable[[Answered], object]] = {}


def invariant(*, where: Callable[[Answered], object]) -> Callable[[Check], Check]:
    """Registers what must hold of every answer of which `where` is true. Of any other it says nothing."""

    def register(check: Check) -> Check:
        INVARIANTS[check] = where
        return check

    return register


def _calls(entries: list[Json], *members: str) -> list[str]:
    return [" ".join(entry[member] for member in members) for entry in entries]


def _held(answered: Answered, expect: Mapping[str, Any]) -> Json:
    """What the answer holds of what is expected, in the same form."""
    held = {**_decided(answered.found, expect), **_called(answered.found, expect), **_said(answered, expect)}
    return {member: held[member] for member in expect}


def _decided(found: Json, expect: Mapping[str, Any]) -> Json:
    """Red flags, causes, treatment and questions."""
    bands = {
        f"{cause['side']} {cause['id']}" if "side" in cause else cause["id"]: cause["band"] for cause in found["causes"]
    }

    def treated(member: str, otherwise: object) -> Json:
        of = {entry["id"]: entry.get(member, otherwise) for entry in found["treatment"]}
        return {id_: of.get(id_, otherwise) for id_ in expect.get("treatment" if member == "state" else member, {})}

    return {
        "complaint": found["complaint"],
        "side": found["side"],
        "red_flags": {flag["id"]: flag["indicator"] for flag in found["redFlags"]},
        "flags_absent": [flag["id"] for flag in found["redFlags"] if flag["id"] in expect.get("flags_absent", ())],
        "causes": {id_: bands.get(id_) for id_ in expect.get("causes", {})},
        "leads": [cause for cause, band in bands.items() if band == "leads"],
        "treatment": treated("state", "not mentioned"),
        "without": treated("without", []),
        "cautions": treated("cautions", []),
        "ask": [finding for finding in expect.get("ask", ()) if finding in found["ask"]],
        "ask_first": (found["ask"] or ["nothing"])[0],
        "ask_nothing": not found["ask"],
    }


def _called(found: Json, expect: Mapping[str, Any]) -> Json:
    """Imaging and referrals, and what came of the orders in the hook context."""
    imaging = _calls(found["imaging"], "modality", "region", "priority")
    referrals = _calls(found["referrals"], "to", "priority")
    return {
        "imaging": imaging,
        "imaging_absent": [call for call in imaging if call.startswith(tuple(expect.get("imaging_absent", ["-"])))],
        "alternative": [entry.get("alternative", "") for entry in found["imaging"]],
        "referrals": referrals,
        "referrals_absent": [call for call in referrals if call.split()[0] in expect.get("referrals_absent", ())],
        "judged": _judged(found),
        "silenced": [entry["topic"] for entry in found.get("silenced", ())],
    }


def _said(answered: Answered, expect: Mapping[str, Any]) -> Json:
    """The cards, and which of the phrases that are to be there or not are there."""
    cards, words, message = answered.answer["cards"], answered.text.lower(), _message(answered.answer)

    def phrases(member: str, text: str) -> list[str]:
        return [phrase for phrase in expect.get(member, ()) if phrase.lower() in text]

    if "card_says" in expect or "card_never_says" in expect:
        words += in_full(answered.case).lower()
    return {
        "shows": [each for each in expect.get("shows", ()) if each in answered.shown()],
        "cards": [card["indicator"] for card in cards],
        "topics": [card["source"]["topic"]["code"] for card in cards],
        "suggestions": [suggestion["label"] for card in cards for suggestion in card.get("suggestions", [])],
        **{member: phrases(member, message) for member in ("message_says", "message_never_says")},
        **{member: phrases(member, words) for member in ("card_says", "card_never_says")},
    }


def _judged(found: Json) -> Json:
    """What came of each thing in the hook context: the recommendations about an order, or how many days an appointment
    is late."""
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


@invariant(where=lambda answered: answered.case.expect)
def the_answer_is_as_the_case_expects(answered: Answered) -> None:
    expect = answered.case.expect
    expected = {member: [] if member in _NONE_OF else value for member, value in expect.items()}
    assert _held(answered, expect) == expected


@invariant(where=lambda answered: answered.cards)
def no_card_claims_certainty(answered: Answered) -> None:
    assert not FORBIDDEN.findall(answered.text)


@invariant(where=lambda answered: answered.cards)
def every_card_has_its_basis_its_status_and_a_way_to_override_it(answered: Answered) -> None:
    for card in answered.cards:
        assert card["detail"].split("\n\n")[-1] == STATUS
        assert card["overrideReasons"]
        basis = card["extension"]["org.sitbone.basis"]
        assert basis["recommendations"]
        assert basis["findings"]


@invariant(where=lambda answered: answered.cards)
def a_card_is_read_in_five_seconds(answered: Answered) -> None:
    counts = [len(said.split()) for said in answered.said()]
    assert max(counts) <= 120
    assert sum(counts) <= 200
    assert all(len(card["summary"]) < 140 for card in answered.cards)


@invariant(where=lambda answered: len(answered.cards) > 1)
def no_sentence_stands_on_two_cards(answered: Answered) -> None:
    sentences = [{*re.split(r"(?<=[.?])\s+", said)} - {""} for said in answered.said()]
    assert [one & other for one, other in combinations(sentences, 2) if one & other] == []


@invariant(where=lambda answered: answered.cards)
def no_id_and_no_tag_stands_in_prose(answered: Answered) -> None:
    assert not re.search(r"\w/[\w-]*\d|\[\w*:|\{|\}|\b[SR]\d+\b", answered.text.replace("mL/min", ""))


def _said_by(answered: Answered, recommendation: Recommendation) -> bool:
    """Whether a card leads with it, or has the first of its lines."""
    leading = {card["extension"]["org.sitbone.basis"]["recommendations"][0]["id"] for card in answered.cards}
    written = re.split(r"\[.*|\{.*", (*recommendation.do, "")[0])[0]
    return recommendation.id in leading or bool(written and written in answered.text)


def _calling_for(answered: Answered, entry: Json) -> list[Recommendation]:
    """The recommendations on the cards that offer or hold this treatment, as the answer does."""
    on_cards, call = answered.shown(), (entry["id"], entry["state"])
    of = (each for each in packaged().recommendations if each.id in on_cards)
    return [each for each in of if any((treatment.id, treatment.state) == call for treatment in each.treatment)]


# A card whose orders are all placed is named instead of shown.
@invariant(where=lambda answered: answered.about_the_chart and answered.cards and not answered.found.get("silenced"))
def every_red_flag_referral_and_hold_is_said_on_a_card(answered: Answered) -> None:
    on_cards = answered.shown()
    shown = [each for each in packaged().recommendations if each.id in on_cards]
    for flag in answered.found["redFlags"]:
        assert any(_said_by(answered, each) for each in shown if each.red_flag and each.red_flag.id == flag["id"]), flag
    offered = " ".join(suggestion["label"] for card in answered.cards for suggestion in card.get("suggestions", ()))
    for call in answered.found["referrals"]:
        order = packaged().orders[f"referral-{call['to']}"]
        assert order.title in offered or order.short in answered.text, call
    for entry in answered.on_hold():
        assert any(_said_by(answered, each) for each in _calling_for(answered, entry)), entry["id"]


# A card whose orders are all placed is named instead of shown.
@invariant(where=lambda answered: answered.about_the_chart and answered.cards and not answered.found.get("silenced"))
def what_is_left_out_of_what_is_offered_is_said_on_a_card(answered: Answered) -> None:
    on_cards = answered.shown()
    for each in packaged().recommendations:
        if each.id in on_cards and any(call.without for call in each.treatment):
            assert _said_by(answered, each), each.id


# A card whose orders are all placed is named instead of shown.
@invariant(where=lambda answered: answered.about_the_chart and answered.cards and not answered.found.get("silenced"))
def a_medicine_that_is_given_with_care_or_in_place_of_another_is_said_on_a_card(answered: Answered) -> None:
    medicines = packaged().engine.medicines.values()
    of = {medicine.treatment for medicine in medicines}
    in_place = {medicine.treatment for medicine in medicines if medicine.order}
    holds = of.intersection(entry["id"] for entry in answered.on_hold())
    offering = [entry for entry in answered.found["treatment"] if entry["state"] == "offer" and entry["id"] in of]
    for entry in offering:
        if entry.get("cautions") or (holds and entry["id"] in in_place):
            offers = _calling_for(answered, entry)
            assert offers, entry["id"]
            assert all(_said_by(answered, each) for each in offers), entry["id"]


def _leading(answered: Answered) -> list[str]:
    return [cause["id"] for cause in answered.found["causes"] if cause["band"] == "leads"]


# A card whose orders are all placed is named instead of shown.
@invariant(
    where=lambda answered: answered.about_the_chart and _leading(answered) and not answered.found.get("silenced")
)
def the_leading_cause_stands_on_a_card(answered: Answered) -> None:
    for cause in _leading(answered):
        assert packaged().causes[cause].title.lower() in answered.text.lower()


@invariant(where=lambda answered: answered.about_the_chart and answered.cards)
def there_is_one_card_for_each_tier_and_decision_most_urgent_first(answered: Answered) -> None:
    topics = [card["source"]["topic"]["code"] for card in answered.cards]
    assert len(topics) == len(set(topics)) <= 3
    urgency = [("critical", "warning", "info").index(card["indicator"]) for card in answered.cards]
    assert urgency == sorted(urgency)
    assert max(urgency.count(0), urgency.count(1)) <= 1


@invariant(where=lambda answered: any(flag["indicator"] == "critical" for flag in answered.found["redFlags"]))
def a_critical_red_flag_holds_self_care_and_exercise(answered: Answered) -> None:
    states = {entry["id"]: entry["state"] for entry in answered.found["treatment"]}
    assert {states[id_] for id_ in ("self-care", "physiotherapy", "nsaid")} == {"hold"}
    assert "care-plan" not in [card["source"]["topic"]["code"] for card in answered.cards]
    assert "cushion" not in answered.text


@invariant(where=lambda answered: answered.on_hold() and answered.cards)
def no_card_offers_what_is_held(answered: Answered) -> None:
    held, shown = {entry["id"] for entry in answered.on_hold()}, answered.shown()
    for recommendation in packaged().recommendations:
        if recommendation.id in shown:
            assert not held & {call.id for call in recommendation.treatment if call.state != "hold"}, recommendation.id


@invariant(where=lambda answered: answered.about_the_chart and answered.on_hold())
def every_hold_of_the_treatment_names_what_of_the_chart_holds_it(answered: Answered) -> None:
    for entry in answered.on_hold():
        assert set(entry["because"]) & (packaged().findings.keys() | {"age", "sex"}), entry["id"]


@invariant(where=lambda answered: answered.found["ask"])
def at_most_three_findings_are_asked_for_and_none_that_is_known(answered: Answered) -> None:
    asked, chart = answered.found["ask"], answered.case.chart
    assert len(asked) == len(set(asked)) <= 3
    # An entry with a mark may be too old, of one side or no evidence at all.
    known = {entry for state in ("present", "absent") for entry in chart.get(state, ()) if "," not in entry}
    # What is recorded in two ways is asked although it is recorded: a finding, or the onset.
    twice = {entry for entry in chart.get("present", ()) if entry in chart.get("absent", ())}
    contradictory = {"gradual-onset"} <= known and known & {"sudden-onset", "pop-at-injury"}
    assert not (set(asked) & known - twice) or contradictory


def broken(check: Check, answered: Answered) -> str:
    """The invariant and how the answer does not keep it; nothing where it does."""
    try:
        check(answered)
    except (AssertionError, LookupError) as error:  # an answer may lack what is looked at
        return f"{check.__name__.replace('_', ' ')}: {type(error).__name__} {error}"
    return ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_named_case_is_answered_as_expected_and_keeps_every_invariant(
    case: NamedCase, answer_to: Callable[[NamedCase], Json]
) -> None:
    answered = Answered(case, answer_to(case))
    said = [broken(check, answered) for check, where in INVARIANTS.items() if where(answered)]
    if wrong := [words for words in said if words]:
        pytest.fail("\n".join((case.name, *wrong)), pytrace=False)


def _to_order(answered: Answered) -> list[str]:
    """The keys of the imaging that is called for."""
    calls = answered.found["imaging"]
    return [f"{call['modality']}-{call['region']}" for call in calls if call["modality"] != "none-now"]


def _ordered_together(case: NamedCase, keys: list[str]) -> Json:
    """The request of a case with drafts of these orders in its context."""
    request = case.request()
    request["hook"] = "order-sign"
    request["prefetch"] |= {"orders": None, "imaging": None}
    drafts = [
        {
            "resourceType": "ServiceRequest",
            "id": f"d{number}",
            "subject": {"reference": f"Patient/{request['context']['patientId']}"},
            "code": {"coding": [{"system": ORDER_SYSTEM, "code": key}]},
        }
        for number, key in enumerate(keys)
    ]
    request["context"]["draftOrders"] = collection(drafts)
    return request


def test_what_the_guideline_calls_for_is_appropriate_when_it_is_ordered_together(
    answer_to: Callable[[NamedCase], Json], client: FlaskClient
) -> None:
    """The ratings and the rules agree on every chart."""
    rated = {}
    for case in CASES:
        if case.service == DIAGNOSIS and (keys := _to_order(Answered(case, answer_to(case)))):
            ordered = client.post(f"/cds-services/{IMAGING_REFERRAL_SIGN}", json=_ordered_together(case, keys))
            assert ordered.status_code == 200, (case.name, ordered.get_data(as_text=True))
            RESPONSE_SCHEMA.load(ordered.get_json())
            rated[case.name] = {order["rating"] for order in assessment_of(ordered.get_json()).get("orders", ())}
    assert len(rated) > 100
    assert {name: ratings for name, ratings in rated.items() if not ratings <= {"appropriate"}} == {}


def test_every_invariant_says_something_of_a_case(answer_to: Callable[[NamedCase], Json]) -> None:
    answers = [Answered(case, answer_to(case)) for case in CASES]
    assert [check.__name__ for check, where in INVARIANTS.items() if not any(map(where, answers))] == []


def test_what_the_hazard_log_names_of_this_file_is_asked_of_the_cases() -> None:
    named = {test.partition("::") for hazard in read_hazards(None) for test in hazard.tests}
    here = {name for file, _, name in named if file == "clinical/test_cases.py"}
    assert here
    assert here <= {check.__name__ for check in INVARIANTS}


def test_a_case_names_statements_and_rules_that_exist() -> None:
    statements, rules = packaged().statements.keys(), packaged().rules().keys()
    unknown = {case.name: names for case in CASES if (names := {*case.statements} - statements | {*case.rules} - rules)}
    assert unknown == {}
    assert [case.name for case in CASES if not (case.statements or case.rules)] == []


def test_every_statement_of_the_source_document_has_a_case() -> None:
    assert packaged().statements.keys() == {statement for case in CASES for statement in case.statements}


def test_every_rule_that_the_knowledge_names_has_a_case() -> None:
    open_rules = frozenset[str]().union(*(group.open for group in packaged().rule_groups))
    assert packaged().carried_rules() - open_rules - {rule for case in CASES for rule in case.rules} == set()
