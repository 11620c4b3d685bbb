"""The ranking of causes on one side: transparent points, no probability.

All weights are knowledge (differential.toml): history and place of tenderness add points, of each family of tests the
one with the largest weight counts, caps and vetoes keep what is not specific from leading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from service.chart.derived import Chart
from service.guideline.conditions import Condition, Interval
from service.guideline.model import Cap, Differential, Guideline, Points, WeightedTest

NO_SIDE_NAMED = "unspecified"


class RankedCause(msgspec.Struct, frozen=True):
    """One cause on one side. band: leads, possible, less-likely, not-assessed."""

    id: str
    side: str
    band: str
    points: int
    speaks_for: tuple[str, ...]
    speaks_against: tuple[str, ...]


class Weighed(msgspec.Struct, frozen=True):
    """What a cause has points for, or against. `family` is that of a test, and empty for history and tenderness."""

    cause: str
    points: int
    findings: tuple[str, ...]
    family: str
    source: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """The causes of one side, best first. `clear`: the distance to the next is such that no second cause is named."""

    side: str
    causes: tuple[RankedCause, ...]
    clear: bool
    families_known: int
    families: int
    leader: RankedCause | None


class _Score:
    """The points of every cause, and the findings that speak for and against it."""

    def __init__(self, causes: Iterable[str]) -> None:
        self.points = dict.fromkeys(causes, 0)
        self.speaks_for: dict[str, dict[str, None]] = {cause: {} for cause in self.points}
        self.speaks_against: dict[str, dict[str, None]] = {cause: {} for cause in self.points}

    def add(self, cause: str, weight: int, findings: Iterable[str]) -> None:
        self.points[cause] += weight
        (self.speaks_for if weight > 0 else self.speaks_against)[cause].update(dict.fromkeys(findings))


def weigh(chart: Chart, guideline: Guideline, points: Iterable[Points]) -> Iterator[Weighed]:
    """Everything that counts on the side of this chart, of these points and of the tests."""
    rules = guideline.differential
    for entry in points:
        if entry.when.test(chart):
            yield Weighed(entry.cause, entry.points, tuple(_named(chart, guideline, entry.when)), "", entry.source)
    for (cause, family), (tests, caps) in rules.families.items():
        if result := family_result(chart, tests, caps):
            weight, finding = result
            done = _done(chart, guideline, finding, positive=weight > 0)
            source = next(test.source for test in tests if test.finding == finding)
            yield Weighed(cause, weight, tuple(done), family, source)


def is_unranked(rules: Differential, charts: Iterable[Chart]) -> bool:
    """Whether no cause is ranked on these charts, whatever is documented."""
    condition = rules.unranked
    return condition is not None and any(condition.test(chart) for chart in charts)


def rank(chart: Chart, guideline: Guideline, points: Iterable[Points]) -> Ranking:
    """The causes on the side of this chart, best first; `points` are at least those that hold there."""
    rules = guideline.differential
    score = _Score(guideline.causes)
    known = set()
    for weighed in weigh(chart, guideline, points):
        score.add(weighed.cause, weighed.points, weighed.findings)
        if weighed.family:
            known.add(weighed.family)
    order = sorted(guideline.causes, key=lambda cause: -score.points[cause])
    top, distance = score.points[order[0]], score.points[order[0]] - score.points[order[1]]
    leads = leader_of(score.points, rules, chart)

    def band(cause: str) -> str:
        if cause == leads:
            return "leads"
        if not (score.speaks_for[cause] or score.speaks_against[cause]):
            return "not-assessed"
        near = leads is None or top - score.points[cause] < rules.clear_by
        return "possible" if score.points[cause] > 0 and near else "less-likely"

    side = chart.side or NO_SIDE_NAMED
    if any(chart[place] is not None for place in rules.tenderness):
        known.add("tenderness")
    causes = tuple(
        RankedCause(
            cause,
            side,
            band(cause),
            score.points[cause],
            tuple(score.speaks_for[cause]),
            tuple(score.speaks_against[cause]),
        )
        for cause in order
    )
    return Ranking(
        side=side,
        causes=causes,
        clear=distance >= rules.clear_by,
        families_known=len(known),
        families=rules.family_count + 1,
        leader=causes[0] if leads else None,
    )


def _done(chart: Chart, guideline: Guideline, finding: str, *, positive: bool) -> Iterable[str]:
    """The tests behind a result: the test itself, or those of a group that came out that way."""
    if finding in guideline.findings:
        return [finding]
    return [name for name in sorted(guideline.base_findings([finding])) if chart[name] is positive]


def leader_of(points: Mapping[str, int], rules: Differential, chart: Chart) -> str | None:
    """The cause that leads with these points: enough of them, far enough from the next, and no veto."""
    order = sorted(points, key=lambda cause: -points[cause])
    first, second = order[:2]
    if points[first] < rules.lead_at_least or points[first] - points[second] < rules.lead_by:
        return None
    return None if any(veto.cause == first and veto.when.test(chart) for veto in rules.vetoes) else first


def family_result(chart: Chart, tests: Iterable[WeightedTest], caps: Iterable[Cap]) -> tuple[int, str] | None:
    """Weight and test. Tests of a family are correlated: the one with the largest weight counts."""
    best: tuple[int, str] | None = None
    for test in tests:
        # Most tests were not done.
        result = None if chart[test.finding] is None else _test_result(chart, test.finding)
        if result is None:
            continue
        weight = test.positive if result else test.negative
        if not weight:
            # This outcome says nothing of the cause, for or against.
            continue
        if best is None or abs(weight) > abs(best[0]):
            best = (weight, test.finding)
    if best:
        for cap in caps:
            if cap.when.test(chart):
                best = (min(best[0], cap.at_most), best[1])
    return best


def _test_result(chart: Chart, finding: str) -> bool | None:
    """Positive or negative; for the sacroiliac tests negative means that all six are."""
    value = chart[finding]
    if finding == "sacroiliac-provocation" and value is False:
        return False if chart["sacroiliac-tests-positive"] == Interval(0, 0) else None
    return value if isinstance(value, bool) else None


def _named(chart: Chart, guideline: Guideline, condition: Condition) -> Iterator[str]:
    for leaf in condition.carried_by(chart):
        if chart[leaf.finding] is None:
            continue
        if leaf.finding in guideline.definitions:
            yield from _named(chart, guideline, guideline.definitions[leaf.finding][1])
        elif leaf.finding in guideline.findings:
            yield leaf.finding
