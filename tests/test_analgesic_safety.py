"""What of a draft medicine order can be read. When it is judged how: tests/clinical, fixtures/cases."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.chart.dosage import most_in_a_day, strength_of
from service.fhir_validation import violations
from tests.charts import CLOCK, PATIENT, SYSTEMS, Json, assessment_of, build_request, collection, packaged, sentence

CHART: Json = {
    "age": 40,
    "side": "left",
    "present": ["buttock-pain", "pain-with-sitting"],
    "allergies": ["rxnorm|5640"],
}
IBUPROFEN = {"coding": [{"system": SYSTEMS["rxnorm"], "code": "5640"}]}


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(clock=lambda: CLOCK).test_client()


def ask(client: FlaskClient, *drafts: Any, service: str = "analgesic-safety-sign", **context: Any) -> Json:
    request = build_request(CHART | {"service": service})
    request["context"] |= {"draftOrders": collection(list(drafts)), **context}
    response = client.post(f"/cds-services/{service}", json=request)
    assert response.status_code == 200, response.get_data(as_text=True)
    answer: Json = response.get_json()
    return answer


def assessment(answer: Json) -> Json:
    return assessment_of(answer)


def draft(**members: Any) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": f"Patient/{PATIENT}"},
        "medicationCodeableConcept": IBUPROFEN,
    } | members


def mg(value: float) -> Json:
    return {"value": value, "unit": "mg", "code": "mg"}


def dose(quantity: Json, **repeat: Any) -> Json:
    return {"doseAndRate": [{"doseQuantity": quantity}], "timing": {"repeat": repeat}}


def limit(quantity: Json, value: float, unit: str) -> Json:
    return {"numerator": quantity, "denominator": {"value": value, "code": unit}}


A_DAY: Json = {"period": 1, "periodUnit": "d"}
SIX_HOURS: Json = {"period": 6, "periodUnit": "h"}
TABLETS = {"value": 2, "unit": "tablets"}


@pytest.mark.parametrize(
    ("dosage", "strength", "grams"),
    [
        (dose(mg(1000), frequency=1, **SIX_HOURS), None, 4.0),
        (dose(mg(1000), frequency=4, **A_DAY), None, 4.0),
        (dose(mg(500), frequency=1, frequencyMax=3, **A_DAY), None, 1.5),
        (dose(mg(1000), frequency=3, period=1, periodUnit="wk"), None, 0.428571),
        (dose(mg(500), timeOfDay=["08:00:00", "20:00:00"]), None, 1.0),
        (dose(mg(1000), timeOfDay=[f"{hour:02}:00:00" for hour in range(4, 24, 4)], **A_DAY), None, 5.0),
        (dose(mg(1000), timeOfDay=["08:00:00"], frequency=3, **A_DAY), None, 3.0),
        ({**dose(mg(1000)), "timing": {"code": {"coding": [{"code": "Q4H"}]}}}, None, 6.0),
        ({**dose(mg(1000)), "timing": {"code": {"text": "bid"}}}, None, 2.0),
        ({**dose(mg(1000)), "timing": {"code": {"text": "when it hurts"}}}, None, None),
        ({"doseAndRate": [{"doseRange": {"high": mg(650)}}], "timing": {"repeat": SIX_HOURS}}, None, 2.6),
        (dose(TABLETS, frequency=4, **A_DAY), 0.5, 4.0),
        (dose(TABLETS, frequency=4, **A_DAY), None, None),
        ({"maxDosePerPeriod": limit(mg(3000), 1, "d")}, None, 3.0),
        ({"maxDosePerPeriod": [limit(mg(1000), 8, "h")]}, None, 3.0),
        (dose(mg(1000), **SIX_HOURS) | {"maxDosePerPeriod": limit(mg(3000), 24, "h")}, None, 3.0),
        ({"maxDosePerPeriod": limit(mg(3000), 0, "d")}, None, None),
        ({"doseAndRate": [{"doseQuantity": mg(1000)}]}, None, None),
        (dose({"value": 10, "unit": "mL"}, **SIX_HOURS), None, None),
        (dose({"value": 1, "unit": "g", "comparator": ">"}, **SIX_HOURS), None, None),
        ({"doseAndRate": "broken", "timing": ["broken"]}, None, None),
        (dose(mg(1000), frequency="often", **SIX_HOURS), None, None),
        (dose(mg(1000), frequency=1, period=-6, periodUnit="h"), None, None),
        ({"text": "two when it hurts"}, None, None),
    ],
)
def test_the_most_of_a_medicine_in_a_day_is_read_from_dose_and_timing_or_not_at_all(
    dosage: Json, strength: float | None, grams: float | None
) -> None:
    assert most_in_a_day({"dosageInstruction": [dosage]}, strength) == grams


def test_doses_that_are_taken_together_add_up_and_doses_one_after_the_other_do_not() -> None:
    dosage = dose(mg(1000), frequency=2, **A_DAY)
    assert most_in_a_day({"dosageInstruction": [dosage, dosage]}, None) == 4.0
    assert most_in_a_day({"dosageInstruction": [{"sequence": 1, **dosage}, {"sequence": 2, **dosage}]}, None) == 2.0
    assert most_in_a_day({"dosageInstruction": [dosage, {"text": "more when it hurts"}]}, None) is None
    assert most_in_a_day({}, None) is None
    for value in (1e306, 1e308):
        absurd = {"timing": {"code": {"text": "BID"}}, "doseAndRate": [{"doseQuantity": {"value": value, "unit": "g"}}]}
        assert most_in_a_day({"dosageInstruction": [absurd]}, None) is None


@pytest.mark.parametrize(
    ("name", "grams"),
    [
        ("Aspirin 81 MG Oral Tablet", 0.081),
        ("aspirin 325mg enteric coated tablets", 0.325),
        ("Aspirin 0.5 MG Oral Capsule", 0.0005),
        ("Acetaminophen 250 MG / Aspirin 251 MG / Caffeine 65 MG Oral Tablet", 0.251),
        ("caffeine 32 mg/aspirin 400 mg tablet", 0.4),
        ("aspirin-caffeine 400-32 mg tablet", None),
        ("aspirin 400 mg + caffeine 32 mg tablet", None),
        ("Hydrocodone 5 MG / Codeine 30 MG Oral Tablet", None),
        ("carisoprodol-aspirin 200 mg-325 mg tablet", None),
        ("aspirin 5/325 mg tablet", None),
        ("aspirin 1,000 mg tablet", None),
        ("Aspirin 81 MG", None),
        ("aspirin tablet", None),
    ],
)
def test_the_strength_of_an_ingredient_is_read_from_the_name_of_the_product_or_not_at_all(
    name: str, grams: float | None
) -> None:
    assert strength_of([name], {"aspirin"}) == grams
    assert strength_of(["aspirin", name], {"aspirin"}) == grams


def test_aspirin_for_the_skin_is_held_by_an_allergy_as_any_topical_nsaid(client: FlaskClient) -> None:
    gel = draft(medicationCodeableConcept={"text": "aspirin cream"})
    (entry,) = assessment(ask(client, gel))["medications"]
    assert (entry["medicines"], entry["topical"]) == (["aspirin"], True)
    assert entry["recommendations"] == ["as10-topical-with-allergy"]


def test_to_take_aspirin_away_can_be_chosen_and_is_not_recommended(client: FlaskClient) -> None:
    aspirin = {"coding": [{"system": SYSTEMS["rxnorm"], "code": "1191"}]}
    dosage = dose(mg(650), frequency=4, **A_DAY)
    (card,) = ask(client, draft(medicationCodeableConcept=aspirin, dosageInstruction=[dosage]))["cards"]
    (remove,) = card["suggestions"]
    assert remove["label"] == "Remove this order"
    assert "isRecommended" not in remove


def test_a_replacement_deletes_the_draft_and_creates_a_valid_order(client: FlaskClient) -> None:
    (card,) = ask(client, draft())["cards"]
    replace, remove = card["suggestions"]
    create, delete = replace["actions"]
    assert delete == {"type": "delete", "description": "Remove this order", "resourceId": "MedicationRequest/m1"}
    assert violations(create["resource"]) == ""
    assert create["resource"]["intent"] == "proposal"
    assert create["resource"]["medicationCodeableConcept"]["coding"][0]["code"] == "161"
    assert remove["actions"] == [delete]
    assert (card["selectionBehavior"], replace["isRecommended"]) == ("at-most-one", True)


def test_a_draft_with_a_long_id_can_be_deleted_and_one_without_is_judged_only(client: FlaskClient) -> None:
    long_id = "e" * 194
    (card,) = ask(client, draft(id=long_id))["cards"]
    assert card["suggestions"][0]["actions"][-1]["resourceId"] == f"MedicationRequest/{long_id}"
    (card,) = ask(client, draft(id="no id <b>"))["cards"]
    assert "suggestions" not in card
    assert "<b>" not in str(card)


BESIDE = "Medication/beside"


@pytest.mark.parametrize(
    "medicine",
    [
        {
            "contained": [{"resourceType": "Medication", "id": "x", "code": IBUPROFEN}],
            "medicationReference": {"reference": "#x"},
        },
        {"medicationReference": {"reference": BESIDE}},
        {"medicationReference": {"reference": f"https://ehr.example.org/fhir/r4/{BESIDE}"}},
        {
            "contained": [
                {"resourceType": "Medication", "id": "x", "ingredient": [{"itemCodeableConcept": IBUPROFEN}, 7]}
            ],
            "medicationReference": {"reference": "#x"},
        },
        {"medicationReference": {"reference": "Medication/elsewhere", "display": "Ibuprofen 600 MG Oral Tablet"}},
    ],
)
def test_the_medicine_of_a_draft_may_lie_in_a_medication(client: FlaskClient, medicine: Json) -> None:
    order = draft(**medicine)
    del order["medicationCodeableConcept"]
    beside = {"resourceType": "Medication", "id": "beside", "code": IBUPROFEN}
    assert len(ask(client, beside, order)["cards"]) == 1


@pytest.mark.parametrize("selection", ["MedicationRequest/m1", "m1", "https://ehr.example.org/r4/MedicationRequest/m1"])
def test_a_selection_may_be_written_in_every_way(client: FlaskClient, selection: str) -> None:
    other = draft(id="m2")
    answer = ask(client, draft(), other, service="analgesic-safety", selections=[selection])
    assert [entry["reference"] for entry in assessment(answer)["medications"]] == ["MedicationRequest/m1"]


@pytest.mark.parametrize(
    ("order", "counted"),
    [
        (draft(subject={"reference": "Patient/another"}), {"otherPatient": 1, "unreadable": 0}),
        (draft(medicationCodeableConcept={}), {"otherPatient": 0, "unreadable": 1}),
        (
            draft(medicationCodeableConcept=None, medicationReference={"reference": "Medication/elsewhere"}),
            {"otherPatient": 0, "unreadable": 1},
        ),
        (draft(subject={"reference": 7}), {"otherPatient": 0, "unreadable": 1}),
        (draft(subject=[]), {"otherPatient": 0, "unreadable": 1}),
        ("text", {"otherPatient": 0, "unreadable": 1}),
        (None, {"otherPatient": 0, "unreadable": 1}),
        (draft(resourceType=7), {"otherPatient": 0, "unreadable": 1}),
        (draft(resourceType="Medication", id=["no id"]), {"otherPatient": 0, "unreadable": 0}),
        (
            draft(dosageInstruction=[7, {"route": [], "sequence": []}]) | {"resourceType": "Task"},
            {"otherPatient": 0, "unreadable": 0},
        ),
        (draft(status="cancelled"), {"otherPatient": 0, "unreadable": 0}),
        (draft(doNotPerform=True), {"otherPatient": 0, "unreadable": 0}),
        (draft(modifierExtension=[{"url": "urn:x:not"}]), {"otherPatient": 0, "unreadable": 1}),
        (draft(medicationCodeableConcept="text"), {"otherPatient": 0, "unreadable": 1}),
        (draft(medicationCodeableConcept=None, medicationReference=["broken"]), {"otherPatient": 0, "unreadable": 1}),
    ],
)
def test_a_draft_that_cannot_be_judged_spoils_nothing_but_itself(
    client: FlaskClient, order: Any, counted: Json
) -> None:
    answer = ask(client, order, draft(id="sound"))
    assert [entry["reference"] for entry in assessment(answer)["medications"]] == ["MedicationRequest/sound"]
    assert assessment(answer)["draftsLeftOut"] == counted


def test_a_draft_that_the_chart_already_has_is_no_second_medicine(client: FlaskClient) -> None:
    chart = CHART | {"allergies": [], "medications": ["rxnorm|5640"], "service": "analgesic-safety-sign"}
    request = build_request(chart)
    request["context"]["draftOrders"] = collection([draft(id="medicationrequest-1")])
    assert client.post("/cds-services/analgesic-safety-sign", json=request).get_json()["cards"] == []
    request["context"]["draftOrders"] = collection([draft(id="another")])
    assert len(client.post("/cds-services/analgesic-safety-sign", json=request).get_json()["cards"]) == 1


@pytest.mark.parametrize("selections", [[], ["MedicationRequest/m2"], {}, 1, "m2", True])
def test_at_signing_every_draft_is_judged_whatever_stands_under_selections(
    client: FlaskClient, selections: object
) -> None:
    assert ask(client, draft(), selections=selections) == ask(client, draft())


ORAL, GEL = "ibuprofen 200 MG Oral Capsule [Advil Liqui-Gels]", "ibuprofen 5 % gel"
ORALLY, ON_THE_SKIN = {"route": {"text": "Oral"}}, {"route": {"coding": [{"display": "Topical route"}]}}


@pytest.mark.parametrize(
    ("name", "dosage", "topical"),
    [
        (ORAL, {}, False),
        ("Advil Liqui-Gels", {}, False),
        (GEL, {}, True),
        (GEL, ORALLY, False),
        ("ibuprofen", ON_THE_SKIN, True),
        ("ibuprofen", {"text": "three times a day; stop the diclofenac gel"}, False),
        ("ibuprofen", {}, False),
    ],
)
def test_a_medicine_is_put_on_the_skin_only_as_its_route_or_its_name_says(
    client: FlaskClient, name: str, dosage: Json, topical: bool
) -> None:
    answer = ask(client, draft(medicationCodeableConcept={**IBUPROFEN, "text": name}, dosageInstruction=[dosage]))
    (judged,) = assessment(answer)["medications"]
    assert judged["topical"] is topical
    assert len(answer["cards"]) == 1


def test_the_same_draft_gets_the_same_advice_on_both_hooks(client: FlaskClient) -> None:
    """So that a client that knows the service by its id can put the newer answer in the place of the older."""
    (selected,) = ask(client, draft(), service="analgesic-safety", selections=["MedicationRequest/m1"])["cards"]
    (signed,) = ask(client, draft())["cards"]
    for member in ("summary", "indicator", "detail", "source"):
        assert selected[member] == signed[member]


def test_an_earlier_injection_is_never_judged_more_mildly_than_a_later_one(client: FlaskClient) -> None:
    injection = {"id": "m1", "medicine": "rxnorm|10759", "route": "Intra-bursal injection"}
    chart: Json = {
        "service": "analgesic-safety-sign",
        "age": 45,
        "side": "left",
        "present": ["buttock-pain", "gradual-onset", "runner", "ischial-tenderness", "modified-bent-knee-stretch"],
        "drafts": [injection],
    }
    for documented in ({}, {"quantities": {"physiotherapy-weeks": 12}}, {"medications": ["rxnorm|11289"]}):
        said = []
        for days in (1, 20, 41, 42, 43, 90, 200):
            request = build_request(chart | documented | {"onset_days_ago": days})
            answer = client.post("/cds-services/analgesic-safety-sign", json=request).get_json()
            said.append(["critical", "warning", "info", ""].index("".join(c["indicator"] for c in answer["cards"])))
        assert said == sorted(said), documented


@pytest.mark.parametrize("unit", [{}, {"unit": "mL/min/1.73m2"}], ids=["without a unit", "with its unit in words"])
def test_an_egfr_without_a_unit_is_named_and_its_unit_not_guessed(unit: Json, client: FlaskClient) -> None:
    nsaid = {"id": "m1", "medicine": "rxnorm|5640"}
    chart = {"age": 50, "side": "left", "present": ["buttock-pain"], "quantities": {"egfr": 28}, "drafts": [nsaid]}
    request = build_request(chart | {"service": "analgesic-safety-sign"})
    for entry in request["prefetch"]["observations"]["entry"]:
        if "valueQuantity" in entry["resource"]:
            entry["resource"]["valueQuantity"] = {"value": 28, **unit}
    answer = client.post("/cds-services/analgesic-safety-sign", json=request).get_json()
    (card,) = answer["cards"]
    assert card["indicator"] == ("warning" if unit else "info")
    unread = sentence("value_not_read", finding=packaged().title_of("egfr"), date="Nov 22")
    assert (unread in card["detail"]) is not bool(unit)
