"""How the page of the second opinion is registered at a client's authorization server: `[clients.<name>.app]`.

Specification: SMART App Launch 2.2, Register App with EHR; Client Authentication.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jwt import PyJWK, PyJWTError
from marshmallow import Schema, ValidationError, fields, validates_schema
from marshmallow.validate import ContainsOnly, Length, OneOf, Regexp

AUTHENTICATIONS = ("private_key_jwt", "client_secret_basic", "public")
# What answers may be saved as, the best first; a note is text, which no hook reads.
FORM, SINGLE, NOTE = SAVED_AS = ("QuestionnaireResponse", "Observation", "DocumentReference")
# What may be drafted.
ORDER = "ServiceRequest"
WRITABLE = (*SAVED_AS, ORDER)
# What a server of SMART App Launch has to understand of the algorithms of a client assertion.
_ASSERTION_ALGORITHMS = ("ES384", "RS384")
_READ = (
    "patient/Patient.r",
    *(f"patient/{kind}.rs" for kind in ("Condition", "Observation", "Encounter", "QuestionnaireResponse")),
    *(f"patient/{kind}.rs" for kind in ("MedicationRequest", "MedicationStatement", "AllergyIntolerance")),
    *(f"patient/{kind}.rs" for kind in ("ServiceRequest", "DiagnosticReport")),
)
_LINE = Regexp(r"[!-~]+\Z")
_SECRET = re.compile(r"[!-~]+")
_ORIGIN = re.compile(r"https://[a-z0-9.-]+(:[0-9]{1,5})?")


class Reason(str):
    """Why a key is wrong, in words that whoever wrote the file is to read."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SmartApp:
    """iss: the FHIR base URL that a launch names, without a last slash; keys: private JWKs, of which the first signs.

    `auth_hosts` are the hosts that endpoints of its authorization server may have; `frame_origins` the origins that may
    frame the page; `scopes` what is asked for; `write` what answers may be saved as, and whether orders may be drafted.
    """

    iss: str
    client_id: str
    auth: str
    frame_origins: tuple[str, ...]
    auth_hosts: frozenset[str]
    scopes: tuple[str, ...]
    write: tuple[str, ...]
    keys: tuple[Mapping[str, Any], ...] = field(repr=False)
    secret: str = field(repr=False)


def read_smart_app(members: Any, folder: Path) -> SmartApp:
    """The app entry of a client; paths are from `folder`. Raises ValidationError, with the key that is wrong."""
    entry = APP_SCHEMA.load(members)
    write = tuple(kind for kind in WRITABLE if kind in entry["write"])
    scopes = entry["scopes"] or ["launch", "openid", "fhirUser", "online_access", *_READ, *_creating(write)]
    keys: tuple[Mapping[str, Any], ...] = ()
    secret = ""
    if entry["auth"] == AUTHENTICATIONS[0]:
        keys = _private_keys(_text_of(folder, entry, "key_file"))
    elif entry["auth"] == AUTHENTICATIONS[1]:
        secret = _text_of(folder, entry, "secret_file").strip()
        if not _SECRET.fullmatch(secret):
            raise _wrong("secret_file", "must hold one line of printable ASCII, the secret")
    return SmartApp(
        iss=entry["iss"].removesuffix("/"),
        client_id=entry["client_id"],
        auth=entry["auth"],
        frame_origins=tuple(entry["frame_origins"]),
        auth_hosts=frozenset(entry["auth_hosts"] or [urlsplit(entry["iss"]).hostname or ""]),
        scopes=tuple(scopes),
        write=write,
        keys=keys,
        secret=secret,
    )


def _wrong(key: str, reason: str) -> ValidationError:
    return ValidationError({key: [Reason(reason)]})


def _creating(write: Sequence[str]) -> list[str]:
    # Of what is written, the notes alone are not read anyway: before another attempt they are looked for.
    return [*(["patient/DocumentReference.rs"] if NOTE in write else []), *(f"patient/{kind}.c" for kind in write)]


def _text_of(folder: Path, entry: Mapping[str, Any], key: str) -> str:
    try:
        return Path(folder, entry[key]).read_text("utf-8")
    except OSError as problem:
        raise _wrong(key, f"cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise _wrong(key, "is not text") from None


def _private_keys(text: str) -> tuple[Mapping[str, Any], ...]:
    """The private JWKs of a file that holds one, or a set of them while one takes over from another."""
    try:
        members = json.loads(text)
    except ValueError:
        raise _wrong("key_file", "is not JSON") from None
    found = members.get("keys", [members]) if isinstance(members, dict) else []
    if not isinstance(found, list) or not found or not all(map(_is_private_key, found)):
        expected = f"a private JWK, or a JWK Set of such, each with a kid and for {' or '.join(_ASSERTION_ALGORITHMS)}"
        raise _wrong("key_file", f"must hold {expected}")
    return tuple(found)


def _is_private_key(jwk: Any) -> bool:
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kid"), str) or "d" not in jwk:
        return False
    try:
        return jwk.get("alg") in _ASSERTION_ALGORITHMS and PyJWK(jwk).algorithm_name in _ASSERTION_ALGORITHMS
    except PyJWTError:
        return False


def _texts(expected: str, validate: Any) -> fields.List[str]:
    return fields.List(fields.String(validate=validate), load_default=list, metadata={"expected": expected})


def _file(of: str) -> fields.String:
    return fields.String(
        load_default=None,
        validate=Length(min=1),
        # Who takes it for the place of the secret itself must not find that in a log.
        metadata={"expected": f"the path of a file with {of}, from the folder of this file", "secret": True},
    )


class _SmartAppSchema(Schema):
    iss = fields.String(
        required=True, validate=_LINE, metadata={"expected": "the FHIR base URL that a launch names as iss"}
    )
    client_id = fields.String(
        required=True, validate=_LINE, metadata={"expected": "the client id of the app's registration"}
    )
    auth = fields.String(
        load_default=AUTHENTICATIONS[0],
        validate=OneOf(AUTHENTICATIONS),
        metadata={"expected": f"one of {', '.join(AUTHENTICATIONS)}"},
    )
    key_file = _file("a private JWK")
    secret_file = _file("the client secret")
    frame_origins = _texts("a list of https origins, as in https://ehr.example.org", Regexp(_ORIGIN.pattern + r"\Z"))
    auth_hosts = _texts("a list of host names in small letters", Regexp(r"[a-z0-9._:-]+\Z"))
    scopes = _texts("a list of scopes", _LINE)
    write = fields.List(
        fields.String(),
        load_default=list,
        validate=ContainsOnly(WRITABLE),
        metadata={"expected": f"a list with some of {', '.join(WRITABLE)}"},
    )

    @validates_schema
    def check_relations(self, entry: Mapping[str, Any], **_: object) -> None:
        """Each way to authenticate has its file, and no other."""
        needed = dict(zip(AUTHENTICATIONS, ("key_file", "secret_file", None), strict=True))[entry["auth"]]
        for key in ("key_file", "secret_file"):
            if key == needed and not entry[key]:
                raise ValidationError(Reason(f"is missing, and auth = {entry['auth']} needs it"), key)
            if key != needed and entry[key]:
                raise ValidationError(Reason(f"is of no use with auth = {entry['auth']}"), key)


APP_SCHEMA = _SmartAppSchema()
