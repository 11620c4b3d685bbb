"""What is right and what is wrong with a token, for the person who has to get it right."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from jwt import PyJWTError, decode

from cds_hooks.trust import Call, Caller, Check, examine
from service.access.clients import Client, directory

_SERVICE = re.compile(r"/cds-services/([^/?#]+)")


@dataclass(frozen=True, slots=True)
class Verification:
    """The checks in their order; those in `left_out` could not be made. `issuers` are all that are registered."""

    checks: tuple[Check, ...]
    left_out: tuple[str, ...]
    client: str | None
    issuers: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Whether nothing that was checked is wrong."""
        return all(check.passed for check in self.checks)


def verify(token: str, clients: Mapping[str, Client], url: str | None, now: float) -> Verification:
    """Every check of a token for a call of `url`, at a time in seconds since 1970; without `url`, of any.

    Raises ServiceUnavailable where the client's keys cannot be had.
    """
    found = _SERVICE.search(url or "")
    call = Call((url,) if url else _own_audience(token), found[1] if found else None)
    registered = directory(clients)
    checks = []
    examination = examine(token, registered, call, now)
    caller: Caller | None = None
    while True:
        try:
            checks.append(next(examination))
        except StopIteration as end:
            caller = end.value
            break
    left_out = () if url else ("aud",)
    return Verification(
        tuple(check for check in checks if check.name not in left_out),
        left_out,
        caller.client.name if caller else None,
        tuple(issuer for client in clients.values() for issuer in client.trusted.issuers),
    )


def _own_audience(token: str) -> tuple[str, ...]:
    try:
        audience = decode(token, options={"verify_signature": False}).get("aud")
    except PyJWTError:
        return ()
    return (audience,) if isinstance(audience, str) else ()


def as_text(verified: Verification) -> str:
    """One line for each check, then what comes of them."""
    lines = []
    for check in verified.checks:
        if check.passed:
            lines.append(f"ok     {check.name}: {check.received}")
        else:
            lines.append(f"WRONG  {check.name}: expected {check.expected}, received {check.received}")
            if check.name == "iss":
                lines.append(f"       registered are: {', '.join(verified.issuers)}")
    lines += [f"-      {name}: not checked, name the URL that was called with --aud" for name in verified.left_out]
    lines.append("Accepted." if verified.accepted else "Refused.")
    return "\n".join(lines)


def as_json(verified: Verification) -> str:
    """The same for programs."""
    return orjson.dumps(
        {
            "accepted": verified.accepted,
            "client": verified.client,
            "checks": [
                {"name": check.name, "passed": check.passed, "expected": check.expected, "received": check.received}
                for check in verified.checks
            ],
            "notChecked": list(verified.left_out),
        },
        option=orjson.OPT_INDENT_2,
    ).decode()
