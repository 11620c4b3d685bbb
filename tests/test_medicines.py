"""How medicines and allergies are recognised, and when it is said that nothing of one could be read.

What is made of them on cards: fixtures/cases/medicines_read.toml.
"""

from __future__ import annotations

from typing import Any

import pytest

from service.chart.assertions import Assertion
from service.chart.case import Case
from service.chart.medicines import Unrecognised, medicine_of
from tests.charts import Json, days_ago
from tests.test_case_reading import GUIDELINE, RXNORM, SCT, TODAY, allergy, concept, medicine, read

ANTICOAGULANT, NSAID, ALLERGY = "anticoagulant-medicine", "nsaid-medicine", "nsaid-allergy"
WARFARIN = concept("11289", RXNORM)
DRUG = {"resourceType": "Medication", "id": "drug", "code": WARFARIN}
FULL_URL = "urn:uuid:7d0c1a4e-2b7c-4c1f-9a64-0f5c5d6a7b01"
SITE = "urn:example:site-codes"
YESTERDAY, TOMORROW = days_ago(1).isoformat(), days_ago(-1).isoformat()
STATUS = "http://terminology.hl7.org/CodeSystem/allergyintolerance-"
LOCAL_FIRST = {"system": "urn:oid:1.2.3", "code": "9"}
IPS = "http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips"


def taken(*, kind: str = "MedicationRequest", **members: Any) -> Json:
    """A medicine that is in use, of which these members tell what it is."""
    found = medicine(kind=kind, **members)
    if "medicationCodeableConcept" not in members:
        del found["medicationCodeableConcept"]
    return found


def allergic(code: Any, **members: Any) -> Json:
    return {**allergy(**members), "code": code}


def present(case: Case) -> set[str]:
    return {name for name, found in case.assertions.items() if any(one.value is True for one in found)}


def told(case: Case) -> list[tuple[str, str]]:
    """The kind and the reason of what is not recognised."""
    return [(one.kind, one.unreadable) for one in case.not_readable() if isinstance(one, Unrecognised)]


# ---------------------------------------------------------------------------------------------------------------------
# What a medicine is

FORMS: dict[str, Json] = {
    "a concept": {"medicationCodeableConcept": WARFARIN},
    "a Medication within it": {"medicationReference": {"reference": "#drug"}, "contained": [DRUG]},
    "a Medication beside it": {"medicationReference": {"reference": "Medication/drug"}},
    "a Medication by its full URL": {"medicationReference": {"reference": FULL_URL}},
    "what the reference calls it": {"medicationReference": {"reference": "Medication/zz", "display": "Warfarin 5 mg"}},
    "what calls it without a reference": {"medicationReference": {"display": "Warfarin 5 mg"}},
    "a concept beside a reference that leads nowhere": {
        "medicationReference": {"reference": "Medication/zz"},
        "medicationCodeableConcept": WARFARIN,
    },
    "a Medication beside an empty concept": {
        "medicationReference": {"reference": "Medication/drug"},
        "medicationCodeableConcept": {},
    },
    "a concept of R5": {"medication": {"concept": WARFARIN}},
    "a reference of R5": {"medication": {"reference": {"reference": "Medication/drug"}}},
    "a stray concept": {"medication": WARFARIN},
    "an ingredient": {
        "medicationReference": {"reference": "#x"},
        "contained": [{"resourceType": "Medication", "id": "x", "ingredient": [{"itemCodeableConcept": WARFARIN}]}],
    },
    "an ingredient beside a code that is not known": {
        "medicationReference": {"reference": "#x"},
        "contained": [
            {
                "resourceType": "Medication",
                "id": "x",
                "code": concept("4711", SITE),
                "ingredient": [{"itemCodeableConcept": WARFARIN}],
            }
        ],
    },
    "an ingredient of R5": {
        "medicationReference": {"reference": "#x"},
        "contained": [{"resourceType": "Medication", "id": "x", "ingredient": [{"item": {"concept": WARFARIN}}]}],
    },
    "an ingredient that is called so": {
        "medicationReference": {"reference": "#x"},
        "contained": [
            {"resourceType": "Medication", "id": "x", "ingredient": [{"itemReference": {"display": "Warfarin"}}]}
        ],
    },
}


@pytest.mark.parametrize("kind", ["MedicationRequest", "MedicationStatement"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_telling_a_medicine_is_read(form: str, kind: str) -> None:
    beside = {"resourceType": "Bundle", "entry": [{"fullUrl": FULL_URL, "resource": DRUG}]}
    case = read(taken(kind=kind, **FORMS[form]), medications=beside)
    assert (ANTICOAGULANT in present(case), told(case)) == (True, [])


@pytest.mark.parametrize(
    "ingredient",
    [{"itemCodeableConcept": WARFARIN, "isActive": False}, {"itemCodeableConcept": concept("723", RXNORM)}],
)
def test_an_ingredient_that_does_not_act_is_no_medicine(ingredient: Json) -> None:
    drug = {"resourceType": "Medication", "id": "x", "code": {"text": "Amoxicillin"}, "ingredient": [ingredient]}
    case = read(taken(medicationReference={"reference": "#x"}, contained=[drug]))
    assert (present(case), told(case)) == (set(), [])


def test_a_medication_without_an_id_is_not_what_an_empty_reference_means() -> None:
    nameless = {"resourceType": "Medication", "code": WARFARIN}
    assert medicine_of({"medicationReference": {"display": "Amoxicillin"}}, {"": nameless})["coding"] == [
        {"display": "Amoxicillin"}
    ]


NAMES = {
    "NSAIDs as needed": {NSAID},
    "non-steroidal anti-inflammatory": {NSAID},
    "Nonsteroidal Anti-Inflammatory drug": {NSAID},
    "anti-inflammatories": {NSAID},
    "anti-inflammatory gel, topical": set(),
    "Sulindac 200 mg": {NSAID},
    "etoricoxib 60 mg tablet": {NSAID},
    "Indometacin 25 mg capsule": {NSAID},
    "fondaparinux 2.5 mg": {ANTICOAGULANT},
    "Dalteparin sodium": {ANTICOAGULANT},
    "acenocoumarol 1 mg": {ANTICOAGULANT},
    "Phenprocoumon": {ANTICOAGULANT},
    "blood thinner": {ANTICOAGULANT},
    "on blood-thinners since spring": {ANTICOAGULANT},
    "prasugrel 10 mg": {"antiplatelet-medicine"},
    "lisinopril 10 mg / hydrochlorothiazide 12.5 mg": {"ace-inhibitor-or-arb", "diuretic-medicine"},
    "Tylenol with Codeine No. 3": {"acetaminophen-medicine"},
    "dexketoprofen": {NSAID},
    "Amoxicillin": set(),
    "anti-emetic": set(),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_medicine_is_recognised_by_ingredient_brand_and_class(name: str) -> None:
    case = read(medicine(medicationCodeableConcept={"text": name}))
    assert (present(case), told(case)) == (NAMES[name], [])
    assert all(one.remarks == ("byName",) for found in case.assertions.values() for one in found)


def test_a_name_adds_what_no_code_of_the_medicine_tells() -> None:
    both = {"coding": [{"system": RXNORM, "code": "29046"}], "text": "Lisinopril and hydrochlorothiazide"}
    case = read(medicine(medicationCodeableConcept=both))
    assert case.assertions["ace-inhibitor-or-arb"][0].remarks == ()
    assert case.assertions["diuretic-medicine"][0].remarks == ("byName",)


@pytest.mark.parametrize("text", ["Not taking warfarin", "stopped warfarin in May", "Avoid warfarin", "no warfarin"])
def test_a_medicine_that_is_taken_back_in_the_same_words_is_neither_taken_nor_silent(text: str) -> None:
    case = read(medicine(medicationCodeableConcept={"text": text}))
    assert present(case) == set()
    assert {(one.finding, one.unreadable) for one in case.not_readable() if isinstance(one, Assertion)} == {
        (ANTICOAGULANT, "value"),
        ("warfarin-medicine", "value"),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Whether it is taken

IN_USE = {
    "MedicationRequest": ("active", "on-hold", "draft", "unknown", "ACTIVE", "Active", "something else", None),
    "MedicationStatement": ("active", "on-hold", "intended", "unknown", "recorded", "Intended", None),
}
NOT_IN_USE = {
    "MedicationRequest": ("stopped", "completed", "cancelled", "entered-in-error", "Stopped", "ended"),
    "MedicationStatement": ("stopped", "completed", "not-taken", "entered-in-error", "Not-Taken", " completed "),
}


@pytest.mark.parametrize(("kind", "status"), [(kind, status) for kind, many in IN_USE.items() for status in many])
def test_a_medicine_may_be_taken_unless_its_status_says_otherwise(kind: str, status: str | None) -> None:
    case = read(medicine(kind=kind, status=status))
    assert ANTICOAGULANT in present(case)


@pytest.mark.parametrize(("kind", "status"), [(kind, status) for kind, many in NOT_IN_USE.items() for status in many])
def test_one_that_is_over_or_never_was_is_not(kind: str, status: str) -> None:
    unread = taken(kind=kind, status=status, medicationReference={"reference": "Medication/zz"})
    case = read(medicine(kind=kind, status=status), unread)
    assert (present(case), told(case)) == (set(), [])


@pytest.mark.parametrize(
    "members",
    [
        {"intent": "proposal"},
        {"doNotPerform": True},
        {"taken": "n"},
        {"adherence": {"code": concept("not-taking", "http://hl7.org/fhir/CodeSystem/medication-statement-adherence")}},
    ],
)
def test_what_is_proposed_forbidden_or_not_taken_is_no_medicine(members: Json) -> None:
    assert present(read(medicine(**members))) == set()


def times(*ends: str | None) -> list[Json]:
    return [{"timing": {"repeat": {"boundsPeriod": {"end": end}}}} if end else {"text": "daily"} for end in ends]


PERIODS: dict[str, tuple[Json, bool]] = {
    "a time that has ended": ({"effectivePeriod": {"start": "2022-07-13", "end": "2022-11-30"}}, False),
    "one that ended yesterday": ({"effectivePeriod": {"end": YESTERDAY}}, False),
    "one that ends today": ({"effectivePeriod": {"start": "2022-07-13", "end": TODAY}}, True),
    "one that ends later": ({"effectivePeriod": {"start": "2022-07-13", "end": "2027-11-30"}}, True),
    "one without an end": ({"effectivePeriod": {"start": "2022-07-13"}}, True),
    "one whose end cannot be read": ({"effectivePeriod": {"start": "2022-07-13", "end": "soon"}}, True),
    "a dosage that has ended": ({"dosageInstruction": times(YESTERDAY)}, False),
    "a dosage of a statement that has ended": ({"dosage": times("2026-01-01")}, False),
    "a dosage that ends tomorrow": ({"dosageInstruction": times(TOMORROW)}, True),
    "a dosage that has ended and one that has not": ({"dosageInstruction": times(YESTERDAY, TOMORROW)}, True),
    "a dosage that has ended and one without an end": ({"dosageInstruction": times(YESTERDAY, None)}, True),
}


@pytest.mark.parametrize("kind", ["MedicationRequest", "MedicationStatement"])
@pytest.mark.parametrize("period", PERIODS)
def test_a_medicine_is_over_when_the_time_in_which_it_is_taken_is(period: str, kind: str) -> None:
    members, current = PERIODS[period]
    assert (ANTICOAGULANT in present(read(medicine(kind=kind, **members)))) is current
    unread = taken(kind=kind, medicationCodeableConcept=concept("4711", SITE), **members)
    assert told(read(unread)) == ([("medication", "code")] if current else [])


@pytest.mark.parametrize(
    ("members", "reported"),
    [
        ({}, False),
        ({"kind": "MedicationStatement"}, True),
        ({"intent": "plan"}, True),
        ({"intent": "Plan"}, True),
        ({"reportedBoolean": True}, True),
        ({"reportedBoolean": False}, False),
        ({"reportedReference": {"reference": "Patient/1032702"}}, True),
        ({"reported": True}, True),
        ({"intent": "plan", "reportedBoolean": True}, True),
    ],
)
def test_a_reported_medicine_counts_and_is_marked(members: Json, reported: bool) -> None:
    (found,) = read(medicine(**members)).assertions[ANTICOAGULANT]
    assert (found.value, found.remarks) == (True, ("reported",) if reported else ())


def test_a_medicine_may_be_reported_and_known_by_its_name() -> None:
    case = read(medicine(intent="plan", medicationCodeableConcept={"text": "Eliquis"}))
    assert case.assertions[ANTICOAGULANT][0].remarks == ("reported", "byName")


# ---------------------------------------------------------------------------------------------------------------------
# Allergies

ALLERGIES: dict[str, tuple[Any, set[str]]] = {
    "an ingredient": (concept("5640", RXNORM), {ALLERGY}),
    "a product": (concept("310965", RXNORM), {ALLERGY}),
    "a substance": (concept("387458008", SCT), {ALLERGY}),
    "another substance": (concept("373513008", SCT), {ALLERGY}),
    "a class as a substance": (concept("372665008", SCT), {ALLERGY}),
    "a clinical finding": (concept("293586001", SCT), {ALLERGY}),
    "any coding of several": ({"coding": [{"system": SITE, "code": "1"}, *WARFARIN["coding"]]}, set()),
    "a known one after a local one": (
        {"coding": [{"system": SITE, "code": "1"}, *concept("5640", RXNORM)["coding"]]},
        {ALLERGY},
    ),
    "words": ({"text": "Ibuprofen"}, {ALLERGY}),
    "a display": ({"coding": [{"system": SITE, "code": "1", "display": "Aspirin allergy"}]}, {ALLERGY}),
    "a brand": ({"text": "ADVIL"}, {ALLERGY}),
    "a class in words": ({"text": "NSAIDs"}, {ALLERGY}),
    "a class in other words": ({"text": "Non-steroidal anti-inflammatory drugs"}, {ALLERGY}),
    "salicylates": ({"text": "Salicylates"}, {ALLERGY}),
    "a gel": ({"text": "diclofenac topical gel"}, {ALLERGY}),
    "what is not tolerated": ({"text": "aspirin - not tolerated"}, {ALLERGY}),
    "acetaminophen": (concept("161", RXNORM), {"acetaminophen-allergy"}),
    "paracetamol in words": ({"text": "Paracetamol"}, {"acetaminophen-allergy"}),
    "both": ({"text": "ibuprofen/paracetamol"}, {ALLERGY, "acetaminophen-allergy"}),
    "penicillin": ({"text": "Penicillin V"}, set()),
    "an anticoagulant": (WARFARIN, set()),
    "no known allergy": (concept("716186003", SCT), set()),
    "no known drug allergy": (concept("409137002", SCT), set()),
    "none of the patient summary": (concept("no-known-allergies", IPS), set()),
    "none in words": ({"text": "No known drug allergies"}, set()),
    "none in short": ({"text": "NKDA"}, set()),
}


@pytest.mark.parametrize("what", ALLERGIES)
def test_an_allergy_is_recognised_as_medicines_are(what: str) -> None:
    code, expected = ALLERGIES[what]
    case = read(allergic(code))
    assert (present(case), told(case)) == (expected, [])


def test_every_ingredient_that_is_an_nsaid_is_one_to_be_allergic_to() -> None:
    """What the list of medicines has, the list of allergies has too: one table for both."""
    rows = [row for row in GUIDELINE.codes if row.concept in (NSAID, "aspirin-medicine")]
    assert len(rows) > 30
    for row in rows:
        assert ALLERGY in present(read(allergy(row.code, row.system))), row


@pytest.mark.parametrize("code", [None, {"text": "Analgesic"}, concept("1", SITE)])
def test_what_an_allergy_is_to_may_stand_in_its_reaction(code: Any) -> None:
    reaction = [{"substance": {"text": "Ibuprofen"}, "manifestation": [{"text": "Hives"}]}]
    case = read(allergic(code, reaction=reaction))
    assert (present(case), told(case)) == ({ALLERGY}, [])
    assert ALLERGY in present(read(allergic(code, reaction=reaction[0])))


@pytest.mark.parametrize(
    "members", [{"type": "intolerance"}, {"type": "allergy"}, {"criticality": "low"}, {"criticality": "high"}]
)
def test_an_intolerance_and_a_mild_reaction_count_alike(members: Json) -> None:
    assert present(read(allergy(**members))) == {ALLERGY}


REFUTED = {"verificationStatus": {"coding": [LOCAL_FIRST, {"system": f"{STATUS}verification", "code": "refuted"}]}}


@pytest.mark.parametrize(
    ("members", "value"),
    [
        (
            {"verificationStatus": {"coding": [LOCAL_FIRST, {"system": f"{STATUS}verification", "code": "refuted"}]}},
            False,
        ),
        ({"verificationStatus": {"text": "Refuted"}}, False),
        ({"verificationStatus": concept("entered-in-error", f"{STATUS}verification")}, None),
        ({"clinicalStatus": {"coding": [LOCAL_FIRST, {"system": f"{STATUS}clinical", "code": "resolved"}]}}, None),
        ({"clinicalStatus": {"coding": [{"system": SCT, "code": "413322009"}]}}, None),
        ({"clinicalStatus": concept("inactive", f"{STATUS}clinical")}, None),
        ({"verificationStatus": concept("unconfirmed", f"{STATUS}verification")}, True),
    ],
)
def test_the_status_of_an_allergy_counts_by_any_coding(members: Json, value: bool | None) -> None:
    by_name = allergic({"text": "Ibuprofen"}, **members)
    for one in (allergy(**members), by_name):
        assert [found.value for found in read(one).assertions.get(ALLERGY, ())] == ([] if value is None else [value])
    unread = allergic(concept("77", SITE), **members)
    assert told(read(unread)) == ([("allergy", "code")] if value else [])


def test_an_allergy_may_be_unconfirmed_and_known_by_its_name() -> None:
    unsure = {"verificationStatus": concept("unconfirmed", f"{STATUS}verification")}
    (found,) = read(allergic({"text": "Ibuprofen"}, **unsure)).assertions[ALLERGY]
    assert found.remarks == ("provisional", "byName")


@pytest.mark.parametrize("text", ["Denies aspirin allergy", "No known allergy to NSAIDs", "tolerates ibuprofen"])
def test_an_allergy_that_is_taken_back_in_the_same_words_is_not_readable(text: str) -> None:
    case = read(allergic({"text": text}))
    assert present(case) == set()
    assert [(one.finding, one.unreadable) for one in case.not_readable() if isinstance(one, Assertion)] == [
        (ALLERGY, "value")
    ]
    sure = read(allergic({"text": text}, reaction=[{"substance": concept("5640", RXNORM)}]))
    assert present(sure) == {ALLERGY}


# ---------------------------------------------------------------------------------------------------------------------
# What is not recognised

NOTHING: dict[str, Any] = {
    "no concept": None,
    "an empty one": {},
    "a product code without words": concept("0093-1048-01", "http://hl7.org/fhir/sid/ndc"),
    "a UNII without words": concept("R16CO5Y76E", "http://fdasis.nlm.nih.gov"),
    "a code of RxNorm that is not listed": concept("723", RXNORM),
    "a code without a system": {"coding": [{"code": "4711"}]},
    "words that name nothing": {"text": "Unknown medication"},
    "the same in another hand": {"text": "MEDICINE (free text) - see note"},
    "blanks": {"text": "   "},
    "a number": {"text": "4711"},
    "letters of another script": {"text": "ワルファリン"},
    "words of the wrong type": {"text": 7},
}


@pytest.mark.parametrize("what", NOTHING)
def test_what_has_no_name_and_no_known_code_is_told_as_a_medicine_and_as_an_allergy(what: str) -> None:
    case = read(taken(medicationCodeableConcept=NOTHING[what]), allergic(NOTHING[what]))
    assert sorted(told(case)) == [("allergy", "code"), ("medication", "code")]
    assert case.left_out.unreadable == 2


@pytest.mark.parametrize("name", ["Amoxicillin 500 mg", "Latex", "none", "Vitamin D", "Énoxaparine"])
def test_a_name_that_is_none_of_ours_is_that_of_another(name: str) -> None:
    case = read(taken(medicationCodeableConcept={"text": name}), allergic({"text": name}))
    assert (told(case), case.left_out.unreadable) == ([], 0)


@pytest.mark.parametrize(
    "reference", [{"reference": "Medication/zz"}, {"reference": "#zz"}, {"identifier": {"value": "9"}}]
)
def test_a_reference_that_leads_nowhere_is_told(reference: Json) -> None:
    assert told(read(taken(medicationReference=reference))) == [("medication", "reference")]


@pytest.mark.parametrize(
    ("category", "is_told"),
    [
        (None, True),
        ([], True),
        (["medication"], True),
        (["biologic"], True),
        (["food", "medication"], True),
        (["food"], False),
        (["environment"], False),
        (["food", "environment"], False),
        ("food", False),
    ],
)
def test_an_allergy_that_is_to_no_medicine_is_no_matter(category: Any, is_told: bool) -> None:
    unread = allergic(concept("77", SITE), category=category)
    assert bool(told(read(unread))) is is_told


def test_what_changes_the_meaning_is_the_reason_that_is_told() -> None:
    unread = taken(medicationCodeableConcept={}, modifierExtension=[{"url": "https://example.org/x"}])
    assert told(read(unread)) == [("medication", "modifierExtension")]


def test_it_is_told_with_its_resource_and_its_date() -> None:
    statement = taken(kind="MedicationStatement", dateAsserted="2026-11-20", effectivePeriod={"end": "2027-01-01"})
    (found,) = read({**statement, "id": "ms1"}).unrecognised
    assert found.resource == "MedicationStatement/ms1"
    assert found.when is not None
    assert found.when.text == "2026-11-20"


def test_what_is_another_patients_is_not_told() -> None:
    assert told(read(taken(subject={"reference": "Patient/7770123"}), allergy())) == []


# ---------------------------------------------------------------------------------------------------------------------
# Shapes from the field, each with what is right

FIELD: dict[str, tuple[Json, set[str], list[tuple[str, str]]]] = {
    "an aspirin allergy as the substance": (
        allergic({"coding": [{"system": SCT, "code": "387458008", "display": "Aspirin"}], "text": "Aspirin allergy"}),
        {ALLERGY},
        [],
    ),
    "an allergy with the code of a product": (allergy("310965"), {ALLERGY}, []),
    "a class in the code, the substance in the reaction": (
        allergic({"text": "Analgesic"}, reaction=[{"substance": concept("5640", RXNORM)}]),
        {ALLERGY},
        [],
    ),
    "an allergy in free text": (allergic({"text": "Ibuprofen"}), {ALLERGY}, []),
    "a reference that is only called something, beside a stray element": (
        taken(
            medicationReference={"reference": "Medication/zz", "display": "Warfarin 5 mg tablet"}, medication=WARFARIN
        ),
        {ANTICOAGULANT, "warfarin-medicine"},
        [],
    ),
    "a reference that leads nowhere beside a concept": (
        taken(medicationReference={"reference": "Medication/zz"}, medicationCodeableConcept=WARFARIN),
        {ANTICOAGULANT, "warfarin-medicine"},
        [],
    ),
    "a reference without what it is called": (
        taken(medicationReference={"reference": "Medication/a60b451"}),
        set(),
        [("medication", "reference")],
    ),
    "repeat medication as a plan": (medicine(intent="plan"), {ANTICOAGULANT, "warfarin-medicine"}, []),
    "a medicine that the patient reports, as a plan": (
        medicine(intent="plan", reportedBoolean=True),
        {ANTICOAGULANT, "warfarin-medicine"},
        [],
    ),
    "a statement whose time is over": (
        medicine(kind="MedicationStatement", effectivePeriod={"start": "2022-07-13", "end": "2022-11-30"}),
        set(),
        [],
    ),
    "an allergy refuted by its second coding": (
        {**allergy(), **REFUTED},
        set(),
        [],
    ),
}


@pytest.mark.parametrize("shape", FIELD)
def test_a_shape_from_the_field_is_read_right(shape: str) -> None:
    resource, expected, unrecognised = FIELD[shape]
    case = read(resource)
    assert (present(case), told(case)) == (expected, unrecognised)
