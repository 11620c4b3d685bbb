"""properties.toml: the safety properties that the knowledge is held to, in words that a clinician reads and signs.

What each means on a chart stands in service/proof; here is what is meant as an exception, with its reason, and what is
known to fail until the knowledge is mended.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from service.knowledge_model.condition_text import parse
from service.knowledge_model.conditions import Condition
from service.knowledge_model.forms import reasons
from service.knowledge_model.model import OF_THE_PATIENT, PACKAGED, Knowledge, KnowledgeError
from service.knowledge_model.vocabulary import INDICATORS

FILE = "properties.toml"


@dataclass(frozen=True, slots=True)
class Exempted:
    """Statements of a property that are meant not to hold, on the charts where `where` is so; all where it is None."""

    of: tuple[str, ...]
    reason: str
    source: str
    where: Condition | None
    # The text of that condition.
    only: str = ""


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """Statements that fail today, each with the charts on which they do, in words."""

    of: str
    counterexample: str


@dataclass(frozen=True, slots=True)
class Property:
    """One safety property. group: what it is about; controls: the hazards of hazards.toml that it controls."""

    id: str
    group: int
    title: str
    words: str
    controls: tuple[str, ...]
    exceptions: tuple[Exempted, ...]
    known_failures: tuple[KnownFailure, ...]


@dataclass(frozen=True, slots=True)
class Contraindication:
    """A treatment that is not to be offered where this is so."""

    treatment: str
    when: Condition
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Direction:
    """A number that becomes more worrying the higher, or the lower, it is."""

    number: str
    worse: str
    source: str


@dataclass(frozen=True, slots=True)
class Opposites:
    """Two recommendations that say the opposite of each other."""

    recommendations: tuple[str, str]
    reason: str


@dataclass(frozen=True, slots=True)
class Demand:
    """What a danger demands: of every chart on which `where` is so, each of these holds.

    urgency: the level of a card, or a more urgent one; calls: each a key of orders.toml and a priority, or a sooner
    one, with " or " between those of which one is enough; imaging: that some is called for; not_offered: treatments;
    never: recommendations that do not hold; never_leads: causes that do not lead.
    """

    id: str
    where: Condition
    text: str
    source: str
    urgency: str
    calls: tuple[str, ...]
    imaging: bool
    not_offered: tuple[str, ...]
    never: tuple[str, ...]
    never_leads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sampled:
    """What no proof covers, why, and the tests that sample it."""

    what: str
    why: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Properties:
    """All of properties.toml."""

    groups: Mapping[int, str]
    properties: Mapping[str, Property]
    contraindications: tuple[Contraindication, ...]
    numbers: tuple[Direction, ...]
    opposites: tuple[Opposites, ...]
    demands: tuple[Demand, ...]
    sampled: tuple[Sampled, ...]


def _text(**more: Any) -> fields.String:
    return fields.String(required=True, validate=validate.Length(min=1), **more)


def _texts() -> fields.List[str]:
    return fields.List(fields.String(validate=validate.Length(min=1)), required=True, validate=validate.Length(min=1))


def _judged() -> fields.String:
    # Whoever signs the knowledge signs what it leaves out as well.
    return fields.String(required=True, validate=validate.Regexp(r"\[(J|V2?:\w+)\]", error="names [J] or a source"))


class _ExceptionTable(Schema):
    of = _texts()
    reason = _text()
    source = _judged()
    where = fields.String(load_default="")


class _FailureTable(Schema):
    of = _text()
    counterexample = _text()


class _PropertyTable(Schema):
    group = fields.Integer(strict=True, required=True)
    title = _text()
    words = _text()
    controls = _texts()
    exceptions = fields.List(fields.Nested(_ExceptionTable), load_default=list)
    known_failures = fields.List(fields.Nested(_FailureTable), load_default=list)


class _ContraindicationTable(Schema):
    treatment = _text()
    when = _text()
    source = _judged()


class _NumberTable(Schema):
    number = _text()
    worse = fields.String(required=True, validate=validate.OneOf(("higher", "lower")))
    source = _judged()


class _OppositesTable(Schema):
    recommendations = fields.List(fields.String(), required=True, validate=validate.Length(equal=2))
    reason = _text()


_CALL = r"[a-z-]+ (?:stat|urgent|routine)"


class _DemandTable(Schema):
    id = _text()
    where = _text()
    source = _judged()
    urgency = fields.String(load_default="", validate=validate.OneOf(("", *INDICATORS[:2])))
    calls = fields.List(
        fields.String(validate=validate.Regexp(rf"{_CALL}(?: or {_CALL})*$", error="names an order and its priority")),
        load_default=list,
    )
    imaging = fields.Boolean(load_default=False)
    not_offered = fields.List(fields.String(), load_default=list)
    never = fields.List(fields.String(), load_default=list)
    never_leads = fields.List(fields.String(), load_default=list)


class _SampledTable(Schema):
    what = _text()
    why = _text()
    tests = _texts()


class _PropertiesFile(Schema):
    groups = fields.Dict(keys=fields.String(validate=validate.Regexp(r"\d+")), values=_text(), required=True)
    properties = fields.Dict(keys=fields.String(), values=fields.Nested(_PropertyTable), required=True)
    contraindications = fields.List(fields.Nested(_ContraindicationTable), load_default=list)
    numbers = fields.List(fields.Nested(_NumberTable), load_default=list)
    opposites = fields.List(fields.Nested(_OppositesTable), load_default=list)
    demands = fields.List(fields.Nested(_DemandTable), load_default=list)
    sampled = fields.List(fields.Nested(_SampledTable), load_default=list)


def read_toml(path: Path, name: str) -> dict[str, Any]:
    """The tables of a file, which a mistake calls by this name. Raises KnowledgeError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KnowledgeError(name, "-", error.strerror or "cannot be read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KnowledgeError(name, "-", f"is no TOML: {error}") from None


def read_properties(knowledge: Knowledge, folder: Path | None = None) -> Properties:
    """The properties of the knowledge in this folder (the packaged one when None); none where it has no such file.

    Raises KnowledgeError.
    """
    path = (folder or PACKAGED) / FILE
    if not path.exists():
        return Properties({}, {}, (), (), (), (), ())
    try:
        checked = _PropertiesFile().load(read_toml(path, FILE))
    except ValidationError as error:
        key, reason = next(reasons(error.messages))
        raise KnowledgeError(FILE, key, reason) from None
    limits = {name: float(threshold["value"]) for name, threshold in knowledge.thresholds.items()}

    def condition(text: str, key: str) -> Condition:
        try:
            read = parse(text, limits)
        except ValueError as error:
            raise KnowledgeError(FILE, key, str(error)) from None
        known = {*knowledge.findings, *knowledge.definitions, *OF_THE_PATIENT}
        known |= {*knowledge.engine.after_red_flags, *knowledge.engine.derived.quantities}
        for name in sorted(read.findings() - known):
            raise KnowledgeError(FILE, key, f"there is no {name!r}")
        return read

    for number, entry in enumerate(checked["contraindications"]):
        if entry["treatment"] not in knowledge.engine.treatments:
            raise KnowledgeError(FILE, f"contraindications[{number}]", f"there is no treatment {entry['treatment']!r}")
    for number, entry in enumerate(checked["opposites"]):
        ids = {each.id for each in knowledge.recommendations}
        for name in sorted({*entry["recommendations"]} - ids):
            raise KnowledgeError(FILE, f"opposites[{number}]", f"there is no recommendation {name!r}")
    _check_demands(knowledge, checked["demands"])
    return Properties(
        groups={int(number): words for number, words in checked["groups"].items()},
        properties={
            id_: _property(id_, table, checked["groups"], condition) for id_, table in checked["properties"].items()
        },
        contraindications=tuple(
            Contraindication(
                entry["treatment"], condition(entry["when"], "contraindications"), entry["when"], entry["source"]
            )
            for entry in checked["contraindications"]
        ),
        numbers=tuple(Direction(**entry) for entry in checked["numbers"]),
        opposites=tuple(
            Opposites((entry["recommendations"][0], entry["recommendations"][1]), entry["reason"])
            for entry in checked["opposites"]
        ),
        demands=tuple(
            Demand(
                entry["id"],
                condition(entry["where"], f"demands.{entry['id']}"),
                entry["where"],
                entry["source"],
                entry["urgency"],
                tuple(entry["calls"]),
                entry["imaging"],
                tuple(entry["not_offered"]),
                tuple(entry["never"]),
                tuple(entry["never_leads"]),
            )
            for entry in checked["demands"]
        ),
        sampled=tuple(Sampled(**{**entry, "tests": tuple(entry["tests"])}) for entry in checked["sampled"]),
    )


def _check_demands(knowledge: Knowledge, entries: list[dict[str, Any]]) -> None:
    ids = {each.id for each in knowledge.recommendations}
    for number, entry in enumerate(entries):
        key = f"demands.{entry['id']}"
        if entry["id"] in [other["id"] for other in entries[:number]]:
            raise KnowledgeError(FILE, key, "stands twice")
        orders = {call.split()[0] for calls in entry["calls"] for call in calls.split(" or ")}
        for name in sorted(orders - {*knowledge.orders}):
            raise KnowledgeError(FILE, key, f"there is no order {name!r}")
        for name in sorted({*entry["not_offered"]} - {*knowledge.engine.treatments}):
            raise KnowledgeError(FILE, key, f"there is no treatment {name!r}")
        for name in sorted({*entry["never"]} - ids):
            raise KnowledgeError(FILE, key, f"there is no recommendation {name!r}")
        for name in sorted({*entry["never_leads"]} - {*knowledge.causes}):
            raise KnowledgeError(FILE, key, f"there is no cause {name!r}")


def _property(
    id_: str, table: Mapping[str, Any], groups: Mapping[str, str], condition: Callable[[str, str], Condition]
) -> Property:
    key = f"properties.{id_}"
    if str(table["group"]) not in groups:
        raise KnowledgeError(FILE, key, f"there is no group {table['group']}")
    exempted = [name for entry in table["exceptions"] for name in entry["of"]]
    failing = [entry["of"] for entry in table["known_failures"]]
    for name in (*exempted, *failing):
        if (*exempted, *failing).count(name) > 1:
            raise KnowledgeError(FILE, key, f"{name!r} stands twice among its exceptions and known failures")
    return Property(
        id_,
        table["group"],
        table["title"],
        table["words"],
        tuple(table["controls"]),
        tuple(
            Exempted(
                tuple(entry["of"]),
                entry["reason"],
                entry["source"],
                condition(entry["where"], f"{key}.exceptions") if entry["where"] else None,
                entry["where"],
            )
            for entry in table["exceptions"]
        ),
        tuple(KnownFailure(**entry) for entry in table["known_failures"]),
    )
