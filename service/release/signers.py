"""Who may sign, in which role, with which key: a file of the site (SITBONE_SIGNERS), never part of the knowledge.

A folder of knowledge brings signatures, and no trust: what is not signed by a key of this file counts for nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from service.knowledge_model.forms import reasons
from service.release.minisign import PublicKey
from service.settings import SettingsError

# A registered clinician says that what a recommendation says is right; governance that who signed was entitled, and
# that the tests, the proof and the hazard log of this release were seen.
CLINICAL, GOVERNANCE = "clinical", "governance"
ROLES = (CLINICAL, GOVERNANCE)


@dataclass(frozen=True, slots=True)
class Signer:
    """A person with one key. From `valid_from` to `valid_until`, both included, a signature of that day counts."""

    name: str
    roles: tuple[str, ...]
    key: PublicKey
    valid_from: date
    valid_until: date

    def is_valid_on(self, day: date) -> bool:
        """Whether what was signed on that day counts."""
        return self.valid_from <= day <= self.valid_until


Signers = tuple[Signer, ...]


class _Date(fields.Field[date]):
    def _deserialize(self, value: Any, *_: Any, **__: Any) -> date:
        # A time of day is a date to Python.
        if type(value) is not date:
            raise ValidationError("is a date, as in 2026-12-01")
        return value


class _Key(fields.Field[PublicKey]):
    def _deserialize(self, value: Any, *_: Any, **__: Any) -> PublicKey:
        try:
            return PublicKey.read(value)
        except (AttributeError, ValueError):
            raise ValidationError("is the second line of a minisign.pub, which begins with RW") from None


class _SignerTable(Schema):
    name = fields.String(required=True, validate=validate.Length(min=1))
    roles = fields.List(fields.String(validate=validate.OneOf(ROLES)), required=True, validate=validate.Length(min=1))
    public_key = _Key(required=True)
    valid_from = _Date(required=True)
    valid_until = _Date(required=True)

    @validates_schema
    def begins_before_it_ends(self, data: Mapping[str, Any], **_: Any) -> None:
        if data["valid_until"] < data["valid_from"]:
            raise ValidationError("comes before valid_from", "valid_until")


class _SignersFile(Schema):
    signers = fields.List(fields.Nested(_SignerTable), required=True, validate=validate.Length(min=1))


def read_signers(file: Path) -> Signers:
    """The signers in a TOML file, a ``[[signers]]`` table each. Raises SettingsError with file, place and reason."""
    try:
        tables = _SignersFile().load(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file} (SITBONE_SIGNERS) cannot be read as TOML: {error}.") from error
    except ValidationError as error:
        place, reason = next(reasons(error.messages))
        raise SettingsError(f"{file} (SITBONE_SIGNERS): {place}: {reason}") from error
    signers = tuple(
        Signer(key=table.pop("public_key"), roles=tuple(table.pop("roles")), **table) for table in tables["signers"]
    )
    owners: dict[bytes, str] = {}
    for signer in signers:
        if owners.setdefault(signer.key.id, signer.name) != signer.name:
            raise SettingsError(f"{file} (SITBONE_SIGNERS): {signer.name} has the key of {owners[signer.key.id]}.")
    return signers
