"""The public keys of a CDS client: read from its JWK Set, kept parsed, and refreshed when they have to be.

Specification: Trusting CDS Clients; JWT Signing Algorithm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import InvalidKeyError
from jwt.algorithms import Algorithm, get_default_algorithms

from cds_hooks.errors import ServiceUnavailable
from cds_hooks.outbound import OutboundError, fetch

ALGORITHMS = ("ES384", "RS384", "ES256", "RS256", "PS384")
DEFAULT_ALGORITHMS = ("ES384", "RS384")

_LOG = logging.getLogger("cds_hooks.trust")
_LARGEST_SET = 262_144
_FETCH_SECONDS = 2.0
_RSA_BITS = range(2048, 8193)
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_BY_NAME = get_default_algorithms()
_SUITED = {"EC P-384": ("ES384",), "EC P-256": ("ES256",), "RSA None": ("RS384", "RS256", "PS384")}
_UNKNOWN_KIDS_KEPT = 1000


class KeySetError(Exception):
    """A JWK Set that cannot be had or used; its text says why and holds no value of it."""


class KeyRefusedError(Exception):
    """There is no key that may verify this token: what was expected and what was received."""

    def __init__(self, expected: str, received: str) -> None:
        super().__init__(f"expected {expected}, received {received}")
        self.expected = expected
        self.received = received


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and the one algorithm that it is used with here."""

    algorithm: Algorithm
    public: Any = field(repr=False)

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Whether `signature` is that of `signed` by the private half of this key."""
        return bool(self.algorithm.verify(signed, self.public, signature))


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys by kid and algorithm, and why a kid that is in the set has none."""

    keys: Mapping[str, Mapping[str, VerificationKey]]
    refused: Mapping[str, str]


def read_key_set(data: bytes, algorithms: Collection[str] = ALGORITHMS) -> KeySet:
    """The keys of a JWK Set (RFC 7517) that suit one of `algorithms`; raises KeySetError where it is no JWK Set.

    A kid that is there twice, and a key that is private, too short, or meant for something else, is refused by itself.
    """
    try:
        members = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise KeySetError("the JWK Set is not JSON") from None
    entries = members.get("keys") if isinstance(members, dict) else None
    if not isinstance(entries, list):
        raise KeySetError('the JWK Set is not an object with an array "keys"')
    keys: dict[str, Mapping[str, VerificationKey]] = {}
    refused: dict[str, str] = {}
    for entry in entries:
        kid = entry.get("kid") if isinstance(entry, dict) else None
        if not isinstance(kid, str):
            continue
        if kid in keys or kid in refused:
            keys.pop(kid, None)
            refused[kid] = "a kid that is in the set more than once"
            continue
        try:
            keys[kid] = _usable(entry, algorithms)
        except KeySetError as problem:
            refused[kid] = str(problem)
    return KeySet(keys, refused)


def _usable(jwk: dict[str, Any], algorithms: Collection[str]) -> Mapping[str, VerificationKey]:
    if not _PRIVATE_MEMBERS.isdisjoint(jwk):
        raise KeySetError("a key with private or secret members")
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise KeySetError("a key that is not for signatures")
    suited = _SUITED.get(f"{jwk.get('kty')} {jwk.get('crv')}", ())
    wanted = [name for name in suited if name in algorithms and jwk.get("alg", name) == name]
    if not wanted:
        raise KeySetError("a key of a type or for an algorithm that is not accepted from this client")
    found = {}
    for name in wanted:
        algorithm = _BY_NAME[name]
        try:
            public = algorithm.prepare_key(algorithm.from_jwk(jwk))
        except (InvalidKeyError, ValueError, TypeError, AttributeError):
            raise KeySetError("a key whose members do not make a key") from None
        if isinstance(public, RSAPublicKey) and public.key_size not in _RSA_BITS:
            raise KeySetError(f"an RSA key of less than {_RSA_BITS.start} or more than {_RSA_BITS.stop - 1} bits")
        if not isinstance(public, RSAPublicKey | EllipticCurvePublicKey):
            raise KeySetError("a key that is not public")
        found[name] = VerificationKey(algorithm, public)
    return found


def load_from(url: str, *, allow_internal: bool = False) -> bytes:
    """The JWK Set at `url`, which only a reviewed client entry names; raises KeySetError.

    `allow_internal` lets the host have a private address, and be called by plain http on a loopback one.
    """
    try:
        answer = fetch(
            url,
            headers={"Accept": "application/jwk-set+json, application/json"},
            deadline=_FETCH_SECONDS,
            max_bytes=_LARGEST_SET,
            allow_internal=allow_internal,
            allow_http=allow_internal,
        )
    except OutboundError as problem:
        raise KeySetError(f"the JWK Set cannot be fetched, {problem.reason}: {problem}") from None
    if answer.status != 200:
        raise KeySetError(f"the JWK Set cannot be fetched: expected status 200, received {answer.status}")
    return answer.body


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """When keys are loaded anew; all in seconds.

    Keys older than `max_age` are refreshed while they go on being used, until they are `max_stale` old. A kid that is
    not known causes a refresh, but not within `min_interval` of the last one, nor `unknown_for` after the same kid was
    looked for in vain. A refresh that failed is tried again after `retry`.
    """

    min_interval: float = 60
    max_age: float = 3_600
    max_stale: float = 86_400
    unknown_for: float = 60
    retry: float = 10


@dataclass(frozen=True, slots=True)
class _Held:
    keys: KeySet
    since: float


class KeySource:
    """The keys of one client, for all threads of a process. `load` gives the JWK Set as bytes or raises KeySetError."""

    def __init__(
        self,
        name: str,
        load: Callable[[], bytes],
        algorithms: Collection[str] = DEFAULT_ALGORITHMS,
        *,
        policy: RefreshPolicy = RefreshPolicy(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._load = load
        self._algorithms = tuple(algorithms)
        self._policy = policy
        self._clock = clock
        self._lock = Lock()
        self._held: _Held | None = None
        self._next_load = float("-inf")
        self._failed = False
        self._unknown: dict[str, float] = {}

    def find(self, kid: str, algorithm: str) -> VerificationKey:
        """The key of this kid for this algorithm.

        Raises KeyRefusedError, and ServiceUnavailable where no keys can be had.
        """
        held = self._current()
        if kid not in held.keys.keys and kid not in held.keys.refused:
            held = self._looked_up_again(kid, held)
        by_algorithm = held.keys.keys.get(kid)
        if by_algorithm is None:
            raise KeyRefusedError(
                "the kid of one usable key of the client's JWK Set", held.keys.refused.get(kid, "another")
            )
        key = by_algorithm.get(algorithm)
        if key is None:
            raise KeyRefusedError(
                f"a key that suits the algorithm, one of {', '.join(by_algorithm)} for this kid", algorithm
            )
        return key

    def only(self, algorithm: str) -> VerificationKey:
        """The key of a set that has one, for a token that names none: OpenID Connect Core 1.0, section 10.1. Raises as
        `find` does."""
        keys = self._current().keys
        named = [*keys.keys, *keys.refused]
        if len(named) != 1:
            raise KeyRefusedError("a kid, for the JWK Set has several keys or none", "none")
        return self.find(named[0], algorithm)

    def is_ready(self) -> bool:
        """Whether there are keys that may be used now; where there are none, they are loaded in the background."""
        held = self._held
        ready = held is not None and self._age(held) <= self._policy.max_stale
        if not ready:
            self._refresh_in_background(held)
        return ready

    def age(self) -> float | None:
        """How many seconds ago the keys that are held were loaded; None where there are none."""
        held = self._held
        return None if held is None else self._age(held)

    def load(self) -> None:
        """Load the keys now; raises KeySetError."""
        self._held = _Held(read_key_set(self._load(), self._algorithms), self._clock())
        self._next_load = self._held.since + self._policy.min_interval

    def _current(self) -> _Held:
        held = self._held
        if held is None or self._age(held) > self._policy.max_stale:
            self._refresh(held)
            held = self._held
            if held is None or self._age(held) > self._policy.max_stale:
                raise self._unavailable()
        elif self._age(held) > self._policy.max_age:
            self._refresh_in_background(held)
        return held

    def _refresh_in_background(self, seen: _Held | None) -> None:
        if self._clock() >= self._next_load and not self._lock.locked():
            Thread(target=self._refresh, args=(seen,), name="keys", daemon=True).start()

    def _age(self, held: _Held) -> float:
        return self._clock() - held.since

    def _looked_up_again(self, kid: str, held: _Held) -> _Held:
        now = self._clock()
        if self._unknown.get(kid, now) > now:
            return held
        self._refresh(held)
        fresh = self._held or held
        if kid not in fresh.keys.keys and kid not in fresh.keys.refused:
            if self._failed:
                # The kid may be that of a new key, which the client has published where nobody can read it now.
                raise self._unavailable()
            if fresh is not held:
                if len(self._unknown) >= _UNKNOWN_KIDS_KEPT:
                    self._unknown.clear()
                self._unknown[kid] = now + self._policy.unknown_for
        return fresh

    def _refresh(self, seen: _Held | None) -> None:
        """Load the keys unless another thread has just done so, or the next load is not due; does not raise."""
        with self._lock:
            if self._held is not seen or self._clock() < self._next_load:
                return
            try:
                self.load()
            except KeySetError as problem:
                self._failed = True
                self._next_load = self._clock() + self._policy.retry
                _LOG.warning("keys of client %s: %s", self._name, problem)
            else:
                self._failed = False

    def _unavailable(self) -> ServiceUnavailable:
        return ServiceUnavailable(
            "Authorization: the keys of this client cannot be had at the moment; the log of the service says why. "
            "Call again later.",
            retry_after=max(1, round(self._policy.retry)),
        )
