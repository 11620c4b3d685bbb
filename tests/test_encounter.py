"""The Encounter in context, and complaints in words: what they state, and what they never do."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from cds_hooks import read_request
from service.app import create_app
from service.chart.case import Case
from service.services.evaluation import chart_of
from tests.charts import ANOTHER, CLOCK, ENCOUNTER, LOCAL, PATIENT, SERVICE, Json, sentence
from tests.test_case_reading import (
    CALLED,
    GUIDELINE,
    ICD,
    LOINC,
    OWN,
    READER,
    RXNORM,
    SCT,
    call,
    concept,
    condition,
    held,
    observation,
    verified,
)

BUTTOCK, SCIATICA, TENDINOPATHY = concept("279043006", SCT), concept("M54.31", ICD), concept("M76.892", ICD)
SOUGHT = frozenset({"buttock-pain", "sciatica", "diagnosed-proximal-hamstring-tendinopathy"})


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(clock=lambda: CLOCK).test_client()


def encounter(**members: Any) -> Json:
    return {
        "resourceType": "Encounter",
        "id": ENCOUNTER,
        "status": "in-progress",
        "subject": OWN,
        "period": {"start": "2026-11-22T09:00:00Z"},
        **members,
    }


def read(visit: Any, *resources: Any, sought: frozenset[str] | None = SOUGHT, context: Json | None = None) -> Case:
    request = call(resources, encounter=visit)
    request["context"] |= context or {}
    read = read_request(json.dumps(request).encode(), CALLED, correlation_id="test")
    return READER.read(chart_of(read), CLOCK, sought)


def stated(case: Case) -> set[tuple[str, str]]:
    return {(one.finding, one.side) for found in case.assertions.values() for one in found if one.value is True}


# ---------------------------------------------------------------------------------------------------------------------
# Reasons in codes


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"reasonCode": [BUTTOCK]}, ("buttock-pain", "")),
        ({"reasonCode": BUTTOCK}, ("buttock-pain", "")),
        ({"reasonCode": [SCIATICA]}, ("sciatica", "right")),
        ({"reasonCode": [{**BUTTOCK, "text": "Left buttock pain"}]}, ("buttock-pain", "left")),
        ({"reasonCode": [concept("buttock-pain")]}, ("buttock-pain", "")),
        ({"reason": [BUTTOCK]}, ("buttock-pain", "")),
        ({"reason": [{"value": [{"concept": BUTTOCK}]}]}, ("buttock-pain", "")),
        ({"diagnosis": [{"condition": [{"concept": SCIATICA}]}]}, ("sciatica", "right")),
    ],
    ids=["R4", "one object", "side by code", "side in words", "local", "STU3", "R5", "R5 diagnosis"],
)
def test_a_coded_reason_states_the_complaint(members: Json, expected: tuple[str, str]) -> None:
    case = read(encounter(**members))
    assert stated(case) == {expected}
    (found,) = case.assertions[expected[0]]
    assert (found.resource, found.remarks) == (f"Encounter/{ENCOUNTER}", ())
    assert found.when
    assert found.when.text.startswith("2026-11-22")


def test_a_diagnosis_as_a_reason_is_provisional() -> None:
    (found,) = read(encounter(reasonCode=[TENDINOPATHY])).assertions["diagnosed-proximal-hamstring-tendinopathy"]
    assert (found.value, found.side, found.remarks) == (True, "left", ("provisional",))


def test_a_danger_as_a_reason_is_provisional_and_is_evaluated(client: FlaskClient) -> None:
    visit = encounter(reasonCode=[BUTTOCK, concept("G83.4", ICD)])
    answer = client.post(SERVICE, json=call([], encounter=visit)).get_json()
    assert answer["cards"][0]["indicator"] == "critical"
    assert f"({sentence('provisional')})" in answer["cards"][0]["summary"] + answer["cards"][0]["detail"]


def test_what_is_no_finding_by_itself_is_none_as_a_reason() -> None:
    others = [concept("38204-4", LOINC), concept("slump"), concept("temperature"), concept("11289", RXNORM)]
    assert read(encounter(reasonCode=others), sought=None).assertions == {}


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled", "Cancelled"])
def test_a_visit_that_was_none_states_nothing(status: str) -> None:
    assert stated(read(encounter(status=status, reasonCode=[BUTTOCK]))) == set()


@pytest.mark.parametrize("status", ["planned", "arrived", "in-progress", "finished", "completed", "unknown", None])
def test_any_other_visit_states_its_reasons(status: str | None) -> None:
    assert stated(read(encounter(status=status, reasonCode=[BUTTOCK]))) == {("buttock-pain", "")}


def test_only_the_encounter_in_context_is_read() -> None:
    assert stated(read(encounter(id="another", reasonCode=[BUTTOCK]))) == set()
    assert stated(read(encounter(reasonCode=[BUTTOCK]), context={"encounterId": "another"})) == set()


def test_without_an_encounter_in_the_context_none_is_read() -> None:
    request = call([], encounter=encounter(reasonCode=[BUTTOCK]))
    del request["context"]["encounterId"]
    case = READER.read(chart_of(read_request(json.dumps(request).encode(), CALLED, correlation_id="test")), CLOCK)
    assert case.assertions == {}


def test_another_patients_encounter_is_left_out_and_counted() -> None:
    case = read(encounter(subject={"reference": f"Patient/{ANOTHER}"}, reasonCode=[BUTTOCK]))
    assert (stated(case), case.left_out.other_patient) == (set(), 1)


def test_an_encounter_without_a_subject_is_the_patients() -> None:
    assert stated(read(encounter(subject=None, reasonCode=[BUTTOCK]))) == {("buttock-pain", "")}


def test_a_modifier_of_the_encounter_makes_its_reasons_unreadable() -> None:
    case = read(encounter(modifierExtension=[{"url": "https://example.org/x"}], reasonCode=[BUTTOCK]), sought=None)
    assert [one.unreadable for one in case.not_readable()] == ["modifierExtension"]


@pytest.mark.parametrize(
    ("start", "left_out"), [("2026-01-05", "outdated"), ("2027-01-05", "future")], ids=["long ago", "to come"]
)
def test_the_reason_is_as_old_as_the_visit(start: str, left_out: str) -> None:
    case = read(encounter(period={"start": start}, reasonCode=[BUTTOCK]))
    assert stated(case) == set()
    assert getattr(case.left_out, left_out) == 1


def test_a_visit_without_a_start_is_now() -> None:
    assert stated(read(encounter(period=None, reasonCode=[BUTTOCK]))) == {("buttock-pain", "")}


@pytest.mark.parametrize("wrong", [7, "text", [7], ["x"], {"coding": 3}, [{"coding": [{"code": 5}]}], None])
@pytest.mark.parametrize("member", ["reasonCode", "reason", "reasonReference", "diagnosis", "period", "contained"])
def test_an_element_of_the_wrong_type_spoils_nothing(member: str, wrong: Any) -> None:
    case = read(encounter(**{member: wrong}), observation("psis-tenderness"), sought=None)
    assert stated(case) >= {("psis-tenderness", "")}


# ---------------------------------------------------------------------------------------------------------------------
# Reasons that are resources

OLD = "2025-11-22"
OLD_PAIN = observation("buttock-pain", valueBoolean=True, effectiveDateTime=OLD)


@pytest.mark.parametrize(
    "members",
    [
        {"reasonReference": [{"reference": "Observation/o"}]},
        {"reasonReference": {"reference": "https://ehr.example.org/fhir/r4/Observation/o/_history/2"}},
        {"diagnosis": [{"condition": {"reference": "Observation/o"}}]},
        {"reason": [{"value": [{"reference": {"reference": "Observation/o"}}]}]},
        {"diagnosis": [{"condition": [{"reference": {"reference": "Observation/o"}}]}]},
    ],
    ids=["R4", "absolute, one object", "diagnosis", "R5", "R5 diagnosis"],
)
def test_a_finding_that_the_visit_refers_to_is_of_today(members: Json) -> None:
    assert stated(read(encounter(), OLD_PAIN)) == set()
    case = read(encounter(**members), OLD_PAIN)
    (found,) = case.assertions["buttock-pain"]
    assert (found.value, found.resource) == (True, "Observation/o")
    assert found.when
    assert found.when.text.startswith("2026-11-22")


def test_a_reference_by_full_url_is_resolved() -> None:
    request = call([], encounter=encounter(reasonReference=[{"reference": "urn:uuid:1"}]))
    request["prefetch"]["observations"]["entry"] = [{"fullUrl": "urn:uuid:1", "resource": OLD_PAIN}]
    case = READER.read(chart_of(read_request(json.dumps(request).encode(), CALLED, correlation_id="test")), CLOCK)
    assert stated(case) == {("buttock-pain", "")}


@pytest.mark.parametrize(
    "target",
    [
        observation("buttock-pain", valueBoolean=False, effectiveDateTime=OLD),
        observation("buttock-pain", valueBoolean=True, effectiveDateTime=OLD, status="entered-in-error"),
        observation(
            "buttock-pain", valueBoolean=True, effectiveDateTime=OLD, subject={"reference": f"Patient/{ANOTHER}"}
        ),
        {**OLD_PAIN, "resourceType": "Procedure"},
    ],
    ids=["absent", "entered in error", "another patient", "a procedure"],
)
def test_a_reference_adds_nothing_to_what_is_not_there(target: Json) -> None:
    case = read(
        encounter(reasonReference=[{"reference": f"{target['resourceType']}/o"}]), target, observation("x", SCT)
    )
    assert stated(case) == set()


def test_an_event_stays_as_old_as_it_is() -> None:
    event = next(f.id for f in GUIDELINE.findings.values() if f.dated_event and f.value == "boolean")
    target = condition(event, LOCAL, onsetDateTime="2020-01-01", recordedDate="2020-01-01")
    assert (
        stated(read(encounter(diagnosis=[{"condition": {"reference": "Condition/c"}}]), target, sought=None)) == set()
    )


def test_a_condition_within_the_encounter_is_read() -> None:
    within = condition("279043006", SCT, subject=None, recordedDate=None)
    visit = encounter(contained=[within], reasonReference=[{"reference": "#c"}])
    case = read(visit)
    assert [(one.resource, one.value) for one in case.assertions["buttock-pain"]] == [(f"Encounter/{ENCOUNTER}", True)]


def test_what_a_reference_is_called_is_read_where_it_leads_nowhere() -> None:
    visit = encounter(reasonReference=[{"reference": "Condition/gone", "display": "Left buttock pain"}])
    (found,) = read(visit).assertions["buttock-pain"]
    assert (found.side, found.remarks) == ("left", ("byText",))


# ---------------------------------------------------------------------------------------------------------------------
# In words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Buttock pain", ("buttock-pain", "")),
        ("  BUTTOCK   pain ", ("buttock-pain", "")),
        ("left buttock pain", ("buttock-pain", "left")),
        ("Pain in left buttock", ("buttock-pain", "left")),
        ("Pain in the right buttock", ("buttock-pain", "right")),
        ("Buttock pain, right", ("buttock-pain", "right")),
        ("Buttock pain (R)", ("buttock-pain", "right")),
        ("L buttock pain", ("buttock-pain", "left")),
        ("Bilateral buttock pain", ("buttock-pain", "bilateral")),
        ("Left-sided buttock pain", ("buttock-pain", "left")),
        ("buttock pain on the left side", ("buttock-pain", "left")),
        ("Sciatica, right side", ("sciatica", "right")),
        ("High hamstring tendinopathy", ("diagnosed-proximal-hamstring-tendinopathy", "")),
    ],
)
@pytest.mark.parametrize("where", ["reasonCode", "display", "unknown code", "Condition"])
def test_a_complaint_is_recognised_by_its_words(text: str, expected: tuple[str, str], where: str) -> None:
    shapes: dict[str, Json] = {
        "reasonCode": {"text": text},
        "display": {"coding": [{"display": text}]},
        "unknown code": {"coding": [{"system": "urn:example:ehr", "code": "7"}], "text": text},
        "Condition": {"text": text},
    }
    named = shapes[where]
    as_condition = where == "Condition"
    case = read(
        encounter(reasonCode=[] if as_condition else [named]), *([{**condition("x"), "code": named}] * as_condition)
    )
    assert stated(case) == {expected}
    (found,) = case.assertions[expected[0]]
    assert "byText" in found.remarks
    assert ("provisional" in found.remarks) == (expected[0].startswith("diagnosed-") and not as_condition)


@pytest.mark.parametrize(
    "text",
    [
        "?buttock pain",
        "buttock pain?",
        "Buttock pain \uff1f",
        "no buttock pain",
        "Denies sciatica",
        "rule out hamstring tear",
        "r/o sciatica",
        "R/O: sciatica",
        "history of sciatica",
        "hx of sciatica",
        "Family history: sciatica",
        "sciatica ruled out",
        "negative for sciatica",
        "without sciatica",
        "left and right buttock pain?",
        "buttock pain since Monday",
        "follow-up sciatica",
        "buttocks",
        "",
        "x" * 5000,
    ],
)
def test_anything_else_in_words_is_no_complaint(text: str) -> None:
    case = read(encounter(reasonCode=[{"text": text}]), {**condition("x"), "code": {"text": text}}, sought=None)
    assert case.assertions == {}


def test_words_that_doubt_outweigh_a_display_that_does_not() -> None:
    doubted = {"coding": [{"display": "Sciatica"}], "text": "r/o sciatica"}
    assert read(encounter(reasonCode=[doubted]), sought=None).assertions == {}


def test_a_refuted_condition_in_words_is_absent() -> None:
    refuted = {**condition("x", **verified("refuted")), "code": {"text": "Sciatica"}}
    assert held(read(encounter(), refuted, sought=None), "sciatica") is False


def test_a_condition_with_a_code_is_what_its_code_says() -> None:
    coded = {**condition("I10"), "code": {**concept("I10", ICD), "text": "Sciatica"}}
    assert read(encounter(), coded, sought=None).assertions == {}


CALLED_SO = sorted(READER.index._complaints)
_DOUBTS = [
    "no {}",
    "{}?",
    "?{}",
    "denies {}",
    "history of {}",
    "{}, ruled out",
    "r/o {}",
    "hx {}",
    "not {}",
    "without {}",
]
_SIDED = {"": "{}", "left": "Left {}", "right": "{} (right)", "bilateral": "Bilateral  {}"}
_CASES = st.sampled_from([str.upper, str.lower, str.title, str.capitalize])
_SPACES = st.sampled_from([" ", "  ", "\t", "\u00a0", "-", ", "])


@given(st.sampled_from(CALLED_SO), st.sampled_from(sorted(_SIDED)), _CASES, _SPACES)
def test_every_listed_name_states_its_complaint_however_it_is_written(
    name: str, side: str, cased: Any, between: str
) -> None:
    text = _SIDED[side].format(cased(between.join(name.split())))
    found = READER.index.complaints_in_words({"text": text})
    assert {row.concept for row in found} == READER.index._complaints[name]
    assert {row.side for row in found} == {side}


@given(
    st.sampled_from(CALLED_SO), st.sampled_from(_DOUBTS), st.sampled_from(sorted(_SIDED)), _CASES, st.text(max_size=9)
)
def test_no_text_that_doubts_states_a_complaint(name: str, doubt: str, side: str, cased: Any, more: str) -> None:
    for text in (doubt.format(_SIDED[side].format(cased(name))), f"{more} {doubt.format(name)}", f"{name} {more}?"):
        assert READER.index.complaints_in_words({"text": text}) == []
        assert READER.index.complaints_in_words({"text": name, "coding": [{"display": text}]}) == []


# ---------------------------------------------------------------------------------------------------------------------
# Charts without this complaint


@pytest.mark.parametrize("reason", [concept("I10", ICD), {"text": "Annual visit"}, {"text": "Fracture?"}])
def test_a_visit_for_something_else_is_read_no_further(reason: Json) -> None:
    case = read(encounter(reasonCode=[reason]), observation("palpable-mass", valueBoolean=True))
    assert case.assertions == {}


def test_the_complaint_of_the_visit_opens_the_chart(client: FlaskClient) -> None:
    visit = encounter(reasonCode=[{"text": "Left buttock pain"}])
    answer = client.post(
        SERVICE, json=call([observation("saddle-numbness", valueBoolean=True)], encounter=visit)
    ).get_json()
    assert answer["extension"]["org.sitbone.assessment"]["complaint"] == "present"
    assert answer["extension"]["org.sitbone.assessment"]["side"] == "left"
    assert answer["cards"][0]["indicator"] == "critical"


def test_the_card_says_that_the_complaint_was_recognised_by_its_words(client: FlaskClient) -> None:
    visit = encounter(reasonCode=[{"text": "Left buttock pain"}])
    answer = client.post(SERVICE, json=call([], encounter=visit)).get_json()
    assert sentence("byText") in answer["cards"][0]["summary"]
    (found,) = answer["cards"][0]["extension"]["org.sitbone.basis"]["findings"]
    assert (found["byText"], found["resource"]) == (True, f"Encounter/{ENCOUNTER}")


def test_the_patient_named_by_the_encounter_is_the_one_of_the_context() -> None:
    visit = encounter(subject={"reference": f"https://ehr.example.org/fhir/r4/Patient/{PATIENT}"}, reasonCode=[BUTTOCK])
    assert stated(read(visit)) == {("buttock-pain", "")}
