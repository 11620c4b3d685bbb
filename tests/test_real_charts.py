"""Charts and requests that other people made: quiet without the complaint, right with it, never a crash.

They lie beside the repository and are not part of it; without them these tests are skipped.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import orjson
import pytest
from flask.testing import FlaskClient

from cds_hooks import read_request
from service.app import create_app
from service.services.evaluation import chart_of
from tests.charts import (
    CLOCK,
    PATIENT,
    SERVICE,
    Json,
    assessment_of,
    case_reader,
    named_cases,
    packaged,
    services,
)

_KEYS = {
    "Condition": "conditions",
    "Observation": "observations",
    "MedicationRequest": "medications",
    "AllergyIntolerance": "allergies",
}
GUIDELINE = packaged()
READER = case_reader()
CALLED = services().find("gluteal-hamstring-pain", "patient-view")
# What a client has nothing of.
EMPTY = dict.fromkeys(CALLED.prefetch)
VIGNETTES = {
    case.fixture: case
    for case in named_cases()
    if case.fixture in ("water-skier-before-mri", "triathlete-of-34", "soldier-first-visit", "gluteal-tear")
}


@dataclass(frozen=True, slots=True)
class Chart:
    """One patient's prefetch, and the findings that the rules read in it."""

    patient: Json
    prefetch: Json
    findings: frozenset[str]

    def request(self) -> Json:
        return {
            "hook": "patient-view",
            "hookInstance": "8a7a2b1e-1f0c-4d3a-9f2b-6f1b6a3a9d10",
            "context": {"userId": "Practitioner/1", "patientId": self.patient["id"]},
            "prefetch": {**EMPTY, "patient": self.patient, **self.prefetch},
        }


@cache
def read_charts(folder: Path) -> tuple[Chart, ...]:
    charts = []
    with gzip.open(folder / "data" / "synthea-r4.ndjson.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            prefetch: Json = {
                key: {"resourceType": "Bundle", "type": "searchset", "entry": []} for key in _KEYS.values()
            }
            patient: Json = {}
            for entry in orjson.loads(line)["entry"]:
                kind = entry["resource"]["resourceType"]
                if kind == "Patient":
                    patient = entry["resource"]
                elif kind in _KEYS:
                    prefetch[_KEYS[kind]]["entry"].append(entry)
            chart = Chart(patient, prefetch, frozenset())
            body = orjson.dumps(chart.request())
            case = READER.read(chart_of(read_request(body, CALLED, correlation_id="chart")), CLOCK)
            charts.append(Chart(patient, prefetch, frozenset(case.assertions)))
    return tuple(charts)


@pytest.fixture
def charts(shared: Path) -> tuple[Chart, ...]:
    return read_charts(shared)


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(clock=lambda: CLOCK).test_client()


def post(client: FlaskClient, request: Json) -> Json:
    response = client.post(SERVICE, data=orjson.dumps(request), content_type="application/json")
    assert response.status_code == 200
    answer: Json = orjson.loads(response.data)
    return answer


def assessment(client: FlaskClient, request: Json) -> Json:
    return assessment_of(post(client, request))


def test_an_ordinary_chart_gets_no_card(client: FlaskClient, charts: tuple[Chart, ...]) -> None:
    for chart in charts:
        answer = post(client, chart.request())
        found = assessment_of(answer)
        assert (found["complaint"], answer["cards"]) == ("absent", [])
        assert (found["redFlags"], found["imaging"], found["ask"]) == ([], [], [])
        assert found["leftOut"]["otherPatient"] == found["leftOut"]["unreadable"] == 0


def grafted(chart: Chart, vignette: Json) -> Json:
    """The chart with what the vignette says: of its patient only age and sex are taken over."""
    text = json.dumps(vignette["prefetch"]).replace(f"Patient/{PATIENT}", f"Patient/{chart.patient['id']}")
    said = json.loads(text)
    request = chart.request()
    own = {key: value for key, value in chart.patient.items() if key != "deceasedDateTime"}
    request["prefetch"] = {
        **EMPTY,
        "patient": {**own, **{member: said["patient"][member] for member in ("gender", "birthDate")}},
        "questionnaireResponses": said["questionnaireResponses"],
        **{
            key: {**chart.prefetch[key], "entry": [*chart.prefetch[key]["entry"], *said[key]["entry"]]}
            for key in _KEYS.values()
        },
    }
    return request


# What of these charts holds the NSAID, and what changes nothing of what is compared: cautions, and what is read with
# something else only (osteoporosis with a fall, a diuretic with an ACE inhibitor).
_HOLDING = {
    "anticoagulant-medicine",
    "nsaid-medicine",
    "lithium-or-methotrexate",
    "heart-failure",
    "advanced-kidney-disease",
}
_WITHOUT_EFFECT = {
    *("osteoporosis", "diuretic-medicine", "warfarin-medicine", "antiplatelet-medicine", "acetaminophen-medicine"),
    *("cardiovascular-disease", "diabetes", "hip-joint-disease"),
}


_SUPPRESSED = "immunosuppressant-medicine"
# What makes an answer more plausible, so that it may be asked before others.
_ASKED_BESIDE = {"diabetes": "fever", "osteoporosis": "unable-to-bear-weight"}


def decided(found: Json) -> Json:
    """What must not depend on the rest of a chart."""
    return {
        "redFlags": {flag["id"]: flag["indicator"] for flag in found["redFlags"]},
        "imaging": [(call["modality"], call["region"], call["priority"]) for call in found["imaging"]],
        "referrals": [(call["to"], call["priority"]) for call in found["referrals"]],
        "leads": [cause["id"] for cause in found["causes"] if cause["band"] == "leads"],
        "treatment": {entry["id"]: entry["state"] for entry in found["treatment"]},
        "ask": found["ask"],
    }


def expected_with(chart: Chart, alone: Json) -> Json:
    """The decision on the vignette alone, changed by what this chart rightly changes."""
    expected: Json = json.loads(json.dumps(alone))
    if chart.findings & _HOLDING:
        expected["treatment"]["nsaid"] = "hold"
    if "anticoagulant-medicine" in chart.findings and "significant-bruising" in expected["redFlags"]:
        expected["redFlags"]["haematoma-on-anticoagulant"] = "critical"
        expected["referrals"] = [["emergency", "stat"], *expected["referrals"]]
    if "hip-joint-disease" in chart.findings and not expected["leads"]:
        expected["leads"] = ["outside"]
    return expected


@pytest.mark.parametrize("name", sorted(VIGNETTES))
def test_a_patient_within_an_ordinary_chart_is_decided_as_alone(
    client: FlaskClient, charts: tuple[Chart, ...], name: str
) -> None:
    vignette = VIGNETTES[name].request()
    alone = decided(assessment(client, vignette))
    for chart in charts:
        assert chart.findings <= _HOLDING | _WITHOUT_EFFECT | {_SUPPRESSED}
        found = json.loads(json.dumps(decided(assessment(client, grafted(chart, vignette)))))
        expected = expected_with(chart, alone)
        if _SUPPRESSED in chart.findings:
            # It counts as the code of immunosuppression does, and an infection is to be thought of or is not.
            assert found["redFlags"] in (expected["redFlags"], {**expected["redFlags"], "infection": "warning"})
            continue
        asked, asked_alone = found.pop("ask"), expected.pop("ask")
        beside = {_ASKED_BESIDE[finding] for finding in chart.findings & _ASKED_BESIDE.keys()}
        if "anticoagulant-medicine" in chart.findings:
            assert "anticoagulated" not in asked
        else:
            assert asked == asked_alone or beside & {*asked}
        assert found == expected


def test_a_fall_onto_the_buttock_meets_the_osteoporosis_of_a_chart(
    client: FlaskClient, charts: tuple[Chart, ...]
) -> None:
    vignette = VIGNETTES["triathlete-of-34"].request()
    fall = json.loads(json.dumps(vignette["prefetch"]["observations"]["entry"][0]).replace("runner", "fall-on-buttock"))
    vignette["prefetch"]["observations"]["entry"].append(fall)
    seen = set()
    for chart in charts:
        flags = decided(assessment(client, grafted(chart, vignette)))["redFlags"]
        fragile = "osteoporosis" in chart.findings
        if _SUPPRESSED in chart.findings:
            assert flags.pop("infection") == "warning"
        assert flags == ({"bone-stress": "warning"} if fragile else {})
        seen.add(fragile)
    assert seen == {True, False}


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def requests_of(shared: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted((shared / "requests").glob("*.json")):
        yield path.name, path.read_bytes()


def proper(client: FlaskClient, name: str, body: bytes) -> int:
    """Posts a body; the answer is cards, or an OperationOutcome that says what is wrong."""
    response = client.post(SERVICE, data=body, content_type="application/json")
    assert response.status_code in (200, 400, 412), name
    answer = response.get_json()
    if response.status_code == 200:
        assert answer["extension"]["org.sitbone.assessment"]["complaint"] in ("present", "absent", "unknown"), name
    else:
        assert answer["resourceType"] == "OperationOutcome", name
        assert all(issue["diagnostics"] and issue["code"] for issue in answer["issue"]), name
    return response.status_code


def test_every_request_of_others_gets_a_proper_answer(client: FlaskClient, shared: Path) -> None:
    for name, body in requests_of(shared):
        proper(client, name, body)


@pytest.mark.parametrize("hook", ["patient-view", "encounter-start"])
def test_every_request_of_others_gets_a_proper_answer_under_each_hook(
    client: FlaskClient, shared: Path, hook: str
) -> None:
    statuses = []
    for name, body in requests_of(shared):
        try:
            request = json.loads(body)
        except ValueError:
            continue
        request["hook"] = hook
        request.setdefault("hookInstance", "8a7a2b1e-1f0c-4d3a-9f2b-6f1b6a3a9d10")
        context = request.get("context") if isinstance(request.get("context"), dict) else {}
        request["context"] = {"userId": "Practitioner/1", "encounterId": "e1", "patientId": "p1", **(context or {})}
        # By keys of other services nothing tells of this pain: those of this one are there and hold nothing.
        given = request.get("prefetch") if isinstance(request.get("prefetch"), dict) else {}
        request["prefetch"] = {**EMPTY, "patient": {"resourceType": "Patient"}, **given}
        statuses.append(proper(client, name, json.dumps(request).encode()))
    assert set(statuses) <= {200, 400, 412}
    assert 200 in statuses
