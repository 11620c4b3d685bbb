"""Findings x guideline -> what the guideline calls for. Pure: the clock is in the case, there is no I/O.

The steps follow the kinds of recommendations: red flags first and all of them; then the ranking of causes, unless a
critical flag says that it must wait; then the plan, imaging, and treatment. Sides are judged apart; red flags belong to
the patient and also count what has no side.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isinf
from typing import TypeVar

import msgspec

from service.chart.assertions import Assertion
from service.chart.case import Case, LeftOut, resolve
from service.chart.derived import Chart
from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT
from service.chart.fhir_time import When, read_when
from service.chart.grounds import grounds_of, marks_on, may_hold
from service.chart.medicines import Unrecognised
from service.guideline.conditions import CONTRADICTORY, Condition, Interval, Value
from service.guideline.model import (
    AFTER_RED_FLAGS,
    DAYS_SINCE,
    OF_THE_PATIENT,
    RADIOGRAPH_AT_HAND,
    SACROILIAC_TESTS,
    Guideline,
    Presentation,
    Rating,
    Recommendation,
)
from service.guideline.vocabulary import (
    CLINICAL_KINDS,
    INDICATORS,
    PRIORITIES,
    RECOMMENDATION_KINDS,
    RED_FLAGS,
    TREATMENTS,
)
from service.reasoning.differential import NO_SIDE_NAMED, Ranking, Weighed, is_unranked, rank, weigh
from service.reasoning.next_question import Asked, Assessed, NextQuestion

# The criterion by which pain of the hip is this complaint.
HIP_COMPLAINT = "hip-region-complaint"
# More than a card can list is not gathered.
UNKNOWN_AT_MOST = 6


class Evidence(msgspec.Struct, frozen=True):
    """A finding as it was used: where it came from, so that a clinician can look."""

    finding: str
    state: str
    side: str
    date: str
    resource: str
    remarks: tuple[str, ...]
    when: When | None = None


class Fired(msgspec.Struct, frozen=True):
    """A recommendation whose condition is met, with what met it and what was unknown and could change it."""

    recommendation: Recommendation
    indicator: str
    evidence: tuple[Evidence, ...]
    unknown: tuple[str, ...]

    def findings(self) -> tuple[str, ...]:
        return tuple(item.finding for item in self.evidence)


class Verdict(msgspec.Struct, frozen=True):
    """What comes of the condition of a recommendation: yes (True), no (False), cannot tell (None).

    `evidence` is what makes it so; with None, what of it is known, and `unknown` what it waits for.
    """

    recommendation: Recommendation
    holds: bool | None
    evidence: tuple[Evidence, ...]
    unknown: tuple[str, ...]


class ImagingCall(msgspec.Struct, frozen=True):
    modality: str
    region: str
    priority: str
    alternative: str
    recommendation: str

    @property
    def key(self) -> str:
        """The key of its order in orders.toml; `none-now` has none there."""
        return f"{self.modality}-{self.region}"


class ReferralCall(msgspec.Struct, frozen=True):
    to: str
    priority: str
    recommendation: str

    @property
    def key(self) -> str:
        """The key of its order in orders.toml."""
        return f"referral-{self.to}"


_Call = TypeVar("_Call", ImagingCall, ReferralCall)


class TreatmentCall(msgspec.Struct, frozen=True):
    id: str
    state: str
    because: tuple[str, ...]
    without: tuple[str, ...]
    # The recommendations that say how to offer it with care.
    cautions: tuple[str, ...] = ()


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
    # Whether the causes of the guideline are not those of this patient.
    unranked: bool = False
    imaging: tuple[ImagingCall, ...] = ()
    referrals: tuple[ReferralCall, ...] = ()
    treatment: tuple[TreatmentCall, ...] = ()
    ask: tuple[Asked, ...] = ()
    contradictory: tuple[str, ...] = ()
    without_side: tuple[str, ...] = ()
    working_diagnoses: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()
    # What is recorded and cannot be read; it is neither known nor undocumented.
    not_readable: tuple[Assertion | Unrecognised, ...] = ()
    # The prefetch keys of which nothing, or not all, arrived.
    lacking: frozenset[str] = frozenset()
    # How it was reached, for what is judged by it afterwards.
    reached: _Pass | None = None

    def red_flags(self) -> Iterator[Fired]:
        return (fired for fired in self.fired if fired.recommendation.red_flag)

    def offered(self) -> frozenset[str]:
        """The treatments that are offered, and that nothing holds."""
        return frozenset(call.id for call in self.treatment if call.state == "offer")

    def all_fired(self) -> tuple[Fired, ...]:
        """Whatever holds, also what is said only beside an offer: how to take care with what is not offered."""
        return tuple(self.reached.fired) if self.reached else ()

    def changed_since(self, moment: When) -> bool:
        """Whether something urgent is documented that this moment may not have known."""
        return self.began_since(moment) or any(
            self.is_news(item, moment)
            for fired in self.fired
            if fired.indicator != INDICATORS[-1]
            for item in fired.evidence
        )

    def began_since(self, moment: When) -> bool:
        """Whether a later onset or injury is documented."""
        onset = self.onset()
        return onset is not None and onset.low > moment.high

    def holds(self, criterion: str) -> bool:
        """Whether this named criterion of the knowledge is so on any side."""
        return self.reached is not None and any(chart[criterion] is True for chart in self.reached.patient_charts)

    def unanswered_flags(self) -> tuple[Recommendation, ...]:
        """The red flags of which nobody can tell because what would tell was asked and not answered, could not be
        read, or is recorded in two ways. What was never asked leaves no trace on the chart and is not among them.
        """
        return tuple(self.reached.unanswered_flags()) if self.reached else ()

    def onset(self) -> When | None:
        """The latest onset or injury that is documented, on either side."""
        stated = self.reached.case.assertions.get("onset-date", ()) if self.reached else ()
        dates = (statement.value for statement in stated if isinstance(statement.value, When))
        return max(dates, key=lambda when: when.high, default=None)

    def called_by(self, call: ImagingCall | ReferralCall) -> frozenset[str]:
        """Every recommendation that calls for this, of which the most urgent one stands in the call."""
        calls: list[ImagingCall | ReferralCall] = (
            [*self.reached.imaging, *self.reached.referrals] if self.reached else []
        )
        return frozenset(each.recommendation for each in calls if each.key == call.key)

    def days_since_onset(self, fired: Fired) -> tuple[Interval, ...]:
        """The days since the onset or injury of each side on which this holds, as far as they are known."""
        return self.reached.days_since_onset(fired.recommendation) if self.reached else ()

    def is_news(self, item: Evidence, moment: When) -> bool:
        """Whether this moment may not have known it. What was known as the same before, and only recorded again, is
        no news; nor is a date by when it was written down, but by the day that it names.
        """
        if item.resource in ("", "Patient"):
            return False
        finding = self.reached.case.findings.get(item.finding) if self.reached else None
        if finding and finding.value == "date":
            day = read_when(item.state)
            return day is None or day.low > moment.high
        if item.when and item.when.low <= moment.high:
            return False
        return not (item.when and self.reached and self.reached.was_known(item, moment))


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def _with_lacking(assessment: Assessment, case: Case) -> Assessment:
    return replace(assessment, lacking=case.lacking) if case.lacking else assessment


class Assessor:
    """Assesses cases by one guideline; made once."""

    def __init__(self, guideline: Guideline) -> None:
        self.guideline = guideline
        self.locating = frozenset(f.id for f in guideline.findings.values() if f.locates)
        # Where none of these is stated there is no such complaint.
        self.sought = self.locating | guideline.base_findings([HIP_COMPLAINT])
        self.informative = frozenset(
            f.id
            for f in guideline.findings.values()
            if f.kind in CLINICAL_KINDS and not (f.uninformative_alone or f.background)
        )
        # What each recommendation reads, to say what of it is unknown. Neither a working diagnosis nor a circumstance
        # is asked for.
        self.reads = {
            r.id: sorted(
                name
                for name in guideline.base_findings(n for c in r.conditions() for n in c.findings())
                if guideline.findings[name].kind != "diagnosis" and not guideline.findings[name].background
            )
            for r in guideline.recommendations
        }
        # What is asked of some only, such as pregnancy, is not missing on the charts of others.
        self.asked_when = {f: q.when for q in guideline.questions if q.when and not q.first for f in q.findings}
        self.considered = tuple((cause, f"diagnosed-{cause}", f"considers-{cause}") for cause in guideline.causes)
        self.by_kind = {
            kind: tuple(r for r in guideline.recommendations if r.kind == kind) for kind in RECOMMENDATION_KINDS
        }

        self.grounds = {r.id: grounds_of(r.when, guideline) for r in guideline.recommendations}
        self.grounds_of_points = tuple(grounds_of(entry.when, guideline) for entry in guideline.differential.points)
        self.next_question = NextQuestion(guideline, self.informative, self.grounds)

    def assess(self, case: Case) -> Assessment:
        """The assessment of a case; without the complaint it holds nothing but what was looked at."""
        return _with_lacking(_Pass(self, case).run(), case)

    def judge(self, assessment: Assessment, kind: str, facts: Mapping[str, Value]) -> tuple[Fired, ...]:
        """The recommendations of this kind that hold for what the clinician has in hand, the most important first.

        `facts` say all that the conditions of this kind may read of it, see ADVICE_FACTS. Without the complaint none
        holds.
        """
        return assessment.reached.judge(kind, facts) if assessment.reached else ()

    def verdicts(self, assessment: Assessment, *kinds: str) -> tuple[Verdict, ...]:
        """What comes of each recommendation of these kinds, fired or not, by what is known at the time.

        Nothing is asked of a chart without the complaint.
        """
        return tuple(assessment.reached.verdicts(kinds)) if assessment.reached else ()

    def weights(self, assessment: Assessment) -> tuple[tuple[str, Weighed], ...]:
        """Each point of the rankings, with its side."""
        charts = assessment.reached.charts if assessment.reached and assessment.rankings else ()
        points = self.guideline.differential.points
        weighed = ((chart.side, each) for chart in charts for each in weigh(chart, self.guideline, points))
        return tuple((side or NO_SIDE_NAMED, each) for side, each in weighed)

    def screen(self, case: Case, treatments: Collection[str], *, by_side: bool = False) -> Assessment:
        """What the chart holds against these treatments, whether or not it is about this complaint, and nothing else.

        A medicine that would harm is to be named whatever it was meant for; what can be judged by it afterwards does
        not need the complaint. `by_side`: what is done to one side is held by what is there.
        """
        return _with_lacking(_Pass(self, case).screen(treatments, by_side=by_side), case)

    def concerns(self, chart: Chart) -> bool:
        """Whether what is documented on this side is the complaint of this guideline."""
        return any(
            chart[name] is True or isinstance(chart[name], Interval)
            for name in self.locating
            if name in chart.case.assertions
        ) or (chart[HIP_COMPLAINT] is True)


@dataclass
class _Pass:
    """One assessment under way."""

    assessor: Assessor
    case: Case
    fired: list[Fired] = field(default_factory=list)
    # What a made finding (critical-red-flag, considers-…) stands on.
    made: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # By name, side and whether what has no side counts: findings as they were used, the grounds of named criteria.
    used: dict[tuple[str, str, bool], Evidence] = field(default_factory=dict)
    opened: dict[tuple[str, str, bool], list[str]] = field(default_factory=dict)
    # The made findings that are so, and the marks of all that is stated (see grounds).
    so: set[str] = field(default_factory=set)
    there: set[str] = field(default_factory=set)
    imaging: list[ImagingCall] = field(default_factory=list)
    referrals: list[ReferralCall] = field(default_factory=list)
    treatment: dict[str, TreatmentCall] = field(default_factory=dict)
    cautions: dict[str, list[str]] = field(default_factory=dict)
    flagged: dict[str, list[Fired]] = field(default_factory=dict)
    charts: Sequence[Chart] = ()
    # As the charts, but what has no side counts for each.
    patient_charts: Sequence[Chart] = ()

    def run(self) -> Assessment:
        case, guideline = self.case, self.assessor.guideline
        if not case.assertions:
            # Most charts: nothing of this pain, and no rule has to be asked.
            return self._without_complaint()
        sides = case.sides()
        patient_charts = [Chart(case, side, guideline.definitions, with_sideless=True) for side in sides]
        self.patient_charts = patient_charts
        if not any(self.assessor.concerns(chart) for chart in patient_charts):
            return self._without_complaint()
        side = BILATERAL if len(sides) > 1 else sides[0] or NO_SIDE_NAMED
        self.there = marks_on(patient_charts)
        self._evaluate_all("red-flag", patient_charts)
        waits = self._note_red_flags()
        charts = patient_charts
        if len(sides) > 1:
            charts = self._charts_of(sides)
            self.there |= marks_on(charts)
        self.charts = charts
        flagged = any(fired.recommendation.red_flag for fired in self.fired)
        insufficient = not flagged and not case.knows(self.assessor.informative)
        self._make(charts, "insufficient-data", insufficient, ())
        unranked = is_unranked(guideline.differential, charts)
        rankings = () if waits or insufficient or unranked else self._rank(charts)
        self._note_considered(charts, rankings)
        if not waits:
            self._evaluate_all("plan", charts)
        self._make(charts, "imaging-called-for", bool(self.imaging), ())
        self._make(charts, "mri-called-for", any(call.modality == "mri" for call in self.imaging), ())
        self._evaluate_all("closing", charts)
        self._evaluate_all("treatment", charts)
        withheld = {what for call in self.treatment.values() for what in call.without}
        offered = {call.id for call in self.treatment.values() if call.state == "offer"}
        fired = (f for f in self.fired if _is_said(f.recommendation, withheld, offered))
        return Assessment(
            complaint="present",
            side=side,
            data=dict(case.data),
            left_out=case.left_out,
            fired=tuple(fired),
            located_by=self._located_by(patient_charts),
            rankings=rankings,
            ranking_waits=waits,
            unranked=unranked,
            imaging=_most_urgent(self.imaging, lambda call: (call.modality, call.region)),
            referrals=_most_urgent(self.referrals, lambda call: call.to),
            treatment=tuple(
                msgspec.structs.replace(call, cautions=tuple(self.cautions[id_]))
                if id_ in self.cautions and call.state == "offer"
                else call
                for id_ in TREATMENTS
                if (call := self.treatment.get(id_))
            ),
            # What is asked next must not delay an emergency.
            ask=() if waits else self._ask(patient_charts, rankings),
            contradictory=_unique(
                name
                for chart in patient_charts
                if chart.contradictory
                for name in chart.resolved
                if name in chart.contradictory and name in case.assertions
            ),
            without_side=self._without_side(sides),
            reached=self,
            not_readable=tuple(case.not_readable()),
            known=frozenset(name for name, found in case.assertions.items() for s in found if s.value is not None),
            working_diagnoses=tuple(
                cause
                for cause, diagnosis, _ in self.assessor.considered
                if any(chart[diagnosis] is True for chart in charts)
            ),
        )

    def _charts_of(self, sides: Sequence[str]) -> list[Chart]:
        """What has no side is used for the only side that is documented, and otherwise for neither."""
        definitions = self.assessor.guideline.definitions
        return [Chart(self.case, side, definitions, with_sideless=len(sides) == 1) for side in sides]

    def screen(self, treatments: Collection[str], *, by_side: bool = False) -> Assessment:
        case = self.case
        self.charts = self._charts_of(case.sides() if by_side else (NO_SIDE,))
        for name in AFTER_RED_FLAGS:
            self._make(self.charts, name, False, ())
        for recommendation in self.assessor.by_kind["treatment"]:
            if any(call.state == "hold" and call.id in treatments for call in recommendation.treatment):
                self._evaluate(recommendation, self.charts)
        return Assessment(
            self._complaint_not_found(),
            NO_SIDE_NAMED,
            dict(case.data),
            case.left_out,
            fired=tuple(self.fired),
            treatment=tuple(self.treatment[id_] for id_ in TREATMENTS if id_ in self.treatment),
            not_readable=tuple(case.not_readable()),
            reached=self,
        )

    def _located_by(self, charts: Sequence[Chart]) -> tuple[Evidence, ...]:
        found: dict[tuple[str, str], Evidence] = {}
        for chart in charts:
            named = [name for name in self.case.assertions if name in self.assessor.locating and chart[name]]
            hip = self.assessor.guideline.definitions[HIP_COMPLAINT][1]
            for name in named or (self._grounds(chart, hip) if chart[HIP_COMPLAINT] else ()):
                item = self._used(chart, name)
                found[(item.finding, item.side)] = item
        return tuple(found.values())

    def _without_complaint(self) -> Assessment:
        case = self.case
        return Assessment(
            self._complaint_not_found(),
            NO_SIDE_NAMED,
            dict(case.data),
            case.left_out,
            not_readable=tuple(case.not_readable()),
        )

    def _complaint_not_found(self) -> str:
        """Absent when all that may tell of it arrived and does not; otherwise it cannot be told."""
        lacking = self.case.lacks() or self.case.is_left_out()
        undecided = any(
            statement.value is None
            for name in self.assessor.locating & self.case.assertions.keys()
            for statement in self.case.assertions[name]
        )
        return "unknown" if lacking or undecided else "absent"

    def days_since_onset(self, recommendation: Recommendation) -> tuple[Interval, ...]:
        charts = self.patient_charts if recommendation.kind == "red-flag" else self.charts
        found = (chart["days-since-onset"] for chart in charts if recommendation.when.test(chart))
        return tuple(days for days in found if isinstance(days, Interval))

    def was_known(self, item: Evidence, moment: When) -> bool:
        """Whether the last that was stated of it up to this moment is what holds now."""
        earlier = resolve(
            statement
            for statement in self.case.assertions.get(item.finding, ())
            if statement.when
            and statement.when.low <= moment.high
            and (not item.side or statement.side in (item.side, BILATERAL, NO_SIDE))
        )
        return earlier.value is not None and self._with_unit(item.finding, earlier.value) == item.state

    def judge(self, kind: str, facts: Mapping[str, Value]) -> tuple[Fired, ...]:
        assessed, self.fired = self.fired, []
        for chart in self.charts:
            chart.update(facts)
        for recommendation in self.assessor.by_kind[kind]:
            self._evaluate(recommendation, self.charts)
        judged, self.fired = self.fired, assessed
        return tuple(sorted(judged, key=lambda fired: INDICATORS.index(fired.indicator)))

    def unanswered_flags(self) -> Iterator[Recommendation]:
        raised = {flag.id for fired in self.fired if (flag := fired.recommendation.red_flag)}
        for recommendation in self.assessor.by_kind["red-flag"]:
            flag = recommendation.red_flag
            if (
                flag
                and flag.id not in raised
                and any(self._waits(chart, recommendation) for chart in self.patient_charts)
            ):
                yield recommendation

    def _waits(self, chart: Chart, recommendation: Recommendation) -> bool:
        """Whether this waits for a finding that was asked and not answered, could not be read or is recorded in two
        ways.
        """
        if recommendation.when.test(chart) is not None:
            return False
        assertions = self.case.assertions
        return any(
            name in chart.contradictory or any(assertion.value is None for assertion in assertions.get(name, ()))
            for name in self._waited_for(chart, recommendation.when)
        )

    def presentations(self, radiograph_at_hand: bool, supposed: str = "") -> tuple[tuple[Presentation, Rating], ...]:
        """Every rating that holds for this chart, with the presentation that it is of; `supposed` is a red flag that
        is taken as raised.
        """
        flags = {flag.id for fired in self.fired if (flag := fired.recommendation.red_flag)} | {supposed}
        for chart in self.charts:
            chart.update({f"flag-{flag}": flag in flags for flag in RED_FLAGS})
            # In pregnancy no MRI waits for a radiograph.
            at_hand = radiograph_at_hand or chart["radiograph-or-pregnancy"] is True
            chart[RADIOGRAPH_AT_HAND] = at_hand
        return tuple(
            (presentation, rating)
            for presentation in self.assessor.guideline.presentations
            if any(presentation.when.test(chart) for chart in self.charts)
            for rating in presentation.ratings
            if rating.when is None or any(rating.when.test(chart) for chart in self.charts)
        )

    def verdicts(self, kinds: Collection[str]) -> Iterator[Verdict]:
        for kind in kinds:
            charts = self.patient_charts if kind == "red-flag" else self.charts
            for recommendation in self.assessor.by_kind[kind]:
                yield self._verdict(recommendation, charts)

    def _verdict(self, recommendation: Recommendation, charts: Sequence[Chart]) -> Verdict:
        """Of all sides: yes where it is on one, no where it is on each."""
        sides = [(recommendation.when.test(chart), chart) for chart in charts]
        holds = next((verdict for verdict in (True, None) if any(of is verdict for of, _chart in sides)), False)
        evidence: dict[tuple[str, str], Evidence] = {}
        unknown: list[str] = []
        for chart in (chart for of, chart in sides if of is holds):
            read = recommendation.when.leaves() if holds is None else [recommendation.when]
            for name in (name for condition in read for name in self._grounds(chart, condition)):
                item = self._used(chart, name)
                evidence.setdefault((item.finding, item.side), item)
            if holds is None:
                unknown += self._waited_for(chart, recommendation.when)
            elif holds:
                unknown += self._unknown(chart, recommendation)
        return Verdict(recommendation, holds, tuple(evidence.values()), _unique(unknown))

    def _waited_for(self, chart: Chart, condition: Condition) -> Iterator[str]:
        """The findings by which a condition cannot be told, named criteria opened."""
        definitions = self.assessor.guideline.definitions
        for leaf in condition.carried_by(chart):
            if leaf.finding in definitions and chart[leaf.finding] is None:
                yield from self._waited_for(chart, definitions[leaf.finding][1])
            elif leaf.test(chart) is None:
                yield DAYS_SINCE.get(leaf.finding, leaf.finding)

    # -- rules --------------------------------------------------------------------------------------------------------

    def _evaluate_all(self, kind: str, charts: Sequence[Chart]) -> None:
        there = self.there | self.so
        for recommendation in self.assessor.by_kind[kind]:
            if may_hold(self.assessor.grounds[recommendation.id], there):
                self._evaluate(recommendation, charts)

    def _evaluate(self, recommendation: Recommendation, charts: Sequence[Chart]) -> None:
        met = [chart for chart in charts if recommendation.when.test(chart)]
        if not met:
            return
        crucial = recommendation.critical_when
        critical = False
        evidence: dict[tuple[str, str], Evidence] = {}
        unknown: list[str] = []
        for chart in met:
            grounds = self._grounds(chart, recommendation.when)
            if crucial is not None and crucial.test(chart):
                critical = True
                grounds += self._grounds(chart, crucial)
            for name in grounds:
                item = self._used(chart, name)
                evidence.setdefault((item.finding, item.side), item)
            unknown += self._unknown(chart, recommendation)
            self._collect(recommendation, chart)
        fired = Fired(
            recommendation,
            "critical" if critical else recommendation.indicator,
            tuple(evidence.values()) if len(met) == 1 else _without_the_other_side(evidence.values()),
            _unique(unknown),
        )
        self.fired.append(fired)
        self._collect_treatment(recommendation, fired)

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
            if treatment.state == "caution":
                self.cautions.setdefault(treatment.id, []).append(recommendation.id)
                continue
            before = self.treatment.get(treatment.id)
            held = "hold" in (treatment.state, before.state if before else "")
            named = [name for name in fired.findings() if name in self.case.findings or name in OF_THE_PATIENT]
            because = named if treatment.state == "hold" or treatment.without else ()
            self.treatment[treatment.id] = TreatmentCall(
                treatment.id,
                "hold" if held else "offer",
                _unique((*(before.because if before else ()), *because)),
                _unique((*(before.without if before else ()), *treatment.without)),
            )

    def _make(self, charts: Iterable[Chart], name: str, value: bool, grounds: Iterable[str]) -> None:
        self.made[name] = _unique(grounds)
        if value:
            self.so.add(name)
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

    def _rank(self, charts: Sequence[Chart]) -> tuple[Ranking, ...]:
        guideline, there = self.assessor.guideline, self.there | self.so
        entries = zip(guideline.differential.points, self.assessor.grounds_of_points, strict=True)
        points = [entry for entry, grounds in entries if may_hold(grounds, there)]
        return tuple([rank(chart, guideline, points) for chart in charts])

    def _note_considered(self, charts: Sequence[Chart], rankings: Sequence[Ranking]) -> None:
        """A cause is considered when it leads or is the clinician's working diagnosis."""
        for name, fired in self.flagged.items():
            self._make(charts, name, bool(fired), (finding for item in fired for finding in item.findings()))
        for number, chart in enumerate(charts):
            leader = rankings[number].leader if rankings else None
            for cause, diagnosis, considered in self.assessor.considered:
                diagnosed = chart[diagnosis] is True
                leads = leader is not None and leader.id == cause
                chart[considered] = leads or diagnosed
                grounds = self.made.setdefault(considered, ())
                if leads or diagnosed:
                    self.so.add(considered)
                    leading = leader.speaks_for if leads and leader else ()
                    self.made[considered] = _unique((*grounds, *leading, *([diagnosis] if diagnosed else ())))

    # -- reasons ------------------------------------------------------------------------------------------------------

    def _grounds(self, chart: Chart, condition: Condition) -> list[str]:
        """The findings of the chart that carry this condition's verdict, named criteria opened."""
        findings, definitions = self.assessor.guideline.findings, self.assessor.guideline.definitions
        grounds: list[str] = []
        for leaf in condition.carried_by(chart):
            name = leaf.finding
            if leaf.operand == CONTRADICTORY:
                if leaf.test(chart):
                    grounds.append(name)
                continue
            value = chart[name]
            if value is None:
                continue
            if name in findings:
                grounds.append(name)
            elif name in definitions:
                # Many recommendations stand on one criterion.
                key = (name, chart.side, chart.with_sideless)
                if key not in self.opened:
                    self.opened[key] = self._grounds(chart, definitions[name][1])
                grounds += self.opened[key]
            elif name in self.made:
                grounds += self.made[name] if value else ()
            elif name in DAYS_SINCE:
                grounds.append(DAYS_SINCE[name])
            elif name == "sacroiliac-tests-positive":
                grounds += (test for test in SACROILIAC_TESTS if chart[test] is not None)
            elif value is not False:
                # What is not so about the thing in hand is no reason.
                grounds.append(name)
        return grounds

    def _unknown(self, chart: Chart, recommendation: Recommendation) -> list[str]:
        asked = self.assessor.asked_when
        unknown: list[str] = []
        for name in self.assessor.reads[recommendation.id]:
            # A finding of which nothing holds may still have a date, which conditions read in another form.
            if chart[name] is not None or name in chart.dated:
                continue
            if name not in asked or asked[name].test(chart) is not False:
                unknown.append(name)
                if len(unknown) == UNKNOWN_AT_MOST:
                    break
        return unknown

    def _used(self, chart: Chart, name: str) -> Evidence:
        if name not in self.case.findings:
            return Evidence(name, _state(chart[name]), "", "", "Patient" if name in OF_THE_PATIENT else "", ())
        # Many recommendations stand on one finding.
        key = (name, chart.side, chart.with_sideless)
        used = self.used.get(key)
        if used is None:
            used = self.used[key] = self._evidence(chart, name)
        return used

    def _evidence(self, chart: Chart, name: str) -> Evidence:
        value = chart[name]
        resolved = chart.resolved.get(name)
        assertion = resolved.assertion if resolved else None
        if assertion is None:
            # Made from other assertions, as leg symptoms on both sides are.
            return Evidence(name, _state(value), "", "", "", ())
        state = self._with_unit(name, value if value is not None else assertion.value)
        return Evidence(
            name,
            CONTRADICTORY if name in chart.contradictory else state,
            assertion.side,
            assertion.when.text if assertion.when else "",
            assertion.resource,
            assertion.remarks,
            assertion.when,
        )

    def _with_unit(self, name: str, value: object) -> str:
        # A UCUM annotation such as {score} is no unit that a clinician reads.
        unit = self.case.findings[name].unit
        return f"{_state(value)} {unit}" if unit and not unit.startswith("{") else _state(value)

    def _ask(self, patient_charts: Sequence[Chart], rankings: Sequence[Ranking]) -> tuple[Asked, ...]:
        held = {fired.recommendation.id: fired.indicator == "critical" for fired in self.fired}
        return self.assessor.next_question.ask(
            Assessed(self.case, patient_charts, self.charts, held, rankings, self.there, frozenset(self.so))
        )

    def _without_side(self, sides: Sequence[str]) -> tuple[str, ...]:
        if tuple(sides) != (LEFT, RIGHT):
            return ()
        return tuple(
            name
            for name, found in self.case.assertions.items()
            if not self.case.findings[name].whole_patient
            and name != "onset-date"
            and any(statement.value is not None and not statement.side for statement in found)
        )


def _without_the_other_side(evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """What is known of one side is not also listed as unknown of the other."""
    items = tuple(evidence)
    known = {item.finding for item in items if item.state != "unknown"}
    return tuple(item for item in items if item.state != "unknown" or item.finding not in known)


def _is_said(recommendation: Recommendation, withheld: set[str], offered: set[str]) -> bool:
    """Not what another recommendation leaves out, nor how to take care with what is not offered."""
    if any(withheld & set(treatment.adds) for treatment in recommendation.treatment):
        return False
    cautioned = {treatment.id for treatment in recommendation.treatment if treatment.state == "caution"}
    return not cautioned or bool(cautioned & offered)


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
