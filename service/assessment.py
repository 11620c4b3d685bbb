"""Findings x guideline -> what the guideline calls for. Pure: the clock is in the case, there is no I/O.

The steps follow the kinds of recommendations: red flags first and all of them; then the ranking of causes, unless a
critical flag says that it must wait; then the plan, imaging, and treatment. Sides are judged apart; red flags belong to
the patient and also count what has no side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import isinf
from typing import TypeVar

import msgspec

from service.case import Case, LeftOut
from service.conditions import Condition, Interval
from service.derived import Chart
from service.differential import NO_SIDE_NAMED, Ranking, rank
from service.fhir_time import When
from service.guideline import SACROILIAC_TESTS, Guideline, Recommendation
from service.knowledge_forms import CLINICAL_KINDS, PRIORITIES, RECOMMENDATION_KINDS, TREATMENTS
from service.statements import BILATERAL, LEFT, RIGHT

# The criterion by which pain of the hip is this complaint.
HIP_COMPLAINT = "hip-region-complaint"
_UNHEARD = ("failed", "missing", "incomplete", "null")
_ASKED_AT_MOST = 3
# More than a card can list is not gathered.
UNKNOWN_AT_MOST = 6


class Evidence(msgspec.Struct, frozen=True):
    """A finding as it was used: where it came from, so that a clinician can look."""

    finding: str
    state: str
    side: str
    date: str
    resource: str
    remark: str
    valid: bool


class Fired(msgspec.Struct, frozen=True):
    """A recommendation whose condition is met, with what met it and what was unknown and could change it."""

    recommendation: Recommendation
    indicator: str
    evidence: tuple[Evidence, ...]
    unknown: tuple[str, ...]

    def findings(self) -> tuple[str, ...]:
        return tuple(item.finding for item in self.evidence)


@dataclass(frozen=True, slots=True)
class ImagingCall:
    modality: str
    region: str
    priority: str
    alternative: str
    recommendation: str


@dataclass(frozen=True, slots=True)
class ReferralCall:
    to: str
    priority: str
    recommendation: str


_Call = TypeVar("_Call", ImagingCall, ReferralCall)


@dataclass(frozen=True, slots=True)
class TreatmentCall:
    id: str
    state: str
    because: tuple[str, ...]
    without: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    finding: str
    ask: str
    because: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the guideline makes of one case."""

    complaint: str
    side: str
    data: dict[str, str]
    left_out: LeftOut
    fired: tuple[Fired, ...] = ()
    # What makes this the complaint of the guideline.
    located_by: tuple[Evidence, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    ranking_waits: bool = False
    imaging: tuple[ImagingCall, ...] = ()
    referrals: tuple[ReferralCall, ...] = ()
    treatment: tuple[TreatmentCall, ...] = ()
    ask: tuple[Asked, ...] = ()
    contradictory: tuple[str, ...] = ()
    without_side: tuple[str, ...] = ()
    working_diagnoses: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()

    def red_flags(self) -> Iterator[Fired]:
        return (fired for fired in self.fired if fired.recommendation.red_flag)


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


class Assessor:
    """Assesses cases by one guideline; made once."""

    def __init__(self, guideline: Guideline) -> None:
        self.guideline = guideline
        self.locating = frozenset(f.id for f in guideline.findings.values() if f.locates)
        self.informative = frozenset(
            f.id for f in guideline.findings.values() if f.kind in CLINICAL_KINDS and not f.uninformative_alone
        )
        # What each recommendation reads, to say what of it is unknown. A working diagnosis is not asked for.
        self.reads = {
            r.id: sorted(
                name
                for name in guideline.base_findings(n for c in r.conditions() for n in c.findings())
                if guideline.findings[name].kind != "diagnosis"
            )
            for r in guideline.recommendations
        }
        self.by_kind = {
            kind: tuple(r for r in guideline.recommendations if r.kind == kind) for kind in RECOMMENDATION_KINDS
        }

    def assess(self, case: Case) -> Assessment:
        """The assessment of a case; without the complaint it holds nothing but what was looked at."""
        return _Pass(self, case).run()

    def concerns(self, chart: Chart) -> bool:
        """Whether what is documented on this side is the complaint of this guideline."""
        return any(
            chart[name] is True or isinstance(chart[name], Interval)
            for name in self.locating
            if name in chart.case.statements
        ) or (chart[HIP_COMPLAINT] is True)


@dataclass
class _Pass:
    """One assessment under way."""

    assessor: Assessor
    case: Case
    fired: list[Fired] = field(default_factory=list)
    # What a made finding (critical-red-flag, considers-…) stands on.
    made: dict[str, tuple[str, ...]] = field(default_factory=dict)
    imaging: list[ImagingCall] = field(default_factory=list)
    referrals: list[ReferralCall] = field(default_factory=list)
    treatment: dict[str, TreatmentCall] = field(default_factory=dict)
    flagged: dict[str, list[Fired]] = field(default_factory=dict)

    def run(self) -> Assessment:
        case, guideline = self.case, self.assessor.guideline
        if not case.statements:
            # Most charts: nothing of this pain, and no rule has to be asked.
            return Assessment(self._complaint_not_found(), NO_SIDE_NAMED, dict(case.data), case.left_out)
        sides = case.sides()
        patient_charts = [Chart(case, side, guideline.definitions, with_sideless=True) for side in sides]
        if not any(self.assessor.concerns(chart) for chart in patient_charts):
            return Assessment(self._complaint_not_found(), NO_SIDE_NAMED, dict(case.data), case.left_out)
        side = BILATERAL if len(sides) > 1 else sides[0] or NO_SIDE_NAMED
        for recommendation in self.assessor.by_kind["red-flag"]:
            self._evaluate(recommendation, patient_charts)
        waits = self._note_red_flags()
        # What has no side is used for the only side that is documented, and otherwise for neither.
        charts = (
            patient_charts
            if len(sides) == 1
            else [Chart(case, side, guideline.definitions, with_sideless=False) for side in sides]
        )
        insufficient = not any(fired.recommendation.red_flag for fired in self.fired) and not any(
            statement.value is not None
            for name in self.assessor.informative & case.statements.keys()
            for statement in case.statements[name]
        )
        self._make(charts, "insufficient-data", insufficient, ())
        rankings = () if waits or insufficient else tuple(rank(chart, guideline) for chart in charts)
        self._note_considered(charts, rankings)
        if not waits:
            for recommendation in self.assessor.by_kind["plan"]:
                self._evaluate(recommendation, charts)
            self._make(charts, "imaging-called-for", bool(self.imaging), ())
            for recommendation in self.assessor.by_kind["closing"]:
                self._evaluate(recommendation, charts)
        for recommendation in self.assessor.by_kind["treatment"]:
            self._evaluate(recommendation, charts)
        withheld = {what for call in self.treatment.values() for what in call.without}
        fired = (f for f in self.fired if not any(withheld & set(t.adds) for t in f.recommendation.treatment))
        return Assessment(
            complaint="present",
            side=side,
            data=dict(case.data),
            left_out=case.left_out,
            fired=tuple(fired),
            located_by=self._located_by(patient_charts),
            rankings=rankings,
            ranking_waits=waits,
            imaging=_most_urgent(self.imaging, lambda call: (call.modality, call.region)),
            referrals=_most_urgent(self.referrals, lambda call: call.to),
            treatment=tuple(self.treatment[id_] for id_ in TREATMENTS if id_ in self.treatment),
            # What is asked next must not delay an emergency.
            ask=() if waits else self._ask(patient_charts),
            contradictory=_unique(
                name for chart in patient_charts for name, resolved in chart.resolved.items() if resolved.contradictory
            ),
            without_side=self._without_side(sides),
            known=frozenset(name for name, found in case.statements.items() if any(s.value is not None for s in found)),
            working_diagnoses=tuple(
                cause for cause in guideline.causes if any(chart[f"diagnosed-{cause}"] is True for chart in charts)
            ),
        )

    def _located_by(self, charts: Sequence[Chart]) -> tuple[Evidence, ...]:
        found: dict[tuple[str, str], Evidence] = {}
        for chart in charts:
            named = [name for name in self.case.statements if name in self.assessor.locating and chart[name]]
            hip = self.assessor.guideline.definitions[HIP_COMPLAINT][1]
            for name in named or (self._grounds(chart, hip) if chart[HIP_COMPLAINT] else ()):
                item = self._used(chart, name)
                found[(item.finding, item.side)] = item
        return tuple(found.values())

    def _complaint_not_found(self) -> str:
        """Absent when what there is was heard in full and says nothing of it; otherwise it cannot be told."""
        unheard = any(self.case.data.get(key) in _UNHEARD for key in ("conditions", "observations"))
        undecided = any(
            statement.value is None
            for name in self.assessor.locating & self.case.statements.keys()
            for statement in self.case.statements[name]
        )
        return "unknown" if unheard or undecided else "absent"

    # -- rules --------------------------------------------------------------------------------------------------------

    def _evaluate(self, recommendation: Recommendation, charts: Sequence[Chart]) -> None:
        met = [chart for chart in charts if recommendation.when.test(chart)]
        if not met:
            return
        crucial = recommendation.critical_when
        critical = [chart for chart in met if crucial and crucial.test(chart)]
        evidence: dict[tuple[str, str], Evidence] = {}
        unknown: list[str] = []
        for chart in met:
            conditions = [recommendation.when, *([crucial] if crucial and chart in critical else [])]
            for condition in conditions:
                for name in self._grounds(chart, condition):
                    item = self._used(chart, name)
                    evidence.setdefault((item.finding, item.side), item)
            unknown += self._unknown(chart, recommendation)
            self._collect(recommendation, chart)
        self.fired.append(
            Fired(
                recommendation,
                "critical" if critical else recommendation.indicator,
                tuple(evidence.values()),
                _unique(unknown),
            )
        )
        self._collect_treatment(recommendation, self.fired[-1])

    def _collect(self, recommendation: Recommendation, chart: Chart) -> None:
        for imaging in recommendation.imaging:
            if imaging.when is None or imaging.when.test(chart):
                self.imaging.append(
                    ImagingCall(
                        imaging.modality, imaging.region, imaging.priority, imaging.alternative, recommendation.id
                    )
                )
        for referral in recommendation.referrals:
            if referral.when is None or referral.when.test(chart):
                self.referrals.append(ReferralCall(referral.to, referral.priority, recommendation.id))

    def _collect_treatment(self, recommendation: Recommendation, fired: Fired) -> None:
        """A hold is never undone by an offer."""
        for treatment in recommendation.treatment:
            before = self.treatment.get(treatment.id)
            held = "hold" in (treatment.state, before.state if before else "")
            named = [name for name in fired.findings() if name in self.case.findings]
            because = named if treatment.state == "hold" or treatment.without else ()
            self.treatment[treatment.id] = TreatmentCall(
                treatment.id,
                "hold" if held else "offer",
                _unique((*(before.because if before else ()), *because)),
                _unique((*(before.without if before else ()), *treatment.without)),
            )

    def _make(self, charts: Iterable[Chart], name: str, value: bool, grounds: Iterable[str]) -> None:
        self.made[name] = _unique(grounds)
        for chart in charts:
            chart[name] = value

    def _note_red_flags(self) -> bool:
        """Makes what later rules read of the red flags; whether the ranking of causes has to wait."""
        flags = [(fired, fired.recommendation.red_flag) for fired in self.fired if fired.recommendation.red_flag]
        critical = [fired for fired, _flag in flags if fired.indicator == "critical"]
        self.flagged["critical-red-flag"] = critical
        for block in ("exercise", "injection"):
            self.flagged[f"{block}-red-flag"] = [
                fired for fired, flag in flags if flag and (block in flag.blocks or fired.indicator == "critical")
            ]
        return any(flag and "ranking" in flag.blocks and fired.indicator == "critical" for fired, flag in flags)

    def _note_considered(self, charts: Sequence[Chart], rankings: Sequence[Ranking]) -> None:
        """A cause is considered when it leads or is the clinician's working diagnosis."""
        for name, fired in self.flagged.items():
            self._make(charts, name, bool(fired), (finding for item in fired for finding in item.findings()))
        for number, chart in enumerate(charts):
            leader = rankings[number].leader if rankings else None
            for cause in self.assessor.guideline.causes:
                diagnosed = chart[f"diagnosed-{cause}"] is True
                leads = leader is not None and leader.id == cause
                chart[f"considers-{cause}"] = leads or diagnosed
                grounds = (
                    *(leader.speaks_for if leads and leader else ()),
                    *([f"diagnosed-{cause}"] if diagnosed else []),
                )
                self.made[f"considers-{cause}"] = _unique((*self.made.get(f"considers-{cause}", ()), *grounds))

    # -- reasons ------------------------------------------------------------------------------------------------------

    def _grounds(self, chart: Chart, condition: Condition) -> Iterator[str]:
        """The findings of the chart that carry this condition's verdict, named criteria opened."""
        guideline = self.assessor.guideline
        for leaf in condition.carried_by(chart):
            name = leaf.finding
            if chart[name] is None:
                continue
            if name in guideline.definitions:
                yield from self._grounds(chart, guideline.definitions[name][1])
            elif name in self.made:
                yield from self.made[name] if chart[name] else ()
            elif name == "days-since-onset":
                yield "onset-date"
            elif name == "sacroiliac-tests-positive":
                yield from (test for test in SACROILIAC_TESTS if chart[test] is not None)
            else:
                yield name

    def _unknown(self, chart: Chart, recommendation: Recommendation) -> Iterator[str]:
        # A finding of which nothing holds may still have a date, which conditions read in another form.
        unknown = (n for n in self.assessor.reads[recommendation.id] if chart[n] is None and _date(chart, n) is None)
        return islice(unknown, UNKNOWN_AT_MOST)

    def _used(self, chart: Chart, name: str) -> Evidence:
        if name not in self.case.findings:
            return Evidence(name, _state(chart[name]), "", "", "Patient", "", True)
        value = chart[name]
        resolved = chart.resolved.get(name)
        statement = resolved.statement if resolved else None
        if statement is None:
            # Made from other statements, as leg symptoms on both sides are.
            return Evidence(name, _state(value), "", "", "", "", True)
        return Evidence(
            name,
            self._with_unit(name, value if value is not None else statement.value),
            statement.side,
            statement.when.text if statement.when else "",
            statement.resource,
            statement.remark,
            statement.valid,
        )

    def _with_unit(self, name: str, value: object) -> str:
        # A UCUM annotation such as {score} is no unit that a clinician reads.
        unit = self.case.findings[name].unit
        return f"{_state(value)} {unit}" if unit and not unit.startswith("{") else _state(value)

    def _ask(self, charts: Sequence[Chart]) -> tuple[Asked, ...]:
        asked: list[Asked] = []
        for question in self.assessor.guideline.questions:
            unknown = [
                name
                for name in question.findings
                if all(chart[name] is None and not isinstance(_date(chart, name), When) for chart in charts)
            ]
            if question.when is not None:
                due = any(question.when.test(chart) for chart in charts)
            else:
                due = len(unknown) == len(question.findings)
            finding = (unknown or list(question.findings))[0]
            if due and finding not in (item.finding for item in asked):
                asked.append(Asked(finding, question.ask, question.because))
            if len(asked) == _ASKED_AT_MOST:
                break
        return tuple(asked)

    def _without_side(self, sides: Sequence[str]) -> tuple[str, ...]:
        if tuple(sides) != (LEFT, RIGHT):
            return ()
        return tuple(
            name
            for name, found in self.case.statements.items()
            if not self.case.findings[name].whole_patient
            and name != "onset-date"
            and any(statement.value is not None and not statement.side for statement in found)
        )


def _date(chart: Chart, name: str) -> object:
    resolved = chart.resolved.get(name)
    return resolved.value if resolved else None


def _state(value: object) -> str:
    """How a value is named in the grounds of a card: the state of a finding, its number, or its date."""
    if isinstance(value, bool):
        return "present" if value else "absent"
    if isinstance(value, Interval):
        return _in_words(value)
    if isinstance(value, When):
        return value.text
    return value if isinstance(value, str) else "unknown"


def _in_words(value: Interval) -> str:
    if value.low == value.high:
        return f"{value.low:g}"
    if isinf(value.low):
        return f"up to {value.high:g}"
    return f"from {value.low:g}" if isinf(value.high) else f"{value.low:g} to {value.high:g}"


def _most_urgent(calls: Iterable[_Call], same: Callable[[_Call], object]) -> tuple[_Call, ...]:
    """One call of those that are the same, at its highest priority; the most urgent first, then as the rules stand."""
    merged: dict[object, _Call] = {}
    for call in calls:
        known = merged.get(same(call))
        if known is None or PRIORITIES.index(call.priority) < PRIORITIES.index(known.priority):
            merged[same(call)] = call
    return tuple(sorted(merged.values(), key=lambda call: PRIORITIES.index(call.priority)))
