"""The routes of the protocol as a Flask blueprint: discovery, the services, feedback.

It also gives the whole application its correlation id, its CORS headers and its one error handler, so that no caller
ever gets an error that is not an OperationOutcome.
Specification: Discovery; Calling a CDS Service; CDS Service Response; Feedback; Trusting CDS Clients; Cross-Origin
Resource Sharing.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic
from uuid import uuid4

import orjson
from flask import Blueprint, Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.sansio.utils import get_content_length

from cds_hooks import errors
from cds_hooks.check_mark import is_marked
from cds_hooks.discovery import Answered, CdsService, ServiceRegistry
from cds_hooks.errors import (
    BadRequest,
    BodyTooLarge,
    CdsHooksError,
    InternalError,
    MethodNotAllowed,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from cds_hooks.feedback import FeedbackRecord, FeedbackSink, read_feedback
from cds_hooks.request import HookRequest, read_envelope, request_for
from cds_hooks.response import render
from cds_hooks.text_forms import UUID

if TYPE_CHECKING:
    from cds_hooks.trust import Caller, Gate

_LOG = logging.getLogger("cds_hooks")
_JSON = "application/json"
_MEDIA_TYPES = (_JSON, "application/fhir+json")
_CORRELATION_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FRAMES = 3
# Of the current request, in its WSGI environment: a look at Flask's g or request takes a microsecond.
_KNOWN_ID, _READING_BODY, _CALL = "cds_hooks.correlation_id", "cds_hooks.reading_body", "cds_hooks.call"
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Correlation-Id",
    "Access-Control-Max-Age": "3600",
}


@dataclass(slots=True)
class CallRecord(Generic[Answered]):
    """What may be written down about one call of a service, and below that what it is derived from.

    `correlation_id` is a uuid, or the pseudonym of what the caller sent and got back.

    `service_id` is the one that discovery has, also where a former id was called. `states` has the declared prefetch
    keys only. `seconds` has the stages read, fetch, answer, revise and send, as far as it came. Nothing of these comes
    from the chart. `patient_id` and `request` do, and so do parts of `answered`, which is what the service returned and
    the client was sent: whoever keeps a record takes out of them what it may hold.
    `is_check` is the mark of check_mark.py, which any caller can set.
    """

    correlation_id: str
    service_id: str
    client: str | None = None
    hook: str | None = None
    status: int = 0
    hook_instance: str | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    patient_id: str | None = field(default=None, repr=False)
    # As it was answered: with what was fetched for it.
    request: HookRequest | None = field(default=None, repr=False)
    answered: Answered | None = field(default=None, repr=False)
    is_check: bool = False


class _Answer(Response):
    """The answer to a call: its length is known, and none of its headers has to be made right for the request."""

    def get_wsgi_headers(self, _environ: Mapping[str, Any]) -> Headers:
        return self.headers


def create_blueprint(
    registry: ServiceRegistry[Answered],
    *,
    on_feedback: FeedbackSink,
    on_call: Callable[[CallRecord[Answered]], None] | None = None,
    complete: Callable[[HookRequest, CdsService[Answered]], HookRequest] | None = None,
    revise: Callable[[HookRequest, Answered], Answered] | None = None,
    allowed_origins: Sequence[str] = ("*",),
    body_limit: int = 10_000_000,
    gate: Gate | None = None,
    base_url: str | None = None,
    pseudonym: Callable[[str], str] = lambda _id: "an id of the caller",
    announce: Callable[[str | None], Mapping[str, Any]] = lambda _client: {},
) -> Blueprint:
    """The blueprint of a server with these CDS services; may be registered under a URL prefix.

    `on_feedback` gets a record of what was reported; `on_call` gets one of each call, also of a refused one.
    `complete` may fill the gaps of a request's prefetch, `revise` may change an answer before it is sent. A browser may
    call from the `allowed_origins`. `body_limit` is in bytes.

    With a `gate`, nothing is answered but the calls that it admits. `base_url` is where clients find the blueprint;
    without it, the scheme and the host of each request are taken for it, which are whatever the caller says they are.
    A correlation id of a caller that could tell of a patient is written down as its `pseudonym`. `announce` says by the
    client's name what discovery has in the extension of each of its services, beside what stands there.
    """
    blueprint = Blueprint("cds_hooks", __name__)

    def base() -> str:
        return base_url or f"{request.root_url.rstrip('/')}{str(request.url_rule).partition('/cds-services')[0]}"

    @blueprint.get("/cds-services", strict_slashes=False)
    def discover() -> Response:
        caller = admitted(gate, base, pseudonym, None, "/cds-services")
        services = caller.client.services if caller else ()
        found = registry.discovery(services or None, announce(_name_of(caller)))
        return Response(orjson.dumps(found), content_type=_JSON)

    @blueprint.post("/cds-services/<service_id>", strict_slashes=False)
    def call(service_id: str) -> Response:
        caller = admitted(gate, base, pseudonym, service_id, f"/cds-services/{service_id}")
        known, environ = correlation_id(), request.environ
        record: CallRecord[Answered] = CallRecord(
            _written(known, pseudonym), registry.current_id(service_id), _name_of(caller)
        )
        environ[_CALL] = record
        record.is_check = is_marked(environ.get("HTTP_USER_AGENT"))
        start = perf_counter()
        envelope = read_envelope(read_body(body_limit), registry.walks(service_id))
        service = registry.find(service_id, str(envelope["hook"]))
        record.service_id, record.hook = service.id, service.hook
        hook_request = request_for(envelope, service, correlation_id=known, client=record.client)
        # It holds more of a long chart than anybody needs from here on.
        del envelope
        _note_request(record, hook_request, caller, pseudonym)
        read = perf_counter()
        record.seconds["read"] = read - start
        needs_chart = service.needs_chart(hook_request)
        if complete is not None and needs_chart:
            hook_request = complete(hook_request, service)
            fetched = perf_counter()
            record.seconds["fetch"], read = fetched - read, fetched
        if needs_chart:
            prefetch = hook_request.prefetch
            record.states = {key: str(prefetch[key].state) for key in service.prefetch if key in prefetch}
        record.request = hook_request
        answered = service.answer(hook_request)
        record.seconds["answer"] = perf_counter() - read
        return _Answer(_body(hook_request, answered, revise, record), content_type=_JSON)

    @blueprint.post("/cds-services/<service_id>/feedback", strict_slashes=False)
    def take_feedback(service_id: str) -> Response:
        paths = (f"/cds-services/{service_id}/feedback", f"/cds-services/{service_id}")
        caller = admitted(gate, base, pseudonym, service_id, *paths)
        current_id = registry.current_id(service_id)
        batch = read_feedback(read_body(body_limit))
        on_feedback(
            FeedbackRecord(
                _written(correlation_id(), pseudonym),
                current_id,
                _name_of(caller),
                batch.feedback,
                refused=len(batch.refused),
                is_check=batch.is_check or is_marked(request.headers.get("User-Agent")),
            )
        )
        return Response(orjson.dumps(batch.answer(correlation_id())), content_type=_JSON)

    @blueprint.after_app_request
    def finish(response: Response) -> Response:
        environ = request.environ
        response.headers.add("X-Correlation-Id", correlation_id())
        _allow_origin(response, environ, allowed_origins)
        if on_call is not None and (record := environ.get(_CALL)) is not None:
            record.status = response.status_code
            on_call(record)
        return response

    @blueprint.app_errorhandler(Exception)
    def refuse(problem: Exception) -> Response:
        error = _as_declared(problem)
        if error.status >= 500 and not isinstance(problem, HTTPException):
            _log(problem, pseudonym)
        return Response(
            orjson.dumps(error.operation_outcome(correlation_id())),
            status=error.status,
            content_type=_JSON,
            headers=error.headers,
        )

    return blueprint


def _note_request(
    record: CallRecord[Any], hook_request: HookRequest, caller: Caller | None, pseudonym: Callable[[str], str]
) -> None:
    """What the record holds of the request itself."""
    known = hook_request.correlation_id
    if any(known in value for value in hook_request.context.values() if isinstance(value, str)):
        record.correlation_id = pseudonym(known)
    record.is_check = record.is_check or is_marked(None, hook_request.extension)
    record.hook_instance, record.patient_id = hook_request.hook_instance, hook_request.patient_id
    record.notes = (*hook_request.notes, *(caller.notes if caller else ()))


def _body(
    request: HookRequest,
    answered: Answered,
    revise: Callable[[HookRequest, Answered], Answered] | None,
    record: CallRecord[Answered],
) -> bytes:
    """The body of a response, with what it is of and what it took in the record."""
    start = perf_counter()
    if revise is not None:
        answered = revise(request, answered)
        revised = perf_counter()
        record.seconds["revise"], start = revised - start, revised
    body = render(answered.response)
    record.answered = answered
    record.seconds["send"] = perf_counter() - start
    return body


def admitted(
    gate: Gate | None, base_url: Callable[[], str], pseudonym: Callable[[str], str], service_id: str | None, *paths: str
) -> Caller | None:
    """Who makes the current call, of one of these paths below the `base_url`; None where everybody may.

    Raises Unauthorized, Forbidden, TooManyRequests, ServiceUnavailable. Specification: Trusting CDS Clients.
    """
    if gate is None:
        return None
    # A server without a gate needs nothing of what checks signatures.
    from cds_hooks.trust import Call  # noqa: PLC0415

    try:
        base = base_url()
        return gate.admit(request.headers.get("Authorization"), Call(tuple(base + path for path in paths), service_id))
    except CdsHooksError as refused:
        # Where, as in "Authorization, aud of the token"; what follows the colon is the caller's to read.
        _LOG.info("%s: refused for %s", _written(correlation_id(), pseudonym), refused.diagnostics.partition(":")[0])
        raise


def _log(problem: Exception, pseudonym: Callable[[str], str]) -> None:
    """A line about what the service is to blame for, or that it is busy."""
    diagnostics = problem.diagnostics if isinstance(problem, CdsHooksError) else "what it said is withheld"
    # To be busy is no fault.
    level = logging.WARNING if isinstance(problem, ServiceUnavailable) else logging.ERROR
    record = call_record()
    written = record.correlation_id if record else _written(correlation_id(), pseudonym)
    _LOG.log(level, "%s: %s (%s) at %s", written, type(problem).__name__, diagnostics, _place(problem))


def _name_of(caller: Caller | None) -> str | None:
    return caller.client.name if caller else None


def correlation_id() -> str:
    """The caller's id for this call where it is usable, else a new one; the same for the whole call."""
    environ = request.environ
    known: str | None = environ.get(_KNOWN_ID)
    if known is None:
        offered = [environ.get(name, "") for name in ("HTTP_X_CORRELATION_ID", "HTTP_X_REQUEST_ID")]
        usable = [*filter(_CORRELATION_ID.fullmatch, offered)]
        known = environ[_KNOWN_ID] = usable[0] if usable else str(uuid4())
    return known


def call_record() -> CallRecord[Any] | None:
    """That of the current request, where it is a call of a service."""
    record: CallRecord[Any] | None = request.environ.get(_CALL)
    return record


def _written(known: str, pseudonym: Callable[[str], str]) -> str:
    """A correlation id as it may be written down: a uuid as it is, and of any other text, which could be the id of a
    patient or a name, its pseudonym."""
    return known if UUID.fullmatch(known) else pseudonym(known)


def read_body(limit: int) -> bytes:
    """The body of the current request; never more than the limit is read, whether its length was announced or not."""
    environ = request.environ
    # Nearly every client sends the bare media type: then there is nothing to be taken apart.
    if environ.get("CONTENT_TYPE") not in _MEDIA_TYPES and (
        request.mimetype not in _MEDIA_TYPES or request.mimetype_params.get("charset", "utf-8").lower() != "utf-8"
    ):
        raise UnsupportedMediaType(
            "Content-Type: expected application/json or application/fhir+json in UTF-8, received another. "
            "Send the body as JSON and say so."
        )
    if environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise UnsupportedMediaType("Content-Encoding: expected none, received one. Send the body uncompressed.")
    length = get_content_length(environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING"))
    if length is None and "wsgi.input_terminated" not in environ:
        length = 0
    too_large = BodyTooLarge(f"body: expected at most {limit} bytes, received more. Send less prefetch data.")
    if length is not None and length > limit:
        raise too_large
    # How a broken body shows depends on the WSGI server, which has exceptions of its own: the error handler looks here.
    environ[_READING_BODY] = True
    # Read by hand: werkzeug cuts a chunked body off at the limit without a word, and copies in small steps.
    body: bytes = environ["wsgi.input"].read(limit + 1 if length is None else length)
    environ[_READING_BODY] = False
    if len(body) > limit:
        raise too_large
    if length is not None and len(body) < length:
        raise BadRequest("body: expected as many bytes as Content-Length says, received fewer. Send it again.")
    return body


def _allow_origin(response: Response, environ: Mapping[str, Any], allowed: Sequence[str]) -> None:
    headers = response.headers
    if "*" in allowed:
        headers.add("Access-Control-Allow-Origin", "*")
    else:
        headers.add("Vary", "Origin")
        if (origin := environ.get("HTTP_ORIGIN")) in allowed and origin:
            headers["Access-Control-Allow-Origin"] = origin
    headers.add("Access-Control-Expose-Headers", "X-Correlation-Id")
    if environ["REQUEST_METHOD"] == "OPTIONS":
        headers.update(_PREFLIGHT)


_BY_STATUS: Mapping[int, type[CdsHooksError]] = {kind.status: kind for kind in (BodyTooLarge, UnsupportedMediaType)}


def _as_declared(problem: Exception) -> CdsHooksError:
    """Any exception as one of the declared errors."""
    if isinstance(problem, CdsHooksError):
        return problem
    if request.environ.get(_READING_BODY):
        return BadRequest("body: expected one that ends properly, received a broken one. Send it again.")
    if not isinstance(problem, HTTPException):
        return InternalError("The fault is on the side of the service; its log has it under this correlation id.")
    status = problem.code or 500
    if status == 405:
        allow = ", ".join(sorted(getattr(problem, "valid_methods", None) or ()))
        return MethodNotAllowed(f"Expected one of {allow}, received another method.", allow=allow)
    if status == 404:
        return errors.UnknownService("There is nothing at this path; discovery is at /cds-services.")
    kind = _BY_STATUS.get(status, BadRequest if status < 500 else InternalError)
    error = kind(f"The HTTP request was refused: {problem.name}.")
    error.status = status
    return error


def _place(problem: Exception) -> str:
    """The innermost frames of an exception. Its message is left out: it may hold values from the request."""
    frames = traceback.extract_tb(problem.__traceback__)[-_FRAMES:]
    return " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
