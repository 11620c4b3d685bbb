"""The guideline: what the knowledge files say, as frozen objects. Nothing here decides anything about a patient."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.conditions import Condition

PACKAGED = Path(__file__).parent / "knowledge"
LOCAL_SYSTEM = "https://sitbone.example.org/fhir/CodeSystem/findings"
TOPIC_SYSTEM = "https://sitbone.example.org/fhir/CodeSystem/topics"
# What the rules may read besides findings and definitions, and which step of the assessment makes it.
OF_THE_PATIENT = ("age", "sex", "days-since-onset", "sacroiliac-tests-positive")
AFTER_RED_FLAGS = ("critical-red-flag", "exercise-red-flag", "injection-red-flag", "insufficient-data")
AFTER_PLAN = ("imaging-called-for",)


class KnowledgeError(Exception):
    """The knowledge cannot be used: which file, which key, why."""

    def __init__(self, file: str, key: str, reason: str) -> None:
        super().__init__(f"{file}: {key}: {reason}")


@dataclass(frozen=True, slots=True)
class Finding:
    id: str
    title: str
    kind: str
    value: str
    unit: str
    statements: tuple[str, ...]
    locates: bool
    look_back_days: int | None
    # Its look-back is its own: an active Condition, which stands however old, is then held to it as well.
    dated_event: bool
    # It has no side by its nature, and holds for both.
    whole_patient: bool
    past_counts: bool
    uninformative_alone: bool


@dataclass(frozen=True, slots=True)
class Code:
    """A row of a value set. `match`: exact, children (the code and what it begins), range (of ICD-10-CM categories)."""

    concept: str
    system: str
    code: str
    match: str
    side: str
    site: str
    display: str


@dataclass(frozen=True, slots=True)
class RedFlag:
    id: str
    indicator: str
    blocks: frozenset[str]


@dataclass(frozen=True, slots=True)
class Imaging:
    modality: str
    region: str
    priority: str
    alternative: str
    when: Condition | None


@dataclass(frozen=True, slots=True)
class Referral:
    to: str
    priority: str
    when: Condition | None


@dataclass(frozen=True, slots=True)
class Treatment:
    id: str
    state: str
    without: tuple[str, ...]
    # What this adds is not said at all when another recommendation leaves it out, on either side.
    adds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One recommendation file: its plain words, its conditions, what it calls for and what its card says."""

    id: str
    version: int
    title: str
    kind: str
    order: int
    rules: tuple[str, ...]
    statements: tuple[str, ...]
    strength: str
    evidence: tuple[str, ...]
    status: str
    when_then: str
    when: Condition
    critical_when: Condition | None
    red_flag: RedFlag | None
    imaging: tuple[Imaging, ...]
    referrals: tuple[Referral, ...]
    treatment: tuple[Treatment, ...]
    topic: str
    indicator: str
    summary: str
    do: tuple[str, ...]

    def conditions(self) -> Iterator[Condition]:
        """Every condition in the file."""
        yield self.when
        if self.critical_when:
            yield self.critical_when
        for imaging in self.imaging:
            if imaging.when:
                yield imaging.when
        for referral in self.referrals:
            if referral.when:
                yield referral.when


@dataclass(frozen=True, slots=True)
class Cause:
    id: str
    title: str
    statements: tuple[str, ...]
    tell_apart: str


@dataclass(frozen=True, slots=True)
class Points:
    cause: str
    points: int
    when: Condition
    source: str


@dataclass(frozen=True, slots=True)
class WeightedTest:
    family: str
    cause: str
    finding: str
    positive: int
    negative: int
    source: str


@dataclass(frozen=True, slots=True)
class Cap:
    cause: str
    family: str
    at_most: int
    when: Condition


@dataclass(frozen=True, slots=True)
class Veto:
    cause: str
    when: Condition


@dataclass(frozen=True, slots=True)
class Differential:
    lead_at_least: int
    lead_by: int
    clear_by: int
    tenderness: tuple[str, ...]
    points: tuple[Points, ...]
    tests: tuple[WeightedTest, ...]
    caps: tuple[Cap, ...]
    vetoes: tuple[Veto, ...]

    def conditions(self) -> Iterator[Condition]:
        """Every condition in the file."""
        yield from (entry.when for entry in self.points)
        yield from (cap.when for cap in self.caps)
        yield from (veto.when for veto in self.vetoes)

    def findings(self) -> frozenset[str]:
        """The ids that the ranking reads."""
        return frozenset(t.finding for t in self.tests).union(*(c.findings() for c in self.conditions()))


@dataclass(frozen=True, slots=True)
class Question:
    findings: tuple[str, ...]
    ask: str
    because: str
    cost: str
    when: Condition | None


@dataclass(frozen=True, slots=True)
class Topic:
    id: str
    display: str
    label: str


@dataclass(frozen=True, slots=True)
class Wording:
    headings: Mapping[str, str]
    sentences: Mapping[str, str]
    strengths: Mapping[str, str]
    sides: Mapping[str, str]
    topics: Mapping[str, Topic]
    override_reasons: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class OrderTemplate:
    """What an order of this kind carries: its title, its code per side ('' without), its body site per side."""

    title: str
    # Whether the side belongs into its words.
    sided: bool
    codes: Mapping[str, Code]
    body_sites: Mapping[str, Code]


@dataclass(frozen=True, slots=True)
class Guideline:
    id: str
    title: str
    version: str
    date: dt.date
    status: str
    source_title: str
    provenance: Mapping[str, str]
    statements: Mapping[str, str]
    thresholds: Mapping[str, Mapping[str, Any]]
    findings: Mapping[str, Finding]
    definitions: Mapping[str, tuple[str, Condition]]
    causes: Mapping[str, Cause]
    differential: Differential
    recommendations: tuple[Recommendation, ...]
    questions: tuple[Question, ...]
    wording: Wording
    orders: Mapping[str, OrderTemplate]
    sources: Mapping[str, Mapping[str, Any]]
    codes: tuple[Code, ...]
    answers: tuple[Code, ...]

    def rule_conditions(self) -> Iterator[Condition]:
        """Every condition that the assessment evaluates."""
        for recommendation in self.recommendations:
            yield from recommendation.conditions()
        yield from self.differential.conditions()
        for _title, condition in self.definitions.values():
            yield condition

    def title_of(self, finding: str) -> str:
        """How a finding or a named criterion is called on a card."""
        if finding in self.findings:
            return self.findings[finding].title
        if finding in self.definitions:
            return self.definitions[finding][0]
        return finding.replace("-", " ").capitalize()

    def base_findings(self, ids: Iterable[str]) -> frozenset[str]:
        """The findings of the chart behind these ids, with named criteria and derived quantities opened."""
        found: set[str] = set()
        seen: set[str] = set()
        left = list(ids)
        while left:
            name = left.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self.findings:
                found.add(name)
            elif name in self.definitions:
                left.extend(self.definitions[name][1].findings())
            elif name == "days-since-onset":
                found.add("onset-date")
            elif name == "sacroiliac-tests-positive":
                found.update(SACROILIAC_TESTS)
        return frozenset(found)


SACROILIAC_TESTS = (
    "faber",
    "gaenslen",
    "thigh-thrust",
    "sacroiliac-compression",
    "sacroiliac-distraction",
    "sacral-thrust",
)
