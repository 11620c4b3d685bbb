"""The keys of a client: which of a JWK Set are used, when they are loaded anew, and what if they cannot be."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from cds_hooks import ServiceUnavailable
from cds_hooks.outbound import Fetched, OutboundError
from cds_hooks.trust import ALGORITHMS, KeySetError, KeySource, RefreshPolicy, load_from, read_key_set
from cds_hooks.trust import keys as trust_keys
from cds_hooks.trust.keys import KeyRefusedError
from cds_hooks.trust.signing import key_set, new_key

Keys = Mapping[str, dict[str, Any]]


def published(*keys: Any) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def public(key: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    members = {**key_set(key)["keys"][0], **changes}
    return {name: member for name, member in members.items() if member is not ...}


def test_each_key_is_there_for_the_algorithms_that_suit_it(keys: Keys) -> None:
    bare = [public(key, alg=...) for key in keys.values()]
    found = read_key_set(published(*bare))
    assert {kid: sorted(by_algorithm) for kid, by_algorithm in found.keys.items()} == {
        "es384": ["ES384"],
        "es256": ["ES256"],
        "rs384": ["PS384", "RS256", "RS384"],
        "rs256": ["PS384", "RS256", "RS384"],
        "ps384": ["PS384", "RS256", "RS384"],
    }
    assert found.refused == {}


def test_the_algorithm_that_a_key_names_is_its_only_one(keys: Keys) -> None:
    found = read_key_set(published(*map(public, keys.values())))
    assert {kid: list(by_algorithm) for kid, by_algorithm in found.keys.items()} == {
        name.lower(): [name] for name in ALGORITHMS
    }


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"d": "AQAB"}, "private or secret"),
        ({"k": "AQAB"}, "private or secret"),
        ({"use": "enc"}, "not for signatures"),
        ({"use": None}, "not for signatures"),
        ({"key_ops": ["sign"]}, "not for signatures"),
        ({"key_ops": "verify"}, "not for signatures"),
        ({"key_ops": 7}, "not for signatures"),
        ({"kty": "oct"}, "not accepted"),
        ({"kty": ["EC"]}, "not accepted"),
        ({"kty": ...}, "not accepted"),
        ({"crv": "P-521"}, "not accepted"),
        ({"crv": ...}, "not accepted"),
        ({"alg": "HS384"}, "not accepted"),
        ({"alg": "ES256"}, "not accepted"),
        ({"alg": None}, "not accepted"),
        ({"x": ...}, "do not make a key"),
        ({"x": 7}, "do not make a key"),
        ({"x": "AQAB"}, "do not make a key"),
        ({"x": "é"}, "do not make a key"),
        ({"x": "A" * 64, "y": "A" * 64}, "do not make a key"),
        ({"crv": "P-256"}, "not accepted"),
        ({"crv": "P-256", "alg": ...}, "do not make a key"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_by_itself(changes: Mapping[str, Any], why: str, keys: Keys) -> None:
    found = read_key_set(published(public(keys["ES384"], **changes), public(keys["RS384"])))
    assert list(found.keys) == ["rs384"]
    assert why in found.refused["es384"]


@pytest.mark.parametrize("bits", [1024, 2047])
def test_an_rsa_key_that_is_too_short_is_refused(bits: int) -> None:
    members = RSAAlgorithm.to_jwk(rsa.generate_private_key(65_537, bits).public_key(), as_dict=True)
    assert "2048" in read_key_set(published({**members, "kid": "short"})).refused["short"]


def test_an_rsa_key_without_a_modulus_is_refused(keys: Keys) -> None:
    assert "rs384" in read_key_set(published(public(keys["RS384"], n="AA"))).refused


def test_a_kid_that_is_there_twice_is_refused_for_both(keys: Keys) -> None:
    twice = [public(keys["ES384"]), public(keys["RS384"], kid="es384"), public(keys["PS384"], kid="es384")]
    found = read_key_set(published(*twice, public(keys["RS256"])))
    assert list(found.keys) == ["rs256"]
    assert "more than once" in found.refused["es384"]


def test_a_key_for_an_algorithm_that_the_client_may_not_use_is_refused(keys: Keys) -> None:
    found = read_key_set(published(public(keys["ES256"]), public(keys["ES384"])), ["ES384"])
    assert list(found.keys) == ["es384"]
    assert "not accepted from this client" in found.refused["es256"]


@pytest.mark.parametrize("entry", [None, 7, "key", [], {}, {"kid": 7}, {"kid": None}])
def test_an_entry_without_a_kid_is_passed_over(entry: object, keys: Keys) -> None:
    found = read_key_set(published(entry, public(keys["ES384"])))
    assert list(found.keys) == ["es384"]
    assert found.refused == {}


@pytest.mark.parametrize(
    "data", [b"", b"{", b"null", b"[]", b"{}", b'{"keys": {}}', b'{"keys": null}', b"<html>", b"\xff", b"[" * 100_000]
)
def test_what_is_no_key_set_is_said(data: bytes) -> None:
    with pytest.raises(KeySetError):
        read_key_set(data)


def test_no_text_about_a_key_holds_a_value_of_it(keys: Keys) -> None:
    found = read_key_set(published(public(keys["ES384"], x="secret"), public(keys["RS384"], use="secret")))
    assert not any("secret" in why for why in found.refused.values() if why != "a key with private or secret members")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Publisher:
    """A JWK Set that changes, fails and counts how often it is loaded."""

    def __init__(self, *keys: Mapping[str, Any]) -> None:
        self.keys = keys
        self.loads = 0
        self.failing = False
        self.takes = 0.0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self) -> bytes:
        self.loads += 1
        time.sleep(self.takes)
        assert self.may_answer.wait(20)
        if self.failing:
            raise KeySetError("no answer")
        return json.dumps(key_set(*self.keys)).encode()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def publisher(keys: Keys) -> Publisher:
    return Publisher(keys["ES384"])


@pytest.fixture
def source(publisher: Publisher, clock: Clock) -> KeySource:
    return KeySource("general", publisher, clock=clock)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def test_keys_are_loaded_at_first_use_and_then_kept_parsed(source: KeySource, publisher: Publisher) -> None:
    assert publisher.loads == 0
    assert source.find("es384", "ES384") is source.find("es384", "ES384")
    assert publisher.loads == 1


def test_an_unknown_kid_refreshes_the_keys_once_the_interval_is_over(
    source: KeySource, publisher: Publisher, clock: Clock, keys: Keys
) -> None:
    source.find("es384", "ES384")
    publisher.keys = (keys["RS384"],)
    with pytest.raises(KeyRefusedError):
        source.find("rs384", "RS384")
    assert publisher.loads == 1

    clock.now += 60
    assert source.find("rs384", "RS384")
    assert publisher.loads == 2
    with pytest.raises(KeyRefusedError):
        source.find("es384", "ES384")


def test_a_kid_that_was_looked_for_in_vain_causes_no_load_for_a_while(publisher: Publisher, clock: Clock) -> None:
    source = KeySource("general", publisher, clock=clock, policy=RefreshPolicy(unknown_for=300))
    source.find("es384", "ES384")
    clock.now += 60
    for _ in range(5):
        with pytest.raises(KeyRefusedError):
            source.find("gone", "ES384")
    assert publisher.loads == 2
    clock.now += 299
    with pytest.raises(KeyRefusedError):
        source.find("gone", "ES384")
    assert publisher.loads == 2
    clock.now += 1
    with pytest.raises(KeyRefusedError):
        source.find("gone", "ES384")
    assert publisher.loads == 3


def test_a_kid_that_comes_back_is_found_although_it_was_looked_for_in_vain(
    source: KeySource, publisher: Publisher, clock: Clock, keys: Keys
) -> None:
    source.find("es384", "ES384")
    clock.now += 60
    with pytest.raises(KeyRefusedError):
        source.find("rs384", "RS384")
    publisher.keys = (keys["ES384"], keys["RS384"])
    clock.now += 60
    with pytest.raises(KeyRefusedError):
        source.find("another", "RS384")
    assert source.find("rs384", "RS384")


def test_a_flood_of_unknown_kids_causes_one_load_in_an_interval_and_little_memory(
    source: KeySource, publisher: Publisher, clock: Clock
) -> None:
    source.find("es384", "ES384")
    for number in range(3000):
        clock.now += 0.01
        with pytest.raises(KeyRefusedError):
            source.find(f"random-{number}", "ES384")
    assert publisher.loads == 1
    for number in range(1500):
        clock.now += 60
        with pytest.raises(KeyRefusedError):
            source.find(f"slow-{number}", "ES384")
    assert len(source._unknown) <= 1000


def test_a_refused_kid_causes_no_load(source: KeySource, publisher: Publisher, clock: Clock, keys: Keys) -> None:
    publisher.keys = (keys["ES384"], keys["ES384"])
    for _ in range(3):
        clock.now += 60
        with pytest.raises(KeyRefusedError, match="more than once"):
            source.find("es384", "ES384")
    assert publisher.loads == 1


def test_old_keys_are_used_while_they_are_refreshed_in_the_background(
    source: KeySource, publisher: Publisher, clock: Clock, keys: Keys
) -> None:
    first = source.find("es384", "ES384")
    publisher.may_answer.clear()
    clock.now += 3601
    assert source.find("es384", "ES384") is first
    publisher.may_answer.set()
    wait_for(lambda: source.find("es384", "ES384") is not first)
    assert publisher.loads == 2


def test_a_stale_copy_is_used_for_a_day_while_the_refresh_fails(
    source: KeySource, publisher: Publisher, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    first = source.find("es384", "ES384")
    publisher.failing = True
    with caplog.at_level(logging.WARNING):
        for age in range(3601, 86_400, 7200):
            clock.now = 1000.0 + age
            loads = publisher.loads
            assert source.find("es384", "ES384") is first
            wait_for(lambda loads=loads: publisher.loads > loads and not source._lock.locked())  # type: ignore[misc]
        clock.now = 1000.0 + 86_401
        with pytest.raises(ServiceUnavailable):
            source.find("es384", "ES384")
    assert "keys of client general: no answer" in caplog.text


def test_keys_that_cannot_be_had_are_503_and_not_asked_for_at_each_call(
    source: KeySource, publisher: Publisher, clock: Clock
) -> None:
    publisher.failing = True
    for _ in range(3):
        with pytest.raises(ServiceUnavailable) as refused:
            source.find("es384", "ES384")
        assert refused.value.headers["Retry-After"] == "10"
    assert publisher.loads == 1
    assert not source.is_ready()
    publisher.failing = False
    clock.now += 10
    assert source.find("es384", "ES384")
    assert source.is_ready()


def test_an_unknown_kid_is_503_while_the_refresh_fails(source: KeySource, publisher: Publisher, clock: Clock) -> None:
    source.find("es384", "ES384")
    publisher.failing = True
    clock.now += 60
    for _ in range(2):
        with pytest.raises(ServiceUnavailable):
            source.find("new", "ES384")
    assert publisher.loads == 2
    assert source.find("es384", "ES384")


def test_many_threads_cause_one_load(source: KeySource, publisher: Publisher) -> None:
    publisher.takes = 0.1
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(source.find("es384", "ES384"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
    assert publisher.loads == 1


def test_a_set_that_turns_bad_is_a_failed_refresh(source: KeySource, clock: Clock, monkeypatch: Any) -> None:
    source.find("es384", "ES384")
    monkeypatch.setattr(source, "_load", lambda: b"<html>")
    clock.now += 60
    with pytest.raises(ServiceUnavailable):
        source.find("new", "ES384")
    assert source.find("es384", "ES384")


@pytest.mark.parametrize("status", [204, 401, 403, 404, 429, 500])
def test_only_an_answer_with_status_200_is_a_key_set(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_keys, "fetch", lambda *_, **__: Fetched(status, "", b'{"keys": []}', {}, 0.1))
    with pytest.raises(KeySetError, match=f"expected status 200, received {status}"):
        load_from("https://ehr.example.org/jwks.json")


def test_a_fetch_is_bounded_and_held_to_public_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fetch(url: str, **options: Any) -> Fetched:
        asked.append((url, options))
        return Fetched(200, "application/json", b"{}", {}, 0.1)

    monkeypatch.setattr(trust_keys, "fetch", fetch)
    assert load_from("https://ehr.example.org/jwks.json") == b"{}"
    load_from("https://ehr.lan/jwks.json", allow_internal=True)

    assert asked[0] == (
        "https://ehr.example.org/jwks.json",
        {
            "headers": {"Accept": "application/jwk-set+json, application/json"},
            "deadline": 2.0,
            "max_bytes": 262_144,
            "allow_internal": False,
            "allow_http": False,
        },
    )
    assert asked[1][1]["allow_internal"] is True


def test_a_fetch_that_came_to_nothing_is_said_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: Any, **__: Any) -> Fetched:
        raise OutboundError("refused-address", "the host has an address that may not be called from here")

    monkeypatch.setattr(trust_keys, "fetch", fetch)
    with pytest.raises(KeySetError, match="refused-address"):
        load_from("https://ehr.example.org/jwks.json")


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/jwks.json", "https://localhost/", "https://169.254.169.254/latest/"]
)
def test_the_keys_of_a_client_are_never_fetched_from_an_internal_address_unasked(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: Any) -> None:
        pytest.fail("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(KeySetError, match="refused-address"):
        load_from(url)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_public_half_of_a_new_key_is_published_without_the_private_one(algorithm: str) -> None:
    key = new_key(algorithm, "mine")
    [half] = key_set(key)["keys"]
    assert {"d", "p", "q", "dp", "dq", "qi"}.isdisjoint(half)
    assert "d" in key
    assert list(read_key_set(published(half)).keys["mine"]) == [algorithm]
    assert new_key(algorithm)["kid"] != new_key(algorithm)["kid"]
