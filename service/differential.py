"""The ranking of causes on one side: transparent points, no probability.

All weights are knowledge (differential.toml): history and place of tenderness add points, of each family of tests the
one with the largest weight counts, caps and vetoes keep what is not specific from leading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from service.conditions import Condition, Interval
from service.derived import Chart
from service.guideline import Guideline

NO_SIDE_NAMED = "unspecified"


class RankedCause(msgspec.Struct, frozen=True):
    """One cause on one side. band: leads, possible, less-likely, not-assessed."""

    id: str
    side: str
    band: str
    points: int
    speaks_for: tuple[str, ...]
    speaks_against: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The causes of one side, best first. `clear`: the distance to the next is such that no second cause is named."""

    side: str
    causes: tuple[RankedCause, ...]
    clear: bool
    families_known: int
    families: int

    @property
    def leader(self) -> RankedCause | None:
        return next((cause for cause in self.causes if cause.band == "leads"), None)


class _Score:
    """The points of every cause, and the findings that speak for and against it."""

    def __init__(self, causes: Iterable[str]) -> None:
        self.points = dict.fromkeys(causes, 0)
        self.speaks_for: dict[str, dict[str, None]] = {cause: {} for cause in self.points}
        self.speaks_against: dict[str, dict[str, None]] = {cause: {} for cause in self.points}

    def add(self, cause: str, weight: int, findings: Iterable[str]) -> None:
        self.points[cause] += weight
        (self.speaks_for if weight > 0 else self.speaks_against)[cause].update(dict.fromkeys(findings))


def rank(chart: Chart, guideline: Guideline) -> Ranking:
    """The causes on the side of this chart, best first."""
    rules = guideline.differential
    score = _Score(guideline.causes)
    for entry in rules.points:
        if entry.when.test(chart):
            score.add(entry.cause, entry.points, _named(chart, guideline, entry.when))
    results = _test_results(chart, guideline)
    for (cause, _family), (weight, finding) in results.items():
        score.add(cause, weight, _done(chart, guideline, finding, positive=weight > 0))
    vetoed = {veto.cause for veto in rules.vetoes if veto.when.test(chart)}
    order = sorted(guideline.causes, key=lambda cause: -score.points[cause])
    top, distance = score.points[order[0]], score.points[order[0]] - score.points[order[1]]
    leads = top >= rules.lead_at_least and distance >= rules.lead_by and order[0] not in vetoed

    def band(cause: str) -> str:
        if leads and cause == order[0]:
            return "leads"
        if not (score.speaks_for[cause] or score.speaks_against[cause]):
            return "not-assessed"
        near = not leads or top - score.points[cause] < rules.clear_by
        return "possible" if score.points[cause] > 0 and near else "less-likely"

    side = chart.side or NO_SIDE_NAMED
    known = {family for _cause, family in results}
    if any(chart[place] is not None for place in rules.tenderness):
        known.add("tenderness")
    return Ranking(
        side=side,
        causes=tuple(
            RankedCause(
                cause,
                side,
                band(cause),
                score.points[cause],
                tuple(score.speaks_for[cause]),
                tuple(score.speaks_against[cause]),
            )
            for cause in order
        ),
        clear=distance >= rules.clear_by,
        families_known=len(known),
        families=len({test.family for test in rules.tests}) + 1,
    )


def _done(chart: Chart, guideline: Guideline, finding: str, *, positive: bool) -> Iterable[str]:
    """The tests behind a result: the test itself, or those of a group that came out that way."""
    if finding in guideline.findings:
        return [finding]
    return [name for name in sorted(guideline.base_findings([finding])) if chart[name] is positive]


def _test_results(chart: Chart, guideline: Guideline) -> dict[tuple[str, str], tuple[int, str]]:
    """(cause, family) -> weight and test. Tests of a family are correlated: the one with the largest weight counts."""
    best: dict[tuple[str, str], tuple[int, str]] = {}
    for test in guideline.differential.tests:
        result = _test_result(chart, test.finding)
        if result is None:
            continue
        weight = test.positive if result else test.negative
        key = (test.cause, test.family)
        if key not in best or abs(weight) > abs(best[key][0]):
            best[key] = (weight, test.finding)
    for cap in guideline.differential.caps:
        if (cap.cause, cap.family) in best and cap.when.test(chart):
            weight, finding = best[(cap.cause, cap.family)]
            best[(cap.cause, cap.family)] = (min(weight, cap.at_most), finding)
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
