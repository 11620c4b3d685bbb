"""Places for calls: how many there are, who waits, and that every one is given back."""

import io
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from flask.testing import FlaskClient

from cds_hooks import ServiceUnavailable
from service.app import create_app
from service.server import capacity
from service.server.capacity import Capacity
from service.settings import Settings

SERVICE = "/cds-services/gluteal-hamstring-pain"
JSON = {"Content-Type": "application/json"}


def test_the_call_beyond_the_last_place_is_refused_until_one_leaves() -> None:
    places = Capacity(at_work=1, in_flight=2)
    first, second = places.take(io.BytesIO()), places.take(io.BytesIO())
    with pytest.raises(ServiceUnavailable) as refused:
        places.take(io.BytesIO())
    assert refused.value.headers["Retry-After"] == "1"
    first.leave()
    places.take(io.BytesIO())
    second.leave()


def test_a_call_whose_body_is_still_on_its_way_keeps_no_other_from_work() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            arrived.wait(5)
            return b"slow"

    arrived = Event()
    places = Capacity(at_work=1, in_flight=2)
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(places.take(Slow()).read)
        quick = places.take(io.BytesIO(b"quick"))
        assert quick.read() == b"quick"
        quick.leave()
        arrived.set()
        assert reading.result() == b"slow"


def test_a_call_that_nobody_can_work_on_is_refused_and_its_place_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "LONGEST_WAIT", 0.01)
    places = Capacity(at_work=1, in_flight=2)
    working, waiting = places.take(io.BytesIO()), places.take(io.BytesIO())
    working.read()
    with pytest.raises(ServiceUnavailable):
        waiting.read()
    waiting.leave()
    working.leave()
    again = places.take(io.BytesIO())
    again.read()
    again.leave()


@pytest.fixture
def narrow() -> FlaskClient:
    """A service with a single place."""
    return create_app(Settings(threads=1, max_in_flight=1)).test_client()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/", b""),
        ("GET", "/nothing", b""),
        ("GET", "/cds-services", b""),
        ("OPTIONS", SERVICE, b""),
        ("POST", SERVICE, b""),
        ("POST", SERVICE, b"{"),
        ("POST", f"{SERVICE}/feedback", b"[]"),
    ],
)
def test_a_place_is_given_back_however_the_call_ends(method: str, path: str, body: bytes, narrow: FlaskClient) -> None:
    statuses = {narrow.open(path, method=method, data=body, headers=JSON).status_code for _ in range(3)}
    assert len(statuses) == 1
    assert 503 not in statuses


def test_the_probes_are_answered_when_every_place_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise ServiceUnavailable("full", retry_after=1)

    monkeypatch.setattr(Capacity, "take", full)
    client = create_app().test_client()
    assert client.get("/cds-services").status_code == 503
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200
