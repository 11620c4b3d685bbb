"""The service against a FHIR server: the right answer from a sound one, and what each fault of another comes to."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_hooks import (
    HookRequest,
    HookResponse,
    PreconditionFailed,
    ServiceRegistry,
    create_blueprint,
    fhir_access,
)
from cds_hooks.discovery import CdsService
from cds_hooks.fhir_access import FhirPolicy, complete
from service.app import create_app
from service.settings import Settings
from tests.charts import CLOCK, PATIENT, SERVICE, Json, NamedCase, named_cases
from tests.serving import running_for, running_for_each

if TYPE_CHECKING:
    from tests.fhir_server import FhirServer

pytest_plugins = ("tests.fhir_server",)
pytestmark = pytest.mark.needs_system("npm", "it installs the FHIR engine that the service is tried against")

LOOPBACK = FhirPolicy((), internal=False, loopback_only=True)
# Two shared cores and a cold engine must not decide what these tests find.
UNHURRIED = replace(LOOPBACK, deadline=5.0)
# What the server holds back for longer than any call waits: whoever is answered meanwhile has not waited for it.
SLOW = ("delay:2000", "delay:20000", "slow-body")
# What the server's fault "token" asks for.
GOOD = "test-token"
TEMPLATES = {
    "patient": "Patient/{{context.patientId}}",
    "conditions": "Condition?patient={{context.patientId}}",
    "observations": "Observation?patient={{context.patientId}}&code=a,b,c",
}


@pytest.fixture(autouse=True)
def patient() -> Iterator[None]:
    """No test suffers from the silence of the server in another one."""
    yield
    fhir_access._patience.forget()


def observation(number: int) -> Json:
    return {
        "resourceType": "Observation",
        "id": f"kept-{number}",
        "status": "final",
        "subject": {"reference": "Patient/kept"},
        "code": {"coding": [{"code": "abc"[number % 3]}]},
    }


@pytest.fixture
def chart(fhir_server: FhirServer) -> FhirServer:
    """The server with a patient who has one condition and seven observations."""
    condition = {"resourceType": "Condition", "id": "kept-c", "subject": {"reference": "Patient/kept"}}
    fhir_server.seed({"resourceType": "Patient", "id": "kept"}, condition, *map(observation, range(7)))
    return fhir_server


def body(server: FhirServer, patient_id: str, token: str = GOOD, **members: Any) -> Json:
    return {
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "fhirServer": server.base_url,
        "fhirAuthorization": {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "user/*.read",
            "subject": "sitbone",
        },
        "context": {"userId": "Practitioner/7", "patientId": patient_id},
        **members,
    }


def app_with(service: CdsService[HookResponse]) -> FlaskClient:
    app = Flask("fetching")
    app.register_blueprint(create_blueprint(ServiceRegistry([service]), on_feedback=lambda record: None))
    return app.test_client()


def lister(policy: FhirPolicy | None, templates: dict[str, str] = TEMPLATES) -> FlaskClient:
    """A toy CDS service that tells what became of each key, and cannot do without the patient."""

    def answer(request: HookRequest) -> HookResponse:
        prefetch = complete(request, templates, policy).prefetch
        if not prefetch["patient"].resources:
            raise PreconditionFailed(f"prefetch.patient: {TEMPLATES['patient']}: {prefetch['patient'].note}")
        states = {key: [value.state, len(value.resources), value.note or "-"] for key, value in prefetch.items()}
        return HookResponse((), extension={"org.example.states": states})

    return app_with(CdsService("lister", "patient-view", "Lister", "Lists what it has", templates, answer))


def listed(client: FlaskClient, request: Json) -> Json:
    response = client.post("/cds-services/lister", json=request)
    assert response.status_code == 200, response.get_data(as_text=True)
    states: Json = response.get_json()["extension"]["org.example.states"]
    return states


SOUND = {"patient": ["fetched", 1, "-"], "conditions": ["fetched", 1, "-"], "observations": ["fetched", 7, "-"]}


@pytest.fixture
def canary() -> Iterator[str]:
    """The origin of a server that nobody may call."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_the_lock_of_the_server_pins_each_package_by_hash_and_names_no_place(repository: Path) -> None:
    lock = (repository / "tests/ehr/package-lock.json").read_text()
    packages = {name: pinned for name, pinned in json.loads(lock)["packages"].items() if name}

    assert all("integrity" in pinned and re.fullmatch(r"[\d.]+", pinned["version"]) for pinned in packages.values())
    assert "://" not in lock


def test_a_sound_server_gives_everything_in_one_request_for_each_key(chart: FhirServer) -> None:
    assert listed(lister(UNHURRIED), body(chart, "kept")) == SOUND
    assert chart.counts() == {"Patient/kept": 1, "Condition": 1, "Observation": 1}


def test_one_connection_after_the_other_asks_for_what_decides_first_and_serves_call_after_call(
    chart: FhirServer,
) -> None:
    first = ("Observation", "Patient")
    client = lister(replace(UNHURRIED, connections=1, first=first))

    assert [listed(client, body(chart, "kept")) for _ in range(3)] == [SOUND] * 3
    assert list(chart.counts()) == ["Observation", "Patient/kept", "Condition"]
    assert chart.connections() == 1


def test_a_slow_server_gives_everything_for_the_time_of_one_answer(chart: FhirServer) -> None:
    """One after the other, fourteen answers would take twice the deadline."""
    templates = {f"key-{number}": "Observation?patient={{context.patientId}}&code=a" for number in range(13)}
    chart.fault("delay:700")

    states = listed(lister(UNHURRIED, templates | TEMPLATES), body(chart, "kept"))

    assert {state for state, *_ in states.values()} == {"fetched"}
    assert len(states) == 16


def test_a_prefetch_only_service_calls_no_server(chart: FhirServer) -> None:
    request = body(chart, "kept", prefetch={"patient": {"resourceType": "Patient", "id": "kept"}})

    states = listed(lister(None), request)

    assert states["observations"] == ["missing", 0, "nothing is fetched in prefetch-only mode"]
    assert chart.counts() == {}


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("401", ["failed", 0, "refused: 401"]),
        ("403", ["failed", 0, "refused: 403"]),
        ("404", ["failed", 0, "refused: 404"]),
        ("429", ["failed", 0, "refused: 429"]),
        ("500", ["failed", 0, "refused: 500"]),
        ("html", ["failed", 0, "not FHIR: the content type is not JSON"]),
        ("lie", ["failed", 0, "not FHIR: the answer cannot be read as JSON"]),
        ("type:text/plain", ["failed", 0, "not FHIR: the content type is not JSON"]),
        ("outcome", ["failed", 0, "an OperationOutcome instead of data"]),
        ("half", ["failed", 0, "not fetched: connection"]),
        ("reset", ["failed", 0, "not fetched: connection"]),
        ("huge:6000000", ["failed", 0, "not fetched: too-large"]),
        ("redirect:{canary}/fhir", ["failed", 0, "not fetched: redirect"]),
        (
            "foreign-next:{canary}/fhir/Observation?page=2",
            ["incomplete", 7, "the next page is not on this FHIR server"],
        ),
        ("loop-next", ["incomplete", 7, "the next page is one that was read"]),
        ("endless-next", ["incomplete", 7, "more than 10 pages"]),
        ("page:2", ["fetched", 7, "-"]),
        ("delay:30", ["fetched", 7, "-"]),
    ],
)
def test_a_fault_of_one_search_is_told_and_leaves_the_others_alone(
    chart: FhirServer, canary: str, fault: str, seen: list[object]
) -> None:
    client = lister(UNHURRIED)
    chart.fault(fault.format(canary=canary), match="Observation")

    assert listed(client, body(chart, "kept")) == {**SOUND, "observations": seen}

    chart.forget()
    assert listed(client, body(chart, "kept")) == SOUND


@pytest.mark.parametrize("fault", ["delay:20000", "slow-body"])
def test_what_is_not_there_at_the_deadline_is_not_waited_for(chart: FhirServer, fault: str) -> None:
    client = lister(LOOPBACK)
    chart.fault(fault, match="Observation")

    states = listed(client, body(chart, "kept"))

    assert chart.unanswered() > 0
    assert states["observations"] == ["missing", 0, "not in time"]
    chart.forget()
    assert listed(lister(UNHURRIED), body(chart, "kept")) == SOUND


def test_the_pages_that_came_before_the_deadline_are_kept(chart: FhirServer) -> None:
    chart.fault("page:3", match="Observation")
    chart.fault("delay:3000", match="_offset=6")

    states = listed(lister(replace(LOOPBACK, deadline=1.5)), body(chart, "kept"))

    assert states["observations"] == ["incomplete", 6, "not in time"]


@pytest.mark.parametrize(("token", "seen"), [(GOOD, ["fetched", 7, "-"]), ("another", ["failed", 0, "refused: 401"])])
def test_the_token_of_the_request_opens_the_server(chart: FhirServer, token: str, seen: list[object]) -> None:
    chart.fault("token", match="Observation")

    assert listed(lister(UNHURRIED), body(chart, "kept", token))["observations"] == seen


@pytest.mark.parametrize(
    ("fault", "note"), [("404", "refused: 404"), ("delay:2000", "not in time"), ("html", "not FHIR")]
)
def test_without_the_patient_the_call_is_refused_with_key_template_and_reason(
    chart: FhirServer, fault: str, note: str
) -> None:
    chart.fault(fault, match="Patient/")

    response = lister(LOOPBACK).post("/cds-services/lister", json=body(chart, "kept"))

    outcome = response.get_json()
    assert (response.status_code, outcome["resourceType"]) == (412, "OperationOutcome")
    diagnostics = outcome["issue"][0]["diagnostics"]
    assert "prefetch.patient" in diagnostics
    assert TEMPLATES["patient"] in diagnostics
    assert note in diagnostics
    assert GOOD not in response.get_data(as_text=True)


# The published service, with the chart in the FHIR server instead of in the prefetch.

Clinic: TypeAlias = Callable[[int], FlaskClient]
CASES = {case.name: case for case in named_cases()}


def in_server(
    server: FhirServer, case: NamedCase, patient_id: str = "", entries: int | None = None
) -> tuple[Json, Json]:
    """A request with the chart of the case in its prefetch, and the same with the chart in the server only.

    With `entries`, the server has no more than so many resources of each key.
    """
    mark = patient_id or f"case-{list(CASES).index(case.name)}"
    request = json.loads(json.dumps(case.request()).replace(PATIENT, mark))
    visit = request["context"]["encounterId"] = f"{mark}-visit"
    subject = {"reference": f"Patient/{mark}"}
    encounter = {"resourceType": "Encounter", "id": visit, "status": "in-progress", "subject": subject}
    resources = [request["prefetch"]["patient"], encounter]
    for key, bundle in request["prefetch"].items():
        for entry in bundle.get("entry", ())[:entries] if key != "patient" else ():
            entry["resource"]["id"] = f"{mark}-{entry['resource']['id']}"
            resources.append(entry["resource"])
    server.seed(*resources)
    return request, body(server, mark, hookInstance=request["hookInstance"], context=request["context"])


@pytest.fixture(scope="module")
def clinic() -> Clinic:
    """The product, which reads FHIR servers on this machine for at most so many milliseconds a call."""

    @cache
    def make(milliseconds: int) -> FlaskClient:
        return create_app(Settings(fetch_milliseconds=milliseconds, threads=16), lambda: CLOCK).test_client()

    return make


def advice(response: Any) -> Json:
    """The answer without what differs by the way that the data took."""
    assert response.status_code == 200, response.get_data(as_text=True)
    answer: Json = response.get_json()
    answer["extension"]["org.sitbone.assessment"].pop("data")
    return answer


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.file == "vignettes.toml"], ids=lambda c: c.name
)
@pytest.mark.parametrize("faults", [[], ["page:2"]], ids=["whole", "paged"])
def test_a_chart_in_the_server_gives_the_advice_of_the_same_chart_in_the_prefetch(
    fhir_server: FhirServer, clinic: Clinic, case: NamedCase, faults: list[str]
) -> None:
    client = clinic(5_000)
    prefetched, bare = in_server(fhir_server, case)
    for fault in faults:
        fhir_server.fault(fault)

    expected = advice(client.post(SERVICE, json=prefetched))

    assert advice(client.post(SERVICE, json=bare)) == expected
    assert fhir_server.longest_url() <= 2_000
    assert fhir_server.counts()["Observation"] > 1


SICK = "Water-skier of 39, first visit: bruised, weak, radiograph normal"


@pytest.mark.parametrize(
    ("faults", "states"),
    [
        ([("403", "Condition")], {"observations": "fetched", "conditions": "failed"}),
        ([("delay:2000", "Allergy")], {"observations": "fetched", "allergies": "missing"}),
        ([("html", "Medication")], {"observations": "fetched", "medications": "failed"}),
        ([("foreign-next:http://127.0.0.2/fhir/", "Observation")], {"observations": "incomplete"}),
    ],
)
def test_the_service_answers_with_what_it_has_and_says_what_it_has_not(
    fhir_server: FhirServer,
    clinic: Clinic,
    faults: list[tuple[str, str]],
    states: dict[str, str],
) -> None:
    _, bare = in_server(fhir_server, CASES[SICK])
    for fault, match in faults:
        fhir_server.fault(fault, match)

    answer = clinic(1_000).post(SERVICE, json=bare)

    assert answer.status_code == 200
    data = answer.get_json()["extension"]["org.sitbone.assessment"]["data"]
    assert {key: data[key] for key in states} == states


@pytest.mark.parametrize(
    "faults",
    [
        [("401", "/fhir/")],
        [("reset", "/fhir/")],
        [("html", "/fhir/")],
        [("half", "/fhir/")],
        [("delay:2000", "/fhir/")],
        [("slow-body", "/fhir/")],
        [("redirect:http://169.254.169.254/", "/fhir/")],
        [("404", "Patient/")],
        [("500", "Observation")],
        [("delay:2000", "Observation")],
        [("429", "Condition"), ("500", "Observation")],
        [("outcome", "Condition"), ("lie", "Observation")],
        [("delay:20000", "Condition"), ("403", "Observation")],
        [("other:somebody-else", "Observation")],
    ],
)
def test_the_service_refuses_with_412_when_the_patient_or_every_finding_is_out_of_reach(
    fhir_server: FhirServer, clinic: Clinic, faults: list[tuple[str, str]]
) -> None:
    client = clinic(1_000)
    _, bare = in_server(fhir_server, CASES[SICK])
    for fault, match in faults:
        fhir_server.fault(fault, match)

    response = client.post(SERVICE, json=bare)

    if any(fault in SLOW for fault, _ in faults):
        assert fhir_server.unanswered() > 0
    text = response.get_data(as_text=True)
    assert (response.status_code, response.get_json()["resourceType"]) == (412, "OperationOutcome")
    assert GOOD not in text
    assert bare["context"]["patientId"] not in text
    fhir_server.forget()
    assert client.post(SERVICE, json=bare).status_code == 200


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ({"scope": "patient/Patient.rs patient/Observation.rs"}, 200),
        ({"scope": "patient/Patient.rs patient/AllergyIntolerance.rs"}, 412),
        ({"scope": "patient/Observation.read patient/Condition.read"}, 412),
        ({"scope": "user/*.read", "patient": "somebody-else"}, 412),
        ({"scope": "user/*.read", "expires_in": 0}, 412),
    ],
)
def test_what_the_token_does_not_allow_is_not_even_asked_for(
    fhir_server: FhirServer,
    clinic: Clinic,
    authorization: dict[str, object],
    status: int,
) -> None:
    _, bare = in_server(fhir_server, CASES[SICK])
    bare["fhirAuthorization"].update(authorization)

    assert clinic(5_000).post(SERVICE, json=bare).status_code == status
    asked = fhir_server.counts()
    granted = {scope.split("/")[1].split(".")[0] for scope in str(authorization["scope"]).split()}
    if len(authorization) > 1:
        assert asked == {}
    assert {path.split("/")[0] for path in asked} <= granted


def test_calls_that_come_together_on_a_dead_server_all_end_at_their_deadline(
    fhir_server: FhirServer, clinic: Clinic
) -> None:
    client = clinic(400)
    _, bare = in_server(fhir_server, CASES[SICK])
    fhir_server.fault("delay:20000")

    def call(_: int) -> int:
        return client.application.test_client().post(SERVICE, json=bare).status_code

    with ThreadPoolExecutor(16) as callers:
        ended = list(callers.map(call, range(32)))

    assert set(ended) == {412}
    assert fhir_server.unanswered() == sum(fhir_server.counts().values()) > 0
    fhir_server.forget()
    left_alone = client.post(SERVICE, json=bare)
    assert left_alone.status_code == 412
    assert "did not answer the last calls" in left_alone.get_data(as_text=True)
    assert fhir_server.counts() == {}
    fhir_access._patience.forget()
    assert clinic(5_000).post(SERVICE, json=bare).status_code == 200


# The running service, with its two workers.

ALL = "everything"
FAULTS = [
    *((fault, "Observation", 412, "") for fault in ("401", "403", "404", "429", "500", "html", "lie", "outcome")),
    *((fault, "Observation", 412, "") for fault in ("type:text/plain", "half", "reset", "huge:6000000")),
    ("redirect:http://169.254.169.254/", "Observation", 412, ""),
    *((fault, "Observation", 200, "incomplete") for fault in ("loop-next", "foreign-next:http://127.0.0.2/fhir/")),
    *((fault, "Observation", 412, "") for fault in ("delay:20000", "slow-body")),
    *((fault, ALL, 200, "fetched") for fault in ("page:1", "delay:20")),
    *(
        (fault, ALL, 412, "")
        for fault in ("401", "404", "429", "500", "html", "half", "reset", "slow-body", "delay:20000")
    ),
]


def test_the_running_service_answers_in_time_and_tells_of_every_fault_while_others_go_on(
    fhir_server: FhirServer, repository: Path, tmp_path: Path
) -> None:
    # The engine reads every resource for every code of a search: few resources keep it fast enough for many calls.
    sick, well = (in_server(fhir_server, CASES[SICK], name, entries=1)[1] for name in ("met-by-faults", "well-served"))
    # By another name, it is another server: what is left alone for a while does not take the others along.
    well["fhirServer"] = well["fhirServer"].replace("127.0.0.1", "localhost")
    made = 0
    with (
        running_for(
            repository, tmp_path, [sick["fhirServer"], well["fhirServer"]], SITBONE_FETCH_MILLISECONDS="4000"
        ) as (call, stop),
        ThreadPoolExecutor(6) as callers,
    ):
        for fault, where, code, state in FAULTS:
            fhir_server.forget()
            fhir_server.fault(fault, "met-by-faults" if where == ALL else f"{where}?patient=met-by-faults")
            *met, served, other = callers.map(call, [sick, sick, sick, sick, well, well])
            assert fault not in SLOW or fhir_server.unanswered() > 0
            made += 6
            for answer, expected, observations in (
                *((each, code, state) for each in met),
                (served, 200, "fetched"),
                (other, 200, "fetched"),
            ):
                assert answer.status == expected, (fault, where)
                if expected == 200:
                    data = answer.body["extension"]["org.sitbone.assessment"]["data"]
                    # A search of which nothing came before it stopped has failed.
                    in_part = {key: "failed" for key in data if key.startswith("observations") and where != ALL}
                    others = in_part if observations == "incomplete" else {}
                    assert data == dict.fromkeys(data, "fetched") | others | {"observations": observations}, (
                        fault,
                        where,
                    )
                else:
                    assert answer.body["resourceType"] == "OperationOutcome"
        log = [json.loads(line) for line in stop().splitlines()]

    # A worker that died would have a line of its own.
    assert [line["event"] for line in log] == ["call"] * made
    assert {line["client"] for line in log} == {"clinic"}
    assert not re.search(r"met-by-faults|well-served|test-token|127\.0\.0\.1", json.dumps(log))


def test_a_server_that_takes_its_time_is_read_in_full_by_call_after_call_over_kept_connections(
    fhir_server: FhirServer, repository: Path, tmp_path: Path
) -> None:
    _, bare = in_server(fhir_server, CASES[SICK], "slowly-served", entries=1)
    with running_for(repository, tmp_path, [fhir_server.base_url], SITBONE_FETCH_MILLISECONDS="5000") as (call, _):
        call(bare)
        asked = sum(fhir_server.counts().values())
        fhir_server.forget()
        fhir_server.fault("delay:500")
        answers = [call(bare) for _ in range(10)]
        counts, connections = fhir_server.counts(), fhir_server.connections()

    for answer in answers:
        assert answer.status == 200
        assert set(answer.body["extension"]["org.sitbone.assessment"]["data"].values()) == {"fetched"}
    assert sum(counts.values()) == 10 * asked
    # Each of the two workers has one for each request of a call.
    assert connections <= 2 * asked


def test_a_client_whose_server_is_dead_takes_nothing_from_another_client(
    fhir_server: FhirServer, repository: Path, tmp_path: Path
) -> None:
    """Sixteen callers who come again and again, where two workers let in eight each and work on one."""
    _, bare = in_server(fhir_server, CASES[SICK], "well-served", entries=1)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as dead, ThreadPoolExecutor(16) as callers:
        silent = f"http://127.0.0.1:{dead.getsockname()[1]}/fhir"
        servers = {"dead": [silent], "well": [fhir_server.base_url]}
        variables = {"SITBONE_MAX_IN_FLIGHT": "8", "SITBONE_THREADS": "1", "SITBONE_FETCH_MILLISECONDS": "4000"}
        over = Event()

        def call_in_vain() -> set[int]:
            statuses = set()
            while not over.wait(0.2):
                statuses.add(call("dead", bare | {"fhirServer": silent}).status)
            return statuses

        with running_for_each(repository, tmp_path, servers, **variables) as (call, stop):
            in_vain = [callers.submit(call_in_vain) for _ in range(16)]
            try:
                answers = [call("well", bare) for _ in range(15)]
            finally:
                over.set()
            statuses = set().union(*(each.result() for each in in_vain))
            log = stop()

    assert [answer.status for answer in answers] == [200] * 15
    for answer in answers:
        assert set(answer.body["extension"]["org.sitbone.assessment"]["data"].values()) == {"fetched"}
    assert 412 in statuses <= {412, 503}
    assert "Traceback" not in log
