"""What of a draft medicine order can be read. When it is judged how: tests/clinical, fixtures/cases."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.chart.dosage import most_in_a_day
from service.chart.strictness import violations
from tests.charts import CLOCK, PATIENT, SYSTEMS, Json, build_request, collection

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


def ask(client: FlaskClient, *drafts: Any, hook: str = "order-sign", **context: Any) -> Json:
    request = build_request(CHART | {"service": "analgesic-safety", "hook": hook})
    request["context"] |= {"draftOrders": collection(list(drafts)), **context}
    response = client.post("/cds-services/analgesic-safety", json=request)
    assert response.status_code == 200, response.get_data(as_text=True)
    answer: Json = response.get_json()
    return answer


def assessment(answer: Json) -> Json:
    found: Json = answer["extension"]["org.sitbone.assessment"]
    return found


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


def test_a_replacement_deletes_the_draft_and_creates_a_valid_order(client: FlaskClient) -> None:
    (card,) = ask(client, draft())["cards"]
    replace, remove = card["suggestions"]
    delete, create = replace["actions"]
    assert delete == {"type": "delete", "description": "Remove this order", "resourceId": "MedicationRequest/m1"}
    assert violations(create["resource"]) == ""
    assert create["resource"]["intent"] == "proposal"
    assert create["resource"]["medicationCodeableConcept"]["coding"][0]["code"] == "161"
    assert remove["actions"] == [delete]
    assert (card["selectionBehavior"], replace["isRecommended"]) == ("at-most-one", True)


def test_a_draft_with_a_long_id_can_be_deleted_and_one_without_is_judged_only(client: FlaskClient) -> None:
    long_id = "e" * 194
    (card,) = ask(client, draft(id=long_id))["cards"]
    assert card["suggestions"][0]["actions"][0]["resourceId"] == f"MedicationRequest/{long_id}"
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
    answer = ask(client, draft(), other, hook="order-select", selections=[selection])
    assert [entry["reference"] for entry in assessment(answer)["medications"]] == ["MedicationRequest/m1"]


@pytest.mark.parametrize(
    ("order", "counted"),
    [
        (draft(subject={"reference": "Patient/another"}), {"otherPatient": 1, "unreadable": 0}),
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
        (draft(medicationCodeableConcept="text"), {"otherPatient": 0, "unreadable": 0}),
        (draft(medicationReference=["broken"]), {"otherPatient": 0, "unreadable": 0}),
    ],
)
def test_a_draft_that_cannot_be_judged_spoils_nothing_but_itself(
    client: FlaskClient, order: Any, counted: Json
) -> None:
    answer = ask(client, order, draft(id="sound"))
    assert [entry["reference"] for entry in assessment(answer)["medications"]] == ["MedicationRequest/sound"]
    assert assessment(answer)["draftsLeftOut"] == counted


def test_a_draft_that_the_chart_already_has_is_no_second_medicine(client: FlaskClient) -> None:
    chart = CHART | {"allergies": [], "medications": ["rxnorm|5640"], "service": "analgesic-safety"}
    request = build_request(chart)
    request["context"]["draftOrders"] = collection([draft(id="medicationrequest-1")])
    assert client.post("/cds-services/analgesic-safety", json=request).get_json()["cards"] == []
    request["context"]["draftOrders"] = collection([draft(id="another")])
    assert len(client.post("/cds-services/analgesic-safety", json=request).get_json()["cards"]) == 1


@pytest.mark.parametrize("selections", [[], ["MedicationRequest/m2"], {}, 1, "m2", True])
def test_at_signing_every_draft_is_judged_whatever_stands_under_selections(
    client: FlaskClient, selections: object
) -> None:
    assert ask(client, draft(), selections=selections) == ask(client, draft())


def test_the_same_draft_gets_the_same_card_on_both_hooks(client: FlaskClient) -> None:
    (selected,) = ask(client, draft(), hook="order-select", selections=["MedicationRequest/m1"])["cards"]
    (signed,) = ask(client, draft())["cards"]
    assert selected["uuid"] == signed["uuid"]
    assert selected["source"]["topic"] == signed["source"]["topic"]
