"""Places for calls: how many there are, who waits, and that every one is given back."""

import io
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from flask import Response, g
from flask.testing import FlaskClient

from cds_hooks import ServiceUnavailable
from cds_hooks.trust.signing import claims_for, key_set, new_key, sign
from service.app import create_app
from service.server import capacity
from service.server.capacity import Capacity, Place
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
        reading = thread.submit(places.take(Slow()).read, 4)
        quick = places.take(io.BytesIO(b"quick"))
        assert quick.read(5) == b"quick"
        quick.leave()
        arrived.set()
        assert reading.result() == b"slow"


def test_a_call_that_nobody_can_work_on_is_refused_and_its_place_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "LONGEST_WAIT", 0.01)
    places = Capacity(at_work=1, in_flight=2)
    working, waiting = places.take(io.BytesIO()), places.take(io.BytesIO())
    working.read(1)
    with pytest.raises(ServiceUnavailable):
        waiting.read(1)
    waiting.leave()
    working.leave()
    again = places.take(io.BytesIO())
    again.read(1)
    again.leave()


def test_a_call_that_waits_for_somebody_else_leaves_its_working_place_and_comes_back_to_one() -> None:
    places = Capacity(at_work=1, in_flight=2)
    waiting, working = places.take(io.BytesIO()), places.take(io.BytesIO(b"body"))
    waiting.read(1)
    with waiting.elsewhere():
        assert working.read(4) == b"body"
        working.leave()
    assert not places.at_work.acquire(blocking=False)
    waiting.leave()
    assert places.at_work.acquire(blocking=False)


def test_a_call_that_comes_back_and_finds_no_working_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "LONGEST_WAIT", 0.01)
    places = Capacity(at_work=1, in_flight=2)
    waiting, working = places.take(io.BytesIO()), places.take(io.BytesIO())
    waiting.read(1)
    with pytest.raises(ServiceUnavailable), waiting.elsewhere():
        working.read(1)
    waiting.leave()
    working.leave()
    places.take(io.BytesIO()).read(1)


@pytest.mark.parametrize("clients", [2, 3, 4, 5])
def test_however_much_some_clients_want_something_is_left_for_the_next(clients: int) -> None:
    places = Capacity(at_work=1, in_flight=32, several_clients=True)

    def take_all(client: str) -> int:
        for number in range(40):
            try:
                place = places.take(io.BytesIO())
            except ServiceUnavailable:
                return number
            try:
                place.belongs_to(client)
            except ServiceUnavailable:
                place.leave()
                return number
        return 40

    taken = [take_all(str(number)) for number in range(clients)]
    assert taken[0] == 16
    assert all(taken)


def test_calls_whose_client_is_not_known_yet_keep_nobody_out() -> None:
    places = Capacity(at_work=1, in_flight=2, several_clients=True)
    unknown = [places.take(io.BytesIO()) for _ in range(10)]
    places.take(io.BytesIO()).belongs_to("patient")
    for place in unknown:
        place.leave()
    assert places.free == 1


def test_a_client_gets_its_share_back_with_each_answer_and_a_single_client_has_no_bound() -> None:
    shared = Capacity(at_work=1, in_flight=3, several_clients=True)
    first, second = shared.take(io.BytesIO()), shared.take(io.BytesIO())
    first.belongs_to("greedy")
    second.belongs_to("greedy")
    third = shared.take(io.BytesIO())
    with pytest.raises(ServiceUnavailable, match="share"):
        third.belongs_to("greedy")
    first.leave()
    second.leave()
    third.belongs_to("greedy")
    alone = Capacity(at_work=1, in_flight=3)
    for _ in range(3):
        alone.take(io.BytesIO()).belongs_to("only")


def test_large_bodies_wait_for_room_without_a_working_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "LONGEST_WAIT", 0.01)
    large = bytes(capacity.SMALL_BODY + 1)
    places = Capacity(at_work=2, in_flight=4, large_bytes=len(large))
    first, second, small = (places.take(io.BytesIO(body)) for body in (large, large, b"small"))
    assert first.read(len(large)) == large
    with pytest.raises(ServiceUnavailable):
        second.read(len(large))
    assert small.read(5) == b"small"
    small.leave()
    second.leave()
    first.leave()
    again = places.take(io.BytesIO(large))
    assert again.read(len(large)) == large


def test_what_is_fetched_by_all_calls_is_bounded_beyond_a_little_for_each_and_given_back() -> None:
    little = capacity.SMALL_BODY
    places = Capacity(at_work=1, in_flight=4, large_bytes=3 * little)
    first, second, third = (places.take(io.BytesIO()) for _ in range(3))
    assert all(first.has_room(little // 2) for _ in range(6))
    assert second.has_room(2 * little)
    assert not second.has_room(1)
    assert third.has_room(little)
    assert not third.has_room(1)
    first.leave()
    assert third.has_room(2 * little)
    for place in (second, third):
        place.leave()
    assert places.free_fetched == 3 * little


def test_a_large_body_that_comes_slowly_keeps_nobody_from_work() -> None:
    places = Capacity(at_work=1, in_flight=2)
    large, others = bytes(capacity.SMALL_BODY + 1), []

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            other = places.take(io.BytesIO(b"small"))
            others.append(other.read(5))
            other.leave()
            return super().read(size)

    assert places.take(Slow(large)).read(len(large)) == large
    assert others == [b"small"]
    assert not places.at_work.acquire(blocking=False)


def test_large_bodies_that_wait_for_each_other_keep_nobody_from_work() -> None:
    large = bytes(capacity.SMALL_BODY + 1)
    places = Capacity(at_work=2, in_flight=4, large_bytes=3 * len(large))
    places.take(io.BytesIO(large)).read(len(large))
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(places.take(io.BytesIO(large)).read, len(large))
        while places.free_bytes > len(large):
            time.sleep(0.01)
        assert places.take(io.BytesIO(b"small")).read(5) == b"small"
        places.large_at_work.release()
        places.at_work.release()
        assert waiting.result() == large


def test_of_calls_with_large_bodies_one_is_worked_on_at_a_time_and_small_ones_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capacity, "LONGEST_WAIT", 0.01)
    large = bytes(capacity.SMALL_BODY + 1)
    places = Capacity(at_work=2, in_flight=4, large_bytes=3 * len(large))

    def read(body: bytes) -> Place:
        place = places.take(io.BytesIO(body))
        try:
            assert place.read(len(body)) == body
        except ServiceUnavailable:
            place.leave()
            raise
        return place

    working = read(large)
    with pytest.raises(ServiceUnavailable):
        read(large)
    read(b"small").leave()
    with working.elsewhere():
        read(large).leave()
    with pytest.raises(ServiceUnavailable):
        read(large)
    working.leave()
    read(large).leave()
    assert (places.free, places.free_bytes) == (4, 3 * len(large))


def test_a_body_of_unknown_length_takes_the_room_of_what_came() -> None:
    places = Capacity(at_work=1, in_flight=2, large_bytes=2 * capacity.SMALL_BODY)
    place = places.take(io.BytesIO(b"short"))
    assert place.read(2 * capacity.SMALL_BODY) == b"short"
    assert places.free_bytes == 2 * capacity.SMALL_BODY - 5
    place.leave()
    assert places.free_bytes == 2 * capacity.SMALL_BODY


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


def test_while_a_call_waits_for_its_fhir_server_another_is_worked_on() -> None:
    """The server accepts and never answers; there is one working place."""
    server = socket.create_server(("127.0.0.1", 0))
    request = {
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/7", "patientId": "p1"},
    }
    slow = request | {"fhirServer": f"http://127.0.0.1:{server.getsockname()[1]}/fhir"}
    client = create_app(Settings(threads=1, fetch_milliseconds=8_000)).test_client()
    with server, ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(client.post, SERVICE, json=slow)
        connection, _ = server.accept()
        with connection:
            assert client.post(SERVICE, json=request).status_code == 412
            assert not waiting.done()
            server.close()
    waiting.result()


def test_a_client_that_has_its_share_is_refused_and_another_is_not(tmp_path: Path) -> None:
    keys = {name: new_key("ES384", name) for name in ("greedy", "modest")}
    entries = []
    for name, key in keys.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(key_set(key)))
        entries.append(f'[clients.{name}]\nissuers = ["https://{name}/"]\njwks_file = "{name}.json"\n')
    (tmp_path / "clients.toml").write_text("".join(entries))
    (tmp_path / "store").mkdir(mode=0o700)
    settings = Settings(
        draft="show",
        clients=tmp_path / "clients.toml",
        store=tmp_path / "store",
        public_base_url="https://cds",
        max_in_flight=4,
    )
    app = create_app(settings)

    def status(name: str) -> int:
        audience = "https://cds/cds-services"
        token = sign(keys[name], claims_for(f"https://{name}/", audience, time.time()))
        with app.test_request_context("/cds-services", headers={"Authorization": f"Bearer {token}"}):
            response = app.preprocess_request() or app.dispatch_request()
            taken.append(g.pop("place"))
            return 200 if isinstance(response, Response) else 0

    taken: list[Place] = []
    assert status("greedy") == status("greedy") == 200
    with pytest.raises(ServiceUnavailable, match="share"):
        status("greedy")
    assert status("modest") == 200


def test_the_probes_are_answered_when_every_place_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise ServiceUnavailable("full", retry_after=1)

    monkeypatch.setattr(Capacity, "take", full)
    client = create_app().test_client()
    assert client.get("/cds-services").status_code == 503
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200
