"""The hazard log: what may go wrong for a patient, how grave and how likely that is, and what is done about it.

The makers keep one with the knowledge (DCB0129, for who manufactures health IT); a site scores it anew in a file of its
own, and adds its own hazards (DCB0160, for who puts it to use). A site does not go live on a risk that is too high, nor
on an entry that was edited after somebody had accepted it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from service.knowledge_model.forms import reasons
from service.knowledge_model.model import PACKAGED, KnowledgeError
from service.knowledge_model.properties import read_toml
from service.release.canonical_json import digest_of
from service.settings import SettingsError

FILE = "hazards.toml"

# The least first.
SEVERITIES = ("minor", "significant", "considerable", "major", "catastrophic")
LIKELIHOODS = ("very-low", "low", "medium", "high", "very-high")
# A row for each likelihood, a column for each severity: NHS England, UK Core Hazard Log, "Risk Matrix".
MATRIX = (
    (1, 1, 2, 2, 3),
    (1, 2, 2, 3, 4),
    (2, 2, 3, 3, 4),
    (2, 3, 3, 4, 5),
    (3, 4, 4, 5, 5),
)
# What a score is borne with: up to here as it is, up to the next with a written reason, beyond not at all.
ACCEPTABLE, WITH_A_REASON = 2, 3
OWNERS = ("developer", "author", "site")
OPEN, ACCEPTED = "open", "accepted"
STATUSES = (OPEN, "controlled", ACCEPTED, "transferred")
CONTROLS = ("design", "training", "process")
# What somebody says of an entry is no part of what is accepted.
_NOT_CONTENT = frozenset({"status", "acceptance"})


def score(severity: str, likelihood: str) -> int:
    """The risk, from 1 (least) to 5."""
    return MATRIX[LIKELIHOODS.index(likelihood)][SEVERITIES.index(severity)]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Who bears a risk that is left; `digest` is that of the entry as it was read."""

    by: str
    role: str
    date: date
    digest: str


@dataclass(frozen=True, slots=True)
class Hazard:
    """One entry. controls: by their type; tests: those that are tests, by name; digest: of all that is accepted with
    it; stated: the status in the file; site: whether the site has scored or added it.
    """

    id: str
    hazard: str
    cause: str
    effect: str
    harm: str
    severity: str
    likelihood: str
    residual_severity: str
    residual_likelihood: str
    reason: str
    owner: str
    controls: Mapping[str, Sequence[str]]
    tests: Sequence[str]
    remains: str
    digest: str
    stated: str
    acceptance: Acceptance | None
    site: bool

    @property
    def initial(self) -> int:
        """The score without the controls."""
        return score(self.severity, self.likelihood)

    @property
    def residual(self) -> int:
        """The score with them."""
        return score(self.residual_severity, self.residual_likelihood)

    @property
    def outdated(self) -> bool:
        """Whether it was edited after somebody had accepted it."""
        return self.acceptance is not None and self.acceptance.digest != self.digest

    @property
    def status(self) -> str:
        """What is stated, but an entry that was edited after it was accepted is open again."""
        return OPEN if self.outdated else self.stated

    def keeps_from_going_live(self) -> str:
        """Why a site does not go live with it, as a sentence; empty where nothing does."""
        if self.residual > WITH_A_REASON:
            return f"{self.id}, {self.hazard}: a residual risk of {self.residual}, where {WITH_A_REASON} is the most."
        if self.outdated:
            return f"{self.id}, {self.hazard}: edited after it was accepted; its digest is {self.digest} now."
        return ""


def described(hazard: Hazard) -> Iterator[tuple[str, str]]:
    """What an entry says, label by label; its tests and what is proved of it are for who can look them up."""
    yield "cause", hazard.cause
    yield "effect", hazard.effect
    yield "harm", hazard.harm
    yield "without controls", f"{hazard.severity}, {hazard.likelihood}: {hazard.initial}"
    yield "with them", f"{hazard.residual_severity}, {hazard.residual_likelihood}: {hazard.residual}"
    yield from (("why it is borne", words) for words in [hazard.reason] if words)
    yield "owner", hazard.owner
    accepted = hazard.acceptance
    yield (
        "status",
        hazard.status
        if hazard.status != ACCEPTED or not accepted
        else (f"accepted by {accepted.by} ({accepted.role}), {accepted.date}"),
    )
    yield from (("what remains", words) for words in [hazard.remains] if words)
    yield from ((f"control ({kind})", words) for kind in CONTROLS for words in hazard.controls[kind])


def matrix_rows() -> Iterator[tuple[str, ...]]:
    """The matrix as a table, the most likely first."""
    for likelihood, scores in reversed(tuple(zip(LIKELIHOODS, MATRIX, strict=True))):
        yield likelihood, *map(str, scores)


def read_hazards(folder: Path | None, site: Path | None = None) -> tuple[Hazard, ...]:
    """The hazard log of a folder of knowledge (the packaged one when None), with what the file of a site says of it;
    empty where neither has any.

    Raises KnowledgeError.
    """
    path = (folder or PACKAGED) / FILE
    entries: dict[str, dict[str, Any]] = read_toml(path, FILE) if path.exists() else {}
    for id_, said in read_toml(site, str(site)).items() if site else ():
        entries[id_] = {**entries.get(id_, {}), **said, "site": True}
    # A site scores what the makers wrote, and takes nothing of it away.
    return tuple(_hazard(id_, entry, str(site) if "site" in entry else FILE) for id_, entry in entries.items())


def require_acceptable(hazards: Sequence[Hazard]) -> None:
    """See that a site can go live with these. Raises SettingsError, which names the first that it cannot."""
    for hazard in hazards:
        if why := hazard.keeps_from_going_live():
            raise SettingsError(f"The hazard log lets no live service start: {why} SITBONE_MODE=silent starts one.")


def _text(**more: Any) -> fields.String:
    return fields.String(required=True, validate=validate.Length(min=1), **more)


def _texts() -> fields.List[str]:
    return fields.List(fields.String(validate=validate.Length(min=1)), load_default=list)


def _one_of(values: Sequence[str]) -> fields.String:
    error = f"must be one of {', '.join(values)}"
    return fields.String(required=True, validate=validate.OneOf(values, error=error))


class _AcceptanceTable(Schema):
    by = _text()
    role = _text()
    date = fields.Raw(required=True, validate=lambda value: type(value) is date or _refused("must be a date"))
    digest = fields.String(
        required=True, validate=validate.Regexp(r"sha256:[0-9a-f]{64}\Z", error="must be a digest, sha256:…")
    )


class _HazardTable(Schema):
    hazard = _text()
    cause = _text()
    effect = _text()
    harm = _text()
    severity = _one_of(SEVERITIES)
    likelihood = _one_of(LIKELIHOODS)
    residual_severity = _one_of(SEVERITIES)
    residual_likelihood = _one_of(LIKELIHOODS)
    reason = fields.String(load_default="")
    owner = _one_of(OWNERS)
    status = _one_of(STATUSES)
    design = _texts()
    training = _texts()
    process = _texts()
    tests = _texts()
    remains = fields.String(load_default="")
    acceptance = fields.Nested(_AcceptanceTable, load_default=None)


def _refused(error: str) -> bool:
    raise ValidationError(error)


@cache
def _form() -> Schema:
    """Made once: to make it takes longer than to check a hazard with it."""
    return _HazardTable()


def _hazard(id_: str, entry: Mapping[str, Any], file: str) -> Hazard:
    try:
        checked = _form().load({name: value for name, value in entry.items() if name != "site"})
    except ValidationError as error:
        key, reason = next(reasons(error.messages))
        raise KnowledgeError(file, f"{id_}.{key}", reason) from None
    if not any(checked[kind] for kind in CONTROLS):
        raise KnowledgeError(file, id_, f"has no control: name one under {', '.join(CONTROLS)}")
    accepted = checked.pop("acceptance")
    hazard = Hazard(
        id=id_,
        controls={kind: tuple(checked.pop(kind)) for kind in CONTROLS},
        stated=checked.pop("status"),
        acceptance=Acceptance(**accepted) if accepted else None,
        digest=digest_of({name: value for name, value in entry.items() if name not in _NOT_CONTENT}),
        site="site" in entry,
        **checked,
    )
    if hazard.residual > hazard.initial:
        raise KnowledgeError(file, id_, "has a higher score with the controls than without them")
    if hazard.residual == WITH_A_REASON and not hazard.reason:
        raise KnowledgeError(file, f"{id_}.reason", f"is required: why a residual score of {WITH_A_REASON} is borne")
    if (hazard.stated == ACCEPTED) != (hazard.acceptance is not None):
        raise KnowledgeError(file, f"{id_}.acceptance", "belongs to the status accepted, and to no other")
    return hazard
