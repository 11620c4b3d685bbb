"""The chart of one side: what is held of every finding, and what follows from it by a named, pure function.

Conditions read a Chart as a mapping. What it does not hold it makes: a finding is resolved from its statements, a named
criterion of the knowledge is evaluated, a derived quantity is computed; each once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from service.case import Case, Resolved
from service.conditions import Condition, Interval, Value
from service.fhir_time import When, days_before
from service.guideline import SACROILIAC_TESTS
from service.statements import LEFT, RIGHT


class Chart(dict[str, Value]):
    """Finding, criterion or derived quantity -> value, for one side of one case."""

    def __init__(
        self, case: Case, side: str, definitions: Mapping[str, tuple[str, Condition]], *, with_sideless: bool
    ) -> None:
        # Most findings are in no chart: they are unknown without being looked for one by one.
        super().__init__(dict.fromkeys(case.findings.keys() - case.statements.keys() - MADE_OF_OTHERS.keys()))
        self.case, self.side, self.with_sideless = case, side, with_sideless
        self.resolved: dict[str, Resolved] = {}
        self._definitions = definitions

    def __missing__(self, name: str) -> Value:
        if name in self.case.findings:
            value = self._finding(name) if name in self.case.statements else None
            if value is None and name in MADE_OF_OTHERS:
                value = MADE_OF_OTHERS[name](self.case)
        elif name in self._definitions:
            value = self._definitions[name][1].test(self)
        else:
            value = DERIVED[name](self) if name in DERIVED else None
        self[name] = value
        return value

    def _finding(self, name: str) -> Value:
        resolved = self.case.resolve(name, self.side, with_sideless=self.with_sideless)
        self.resolved[name] = resolved
        # A date is read through days-since-onset only.
        return None if isinstance(resolved.value, When) else resolved.value


def _both_legs(case: Case) -> Value:
    """Nerve symptoms or weakness documented on the left and on the right are leg symptoms on both sides."""
    for name in ("radiating-numbness-or-tingling", "numbness-below-knee", "leg-weakness"):
        sides = {statement.side for statement in case.statements.get(name, ()) if statement.value is True}
        if "bilateral" in sides or {LEFT, RIGHT} <= sides:
            return True
    return None


# Findings that follow from the statements of others when nobody states them.
MADE_OF_OTHERS: Mapping[str, Callable[[Case], Value]] = {"bilateral-leg-symptoms": _both_legs}


def _days_since_onset(chart: Chart) -> Value:
    """Days since the present episode began: the latest onset that is stated."""
    stated = [s.value for s in chart.case.statements.get("onset-date", ()) if isinstance(s.value, When)]
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
    "days-since-onset": _days_since_onset,
    "sacroiliac-tests-positive": _sacroiliac_tests_positive,
}
