"""A CDS client's JSON web token, examined check by check.

PyJWT reads the token, and cryptography verifies it. The checks are made one after the other by one function, so that
the service, which stops at the first that fails, and a person who asks what is wrong with a token see the same ones.
Specification: Trusting CDS Clients; JWT Signing Algorithm.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeGuard
from urllib.parse import urlsplit

import msgspec
from jwt import InvalidTokenError
from jwt.api_jws import PyJWS

from cds_hooks.trust.clients import Directory, Registration, TrustedClient
from cds_hooks.trust.keys import ALGORITHMS, KeyRefusedError

LONGEST_TOKEN = 8_192
_LONGEST_NAME = 256
_SHOWN = 200
# Years far beyond any clock, and within what a date can be made of. NaN is not below it.
_END_OF_TIME = 1e11
# Clients look at the clock once for iat and once for exp: between the two it may go on to the next second.
_ROUNDING = 1
_JWS = PyJWS(algorithms=ALGORITHMS)
_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `expected` and `received` may be shown to the caller: they hold no secret.

    `forbidden` marks what a client that has shown who it is may not do.
    """

    name: str
    passed: bool
    expected: str
    received: str
    forbidden: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """What is being called: the URLs that an audience may name for it, and the id of the service, if it is one."""

    urls: tuple[str, ...]
    service_id: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as a token has shown that passed every check. The times and `jti` are for whoever refuses replays."""

    client: TrustedClient
    issuer: str
    jti: str
    expires: float
    issued: float
    subject: str | None = None
    tenant: str | None = None
    notes: tuple[str, ...] = ()


Checks: TypeAlias = Generator[Check, None, Caller | None]
_Found: TypeAlias = Generator[Check, None, bool]


@dataclass(frozen=True, slots=True)
class _Token:
    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


def examine(token: str, directory: Directory, call: Call, now: float) -> Checks:
    """Yields each check; returns the caller, or None where a check has failed.

    It goes on after a failed check as far as there is something left to look at. `now` is in seconds since 1970.
    """
    size = len(token)
    yield Check("size", size <= LONGEST_TOKEN, f"a token of at most {LONGEST_TOKEN} characters", f"{size} characters")
    parsed = _parse(token) if size <= LONGEST_TOKEN else None
    if size <= LONGEST_TOKEN:
        yield Check(
            "form",
            parsed is not None,
            "three base64url parts with dots between them, the first two JSON objects, no critical header extension",
            "such a token" if parsed else "another text",
        )
    if parsed is None:
        return None
    registration = directory.find(parsed.claims.get("iss"))
    yield Check(
        "iss", registration is not None, "an issuer that is registered here", shown(parsed.claims.get("iss", _NOTHING))
    )
    passed = yield from _tally(_header(parsed, registration))
    if registration is None:
        passed = False
    elif passed:
        passed = yield from _tally(_signature(parsed, registration))
    client = registration.client if registration else TrustedClient("", ())
    passed &= yield from _tally(_audience(parsed.claims, client, call))
    passed &= yield from _tally(_times(parsed.claims, client, now))
    passed &= yield from _tally(_names(parsed.claims))
    if registration is not None:
        passed &= yield from _tally(_rights(parsed.claims, client, call))
    if not passed:
        return None
    claims = parsed.claims
    return Caller(
        client,
        claims["iss"],
        claims["jti"],
        claims["exp"] + client.skew,
        claims["iat"],
        claims.get("sub"),
        claims.get("tenant"),
        () if "typ" in parsed.header else ("the token has no typ",),
    )


def _tally(checks: Iterable[Check]) -> _Found:
    passed = True
    for check in checks:
        passed = passed and check.passed
        yield check
    return passed


def _parse(token: str) -> _Token | None:
    try:
        # The signature is verified below, on these very parts: a second reading would cost as much as an RSA signature.
        parts = _JWS.decode_complete(token, options={"verify_signature": False})
        claims = msgspec.json.decode(parts["payload"])
    except (InvalidTokenError, msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    if not isinstance(claims, dict):
        return None
    return _Token(parts["header"], claims, token.rpartition(".")[0].encode(), parts["signature"])


def _header(token: _Token, registration: Registration | None) -> Iterable[Check]:
    header = token.header
    kind = header.get("typ", "JWT")
    yield Check("typ", isinstance(kind, str) and kind.upper() == "JWT", "JWT", shown(kind))
    accepted = registration.client.algorithms if registration else ALGORITHMS
    algorithm = header.get("alg", _NOTHING)
    yield Check("alg", algorithm in accepted, f"one of {', '.join(accepted)}", shown(algorithm))
    if registration is not None and "jku" in header:
        yield _jku(header["jku"], registration.client.jku)
    kid = header.get("kid", _NOTHING)
    yield Check("kid", _is_name(kid), f"a string of 1 to {_LONGEST_NAME} characters", shown(kid))


def _jku(given: object, registered: str | None) -> Check:
    """Where none is registered, the keys came another way, and what a token says of their place changes nothing."""
    if registered is None:
        return Check("jku", True, "any", f"{shown(given)}, which is not looked at: the keys came another way")
    return Check("jku", given == registered, f"{registered}, as it is registered for this issuer", shown(given))


def _signature(token: _Token, registration: Registration) -> Iterable[Check]:
    kid, algorithm = token.header["kid"], token.header["alg"]
    try:
        key = registration.keys.find(kid, algorithm)
    except KeyRefusedError as refused:
        yield Check("key", False, refused.expected, f"{refused.received} (kid {shown(kid)})")
        return
    yield Check("key", True, "the kid of one usable key of the client's JWK Set", f"kid {shown(kid)}")
    verified = key.verifies(token.signed, token.signature)
    yield Check("signature", verified, "one made with this key", "one made with this key" if verified else "another")


def _audience(claims: Mapping[str, Any], client: TrustedClient, call: Call) -> Iterable[Check]:
    given = claims.get("aud", _NOTHING)
    audiences = given if isinstance(given, list) else [given]
    accepted = (*call.urls, *client.audiences)
    sound = all(isinstance(audience, str) for audience in audiences)
    yield Check(
        "aud",
        sound and _names_one_of(audiences, accepted),
        f"the URL that is called, {' or '.join(accepted)}",
        ", ".join(map(shown, audiences[:3])) or "an empty array",
    )


def _names_one_of(audiences: Collection[str], accepted: Collection[str]) -> bool:
    if any(audience in accepted for audience in audiences):
        return True
    return not {canonical(audience) for audience in audiences}.isdisjoint(map(canonical, accepted))


def canonical(url: str) -> str:
    """The URL without what makes no difference: case of scheme and host, the usual port, a last slash."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    host = parts.netloc.lower().removesuffix(_PORTS.get(parts.scheme, ""))
    rest = f"{parts.path.rstrip('/')}{'?' if parts.query else ''}{parts.query}"
    return f"{parts.scheme}://{host}{rest}" if host else url


def _times(claims: Mapping[str, Any], client: TrustedClient, now: float) -> Iterable[Check]:
    expires, issued, begins = (claims.get(name, _NOTHING) for name in ("exp", "iat", "nbf"))
    earliest, latest = now - client.skew, now + client.skew
    yield Check(
        "exp", is_time(expires) and expires > earliest, f"a time after {time_shown(earliest)}", time_shown(expires)
    )
    yield Check(
        "iat", is_time(issued) and issued <= latest, f"a time not after {time_shown(latest)}", time_shown(issued)
    )
    if begins is not _NOTHING:
        fits = is_time(begins) and begins <= latest
        yield Check("nbf", fits, f"a time not after {time_shown(latest)}", time_shown(begins))
    if is_time(expires) and is_time(issued):
        lasts = expires - issued
        expected = f"exp - iat of more than 0 and at most {client.lifetime} s"
        yield Check("lifetime", 0 < lasts <= client.lifetime + _ROUNDING, expected, f"{lasts:g} s")


def _names(claims: Mapping[str, Any]) -> Iterable[Check]:
    fits = _is_name(claims.get("jti"))
    yield Check(
        "jti",
        fits,
        f"a string of 1 to {_LONGEST_NAME} characters",
        "one" if fits else "nothing" if "jti" not in claims else "another value",
    )
    for name in ("sub", "tenant"):
        if claims.get(name) is not None:
            fits = _is_name(claims[name])
            yield Check(name, fits, f"a string of 1 to {_LONGEST_NAME} characters", "one" if fits else "another value")


def _rights(claims: Mapping[str, Any], client: TrustedClient, call: Call) -> Iterable[Check]:
    if client.tenants:
        fits = claims.get("tenant") in client.tenants
        received = "one of them" if fits else "another or none"
        yield Check("tenant allowed", fits, "a tenant that is registered for this client", received, forbidden=True)
    if client.services and call.service_id is not None:
        fits = call.service_id in client.services
        expected = f"a call of {' or '.join(client.services)}, which client {client.name} may use"
        yield Check("service allowed", fits, expected, f"a call of {shown(call.service_id)}", forbidden=True)


class _Nothing:
    """Stands for a member that is not there, which null is not."""


_NOTHING = _Nothing()


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME


def is_time(value: object) -> TypeGuard[float]:
    """Whether a claim is a number of seconds that can be reckoned with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _END_OF_TIME


def shown(value: object) -> str:
    """A value of a token as it may stand in an error: a string as a short line of ASCII, anything else by its type."""
    if value is _NOTHING:
        return "nothing"
    if not isinstance(value, str):
        return "null" if value is None else "a value that is not a string"
    return json.dumps(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}...")


def time_shown(value: object) -> str:
    """A time claim as it may stand in an error."""
    if value is _NOTHING:
        return "nothing"
    if not is_time(value):
        return "a value that is no time in seconds"
    return f"{datetime.fromtimestamp(int(value), UTC).isoformat()[:19]}Z"
