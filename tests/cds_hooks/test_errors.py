import pytest
from fhir.resources.R4B.operationoutcome import OperationOutcome

from cds_hooks import (
    BadRequest,
    BodyTooLarge,
    CdsHooksError,
    Forbidden,
    HookMismatch,
    InternalError,
    MethodNotAllowed,
    PreconditionFailed,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    UnknownService,
    UnsupportedMediaType,
)

DECLARED: list[tuple[CdsHooksError, int, str, dict[str, str]]] = [
    (BadRequest("x"), 400, "structure", {}),
    (BadRequest("x", code="required"), 400, "required", {}),
    (HookMismatch("x"), 400, "value", {}),
    (Unauthorized("x"), 401, "login", {"WWW-Authenticate": "Bearer"}),
    (Forbidden("x"), 403, "forbidden", {}),
    (UnknownService("x"), 404, "not-found", {}),
    (MethodNotAllowed("x", allow="GET"), 405, "not-supported", {"Allow": "GET"}),
    (PreconditionFailed("x"), 412, "incomplete", {}),
    (BodyTooLarge("x"), 413, "too-long", {}),
    (UnsupportedMediaType("x"), 415, "not-supported", {}),
    (TooManyRequests("x", retry_after=3), 429, "throttled", {"Retry-After": "3"}),
    (ServiceUnavailable("x", retry_after=4), 503, "transient", {"Retry-After": "4"}),
    (InternalError("x"), 500, "exception", {}),
]


@pytest.mark.parametrize(("error", "status", "code", "headers"), DECLARED)
def test_each_error_is_declared_with_status_code_and_headers(
    error: CdsHooksError, status: int, code: str, headers: dict[str, str]
) -> None:
    assert (error.status, error.issue_code, error.headers) == (status, code, headers)
    outcome = error.operation_outcome("abc-1")
    OperationOutcome.model_validate(outcome)
    assert outcome == {
        "resourceType": "OperationOutcome",
        "id": "abc-1",
        "issue": [{"severity": "error", "code": code, "details": {"text": error.title}, "diagnostics": "x"}],
    }


def test_every_declared_error_is_in_this_table() -> None:
    def below(kind: type[CdsHooksError]) -> set[type[CdsHooksError]]:
        return {kind, *(inner for sub in kind.__subclasses__() for inner in below(sub))}

    # Whoever uses the library may declare more of its own; a private name is what errors share.
    ours = {kind for kind in below(CdsHooksError) if kind.__module__.startswith("cds_hooks.")}
    declared = {kind for kind in ours if not kind.__name__.startswith("_")}
    assert declared == {CdsHooksError, *(type(error) for error, *_ in DECLARED)}


def test_an_outcome_has_the_expression_of_the_member_that_is_wrong() -> None:
    outcome = BadRequest("x", expression="context.patientId").operation_outcome("a")
    assert outcome["issue"][0]["expression"] == ["context.patientId"]


def test_a_correlation_id_that_cannot_be_a_fhir_id_stands_in_the_diagnostics() -> None:
    outcome = BadRequest("x").operation_outcome("call_1")
    OperationOutcome.model_validate(outcome)
    assert "id" not in outcome
    assert outcome["issue"][0]["diagnostics"] == "x (correlation id call_1)"


def test_own_headers_are_added_to_the_declared_ones() -> None:
    assert Unauthorized("x", headers={"X-A": "1"}).headers == {"WWW-Authenticate": "Bearer", "X-A": "1"}
