"""One call of a CDS service, checked: envelope, context and prefetch.

No resource is decoded here beyond what the service reads of each.
Specification: Calling a CDS Service; FHIR Resource Access.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from cds_hooks.body import Walks
from cds_hooks.errors import BadRequest, HookMismatch
from cds_hooks.hooks import lacking_members, read_context
from cds_hooks.json_text import LONGEST_MEMBER, UNREADABLE, Member, Scalar, decode, read_members
from cds_hooks.prefetch import PrefetchValue, read_prefetch, tokens_of
from cds_hooks.schemas import load, refusal
from cds_hooks.text_forms import UUID

if TYPE_CHECKING:
    from cds_hooks.discovery import CdsService

_HTTP_URL = re.compile(r"(?i:https?)://[^\s/?#]\S*")
_DIGITS = re.compile(r"[0-9]{1,15}")
_MOST_SECONDS = 10**15
_HOOK_NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)
# Members of requests before release 1.0. Other names are the caller's own and are not repeated anywhere.
_LEGACY_MEMBERS = ("user", "patient", "encounter", "redirect", "oauth", "preFetchData", "activity", "activityInstance")


def _seconds(value: object) -> int:
    """A number of seconds, also from a client that writes numbers as text."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST_SECONDS:
        return int(value)
    raise ValidationError("no number of seconds")


_AUTHORIZATION = Schema.from_dict(
    {
        "access_token": fields.String(
            required=True, validate=validate.Length(min=1), metadata={"expected": "a string, the access token"}
        ),
        "token_type": fields.String(allow_none=True),
        "expires_in": fields.Function(
            deserialize=_seconds,
            allow_none=True,
            metadata={
                "expected": "a number of seconds",
                "description": "In seconds.",
                "type": ["number", "string"],
                "exclusiveMinimum": -_MOST_SECONDS,
                "exclusiveMaximum": _MOST_SECONDS,
                "pattern": f"^{_DIGITS.pattern}$",
            },
        ),
        "scope": fields.String(allow_none=True),
        "subject": fields.String(allow_none=True),
        "patient": fields.String(allow_none=True),
    },
    name="FhirAuthorization",
)(unknown=EXCLUDE)
ENVELOPE = Schema.from_dict(
    {
        "hook": fields.String(
            required=True, validate=validate.Length(min=1), metadata={"expected": "a string, the name of the hook"}
        ),
        "hookInstance": fields.String(
            required=True,
            validate=validate.Length(min=1, max=256),
            metadata={
                "expected": "a string of 1 to 256 characters, a UUID",
                "description": "A UUID; another string is accepted and noted in the log.",
            },
        ),
        "context": fields.Dict(required=True),
        "fhirServer": fields.String(allow_none=True),
        "fhirAuthorization": fields.Nested(_AUTHORIZATION, allow_none=True),
        "prefetch": fields.Dict(
            allow_none=True,
            metadata={
                "expected": "an object with one member per prefetch key",
                "description": (
                    "For each key a resource, a Bundle, or null for no data, which counts as empty. Discovery has the "
                    "templates. An OperationOutcome or anything else that is no resource counts as failed, which is "
                    "not the same."
                ),
            },
        ),
    },
    name="HookRequest",
)(unknown=EXCLUDE)


@dataclass(frozen=True, slots=True)
class FhirAuthorization:
    """The bearer token for the CDS client's FHIR server; `expires_in` is in seconds. The token is in no repr."""

    access_token: str = field(repr=False)
    token_type: str = "Bearer"  # noqa: S105 - the name of a scheme
    expires_in: int | None = None
    scope: str = ""
    subject: str | None = None
    patient: str | None = None


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A call that may be answered. `notes` name what was odd about the request, without any of its values."""

    hook: str
    hook_instance: str
    context: Mapping[str, Any] = field(repr=False)
    fhir_server: str | None
    fhir_authorization: FhirAuthorization | None
    prefetch: Mapping[str, PrefetchValue] = field(repr=False)
    extension: Mapping[str, Any] = field(repr=False)
    notes: tuple[str, ...]
    correlation_id: str
    client: str | None = None

    @property
    def patient_id(self) -> str:
        """The bare FHIR id of the patient in context; every hook of the library requires one."""
        patient = self.context.get("patientId")
        if not isinstance(patient, str):
            raise BadRequest(
                "context.patientId: expected a string, the id of the Patient, received nothing. "
                "This service is about one patient: send this member.",
                expression="context.patientId",
                code="required",
            )
        return patient

    @property
    def encounter_id(self) -> str:
        """The bare FHIR id of the encounter in context; empty where the hook has none or it was not sent."""
        encounter = self.context.get("encounterId")
        return encounter if isinstance(encounter, str) else ""


def read_envelope(body: bytes, walks: Walks | None = None) -> Mapping[str, Member]:
    """The members of a request whose envelope is sound, each of their objects still raw; with the `walks` of a service,
    what it reads of each resource is read ahead where the prefetch is an ordinary one. Raises BadRequest.
    """
    try:
        members = (walks and walks.read_ahead(body)) or read_members(body)
    except ValueError as problem:
        raise BadRequest(f"body: {problem}") from None
    authorization = members.get("fhirAuthorization")
    checked: dict[str, Any] = members
    if isinstance(authorization, dict):
        checked = {**members, "fhirAuthorization": _decoded(authorization, "fhirAuthorization")}
    try:
        loaded: dict[str, Member] = load(ENVELOPE, checked)
    except ValidationError as problem:
        raise refusal(problem, ENVELOPE, checked) from None
    return {**members, **loaded}


def read_request(body: bytes, service: CdsService[Any], *, correlation_id: str) -> HookRequest:
    """The checked request that `body` holds for `service`. Raises BadRequest, HookMismatch."""
    return request_for(read_envelope(body, service.walks), service, correlation_id=correlation_id)


def request_for(
    envelope: Mapping[str, Member], service: CdsService[Any], *, correlation_id: str, client: str | None = None
) -> HookRequest:
    """The second half of `read_request`, for a caller who had to see the hook before knowing the service."""
    hook: Any = envelope["hook"]
    if hook != service.hook:
        raise mismatch(hook, service.id, (service.hook,))
    members: Any = envelope["context"]
    context, context_notes = read_context(hook, members)
    server: Any = envelope.get("fhirServer")
    if server is not None and not _HTTP_URL.fullmatch(server):
        server = None
    authorization: Any = envelope.get("fhirAuthorization")
    hook_instance: Any = envelope["hookInstance"]
    prefetch: Any = envelope.get("prefetch")
    extension = envelope.get("extension")
    return HookRequest(
        hook=hook,
        hook_instance=hook_instance,
        context=context,
        fhir_server=server.rstrip("/") if server else None,
        fhir_authorization=_authorization(authorization),
        prefetch=read_prefetch(prefetch, _asked_for(service.prefetch, hook, context)),
        extension=_decoded(extension, "extension") if isinstance(extension, dict) else {},
        notes=(*_notes(envelope), *context_notes),
        correlation_id=correlation_id,
        client=client,
    )


def _asked_for(templates: Mapping[str, str], hook: str, context: Mapping[str, Any]) -> list[str]:
    """The keys that a client can be expected to fill: an optional member of the context may not be there."""
    lacking = lacking_members(hook, context)
    if not lacking:
        return list(templates)
    return [key for key, template in templates.items() if tokens_of(template).isdisjoint(lacking)]


def mismatch(hook: str, service_id: str, hooks: tuple[str, ...]) -> HookMismatch:
    """The refusal of a call whose hook is not one of the `hooks` of the service that was called."""
    received = hook if _HOOK_NAME.fullmatch(hook) else "a string that is no hook name"
    return HookMismatch(
        f"hook: the CDS service {service_id} answers {' and '.join(hooks)}, received {received}. "
        "Call the service that is published for this hook.",
        expression="hook",
    )


def _authorization(members: Mapping[str, Any] | None) -> FhirAuthorization | None:
    if members is None:
        return None
    return FhirAuthorization(**{name: value for name, value in members.items() if value is not None})


def _decoded(members: Mapping[str, msgspec.Raw | Scalar], at: str) -> dict[str, Any]:
    try:
        return {name: decode(raw) for name, raw in members.items()}
    except UNREADABLE:
        raise BadRequest(
            f"{at}: expected values of at most {LONGEST_MEMBER} bytes each that can be read, received others.",
            expression=at,
        ) from None


def _notes(envelope: Mapping[str, Any]) -> list[str]:
    server, authorization = envelope.get("fhirServer"), envelope.get("fhirAuthorization")
    notes = [
        f"{name} is null"
        for name in ("fhirServer", "fhirAuthorization", "prefetch", "extension")
        if envelope.get(name, "") is None
    ]
    if not UUID.fullmatch(envelope["hookInstance"]):
        notes.append("hookInstance is not a UUID")
    if server is not None:
        if not _HTTP_URL.fullmatch(server):
            notes.append("fhirServer is not an absolute http URL and is ignored")
        elif server[:5].lower() != "https":
            notes.append("fhirServer does not use https")
    if authorization is not None:
        lacking = [name for name in ("token_type", "expires_in", "scope", "subject") if name not in authorization]
        if lacking:
            notes.append(f"fhirAuthorization lacks {', '.join(lacking)}")
        if server is None:
            notes.append("fhirAuthorization came without fhirServer")
    if "extension" in envelope and not isinstance(envelope["extension"], dict | None):
        notes.append("extension is not an object and is ignored")
    notes += [
        f"{name} is a member from before release 1.0 and is ignored" for name in _LEGACY_MEMBERS if name in envelope
    ]
    return notes
