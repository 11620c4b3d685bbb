"""How the days until an appointment are counted, and appointments in every shape. The rest: tests/clinical."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.fhir_validation import violations
from service.knowledge_model.model import KnowledgeError
from service.services.appointment_timing import AppointmentTiming
from service.services.evaluation import Evaluator
from tests.charts import ANOTHER, CLOCK, PATIENT, Json, build_request, collection, packaged, sentence

WEAK: Json = {"age": 58, "side": "left", "present": ["buttock-pain", "leg-weakness"], "service": "appointment-timing"}


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
    response = client_at(now).post("/cds-services/appointment-timing", json=request)
    assert response.status_code == 200, response.get_data(as_text=True)
    answer: Json = response.get_json()
    return answer


def entries(answer: Json) -> list[Json]:
    found: list[Json] = answer["extension"]["org.sitbone.assessment"].get("appointments", [])
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


def test_the_requested_period_counts_with_its_last_day_where_no_time_is_set() -> None:
    asked = appointment(None, requestedPeriod=[{"start": "2026-11-25", "end": "2026-12-15"}])
    (entry,) = entries(ask(collection([asked])))
    assert entry == {
        "reference": "Appointment/a1",
        "days": 23,
        "earliestDays": 3,
        "limitDays": 0,
        "because": ["leg-weakness"],
        "soonEnough": False,
    }


CANCER: Json = {
    "age": 60,
    "side": "left",
    "present": ["buttock-pain"],
    "conditions": ["icd10cm|Z85.3"],
    "service": "appointment-timing",
}
TOO_LATE = {"vp01-do-not-wait", "vp02-too-late"}
UNSURE = {"vp03-no-time-set"}


@pytest.mark.parametrize(
    ("chart", "said", "days", "soon_enough", "rules"),
    [
        # Within the limit of two weeks, across it, behind it.
        (CANCER, [{"start": "2026-11-23", "end": "2026-12-06"}], (1, 14), True, set()),
        (CANCER, [{"start": "2026-11-23", "end": "2026-12-07"}], (1, 15), None, UNSURE),
        (CANCER, [{"start": "2026-12-07", "end": "2026-12-20"}], (15, 28), False, TOO_LATE),
        (CANCER, "2026-12", (9, 39), None, UNSURE),
        (CANCER, "2026-12-06", (None, 14), True, set()),
        (CANCER, "2027-01", (40, 70), False, TOO_LATE),
        # What has begun goes on from today.
        (WEAK, [{"start": "2026-11-20", "end": "2027-02-22"}], (0, 92), None, UNSURE),
        (WEAK, [{"start": "2026-11-22", "end": "2027-02-22"}], (0, 92), None, UNSURE),
        (WEAK, [{"start": "2026-11-20", "end": "2026-11-22"}], (None, 0), True, set()),
        (WEAK, "2026-11", (0, 8), None, UNSURE),
        # Open periods, and those that cannot be read.
        (WEAK, [{"start": "2026-11-22"}], (0, None), None, UNSURE),
        (WEAK, [{"start": "2026-11-23"}], (1, None), False, TOO_LATE),
        (CANCER, [{"end": "2026-12-06"}], (0, 14), True, set()),
        (CANCER, [{"start": "2026-11-23", "end": "later"}], (1, None), None, UNSURE),
        (WEAK, [{"start": "soon"}], (None, None), None, UNSURE),
        # Of several the first begins it and the last ends it; what is over is none of them.
        (CANCER, [{"start": "2027-01-04", "end": "2027-01-05"}, {"end": "2026-11-30"}], (0, 44), None, UNSURE),
        (CANCER, [{"start": "2027-01-04", "end": "2027-01-05"}, {"end": "2026-11-20"}], (43, 44), False, TOO_LATE),
        # Past is what lies before now, also today.
        (WEAK, "2026-11-22T11:59:00Z", (None, 0), None, set()),
        (WEAK, "2026-11-22T12:01:00Z", (None, 0), True, set()),
        (WEAK, [{"start": "2026-11-20", "end": "2026-11-21"}], (-2, -1), None, set()),
        (WEAK, "2026-10", (-52, -22), None, set()),
    ],
)
def test_of_a_span_every_day_has_to_be_soon_enough(
    chart: Json, said: Any, days: tuple[int | None, int | None], soon_enough: bool | None, rules: set[str]
) -> None:
    asked = appointment(said) if isinstance(said, str) else appointment(None, requestedPeriod=said)
    answer = ask(collection([asked]), chart=chart)
    (entry,) = entries(answer)
    assert (entry.get("earliestDays"), entry.get("days"), entry.get("soonEnough")) == (*days, soon_enough)
    fired = {
        each["id"]
        for card in answer["cards"]
        for each in card["extension"]["org.sitbone.basis"]["recommendations"]
        if each["id"].startswith("vp")
    }
    assert fired == (rules & fired if rules == TOO_LATE else rules)
    assert bool(fired) == bool(rules)


def test_the_days_of_a_span_stand_on_the_card() -> None:
    (card,) = ask(collection([appointment("2026-12")]), chart=CANCER)["cards"]
    assert "9 to 39 days" in card["summary"]


def test_a_visit_that_is_surely_in_time_makes_up_for_one_that_may_not_be() -> None:
    today, open_period = (
        appointment("2026-11-22T15:00:00Z"),
        appointment(None, requestedPeriod=[{"start": "2026-11-22"}]),
    )
    assert ask(collection([open_period, today]))["cards"] == []
    assert len(ask(collection([open_period, appointment()]))["cards"]) == 1


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
        (appointment(modifierExtension=[{"url": "urn:x:not-held"}]), {"otherPatient": 0, "unreadable": 1}),
        (appointment(implicitRules="urn:x:rules"), {"otherPatient": 0, "unreadable": 1}),
        ({"resourceType": "Slot", "id": "s"}, {"otherPatient": 0, "unreadable": 0}),
    ],
)
def test_what_is_no_appointment_of_this_patient_is_left_out(one: object, counted: Json) -> None:
    answer = ask(collection([one, appointment("2026-11-22T15:00:00Z", id="today")]))  # type: ignore[list-item]
    assert [entry["reference"] for entry in entries(answer)] == ["Appointment/today"]
    assert answer["cards"] == []
    assert answer["extension"]["org.sitbone.assessment"]["draftsLeftOut"] == counted


@pytest.mark.parametrize(
    ("patients", "is_his"), [((ANOTHER, PATIENT), True), ((PATIENT, ANOTHER), True), ((ANOTHER, "third"), False)]
)
def test_of_several_patients_the_one_in_context_makes_it_his(patients: tuple[str, ...], is_his: bool) -> None:
    together = [
        {"actor": {"reference": "Practitioner/1"}},
        *({"actor": {"reference": f"Patient/{p}"}} for p in patients),
    ]
    answer = ask(collection([appointment(participant=together)]))
    assert len(answer["cards"]) == len(entries(answer)) == int(is_his)
    left_out = answer["extension"]["org.sitbone.assessment"]["draftsLeftOut"]
    assert left_out == {"otherPatient": int(not is_his), "unreadable": 0}


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


@pytest.mark.parametrize("finding_age", [2, 0])
def test_an_accepted_referral_is_named_instead_of_suggested_and_the_card_stays(finding_age: int) -> None:
    present = [f"{name}, {finding_age} days ago" for name in ("buttock-pain", "saddle-numbness")]
    request = build_request(WEAK | {"present": present})
    request["context"]["appointments"] = collection([appointment()])
    call = partial(client_at(CLOCK).post, "/cds-services/appointment-timing")
    (card,) = call(json=request).get_json()["cards"]
    kept, accepted = card["suggestions"]
    order = accepted["actions"][0]["resource"] | {"id": "placed", "status": "active"}
    request["prefetch"]["orders"] = collection([order]) | {"type": "searchset"}
    (again,) = call(json=request).get_json()["cards"]
    assert (again["uuid"], again["indicator"]) == (card["uuid"], "critical")
    assert [suggestion["uuid"] for suggestion in again["suggestions"]] == [kept["uuid"]]
    (title,) = {accepted["actions"][0]["resource"]["code"]["coding"][-1]["display"]}
    assert sentence("already_ordered", title=title, date="Nov 22") in again["detail"]
    for status, when in (("revoked", CLOCK.isoformat()), ("active", "2026-11-01")):
        order |= {"status": status, "authoredOn": when}
        assert call(json=request).get_json()["cards"][0]["suggestions"] == card["suggestions"]


def test_soon_enough_is_not_said_of_a_chart_that_was_not_heard() -> None:
    chart = {
        "age": 40,
        "side": "left",
        "present": ["buttock-pain"],
        "withheld": ["conditions"],
        "service": "appointment-timing",
    }
    (entry,) = entries(ask(collection([appointment()]), chart=chart))
    assert "soonEnough" not in entry


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("seen-within-critical", "is missing"),
        ("seen-within-warning-fracture", "is of no indicator and red flag"),
        ("seen-within-warning-rs08-physiotherapy", "is of no indicator and red flag"),
        ("seen-by-day-closing", "is missing"),
        ("seen-by-day-past", "is missing"),
        ("seen-by-day-warning-pt01-hamstring-tendon", "is of no indicator and red flag"),
    ],
)
def test_a_limit_that_is_missing_or_of_nothing_ends_the_start(name: str, reason: str) -> None:
    knowledge = packaged()
    one = knowledge.thresholds["seen-within-warning"]
    others = {known: threshold for known, threshold in knowledge.thresholds.items() if known != name}
    thresholds = others if reason == "is missing" else others | {name: one}
    with pytest.raises(KnowledgeError, match=f"guideline.toml: thresholds.{name}: {reason}"):
        AppointmentTiming(Evaluator(replace(knowledge, thresholds=thresholds), lambda: CLOCK))


def test_of_an_injury_of_which_only_the_month_is_known_the_earliest_day_leaves_the_least() -> None:
    chart = {"age": 45, "side": "left", "present": ["buttock-pain", "palpable-gap"], "onset_days_ago": 0}
    request = build_request(chart | {"service": "appointment-timing"})
    for entry in request["prefetch"]["observations"]["entry"]:
        if "valueDateTime" in entry["resource"]:
            entry["resource"]["valueDateTime"] = "2026-11"
    request["context"]["appointments"] = collection([appointment()])
    answer = client_at(CLOCK).post("/cds-services/appointment-timing", json=request).get_json()
    # From the first of the month to the twenty-second are 21 days.
    assert [entry["limitDays"] for entry in entries(answer)] == [7]


def test_an_appointment_in_the_past_is_not_said_to_be_too_late_for_an_emergency() -> None:
    chart = {"age": 45, "side": "left", "present": ["buttock-pain", "saddle-numbness"], "service": "appointment-timing"}
    answer = ask(collection([appointment("2026-11-20T09:00:00Z")]), chart=chart)
    assert answer["cards"] == []
    assert "soonEnough" not in entries(answer)[0]
