"""What changed between two folders of knowledge, by recommendation, finding, threshold, weight and code.

The files are compared as they are written, so that a folder of an earlier version can be compared that would not load
any more. Of a condition its text is compared, however it is laid out, also where it is written as a table, as up to
version 0.3.0.
"""

from __future__ import annotations

import csv
import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.knowledge_model.condition_text import as_text as condition_text
from service.knowledge_model.condition_text import from_table, parse
from service.knowledge_model.model import KnowledgeError

# The file whose tables are entries of one kind -> the kind.
_TABLES = {
    "findings.toml": "finding",
    "definitions.toml": "criterion",
    "causes.toml": "cause",
    "sources.toml": "source",
    "conflicts.toml": "conflict",
    "debts.toml": "debt",
    "medicine_names.toml": "medicine name",
    "synonyms.toml": "synonym",
}
_WEIGHTS = ("points", "tests", "caps", "vetoes")
# The columns of weights.csv that are no cause.
_NO_CAUSE = frozenset({"when", "family", "negative", "source", "rules"})
# The members that are conditions.
_CONDITIONS = frozenset({"when", "critical_when", "unranked"})

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an entry, as it was and as it is; None where it is not there."""

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One entry that was added, removed or changed, with its members that did."""

    kind: str
    id: str
    what: str
    members: tuple[Member, ...]


def diff(old: Path, new: Path) -> tuple[Change, ...]:
    """The changes from one folder to the other. Raises KnowledgeError for a file that cannot be read."""
    before, after = _entries(old), _entries(new)
    return tuple(
        change
        for key in dict.fromkeys((*before, *after))
        if (change := _change(key, before.get(key), after.get(key))) is not None
    )


def _change(key: _Key, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Change | None:
    members = tuple(
        Member(name, *(in_words(side[name]) if side and name in side else None for side in (old, new)))
        for name in dict.fromkeys((*(old or ()), *(new or ())))
        if (old or {}).get(name) != (new or {}).get(name)
    )
    if old is not None and new is not None and not members:
        return None
    return Change(*key, "added" if old is None else "removed" if new is None else "changed", members)


def _entries(folder: Path) -> dict[_Key, Mapping[str, Any]]:
    found: dict[_Key, Mapping[str, Any]] = {}
    stands: Counter[_Key] = Counter()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".toml", ".csv"):
            for key, entry in _entries_of(path, path.relative_to(folder).as_posix()):
                # The same twice in one file is told apart by its number.
                stands[key] += 1
                found[(key[0], f"{key[1]} #{stands[key]}") if stands[key] > 1 else key] = entry
    if not found:
        raise KnowledgeError(folder.name, "file", "there is no knowledge in this folder")
    return found


def _entries_of(path: Path, name: str) -> Iterator[tuple[_Key, Mapping[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            rows = csv.DictReader(text.splitlines())
            yield from _table_of_weights(rows) if name == "weights.csv" else _codes(rows)
            return
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise KnowledgeError(name, "file", "cannot be read") from error
    if name == "definitions.toml":
        raw = {key: _criterion(table) for key, table in raw.items()}
    raw = _with_texts(raw)
    if name.startswith("recommendations/"):
        yield ("recommendation", path.stem), _flat(raw)
    elif name in _TABLES:
        yield from (((_TABLES[name], key), _flat(_table(value))) for key, value in raw.items())
    elif name == "differential.toml":
        yield from _weights(raw)
    elif name == "guideline.toml":
        yield from _head(raw)
    elif name == "questions.toml":
        for entry in raw.pop("questions", []):
            yield ("question", ", ".join(entry.get("findings", ()))), entry
        yield from _others(path.stem, raw)
    else:
        yield from _others(path.stem, raw)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {"value": value}


def _criterion(table: Any) -> Any:
    """A named criterion with its condition apart from its title, where up to version 0.3.0 it stood beside it."""
    if not isinstance(table, dict) or "when" in table:
        return table
    return {"title": table.get("title"), "when": {name: inner for name, inner in table.items() if name != "title"}}


def _with_texts(value: Any) -> Any:
    """The same with every condition as its text on one line."""
    if isinstance(value, list):
        return [_with_texts(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _condition_text(inner) if name in _CONDITIONS else _with_texts(inner) for name, inner in value.items()
    }


def _condition_text(value: Any) -> Any:
    """What is no condition stays as it is."""
    try:
        return condition_text(parse(value, None)) if isinstance(value, str) else from_table(value)
    except ValueError:
        return value


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a table, with those of its tables beside them."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": each for inner, each in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def _codes(rows: Iterable[Mapping[str, str]]) -> Iterator[tuple[_Key, Mapping[str, Any]]]:
    for row in rows:
        key = " ".join(filter(None, (row.get(name) for name in ("concept", "system", "code", "side", "site"))))
        yield ("code", key), {name: value for name, value in row.items() if name in ("match", "licence", "display")}


def _weights(raw: Mapping[str, Any]) -> Iterator[tuple[_Key, Mapping[str, Any]]]:
    yield ("ranking", "rules"), raw.get("rules", {})
    for kind in _WEIGHTS:
        for entry in raw.get(kind, []):
            about = entry.get("finding") or in_words(entry.get("when", ""))
            yield (
                _weight(kind, str(entry.get("cause")), entry.get("family", ""), about),
                {name: value for name, value in entry.items() if name not in ("cause", "finding", "when", "family")},
            )


def _table_of_weights(rows: Iterable[Mapping[str, str]]) -> Iterator[tuple[_Key, Mapping[str, Any]]]:
    """Each cell as the entry of differential.toml that it was up to version 0.3.0."""
    for row in rows:
        family, about = row.get("family") or "", in_words(_condition_text(row.get("when") or ""))
        others: dict[str, Any] = {"source": row.get("source") or ""}
        if rules := row.get("rules"):
            others["rules"] = rules.split()
        if negative_when := row.get("negative"):
            others["negative when"] = _condition_text(negative_when)
        for cause, cell in row.items():
            if not cell or cause in _NO_CAUSE:
                continue
            positive, _, negative = cell.partition(" / ")
            counts = {"positive": positive, "negative": negative} if family else {"points": positive}
            counted = {name: int(count) if count.lstrip("-").isdecimal() else count for name, count in counts.items()}
            yield _weight("tests" if family else "points", cause, family, about), {**counted, **others}


def _weight(kind: str, cause: str, family: str, about: str) -> _Key:
    return "weight", f"{kind}, {cause}: {', '.join(filter(None, (family, about)))}"


def _head(raw: Mapping[str, Any]) -> Iterator[tuple[_Key, Mapping[str, Any]]]:
    yield ("guideline", ""), {name: value for name, value in raw.items() if not isinstance(value, dict)}
    for name, table in raw.items():
        if name == "thresholds":
            yield from ((("threshold", key), value) for key, value in table.items())
        elif isinstance(table, dict):
            yield ("guideline", name), _flat(table)


def _others(stem: str, raw: Mapping[str, Any]) -> Iterator[tuple[_Key, Mapping[str, Any]]]:
    yield from (((stem, key), _flat(_table(value))) for key, value in raw.items())


def in_words(value: Any) -> str:
    """A value of a knowledge file on one line."""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, list):
        plain = all(isinstance(item, str) for item in value)
        return (", " if plain else " | ").join(map(in_words, value)) or "nothing"
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(inner)}" for name, inner in value.items())
    return json.dumps(value, default=str).strip('"')


def as_text(changes: Sequence[Change]) -> str:
    """The changes for a person, and how many there are."""
    lines: list[str] = []
    for change in changes:
        lines.append(f"{change.kind} {change.id} {change.what}".replace("  ", " "))
        for member in change.members:
            lines.append(f"  {member.name}")
            lines += [f"    - {member.old}"] if member.old is not None else []
            lines += [f"    + {member.new}"] if member.new is not None else []
    return "\n".join([*lines, f"{len(changes)} changes"])


def as_json(changes: Sequence[Change]) -> str:
    """The changes for a program: an array of objects."""
    return json.dumps(
        [
            {
                "kind": change.kind,
                "id": change.id,
                "change": change.what,
                "members": {
                    member.name: {
                        side: value for side, value in (("old", member.old), ("new", member.new)) if value is not None
                    }
                    for member in change.members
                },
            }
            for change in changes
        ],
        ensure_ascii=False,
        indent=2,
    )
