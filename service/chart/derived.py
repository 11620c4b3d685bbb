"""The chart of one side: what is held of every finding, and what follows from it by a named, pure function.

Conditions read a Chart as a mapping. What it does not hold it makes: a finding is resolved from its assertions, a named
criterion of the knowledge is evaluated, a derived quantity is computed; each once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from service.chart.case import Case, Resolved
from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT
from service.chart.fhir_time import When, days_before
from service.guideline.conditions import Condition, Interval, Value
from service.guideline.model import DAYS_SINCE, SACROILIAC_TESTS


class Chart(dict[str, Value]):
    """Finding, criterion or derived quantity -> value, for one side of one case."""

    __slots__ = ("case", "contradictory", "dated", "definitions", "resolved", "side", "with_sideless")

    def __init__(
        self, case: Case, side: str, definitions: Mapping[str, tuple[str, Condition]], *, with_sideless: bool
    ) -> None:
        # Most findings are in no chart. They are not taken out and put in again, because Python copies a dict at once
        # only where none of its keys was ever removed, and charts are copied for every answer that is supposed.
        super().__init__(case.unknown)
        self.case, self.side, self.with_sideless = case, side, with_sideless
        self.definitions = definitions
        self.resolved = {name: case.resolve(name, side, with_sideless=with_sideless) for name in case.assertions}
        # A date is known, but read through the days since then only.
        self.dated = {name for name, resolved in self.resolved.items() if isinstance(resolved.value, When)}
        for name, resolved in self.resolved.items():
            self[name] = None if name in self.dated else resolved.value  # type: ignore[assignment]
        for name in MADE_OF_OTHERS:
            self.resolved[name] = made = self._made_of_others(name)
            self[name] = made.value  # type: ignore[assignment]
        # What is unknown because it is recorded both as present and as absent at the same time.
        self.contradictory = frozenset(
            name for name, resolved in self.resolved.items() if resolved.contradictory and self[name] is None
        )

    def __missing__(self, name: str) -> Value:
        value: Value = None
        if name in self.definitions:
            value = self.definitions[name][1].test(self)
        elif name in DERIVED:
            value = DERIVED[name](self)
        elif name in MADE_OF_OTHERS:
            value = self._made_of_others(name).value  # type: ignore[assignment]
        self[name] = value
        return value

    def _made_of_others(self, name: str) -> Resolved:
        """What is stated itself stays where others tell nothing, for it may be contradictory."""
        stated = self.case.resolve(name, self.side, with_sideless=self.with_sideless)
        # What is stated of each side outweighs that it is not so.
        made = MADE_OF_OTHERS[name](self.case) if stated.value is not True else stated
        return stated if made.value is None else made

    def supposing(self, case: Case, values: Mapping[str, Value], forgetting: Iterable[str]) -> Chart:
        """This chart as it would be with these values in the case; what follows from them is to be forgotten."""
        other = Chart.__new__(Chart)
        other.update(self)
        for name in forgetting:
            other.pop(name, None)
        other.update(values)
        other.case, other.side, other.with_sideless = case, self.side, self.with_sideless
        other.resolved, other.dated, other.definitions = self.resolved, self.dated, self.definitions
        other.contradictory = self.contradictory.difference(values)
        return other


# What shows on a leg and, any of it on each, is leg symptoms on both sides: a nerve in one of its forms, or weakness.
LEG_FINDINGS = (
    "sciatica",
    "radiating-numbness-or-tingling",
    "numbness-below-knee",
    "leg-weakness",
    "foot-drop",
    "neurological-deficit",
)


def _both_legs(case: Case) -> Resolved:
    """Whether a nerve symptom, a deficit or weakness holds of the left leg, and one of them of the right."""
    stated = [name for name in LEG_FINDINGS if name in case.assertions]
    sides = {assertion.side for name in stated for assertion in case.assertions[name] if assertion.value is True}
    both = (BILATERAL in sides or {LEFT, RIGHT} <= sides) and all(
        any(case.resolve(name, side, with_sideless=False).value is True for name in stated) for side in (LEFT, RIGHT)
    )
    return Resolved(True if both else None, None)


# A scanner does not ask which side hurts: the same finding on whichever side -> the finding of one side.
ON_EITHER_SIDE = {"hip-prosthesis-on-either-side": "hip-prosthesis"}
# Findings that follow from the assertions of others whatever is stated of them: True, False or None.
MADE_OF_OTHERS: Mapping[str, Callable[[Case], Resolved]] = {
    "bilateral-leg-symptoms": _both_legs,
    **{name: partial(Case.on_either_side, finding=of) for name, of in ON_EITHER_SIDE.items()},
}


def _days_since(chart: Chart, name: str) -> Value:
    """Days since the latest such date that is stated for this side or without a side."""
    sides = (chart.side, BILATERAL, NO_SIDE)
    stated = [
        s.value
        for s in chart.case.assertions.get(name, ())
        if isinstance(s.value, When) and (chart.side in (BILATERAL, NO_SIDE) or s.side in sides)
    ]
    if not stated:
        return None
    least, most = days_before(max(stated, key=lambda when: when.high), chart.case.now)
    return Interval(float(least), float(most))


def _sacroiliac_tests_positive(chart: Chart) -> Value:
    """How many of the six sacroiliac provocation tests are positive; a test that was not done may be either."""
    results = [chart[test] for test in SACROILIAC_TESTS]
    if all(result is None for result in results):
        return None
    positive = sum(result is True for result in results)
    return Interval(float(positive), float(positive + sum(result is None for result in results)))


DERIVED: Mapping[str, Callable[[Chart], Value]] = {
    "age": lambda chart: chart.case.patient.age,
    "sex": lambda chart: chart.case.patient.sex,
    **{days: partial(_days_since, name=date) for days, date in DAYS_SINCE.items()},
    "sacroiliac-tests-positive": _sacroiliac_tests_positive,
}
# Finding -> what is made of it beside the named criteria.
FOLLOWS: Mapping[str, str] = {
    **dict.fromkeys(LEG_FINDINGS, "bilateral-leg-symptoms"),
    **dict.fromkeys(SACROILIAC_TESTS, "sacroiliac-tests-positive"),
    **{date: days for days, date in DAYS_SINCE.items()},
    **{of: name for name, of in ON_EITHER_SIDE.items()},
}
