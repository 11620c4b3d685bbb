"""Every shape in which a finding may arrive, and every tolerance: FHIR resources -> what is held of a finding."""

import csv
import json
from collections.abc import Iterable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from cds_hooks import read_request
from service.app import create_app
from service.chart import case as case_module
from service.chart.case import Case, CaseReader
from service.chart.fhir_time import When
from service.chart.side_chart import Chart
from service.knowledge_model.conditions import Interval
from service.knowledge_model.model import Code
from service.reasoning.decision import charts_of, layout, screen
from service.reasoning.kernel import compiled
from service.services.evaluation import chart_of
from service.services.explanation import Explainer
from tests.charts import (
    ANOTHER,
    CLOCK,
    LOCAL,
    PATIENT,
    SERVICE,
    SYSTEMS,
    Json,
    build_request,
    bundle,
    case_reader,
    packaged,
    sentence,
    services,
)
from tests.once import decided_once

GUIDELINE = packaged()
READER = case_reader()
KERNEL = compiled(GUIDELINE)
CALLED = services().find("gluteal-hamstring-pain", "patient-view")
TODAY, YESTERDAY = "2026-11-22", "2026-11-21"
SCT, LOINC, ICD, RXNORM = (SYSTEMS[name] for name in ("sct", "loinc", "icd10cm", "rxnorm"))
OWN = {"reference": f"Patient/{PATIENT}"}


def concept(code: str, system: str = LOCAL) -> Json:
    return {"coding": [{"system": system, "code": code}]}


def observation(finding: str = "ischial-tenderness", system: str = LOCAL, **members: Any) -> Json:
    return {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "code": concept(finding, system),
        "subject": OWN,
        "effectiveDateTime": TODAY,
        **members,
    }


def condition(code: str, system: str = ICD, **members: Any) -> Json:
    return {
        "resourceType": "Condition",
        "id": "c",
        "clinicalStatus": concept("active", "http://terminology.hl7.org/CodeSystem/condition-clinical"),
        "code": concept(code, system),
        "subject": OWN,
        "recordedDate": TODAY,
        **members,
    }


def verified(status: str) -> Json:
    return {"verificationStatus": concept(status, "http://terminology.hl7.org/CodeSystem/condition-ver-status")}


def medicine(code: str = "11289", kind: str = "MedicationRequest", **members: Any) -> Json:
    return {
        "resourceType": kind,
        "id": "m",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": concept(code, RXNORM),
        "subject": OWN,
        **members,
    }


def allergy(code: str = "5640", system: str = RXNORM, **members: Any) -> Json:
    return {"resourceType": "AllergyIntolerance", "id": "a", "code": concept(code, system), "patient": OWN, **members}


def form(*items: Json, **members: Any) -> Json:
    return {
        "resourceType": "QuestionnaireResponse",
        "id": "q",
        "status": "completed",
        "subject": OWN,
        "authored": f"{TODAY}T08:00:00Z",
        "item": list(items),
        **members,
    }


def call(resources: Iterable[Any], patient: Json | None = None, **prefetch: Any) -> Json:
    """A request with these resources among its observations: where a resource lies does not matter."""
    request = build_request({"age": 40})
    entries = [{"resource": resource} for resource in resources]
    request["prefetch"]["observations"] = {"resourceType": "Bundle", "type": "searchset", "entry": entries}
    if patient is not None:
        request["prefetch"]["patient"] = patient
    request["prefetch"].update(prefetch)
    return request


def read(*resources: Any, patient: Json | None = None, sought: frozenset[str] | None = None, **prefetch: Any) -> Case:
    body = json.dumps(call(resources, patient, **prefetch)).encode()
    return READER.read(chart_of(read_request(body, CALLED, correlation_id="test")), CLOCK, sought)


def held(case: Case, finding: str, side: str = "") -> Any:
    """What is held of a finding: True, False, None (unknown), an Interval or a When."""
    return case.resolve(finding, side, with_sideless=True).value


def derived(case: Case, name: str) -> Any:
    chart = Chart(case, "", with_sideless=True)
    if name not in KERNEL.criteria:
        return chart[name]
    decision, criterion = screen(KERNEL, charts_of(KERNEL, layout(KERNEL, 1), [chart])), KERNEL.criteria[name]
    return True if decision.on(criterion.true, 0) else False if decision.on(criterion.false, 0) else None


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(clock=lambda: CLOCK).test_client()


# ---------------------------------------------------------------------------------------------------------------------
# How far a chart is read

PAIN = frozenset({"buttock-pain"})


def test_a_chart_without_what_is_sought_is_read_no_further() -> None:
    assert read(observation("fever"), allergy(), sought=PAIN).assertions == {}


@pytest.mark.parametrize(
    "pain",
    [
        observation("buttock-pain"),
        observation("x", component=[{"code": concept("buttock-pain"), "valueBoolean": True}]),
        observation("ischial-tenderness", valueCodeableConcept=concept("buttock-pain")),
        {**observation("buttock-pain"), "effectiveDateTime": 7},
    ],
    ids=["by its code", "in a component", "as an answer", "in a resource with an element of the wrong type"],
)
def test_what_is_sought_lets_all_of_the_chart_be_read_also_what_came_before(pain: Json) -> None:
    assert {"fever", "buttock-pain", "nsaid-allergy"} <= set(
        read(observation("fever"), pain, allergy(), sought=PAIN).assertions
    )


def test_a_questionnaire_is_always_read_to_its_answers() -> None:
    item = {"linkId": "buttock-pain", "answer": [{"valueBoolean": True}]}
    answers = {"resourceType": "QuestionnaireResponse", "status": "completed", "subject": OWN, "item": [item]}
    assert {"fever", "buttock-pain"} <= set(read(observation("fever"), answers, sought=PAIN).assertions)


# ---------------------------------------------------------------------------------------------------------------------
# Codes


CLINICAL = [finding for finding in GUIDELINE.findings.values() if finding.kind in "symptom history exam test result"]


def test_every_finding_is_read_under_its_own_id() -> None:
    for finding in (f.id for f in CLINICAL if f.value == "boolean"):
        assert held(read(observation(finding, valueBoolean=True)), finding) is True, finding
        assert held(read(observation(finding, valueBoolean=False)), finding) is False, finding
        unsaid = None if GUIDELINE.findings[finding].kind == "test" else True
        assert held(read(observation(finding)), finding) is unsaid, finding


@pytest.mark.parametrize("finding", [f.id for f in GUIDELINE.findings.values() if f.value == "quantity"])
def test_every_quantity_is_read_under_its_own_id_in_its_own_unit(finding: str) -> None:
    unit, value = GUIDELINE.findings[finding].unit, plausible(finding)
    sent = observation(finding, valueQuantity={"value": value, "code": unit})
    assert held(read(sent), finding) == Interval(value, value)


def plausible(finding: str) -> float:
    """A value that a measurement may have."""
    low, high = GUIDELINE.findings[finding].plausible
    return (low + high) / 2 if isfinite(low) else 3


@pytest.mark.parametrize("finding", [f.id for f in GUIDELINE.findings.values() if isfinite(f.plausible.low)])
def test_a_value_that_no_patient_has_is_recorded_and_not_readable(finding: str) -> None:
    low, high = GUIDELINE.findings[finding].plausible
    for value, reason in ((low, ""), (high, ""), (low - 0.1, "implausible"), (high + 0.1, "implausible")):
        unit = GUIDELINE.findings[finding].unit
        case = read(observation(finding, valueQuantity={"value": value, "code": unit}))
        assert [one.unreadable for one in case.not_readable()] == ([reason] if reason else [])


def site_of(row: Code) -> Json:
    if not row.site:
        return {}
    place = next(answer for answer in GUIDELINE.answers if answer.concept == f"site:{row.site}")
    return {"bodySite": concept(place.code, place.system)}


def as_sent(row: Code) -> Json:
    """A resource that states the finding of this row with the row's code, as an EHR would."""
    finding, code = GUIDELINE.findings[row.concept], row.code.partition("-")[0] if row.match == "range" else row.code
    if finding.kind == "medication":
        return medicine(medicationCodeableConcept=concept(code, row.system))
    if finding.kind == "allergy" and row.system != ICD:
        return allergy(code, row.system)
    if row.code.startswith("LA"):
        return observation("82810-3", LOINC, valueCodeableConcept=concept(code, row.system))
    if row.system == ICD or (row.system == SCT and finding.value == "boolean"):
        site = site_of(row)
        return condition(code, row.system, **({"bodySite": [site["bodySite"]]} if site else {}))
    values: dict[str, Json] = {
        "quantity": {"valueQuantity": {"value": plausible(finding.id), "code": finding.unit}},
        "date": {"valueDateTime": YESTERDAY},
        "boolean": {"valueBoolean": True},
    }
    return observation(code, row.system, **values[finding.value])


def test_every_code_of_the_value_sets_is_read_and_knows_its_side() -> None:
    for row in GUIDELINE.codes:
        code, due = f"{row.concept} {row.code}", GUIDELINE.findings[row.concept].due
        assertions = read(as_sent(row)).assertions
        name = due.present if due else row.concept
        assert name in assertions, code
        (statement, *_rest) = assertions[name]
        assert statement.value not in (None, False), code
        assert statement.side == row.side, code


def test_every_code_under_which_a_finding_may_arrive_by_the_contract_is_read(shared: Path) -> None:
    unread = []
    with (shared / "clinical" / "findings.csv").open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            for code in row["codes"].split():
                system, mark, value = code.partition("#")
                if not mark or row["value"] != "boolean":
                    continue
                if row["id"] not in read(condition(value.rstrip("*"), SYSTEMS[system])).assertions:
                    unread.append(f"{row['id']} {code}")
    assert unread == []


@pytest.mark.parametrize(
    ("code", "side"),
    [
        ("S76.311A", "right"),
        ("S76312A", "left"),
        ("s76.312d", "left"),
        ("S76.319A", ""),
        ("M79.651", "right"),
        ("M79652", "left"),
        ("M79.659", ""),
        ("G57.03", "bilateral"),
        ("M70.72", "left"),
    ],
)
def test_an_icd_10_cm_code_tells_its_side_with_and_without_the_dot(code: str, side: str) -> None:
    (found, *_rest) = [statement for found in read(condition(code)).assertions.values() for statement in found]
    assert (found.value, found.side) == (True, side)


@pytest.mark.parametrize("code", ["S76", "S7", "M79", "S76.2", "", "X", "M7", "C", "C9", "Ü79.651"])
def test_a_code_that_is_shorter_or_another_is_not_read(code: str) -> None:
    assert not read(condition(code)).assertions


@pytest.mark.parametrize("code", ["C00.0", "C64.2", "C79.51", "C96.9"])
def test_a_range_takes_every_code_within_it(code: str) -> None:
    assert held(read(condition(code)), "cancer-history") is True


@pytest.mark.parametrize("code", ["B99", "C97", "D00.0", "D49.0"])
def test_a_range_ends_where_it_ends(code: str) -> None:
    assert held(read(condition(code)), "cancer-history") is None


def test_systems_are_read_as_object_identifiers_as_well() -> None:
    assert held(read(observation("279043006", "urn:oid:2.16.840.1.113883.6.96")), "buttock-pain") is True
    assert held(read(condition("M79.651", "urn:oid:2.16.840.1.113883.6.90")), "thigh-pain") is True
    assert (
        held(
            read(medicine(medicationCodeableConcept=concept("11289", "urn:oid:2.16.840.1.113883.6.88"))),
            "anticoagulant-medicine",
        )
        is True
    )


def test_answers_and_sides_are_read_as_object_identifiers_as_well() -> None:
    oid = "urn:oid:2.16.840.1.113883.6.96"
    assert held(read(observation(valueCodeableConcept=concept("373067005", oid))), "ischial-tenderness") is False
    (found,) = read(observation(bodySite=concept("7771000", oid))).assertions["ischial-tenderness"]
    assert found.side == "left"


def test_any_coding_of_a_concept_may_be_the_known_one() -> None:
    codes = {
        "coding": [{"system": "http://hospital.example.org", "code": "1"}, *concept("ischial-tenderness")["coding"]]
    }
    assert held(read(observation(code=codes)), "ischial-tenderness") is True


@pytest.mark.parametrize(
    ("code", "site", "finding"),
    [("302227002", "46862004", "significant-bruising"), ("247348008", "69030007", "ischial-tenderness")],
)
def test_a_code_that_needs_a_body_site_is_read_with_it_alone(code: str, site: str, finding: str) -> None:
    assert held(read(observation(code, SCT, bodySite=concept(site, SCT))), finding) is True
    assert held(read(observation(code, SCT, bodySite=concept("40983000", SCT))), finding) is None
    assert held(read(observation(code, SCT)), finding) is None


# ---------------------------------------------------------------------------------------------------------------------
# Shapes


YES_NO = [
    ({"valueBoolean": True}, True),
    ({"valueBoolean": False}, False),
    ({"valueCodeableConcept": concept("373066001", SCT)}, True),
    ({"valueCodeableConcept": concept("52101004", SCT)}, True),
    ({"valueCodeableConcept": concept("10828004", SCT)}, True),
    ({"valueCodeableConcept": concept("373067005", SCT)}, False),
    ({"valueCodeableConcept": concept("2667000", SCT)}, False),
    ({"valueCodeableConcept": concept("260385009", SCT)}, False),
    ({"valueCodeableConcept": concept("261665006", SCT)}, None),
    ({"valueCodeableConcept": concept("385432009", SCT)}, None),
    ({"valueCodeableConcept": concept("LA33-6", LOINC)}, True),
    ({"valueCodeableConcept": concept("LA32-8", LOINC)}, False),
    ({"valueCodeableConcept": concept("Y", "http://terminology.hl7.org/CodeSystem/v2-0136")}, True),
    ({"valueCodeableConcept": concept("N", "http://terminology.hl7.org/CodeSystem/v2-0136")}, False),
    ({"valueCodeableConcept": {"text": "Positive"}}, True),
    ({"valueCodeableConcept": {"text": "absent"}}, False),
    ({"valueCodeableConcept": {"text": "not examined"}}, None),
    ({"valueCodeableConcept": concept("Y", "http://hospital.example.org")}, None),
    (
        {
            "valueCodeableConcept": {
                "coding": [*concept("373066001", SCT)["coding"], *concept("LA32-8", LOINC)["coding"]]
            }
        },
        None,
    ),
    ({"valueString": "Yes"}, True),
    ({"valueString": " positive "}, True),
    ({"valueString": "PRESENT"}, True),
    ({"valueString": "no"}, False),
    ({"valueString": "Negative"}, False),
    ({"valueString": "not sure"}, None),
    ({"valueString": ""}, None),
    ({"valueInteger": 1}, True),
    ({"valueInteger": 2}, None),
    ({"dataAbsentReason": concept("unknown", "http://terminology.hl7.org/CodeSystem/data-absent-reason")}, None),
    ({"valueBoolean": True, "dataAbsentReason": {"text": "asked but unknown"}}, None),
    ({"interpretation": [concept("POS", "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation")]}, True),
    ({"interpretation": [concept("NEG", "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation")]}, False),
    ({"interpretation": [concept("A", "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation")]}, True),
    ({"interpretation": [concept("IND", "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation")]}, None),
    ({"valueBoolean": False, "interpretation": [{"text": "positive"}]}, None),
    ({}, True),
    ({"valueBoolean": None}, None),
]


@pytest.mark.parametrize(("value", "expected"), YES_NO, ids=lambda value: json.dumps(value)[:70])
def test_a_value_says_yes_no_or_unknown(value: Json, expected: bool | None) -> None:
    assert held(read(observation(**value)), "ischial-tenderness") is expected


@pytest.mark.parametrize(("value", "expected"), YES_NO, ids=lambda value: json.dumps(value)[:70])
def test_a_component_says_yes_no_or_unknown(value: Json, expected: bool | None) -> None:
    panel = {
        **observation("examination", "http://hospital.example.org"),
        "component": [{"code": concept("ischial-tenderness"), **value}],
    }
    assert held(read(panel), "ischial-tenderness") is expected


def test_a_question_is_answered_with_the_finding() -> None:
    asked = observation("38203-6", LOINC, valueCodeableConcept=concept("373933003", SCT))
    assert held(read(asked), "sudden-onset") is True


def test_a_question_of_another_system_is_answered_with_the_finding() -> None:
    asked = observation("where", "http://hospital.example.org", valueCodeableConcept=concept("279043006", SCT))
    asked["code"]["text"] = "Where does it hurt?"
    assert held(read(asked), "buttock-pain") is True


@pytest.mark.parametrize("text", ["", "Family history", "Pertinent negatives", "What makes it better?"])
def test_an_answer_to_any_other_question_is_not_the_patients(text: str) -> None:
    asked = observation("q", "http://hospital.example.org", valueCodeableConcept=concept("foot-drop"))
    asked["code"]["text"] = text
    case = read(asked)
    assert held(case, "foot-drop") is (False if "negative" in text else None)
    # What was asked is not known: the finding is recorded, and not readable.
    assert [one.unreadable for one in case.not_readable()] == ([] if text else ["question"])


def test_what_eases_the_pain_is_no_finding() -> None:
    asked = observation("38210-1", LOINC, valueCodeableConcept=concept("pain-with-sitting"))
    assert held(read(asked), "pain-with-sitting") is None


def test_a_disease_that_is_the_answer_to_a_question_is_not_the_patients() -> None:
    asked = observation("10157-6", LOINC, valueCodeableConcept=concept("363346000", SCT))
    assert held(read(asked), "cancer-history") is None


def test_a_component_that_is_a_question_is_answered_with_the_finding() -> None:
    part = {"code": concept("38204-4", LOINC), "valueCodeableConcept": concept("279043006", SCT)}
    assert held(read(observation("panel", "http://hospital.example.org", component=[part])), "buttock-pain") is True


def test_a_panel_states_its_members_and_not_itself() -> None:
    member = observation("psis-tenderness", valueBoolean=False, id="member")
    panel = observation("ischial-tenderness", hasMember=[{"reference": "Observation/member"}])
    case = read(panel, member)
    assert (held(case, "psis-tenderness"), held(case, "ischial-tenderness")) == (False, None)


def test_a_panel_with_a_value_of_its_own_states_it() -> None:
    panel = observation("ischial-tenderness", hasMember=[{"reference": "Observation/member"}], valueBoolean=True)
    assert held(read(panel), "ischial-tenderness") is True


def test_a_condition_states_its_finding() -> None:
    assert held(read(condition("279043006", SCT)), "buttock-pain") is True


@pytest.mark.parametrize(
    ("item", "finding", "expected"),
    [
        ({"linkId": "ischial-tenderness", "answer": [{"valueBoolean": True}]}, "ischial-tenderness", True),
        ({"linkId": "ischial-tenderness", "answer": [{"valueBoolean": False}]}, "ischial-tenderness", False),
        ({"linkId": "ischial-tenderness", "answer": []}, "ischial-tenderness", None),
        ({"linkId": "ischial-tenderness"}, "ischial-tenderness", None),
        ({"linkId": "exam/ischial-tenderness", "answer": [{"valueBoolean": True}]}, "ischial-tenderness", True),
        (
            {
                "linkId": "1",
                "definition": "https://hospital.example.org/form#ischial-tenderness",
                "answer": [{"valueBoolean": True}],
            },
            "ischial-tenderness",
            True,
        ),
        (
            {"linkId": "1", "item": [{"linkId": "ischial-tenderness", "answer": [{"valueBoolean": False}]}]},
            "ischial-tenderness",
            False,
        ),
        (
            {
                "linkId": "1",
                "answer": [
                    {
                        "valueBoolean": True,
                        "item": [{"linkId": "ischial-tenderness", "answer": [{"valueBoolean": True}]}],
                    }
                ],
            },
            "ischial-tenderness",
            True,
        ),
        (
            {"linkId": "ischial-tenderness", "answer": [{"valueCoding": concept("373067005", SCT)["coding"][0]}]},
            "ischial-tenderness",
            False,
        ),
        ({"linkId": "ischial-tenderness", "answer": [{"valueString": "positive"}]}, "ischial-tenderness", True),
        (
            {
                "linkId": "where",
                "text": "Where does it hurt?",
                "answer": [{"valueCoding": concept("279043006", SCT)["coding"][0]}],
            },
            "buttock-pain",
            True,
        ),
        (
            {
                "linkId": "where",
                "text": "Where does it hurt?",
                "answer": [{"valueCoding": concept("leg-weakness")["coding"][0]}],
            },
            "leg-weakness",
            True,
        ),
        ({"linkId": "pain-severity", "answer": [{"valueInteger": 8}]}, "pain-severity", Interval(8, 8)),
        ({"linkId": "pain-severity", "answer": [{"valueDecimal": 7.5}]}, "pain-severity", Interval(7.5, 7.5)),
        (
            {"linkId": "self-care-days", "answer": [{"valueQuantity": {"value": 2, "code": "wk"}}]},
            "self-care-days",
            Interval(14, 14),
        ),
        ({"linkId": "self-care-days", "answer": [{"valueInteger": 14}]}, "self-care-days", None),
    ],
    ids=lambda value: json.dumps(value)[:80] if isinstance(value, dict) else "",
)
def test_an_answer_of_a_questionnaire_is_read(item: Json, finding: str, expected: Any) -> None:
    assert held(read(form(item)), finding) == expected


def test_a_questionnaire_nested_beyond_reason_is_read_without_harm() -> None:
    item: Json = {"linkId": "ischial-tenderness", "answer": [{"valueBoolean": True}]}
    for _ in range(60):
        item = {"linkId": "group", "item": [item]}
    assert held(read(form(item)), "ischial-tenderness") is None


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (observation("38201-0", LOINC, valueDateTime="2026-10-01"), "2026-10-01"),
        (observation("onset-date", valueDateTime="2026-10-01T08:00:00Z"), "2026-10-01"),
        (observation("onset-date", valuePeriod={"start": "2026-10-01"}), "2026-10-01"),
        (observation("onset-date", valueString="2026-10"), "2026-10"),
        (form({"linkId": "onset-date", "answer": [{"valueDate": "2026-10-01"}]}), "2026-10-01"),
        (condition("279043006", SCT, onsetDateTime="2026-10-01"), "2026-10-01"),
        (condition("M70.72", onsetPeriod={"start": "2026-10-01"}), "2026-10-01"),
    ],
    ids=lambda value: json.dumps(value)[:80] if isinstance(value, dict) else "",
)
def test_the_onset_is_read_from_every_place_that_has_it(resource: Json, expected: str) -> None:
    onset = held(read(resource), "onset-date")
    assert isinstance(onset, When)
    assert onset.text == expected


@pytest.mark.parametrize(
    "resource",
    [
        condition("I10", onsetDateTime="2026-10-01"),
        condition("279043006", SCT, onsetDateTime="2026-10-01", clinicalStatus=concept("resolved", "x")),
        condition("279043006", SCT, onsetDateTime="2026-10-01", **verified("refuted")),
        observation("onset-date", valueString="since spring"),
    ],
    ids=["another condition", "resolved", "refuted", "no date"],
)
def test_the_onset_of_something_else_is_not_the_onset(resource: Json) -> None:
    assert held(read(resource), "onset-date") is None


def test_the_latest_onset_is_that_of_the_present_episode() -> None:
    case = read(
        condition("279043006", SCT, onsetDateTime="2024-01-01"), observation("onset-date", valueDateTime="2026-11-12")
    )
    assert derived(case, "days-since-onset") == Interval(10, 10)


# ---------------------------------------------------------------------------------------------------------------------
# Status


@pytest.mark.parametrize(
    ("resource", "finding", "expected"),
    [
        (observation(status="entered-in-error"), "ischial-tenderness", None),
        (observation(status="cancelled"), "ischial-tenderness", None),
        (observation(status="registered"), "ischial-tenderness", None),
        (observation(status="amended"), "ischial-tenderness", True),
        (observation(status="preliminary"), "ischial-tenderness", True),
        (condition("M70.72", **verified("entered-in-error")), "diagnosed-ischial-bursitis", None),
        (condition("M70.72", **verified("refuted")), "diagnosed-ischial-bursitis", False),
        (condition("M70.72", **verified("provisional")), "diagnosed-ischial-bursitis", True),
        (condition("M70.72", verificationStatus="refuted"), "diagnosed-ischial-bursitis", False),
        (condition("M70.72", clinicalStatus="resolved"), "diagnosed-ischial-bursitis", None),
        (condition("M70.72", clinicalStatus=concept("inactive", "x")), "diagnosed-ischial-bursitis", None),
        (condition("M70.72", clinicalStatus=concept("remission", "x")), "diagnosed-ischial-bursitis", None),
        (condition("M70.72", clinicalStatus=concept("recurrence", "x")), "diagnosed-ischial-bursitis", True),
        (condition("M70.72", clinicalStatus=None, abatementDateTime="2025"), "diagnosed-ischial-bursitis", None),
        (condition("M54.50", clinicalStatus=concept("resolved", "x")), "low-back-pain", True),
        (condition("C64.2", clinicalStatus=concept("resolved", "x")), "cancer-history", True),
        (
            form({"linkId": "ischial-tenderness", "answer": [{"valueBoolean": True}]}, status="entered-in-error"),
            "ischial-tenderness",
            None,
        ),
        (medicine(), "anticoagulant-medicine", True),
        (medicine(status="stopped"), "anticoagulant-medicine", None),
        (medicine(status="completed"), "anticoagulant-medicine", None),
        (medicine(status="entered-in-error"), "anticoagulant-medicine", None),
        (medicine(intent="proposal"), "anticoagulant-medicine", None),
        (medicine(doNotPerform=True), "anticoagulant-medicine", None),
        (medicine(kind="MedicationStatement"), "anticoagulant-medicine", True),
        (allergy(), "nsaid-allergy", True),
        (allergy(verificationStatus=concept("refuted", "x")), "nsaid-allergy", False),
        (allergy(verificationStatus=concept("entered-in-error", "x")), "nsaid-allergy", None),
        (allergy(clinicalStatus=concept("resolved", "x")), "nsaid-allergy", None),
        (allergy(type="intolerance"), "nsaid-allergy", True),
        (allergy("1", "x", reaction=[{"substance": concept("5640", RXNORM)}]), "nsaid-allergy", True),
        (allergy("372665008", SCT), "nsaid-allergy", True),
        (allergy("716186003", SCT), "nsaid-allergy", None),
        (condition("Z88.6"), "nsaid-allergy", True),
        (observation("372665008", SCT), "nsaid-allergy", None),
        (medicine("5640"), "nsaid-allergy", None),
        (medicine("5640"), "nsaid-medicine", True),
    ],
    ids=lambda value: json.dumps(value)[:110] if isinstance(value, dict) else "",
)
def test_a_status_decides_whether_a_resource_is_evidence(resource: Json, finding: str, expected: bool | None) -> None:
    assert held(read(resource), finding) is expected


@pytest.mark.parametrize(
    "resource",
    [
        observation(status="preliminary"),
        condition("ischial-tenderness", LOCAL, **verified("provisional")),
        condition("ischial-tenderness", LOCAL, **verified("differential")),
        condition("ischial-tenderness", LOCAL, **verified("unconfirmed")),
        form({"linkId": "ischial-tenderness", "answer": [{"valueBoolean": True}]}, status="in-progress"),
    ],
    ids=["preliminary", "provisional", "differential", "unconfirmed", "in progress"],
)
def test_what_is_not_final_is_marked(resource: Json) -> None:
    (found,) = read(resource).assertions["ischial-tenderness"]
    assert found.remarks == ("provisional",)


def test_what_is_not_final_is_called_provisional_on_the_card(client: FlaskClient) -> None:
    weak = observation("leg-weakness", status="preliminary")
    answer = client.post(SERVICE, json=call([weak, observation("buttock-pain", id="p")])).get_json()
    # The headline names the finding, and what is named there is not said again.
    assert answer["cards"][0]["summary"].startswith(f"Leg weakness ({sentence('provisional')})")


def test_an_observation_without_a_status_is_read() -> None:
    weak = observation("leg-weakness")
    del weak["status"]
    assert held(read(weak), "leg-weakness") is True


# ---------------------------------------------------------------------------------------------------------------------
# Patient


@pytest.mark.parametrize(
    "reference",
    [
        f"Patient/{PATIENT}",
        f"https://ehr.example.org/fhir/r4/Patient/{PATIENT}",
        f"Patient/{PATIENT}/_history/3",
        f"https://ehr.example.org/fhir/r4/Patient/{PATIENT}/_history/3",
        f"urn:uuid:{PATIENT}",
        PATIENT,
    ],
)
def test_the_patient_is_known_in_every_form_of_reference(reference: str) -> None:
    case = read(observation(subject={"reference": reference}))
    assert held(case, "ischial-tenderness") is True
    assert case.left_out.other_patient == 0


@pytest.mark.parametrize(
    "reference",
    [
        f"Patient/{ANOTHER}",
        f"https://ehr.example.org/fhir/r4/Patient/{ANOTHER}",
        f"Patient/{ANOTHER}/_history/3",
        f"urn:uuid:{ANOTHER}",
        ANOTHER,
        f"Group/{PATIENT}",
        f"Patient/{PATIENT}0",
        "Patient/",
    ],
)
def test_what_belongs_to_another_is_left_out_and_counted(reference: str) -> None:
    case = read(observation(subject={"reference": reference}), observation("psis-tenderness", id="own"))
    assert held(case, "ischial-tenderness") is None
    assert held(case, "psis-tenderness") is True
    assert case.left_out.other_patient == 1


@pytest.mark.parametrize(
    "resource",
    [
        condition("M70.72", subject={"reference": f"Patient/{ANOTHER}"}),
        medicine(subject={"reference": f"Patient/{ANOTHER}"}),
        allergy(patient={"reference": f"Patient/{ANOTHER}"}),
        form(
            {"linkId": "ischial-tenderness", "answer": [{"valueBoolean": True}]},
            subject={"reference": f"Patient/{ANOTHER}"},
        ),
    ],
    ids=lambda resource: str(resource["resourceType"]),
)
def test_no_kind_of_resource_of_another_is_read(resource: Json) -> None:
    case = read(resource, observation("psis-tenderness", id="own"))
    assert list(case.assertions) == ["psis-tenderness"]


def test_a_resource_without_a_subject_is_taken_for_the_patients() -> None:
    own = observation()
    del own["subject"]
    assert held(read(own), "ischial-tenderness") is True
    assert held(read(observation(subject={"display": "somebody"})), "ischial-tenderness") is True


def test_a_subject_of_the_wrong_type_that_names_another_is_not_the_patients() -> None:
    assert (
        held(
            read(observation(subject=f"Patient/{ANOTHER}"), observation("psis-tenderness", id="own")),
            "ischial-tenderness",
        )
        is None
    )
    assert (
        held(
            read(observation(subject=[{"reference": f"Patient/{ANOTHER}"}]), observation("psis-tenderness", id="own")),
            "ischial-tenderness",
        )
        is None
    )


def test_the_card_says_that_resources_of_another_were_left_out(client: FlaskClient) -> None:
    foreign = observation("leg-weakness", subject={"reference": f"Patient/{ANOTHER}"})
    answer = client.post(SERVICE, json=call([foreign, observation("buttock-pain", id="p")])).get_json()
    assert sentence("other_patient", count=1) in answer["cards"][0]["detail"]
    assert ANOTHER not in json.dumps(answer)


REFUSED: list[tuple[str, Json]] = [
    ("no patient", {"patient": None}),
    ("another patient", {"patient": {"resourceType": "Patient", "id": ANOTHER}}),
    ("no clinical data", {"conditions": "left out", "observations": "left out"}),
    (
        "failed searches",
        {key: {"resourceType": "OperationOutcome", "issue": []} for key in ("conditions", "observations")},
    ),
    (
        "only resources of another",
        {"observations": bundle([observation(subject={"reference": f"Patient/{ANOTHER}"})])},
    ),
]


@pytest.mark.parametrize(("_name", "changed"), REFUSED, ids=[name for name, _changed in REFUSED])
def test_what_the_service_cannot_do_without_is_asked_for_with_412(
    client: FlaskClient, _name: str, changed: Json
) -> None:
    request = call([observation("buttock-pain")])
    request["prefetch"].update(changed)
    request["prefetch"] = {key: value for key, value in request["prefetch"].items() if value != "left out"}
    response = client.post(SERVICE, json=request)
    assert response.status_code == 412
    (issue,) = response.get_json()["issue"]
    assert issue["expression"][0].startswith("prefetch.")
    assert "expected" in issue["diagnostics"]
    assert ANOTHER not in response.get_data(as_text=True)


@pytest.mark.parametrize("key", ["conditions", "observations"])
def test_one_of_conditions_and_observations_is_enough(client: FlaskClient, key: str) -> None:
    request = build_request({"age": 40, "present": ["buttock-pain"], "conditions": ["sct|279043006"]})
    del request["prefetch"][key]
    assert (
        client.post(SERVICE, json=request).get_json()["extension"]["org.sitbone.assessment"]["complaint"] == "present"
    )


def test_a_patient_without_birth_date_and_sex_has_an_unknown_age_and_sex() -> None:
    case = read(observation(), patient={"resourceType": "Patient", "id": PATIENT})
    assert (case.patient.age, case.patient.sex) == (None, None)


@pytest.mark.parametrize(
    ("born", "age"),
    [
        ("1986-11-22", Interval(40, 40)),
        ("1986-11-23", Interval(39, 39)),
        ("1986", Interval(39, 40)),
        ("1986-11", Interval(39, 40)),
        ("1986-10", Interval(40, 40)),
        ("2004-02-29", Interval(22, 22)),
        ("2030-01-01", None),
        ("unknown", None),
        (1986, None),
    ],
)
def test_the_age_is_as_exact_as_the_date_of_birth(born: Any, age: Interval | None) -> None:
    assert read(observation(), patient={"resourceType": "Patient", "id": PATIENT, "birthDate": born}).patient.age == age


# ---------------------------------------------------------------------------------------------------------------------
# Time


@pytest.mark.parametrize(
    ("onset", "days"),
    [
        ("2026-11-22", Interval(0, 0)),
        ("2026-10-11", Interval(42, 42)),
        ("2026-10-11T23:30:00Z", Interval(42, 42)),
        ("2026-10", Interval(22, 52)),
        ("2026", Interval(0, 325)),
    ],
)
def test_a_partial_date_is_the_span_that_it_may_mean(onset: str, days: Interval) -> None:
    assert derived(read(observation("onset-date", valueDateTime=onset)), "days-since-onset") == days


def test_an_onset_of_some_day_of_a_month_does_not_decide_about_six_weeks() -> None:
    assert derived(read(observation("onset-date", valueDateTime="2026-10")), "lasting-six-weeks") is None
    assert derived(read(observation("onset-date", valueDateTime="2026-09")), "lasting-six-weeks") is True
    assert derived(read(observation("onset-date", valueDateTime="2026-11")), "lasting-six-weeks") is False


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"effectiveDateTime": "2026-11-24T12:00:00Z"}, None),
        ({"effectiveDateTime": "2026-11-23T08:00:00+14:00"}, True),
        ({"effectiveDateTime": "2027"}, None),
        ({"effectivePeriod": {"start": "2026-11-20", "end": "2026-11-21"}, "effectiveDateTime": None}, True),
        ({"effectivePeriod": {"start": "2020-01-01", "end": "2020-01-02"}, "effectiveDateTime": None}, None),
        ({"effectiveInstant": "2026-11-20T08:00:00.000Z", "effectiveDateTime": None}, True),
        ({"effectiveDateTime": None, "issued": "2020-01-01T08:00:00Z"}, None),
        ({"effectiveDateTime": None}, True),
        ({"effectiveDateTime": "2020"}, None),
        ({"effectiveDateTime": "2026"}, True),
        ({"effectiveDateTime": "2020-01-01t08:00:00z"}, None),
        ({"effectiveDateTime": "2020-01-01 08:00:00"}, None),
        ({"effectiveDateTime": "2020-01-01T08:00:00.0123456789+0100"}, None),
        ({"effectiveDateTime": "2020-01-01, 08:00:00"}, None),
        ({"effectiveDateTime": "yesterday"}, None),
    ],
    ids=json.dumps,
)
def test_the_time_of_an_observation_decides_whether_it_is_evidence_now(said: Json, expected: bool | None) -> None:
    members = {key: value for key, value in observation(**said).items() if value is not None}
    assert held(read(members), "ischial-tenderness") is expected


def test_what_is_too_old_or_from_the_future_is_counted() -> None:
    case = read(observation(effectiveDateTime="2020"), observation("psis-tenderness", effectiveDateTime="2030"))
    assert (case.left_out.outdated, case.left_out.future) == (1, 1)


A1C = ("4548-4", LOINC)
DAYS = st.sampled_from(["2026-11-22", "2026-11-21T23:30:00-05:00", "2026-11-22T04:00:00Z", "2026-11-20", "2026-09-01"])
MADE_AT = st.one_of(
    st.builds(lambda day: {"effectiveDateTime": day}, DAYS),
    st.sampled_from(
        [
            {"effectiveDateTime": "2026-11"},
            {"effectiveDateTime": "2027-01-01"},
            {"effectiveDateTime": "2020-01-01"},
            {"effectiveDateTime": "9999-12-31"},
            {"effectiveDateTime": "2026-02-31"},
            {"effectiveDateTime": None},
            {"effectiveDateTime": "2026-09-01t10:00:00z"},
            {"effectiveDateTime": "2026-09-01 10:00:00.12345678901"},
            {"effectiveDateTime": "2026-11-22T04:00:00-0500"},
            {"effectiveDateTime": "2026-09-01T10"},
            {"effectiveDateTime": ""},
            {"effectiveDateTime": 7},
            {"effectiveDateTime": None, "issued": "2026-11-22T05:00:00Z"},
            {"effectiveDateTime": None, "effectiveInstant": "2026-11-22T05:00:00Z"},
            {"effectiveDateTime": None, "effectivePeriod": {"start": "2026-11-01", "end": "2026-11-22"}},
        ]
    ),
)
MEASURED = st.sampled_from(
    [
        {"valueQuantity": {"value": 6.5, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}},
        {"valueQuantity": {"value": 9.1, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}},
        {"valueQuantity": {"value": 48, "unit": "furlong"}},
        {"valueQuantity": {"value": 9.1, "code": "%"}, "status": "entered-in-error"},
        {"dataAbsentReason": {"text": "clotted"}},
        {"hasMember": [{"reference": "Observation/x"}]},
    ]
)


@given(st.lists(st.builds(lambda made, measured: {**made, **measured}, MADE_AT, MEASURED), max_size=6))
def test_a_repeated_measurement_is_held_as_if_all_of_it_were_read(said: list[Json]) -> None:
    measured = [observation(*A1C, **each) for each in said]
    body = json.dumps(call({k: v for k, v in one.items() if v is not None} for one in measured)).encode()
    every = CaseReader(GUIDELINE)
    every.repeated = frozenset()
    newest, whole = (
        reader.read(chart_of(read_request(body, CALLED, correlation_id="test")), CLOCK).resolve(
            "hemoglobin-a1c", "", with_sideless=True
        )
        for reader in (READER, every)
    )
    assert (newest.value, newest.contradictory) == (whole.value, whole.contradictory)


def test_of_a_repeated_measurement_only_what_can_be_the_newest_is_read() -> None:
    value: Json = {"valueQuantity": {"value": 6.5, "system": "http://unitsofmeasure.org", "code": "%"}}
    days = [f"2026-{month:02}-01" for month in range(1, 12)]
    case = read(*(observation(*A1C, **value, effectiveDateTime=day) for day in days))
    assert [statement.when.text for statement in case.assertions["hemoglobin-a1c"] if statement.when] == ["2026-11-01"]


def test_an_active_condition_stands_however_long_ago_it_was_recorded() -> None:
    assert held(read(condition("M70.72", recordedDate="2015-01-01")), "diagnosed-ischial-bursitis") is True


def test_an_active_event_is_as_old_as_its_onset() -> None:
    assert held(read(condition("G83.4", onsetDateTime="2020-01-01")), "cauda-equina-diagnosed") is None
    assert held(read(condition("G83.4", onsetDateTime="2026-11-01")), "cauda-equina-diagnosed") is True


def test_the_newest_statement_wins() -> None:
    older, newer = observation(valueBoolean=True, effectiveDateTime="2026-11-01"), observation(valueBoolean=False)
    for case in (read(older, newer), read(newer, older)):
        assert case.resolve("ischial-tenderness", "", with_sideless=True).value is False
        assert not case.resolve("ischial-tenderness", "", with_sideless=True).contradictory


def test_statements_of_one_time_that_disagree_are_unknown_and_shown(client: FlaskClient) -> None:
    yes, no = observation("leg-weakness", valueBoolean=True), observation("leg-weakness", valueBoolean=False, id="n")
    resolved = read(yes, no).resolve("leg-weakness", "", with_sideless=True)
    assert (resolved.value, resolved.contradictory) == (None, True)
    pain = [observation("buttock-pain", id="p"), observation("pain-with-sitting", id="s")]
    answer = client.post(SERVICE, json=call([yes, no, *pain])).get_json()
    assert answer["extension"]["org.sitbone.assessment"].get("redFlags") is None
    assert answer["cards"][0]["summary"].startswith("Leg weakness recorded as present and as absent")


def test_a_month_and_a_day_within_it_that_disagree_are_unknown() -> None:
    month = observation(valueBoolean=True, effectiveDateTime="2026-11")
    assert held(read(month, observation(valueBoolean=False)), "ischial-tenderness") is None


def test_a_statement_without_a_date_cannot_be_put_in_order() -> None:
    undated = observation(valueBoolean=True)
    del undated["effectiveDateTime"]
    assert held(read(undated, observation(valueBoolean=False)), "ischial-tenderness") is None


def test_an_unknown_statement_contradicts_nothing() -> None:
    unknown = observation(dataAbsentReason={"text": "not asked"}, id="u")
    assert held(read(unknown, observation(valueBoolean=False)), "ischial-tenderness") is False


def test_measurements_of_one_time_that_differ_are_the_span_they_cover() -> None:
    low = observation("8310-5", LOINC, valueQuantity={"value": 37, "code": "Cel"})
    high = observation("8310-5", LOINC, valueQuantity={"value": 39, "code": "Cel"}, id="h")
    assert held(read(low, high), "body-temperature") == Interval(37, 39)


# ---------------------------------------------------------------------------------------------------------------------
# Side


@pytest.mark.parametrize(
    ("site", "side"),
    [
        (concept("7771000", SCT), "left"),
        (concept("24028007", SCT), "right"),
        (concept("51440002", SCT), "bilateral"),
        (concept("723979003", SCT), "left"),
        (concept("11207009", SCT), "right"),
        ({"coding": [*concept("46862004", SCT)["coding"], *concept("7771000", SCT)["coding"]]}, "left"),
        ({"coding": [*concept("7771000", SCT)["coding"], *concept("24028007", SCT)["coding"]]}, "bilateral"),
        ({"text": "Left buttock"}, "left"),
        ({"text": "both thighs"}, "bilateral"),
        ({"text": "left and right"}, "bilateral"),
        ({"text": "upright"}, ""),
        (concept("46862004", SCT), ""),
        ([concept("7771000", SCT)], "left"),
        ("left", ""),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_the_side_is_read_from_codes_and_words(site: Any, side: str) -> None:
    (found,) = read(observation(bodySite=site)).assertions["ischial-tenderness"]
    assert found.side == side


def test_a_left_finding_says_nothing_about_the_right() -> None:
    case = read(observation(bodySite=concept("7771000", SCT)))
    assert (held(case, "ischial-tenderness", "left"), held(case, "ischial-tenderness", "right")) == (True, None)


def test_a_finding_of_both_sides_holds_for_each() -> None:
    case = read(observation(bodySite=concept("51440002", SCT)))
    assert (held(case, "ischial-tenderness", "left"), held(case, "ischial-tenderness", "right")) == (True, True)


def test_what_has_no_side_by_its_nature_holds_for_each() -> None:
    case = read(observation("fever", bodySite=concept("7771000", SCT)))
    assert held(case, "fever", "right") is True
    assert case.sides() == ("",)


def sided(*marks: str) -> Case:
    """A chart of pain and normal findings: `buttock-pain left`, `ischial-tenderness right no`."""
    resources = []
    for number, mark in enumerate(marks):
        finding, side, *no = mark.split()
        code = {"left": "7771000", "right": "24028007", "both": "51440002"}.get(side, "no side")
        site = concept(code, SCT)
        resources.append(observation(finding, id=f"o{number}", valueBoolean=not no, bodySite=site))
    return read(*resources)


@pytest.mark.parametrize(
    ("marks", "sides"),
    [
        (["buttock-pain none"], ("",)),
        (["buttock-pain left"], ("left",)),
        (["buttock-pain left", "ischial-tenderness left"], ("left",)),
        (["buttock-pain left", "ischial-tenderness right"], ("left", "right")),
        (["buttock-pain left", "ischial-tenderness right no"], ("left",)),
        (["buttock-pain both"], ("bilateral",)),
        (["buttock-pain both", "ischial-tenderness left"], ("left", "right")),
        (["buttock-pain none", "ischial-tenderness left no"], ("left",)),
        (["buttock-pain none", "ischial-tenderness left no", "psis-tenderness right no"], ("",)),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, list) else "",
)
def test_the_sides_of_the_pain_are_those_with_a_finding(marks: list[str], sides: tuple[str, ...]) -> None:
    assert sided(*marks).sides() == sides


# ---------------------------------------------------------------------------------------------------------------------
# Quantities


@pytest.mark.parametrize(
    ("finding", "quantity", "expected"),
    [
        ("body-temperature", {"value": 100.4, "code": "[degF]"}, Interval(38, 38)),
        ("body-temperature", {"value": 100.4, "unit": "degF"}, Interval(38, 38)),
        ("body-temperature", {"value": 38.0, "unit": "°C"}, Interval(38, 38)),
        ("body-temperature", {"value": 38.0, "code": "Cel", "unit": "Grad"}, Interval(38, 38)),
        ("body-temperature", {"value": 311.2, "code": "K"}, None),
        ("body-temperature", {"value": 38.0}, None),
        ("tendon-retraction", {"value": 2.5, "code": "cm"}, Interval(25, 25)),
        ("tendon-retraction", {"value": 25, "code": "mm"}, Interval(25, 25)),
        ("tendon-retraction", {"value": 1, "code": "[in_i]"}, Interval(25.4, 25.4)),
        ("tendon-retraction", {"value": 3, "code": "fingers"}, None),
        ("self-care-days", {"value": 2, "code": "wk"}, Interval(14, 14)),
        ("self-care-days", {"value": 2, "unit": "weeks"}, Interval(14, 14)),
        ("physiotherapy-weeks", {"value": 42, "code": "d"}, Interval(6, 6)),
        ("pain-severity", {"value": 7}, Interval(7, 7)),
        ("pain-severity", {"value": 7, "code": "{score}"}, Interval(7, 7)),
        ("pain-severity", {"value": 7, "unit": "/10"}, Interval(7, 7)),
        ("pain-severity", {"value": 70, "code": "%"}, None),
        ("egfr", {"value": 28, "code": "mL/min/{1.73_m2}"}, Interval(28, 28)),
        ("egfr", {"value": 28, "unit": "mL/min/1.73m2"}, Interval(28, 28)),
        ("egfr", {"value": 60, "comparator": ">", "code": "mL/min/{1.73_m2}"}, "above 60"),
        ("egfr", {"value": 15, "comparator": "<", "code": "mL/min/{1.73_m2}"}, "below 15"),
        ("egfr", {"value": 15, "comparator": "~", "code": "mL/min/{1.73_m2}"}, None),
        ("egfr", {"value": "28", "code": "mL/min/{1.73_m2}"}, None),
        ("egfr", {"value": True, "code": "mL/min/{1.73_m2}"}, None),
        ("egfr", {"code": "mL/min/{1.73_m2}"}, None),
        ("egfr", {"value": 28, "code": 5}, None),
        ("egfr", {"value": 10**400, "code": "mL/min/{1.73_m2}"}, None),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_a_quantity_is_read_with_its_unit_and_never_guessed(finding: str, quantity: Json, expected: Any) -> None:
    value = held(read(observation(finding, valueQuantity=quantity)), finding)
    if expected == "above 60":
        assert 60 < value.low < 60.001
        assert value.high == float("inf")
    elif expected == "below 15":
        assert 14.999 < value.high < 15
        assert value.low == float("-inf")
    else:
        assert value == expected


def test_an_egfr_below_a_bound_decides_only_where_the_bound_does() -> None:
    unit = {"code": "mL/min/{1.73_m2}", "comparator": "<"}
    for bound, expected in ((30, True), (60, None)):
        case = read(observation("98979-8", LOINC, valueQuantity={**unit, "value": bound}))
        assert derived(case, "severe-renal-impairment") is expected


# ---------------------------------------------------------------------------------------------------------------------
# Medicines that lie in another resource


def referring(reference: str, **members: Any) -> Json:
    found = medicine(medicationReference={"reference": reference}, **members)
    del found["medicationCodeableConcept"]
    return found


DRUG = {"resourceType": "Medication", "id": "drug", "code": concept("11289", RXNORM)}


@pytest.mark.parametrize(
    "reference",
    [
        "Medication/drug",
        "https://ehr.example.org/fhir/r4/Medication/drug",
        "urn:uuid:drug",
        "Medication/drug/_history/2",
    ],
)
def test_a_medicine_may_be_an_entry_of_its_own(reference: str) -> None:
    assert held(read(referring(reference), DRUG), "anticoagulant-medicine") is True
    assert held(read(DRUG, referring(reference)), "anticoagulant-medicine") is True
    assert held(read(referring(reference), medications=bundle([DRUG])), "anticoagulant-medicine") is True


def test_a_medicine_may_be_contained() -> None:
    assert held(read(referring("#drug", contained=[DRUG])), "anticoagulant-medicine") is True
    assert held(read(referring("#other", contained=[DRUG])), "anticoagulant-medicine") is None
    assert held(read(referring("#drug", contained="none")), "anticoagulant-medicine") is None


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("apixaban 5 MG Oral Tablet", {"anticoagulant-medicine"}),
        ("Warfarin Sodium 2 mg", {"anticoagulant-medicine", "warfarin-medicine"}),
        ("lisinopril 10 MG / hydrochlorothiazide 12.5 MG Oral Tablet", {"ace-inhibitor-or-arb", "diuretic-medicine"}),
        ("Paracetamol 500 mg tablet", {"acetaminophen-medicine"}),
        ("Hydrocodone / APAP 5-325 mg tablet", {"acetaminophen-medicine"}),
        ("Tylenol Extra Strength", {"acetaminophen-medicine"}),
        ("acetylsalicylic acid 100 mg", {"aspirin-medicine", "antiplatelet-medicine"}),
        ("ECOTRIN 81 mg", {"aspirin-medicine", "antiplatelet-medicine"}),
        ("Bufferin", {"aspirin-medicine", "antiplatelet-medicine"}),
        ("Aleve 220 mg", {"nsaid-medicine"}),
        ("Advil 200 mg", {"nsaid-medicine"}),
        ("Motrin IB", {"nsaid-medicine"}),
        ("Coumadin 5 mg", {"anticoagulant-medicine", "warfarin-medicine"}),
        ("Eliquis 5 mg", {"anticoagulant-medicine"}),
        ("Xarelto 20 mg", {"anticoagulant-medicine"}),
        ("paracetamolum", set()),
        # Of its products some have acetaminophen in place of aspirin.
        ("Excedrin", set()),
        ("Ibuprofen 50 MG/ML Topical Gel", set()),
        ("Amlodipine 5 MG Oral Tablet", set()),
        ("warfarinoid", set()),
    ],
)
def test_a_medicine_is_known_by_the_names_of_its_ingredients(text: str, findings: set[str]) -> None:
    coded = {"coding": [{"system": RXNORM, "code": "9999999", "display": text}]}
    for product in (
        coded,
        {"text": text},
        {"coding": [{"system": "http://hospital.example.org", "code": "7", "display": text}]},
    ):
        case = read(medicine(medicationCodeableConcept=product))
        assert case.assertions.keys() == findings
        assert all(statement.remarks == ("byName",) for found in case.assertions.values() for statement in found)


def test_a_medicine_with_a_known_code_is_known_by_it(client: FlaskClient) -> None:
    (found,) = read(medicine()).assertions["anticoagulant-medicine"]
    assert found.remarks == ()


def test_a_medicine_that_is_nowhere_is_not_known() -> None:
    assert held(read(referring("Medication/missing"), observation()), "anticoagulant-medicine") is None


# ---------------------------------------------------------------------------------------------------------------------
# Elements of the wrong type


WRONG: list[Any] = [
    None,
    5,
    True,
    "text",
    [],
    {},
    ["text"],
    [None],
    {"coding": "text"},
    {"coding": [None]},
    {"coding": [{"code": 5}]},
]


@pytest.mark.parametrize("wrong", WRONG, ids=json.dumps)
@pytest.mark.parametrize(
    "resource",
    [
        observation(
            valueCodeableConcept=concept("373066001", SCT),
            bodySite=concept("7771000", SCT),
            component=[],
            interpretation=[],
            hasMember=[],
        ),
        condition("M70.72", bodySite=[concept("7771000", SCT)], onsetDateTime="2026-11-01", **verified("confirmed")),
        form({"linkId": "ischial-tenderness", "answer": [{"valueBoolean": True}]}),
        medicine(),
        allergy(reaction=[]),
        {"resourceType": "Patient", "id": PATIENT, "birthDate": "1980-01-01", "gender": "male"},
    ],
    ids=lambda resource: str(resource["resourceType"]),
)
def test_an_element_of_the_wrong_type_spoils_nothing_but_itself(resource: Json, wrong: Any) -> None:
    for member in resource:
        case = read({**resource, member: wrong}, observation("psis-tenderness", id="sound"))
        assert held(case, "psis-tenderness") is True


@pytest.mark.parametrize(
    "wrong", [*WRONG, {"resourceType": 5}, {"resourceType": "Observation"}, {"resource": {}}], ids=json.dumps
)
def test_an_entry_that_is_no_resource_spoils_nothing_but_itself(wrong: Any) -> None:
    assert held(read(wrong, observation("psis-tenderness", id="sound")), "psis-tenderness") is True


@pytest.mark.parametrize("wrong", ["true", "false", 1, 0, [], {}], ids=json.dumps)
def test_a_boolean_of_the_wrong_type_is_unknown(wrong: Any) -> None:
    assert held(read(observation(valueBoolean=wrong)), "ischial-tenderness") is None


def test_a_resource_that_the_models_refuse_is_read_and_the_explanation_names_it(client: FlaskClient) -> None:
    weak = observation("leg-weakness", id="x" * 80, note="no list")
    request = call([weak, observation("buttock-pain", id="p")])
    answer = client.post(SERVICE, json=request).get_json()
    assert [flag["id"] for flag in answer["extension"]["org.sitbone.assessment"]["redFlags"]] == ["leg-weakness"]
    explained = Explainer(GUIDELINE, lambda: CLOCK).explain("gluteal-hamstring-pain", json.dumps(request).encode())
    assert explained.invalid == (("Observation", "note"),)


def test_members_and_extensions_that_nobody_knows_are_accepted() -> None:
    odd = observation(
        extension=[{"url": "https://ehr.example.org/x", "valueString": "y"}], epicThing={"a": [1]}, _status={"id": "s"}
    )
    assert held(read(odd), "ischial-tenderness") is True


# ---------------------------------------------------------------------------------------------------------------------
# What the card tells of the reading


def test_both_legs_make_leg_symptoms_on_both_sides() -> None:
    left = observation("leg-weakness", bodySite=concept("7771000", SCT))
    right = observation("leg-weakness", bodySite=concept("24028007", SCT), id="r")
    assert derived(read(left), "bilateral-leg-symptoms") is None
    assert derived(read(left, right), "bilateral-leg-symptoms") is True


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [(0, 0, None), (3, 0, Interval(3, 6)), (2, 4, Interval(2, 2)), (0, 6, Interval(0, 0)), (1, 1, Interval(1, 5))],
)
def test_sacroiliac_tests_that_were_not_done_may_be_either(positive: int, negative: int, expected: Any) -> None:
    tests = [
        "faber",
        "gaenslen",
        "thigh-thrust",
        "sacroiliac-compression",
        "sacroiliac-distraction",
        "sacral-thrust",
    ]
    said = {**dict.fromkeys(tests[:positive], True), **dict.fromkeys(tests[positive : positive + negative], False)}
    resources = [observation(name, id=name, valueBoolean=value) for name, value in said.items()]
    assert derived(read(*resources, observation()), "sacroiliac-tests-positive") == expected


# ---------------------------------------------------------------------------------------------------------------------
# Every member of a whole request, spoilt


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every member of a JSON value."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in members:
        yield (*path, key)
        yield from paths(inner, (*path, key))


def spoilt(request: Json, path: tuple[Any, ...], value: Any) -> Json:
    """The request with one member in place of another, or without it."""
    copy: Json = json.loads(json.dumps(request))
    inner: Any = copy
    for key in path[:-1]:
        inner = inner[key]
    if value is LEFT_OUT:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


LEFT_OUT = object()


@pytest.mark.parametrize("value", [LEFT_OUT, None, "odd", []], ids=["left out", "null", "text", "list"])
def test_no_member_of_a_request_can_bring_the_service_down(client: FlaskClient, value: Any) -> None:
    request = build_request(
        {
            "age": 40,
            "present": ["buttock-pain, left", "sct|302227002"],
            "conditions": ["icd10cm|M70.72"],
            "medications": ["rxnorm|11289"],
            "allergies": ["rxnorm|5640"],
            "quantities": {"body-temperature": "38.5 Cel"},
            "answers": {"ischial-tenderness": True},
        }
    )
    with decided_once():
        for path in paths(request):
            response = client.post(SERVICE, json=spoilt(request, path, value))
            assert response.status_code in (200, 400, 412), path
            if response.status_code != 200:
                assert response.get_json()["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize(("onset", "known"), [("2026-11-23", True), ("2026-11-24", False), ("2027-01-01", False)])
def test_a_date_of_onset_that_is_yet_to_come_is_not_known(onset: str, known: bool) -> None:
    case = read(observation("onset-date", valueDateTime=onset))
    assert (derived(case, "days-since-onset") is not None) is known
    assert case.left_out.future == (0 if known else 1)


def test_a_repeated_measurement_is_read_back_to_its_look_back_on_each_side() -> None:
    days = ("2026-11-21", "2026-11-20", "2026-10-01", "2020-01-01", "2019-01-01")
    sides = ("left", "right", "left", "left", "right")
    scores = [
        observation(
            "pain-severity",
            id=f"s{number}",
            effectiveDateTime=day,
            bodySite={"text": side},
            valueQuantity={"value": number, "code": "{score}"},
        )
        for number, (day, side) in enumerate(zip(days, sides, strict=True))
    ]
    case = read(*scores)
    assert (held(case, "pain-severity", "left"), held(case, "pain-severity", "right")) == (
        Interval(0, 0),
        Interval(1, 1),
    )
    assert case.left_out.outdated == 2
    assert {one.resource for one in case.assertions["pain-severity"]} == {f"Observation/s{n}" for n in range(3)}


def test_of_a_measurement_that_is_all_too_old_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asserted: list[object] = []

    def reading(resource: object, _reading: object) -> Iterator[Any]:
        asserted.append(resource)
        yield from ()

    monkeypatch.setitem(case_module._READERS, "Observation", reading)
    old = [observation("body-temperature", id=f"t{n}", effectiveDateTime=f"20{n:02}-01-01") for n in range(10, 20)]
    assert read(*old).left_out.outdated == 10
    assert asserted == []


# ---------------------------------------------------------------------------------------------------------------------
# When the episode began, and a suspicion


def on_left(finding: str, day: str | None, **members: Any) -> Json:
    left = {"coding": [{"system": SCT, "code": "7771000"}]}
    made = observation(finding, id=f"{finding}-{day}", bodySite=left, valueBoolean=True) | {"effectiveDateTime": day}
    return {name: value for name, value in (made | members).items() if value is not None}


def onset(day: str) -> Json:
    return observation("onset-date", id="onset", valueDateTime=day)


RADIOGRAPH = "radiograph-normal"


@pytest.mark.parametrize(
    ("imaged", "beside", "counts"),
    [
        # The onset decides, also where the injury was written down later.
        ("2026-11-10", [onset("2026-11-11")], False),
        ("2026-11-11", [onset("2026-11-11"), on_left("pop-at-injury", TODAY)], True),
        # Without it the first documentation of the injury does, and a sign after it opens nothing anew.
        ("2026-11-12", [on_left("pop-at-injury", "2026-11-13")], False),
        ("2026-11-13", [on_left("pop-at-injury", "2026-11-13"), on_left("pop-at-injury", TODAY)], True),
        ("2026-11-13", [on_left("pop-at-injury", "2026-11-13"), on_left("significant-bruising", TODAY)], True),
        # A second injury does.
        ("2026-11-13", [on_left("pop-at-injury", "2026-11-13"), on_left("fall-on-buttock", TODAY)], False),
        # Without an injury its signs tell.
        ("2026-11-13", [on_left("significant-bruising", TODAY)], False),
        # What has no date may have been there before; what is absent asks for nothing.
        ("2026-11-13", [on_left("significant-bruising", None)], True),
        ("2026-11-13", [on_left("significant-bruising", TODAY, valueBoolean=False)], True),
        ("2026-11-13", [], True),
    ],
)
def test_imaging_older_than_the_episode_is_history(imaged: str, beside: list[Json], counts: bool) -> None:
    case = read(on_left(RADIOGRAPH, imaged), *beside)
    assert held(case, RADIOGRAPH, "left") is (True if counts else None)
    assert case.left_out.outdated == (not counts)


def test_an_injury_of_the_other_side_makes_no_history_of_this_one() -> None:
    right = {"coding": [{"system": SCT, "code": "24028007"}]}
    fall = observation("fall-on-buttock", id="fall", valueBoolean=True, bodySite=right)
    assert held(read(on_left(RADIOGRAPH, "2026-11-10"), fall), RADIOGRAPH, "left") is True
    both = {"coding": [{"system": SCT, "code": "51440002"}]}
    assert held(read(on_left(RADIOGRAPH, "2026-11-10"), {**fall, "bodySite": both}), RADIOGRAPH, "left") is None


@pytest.mark.parametrize(
    ("status", "finding", "other"),
    [
        ("confirmed", "radiograph-avulsion-fracture", "suspected-bony-avulsion"),
        ("provisional", "suspected-bony-avulsion", "radiograph-avulsion-fracture"),
        ("differential", "suspected-bony-avulsion", "radiograph-avulsion-fracture"),
        ("unconfirmed", "suspected-bony-avulsion", "radiograph-avulsion-fracture"),
    ],
)
def test_a_diagnosis_that_is_not_confirmed_is_a_suspicion_and_no_result(status: str, finding: str, other: str) -> None:
    case = read(condition("S32.612A", **verified(status)))
    assert (held(case, finding, "left"), held(case, other, "left")) == (True, None)


def test_a_refuted_diagnosis_is_the_absence_of_the_result() -> None:
    case = read(condition("S32.612A", **verified("refuted")))
    assert held(case, "radiograph-avulsion-fracture", "left") is False
    assert held(case, "suspected-bony-avulsion", "left") is None


def test_pain_of_the_other_side_alone_is_known_on_the_side_that_does_not_hurt() -> None:
    def elsewhere(case: Case, side: str) -> object:
        return Chart(case, side, with_sideless=True)["pain-on-the-other-side"]

    case = read(on_left("buttock-pain", TODAY))
    assert (elsewhere(case, "right"), elsewhere(case, "left"), elsewhere(case, "")) == (True, None, None)
    # Pain without a side may be of both.
    case = read(on_left("buttock-pain", TODAY), observation("thigh-pain", id="thigh", valueBoolean=True))
    assert elsewhere(case, "right") is None
