"""How the days until an appointment are counted, and appointments in every shape. The rest: tests/clinical."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.chart.strictness import violations
from service.guideline import loader as knowledge
from service.guideline.model import KnowledgeError
from service.services.consultation import Consultant
from service.services.visit_planning import VisitPlanning
from tests.charts import ANOTHER, CLOCK, PATIENT, Json, build_request, collection

WEAK: Json = {"age": 58, "side": "left", "present": ["buttock-pain", "leg-weakness"], "service": "visit-planning"}


def appointment(start: object = "2026-11-30T09:00:00Z", **members: Any) -> Json:
    return {
        "resourceType": "Appointment",
        "id": "a1",
        "status": "proposed",
        "start": start,
        "participant": [{"actor": {"reference": f"Patient/{PATIENT}"}, "status": "accepted"}],
    } | members


@cache
def client_at(now: datetime) -> FlaskClient:
    return create_app(clock=lambda: now).test_client()


def ask(appointments: Any, now: datetime = CLOCK, chart: Json = WEAK) -> Json:
    request = build_request(chart)
    request["context"]["appointments"] = appointments
    response = client_at(now).post("/cds-services/visit-planning", json=request)
    assert response.status_code == 200, response.get_data(as_text=True)
    answer: Json = response.get_json()
    return answer


def entries(answer: Json) -> list[Json]:
    found: list[Json] = answer["extension"]["org.sitbone.assessment"]["appointments"]
    return found


LATE_EVENING = datetime(2026, 11, 22, 22, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "now", "days"),
    [
        # 23:30 of the same day, and half past midnight of the next one, where the patient is.
        ("2026-11-22T23:30:00Z", LATE_EVENING, 0),
        ("2026-11-23T00:30:00+01:00", LATE_EVENING, 1),
        ("2026-11-23T08:00:00+02:00", LATE_EVENING, 0),
        ("2026-11-22T18:00:00-05:00", LATE_EVENING, 0),
        ("2026-11-23T00:30:00Z", LATE_EVENING, 1),
        ("2026-11-21T09:00:00Z", CLOCK, -1),
        ("2026-12-06", CLOCK, 14),
        ("2026-12-06T09:00:00+99:00", CLOCK, None),
        ("soon", CLOCK, None),
        (None, CLOCK, None),
        (7, CLOCK, None),
    ],
)
def test_days_are_counted_in_the_zone_of_the_appointment(start: object, now: datetime, days: int | None) -> None:
    (entry,) = entries(ask(collection([appointment(start)]), now))
    assert entry.get("days") == days


def test_the_requested_period_counts_where_no_time_is_set() -> None:
    asked = appointment(None, requestedPeriod=[{"start": "2026-11-25", "end": "2026-12-15"}])
    (entry,) = entries(ask(collection([asked])))
    assert entry == {
        "reference": "Appointment/a1",
        "days": 3,
        "limitDays": 0,
        "because": ["leg-weakness"],
        "soonEnough": False,
    }


@pytest.mark.parametrize("wrap", [collection, list], ids=["a Bundle", "an array"])
def test_appointments_come_as_a_bundle_or_as_an_array(wrap: Any) -> None:
    assert len(ask(wrap([appointment()]))["cards"]) == 1


@pytest.mark.parametrize(
    ("one", "counted"),
    [
        (
            appointment(participant=[{"actor": {"reference": f"Patient/{ANOTHER}"}}]),
            {"otherPatient": 1, "unreadable": 0},
        ),
        (appointment(status="cancelled"), {"otherPatient": 0, "unreadable": 0}),
        (appointment(status="noshow"), {"otherPatient": 0, "unreadable": 0}),
        ("text", {"otherPatient": 0, "unreadable": 1}),
        ({"resourceType": "Slot", "id": "s"}, {"otherPatient": 0, "unreadable": 0}),
    ],
)
def test_what_is_no_appointment_of_this_patient_is_left_out(one: object, counted: Json) -> None:
    answer = ask(collection([one, appointment("2026-11-22T15:00:00Z", id="today")]))  # type: ignore[list-item]
    assert [entry["reference"] for entry in entries(answer)] == ["Appointment/today"]
    assert answer["cards"] == []
    assert answer["extension"]["org.sitbone.assessment"]["draftsLeftOut"] == counted


def test_an_appointment_that_names_no_patient_is_that_of_the_context() -> None:
    assert len(ask(collection([appointment(participant=[])]))["cards"]) == 1


def test_the_suggested_referrals_are_valid_and_exclude_none_of_each_other() -> None:
    chart = WEAK | {"present": ["buttock-pain", "saddle-numbness"]}
    (card,) = ask(collection([appointment()]), chart=chart)["cards"]
    assert card["indicator"] == "critical"
    assert card["selectionBehavior"] == "any"
    resources = [action["resource"] for suggestion in card["suggestions"] for action in suggestion["actions"]]
    assert [resource["priority"] for resource in resources] == ["stat", "stat"]
    assert [violations(resource) for resource in resources] == ["", ""]


def test_soon_enough_is_not_said_of_a_chart_that_was_not_heard() -> None:
    chart = {
        "age": 40,
        "side": "left",
        "present": ["buttock-pain"],
        "null": ["conditions"],
        "service": "visit-planning",
    }
    (entry,) = entries(ask(collection([appointment()]), chart=chart))
    assert "soonEnough" not in entry


@pytest.mark.parametrize(
    ("name", "reason"),
    [("seen-within-critical", "is missing"), ("seen-within-warning-fracture", "is of no indicator and red flag")],
)
def test_a_limit_that_is_missing_or_of_nothing_ends_the_start(name: str, reason: str) -> None:
    guideline = knowledge.load()
    one = guideline.thresholds["seen-within-warning"]
    others = {known: threshold for known, threshold in guideline.thresholds.items() if known != name}
    thresholds = others if reason == "is missing" else others | {name: one}
    with pytest.raises(KnowledgeError, match=f"guideline.toml: thresholds.{name}: {reason}"):
        VisitPlanning(Consultant(replace(guideline, thresholds=thresholds), lambda: CLOCK))
