"""The chart of one side: what is held of every finding, and what follows from it by a named, pure function.

Conditions read a Chart as a mapping. What it does not hold it makes: a finding is resolved from its statements, a named
criterion of the knowledge is evaluated, a derived quantity is computed; each once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from service.chart.case import Case, Resolved
from service.chart.fhir_time import When, days_before
from service.chart.statements import BILATERAL, LEFT, NO_SIDE, RIGHT
from service.guideline.conditions import CONTRADICTORY, Condition, Interval, Value
from service.guideline.model import AFTER_PLAN, AFTER_RED_FLAGS, DAYS_SINCE, SACROILIAC_TESTS


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
            if value is not True and name in MADE_OF_OTHERS and MADE_OF_OTHERS[name](self.case):
                # What is stated of each leg outweighs what is said of both together.
                value = True
                self.resolved.pop(name, None)
        elif name in self._definitions:
            value = self._definitions[name][1].test(self)
        else:
            value = DERIVED[name](self) if name in DERIVED else None
        self[name] = value
        return value

    def supposing(self, case: Case, values: Mapping[str, Value], forgetting: Iterable[str]) -> Chart:
        """This chart as it would be with these values in the case; what follows from them is to be forgotten."""
        other = Chart.__new__(Chart)
        other.update(self)
        for name in forgetting:
            other.pop(name, None)
        other.update(values)
        vars(other).update(vars(self), case=case, resolved=dict(self.resolved))
        return other

    def is_contradictory(self, name: str) -> bool:
        """Whether a finding is unknown because it is recorded both as present and as absent at the same time."""
        if name not in self.case.statements or self[name] is not None:
            return False
        resolved = self.resolved.get(name)
        return resolved is not None and resolved.contradictory

    def _finding(self, name: str) -> Value:
        resolved = self.case.resolve(name, self.side, with_sideless=self.with_sideless)
        self.resolved[name] = resolved
        # A date is read through days-since-onset only.
        return None if isinstance(resolved.value, When) else resolved.value


# What shows on a leg and, any of it on each, is leg symptoms on both sides: a nerve in one of its forms, or weakness.
LEG_FINDINGS = (
    "sciatica",
    "radiating-numbness-or-tingling",
    "numbness-below-knee",
    "leg-weakness",
    "foot-drop",
    "neurological-deficit",
)


def _both_legs(case: Case) -> bool:
    """Whether a nerve symptom, a deficit or weakness holds of the left leg, and one of them of the right."""
    stated = [name for name in LEG_FINDINGS if name in case.statements]
    return all(
        any(case.resolve(name, side, with_sideless=False).value is True for name in stated) for side in (LEFT, RIGHT)
    )


# Findings that follow from the statements of others, whatever is stated of them.
MADE_OF_OTHERS: Mapping[str, Callable[[Case], bool]] = {"bilateral-leg-symptoms": _both_legs}


def _days_since(chart: Chart, name: str) -> Value:
    """Days since the latest such date that is stated for this side or without a side."""
    sides = (chart.side, BILATERAL, NO_SIDE)
    stated = [
        s.value
        for s in chart.case.statements.get(name, ())
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
# What is made of findings -> those of which one has to be stated for it.
_STATED_FOR: Mapping[str, tuple[str, ...]] = {
    **{days: (date,) for days, date in DAYS_SINCE.items()},
    "sacroiliac-tests-positive": SACROILIAC_TESTS,
    "bilateral-leg-symptoms": ("bilateral-leg-symptoms", *LEG_FINDINGS),
}


def grounds_to_hold(
    condition: Condition,
    definitions: Mapping[str, tuple[str, Condition]],
    findings: Collection[str],
    *,
    verdict: bool = True,
) -> frozenset[str] | None:
    """Names of which at least one is stated (a finding) or so (what a step of the assessment makes) on every chart on
    which the verdict of this condition is this one; None where no such names can be told.
    """
    if condition.finding:
        return _grounds_of_leaf(condition, definitions, findings, verdict=verdict)
    wanted = verdict != (condition.word == "none")
    found = [grounds_to_hold(part, definitions, findings, verdict=wanted) for part in condition.parts]
    told = [names for names in found if names is not None]
    # Every part has to come out so, or one of them has to.
    if (condition.word == "all") == wanted:
        return min(told, key=len, default=None)
    return frozenset[str]().union(*told) if len(told) == len(found) else None


def _grounds_of_leaf(
    leaf: Condition, definitions: Mapping[str, tuple[str, Condition]], findings: Collection[str], *, verdict: bool
) -> frozenset[str] | None:
    name, state = leaf.finding, leaf.operand
    if (verdict and state in ("not-absent", "not-present")) or (state == CONTRADICTORY and not verdict):
        return None
    if name in definitions:
        wanted = verdict == (state in ("present", "not-absent"))
        return grounds_to_hold(definitions[name][1], definitions, findings, verdict=wanted)
    if name in findings or name in _STATED_FOR:
        return frozenset(_STATED_FOR.get(name, (name,)))
    made = name in AFTER_RED_FLAGS or name in AFTER_PLAN or name.startswith("considers-")
    return frozenset((name,)) if made and verdict and state == "present" else None


# Finding -> what is made of it beside the named criteria.
FOLLOWS: Mapping[str, str] = {
    **dict.fromkeys(LEG_FINDINGS, "bilateral-leg-symptoms"),
    **dict.fromkeys(SACROILIAC_TESTS, "sacroiliac-tests-positive"),
    **{date: days for days, date in DAYS_SINCE.items()},
}
