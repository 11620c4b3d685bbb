"""The signatures of a folder, and the revocations: which count, and why the others do not.

`signatures/NAME.json` and `revocations/NAME.json` each have a `NAME.json.minisig` beside them. What is signed are the
bytes of the file; who may sign is a file of the site (signers.py). Both folders only ever grow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from marshmallow import Schema, ValidationError, fields, validate

from service.knowledge_model.forms import reasons
from service.knowledge_model.model import KnowledgeError
from service.release.minisign import NotVerifiedError, key_id_of, verify
from service.release.signers import CLINICAL, GOVERNANCE, ROLES, Signer, Signers

SIGNATURES, REVOCATIONS = "signatures", "revocations"
SUFFIX = ".minisig"
_DIGEST = validate.Regexp(r"sha256:[0-9a-f]{64}\Z", error="is no digest, as in sha256:…")


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that verifies. `covers`: recommendation -> digest, of a clinical one; `release` and `behaviour` of a
    governance one. It holds from `effective_from`, and is to be read again by `review_by`."""

    name: str
    role: str
    signer: Signer
    registration: str
    organisation: str
    signed: date
    effective_from: date
    review_by: date
    statement: str
    covers: Mapping[str, str] = field(default_factory=dict)
    release: str = ""
    behaviour: str = ""

    @property
    def in_words(self) -> str:
        """Who signed when, as a card says it."""
        who = f"{self.signer.name} ({self.organisation})" if self.organisation else self.signer.name
        return f"{who} {self.signed.isoformat()}"


@dataclass(frozen=True, slots=True)
class Revocation:
    """What is taken back: a signature by its name or a key, whatever it has signed; from a day on a recommendation at
    a digest."""

    name: str
    signer: Signer
    why: str
    since: date
    signature: str = ""
    recommendation: str = ""
    digest: str = ""
    key: str = ""

    def takes_back(self, signature: Signature) -> bool:
        """Whether it is about a whole signature. Of a key that is whatever it has signed: who has it can write any day
        into a file, and into the comment that minisign signs.
        """
        return self.key == signature.signer.key.text if self.key else self.signature == signature.name


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that does not count, and why."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Signed:
    """All that a folder holds of signatures. `refused` are the files that do not count."""

    signatures: tuple[Signature, ...] = ()
    revocations: tuple[Revocation, ...] = ()
    refused: tuple[Refusal, ...] = ()


class _SignatureFile(Schema):
    role = fields.String(required=True, validate=validate.OneOf(ROLES))
    signer = fields.String(required=True)
    registration = fields.String(load_default="")
    organisation = fields.String(load_default="")
    knowledge = fields.String(required=True)
    signed = fields.Date(required=True)
    effective_from = fields.Date(data_key="effectiveFrom", required=True)
    review_by = fields.Date(data_key="reviewBy", required=True)
    statement = fields.String(required=True, validate=validate.Length(min=1))


class _ClinicalFile(_SignatureFile):
    covers = fields.Dict(
        keys=fields.String(), values=fields.String(validate=_DIGEST), required=True, validate=validate.Length(min=1)
    )


class _GovernanceFile(_SignatureFile):
    release = fields.String(required=True, validate=_DIGEST)
    behaviour = fields.String(required=True, validate=_DIGEST)


class _RevokesTable(Schema):
    signature = fields.String(load_default="")
    recommendation = fields.String(load_default="")
    digest = fields.String(load_default="")
    key = fields.String(load_default="")


class _RevocationFile(Schema):
    signer = fields.String(required=True)
    knowledge = fields.String(required=True)
    revokes = fields.Nested(_RevokesTable, required=True)
    why = fields.String(required=True, validate=validate.Length(min=1))
    since = fields.Date(data_key="from", required=True)


def read_signed(folder: Path, knowledge: str, signers: Signers) -> Signed:
    """What `folder` holds of signatures of the knowledge of that id, by these signers.

    A signature that does not count is among those refused. Raises KnowledgeError for a revocation that does not:
    whatever it takes back might stay in force.
    """
    reader = SignedReader(knowledge, signers)
    revocations, broken = reader.all(folder / REVOCATIONS, reader.revocation)
    if broken:
        raise KnowledgeError(
            broken[0].file, "revocation", f"{broken[0].reason}; what it takes back might stay in force"
        )
    signatures, refused = reader.all(folder / SIGNATURES, reader.signature)
    counted, taken_back = [], []
    for signature in signatures:
        by = next((each for each in revocations if each.takes_back(signature)), None)
        if by:
            taken_back.append(Refusal(_place(SIGNATURES, signature.name), f"is revoked by {by.name}: {by.why}"))
        else:
            counted.append(signature)
    return Signed(tuple(counted), tuple(revocations), (*refused, *taken_back))


def not_revoked(signers: Signers, folder: Path, knowledge: str) -> Signers:
    """The signers whose key no revocation of this folder takes back. Raises KnowledgeError as read_signed does."""
    taken_back = {each.key for each in read_signed(folder, knowledge, signers).revocations}
    return tuple(each for each in signers if each.key.text not in taken_back)


def _place(folder: str, name: str) -> str:
    return f"{folder}/{name}.json"


_Read = TypeVar("_Read")


class RefusedError(Exception):
    """A file does not count. The text says why, without the name of the file and without a full stop."""


@dataclass(frozen=True, slots=True)
class SignedFile:
    """A file that one of the signers has signed who it names: what it says, and the bytes of both files."""

    members: dict[str, Any]
    signer: Signer
    content: bytes
    signature: bytes

    def must_be_by(self, role: str) -> None:
        """Raises RefusedError where its signer may not sign as this."""
        if role not in self.signer.roles:
            raise RefusedError(
                f"{self.signer.name} may not sign as {role}: the signers say {', '.join(self.signer.roles)}"
            )


class SignedReader:
    """Reads signed files about the knowledge of this id, each by the key of the one of the signers that it names."""

    def __init__(self, knowledge: str, signers: Signers) -> None:
        self._knowledge, self._signers = knowledge, signers

    def all(self, folder: Path, read: Callable[[Path], _Read]) -> tuple[list[_Read], list[Refusal]]:
        """What counts of a folder, and what does not."""
        found, refused = [], []
        for path in sorted(folder.glob("*.json")):
            try:
                found.append(read(path))
            except RefusedError as refusal:
                refused.append(Refusal(f"{folder.name}/{path.name}", str(refusal)))
        alone = (path for path in sorted(folder.glob(f"*.json{SUFFIX}")) if not path.with_suffix("").exists())
        return found, refused + [Refusal(f"{folder.name}/{path.name}", "has no file that it signs") for path in alone]

    def file(self, path: Path, schema_of: Callable[[Mapping[str, Any]], type[Schema]]) -> SignedFile:
        """What a file says in the form that its members ask for, with NAME.minisig beside it. Raises RefusedError."""
        content = _content(path)
        members = _members(content)
        loaded = self._load(schema_of(members), members)
        signer, signature = self._verified(path, content, loaded.pop("signer"))
        return SignedFile(loaded, signer, content, signature)

    def signature(self, path: Path) -> Signature:
        forms = {CLINICAL: _ClinicalFile, GOVERNANCE: _GovernanceFile}
        file = self.file(path, lambda members: forms.get(str(members.get("role")), _SignatureFile))
        loaded, signer, day = file.members, file.signer, file.members["signed"]
        if not signer.is_valid_on(day):
            raise RefusedError(
                f"was signed on {day}, and the key of {signer.name} counts from {signer.valid_from} to "
                f"{signer.valid_until}"
            )
        file.must_be_by(loaded["role"])
        if loaded["review_by"] < loaded["effective_from"]:
            raise RefusedError("reviewBy comes before effectiveFrom")
        return Signature(name=path.stem, signer=signer, **loaded)

    def revocation(self, path: Path) -> Revocation:
        file = self.file(path, lambda _members: _RevocationFile)
        loaded = file.members
        revokes = loaded.pop("revokes")
        about = {name for name, value in revokes.items() if value}
        if about not in ({"signature"}, {"recommendation", "digest"}, {"key"}):
            raise RefusedError("revokes names a signature, a key, or a recommendation with its digest")
        # Whoever was ever entitled may take back: that only ever withdraws something.
        return Revocation(name=path.stem, signer=file.signer, **loaded, **revokes)

    def _load(self, schema: type[Schema], members: Mapping[str, Any]) -> dict[str, Any]:
        try:
            loaded: dict[str, Any] = schema().load(members)
        except ValidationError as error:
            place, reason = next(reasons(error.messages))
            raise RefusedError(f"{place}: {reason}") from None
        if loaded.pop("knowledge") != self._knowledge:
            raise RefusedError(f"is about other knowledge than {self._knowledge}")
        return loaded

    def _verified(self, path: Path, content: bytes, name: str) -> tuple[Signer, bytes]:
        """The signer by whose key it is signed, and who is the one that it names; and the signature."""
        try:
            text = path.with_name(path.name + SUFFIX).read_bytes()
        except OSError:
            raise RefusedError(f"has no {path.name}{SUFFIX} beside it") from None
        try:
            key_id = key_id_of(text)
            signer = next((each for each in self._signers if each.key.id == key_id), None)
            if signer is None:
                raise RefusedError("is signed by a key that is not among the signers")
            verify(content, text, signer.key)
        except NotVerifiedError as error:
            raise RefusedError(f"the signature {error}") from None
        if signer.name != name:
            raise RefusedError(f"names {name} and is signed by the key of {signer.name}")
        return signer, text


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RefusedError(f"cannot be read: {error.strerror}") from None


def _members(content: bytes) -> dict[str, Any]:
    try:
        members = json.loads(content, object_pairs_hook=_once)
    except ValueError as error:
        raise RefusedError(f"is no JSON: {error}") from None
    if not isinstance(members, dict):
        raise RefusedError("is no JSON object")
    return members


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a member that comes twice would be read in two ways."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member comes twice")
    return members
