# ruff: noqa: N818 - these are the names of HTTP and of the specification.
"""The errors of a CDS Hooks service, each declared once and each sent as a FHIR OperationOutcome.

    CdsHooksError
    ├── BadRequest 400            ├── MethodNotAllowed 405
    │   └── HookMismatch          ├── PreconditionFailed 412
    ├── Unauthorized 401          ├── BodyTooLarge 413
    ├── Forbidden 403             ├── UnsupportedMediaType 415
    ├── UnknownService 404        ├── TooManyRequests 429
    ├── InternalError 500         └── ServiceUnavailable 503

A diagnostics line says where (a JSON path), what was expected, what was received (the name of a JSON type, never a
value) and what to do. Specification: CDS Service Response, Returning OperationOutcome.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_FHIR_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")


class CdsHooksError(Exception):
    """Anything that ends a call with a status other than 200; `others` are errors that are told beside it."""

    status: int = 500
    issue_code: str = "exception"
    title: str = "The service failed"
    others: tuple[CdsHooksError, ...] = ()

    def __init__(
        self, diagnostics: str, *, expression: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(diagnostics)
        self.diagnostics = diagnostics
        self.expression = expression
        self.headers = dict(headers or {})

    def operation_outcome(self, correlation_id: str) -> dict[str, Any]:
        """The FHIR OperationOutcome of this error; its id is the correlation id of the call."""
        return operation_outcome((self, *self.others), correlation_id)

    def issue(self, severity: str = "error", title: str | None = None) -> dict[str, Any]:
        """The issue of an OperationOutcome that tells of this error."""
        issue: dict[str, Any] = {
            "severity": severity,
            "code": self.issue_code,
            "details": {"text": title or self.title},
            "diagnostics": self.diagnostics,
        }
        return {**issue, "expression": [self.expression]} if self.expression else issue


def operation_outcome(
    problems: Sequence[CdsHooksError], correlation_id: str, severity: str = "error", title: str | None = None
) -> dict[str, Any]:
    """A FHIR OperationOutcome with an issue for each of these problems; its id is the correlation id of the call.

    Each issue has the title of its problem unless there is another for all of them.
    """
    issues = [problem.issue(severity, title) for problem in problems]
    if _FHIR_ID.fullmatch(correlation_id):
        return {"resourceType": "OperationOutcome", "id": correlation_id, "issue": issues}
    # A correlation id may hold an underscore, the id of a FHIR resource may not.
    issues[0]["diagnostics"] += f" (correlation id {correlation_id})"
    return {"resourceType": "OperationOutcome", "issue": issues}


class BadRequest(CdsHooksError):
    """The body is not what the specification asks for; `code` is one of structure, required, value."""

    status = 400
    issue_code = "structure"
    title = "The request does not have the form that the CDS Hooks specification asks for"

    def __init__(
        self,
        diagnostics: str,
        *,
        expression: str | None = None,
        headers: Mapping[str, str] | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(diagnostics, expression=expression, headers=headers)
        self.issue_code = code or self.issue_code


class HookMismatch(BadRequest):
    """The request names a hook for which the called CDS service is not published."""

    issue_code = "value"
    title = "The hook of the request is not a hook of this CDS service"


class Unauthorized(CdsHooksError):
    """The CDS client did not show who it is."""

    status = 401
    issue_code = "login"
    title = "The CDS client is not known"

    def __init__(
        self, diagnostics: str, *, expression: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(diagnostics, expression=expression, headers={"WWW-Authenticate": "Bearer", **(headers or {})})


class Forbidden(CdsHooksError):
    """The CDS client is known and may not use this service."""

    status = 403
    issue_code = "forbidden"
    title = "The CDS client may not use this service"


class UnknownService(CdsHooksError):
    """There is no CDS service, and nothing else, at this address."""

    status = 404
    issue_code = "not-found"
    title = "There is nothing at this address"


class MethodNotAllowed(CdsHooksError):
    """The address exists and does not answer this method; the Allow header lists those that it answers."""

    status = 405
    issue_code = "not-supported"
    title = "This address does not answer this method"

    def __init__(
        self,
        diagnostics: str,
        *,
        allow: str,
        expression: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(diagnostics, expression=expression, headers={"Allow": allow, **(headers or {})})


class PreconditionFailed(CdsHooksError):
    """Data that the service cannot do without came neither by prefetch nor from the FHIR server."""

    status = 412
    issue_code = "incomplete"
    title = "Data that this service needs is missing"


class BodyTooLarge(CdsHooksError):
    """The body is over the limit."""

    status = 413
    issue_code = "too-long"
    title = "The request is too large"


class UnsupportedMediaType(CdsHooksError):
    """The body is not sent as JSON."""

    status = 415
    issue_code = "not-supported"
    title = "The request is not sent as JSON"


class _ComeAgain(CdsHooksError):
    """What cannot be answered now can be asked again after `retry_after` seconds."""

    def __init__(
        self,
        diagnostics: str,
        *,
        retry_after: int,
        expression: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            diagnostics, expression=expression, headers={"Retry-After": str(retry_after), **(headers or {})}
        )


class TooManyRequests(_ComeAgain):
    """The CDS client is over its rate."""

    status = 429
    issue_code = "throttled"
    title = "Too many requests"


class ServiceUnavailable(_ComeAgain):
    """The service is shutting down or overloaded."""

    status = 503
    issue_code = "transient"
    title = "The service is not available at the moment"


class InternalError(CdsHooksError):
    """A fault of the service itself."""
