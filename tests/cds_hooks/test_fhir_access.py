"""What is asked of the CDS client's FHIR server, what is not, and what becomes of each gap in the prefetch."""

import asyncio
import json
import os
import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_hooks import FhirAuthorization, HookRequest, PrefetchState, PrefetchValue, fhir_access
from cds_hooks.fhir_access import FhirPolicy, complete
from cds_hooks.outbound import Fetched, OutboundError, Reach

BASE = "https://ehr.example.org/fhir"
BEARER = "c2VjcmV0.dG9rZW4"
POLICY = FhirPolicy((f"{BASE}/",), internal=False, loopback_only=False)
TEMPLATES = {"patient": "Patient/{{context.patientId}}", "visits": "Encounter?patient={{context.patientId}}"}
PATIENT = {"resourceType": "Patient", "id": "p1"}


def visit(number: int, **members: Any) -> dict[str, Any]:
    return {"resourceType": "Encounter", "id": f"e{number}", "subject": {"reference": "Patient/p1"}, **members}


def bundle(*resources: dict[str, Any], next_link: str | None = None) -> dict[str, Any]:
    links = [{"relation": "self", "url": f"{BASE}/Encounter"}]
    if next_link is not None:
        links.append({"relation": "next", "url": next_link})
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "link": links,
        "entry": [{"resource": resource} for resource in resources],
    }


OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}


@dataclass
class FakeServer:
    """Stands in for the guarded fetch: answers by URL relative to the base, and remembers what it was asked."""

    answers: dict[str, object] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, str], dict[str, Any]]] = field(default_factory=list)

    async def get(self, url: str, reach: Reach, *, headers: Mapping[str, str], **options: Any) -> Fetched:
        """As the guarded one, which ends at the deadline."""
        self.asked.append((url, headers, {"reach": reach, **options}))
        answer = self.answers[url.removeprefix(BASE).lstrip("/")]
        if callable(answer):
            try:
                async with asyncio.timeout_at(options["end"]):
                    answer = await answer(url)
            except TimeoutError:
                raise OutboundError("timeout", "x") from None
        if isinstance(answer, Exception):
            raise answer
        found = answer if isinstance(answer, Fetched) else fetched(answer)
        options["in_all"].bytes_left -= len(found.body)
        return found

    @property
    def urls(self) -> list[str]:
        return sorted(url.removeprefix(f"{BASE}/") for url, _, _ in self.asked)


def fetched(body: object, *, status: int = 200, content_type: str = "application/fhir+json") -> Fetched:
    return Fetched(status, content_type, body if isinstance(body, bytes) else json.dumps(body).encode(), {}, 0.0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer({"Patient/p1": PATIENT, "Encounter?patient=p1": bundle(visit(1), visit(2))})
    monkeypatch.setattr(fhir_access, "get", fake.get)
    return fake


@pytest.fixture(autouse=True)
def patient() -> Iterator[None]:
    """No test suffers from a server that let another one wait."""
    fhir_access._patience.forget()
    yield
    fhir_access._patience.forget()


def hook_request(**members: Any) -> HookRequest:
    values: dict[str, Any] = {
        "hook": "patient-view",
        "hook_instance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/7", "patientId": "p1"},
        "fhir_server": BASE,
        "fhir_authorization": FhirAuthorization(BEARER, expires_in=300, scope="user/*.read"),
        "prefetch": {key: PrefetchValue(key, PrefetchState.MISSING) for key in TEMPLATES},
        "extension": {},
        "notes": (),
        "correlation_id": "c1",
    }
    return HookRequest(**{**values, **members})


def with_authorization(**members: Any) -> HookRequest:
    request = hook_request()
    assert request.fhir_authorization
    return replace(request, fhir_authorization=replace(request.fhir_authorization, **members))


def with_token(token: str, kind: str = "Bearer") -> HookRequest:
    return hook_request(fhir_authorization=FhirAuthorization(token, kind))


def prefetched(state: PrefetchState, *resources: dict[str, Any], note: str = "") -> PrefetchValue:
    return PrefetchValue("visits", state, tuple(msgspec.Raw(json.dumps(each).encode()) for each in resources), note)


def with_visits(value: PrefetchValue) -> HookRequest:
    request = hook_request()
    return replace(request, prefetch={**request.prefetch, "visits": value})


def ids(value: PrefetchValue) -> list[str]:
    return [json.loads(bytes(raw))["id"] for raw in value.resources]


def visits(request: HookRequest, policy: FhirPolicy | None = POLICY) -> PrefetchValue:
    return complete(request, TEMPLATES, policy).prefetch["visits"]


# What is a gap


def test_missing_keys_are_fetched_with_the_token_of_the_request(server: FakeServer) -> None:
    filled = complete(hook_request(), TEMPLATES, POLICY).prefetch

    assert {key: value.state for key, value in filled.items()} == {"patient": "fetched", "visits": "fetched"}
    assert (ids(filled["patient"]), ids(filled["visits"])) == (["p1"], ["e1", "e2"])
    assert [value.note for value in filled.values()] == ["", ""]
    assert server.urls == ["Encounter?patient=p1", "Patient/p1"]
    assert {headers["Authorization"] for _, headers, _ in server.asked} == {f"Bearer {BEARER}"}
    assert {headers["Accept"] for _, headers, _ in server.asked} == {"application/fhir+json"}


@pytest.mark.parametrize("state", [PrefetchState.SUPPLIED, PrefetchState.EMPTY, PrefetchState.NULL])
def test_what_the_client_answered_is_not_asked_again(server: FakeServer, state: PrefetchState) -> None:
    value = prefetched(state)

    assert visits(with_visits(value)) is value
    assert server.urls == ["Patient/p1"]


def test_a_request_without_gaps_is_returned_as_it_is(server: FakeServer) -> None:
    request = hook_request(prefetch={key: PrefetchValue(key, PrefetchState.NULL) for key in TEMPLATES})

    assert complete(request, TEMPLATES, POLICY) is request
    assert server.asked == []


def test_a_key_without_a_template_is_left_alone(server: FakeServer) -> None:
    own = PrefetchValue("own", PrefetchState.FAILED)
    request = hook_request(prefetch={**hook_request().prefetch, "own": own})

    assert complete(request, TEMPLATES, POLICY).prefetch["own"] is own


def test_a_failed_key_is_tried_again(server: FakeServer) -> None:
    value = visits(with_visits(prefetched(PrefetchState.FAILED, note="an OperationOutcome instead of data")))

    assert (value.state, ids(value), value.note) == ("fetched", ["e1", "e2"], "")


def test_an_incomplete_key_is_searched_as_a_whole_and_each_resource_is_there_once(server: FakeServer) -> None:
    value = visits(with_visits(prefetched(PrefetchState.INCOMPLETE, visit(2), visit(3), note="further pages")))

    assert (value.state, ids(value), value.note) == ("fetched", ["e1", "e2", "e3"], "")


def test_the_further_pages_of_a_prefetched_search_are_read(server: FakeServer) -> None:
    server.answers["Encounter?page=2"] = bundle(visit(4))
    first = prefetched(PrefetchState.INCOMPLETE, visit(3), note="further pages")

    value = visits(with_visits(msgspec.structs.replace(first, next_page=f"{BASE}/Encounter?page=2")))

    assert (value.state, sorted(ids(value)), value.note) == ("fetched", ["e3", "e4"], "")
    assert server.urls == ["Encounter?page=2", "Patient/p1"]


@pytest.mark.parametrize("link", ["https://evil.example.org/fhir/Encounter?page=2", f"{BASE}/../x", "Encounter?page=2"])
def test_a_prefetched_next_link_that_leads_elsewhere_is_not_followed(server: FakeServer, link: str) -> None:
    value = visits(with_visits(msgspec.structs.replace(prefetched(PrefetchState.INCOMPLETE, visit(3)), next_page=link)))

    assert (value.state, sorted(ids(value))) == ("fetched", ["e1", "e2", "e3"])
    assert server.urls == ["Encounter?patient=p1", "Patient/p1"]


def test_an_incomplete_key_keeps_what_it_had_when_the_server_refuses(server: FakeServer) -> None:
    server.answers["Encounter?patient=p1"] = fetched(OUTCOME, status=403)

    value = visits(with_visits(prefetched(PrefetchState.INCOMPLETE, visit(3), note="further pages")))

    assert (value.state, ids(value), value.note) == ("incomplete", ["e3"], "further pages; refused: 403")


def test_a_search_without_results_is_fetched_and_holds_nothing(server: FakeServer) -> None:
    server.answers["Encounter?patient=p1"] = {"resourceType": "Bundle", "type": "searchset", "total": 0}

    value = visits(hook_request())

    assert (value.state, value.resources, value.note) == ("fetched", (), "")


# When no call is made at all


class NoSocket(socket.socket):
    def __new__(cls, *_: Any, **__: Any) -> "NoSocket":
        raise AssertionError("a socket was touched")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every socket, every name resolution, every new thread and all work for the one that fetches is an error."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", NoSocket)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(fhir_access, "run", refuse)


@pytest.mark.parametrize(
    ("request_", "policy", "note"),
    [
        (hook_request(), None, "nothing is fetched in prefetch-only mode"),
        (hook_request(fhir_server=None), POLICY, "no usable fhirServer in the request"),
        (with_authorization(expires_in=0), POLICY, "the access token has expired"),
        (with_authorization(expires_in=-5), POLICY, "the access token has expired"),
        (with_authorization(patient="p2"), POLICY, "the access token is for another patient than the context"),
        (with_token(BEARER, "mac"), POLICY, "the access token is not a bearer token"),
        (with_token("a\r\nHost: b"), POLICY, "the access token is not a bearer token"),
        (with_token("tökén"), POLICY, "the access token is not a bearer token"),
        (with_authorization(scope="patient/Observation.read"), POLICY, "outside of the granted scope"),
    ],
)
def test_no_socket_is_touched_where_nothing_may_be_fetched(
    no_network: None, request_: HookRequest, policy: FhirPolicy | None, note: str
) -> None:
    filled = complete(request_, TEMPLATES, policy).prefetch

    assert {(value.state, value.note) for value in filled.values()} == {("missing", note)}


def test_what_the_client_sent_is_kept_in_prefetch_only_mode(no_network: None) -> None:
    value = visits(with_visits(prefetched(PrefetchState.INCOMPLETE, visit(3), note="further pages")), None)

    assert (value.state, ids(value)) == ("incomplete", ["e3"])
    assert value.note == "further pages; nothing is fetched in prefetch-only mode"


# Which servers


@pytest.mark.parametrize(
    "fhir_server",
    [
        "https://ehr.example.org/fhir",
        "https://EHR.example.org/fhir",
        "https://ehr.example.org:443/fhir",
        "https://ehr.example.org/fhir/r4/tenant",
    ],
)
def test_a_server_at_or_below_a_listed_base_url_is_read(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, fhir_server: str
) -> None:
    asked: list[str] = []

    async def get(url: str, _: Reach, **__: Any) -> Fetched:
        asked.append(url)
        return fetched(bundle(visit(1)))

    monkeypatch.setattr(fhir_access, "get", get)

    assert visits(hook_request(fhir_server=fhir_server)).state == "fetched"
    assert f"{fhir_server}/Encounter?patient=p1" in asked


@pytest.mark.parametrize(
    ("fhir_server", "note"),
    [
        ("https://evil.example.org/fhir", "fhirServer is not one that may be read for this client"),
        ("https://ehr.example.org", "fhirServer is not one that may be read for this client"),
        ("https://ehr.example.org/fhirother", "fhirServer is not one that may be read for this client"),
        ("https://ehr.example.org:8443/fhir", "fhirServer is not one that may be read for this client"),
        ("https://ehr.example.org.evil.example/fhir", "fhirServer is not one that may be read for this client"),
        ("https://169.254.169.254/fhir", "fhirServer is not one that may be read for this client"),
        ("http://ehr.example.org/fhir", "fhirServer does not use https"),
        ("http://169.254.169.254/latest/meta-data", "fhirServer does not use https"),
        ("https://ehr.example.org@evil.example/fhir", "fhirServer is not a FHIR base URL"),
        ("https://ehr.example.org/fhir/../admin", "fhirServer is not a FHIR base URL"),
        ("https://ehr.example.org/fhir/%2e%2E/admin", "fhirServer is not a FHIR base URL"),
        ("https://ehr.example.org/fhir%2f..%2fadmin", "fhirServer is not a FHIR base URL"),
        ("https://ehr.example.org/fhir\\..\\admin", "fhirServer is not a FHIR base URL"),
        ("https://ehr.example.org/fhir?x=", "fhirServer is not a FHIR base URL"),
        ("https://ehr.example.org/fhir#", "fhirServer is not a FHIR base URL"),
        ("https://ehr.example.org:x/fhir", "fhirServer is not a FHIR base URL"),
        ("https://[::1/fhir", "fhirServer is not a FHIR base URL"),
        ("https://ehr.example.org/fhir\n", "fhirServer is not a FHIR base URL"),
        ("https://éhr.example.org/fhir", "fhirServer is not a FHIR base URL"),
        ("ftp://ehr.example.org/fhir", "fhirServer is not a FHIR base URL"),
        ("http://127.0.0.1:8000/fhir", "fhirServer is not one that may be read for this client"),
    ],
)
def test_any_other_server_is_not_called(no_network: None, fhir_server: str, note: str) -> None:
    value = visits(hook_request(fhir_server=fhir_server))

    assert (value.state, value.note) == ("missing", note)


DETOURS = [
    "..",
    "../admin",
    "..;/admin",
    "..;x=y/admin",
    "..%3b/admin",
    ".;/x",
    "./x",
    "%2e%2E/admin",
    ".%2e/admin",
    "%252e%252e/admin",
    "%25252e%25252e/admin",
    "..%2fadmin",
    "..%252fadmin",
    "..%5cadmin",
    "..%255cadmin",
    "..\\\\admin",
    "%2e%2e;/admin",
    "x/..;/..;/admin",
    "..%20/admin",
    ".../admin",
    "%c0%ae%c0%ae/admin",
    "%ef%bc%8e%ef%bc%8e/admin",
    "%u002e%u002e/admin",
    "..%00/admin",
    "..%0a/admin",
    "x%2",
    "%",
]


@pytest.mark.parametrize("detour", DETOURS)
def test_no_path_is_taken_that_some_server_reads_as_another(no_network: None, detour: str) -> None:
    value = visits(hook_request(fhir_server=f"{BASE}/r4/{detour}"))

    assert (value.state, value.note) == ("missing", "fhirServer is not a FHIR base URL")


@pytest.mark.parametrize("detour", DETOURS)
def test_no_next_link_is_followed_that_some_server_reads_as_another(server: FakeServer, detour: str) -> None:
    server.answers["Encounter?patient=p1"] = bundle(visit(1), next_link=f"{BASE}/r4/{detour}")
    value = visits(hook_request())

    assert (value.state, value.note) == ("incomplete", "the next page is not on this FHIR server")


@pytest.mark.parametrize(
    "path",
    ["a.b", "a..b", "..a", "a..", ".well", "r4;v=1/x", "abc%3D%3D", "a%20b", "a:b@c,d", "x;y=../z", "~", "a%3bb"],
)
def test_a_path_that_every_server_reads_alike_is_taken(server: FakeServer, path: str) -> None:
    server.answers["Encounter?patient=p1"] = bundle(visit(1), next_link=f"{BASE}/{path}?page=2")
    server.answers[f"{path}?page=2"] = bundle(visit(2))

    assert ids(visits(hook_request())) == ["e1", "e2"]


# What servers make of a path before they look for its dots.
READINGS: list[Callable[[str], str]] = [
    lambda path: unquote(path, "latin-1"),
    lambda path: re.sub("%u00([0-9a-f]{2})", r"%\1", path, flags=re.IGNORECASE),
    lambda path: re.sub("%c0%([ab][0-9a-f])", lambda two: chr(int(two[1], 16) - 0x80), path, flags=re.IGNORECASE),
    lambda path: re.sub(r";[^/]*", "", path),
    lambda path: path.replace("\\", "/"),
    lambda path: re.sub("/{2,}", "/", path),
]


def read_by_any_server(path: str) -> set[str]:
    """What servers with up to four such steps, in any order, may make of a path."""
    found = latest = {path}
    for _ in range(4):
        latest = {read(each) for read in READINGS for each in latest} - found
        found = found | latest
    return found


def without_dots(path: str) -> list[str]:
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    return segments


PIECES = st.sampled_from(
    [
        *("/", ".", "..", ";", "..;", "/../", "/..;/", "\\", "%", "%25", "2e", "x", "t2", "a;b=c", "%20", "%00", "%3f"),
        *(
            "%2e",
            "%2E",
            "%252e",
            "%25252e",
            "%3b",
            "%253b",
            "%2f",
            "%252f",
            "%5c",
            "%255c",
            "%c0%ae",
            "%c0%af",
            "%u002e",
        ),
    ]
)


@settings(max_examples=1_500, deadline=None, derandomize=True)
@given(st.lists(PIECES, max_size=9).map("".join))
def test_what_is_below_a_base_url_stays_below_it_whatever_a_server_makes_of_the_path(path: str) -> None:
    base = fhir_access._place("https://ehr.example.org/r4/t1")
    place = fhir_access._place(f"https://ehr.example.org/r4/t1/{path}")
    assert base
    if place is not None and base.holds(place):
        for reading in read_by_any_server(f"/r4/t1/{path}"):
            assert without_dots(reading)[:2] == ["r4", "t1"], reading


def test_the_readings_find_the_way_out_of_what_is_refused() -> None:
    """Otherwise the property above would hold of anything."""
    for detour in ("..;/", "%252e%252e/", "..%5c", "%c0%ae%c0%ae/", "%u002e%u002e/", "..%3b/"):
        assert any(without_dots(reading)[:2] != ["r4", "t1"] for reading in read_by_any_server(f"/r4/t1/{detour}x"))


@pytest.mark.parametrize("patient_id", ["..", "..;", "%2e%2e", "a%2fb", "..\\x"])
def test_an_id_that_leads_elsewhere_is_not_asked_for(server: FakeServer, patient_id: str) -> None:
    request = hook_request(context={"userId": "Practitioner/7", "patientId": patient_id})
    server.answers = {f"Encounter?patient={quote(patient_id)}": bundle()}
    complete(request, TEMPLATES, POLICY)

    assert not any(url.startswith("Patient/") for url in server.urls)


LOOPBACK = FhirPolicy((), internal=False, loopback_only=True)


@pytest.mark.parametrize(
    ("policy", "fhir_server", "options"),
    [
        (POLICY, BASE, (False, False)),
        (replace(POLICY, internal=True), BASE, (True, False)),
        (replace(POLICY, base_urls=("http://127.0.0.1:8000/fhir",)), "http://127.0.0.1:8000/fhir", (False, True)),
        (LOOPBACK, "http://127.0.0.1:8000/fhir", (True, True)),
        (LOOPBACK, "http://localhost:8000", (True, True)),
        (LOOPBACK, "http://[::1]:8000/fhir", (True, True)),
        (LOOPBACK, "https://127.0.0.2/fhir", (True, False)),
    ],
)
def test_private_addresses_and_http_are_allowed_no_further_than_the_policy_says(
    monkeypatch: pytest.MonkeyPatch, policy: FhirPolicy, fhir_server: str, options: tuple[bool, bool]
) -> None:
    allowed: set[tuple[bool, bool]] = set()

    async def get(_: str, reach: Reach, **__: Any) -> Fetched:
        allowed.add((reach.internal, reach.http))
        return fetched(bundle())

    monkeypatch.setattr(fhir_access, "get", get)

    assert visits(hook_request(fhir_server=fhir_server), policy).state == "fetched"
    assert allowed == {options}


@pytest.mark.parametrize(
    "fhir_server",
    [
        "https://ehr.example.org/fhir",
        "https://10.0.0.1/fhir",
        "https://localhost.evil.example/fhir",
        "https://127.0.0.1.evil.example/fhir",
        "https://2130706433/fhir",
        "https://0.0.0.0/fhir",
        "https://[::ffff:7f00:1]/fhir",
    ],
)
def test_without_a_clients_file_nothing_but_a_literal_loopback_address_is_called(
    no_network: None, fhir_server: str
) -> None:
    value = visits(hook_request(fhir_server=fhir_server), LOOPBACK)

    assert (value.state, value.note) == ("missing", "fhirServer is not one that may be read for this client")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "172.16.0.9", "192.168.0.9", "100.64.0.1", "169.254.169.254", "::1", "fd00::1"]
)
def test_a_listed_name_that_stands_for_a_private_address_is_not_called(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    def resolve(*_: Any, **__: Any) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(0, 0, 0, "", ("93.184.215.14", 0)), (0, 0, 0, "", (address, 0))]

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", refuse)

    value = visits(hook_request())

    assert (value.state, value.note) == ("missing", "not fetched: refused-address")


def test_a_policy_may_limit_loopback_to_listed_base_urls(no_network: None) -> None:
    policy = replace(LOOPBACK, base_urls=("http://127.0.0.1:8000/fhir",))

    assert visits(hook_request(fhir_server="http://127.0.0.1:8001/fhir"), policy).state == "missing"


def test_a_policy_without_base_urls_lets_nothing_be_read(no_network: None) -> None:
    assert visits(hook_request(), FhirPolicy((), internal=True, loopback_only=False)).state == "missing"


# What is asked for


def test_a_server_that_asks_for_no_token_is_sent_none(server: FakeServer) -> None:
    assert visits(hook_request(fhir_authorization=None)).state == "fetched"
    assert all("Authorization" not in headers for _, headers, _ in server.asked)


@pytest.mark.parametrize("patient", ["p1", "Patient/p1"])
def test_a_token_for_the_patient_of_the_context_is_used(server: FakeServer, patient: str) -> None:
    assert visits(with_authorization(patient=patient)).state == "fetched"


def test_only_what_is_within_the_scope_is_asked_for(server: FakeServer) -> None:
    filled = complete(with_authorization(scope="patient/Patient.r"), TEMPLATES, POLICY).prefetch

    assert server.urls == ["Patient/p1"]
    assert filled["patient"].state == "fetched"
    assert (filled["visits"].state, filled["visits"].note) == ("missing", "outside of the granted scope")


@pytest.mark.parametrize("scope", ["", "openid launch/patient"])
def test_an_unknown_scope_is_left_to_the_server(server: FakeServer, scope: str) -> None:
    assert visits(with_authorization(scope=scope)).state == "fetched"


@pytest.mark.parametrize("found", [[visit(1)], []])
def test_what_a_narrowed_scope_gives_of_a_search_is_incomplete(server: FakeServer, found: list[dict[str, Any]]) -> None:
    server.answers["Encounter?patient=p1"] = bundle(*found)
    filled = complete(with_authorization(scope="patient/*.rs?_security=N"), TEMPLATES, POLICY).prefetch

    assert filled["patient"].state == "fetched"
    assert (filled["visits"].state, filled["visits"].note) == (
        "incomplete",
        "the granted scope is narrowed by a query",
    )


def test_a_template_whose_token_has_no_value_is_not_asked_for(server: FakeServer) -> None:
    templates = {**TEMPLATES, "visit": "Encounter/{{context.encounterId}}"}

    value = complete(hook_request(), templates, POLICY).prefetch["visit"]

    assert (value.state, server.urls) == ("missing", ["Encounter?patient=p1", "Patient/p1"])
    assert "{{context.encounterId}}" in value.note


@pytest.mark.parametrize("user", ["Practitioner", "7", "https:", "Practitioner/7#x"])
def test_a_user_id_that_gives_no_read_is_not_asked_for(server: FakeServer, user: str) -> None:
    request = hook_request(context={"userId": user, "patientId": "p1"})
    server.answers[f"{user.replace('#', '%23')}"] = PATIENT

    value = complete(request, {"user": "{{context.userId}}"}, POLICY).prefetch["user"]

    assert value.state in ("missing", "failed")
    assert all(url.startswith(f"{BASE}/Practitioner/7%23") for url, _, _ in server.asked)


def codes(number: int, length: int = 12) -> str:
    return ",".join(f"{code:0{length}}" for code in range(number))


@pytest.mark.parametrize("rest", ["", "&_sort=-date"])
def test_a_search_too_long_for_a_url_is_split_along_its_codes(server: FakeServer, rest: str) -> None:
    template = f"Encounter?patient={{{{context.patientId}}}}&code={codes(400)}{rest}"

    class AnyAnswer(dict[str, object]):
        def __missing__(self, key: str) -> object:
            return bundle(visit(0), visit(int(parse_qs(key)["code"][0].split(",")[0]) + 1))

    server.answers = AnyAnswer()
    value = complete(hook_request(), {"visits": template}, POLICY).prefetch["visits"]

    assert len(server.urls) > 2
    assert max(len(url) for url, _, _ in server.asked) <= 1_800
    asked = [parse_qs(urlsplit(url).query)["code"][0] for url in server.urls]
    assert sorted(",".join(asked).split(",")) == codes(400).split(",")
    assert all(url.endswith(rest) and "patient=p1" in url for url in server.urls)
    assert value.state == "fetched"
    # The Observation that every part found is there once.
    assert sorted(ids(value)) == sorted({*ids(value)})
    assert len(ids(value)) == len(server.urls) + 1


@pytest.mark.parametrize(("number", "requests"), [(142, 1), (200, 2)])
def test_a_search_is_split_only_when_it_must_be(server: FakeServer, number: int, requests: int) -> None:
    template = f"Encounter?patient={{{{context.patientId}}}}&code={codes(number)}"

    class AnyAnswer(dict[str, object]):
        def __missing__(self, key: str) -> object:
            return bundle()

    server.answers = AnyAnswer()
    complete(hook_request(), {"visits": template}, POLICY)

    assert len(server.urls) == requests


def test_when_a_part_of_a_split_search_fails_the_whole_is_incomplete(server: FakeServer) -> None:
    first, second = codes(100, 15), codes(100, 16)

    class HalfAnswer(dict[str, object]):
        def __missing__(self, key: str) -> object:
            return bundle(visit(1)) if "code=000000000000000," in key else fetched(OUTCOME, status=429)

    server.answers = HalfAnswer()
    template = f"Encounter?patient={{{{context.patientId}}}}&code={first},{second}"
    value = complete(hook_request(), {"visits": template}, POLICY).prefetch["visits"]

    assert (value.state, ids(value), value.note) == ("incomplete", ["e1"], "refused: 429")


def test_when_one_part_is_empty_and_another_fails_the_key_has_failed(server: FakeServer) -> None:
    class HalfAnswer(dict[str, object]):
        def __missing__(self, key: str) -> object:
            return bundle() if "code=000000000000," in key else fetched(OUTCOME, status=500)

    server.answers = HalfAnswer()
    template = f"Encounter?patient={{{{context.patientId}}}}&code={codes(300)}"
    value = complete(hook_request(), {"visits": template}, POLICY).prefetch["visits"]

    assert (value.state, value.resources, value.note) == ("failed", (), "refused: 500")


# What comes back


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        *(
            (fetched(OUTCOME, status=status), f"refused: {status}")
            for status in (201, 400, 401, 403, 404, 429, 500, 503)
        ),
        (fetched(b"<html>", content_type="text/html"), "not FHIR: the content type is not JSON"),
        (fetched(bundle(visit(1)), content_type="text/plain"), "not FHIR: the content type is not JSON"),
        (fetched(bundle(visit(1)), content_type=""), "not FHIR: the content type is not JSON"),
        (fetched(bundle(visit(1)), content_type="application/fhir+xml"), "not FHIR: the content type is not JSON"),
        (fetched(b"<html>"), "not FHIR: the answer cannot be read as JSON"),
        (fetched(b""), "not FHIR: the answer cannot be read as JSON"),
        (fetched(b'{"resourceType":"Bundle","entry":[{"resour'), "not FHIR: the answer cannot be read as JSON"),
        (fetched(b'{"resourceType":"Bundle","x":"\xff"}'), "not FHIR: the answer cannot be read as JSON"),
        (
            fetched(b'{"resourceType":"Bundle","link":{"relation":"next"}}'),
            "not FHIR: the answer cannot be read as JSON",
        ),
        (fetched(b"[" * 100_000), "not FHIR: the answer cannot be read as JSON"),
        (fetched(b'{"x":' * 50_000 + b"1" + b"}" * 50_000), "not FHIR: the answer cannot be read as JSON"),
        (fetched([bundle()]), "not FHIR: the answer cannot be read as JSON"),
        (fetched({}), "an object without resourceType"),
        (fetched(OUTCOME), "an OperationOutcome instead of data"),
        (fetched(bundle(OUTCOME)), "OperationOutcome entries: 1"),
        (fetched(visit(1)), "not FHIR: a search must give a Bundle"),
        (fetched({"response": {}, "resource": visit(1)}), "not FHIR: a search must give a Bundle"),
        (OutboundError("connection", "x"), "not fetched: connection"),
        (OutboundError("certificate", "x"), "not fetched: certificate"),
        (OutboundError("redirect", "x"), "not fetched: redirect"),
        (OutboundError("too-large", "x"), "not fetched: too-large"),
        (OutboundError("unresolvable", "x"), "not fetched: unresolvable"),
    ],
)
def test_an_answer_that_cannot_be_used_is_failed_and_the_note_says_why(
    server: FakeServer, answer: object, note: str
) -> None:
    server.answers["Encounter?patient=p1"] = answer
    filled = complete(hook_request(), TEMPLATES, POLICY).prefetch

    assert (filled["visits"].state, filled["visits"].resources, filled["visits"].note) == ("failed", (), note)
    assert filled["patient"].state == "fetched"


@pytest.mark.parametrize(
    ("reason", "note"),
    [
        ("timeout", "not in time"),
        ("refused-address", "not fetched: refused-address"),
        ("scheme", "not fetched: scheme"),
    ],
)
def test_what_nobody_answered_or_was_asked_for_stays_missing(server: FakeServer, reason: str, note: str) -> None:
    server.answers["Encounter?patient=p1"] = OutboundError(reason, "x")
    value = visits(hook_request())

    assert (value.state, value.note) == ("missing", note)


@pytest.mark.parametrize(
    "content_type", ["application/fhir+json", "application/json", "application/json+fhir", "text/json"]
)
def test_every_name_of_json_is_taken(server: FakeServer, content_type: str) -> None:
    server.answers["Encounter?patient=p1"] = fetched(bundle(visit(1)), content_type=content_type)

    assert visits(hook_request()).state == "fetched"


@pytest.mark.parametrize(
    "answer",
    [
        {"resourceType": "Patient", "id": "p2"},
        {"resourceType": "Patient"},
        {"resourceType": "Patient", "id": 1},
        {"resourceType": "Practitioner", "id": "p1"},
        bundle(PATIENT, {"resourceType": "Patient", "id": "p2"}),
    ],
)
def test_a_read_that_gives_another_resource_has_failed(server: FakeServer, answer: object) -> None:
    server.answers["Patient/p1"] = answer
    value = complete(hook_request(), TEMPLATES, POLICY).prefetch["patient"]

    assert (value.state, value.note) == ("failed", "another resource than the one that was asked for")


@pytest.mark.parametrize("found", [[], [visit(1)]])
def test_a_remark_among_the_results_leaves_them_fetched(server: FakeServer, found: list[dict[str, Any]]) -> None:
    remark = {"resourceType": "OperationOutcome", "issue": [{"severity": "information", "code": "informational"}]}
    server.answers["Encounter?patient=p1"] = bundle(*found, remark, next_link=f"{BASE}/Encounter?page=2")
    server.answers["Encounter?page=2"] = bundle(remark)
    value = visits(with_visits(prefetched(PrefetchState.FAILED, note="an OperationOutcome instead of data")))

    assert (value.state, ids(value)) == ("fetched", [each["id"] for each in found])
    assert value.note == "OperationOutcome entries that only inform: 1"


def test_a_remark_does_not_hide_that_a_part_failed(server: FakeServer) -> None:
    remark = {"resourceType": "OperationOutcome", "issue": [{"severity": "information", "code": "informational"}]}
    server.answers["Encounter?patient=p1"] = bundle(remark, next_link=f"{BASE}/Encounter?page=2")
    server.answers["Encounter?page=2"] = fetched(OUTCOME, status=500)
    value = visits(hook_request())

    note = "OperationOutcome entries that only inform: 1; refused: 500"
    assert (value.state, value.note) == ("failed", note)


def test_a_warning_among_the_results_makes_them_incomplete(server: FakeServer) -> None:
    server.answers["Encounter?patient=p1"] = bundle(visit(1), OUTCOME)
    value = visits(hook_request())

    assert (value.state, ids(value), value.note) == ("incomplete", ["e1"], "OperationOutcome entries: 1")


# Pages


@pytest.mark.parametrize("link", [f"{BASE}/Encounter?page=2", "Encounter?page=2", "/fhir/Encounter?page=2", "?page=2"])
def test_further_pages_are_read_from_the_same_server_with_the_token(server: FakeServer, link: str) -> None:
    server.answers["Encounter?patient=p1"] = bundle(visit(1), next_link=link)
    server.answers["Encounter?page=2"] = bundle(visit(2), next_link=f"{BASE}?getpages=3")
    server.answers["?getpages=3"] = bundle(visit(3))
    value = visits(hook_request())

    assert (value.state, ids(value), value.note) == ("fetched", ["e1", "e2", "e3"], "")
    assert all(headers["Authorization"] == f"Bearer {BEARER}" for _, headers, _ in server.asked)


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example.org/fhir/Encounter?page=2",
        "//evil.example.org/fhir/Encounter?page=2",
        "http://ehr.example.org/fhir/Encounter?page=2",
        "https://ehr.example.org:8443/fhir/Encounter?page=2",
        "https://ehr.example.org/admin/Encounter?page=2",
        "https://ehr.example.org/fhirother/Encounter?page=2",
        "https://ehr.example.org/fhir/../admin",
        "https://ehr.example.org/fhir/%2e%2e/admin",
        "../admin",
        "https://x@ehr.example.org/fhir/Encounter?page=2",
        "https://ehr.example.org@evil.example.org/fhir/",
        "https://ehr.example.org/fhir/Encounter?page=2\r\nX: y",
        "http://169.254.169.254/fhir/",
        "file:///etc/passwd",
        "https://[",
        "",
    ],
)
def test_a_next_link_that_leads_elsewhere_is_not_followed(server: FakeServer, link: str) -> None:
    server.answers["Encounter?patient=p1"] = bundle(visit(1), next_link=link)
    value = visits(hook_request())

    assert server.urls == ["Encounter?patient=p1", "Patient/p1"]
    assert (value.state, ids(value)) == ("incomplete", ["e1"])
    assert value.note == "the next page is not on this FHIR server"


def test_a_next_link_without_a_url_leaves_the_search_incomplete(server: FakeServer) -> None:
    server.answers["Encounter?patient=p1"] = {**bundle(visit(1)), "link": [{"relation": "next"}]}

    assert visits(hook_request()).state == "incomplete"


def test_a_next_link_that_leads_back_ends_the_search(server: FakeServer) -> None:
    server.answers["Encounter?patient=p1"] = bundle(visit(1), next_link=f"{BASE}/Encounter?page=2")
    server.answers["Encounter?page=2"] = bundle(visit(2), next_link=f"{BASE}/Encounter?patient=p1")
    value = visits(hook_request())

    assert (value.state, ids(value)) == ("incomplete", ["e1", "e2"])
    assert value.note == "the next page is one that was read"
    assert len(server.asked) == 3


@pytest.mark.parametrize(("pages", "state", "note"), [(3, "fetched", ""), (4, "incomplete", "more than 3 pages")])
def test_no_more_pages_are_read_than_the_limit(server: FakeServer, pages: int, state: str, note: str) -> None:
    server.answers["Encounter?patient=p1"] = bundle(visit(1), next_link=f"{BASE}/Encounter?page=2")
    for page in range(2, pages + 1):
        link = f"{BASE}/Encounter?page={page + 1}" if page < pages else None
        server.answers[f"Encounter?page={page}"] = bundle(visit(page), next_link=link)
    value = visits(hook_request(), replace(POLICY, page_limit=3))

    assert (value.state, ids(value), value.note) == (state, ["e1", "e2", "e3"], note)


def test_a_page_may_be_as_large_as_the_page_limit_and_what_is_left_of_the_total(server: FakeServer) -> None:
    server.answers["Encounter?patient=p1"] = bundle(visit(1), next_link=f"{BASE}/Encounter?page=2")
    server.answers["Encounter?page=2"] = bundle(visit(2), next_link=f"{BASE}/Encounter?page=3")
    first = len(fetched(server.answers["Encounter?patient=p1"]).body)
    second = len(fetched(server.answers["Encounter?page=2"]).body)
    policy = replace(POLICY, page_bytes=first, total_bytes=first + second)
    request = hook_request(prefetch={"visits": PrefetchValue("visits", PrefetchState.MISSING)})

    value = complete(request, {"visits": TEMPLATES["visits"]}, policy).prefetch["visits"]

    assert [options["max_bytes"] for _, _, options in server.asked] == [first, first]
    assert {options["in_all"].bytes_left for _, _, options in server.asked} == {0}
    assert (value.state, ids(value)) == ("incomplete", ["e1", "e2"])
    assert value.note == f"more than {first + second} bytes in all"


def test_a_later_page_that_fails_leaves_the_earlier_ones(server: FakeServer) -> None:
    server.answers["Encounter?patient=p1"] = bundle(visit(1), next_link=f"{BASE}/Encounter?page=2")
    server.answers["Encounter?page=2"] = fetched(b"<html>", content_type="text/html")
    value = visits(hook_request())

    assert (value.state, ids(value)) == ("incomplete", ["e1"])
    assert value.note == "not FHIR: the content type is not JSON"


# Time


def after(seconds: float, answer: object) -> Callable[[str], Awaitable[object]]:
    async def wait(_: str) -> object:
        await asyncio.sleep(seconds)
        return answer

    return wait


def test_everything_is_asked_for_at_once_and_what_decides_before_the_rest(server: FakeServer) -> None:
    kinds = ["Goal", "Observation", "Condition", "Flag", "Observation", "Patient", "Device", "Condition"]
    templates = {f"key-{number}": f"{kind}?patient=p1&code={number}" for number, kind in enumerate(kinds)}
    order = [templates[f"key-{number}"] for number in (5, 2, 7, 1, 4, 0, 3, 6)]
    all_asked = asyncio.Event()

    async def meet(_: str) -> object:
        if len(server.asked) == len(templates):
            all_asked.set()
        await all_asked.wait()
        return bundle(visit(1))

    server.answers = dict.fromkeys(templates.values(), meet)
    first = ("Patient", "Condition", "Observation")
    filled = complete(hook_request(), templates, replace(POLICY, deadline=5, first=first)).prefetch

    assert [url.removeprefix(f"{BASE}/") for url, _, _ in server.asked] == order
    assert {filled[key].state for key in templates} == {PrefetchState.FETCHED}


def test_the_deadline_is_one_for_the_whole_request(server: FakeServer) -> None:
    server.answers["Encounter?patient=p1"] = after(0.1, bundle(visit(1), next_link=f"{BASE}/Encounter?page=2"))
    server.answers["Encounter?page=2"] = after(20, bundle(visit(2)))
    server.answers["Patient/p1"] = after(20, PATIENT)

    filled = complete(hook_request(), TEMPLATES, replace(POLICY, deadline=1)).prefetch

    assert (filled["patient"].state, filled["patient"].note) == ("missing", "not in time")
    assert (filled["visits"].state, filled["visits"].note) == ("incomplete", "not in time")
    assert ids(filled["visits"]) == ["e1"]
    assert len({options["end"] for _, _, options in server.asked}) == 1


def test_the_deadline_that_is_published_holds_unless_another_is_given(server: FakeServer) -> None:
    start = time.monotonic()
    visits(hook_request())

    assert FhirPolicy((), internal=False, loopback_only=False).deadline == 1.5
    [end] = {options["end"] for _, _, options in server.asked}
    assert start + 1.5 <= end <= time.monotonic() + 1.5


def test_what_is_waited_for_is_waited_for_within_the_given_context(server: FakeServer) -> None:
    steps: list[str] = []

    @contextmanager
    def waiting() -> Iterator[None]:
        steps.append("left")
        yield
        steps.append(f"back after {len(server.asked)}")

    complete(hook_request(), TEMPLATES, POLICY, waiting=waiting())

    assert steps == ["left", "back after 2"]


def test_nobody_waits_where_nothing_is_asked(server: FakeServer) -> None:
    class Never(nullcontext[None]):
        def __enter__(self) -> None:
            raise AssertionError("somebody waited")

    for request in (with_authorization(scope="patient/Device.r"), with_authorization(expires_in=0)):
        complete(request, TEMPLATES, POLICY, waiting=Never())

    assert server.asked == []


# Servers that do not answer


SILENT = replace(POLICY, deadline=0.02)
LEFT_ALONE = "the FHIR server did not answer the last calls and is not asked for some seconds"


@pytest.fixture
def silent(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """The server without an answer; the time that it is left alone for is over when the test says so."""
    monkeypatch.setattr(fhir_access, "_PAUSE", 1_000.0)
    server.answers = dict.fromkeys(server.answers, after(60, PATIENT))
    return server


def leave_unanswered(client: str | None, fhir_server: str) -> None:
    base = fhir_access._server(fhir_server)
    assert base
    kinds = frozenset({"Patient", "Encounter"})
    fhir_access._patience.learn(fhir_access._Asked(client, base, kinds), answered=False)


def asked_by(server: FakeServer, request: HookRequest) -> bool:
    before = len(server.asked)
    visits(request, SILENT)
    return len(server.asked) > before


def test_a_server_that_leaves_three_calls_without_an_answer_is_left_alone_and_the_note_says_so(
    silent: FakeServer,
) -> None:
    assert [asked_by(silent, hook_request()) for _ in range(5)] == [True, True, True, False, False]
    value = visits(hook_request(), SILENT)
    assert (value.state, value.note) == ("missing", LEFT_ALONE)


def test_what_the_client_sent_is_kept_while_its_server_is_left_alone(silent: FakeServer) -> None:
    for _ in range(3):
        visits(hook_request(), SILENT)
    value = visits(with_visits(prefetched(PrefetchState.INCOMPLETE, visit(3), note="further pages")))

    assert (value.state, ids(value), value.note) == ("incomplete", ["e3"], f"further pages; {LEFT_ALONE}")


@pytest.mark.parametrize(
    "answer",
    [bundle(), fetched(OUTCOME, status=503), OutboundError("connection", "x"), OutboundError("unresolvable", "x")],
    ids=["data", "503", "connection", "unresolvable"],
)
def test_a_server_that_answers_anything_at_all_goes_on_being_asked(silent: FakeServer, answer: object) -> None:
    silent.answers["Encounter?patient=p1"] = answer

    assert all(asked_by(silent, hook_request()) for _ in range(6))


def test_an_answer_between_makes_the_count_begin_anew(silent: FakeServer) -> None:
    for _ in range(2):
        visits(hook_request(), SILENT)
    waits, silent.answers = silent.answers, {"Patient/p1": PATIENT, "Encounter?patient=p1": bundle()}
    visits(hook_request(), SILENT)
    silent.answers = waits

    assert [asked_by(silent, hook_request()) for _ in range(4)] == [True, True, True, False]


def test_calls_that_nobody_sent_say_nothing_of_the_server(silent: FakeServer) -> None:
    silent.answers = dict.fromkeys(silent.answers, OutboundError("busy", "too many of something"))
    value = visits(hook_request(), SILENT)

    assert (value.state, value.note) == ("missing", "not fetched: too many of something")
    assert all(asked_by(silent, hook_request()) for _ in range(5))


@pytest.mark.parametrize(
    "other",
    [{"client": "another"}, {"fhir_server": f"{BASE}/tenant"}, {"fhir_server": f"{BASE}/tenant", "client": "a"}],
)
def test_another_client_and_another_server_are_not_left_alone(silent: FakeServer, other: dict[str, Any]) -> None:
    for _ in range(3):
        visits(hook_request(client="clinic"), SILENT)
    silent.answers |= {f"tenant/{path}": answer for path, answer in silent.answers.items()}

    assert not asked_by(silent, hook_request(client="clinic"))
    assert asked_by(silent, hook_request(**{"client": "clinic", **other}))


def test_a_search_that_is_always_slow_keeps_no_other_from_being_made(silent: FakeServer) -> None:
    answered = prefetched(PrefetchState.NULL)
    for _ in range(4):
        complete(with_visits(answered), TEMPLATES, SILENT)

    assert silent.urls == ["Patient/p1"] * 3
    assert asked_by(silent, hook_request())


def test_after_a_while_one_call_finds_out_and_its_answer_ends_the_pause(
    silent: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fhir_access, "_PAUSE", 0.0)
    for _ in range(3):
        visits(hook_request(), SILENT)
    monkeypatch.setattr(fhir_access, "_PAUSE", 1_000.0)

    # The first finds no answer either, and the pause begins anew.
    assert [asked_by(silent, hook_request()) for _ in range(3)] == [True, False, False]

    monkeypatch.setattr(fhir_access, "_PAUSE", 0.0)
    leave_unanswered(None, BASE)
    silent.answers = {"Patient/p1": PATIENT, "Encounter?patient=p1": bundle()}
    assert all(asked_by(silent, hook_request()) for _ in range(3))


def test_while_one_call_finds_out_the_others_go_on_without(silent: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fhir_access, "_PAUSE", 0.0)
    for _ in range(3):
        visits(hook_request(), SILENT)
    monkeypatch.setattr(fhir_access, "_PAUSE", 1_000.0)
    with ThreadPoolExecutor(1) as thread:
        finding_out = thread.submit(visits, hook_request(), replace(POLICY, deadline=1))
        while len(silent.asked) < 8 and not finding_out.done():
            time.sleep(0.01)
        assert visits(hook_request()).note == LEFT_ALONE
        assert finding_out.result().note == "not in time"


def test_no_more_servers_are_remembered_than_the_bound(silent: FakeServer) -> None:
    for number in range(300):
        leave_unanswered("clinic", f"{BASE}/{number}")

    assert len(fhir_access._patience._in_vain) == 256


def test_a_fault_of_the_program_in_a_thread_is_not_taken_for_missing_data(server: FakeServer) -> None:
    server.answers["Encounter?patient=p1"] = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        complete(hook_request(), TEMPLATES, POLICY)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_worker_has_threads_of_its_own(server: FakeServer) -> None:
    assert visits(hook_request()).state == "fetched"

    child = os.fork()
    if child == 0:
        os._exit(0 if visits(hook_request()).state == "fetched" else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Privacy


def test_no_note_and_no_repr_holds_the_token_the_patient_or_the_server(server: FakeServer) -> None:
    server.answers["Encounter?patient=p1"] = bundle(visit(1), next_link="https://evil.example.org/p1")
    server.answers["Patient/p1"] = fetched(OUTCOME, status=403)
    filled = complete(hook_request(), TEMPLATES, POLICY)

    for text in (repr(filled), *(value.note for value in filled.prefetch.values())):
        assert BEARER not in text
        assert "evil" not in text
    assert not any("p1" in value.note for value in filled.prefetch.values())


def test_nothing_is_logged(server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)

    complete(hook_request(), TEMPLATES, POLICY)

    assert caplog.records == []


def test_the_page_on_data_states_names_every_state_and_every_note(repository: Path) -> None:
    page = (repository / "docs/data-states.md").read_text()
    source = (repository / "cds_hooks/fhir_access.py").read_text()
    notes = re.findall(r'(?:_Stopped\(|return |append\(|_NOT_IN_TIME = |_LEFT_ALONE = )f?"([a-z][^"{]+)', source)

    assert [state for state in PrefetchState if f"| `{state}` |" not in page] == []
    assert len(notes) > 12
    assert [note for note in notes if note.strip(" :") not in page] == []
