"""The chart of one side: what is known of every finding, and what follows from it as engine.toml says."""

from __future__ import annotations

from collections.abc import Iterable

from service.chart.case import Case, Resolved
from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT
from service.chart.fhir_time import When, days_before
from service.knowledge_model.conditions import Interval, Value


class Chart:
    """The chart of one side of a case; with NO_SIDE, of the patient as a whole.

    known: finding or derived quantity -> its value, without what is unknown; a date is known by the days since then.
    resolved: every finding that is stated, with the assertion that counts; contradictory: what is unknown because it is
    recorded both as present and as absent at the same time; on_both_sides: see sides_with, of each such finding.
    """

    __slots__ = ("case", "contradictory", "dated", "known", "on_both_sides", "resolved", "side", "with_sideless")

    def __init__(self, case: Case, side: str, *, with_sideless: bool) -> None:
        self.case, self.side, self.with_sideless = case, side, with_sideless
        self.resolved = {name: case.resolve(name, side, with_sideless=with_sideless) for name in case.assertions}
        derived = case.derived
        self.on_both_sides = {name: sides_with(case, name) for name in derived.on_both_sides}
        for name in (*derived.on_both_sides, *derived.on_either_side, *derived.on_the_other_side):
            self.resolved[name] = self._derived_finding(name)
        self.dated: set[str] = set()
        self.known: dict[str, Value] = {}
        for name, resolved in self.resolved.items():
            if isinstance(resolved.value, When):
                self.dated.add(name)
            elif resolved.value is not None:
                self.known[name] = resolved.value
        quantities = {
            "age": case.patient.age,
            "sex": case.patient.sex,
            **{name: _days_since(self, date) for name, date in derived.days_since.items()},
            **{name: _count_of(self, counted) for name, counted in derived.count_of.items()},
        }
        self.known |= {name: value for name, value in quantities.items() if value is not None}
        self.contradictory = frozenset(
            name for name, resolved in self.resolved.items() if resolved.contradictory and name not in self.known
        )

    def __getitem__(self, name: str) -> Value:
        return self.known.get(name)

    def _derived_finding(self, name: str) -> Resolved:
        """What is stated itself stays where others tell nothing, for it may be contradictory."""
        stated = self.case.resolve(name, self.side, with_sideless=self.with_sideless)
        # What is stated of each side outweighs that it is not so.
        if stated.value is True:
            return stated
        either = self.case.derived.on_either_side
        if name in self.case.derived.on_the_other_side:
            derived = _on_the_other_side(self.case, self.side, name)
        else:
            derived = self.case.on_either_side(either[name]) if name in either else self._is_on_both_sides(name)
        return stated if derived.value is None else derived

    def _is_on_both_sides(self, name: str) -> Resolved:
        found = self.on_both_sides[name].values()
        on_both = all(any(side in sides for sides in found) for side in (LEFT, RIGHT))
        return Resolved(True if on_both else None, None)


def sides_with(case: Case, name: str) -> dict[str, frozenset[str]]:
    """Of a finding that is also present by others on both sides: each of these that is present -> left, right or both,
    where it is."""
    found: dict[str, frozenset[str]] = {}
    for of in case.derived.on_both_sides[name]:
        # Most often none of them is there.
        if True in [each.value for each in case.assertions.get(of, ())]:
            sides = [side for side in (LEFT, RIGHT) if case.resolve(of, side, with_sideless=False).value is True]
            if sides:
                found[of] = frozenset(sides)
    return found


def _on_the_other_side(case: Case, side: str, name: str) -> Resolved:
    """Whether one of these is on the other side, and none of them on this one or without a side."""
    made_of = [of for of in case.derived.on_the_other_side[name] if of in case.assertions]
    other = {LEFT: RIGHT, RIGHT: LEFT}.get(side, NO_SIDE)
    if not other or not any(case.resolve(of, other, with_sideless=False).value is True for of in made_of):
        return Resolved(None, None)
    here = any(case.resolve(of, side, with_sideless=True).value is True for of in made_of)
    return Resolved(None if here else True, None)


def _days_since(chart: Chart, date: str) -> Value:
    """Days since the latest such date that is stated for this side or without a side."""
    sides = (chart.side, BILATERAL, NO_SIDE)
    stated = [
        s.value
        for s in chart.case.assertions.get(date, ())
        if isinstance(s.value, When) and (chart.side in (BILATERAL, NO_SIDE) or s.side in sides)
    ]
    if not stated:
        return None
    least, most = days_before(max(stated, key=lambda when: when.high), chart.case.now)
    return Interval(float(least), float(most))


def _count_of(chart: Chart, counted: Iterable[str]) -> Value:
    """How many of these are present; what is not known may be either."""
    results = [chart[name] for name in counted]
    if all(result is None for result in results):
        return None
    present = sum(result is True for result in results)
    return Interval(float(present), float(present + sum(result is None for result in results)))
