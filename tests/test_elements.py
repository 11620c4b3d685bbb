"""How each FHIR element is read: every spelling of it, what is not readable of it, what that comes to on a chart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.chart import elements, fhir_time
from service.chart.assertions import Assertion
from service.chart.case import Case
from service.chart.dosage import most_in_a_day
from service.chart.elements import (
    EFFECTIVE,
    ICD,
    LOINC,
    NO_DATE,
    RECORDED,
    RXNORM,
    SCT,
    UNREADABLE_DATE,
    Given,
    NoValue,
    as_dict,
    codings,
    current,
    dated,
    read_coding,
    sides_in,
    statuses,
    system_of,
    value_of,
)
from service.knowledge_model.conditions import Interval
from service.knowledge_model.model import Code
from tests.charts import ANOTHER, CLOCK, PATIENT, SERVICE, Json, build_request, named_cases
from tests.test_case_reading import GUIDELINE, OWN, TODAY, call, concept, condition, held, medicine, observation, read

HL7 = "http://terminology.hl7.org/CodeSystem/"
ABSENT = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}
OTHER_EXTENSION = {"extension": [{"url": "http://hospital.example.org/original", "valueString": "yes"}]}
UNITS = "http://unitsofmeasure.org"


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(clock=lambda: CLOCK).test_client()


def unreadable(case: Case) -> dict[str, str]:
    """Of each finding that is recorded and not readable, why."""
    return {one.finding: one.unreadable for one in case.not_readable() if isinstance(one, Assertion)}


# ---------------------------------------------------------------------------------------------------------------------
# Code systems

SYSTEMS = {
    SCT: [
        *("http://snomed.info/sct", "https://snomed.info/sct", "http://snomed.info/sct/", " http://snomed.info/sct "),
        *("HTTP://SNOMED.INFO/SCT", "http://www.snomed.info/sct", "http://snomed.info/sct/731000124108"),
        *("http://snomed.info/sct/900000000000207008/version/20260301", "http://snomed.info/sct|20260301"),
        *("urn:oid:2.16.840.1.113883.6.96", "2.16.840.1.113883.6.96", "URN:OID:2.16.840.1.113883.6.96"),
        *("SCT", "SNOMED", "SNOMED-CT", "SNOMED CT"),
    ],
    LOINC: ["http://loinc.org", "https://loinc.org/", "http://www.loinc.org", "2.16.840.1.113883.6.1", "LN", "LOINC"],
    ICD: [
        *("http://hl7.org/fhir/sid/icd-10-cm", "http://www.hl7.org/fhir/sid/icd-10-cm/", "2.16.840.1.113883.6.90"),
        *("I10", "I10C", "ICD10", "ICD-10", "ICD10CM", "ICD-10-CM"),
    ],
    RXNORM: [
        *("http://www.nlm.nih.gov/research/umls/rxnorm", "https://nlm.nih.gov/research/umls/rxnorm/"),
        *("urn:oid:2.16.840.1.113883.6.88", "RxNorm"),
    ],
    f"{HL7}v2-0136": [f"{HL7}v2-0136/", "http://hl7.org/fhir/v2/0136", "urn:oid:2.16.840.1.113883.12.136"],
    f"{HL7}v2-0078": ["http://hl7.org/fhir/v2/0078", "https://terminology.hl7.org/CodeSystem/v2-0078"],
    f"{HL7}v3-ObservationInterpretation": [
        "http://hl7.org/fhir/v3/ObservationInterpretation",
        "urn:oid:2.16.840.1.113883.5.83",
    ],
    f"{HL7}v3-NullFlavor": ["http://hl7.org/fhir/v3/NullFlavor", "urn:oid:2.16.840.1.113883.5.1008"],
    f"{HL7}data-absent-reason": ["http://hl7.org/fhir/data-absent-reason", "2.16.840.1.113883.4.642.1.1048"],
}


@pytest.mark.parametrize(("system", "written"), [(url, name) for url, names in SYSTEMS.items() for name in names])
def test_a_code_system_is_known_under_each_of_its_names(system: str, written: str) -> None:
    assert system_of(written) == system


@pytest.mark.parametrize(
    "system",
    ["http://hospital.example.org", "http://snomed.info/sctx", "http://hl7.org/fhir/sid/icd-10", "urn:oid:1.2.3", "x"],
)
def test_another_code_system_stays_what_it_is(system: str) -> None:
    assert system_of(system) == system


# ---------------------------------------------------------------------------------------------------------------------
# Codings

PAIN, LEFT, BUTTOCK = "279043006", "7771000", "46862004"
EXPRESSIONS = {
    PAIN: [PAIN],
    f" {PAIN} ": [PAIN],
    f"{PAIN}|Pain in buttock": [PAIN],
    f"{PAIN} | Pain in buttock |": [PAIN],
    f"=== {PAIN} |Pain in buttock|": [PAIN],
    f"{PAIN}:272741003={LEFT}": [PAIN, LEFT],
    f"{PAIN} |Pain in buttock| : {{ 272741003 |Laterality| = {LEFT} |Left| }}": [PAIN, LEFT],
    f"22253000:{{363698007={BUTTOCK},272741003={LEFT}}}": ["22253000", BUTTOCK, LEFT],
    f"22253000:363698007=({BUTTOCK}:272741003={LEFT})": ["22253000", BUTTOCK, LEFT],
    f"{PAIN}+22253000": [PAIN, "22253000"],
}


@pytest.mark.parametrize("written", EXPRESSIONS)
def test_a_snomed_ct_expression_is_its_focus_with_its_side_and_site(written: str) -> None:
    assert read_coding(SCT, written) == tuple((SCT, code) for code in EXPRESSIONS[written])


@pytest.mark.parametrize("context", ["408729009=410516002", "408731000=410513005", "408732007=444148008"])
def test_an_expression_with_a_context_of_its_own_is_no_finding_of_the_patient(context: str) -> None:
    assert read(observation(f"{PAIN}:{context}", SCT)).assertions == {}


@pytest.mark.parametrize(
    ("system", "code", "read_as"),
    [
        (ICD, "m79651", "M79.651"),
        (ICD, " M79.651 ", "M79.651"),
        (ICD, "S76", "S76"),
        (SCT, 279043006, PAIN),
        (LOINC, " 8310-5", "8310-5"),
    ],
)
def test_a_code_is_read_however_it_is_written(system: str, code: object, read_as: str) -> None:
    assert read_coding(system, code) == ((system, read_as),)


@pytest.mark.parametrize(
    ("system", "code"),
    [(None, PAIN), (SCT, None), ("", PAIN), (SCT, ""), (SCT, " "), (SCT, True), (SCT, "1" * 401), ("x" * 201, PAIN)],
)
def test_what_is_no_coding_is_none(system: object, code: object) -> None:
    read_coding(SCT, 1)
    assert read_coding(system, code) == ()


@pytest.mark.parametrize(
    "given",
    [
        {"system": SCT, "code": PAIN},
        [{"system": SCT, "code": PAIN}],
        [None, 5, "x", {"code": PAIN}, {"system": SCT}, {"system": [], "code": {}}, {"system": SCT, "code": PAIN}],
    ],
    ids=["one object", "an array", "an array with other things"],
)
def test_a_concept_may_have_its_coding_as_an_object_and_other_things_beside_it(given: Any) -> None:
    assert codings({"coding": given}) == [(SCT, PAIN)]


# ---------------------------------------------------------------------------------------------------------------------
# Status


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("entered-in-error", "entered-in-error"),
        ("Entered-In-Error", "entered-in-error"),
        (" REFUTED ", "refuted"),
        ({"text": "Entered in error"}, "entered-in-error"),
        ({"text": "Resolved"}, "resolved"),
        ({"text": "Ruled out"}, "refuted"),
        ({"coding": [{"display": "Resolved"}]}, "resolved"),
        ({"coding": [{"code": "refuted"}]}, "refuted"),
        ({"coding": {"code": "refuted"}}, "refuted"),
        ({"coding": [{"system": "urn:x", "code": "A"}, {"system": "urn:y", "code": "Refuted"}]}, "refuted"),
        (concept("413322009", SCT), "resolved"),
        (concept("277022003", SCT), "remission"),
        (concept("73425007", SCT), "inactive"),
        (concept("410516002", SCT), "refuted"),
        (concept("415684004", "urn:oid:2.16.840.1.113883.6.96"), "unconfirmed"),
    ],
    ids=lambda value: json.dumps(value)[:70],
)
def test_a_status_is_read_from_any_coding_its_display_and_the_text(written: Any, status: str) -> None:
    assert status in statuses(written)


@pytest.mark.parametrize(
    "code",
    [{"text": "bid"}, {"coding": [{"code": "BID"}]}, {"coding": {"code": " bid "}}, {"coding": [{"display": "BID"}]}],
)
def test_how_often_a_medicine_is_taken_is_read_as_a_status_is(code: Json) -> None:
    dose = {"doseQuantity": {"value": 500, "code": "mg"}}
    instruction = {"timing": {"code": code}, "doseAndRate": [dose]}
    assert most_in_a_day({"dosageInstruction": [instruction]}, None) == 1


@pytest.mark.parametrize("written", [None, 5, [], {}, {"coding": []}, {"coding": [None]}, {"text": 7}])
def test_what_is_no_status_is_none(written: Any) -> None:
    assert statuses(written) == frozenset()


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"verificationStatus": {"coding": [{"code": "confirmed"}, {"code": "refuted"}]}}, False),
        ({"verificationStatus": {"coding": [{"code": "refuted"}, {"code": "entered-in-error"}]}}, None),
        ({"clinicalStatus": {"coding": [{"code": "active"}, {"code": "resolved"}]}}, None),
        ({"clinicalStatus": {"text": "In remission", "coding": [{"code": "remission"}]}}, None),
        ({"abatementDateTime": "2026-01-01"}, None),
        ({"abatementPeriod": {"start": "2026-01-01", "end": "2026-02-01"}}, None),
        ({"abatementAge": {"value": 40, "code": "a"}}, None),
        ({"abatementRange": {"low": {"value": 40, "code": "a"}}}, None),
        ({"abatementString": "last winter"}, None),
        ({"abatementBoolean": True}, None),
        ({"abatementDateTime": "last winter"}, None),
        ({"abatementBoolean": False}, True),
        ({"abatementDateTime": "2027-02-01"}, True),
        # Nobody knows whether it has abated; that it is active is said.
        ({"_abatementDateTime": ABSENT}, True),
    ],
    ids=lambda value: json.dumps(value)[:80],
)
def test_the_strongest_negation_of_a_condition_wins(members: Json, expected: bool | None) -> None:
    assert held(read(condition("M70.72", **members)), "diagnosed-ischial-bursitis") is expected


# ---------------------------------------------------------------------------------------------------------------------
# Values

VALUES: list[tuple[Json, Given | NoValue]] = [
    ({}, NoValue.NONE),
    ({"valueBoolean": False}, Given("Boolean", False)),
    ({"valueInteger": 3}, Given("Integer", 3)),
    ({"valueDecimal": 3}, Given("Decimal", 3)),
    ({"valueString": "x"}, Given("String", "x")),
    ({"valueCodeableConcept": {"text": "x"}}, Given("CodeableConcept", {"text": "x"})),
    ({"valueCoding": {"code": "x"}}, Given("CodeableConcept", {"coding": [{"code": "x"}]})),
    ({"valueBoolean": None, "valueString": None, "valueInteger": 3}, Given("Integer", 3)),
    ({"valueBoolean": True, "_valueBoolean": {"id": "a"}}, Given("Boolean", True)),
    ({"valueCodeableConcept": concept("OTH", f"{HL7}v3-NullFlavor")}, Given("CodeableConcept", "…")),
    ({"valueBoolean": None}, NoValue.ABSENT),
    ({"_valueBoolean": ABSENT}, NoValue.ABSENT),
    ({"valueBoolean": None, "_valueBoolean": ABSENT}, NoValue.ABSENT),
    (
        {"_valueString": {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/iso21090-nullFlavor"}]}},
        NoValue.ABSENT,
    ),
    ({"valueCodeableConcept": ABSENT}, NoValue.ABSENT),
    ({"valueQuantity": ABSENT}, NoValue.ABSENT),
    ({"valueCodeableConcept": concept("unknown", f"{HL7}data-absent-reason")}, NoValue.ABSENT),
    ({"valueCodeableConcept": concept("UNK", "http://hl7.org/fhir/v3/NullFlavor")}, NoValue.ABSENT),
    ({"valueCoding": {"system": f"{HL7}data-absent-reason", "code": "asked-declined"}}, NoValue.ABSENT),
    ({"dataAbsentReason": {"text": "not asked"}}, NoValue.ABSENT),
    ({"dataAbsentReason": "unknown", "valueBoolean": True}, NoValue.ABSENT),
    ({"valueBoolean": "true"}, NoValue.UNREADABLE),
    ({"valueBoolean": 1}, NoValue.UNREADABLE),
    ({"valueInteger": True}, NoValue.UNREADABLE),
    ({"valueString": {"text": "yes"}}, NoValue.UNREADABLE),
    ({"valueCodeableConcept": "yes"}, NoValue.UNREADABLE),
    ({"valueCodeableConcept": [{"text": "yes"}]}, NoValue.UNREADABLE),
    ({"valueBool": True}, NoValue.UNREADABLE),
    ({"value": True}, NoValue.UNREADABLE),
    ({"valueBoolean": True, "valueString": "no"}, NoValue.UNREADABLE),
    ({"valueFoo": 1, "valueBoolean": True}, NoValue.UNREADABLE),
    ({"valueBoolean": True, "_valueBoolean": ABSENT}, NoValue.UNREADABLE),
    ({"_valueBoolean": OTHER_EXTENSION}, NoValue.UNREADABLE),
    ({"_valueBoolean": "x"}, NoValue.UNREADABLE),
]


@pytest.mark.parametrize(("members", "value"), VALUES, ids=lambda value: json.dumps(value, default=str)[:80])
def test_a_value_is_given_absent_or_not_readable(members: Json, value: Given | NoValue) -> None:
    for order in (members, dict(reversed(members.items()))):
        found = value_of(order)
        assert found == value or (isinstance(found, Given) and isinstance(value, Given) and value.content == "…")


@pytest.mark.parametrize(
    "members",
    [members for members, value in VALUES if isinstance(value, NoValue) and value is not NoValue.NONE],
    ids=lambda value: json.dumps(value)[:80],
)
@pytest.mark.parametrize("part", [False, True], ids=["whole", "component"])
def test_what_gives_no_value_never_makes_a_finding_present(members: Json, part: bool) -> None:
    whole = observation("saddle-numbness", **members)
    panel = {**observation("panel", "urn:x"), "component": [{"code": concept("saddle-numbness"), **members}]}
    case = read(panel if part else whole)
    assert held(case, "saddle-numbness") is None
    # What is recorded and cannot be read is told apart from what is said to be unknown.
    assert bool(unreadable(case)) is (value_of(members) is NoValue.UNREADABLE)


@pytest.mark.parametrize(
    ("resource", "finding", "expected"),
    [
        (observation("449813001", SCT), "saddle-numbness", True),
        (observation("saddle-numbness"), "saddle-numbness", True),
        (observation("saddle-numbness", note=[{"text": "since this morning"}]), "saddle-numbness", True),
        (observation("slump"), "slump", None),
        (observation("69749-0", LOINC), "anticoagulant-medicine", None),
        (observation("8310-5", LOINC), "body-temperature", None),
    ],
    ids=["clinical finding", "local finding", "with a note", "local test", "LOINC question", "measurement"],
)
def test_only_a_code_that_is_the_finding_itself_asserts_it_without_a_value(
    resource: Json, finding: str, expected: bool | None
) -> None:
    assert held(read(resource), finding) is expected


INTERPRETATIONS = {"POS": True, "DET": True, "NEG": False, "ND": False, "IND": None, "A": True, "AA": True, "H": True}


@pytest.mark.parametrize("code", INTERPRETATIONS)
@pytest.mark.parametrize(
    "system",
    [
        f"{HL7}v3-ObservationInterpretation",
        "http://hl7.org/fhir/v3/ObservationInterpretation",
        f"{HL7}v2-0078",
        "http://hl7.org/fhir/v2/0078",
    ],
)
def test_an_interpretation_tells_present_and_absent_and_abnormal_denies_nothing(system: str, code: str) -> None:
    for interpretation in (
        concept(code, system),
        [concept(code, system)],
        [{"text": "see note"}, concept(code, system)],
    ):
        assert (
            held(read(observation("saddle-numbness", interpretation=interpretation)), "saddle-numbness")
            is (INTERPRETATIONS[code])
        )


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"valueBoolean": True}, "NEG"),
        ({"valueBoolean": False}, "POS"),
        ({"valueCodeableConcept": concept("saddle-numbness")}, "NEG"),
    ],
)
def test_a_value_and_an_interpretation_that_differ_are_not_readable(value: Json, code: str) -> None:
    said = [concept(code, f"{HL7}v3-ObservationInterpretation")]
    case = read(observation("saddle-numbness", **value, interpretation=said))
    assert (held(case, "saddle-numbness"), unreadable(case)) == (None, {"saddle-numbness": "value"})


@pytest.mark.parametrize(
    "group", [{"hasMember": [{"reference": "Observation/x"}]}, {"related": [{"type": "has-member"}]}]
)
def test_what_only_groups_others_asserts_nothing_itself(group: Json) -> None:
    assert held(read(observation("saddle-numbness", **group)), "saddle-numbness") is None


# ---------------------------------------------------------------------------------------------------------------------
# What changes the meaning

CHANGED: dict[str, Json] = {
    "modifierExtension": {"modifierExtension": [{"url": "http://hospital.example.org/not", "valueBoolean": True}]},
    "implicitRules": {"implicitRules": "http://hospital.example.org/rules"},
}


@pytest.mark.parametrize("element", CHANGED)
@pytest.mark.parametrize(
    "resource",
    [
        observation("saddle-numbness", valueBoolean=True),
        observation("saddle-numbness", valueBoolean=False),
        condition("saddle-numbness", "https://sitbone.example.org/fhir/CodeSystem/findings"),
    ],
    ids=["yes", "no", "condition"],
)
def test_what_changes_the_meaning_of_a_resource_makes_it_not_readable(resource: Json, element: str) -> None:
    case = read({**resource, **CHANGED[element]})
    assert (held(case, "saddle-numbness"), unreadable(case)) == (None, {"saddle-numbness": element})
    assert case.left_out.unreadable == 1


def test_what_changes_the_meaning_of_a_component_makes_that_one_not_readable() -> None:
    parts = [
        {"code": concept("saddle-numbness"), "valueBoolean": True, **CHANGED["modifierExtension"]},
        {"code": concept("leg-weakness"), "valueBoolean": True},
    ]
    case = read({**observation("panel", "urn:x"), "component": parts})
    assert (held(case, "leg-weakness"), unreadable(case)) == (True, {"saddle-numbness": "modifierExtension"})


@pytest.mark.parametrize("member", [{"modifierExtension": []}, {"implicitRules": None}, {"extension": [{"url": "x"}]}])
def test_nothing_that_is_empty_or_a_plain_extension_changes_the_meaning(member: Json) -> None:
    assert held(read(observation("saddle-numbness", **member)), "saddle-numbness") is True


# ---------------------------------------------------------------------------------------------------------------------
# Dates


@pytest.mark.parametrize(
    ("members", "low", "high"),
    [
        ({"effectiveDateTime": "2026-11-21"}, "2026-11-21T00:00:00", "2026-11-21T23:59:59"),
        ({"effectiveDateTime": "2026-11"}, "2026-11-01T00:00:00", "2026-11-30T23:59:59"),
        ({"effectiveDateTime": "2024-02"}, "2024-02-01T00:00:00", "2024-02-29T23:59:59"),
        ({"effectiveDateTime": "2026"}, "2026-01-01T00:00:00", "2026-12-31T23:59:59"),
        ({"effectiveDateTime": "2026-11-21T24:00:00Z"}, "2026-11-22T00:00:00", "2026-11-22T00:00:00"),
        ({"effectiveDateTime": "2026-12-31T24:00Z"}, "2027-01-01T00:00:00", "2027-01-01T00:00:00"),
        ({"effectiveDateTime": "2016-12-31T23:59:60Z"}, "2016-12-31T23:59:59", "2016-12-31T23:59:59"),
        ({"effectiveDateTime": "2026-11-22T01:00:00+02:00"}, "2026-11-21T23:00:00", "2026-11-21T23:00:00"),
        ({"effectiveInstant": "2026-11-21T08:00:00.123Z"}, "2026-11-21T08:00:00.123", "2026-11-21T08:00:00.123"),
        ({"effectivePeriod": {"start": "2020", "end": "2026-11-21"}}, "2026-11-21T00:00:00", "2026-11-21T23:59:59"),
        ({"effectivePeriod": {"start": "2026-11-21"}}, "2026-11-21T00:00:00", "2026-11-21T23:59:59"),
        ({"effectiveTiming": {"event": ["2026-11-21", "2020"]}}, "2026-11-21T00:00:00", "2026-11-21T23:59:59"),
        (
            {"effectiveTiming": {"repeat": {"boundsPeriod": {"start": "2020", "end": "2026-11-21"}}}},
            "2026-11-21T00:00:00",
            "2026-11-21T23:59:59",
        ),
        (
            {"effectiveDateTime": "soon", "effectivePeriod": {"end": "2026-11-21"}},
            "2026-11-21T00:00:00",
            "2026-11-21T23:59:59",
        ),
        ({"effectiveDateTime": None, "issued": "2026-11-21"}, "2026-11-21T00:00:00", "2026-11-21T23:59:59"),
    ],
    ids=lambda value: json.dumps(value)[:70],
)
def test_a_date_is_the_span_that_it_may_mean(members: Json, low: str, high: str) -> None:
    when = dated(members, EFFECTIVE, ("issued",)).when
    assert when is not None
    assert (when.low, when.high) == tuple(datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (low, high))


UNREADABLE_DATES: list[Json] = [
    {"effectiveDateTime": "yesterday"},
    {"effectiveDateTime": "2026-02-30"},
    {"effectiveDateTime": "2026-11-21T24:00:01Z"},
    {"effectiveDateTime": 20261121},
    {"effectiveDateTime": ["2026-11-21"]},
    {"effectivePeriod": {}},
    {"effectivePeriod": {"end": "soon", "start": "2026-11-21"}},
    {"effectiveTiming": {"code": {"text": "daily"}}},
    {"_effectiveDateTime": ABSENT},
]


@pytest.mark.parametrize("members", UNREADABLE_DATES, ids=json.dumps)
def test_a_date_that_cannot_be_read_is_not_replaced_by_that_of_the_record(members: Json) -> None:
    assert dated({**members, "issued": "2026-11-21"}, EFFECTIVE, ("issued",)) is UNREADABLE_DATE
    assert dated({"issued": None}, EFFECTIVE, ("issued",)) is NO_DATE


@pytest.mark.parametrize("members", UNREADABLE_DATES, ids=json.dumps)
def test_a_date_that_cannot_be_read_is_not_now(members: Json) -> None:
    resource = observation("pop-at-injury", valueBoolean=True, **members)
    if "effectiveDateTime" not in members:
        del resource["effectiveDateTime"]
    case = read(resource)
    assert (held(case, "pop-at-injury"), unreadable(case)) == (None, {"pop-at-injury": "date"})


@pytest.mark.parametrize("member", RECORDED)
def test_the_record_of_a_condition_has_a_date_in_each_release(member: str) -> None:
    recorded = {**condition("M70.72"), "recordedDate": None, member: "2020-01-01"}
    (found,) = read(recorded).assertions["diagnosed-ischial-bursitis"]
    assert found.when is not None
    assert found.when.text == "2020-01-01"


BORN = {"resourceType": "Patient", "id": PATIENT, "birthDate": "1981-03-09"}


@pytest.mark.parametrize(
    ("onset", "expected", "reason"),
    [
        ({}, True, None),
        ({"onsetDateTime": "2026-11-20"}, True, None),
        ({"onsetDateTime": "1993-05-01"}, None, None),
        ({"onsetPeriod": {"start": "1993"}}, None, None),
        ({"onsetAge": {"value": 12, "unit": "years", "system": UNITS, "code": "a"}}, None, None),
        ({"onsetAge": {"value": 12, "unit": "years"}}, None, None),
        ({"onsetQuantity": {"value": 144, "code": "mo"}}, None, None),
        ({"onsetRange": {"low": {"value": 10, "code": "a"}, "high": {"value": 12, "code": "a"}}}, None, None),
        ({"onsetAge": {"value": 45, "code": "a"}}, True, None),
        ({"onsetString": "in childhood"}, None, "date"),
        ({"onsetDateTime": "in childhood"}, None, "date"),
        ({"onsetAge": {"value": 12}}, None, "date"),
        ({"onsetAge": 12}, None, "date"),
        ({"onsetRange": {"low": {"value": 10, "code": "a"}}}, None, "date"),
        ({"_onsetDateTime": ABSENT}, None, "date"),
        ({"onsetBoolean": True}, None, "date"),
    ],
    ids=lambda value: json.dumps(value)[:70],
)
def test_an_event_is_as_old_as_its_onset_and_never_as_its_record(
    onset: Json, expected: bool | None, reason: str | None
) -> None:
    case = read(condition("G83.4", recordedDate=TODAY, **onset), patient=BORN)
    assert held(case, "cauda-equina-diagnosed") is expected
    assert unreadable(case) == ({"cauda-equina-diagnosed": reason} if reason else {})


def test_an_age_at_onset_needs_a_date_of_birth() -> None:
    event = condition("G83.4", onsetAge={"value": 12, "code": "a"})
    assert unreadable(read(event, patient={"resourceType": "Patient", "id": PATIENT})) == {
        "cauda-equina-diagnosed": "date"
    }


# ---------------------------------------------------------------------------------------------------------------------
# Sides


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("Left buttock", {"left"}),
        ("LT hip", {"left"}),
        ("Rt. thigh", {"right"}),
        ("MRI hip (L)", {"left"}),
        ("MRI hip (r)", {"right"}),
        ("hip, R", {"right"}),
        ("hip L", {"left"}),
        ("both legs", {"bilateral"}),
        ("Bilateral", {"bilateral"}),
        ("left and right", {"left", "right"}),
        ("upright", set()),
        ("L4/L5", set()),
        ("Rhomboid", set()),
        ("cleft", set()),
    ],
)
def test_a_side_is_read_from_words(text: str, sides: set[str]) -> None:
    assert sides_in(text) == sides


LATERALITY = "http://hl7.org/fhir/us/mcode/StructureDefinition/mcode-laterality-qualifier"


@pytest.mark.parametrize(
    ("members", "side"),
    [
        ({"bodySite": concept(LEFT, SCT)}, "left"),
        ({"bodySite": {"coding": {"system": f"{SCT}/", "code": LEFT}}}, "left"),
        ({"bodySite": concept(f"{BUTTOCK}:272741003={LEFT}", SCT)}, "left"),
        (
            {
                "bodySite": {
                    **concept(BUTTOCK, SCT),
                    "extension": [{"url": LATERALITY, "valueCodeableConcept": concept(LEFT, SCT)}],
                }
            },
            "left",
        ),
        ({"bodySite": {"extension": [{"url": LATERALITY, "valueCoding": concept(LEFT, SCT)["coding"][0]}]}}, "left"),
        ({"bodySite": {"extension": [{"url": LATERALITY, "valueCodeableConcept": {"text": "Left"}}]}}, "left"),
        ({"bodySite": {"coding": [{"display": "Left buttock"}]}}, "left"),
        ({"code": concept(f"{PAIN}:272741003={LEFT}", SCT)}, "left"),
        ({"code": {**concept(PAIN, SCT), "text": "Pain in buttock (L)"}}, "left"),
        ({"code": {"coding": [{"system": SCT, "code": PAIN, "display": "Lt buttock pain"}]}}, "left"),
        (
            {
                "code": {
                    **concept(PAIN, SCT),
                    "extension": [{"url": LATERALITY, "valueCodeableConcept": concept(LEFT, SCT)}],
                }
            },
            "left",
        ),
        # What is said of the site outweighs the words of the code.
        ({"bodySite": concept("24028007", SCT), "code": {**concept(PAIN, SCT), "text": "left"}}, "right"),
    ],
    ids=lambda value: json.dumps(value)[-80:],
)
def test_the_side_of_a_finding_is_read_wherever_it_stands(members: Json, side: str) -> None:
    (found,) = read(observation(PAIN, SCT, **members)).assertions["buttock-pain"]
    assert found.side == side


def test_a_code_that_knows_its_side_outweighs_the_words_beside_it() -> None:
    code = {**concept("M79.652", ICD), "text": "Pain of the right thigh"}
    (found,) = read({**condition("M79.652"), "code": code}).assertions["thigh-pain"]
    assert found.side == "left"


@pytest.mark.parametrize(
    "members",
    [
        {"valueCodeableConcept": {"coding": [{"system": SCT, "code": PAIN, "display": "Pain in left buttock"}]}},
        {"valueCodeableConcept": {**concept(PAIN, SCT), "text": "left"}},
        {"valueCodeableConcept": concept(PAIN, SCT), "code": {"text": "Left leg: where does it hurt?"}},
    ],
    ids=["display of the answer", "text of the answer", "words of the question"],
)
def test_the_side_of_an_answer_is_read_from_it_and_from_its_question(members: Json) -> None:
    asked = {**observation("q", "urn:x"), "code": {"text": "Where does it hurt?"}, **members}
    (found,) = read(asked).assertions["buttock-pain"]
    assert found.side == "left"


# ---------------------------------------------------------------------------------------------------------------------
# Whose it is

RECORD = {"system": "urn:oid:1.2.36.146.595.217.0.1", "value": "MRN-100"}
RECORDED_PATIENT = {"resourceType": "Patient", "id": PATIENT, "identifier": [RECORD]}


@pytest.mark.parametrize(
    ("subject", "own"),
    [
        ({"identifier": RECORD}, True),
        ({"identifier": {**RECORD, "value": "MRN-999"}}, False),
        ({"identifier": {"system": "urn:oid:9.9", "value": "MRN-999"}}, True),
        ({"identifier": {"value": "MRN-999"}}, True),
        ({"reference": f"Patient/{PATIENT}", "identifier": {**RECORD, "value": "MRN-999"}}, True),
    ],
    ids=["own", "another record", "another system", "no system", "a reference beside it"],
)
def test_a_logical_reference_is_anothers_when_the_patient_has_another_identifier_of_its_system(
    subject: Json, own: bool
) -> None:
    case = read(observation(subject=subject), patient=RECORDED_PATIENT)
    assert (held(case, "ischial-tenderness"), case.left_out.other_patient) == ((True, 0) if own else (None, 1))


@pytest.mark.parametrize(
    ("focus", "own"),
    [
        ([OWN], True),
        ([{"reference": "Condition/c"}], True),
        ([{"reference": "https://ehr.example.org/fhir/Procedure/p"}], True),
        ({"reference": "RelatedPerson/child"}, False),
        ([{"reference": "RelatedPerson/child"}], False),
        ([OWN, {"reference": "Patient/999"}], False),
        ([{"reference": "Device/pump"}], False),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_the_focus_tells_of_whom_a_finding_is(focus: Any, own: bool) -> None:
    case = read(observation(focus=focus))
    assert (held(case, "ischial-tenderness"), case.left_out.other_patient) == ((True, 0) if own else (None, 1))


def test_a_reference_that_equals_a_full_url_is_resolved_by_it() -> None:
    uuid = "urn:uuid:7b0f2a6e-0c55-4a7e-8a25-0f5f0a7b1c11"
    entries = [{"fullUrl": uuid, "resource": {"resourceType": "Patient", "id": PATIENT, "birthDate": "1981-03-09"}}]
    request = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    assert held(read(observation(subject={"reference": uuid}), patient=request), "ischial-tenderness") is True
    assert held(read(observation(subject={"reference": uuid}), observation("fever")), "ischial-tenderness") is None


def test_of_the_patients_of_an_appointment_the_one_in_context_is_known_by_a_full_url_as_well(
    client: FlaskClient,
) -> None:
    uuid = "urn:uuid:7b0f2a6e-0c55-4a7e-8a25-0f5f0a7b1c11"
    request = build_request({"age": 40, "service": "appointment-timing", "appointments": [{"in_days": 3}]})
    patient = {"fullUrl": uuid, "resource": request["prefetch"]["patient"]}
    request["prefetch"]["patient"] = {"resourceType": "Bundle", "type": "collection", "entry": [patient]}
    (entry,) = request["context"]["appointments"]["entry"]
    for own, count in ((uuid, 0), ("urn:uuid:0", 1)):
        entry["resource"]["participant"] = [{"actor": {"reference": to}} for to in (f"Patient/{ANOTHER}", own)]
        answer = client.post("/cds-services/appointment-timing", json=request).get_json()
        assert _assessment(answer)["draftsLeftOut"]["otherPatient"] == count


# ---------------------------------------------------------------------------------------------------------------------
# Versions


def version(value: bool, **meta: str) -> Json:
    return observation("saddle-numbness", valueBoolean=value, meta=meta)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"versionId": "9"}, {"versionId": "10"}),
        ({"lastUpdated": "2026-11-20T08:00:00Z"}, {"lastUpdated": "2026-11-21T08:00:00Z"}),
        (
            {"lastUpdated": "2026-11-21T08:00:00+02:00", "versionId": "2"},
            {"lastUpdated": "2026-11-21T07:00:00Z", "versionId": "1"},
        ),
    ],
    ids=["by number", "by time", "by time before number"],
)
def test_of_several_versions_of_a_resource_the_newest_is_read(older: Json, newer: Json) -> None:
    for resources in (
        (version(True, **older), version(False, **newer)),
        (version(False, **newer), version(True, **older)),
    ):
        case = read(*resources)
        assert held(case, "saddle-numbness") is False
        assert len(case.assertions["saddle-numbness"]) == 1


def test_versions_that_cannot_be_put_in_order_are_all_read() -> None:
    assert len(list(current([version(True), version(False)]))) == 2
    assert held(read(version(True), version(False)), "saddle-numbness") is None


@pytest.mark.parametrize("number", ["²", "①", "1a", "-1", ""])
def test_a_version_whose_number_is_none_is_put_in_no_order(number: str) -> None:
    assert held(read(version(True, versionId=number), version(False, versionId="2")), "saddle-numbness") is None


def test_a_version_with_an_element_of_the_wrong_type_is_one_of_them() -> None:
    newer = {**version(False, versionId="2"), "code": {"coding": concept("saddle-numbness")["coding"][0]}}
    assert held(read(version(True, versionId="1"), newer), "saddle-numbness") is False


def test_resources_without_an_id_are_no_versions_of_each_other() -> None:
    assert len(list(current([{"resourceType": "Observation"}, {"resourceType": "Observation"}]))) == 2


# ---------------------------------------------------------------------------------------------------------------------
# Measurements


@pytest.mark.parametrize(
    ("code", "quantity", "expected", "reason"),
    [
        ("8310-5", {"value": 39.2, "code": "Cel"}, Interval(39.2, 39.2), None),
        ("8310-5", {"value": 102.56, "code": "[degF]"}, Interval(39.2, 39.2), None),
        ("8310-5", {"value": 39.2, "unit": "degC", "code": "degC"}, Interval(39.2, 39.2), None),
        ("8310-5", {"value": 98.9, "code": "Cel"}, None, "implausible"),
        ("8310-5", {"value": 39.2, "code": "[degF]"}, None, "implausible"),
        ("8310-5", {"value": 312, "code": "K"}, None, "unit"),
        ("8310-5", {"value": 39.2}, None, "unit"),
        ("8310-5", {"code": "Cel"}, None, "value"),
        ("8310-5", {"value": "39.2", "code": "Cel"}, None, "value"),
        ("98979-8", {"value": 28, "unit": "mL/min/1.73 m2"}, Interval(28, 28), None),
        ("98979-8", {"value": 28, "code": "mL/min"}, None, "unit"),
        ("98979-8", {"value": 28, "unit": "ml/min"}, None, "unit"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_a_measurement_that_cannot_be_read_is_told_with_its_reason(
    code: str, quantity: Json, expected: Interval | None, reason: str | None
) -> None:
    finding = {"8310-5": "body-temperature", "98979-8": "egfr"}[code]
    case = read(observation(code, LOINC, valueQuantity=quantity))
    assert (held(case, finding), unreadable(case).get(finding)) == (expected, reason)


@pytest.mark.parametrize("row", [row for row in GUIDELINE.codes if row.concept == "body-temperature"])
def test_a_temperature_is_one_wherever_it_is_measured(row: Code) -> None:
    case = read(observation(row.code, row.system, valueQuantity={"value": 39.2, "code": "Cel"}))
    assert held(case, "body-temperature") == Interval(39.2, 39.2)


def test_a_temperature_as_a_bare_number_is_not_readable() -> None:
    case = read(observation("8310-5", LOINC, valueInteger=39))
    assert unreadable(case) == {"body-temperature": "value"}


# ---------------------------------------------------------------------------------------------------------------------
# Days to come


def test_a_finding_of_a_day_to_come_is_left_out_and_counted() -> None:
    case = read(observation("saddle-numbness", effectiveDateTime="2031-02-03"), observation(id="n"))
    assert (held(case, "saddle-numbness"), case.left_out.future) == (None, 1)


# ---------------------------------------------------------------------------------------------------------------------
# Shapes that public bug reports and published examples show, outside of medicines, allergies and forms


def pain(**members: Any) -> Json:
    return observation(PAIN, SCT, id="pain", valueBoolean=True, bodySite=concept(LEFT, SCT), **members)


def numb(**members: Any) -> Json:
    return observation("saddle-numbness", id="numb", **members)


def coded(*given: tuple[str, str]) -> Json:
    return {"coding": [{"system": system, "code": code} for system, code in given]}


HOT = {"value": 39.2, "unit": "Cel", "system": UNITS, "code": "Cel"}
FULL_URL = "urn:uuid:7b0f2a6e-0c55-4a7e-8a25-0f5f0a7b1c11"
# Name -> what lies in the chart beside the pain of the left buttock, and finding -> what is held of it.
SHAPES: dict[str, tuple[list[Json], Mapping[str, Any]]] = {
    "abated-but-active": (
        [condition("M86.152", abatementDateTime="2026-01-01")],
        {"regional-infection": None},
    ),
    "answer-loinc-LA6576-8-positive": (
        [
            observation("slump", valueCodeableConcept=concept("LA6576-8", LOINC)),
            observation("straight-leg-raise", id="s", valueCodeableConcept=concept("LA6577-6", LOINC)),
        ],
        {"slump": True, "straight-leg-raise": False},
    ),
    "answer-loinc-LA9633-4-present": (
        [numb(valueCodeableConcept=concept("LA9633-4", LOINC))],
        {"saddle-numbness": True},
    ),
    "answer-snomed-410515003": (
        [
            numb(valueCodeableConcept=concept("410515003", SCT)),
            observation("leg-weakness", valueCodeableConcept=concept("410516002", SCT)),
        ],
        {"saddle-numbness": True, "leg-weakness": False},
    ),
    "answer-system-trailing-slash": (
        [numb(valueCodeableConcept=concept("373067005", f"{SCT}/"))],
        {"saddle-numbness": False},
    ),
    "bodysite-system-trailing-slash": (
        [observation(bodySite=concept("24028007", f"{SCT}/"))],
        {"ischial-tenderness right": True, "ischial-tenderness left": None},
    ),
    "coding-object-instead-of-array": (
        [numb(code={"coding": concept("saddle-numbness")["coding"][0]})],
        {"saddle-numbness": True},
    ),
    "dar-extension-in-component": (
        [
            {
                **numb(),
                "code": coded(("urn:x", "panel")),
                "component": [{"code": concept("urinary-retention"), "_valueBoolean": ABSENT}],
            }
        ],
        {"urinary-retention": None},
    ),
    "dar-extension-on-valueBoolean": ([numb(_valueBoolean=ABSENT)], {"saddle-numbness": None}),
    "date-24h-and-leap-second": (
        [
            observation("pop-at-injury", id="a", valueBoolean=True, effectiveDateTime="2016-12-31T23:59:60Z"),
            observation("sudden-onset", id="b", valueBoolean=True, effectiveDateTime="2016-12-31T24:00:00Z"),
        ],
        {"pop-at-injury": None, "sudden-onset": None},
    ),
    "date-deidentified-future": ([numb(effectiveDateTime="2093-02-03")], {"saddle-numbness": None}),
    "display-only-status": (
        [condition("M86.152", clinicalStatus={"coding": [{"display": "Resolved"}]})],
        {"regional-infection": None},
    ),
    "effectiveTiming-only": (
        [
            {
                **{k: v for k, v in observation("pop-at-injury").items() if k != "effectiveDateTime"},
                "effectiveTiming": {"event": ["2019-05-01T08:00:00Z"]},
            }
        ],
        {"pop-at-injury": None},
    ),
    "excluded-with-absent-interpretation": (
        [
            numb(
                code={"text": "Neurological screening"},
                valueCodeableConcept=concept("449813001", SCT),
                interpretation=[concept("NEG", f"{HL7}v3-ObservationInterpretation")],
            )
        ],
        {"saddle-numbness": None},
    ),
    "family-history-observation-symptom": (
        [observation("57177007", SCT, valueCodeableConcept=concept("6077001", SCT))],
        {"foot-drop": None},
    ),
    "https-snomed-system": (
        [condition("192970008", "https://snomed.info/sct")],
        {"cauda-equina-diagnosed": True},
    ),
    "icd10-name-as-system": (
        [condition("S76.312A", "ICD10")],
        {"diagnosed-proximal-hamstring-tear left": True},
    ),
    "implicitRules-unknown": ([numb(**CHANGED["implicitRules"])], {"saddle-numbness": None}),
    "interpretation-abnormal-on-finding": (
        [numb(interpretation=[concept("A", f"{HL7}v3-ObservationInterpretation")])],
        {"saddle-numbness": True},
    ),
    "interpretation-stu3-system": (
        [numb(interpretation=concept("NEG", "http://hl7.org/fhir/v2/0078"))],
        {"saddle-numbness": False},
    ),
    "laterality-in-bodysite-display": (
        [observation(bodySite={"coding": [{"system": SCT, "code": BUTTOCK, "display": "Left buttock"}]})],
        {"ischial-tenderness left": True, "ischial-tenderness right": None},
    ),
    "laterality-mcode-extension": (
        [
            condition(
                "M70.70",
                bodySite=[
                    {
                        **concept(BUTTOCK, SCT),
                        "extension": [{"url": LATERALITY, "valueCodeableConcept": concept("24028007", SCT)}],
                    }
                ],
            )
        ],
        {"diagnosed-ischial-bursitis right": True, "diagnosed-ischial-bursitis left": None},
    ),
    "modifierExtension-unknown": ([numb(**CHANGED["modifierExtension"])], {"saddle-numbness": None}),
    "multiple-codings-local-first": (
        [numb(code=coded(("http://hospital.example.org", "17"), (SCT, "449813001")))],
        {"saddle-numbness": True},
    ),
    "observation-focus-other-person": (
        [numb(focus=[{"reference": "RelatedPerson/newborn"}])],
        {"saddle-numbness": None},
    ),
    "onsetAge-with-recordedDate-today": (
        [condition("G83.4", onsetAge={"value": 12, "unit": "years", "system": UNITS, "code": "a"})],
        {"cauda-equina-diagnosed": None},
    ),
    "postcoordinated-laterality": (
        [
            observation(f"22253000:363698007={BUTTOCK},272741003=24028007", SCT),
            numb(code=concept(f"449813001:272741003={LEFT}", SCT)),
        ],
        {"saddle-numbness": True},
    ),
    "refuted-in-second-coding": (
        [condition("G83.4", verificationStatus=coded(("urn:x", "1"), (f"{HL7}condition-ver-status", "refuted")))],
        {"cauda-equina-diagnosed": False},
    ),
    "resolved-in-second-coding": (
        [condition("M86.152", clinicalStatus=coded((SCT, "55561003"), (f"{HL7}condition-clinical", "resolved")))],
        {"regional-infection": None},
    ),
    "status-capitalised": ([numb(status="Entered-in-Error")], {"saddle-numbness": None}),
    "subject-logical-identifier-other": (
        [numb(subject={"identifier": {**RECORD, "value": "MRN-999"}})],
        {"saddle-numbness": None},
    ),
    "subject-logical-identifier-own": ([numb(subject={"identifier": RECORD})], {"saddle-numbness": True}),
    "temperature-degC-ucum-typo": (
        [observation("8310-5", LOINC, valueQuantity={**HOT, "unit": "degC", "code": "degC"})],
        {"body-temperature": Interval(39.2, 39.2)},
    ),
    "temperature-degF": (
        [observation("8310-5", LOINC, valueQuantity={**HOT, "value": 102.56, "unit": "degF", "code": "[degF]"})],
        {"body-temperature": Interval(39.2, 39.2)},
    ),
    "temperature-other-loinc": (
        [observation("8331-1", LOINC, valueQuantity=HOT)],
        {"body-temperature": Interval(39.2, 39.2)},
    ),
    "temperature-wrong-unit-label": (
        [observation("8310-5", LOINC, valueQuantity={**HOT, "value": 98.9})],
        {"body-temperature": None},
    ),
    "two-versions-of-one-observation": (
        [version(True, versionId="1"), version(False, versionId="2")],
        {"saddle-numbness": False},
    ),
    "urn-uuid-resolved-by-fullUrl": ([numb(subject={"reference": FULL_URL})], {"saddle-numbness": True}),
    "value-DataAbsentReason-as-concept": (
        [observation("urinary-incontinence", valueCodeableConcept=concept("unknown", f"{HL7}data-absent-reason"))],
        {"urinary-incontinence": None},
    ),
    "valueless-finding-with-note-only": ([numb(note=[{"text": "numb since Monday"}])], {"saddle-numbness": True}),
    "valueless-loinc-question": ([observation("69749-0", LOINC)], {"anticoagulant-medicine": None}),
}
# What has to be told of it: finding -> reason.
TOLD = {
    "excluded-with-absent-interpretation": {"saddle-numbness": "question"},
    "implicitRules-unknown": {"saddle-numbness": "implicitRules"},
    "modifierExtension-unknown": {"saddle-numbness": "modifierExtension"},
    "temperature-wrong-unit-label": {"body-temperature": "implausible"},
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_from_the_field_is_read_right(name: str) -> None:
    resources, expected = SHAPES[name]
    chart = {"resourceType": "Bundle", "entry": [{"fullUrl": FULL_URL, "resource": {**BORN, "identifier": [RECORD]}}]}
    case = read(pain(), *resources, patient=chart)
    assert {what: held(case, *what.split(" ")) for what in expected} == expected
    assert held(case, "buttock-pain", "left") is True
    assert unreadable(case) == TOLD.get(name, {})


# ---------------------------------------------------------------------------------------------------------------------
# The same charts as they were sent, where the folder of them is beside the repository


def _assessment(answer: Json) -> Json:
    return as_dict(as_dict(answer.get("extension")).get("org.sitbone.assessment"))


def flags(*ids: str) -> Callable[[Json], bool]:
    return lambda answer: [flag["id"] for flag in _assessment(answer).get("redFlags", ())] == list(ids)


def side(name: str) -> Callable[[Json], bool]:
    return lambda answer: _assessment(answer)["side"] == name


def told(finding: str, reason: str) -> Callable[[Json], bool]:
    return lambda answer: any(
        (one["finding"], one["reason"]) == (finding, reason) for one in _assessment(answer).get("notReadable", ())
    )


def left_out(what: str) -> Callable[[Json], bool]:
    return lambda answer: _assessment(answer)["leftOut"][what] > 0


def says(words: str) -> Callable[[Json], bool]:
    return lambda answer: any(words in card["summary"] for card in answer["cards"])


def holds(why: str) -> tuple[Callable[[Json], bool], ...]:
    """An order of ibuprofen is held, for this reason."""
    return (says("Ibuprofen: avoid NSAIDs with "), says(why))


def refuses(what: str) -> Callable[[Json], bool]:
    return lambda answer: what in answer["issue"][0]["diagnostics"]


SADDLE, INFECTION = flags("cauda-equina"), flags("infection")
UNHELD: tuple[Callable[[Json], bool], ...] = (
    lambda answer: not says("avoid NSAIDs")(answer),
    lambda answer: "notReadable" not in _assessment(answer),
)
ALLERGIC, ANTICOAGULATED = holds("with NSAID or aspirin allergy"), holds("with anticoagulant prescribed")
REPORTED = holds("with anticoagulant prescribed (reported or planned)")
SHARED: dict[str, tuple[Callable[[Json], bool], ...]] = {
    "abated-but-active": (flags(), left_out("outdated")),
    "allergy-aspirin-substance-au-core": ALLERGIC,
    "allergy-product-code": ALLERGIC,
    "allergy-reaction-substance": ALLERGIC,
    "allergy-refuted-second-coding": UNHELD,
    "allergy-text-only": holds("with NSAID or aspirin allergy (by name, no code)"),
    "answer-loinc-LA6576-8-positive": (flags(),),
    "answer-loinc-LA9633-4-present": (SADDLE,),
    "answer-snomed-410515003": (SADDLE,),
    "answer-system-trailing-slash": (flags(),),
    "batch-entry-failed": (refuses("observations: failed (entries of a batch that failed: 1"),),
    "bodysite-system-trailing-slash": (side("left"),),
    "coding-object-instead-of-array": (SADDLE,),
    "dar-extension-in-component": (flags(),),
    "dar-extension-on-valueBoolean": (flags(),),
    "date-24h-and-leap-second": (flags(), left_out("outdated")),
    # Not all of what the service asks for is in it.
    "date-deidentified-future": (refuses("expected all of what may tell of this pain"),),
    "display-only-status": (flags(), left_out("outdated")),
    "effectiveTiming-only": (flags(), left_out("outdated")),
    "excluded-with-absent-interpretation": (flags(), told("saddle-numbness", "question")),
    "family-history-observation-symptom": (flags(),),
    "https-snomed-system": (SADDLE,),
    "icd10-name-as-system": (side("left"),),
    "imaging-status-cancelled-and-systems": (
        flags("sudden-tear"),
        lambda answer: "mri-pelvis" not in json.dumps(answer["cards"]),
    ),
    "implicitRules-unknown": (flags(), told("saddle-numbness", "implicitRules")),
    "interpretation-abnormal-on-finding": (SADDLE,),
    "interpretation-stu3-system": (flags(),),
    "laterality-in-bodysite-display": (side("left"),),
    "laterality-mcode-extension": (side("left"),),
    "medication-both-forms": ANTICOAGULATED,
    "medication-both-reference-and-concept": ANTICOAGULATED,
    "medication-reference-without-display": (
        says("a medicine or allergy in the chart could not be read"),
        lambda answer: [one["reason"] for one in _assessment(answer)["notReadable"]] == ["reference"],
    ),
    "medicationrequest-plan-intent": REPORTED,
    "medicationstatement-period-over": (*UNHELD, left_out("outdated")),
    "modifierExtension-unknown": (flags(), told("saddle-numbness", "modifierExtension")),
    "multiple-codings-local-first": (SADDLE,),
    "observation-focus-other-person": (flags(), left_out("otherPatient")),
    "onsetAge-with-recordedDate-today": (flags(), left_out("outdated")),
    "order-bodysite-mcode-laterality": (says("not on the side of the findings"),),
    "order-wrong-side-coded": (says("not on the side of the findings"),),
    "postcoordinated-laterality": (side("left"),),
    "qr-dar-answer": (flags(), says("little else documented")),
    "refuted-in-second-coding": (flags(),),
    "resolved-in-second-coding": (flags(), left_out("outdated")),
    "status-capitalised": (flags(),),
    "subject-logical-identifier-other": (flags(), left_out("otherPatient")),
    "subject-logical-identifier-own": (side("left"),),
    "temperature-degC-ucum-typo": (INFECTION,),
    "temperature-degF": (INFECTION,),
    "temperature-other-loinc": (INFECTION,),
    "temperature-wrong-unit-label": (flags(), told("body-temperature", "implausible")),
    "two-versions-of-one-observation": (flags(),),
    "urn-uuid-resolved-by-fullUrl": (SADDLE,),
    "uscore-self-reported-intent-plan": REPORTED,
    "value-DataAbsentReason-as-concept": (flags(),),
    "valueless-finding-with-note-only": (SADDLE,),
    "valueless-loinc-question": (flags(), says("ask and examine")),
}


def test_every_shape_of_the_shared_folder_is_answered_right(shared: Path) -> None:
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    client = create_app(clock=lambda: now).test_client()
    wrong, seen = [], set()
    for path in sorted((shared / "cases" / "reading").glob("*.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        seen.add(path.stem)
        answer = client.post(f"/cds-services/{case['case']['service']}", json=case["request"]).get_json()
        if not all(check(answer) for check in SHARED.get(path.stem, (lambda _answer: False,))):
            wrong.append(f"{path.stem}: expected {case['case']['expected']}")
    assert wrong == []
    assert seen == SHARED.keys()


# ---------------------------------------------------------------------------------------------------------------------
# What the clinician sees of it


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"valueBoolean": "true"}, "value"),
        ({"valueString": "see note"}, "value"),
        (CHANGED["modifierExtension"], "modifierExtension"),
    ],
)
def test_a_complaint_that_cannot_be_read_is_said_on_a_card(client: FlaskClient, members: Json, reason: str) -> None:
    request = call([observation(PAIN, SCT, id="p", **members), numb(valueBoolean=True)])
    answer = client.post(SERVICE, json=request).get_json()
    (card,) = answer["cards"]
    assert "could not be read" in card["summary"]
    assert card["detail"].startswith("**Check:** ")
    assert "suggestions" not in card
    assert _assessment(answer)["complaint"] == "unknown"
    assert told("buttock-pain", reason)(answer)


def test_a_complaint_that_was_asked_and_is_unknown_needs_no_card(client: FlaskClient) -> None:
    asked = observation(PAIN, SCT, id="p", dataAbsentReason={"text": "asked but unknown"})
    answer = client.post(SERVICE, json=call([asked])).get_json()
    assert (answer["cards"], _assessment(answer)["complaint"]) == ([], "unknown")


@pytest.mark.parametrize(
    "died",
    [
        {"deceasedBoolean": True},
        {"deceasedDateTime": "2026-11-20"},
        {"deceasedDateTime": "some day"},
        {"deceasedBoolean": None, "deceasedDateTime": "2026"},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("service", sorted({case.service for case in named_cases()}))
def test_for_a_patient_who_has_died_nothing_is_suggested_and_that_is_said(
    client: FlaskClient, service: str, died: Json
) -> None:
    alive = 0
    for case in named_cases():
        if case.service == service and case.fixture and alive < 3:
            request = case.request()
            before = client.post(f"/cds-services/{service}", json=request).get_json()
            request["prefetch"]["patient"] |= died
            answer = client.post(f"/cds-services/{service}", json=request).get_json()
            # It is said wherever there was something to say, and nowhere else.
            assert [card["summary"] for card in answer["cards"]] == [
                "The chart records that this patient has died: no advice is given" for _card in before["cards"][:1]
            ]
            assert "create" not in json.dumps(answer["cards"])
            assert "systemActions" not in answer
            assert _assessment(answer)["deceased"] is True
            alive += bool(before["cards"])
    assert alive


@pytest.mark.parametrize("lives", [{"deceasedBoolean": False}, {"deceasedBoolean": None}, {"deceasedBoolean": "true"}])
def test_a_patient_who_is_not_recorded_as_dead_is_assessed(client: FlaskClient, lives: Json) -> None:
    answer = client.post(SERVICE, json=call([pain(), numb()], {**BORN, **lives})).get_json()
    assert flags("cauda-equina")(answer)
    assert "deceased" not in _assessment(answer)


@pytest.mark.parametrize("code", [PAIN, {"coding": PAIN}, {"coding": [7]}, [concept(PAIN, SCT)], 7], ids=json.dumps)
def test_a_code_that_is_no_concept_is_counted_as_not_readable(code: Any) -> None:
    assert read(observation(code=code), observation(id="n")).left_out.unreadable == 1


@pytest.mark.parametrize(
    "foreign",
    [
        [
            observation("17", "http://hospital.example.org"),
            condition("M79.65", "http://fhir.de/CodeSystem/bfarm/icd-10-gm"),
        ],
        [{**condition("1"), "code": {"text": "As discussed"}}],
    ],
    ids=["codes of other systems", "words alone"],
)
def test_a_chart_without_any_code_of_a_known_system_is_counted_as_not_readable(foreign: list[Json]) -> None:
    assert read(*foreign).left_out.unreadable == len(foreign)
    # With one code of a system that is known, the chart can tell of this pain, and does not.
    part = {"code": concept("1", SCT)}
    panel = observation("panel", "http://hospital.example.org", id="k", component=[part])
    for known in (observation("8867-4", LOINC, id="k"), panel):
        assert read(*foreign, known).left_out.unreadable == 0


@pytest.mark.parametrize(
    "resources",
    [
        [{**condition("1"), "code": {"text": "As discussed"}}],
        [condition("M79.65", "http://fhir.de/CodeSystem/bfarm/icd-10-gm")],
        [observation(PAIN, SCT, effectiveDateTime="2093-02-03"), medicine()],
    ],
    ids=["words alone", "another system", "all of a day to come, beside a medicine"],
)
def test_a_chart_of_which_nothing_can_be_used_is_refused_and_not_called_without_pain(
    client: FlaskClient, resources: list[Json]
) -> None:
    response = client.post(SERVICE, json=call(resources))
    assert response.status_code == 412
    assert "that cannot be read" in response.get_json()["issue"][0]["diagnostics"]


@pytest.mark.parametrize(
    ("read", "remembered"),
    [(fhir_time.read_when, fhir_time._read.cache), (elements.sides_in, elements.sides_in.cache)],
    ids=["a date", "the name of a site"],
)
def test_of_a_long_text_nothing_is_remembered(read: Callable[[str], object], remembered: Any) -> None:
    remembered.cache_clear()
    for number in range(3):
        read(f"2026-11-22 left {number} " + "x" * 1_000_000)
    assert remembered.cache_info().currsize == 0
    read("2026-11-22")
    assert remembered.cache_info().currsize == 1
