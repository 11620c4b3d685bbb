"""The chart of one side: what is known of every finding, and what follows from it by a named, pure function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from service.chart.case import Case, Resolved
from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT
from service.chart.fhir_time import When, days_before
from service.guideline.conditions import Interval, Value
from service.guideline.model import DAYS_SINCE, SACROILIAC_TESTS


class Chart:
    """The chart of one side of a case; with NO_SIDE, of the patient as a whole.

    known: finding or derived quantity -> its value, without what is unknown; a date is known by the days since then.
    resolved: every finding that is stated, with the assertion that counts; contradictory: what is unknown because it is
    recorded both as present and as absent at the same time.
    """

    __slots__ = ("case", "contradictory", "dated", "known", "resolved", "side", "with_sideless")

    def __init__(self, case: Case, side: str, *, with_sideless: bool) -> None:
        self.case, self.side, self.with_sideless = case, side, with_sideless
        self.resolved = {name: case.resolve(name, side, with_sideless=with_sideless) for name in case.assertions}
        for name in MADE_OF_OTHERS:
            self.resolved[name] = self._made_of_others(name)
        self.dated = {name for name, resolved in self.resolved.items() if isinstance(resolved.value, When)}
        self.known: dict[str, Value] = {
            name: resolved.value  # type: ignore[misc]
            for name, resolved in self.resolved.items()
            if resolved.value is not None and name not in self.dated
        }
        self.known |= {name: value for name, derive in DERIVED.items() if (value := derive(self)) is not None}
        self.contradictory = frozenset(
            name for name, resolved in self.resolved.items() if resolved.contradictory and name not in self.known
        )

    def __getitem__(self, name: str) -> Value:
        return self.known.get(name)

    def _made_of_others(self, name: str) -> Resolved:
        """What is stated itself stays where others tell nothing, for it may be contradictory."""
        stated = self.case.resolve(name, self.side, with_sideless=self.with_sideless)
        # What is stated of each side outweighs that it is not so.
        made = MADE_OF_OTHERS[name](self.case) if stated.value is not True else stated
        return stated if made.value is None else made


# What shows on a leg and, any of it on each, is leg symptoms on both sides: a nerve in one of its forms, or weakness.
LEG_FINDINGS = (
    "sciatica",
    "radiating-numbness-or-tingling",
    "numbness-below-knee",
    "leg-weakness",
    "foot-drop",
    "neurological-deficit",
)


def legs_of(case: Case) -> dict[str, frozenset[str]]:
    """Each leg finding that is present -> the legs, left or right, that it is present on."""
    found = {
        name: frozenset(s for s in (LEFT, RIGHT) if case.resolve(name, s, with_sideless=False).value is True)
        for name in LEG_FINDINGS
        if name in case.assertions
    }
    return {name: legs for name, legs in found.items() if legs}


def _bilateral_leg_symptoms(case: Case) -> Resolved:
    """Whether a nerve symptom, a deficit or weakness is present on the left leg, and one of them on the right."""
    return Resolved(True if frozenset[str]().union(*legs_of(case).values()) == {LEFT, RIGHT} else None, None)


# A scanner does not ask which side hurts: the same finding on whichever side -> the finding of one side.
ON_EITHER_SIDE = {"hip-prosthesis-on-either-side": "hip-prosthesis"}
# Findings that follow from the assertions of others whatever is stated of them: True, False or None.
MADE_OF_OTHERS: Mapping[str, Callable[[Case], Resolved]] = {
    "bilateral-leg-symptoms": _bilateral_leg_symptoms,
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
