"""The running application fills the gaps of a prefetch, and only where it may."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from service.app import create_app
from service.settings import Settings
from tests.charts import CLOCK, named_cases

SERVICE = "/cds-services/gluteal-hamstring-pain"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port on loopback that notices whether anybody connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


def call(listener: socket.socket) -> dict[str, Any]:
    """A sound request whose observations lie on a FHIR server at the listener."""
    request = next(case for case in named_cases() if case.fixture == "sudden-tear").request()
    request["fhirServer"] = f"http://127.0.0.1:{listener.getsockname()[1]}/fhir"
    request["fhirAuthorization"] = {"access_token": "x", "token_type": "Bearer", "expires_in": 300, "scope": ""}
    del request["prefetch"]["observations"]
    return request


def was_asked(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except TimeoutError:
        return False
    return True


def test_what_the_prefetch_lacks_is_asked_for_at_a_loopback_server(listener: socket.socket) -> None:
    client = create_app(Settings(fetch_milliseconds=100), clock=lambda: CLOCK).test_client()
    client.post(SERVICE, json=call(listener))
    assert was_asked(listener)


def test_a_prefetch_only_service_makes_no_outgoing_call(listener: socket.socket) -> None:
    client = create_app(Settings(fhir_access="off"), clock=lambda: CLOCK).test_client()
    answer = client.post(SERVICE, json=call(listener))
    assert answer.status_code == 412
    assert not was_asked(listener)


def test_the_state_says_why_nothing_was_fetched(listener: socket.socket) -> None:
    request = call(listener)
    request["fhirServer"] = "https://ehr.example.org/fhir"
    del request["prefetch"]["conditions"]
    answer = create_app(Settings(), clock=lambda: CLOCK).test_client().post(SERVICE, json=request)
    assert answer.status_code == 412
    assert "observations: missing (" in answer.get_json()["issue"][0]["diagnostics"]
