"""A proposition about all charts, as a term and as what can be seen of an assessment; what can be observed of a
chart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from service.knowledge_model.model import Knowledge, Recommendation
from service.knowledge_model.properties import Properties
from service.knowledge_model.vocabulary import CHART_KINDS, INDICATORS, PRIORITIES
from service.proof.formula import ChartFormula, Formula
from service.proof.terms import Terms
from service.reasoning.assessment import Assessment, ImagingCall
from service.reasoning.kernel import NEVER, Atom, Kernel

NONE_NOW = "none-now"
# The id of a property, and the name of a proposition within it.
Name: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Observed:
    """Something that is decided of a chart: by its places in the kernel, and as it is seen of an assessment."""

    words: str
    term: Callable[[ChartFormula], int]
    seen: Callable[[Assessment], bool]


@dataclass(frozen=True)
class Claim:
    """That something is, or is not, decided of the chart with this number."""

    chart: int
    observed: Observed
    holds: bool = True


@dataclass(frozen=True)
class Proposition:
    """What is never so, of one chart or of two that differ in one thing.

    of: its name within the property; broken_by: what is all so where it does not hold; given: what charts it is about.
    """

    property: str
    of: str
    words: str
    charts: tuple[ChartFormula, ...]
    broken_by: tuple[Claim, ...]
    given: tuple[int, ...] = ()
    # Whether it says that there is such a chart, and not that there is none.
    exists: bool = False

    @cached_property
    def name(self) -> Name:
        """Its name among those of all properties."""
        return self.property, self.of

    @cached_property
    def broken(self) -> int:
        """The term that is so where this does not hold."""
        terms = self.charts[0].terms
        claimed = []
        for claim in self.broken_by:
            chart = self.charts[claim.chart]
            term = terms.both((chart.complaint, claim.observed.term(chart)))
            claimed.append(term if claim.holds else -term)
        return terms.both((*claimed, *self.given))


@dataclass(frozen=True)
class Read:
    """What the recommendations read that a property forbids: a path through the conditions, no chart."""

    property: str
    of: str
    words: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Called:
    """An imaging or a referral that a recommendation calls for, by the key of its order."""

    key: str
    priority: str
    modality: str


@dataclass
class Charted:
    """One compiled knowledge, a chart of which nothing is given, and what can be observed of charts."""

    knowledge: Knowledge
    kernel: Kernel
    properties: Properties
    formula: Formula = field(init=False)
    chart: ChartFormula = field(init=False)

    def __post_init__(self) -> None:
        self.formula = Formula(self.knowledge, self.kernel)
        self.chart = ChartFormula(self.formula)
        self.recommendations = [r for r in self.knowledge.recommendations if r.kind in CHART_KINDS]
        self.red_flags = [r for r in self.recommendations if r.red_flag]
        # The treatments that anything holds.
        self.held = tuple(name for term, *names in self.kernel.outcome for name in names if term == "hold")
        self._worse: dict[str, ChartFormula] = {}

    @property
    def terms(self) -> Terms:
        return self.formula.terms

    # -- what is observed ---------------------------------------------------------------------------------------------

    def urgency(self, level: str) -> Observed:
        """A card of this level or a more urgent one."""
        levels = INDICATORS[: INDICATORS.index(level) + 1]
        places = [self.kernel.outcome["tier", each] for each in levels if ("tier", each) in self.kernel.outcome]
        return Observed(
            f"a card of the level {level}" + (" or above" if len(levels) > 1 else ""),
            lambda chart: self.terms.either(chart.values[place] for place in places),
            lambda assessment: any(fired.indicator in levels for fired in assessment.all_fired),
        )

    def fires(self, recommendation: Recommendation) -> Observed:
        place = self.kernel.recommendations[recommendation.id].fires
        return Observed(
            f"{recommendation.id} ({recommendation.title})",
            lambda chart: chart.values[place],
            lambda assessment: any(f.recommendation.id == recommendation.id for f in assessment.all_fired),
        )

    def raises(self, recommendation: Recommendation) -> Observed:
        """The red flag of this recommendation, by whichever one."""
        flag = recommendation.red_flag.id if recommendation.red_flag else ""
        same = {r.id for r in self.red_flags if r.red_flag and r.red_flag.id == flag}
        places = [self.kernel.recommendations[id_].fires for id_ in same]
        return Observed(
            f"the red flag {flag}",
            lambda chart: self.terms.either(chart.values[place] for place in places),
            lambda assessment: any(f.recommendation.id in same for f in assessment.all_fired),
        )

    def calls(self, words: str, key: str, most: str, by: Iterable[Recommendation] | None = None) -> Observed:
        """A call for this imaging or referral (the key of its order), at this priority or a more urgent one."""
        priorities = PRIORITIES[: PRIORITIES.index(most) + 1]
        among = self.recommendations if by is None else list(by)
        ids = {r.id for r in among}
        places = [
            place for r in among for call, place in self.calls_of(r) if call.key == key and call.priority in priorities
        ]
        return Observed(
            words,
            lambda chart: self.terms.either(chart.values[place] for place in places),
            lambda assessment: any(
                call.key == key and call.priority in priorities and call.recommendation in ids
                for call in assessment.calls
            ),
        )

    def one_of_calls(self, calls: str) -> Observed:
        """One of these calls, each a key and the priority that it has at least: "radiograph-hip stat or referral-…"."""
        named = [call.split() for call in calls.split(" or ")]
        each = [self.calls(key, key, priority) for key, priority in named]
        return Observed(
            calls,
            lambda chart: self.terms.either(one.term(chart) for one in each),
            lambda assessment: any(one.seen(assessment) for one in each),
        )

    def calls_of(self, recommendation: Recommendation) -> Iterator[tuple[Called, int]]:
        compiled = self.kernel.recommendations[recommendation.id]
        for imaging, place in zip(recommendation.imaging, compiled.imaging, strict=True):
            yield Called(f"{imaging.modality}-{imaging.region}", imaging.priority, imaging.modality), place
        for referral, place in zip(recommendation.referrals, compiled.referrals, strict=True):
            yield Called(f"referral-{referral.to}", referral.priority, ""), place

    def in_time(self) -> Observed:
        """A call with a deadline: at once or urgent."""
        places = [
            place
            for r in self.recommendations
            for call, place in self.calls_of(r)
            if call.priority != PRIORITIES[-1] and call.modality != NONE_NOW
        ]
        return Observed(
            "imaging or a referral with a deadline",
            lambda chart: self.terms.either(chart.values[place] for place in places),
            lambda assessment: any(
                call.priority != PRIORITIES[-1] and not (isinstance(call, ImagingCall) and call.modality == NONE_NOW)
                for call in assessment.calls
            ),
        )

    def imaging(self, *, none_now: bool, region: str = "") -> Observed:
        """Imaging, or with none_now the advice to do none for now."""

        def counts(modality: str, of: str) -> bool:
            return (modality == NONE_NOW) is none_now and (not region or of == region)

        places = [
            place
            for r in self.recommendations
            for imaging, place in zip(r.imaging, self.kernel.recommendations[r.id].imaging, strict=True)
            if counts(imaging.modality, imaging.region)
        ]
        return Observed(
            ("no imaging for now" if none_now else "imaging") + (f" of {region}" if region else ""),
            lambda chart: self.terms.either(chart.values[place] for place in places),
            lambda assessment: any(
                isinstance(call, ImagingCall) and counts(call.modality, call.region) for call in assessment.calls
            ),
        )

    def offers(self, treatment: str) -> Observed:
        offered = self.kernel.outcome.get(("offer", treatment), NEVER)
        held = self.kernel.outcome.get(("hold", treatment), NEVER)
        return Observed(
            f"an offer of {treatment}",
            lambda chart: self.terms.both((chart.values[offered], -chart.values[held])),
            lambda assessment: treatment in assessment.offered(),
        )

    def holds(self, treatment: str) -> Observed:
        held = self.kernel.outcome.get(("hold", treatment), NEVER)
        return Observed(
            f"a hold of {treatment}",
            lambda chart: chart.values[held],
            lambda assessment: any(call.id == treatment and call.state == "hold" for call in assessment.treatment),
        )

    def leads(self, cause: str) -> Observed:
        return Observed(
            f"{cause} leads",
            lambda chart: chart.leads[cause],
            lambda assessment: any(of.leader is not None and of.leader.id == cause for of in assessment.rankings),
        )

    def state(self, finding: str, state: str, chart: ChartFormula | None = None) -> int:
        """Where a finding is present or absent."""
        places = self.kernel.atoms[Atom(finding)]
        return (chart or self.chart).values[places.true if state == "present" else places.false]

    def directed(self, direction: str) -> Iterator[str]:
        """The findings of this direction that have two states."""
        for finding in self.knowledge.findings.values():
            if finding.direction == direction and finding.value == "boolean":
                yield finding.id

    def title(self, finding: str) -> str:
        return self.knowledge.title_of(finding)

    def worse(self, finding: str) -> tuple[ChartFormula, tuple[int, ...]]:
        """The chart with this finding present, and that it was unknown or absent, and not recorded in two ways."""
        given = (-self.state(finding, "present"), -self.chart.contradictory[finding])
        if finding not in self._worse:
            self._worse[finding] = self.chart.stated(finding, present=True)
        return self._worse[finding], given

    def critical(self, recommendation: Recommendation) -> Observed:
        place = self.kernel.recommendations[recommendation.id].critical
        return Observed(
            f"the critical card of {recommendation.id} ({recommendation.title})",
            lambda chart: chart.values[place],
            lambda assessment: any(
                f.recommendation.id == recommendation.id and f.indicator == INDICATORS[0] for f in assessment.all_fired
            ),
        )

    def never(self, property_: str, of: str, words: str, *broken_by: Observed) -> Proposition:
        """That these are never decided of one chart."""
        return Proposition(property_, of, words, (self.chart,), tuple(Claim(0, each) for each in broken_by))
