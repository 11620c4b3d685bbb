"""Lets a call in, or refuses it and says why.

Whatever cannot be checked is refused: there is no way past a failing key source or store.
Specification: Trusting CDS Clients.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from cds_hooks.errors import CdsHooksError, Forbidden, TooManyRequests, Unauthorized
from cds_hooks.trust.clients import Directory
from cds_hooks.trust.tokens import Call, Caller, Check, examine

_MINUTE = 60


class ReplayGuard(Protocol):
    """Remembers tokens, for all workers and hosts of a service."""

    def first_use(self, issuer: str, jti: str, expires: float, issued: float) -> bool:
        """Whether this is certainly the first time that the two are seen before `expires`, both times in seconds since
        1970: what was `issued` before anything was remembered may have been used.

        Raises ServiceUnavailable where it cannot tell.
        """


class CallCounter(Protocol):
    """Counts calls, for all workers and hosts of a service."""

    def within(self, client: str, window: int, limit: int) -> bool:
        """Count one call of the client in the window of time with this number; False where it is over the limit.

        Raises ServiceUnavailable where it cannot tell.
        """


class Gate:
    """Admits calls of the clients in `directory`. `clock` gives seconds since 1970."""

    def __init__(
        self,
        directory: Directory,
        replays: ReplayGuard,
        counter: CallCounter,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self._replays = replays
        self._counter = counter
        self._clock = clock

    def admit(self, authorization: str | None, call: Call) -> Caller:
        """The caller that the Authorization header shows; raises Unauthorized, Forbidden, TooManyRequests,
        ServiceUnavailable.
        """
        now = self._clock()
        caller = _examined(_bearer(authorization), self.directory, call, now)
        if not self._replays.first_use(caller.issuer, caller.jti, caller.expires, caller.issued):
            raise _refused(Check("jti", False, "one that has not been used before", "one that has, or may have been"))
        limit = caller.client.calls_per_minute
        window, second = divmod(int(now), _MINUTE)
        if limit is not None and not self._counter.within(caller.client.name, window, limit):
            raise TooManyRequests(
                f"rate: expected at most {limit} calls a minute from client {caller.client.name}, received more. "
                "Call again when the minute is over, with a new token.",
                retry_after=_MINUTE - second,
            )
        return caller

    def keys_ready(self) -> int:
        """For how many of the clients there are usable keys; those of the others are loaded in the background."""
        return sum(registration.keys.is_ready() for registration in self.directory.registrations)


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        received = "nothing" if not scheme else "another scheme" if scheme.lower() != "bearer" else "no token"
        raise Unauthorized(
            f"Authorization: expected Bearer and the client's JSON web token, received {received}. "
            "Sign a token for each call and send it in this header."
        )
    return token.strip()


def _examined(token: str, directory: Directory, call: Call, now: float) -> Caller:
    """The caller; raises at the first check that fails."""
    examination = examine(token, directory, call, now)
    try:
        while (check := next(examination)).passed:
            pass
    except StopIteration as end:
        caller: Caller | None = end.value
        if caller is not None:
            return caller
        raise RuntimeError("a token was neither accepted nor refused") from None
    raise _refused(check)


def _refused(check: Check) -> CdsHooksError:
    diagnostics = f"Authorization, {check.name} of the token: expected {check.expected}, received {check.received}. "
    if check.forbidden:
        return Forbidden(diagnostics + "Ask the operator of this service to change the client's registration.")
    return Unauthorized(
        diagnostics + "Correct the token, or the client's registration here.",
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )
