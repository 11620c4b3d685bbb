"""What is wrong with a folder of knowledge, all of it, and what in it is of no use or on weak evidence."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from service.answers.orders import check_templates
from service.knowledge_model.loader import WEIGHTS, errors, load
from service.knowledge_model.model import PACKAGED, Knowledge, KnowledgeError
from service.knowledge_model.properties import read_properties
from service.services.registry import service_registry

# What is read by its name where appointments are judged.
_OF_APPOINTMENTS = re.compile(r"seen-(?:within|by-day)-.+")
# Judgement, and what is commonly known: the tags of what nobody can look up.
_UNSOURCED = frozenset({"J", "M"})


@dataclass(frozen=True, slots=True)
class Remark:
    """`level` is error for what stops the start, and warning for what does not."""

    level: str
    file: str
    key: str
    reason: str


def lint(folder: Path | None = None) -> tuple[Remark, ...]:
    """Every error of the knowledge in this folder (the packaged one when None); without errors, every warning."""
    try:
        knowledge = load(folder)
    except KnowledgeError:
        return tuple(Remark("error", error.file, error.key, error.reason) for error in errors(folder))
    try:
        check_templates(knowledge, datetime.now(UTC))
        service_registry(knowledge, lambda: datetime.now(UTC))
        read_properties(knowledge, folder)
    except KnowledgeError as error:
        return (Remark("error", error.file, error.key, error.reason),)
    return tuple(_warnings(knowledge, folder or PACKAGED))


def _warnings(knowledge: Knowledge, folder: Path) -> Iterator[Remark]:
    paths = [*sorted(folder.rglob("*.toml")), folder / WEIGHTS]
    files = {path: path.read_text(encoding="utf-8") for path in paths}
    yield from _weak(knowledge)
    compared = {leaf.threshold for condition in knowledge.conditions() for leaf in condition.leaves()}
    compared |= knowledge.engine.thresholds()
    compared.update(name for text in files.values() for name in re.findall(r"\{([a-z0-9-]+)\}", text))
    for name in knowledge.thresholds:
        if name not in compared and not _OF_APPOINTMENTS.fullmatch(name):
            yield Remark("warning", "guideline.toml", f"thresholds.{name}", "no rule compares with it")
    yield from _unread(knowledge)
    cited = "".join(words for path, words in files.items() if path.name != "sources.toml")
    for name in knowledge.sources:
        # From its first place on: to look for each in the whole text takes long.
        first = cited.find(name)
        if first < 0 or not re.compile(rf"\b{re.escape(name)}\b").search(cited, first):
            yield Remark("warning", "sources.toml", name, "nothing cites it")


def _weak(knowledge: Knowledge) -> Iterator[Remark]:
    for recommendation in knowledge.recommendations:
        file = f"recommendations/{recommendation.id}.toml"
        kinds = {tag.partition(":")[0] for tag in recommendation.evidence}
        if not recommendation.statements and kinds <= _UNSOURCED:
            yield Remark("warning", file, "evidence", "names no source: it stands on judgement alone")


def _unread(knowledge: Knowledge) -> Iterator[Remark]:
    read = {name for condition in knowledge.conditions() for name in condition.findings()}
    read |= knowledge.differential.findings() | {*knowledge.differential.tenderness}
    read |= knowledge.engine.names() | {f"diagnosed-{cause}" for cause in knowledge.causes}
    used = knowledge.base_findings(read)
    codes = Counter(code.concept for code in knowledge.codes)
    for name, finding in knowledge.findings.items():
        if name not in used and not finding.defines_complaint and not (finding.due and finding.due.present in used):
            lost = f", so that its {codes[name]} codes are of no use" if codes[name] else ""
            yield Remark("warning", "findings.toml", name, f"no rule reads it{lost}")
    for cause in knowledge.causes:
        if f"considers-{cause}" not in read:
            yield Remark("warning", "causes.toml", cause, f"nothing reads whether it is considered: considers-{cause}")
    for name in knowledge.definitions:
        if name not in read:
            yield Remark("warning", "definitions.toml", name, "nothing reads it")


def as_text(remarks: Sequence[Remark]) -> str:
    """A line for each remark, then how many there are."""
    counted = Counter(remark.level for remark in remarks)
    lines = [f"{remark.level}: {remark.file}: {remark.key}: {remark.reason}" for remark in remarks]
    return "\n".join([*lines, f"{counted['error']} errors, {counted['warning']} warnings"])


def as_json(remarks: Iterable[Remark]) -> str:
    """The remarks as an array of objects."""
    return json.dumps([asdict(remark) for remark in remarks], ensure_ascii=False, indent=2)
