"""What has to be on a chart before a condition can hold there: most rules are about what no chart says.

Grounds are sets of marks; of each set at least one mark must be there. A finding leaves its name as a mark where it is
stated, and its name with a sign where it is present or absent; what a step of the assessment makes of the chart leaves
its name where it is so. Grounds never tell that a condition holds, only that it cannot: they spare its evaluation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set

from service.chart.case import Case
from service.chart.derived import MADE_OF_OTHERS, Chart
from service.guideline.conditions import CONTRADICTORY, Condition, Value
from service.guideline.model import AFTER_PLAN, AFTER_RED_FLAGS, DAYS_SINCE, SACROILIAC_TESTS, Guideline

Grounds = tuple[frozenset[str], ...]
# What is made of findings -> those of which one has to be stated for it.
_STATED_FOR: Mapping[str, tuple[str, ...]] = {
    **{days: (date,) for days, date in DAYS_SINCE.items()},
    "sacroiliac-tests-positive": SACROILIAC_TESTS,
}
# State that is asked for and the verdict on it -> the sign of the only value that gives that verdict.
_SIGNS = {
    ("present", True): "+",
    ("present", False): "-",
    ("absent", True): "-",
    ("absent", False): "+",
    ("not-absent", False): "-",
    ("not-present", False): "+",
    (CONTRADICTORY, True): "~",
}


def made_by_steps(guideline: Guideline) -> frozenset[str]:
    """What the steps of an assessment make of a chart for those that follow."""
    return frozenset((*AFTER_RED_FLAGS, *AFTER_PLAN, *(f"considers-{cause}" for cause in guideline.causes)))


def marks(values: Iterable[tuple[str, Value]]) -> set[str]:
    """The marks that stated findings with these values leave."""
    found: set[str] = set()
    for name, value in values:
        found.add(name)
        if value is True:
            found.add(f"+{name}")
        elif value is False:
            found.add(f"-{name}")
    return found


def marks_on(charts: Sequence[Chart]) -> set[str]:
    """The marks of all that is stated, on any of these charts of one case, and of what is made of it."""
    there = marks((name, chart[name]) for chart in charts for name in chart.case.assertions)
    there |= marks((name, chart[name]) for chart in charts for name in MADE_OF_OTHERS if chart[name] is not None)
    there.update(f"~{name}" for chart in charts for name in chart.contradictory)
    return there


def marks_of_others(case: Case, names: Iterable[str]) -> set[str]:
    """The marks of these findings, each of which follows from what is stated of others."""
    values = ((name, MADE_OF_OTHERS[name](case).value) for name in names)
    return marks((name, value) for name, value in values if isinstance(value, bool))


def may_hold(grounds: Grounds, there: Set[str]) -> bool:
    """Whether a condition with these grounds can hold where these marks are."""
    for each in grounds:  # noqa: SIM110 - asked of every rule, and a generator costs twice as much
        if there.isdisjoint(each):
            return False
    return True


def grounds_of(condition: Condition, guideline: Guideline, *, verdict: bool = True) -> Grounds:
    """What has to be there for this condition to come out so; empty where nothing can be told."""
    sets = _grounds(condition, guideline.definitions, guideline.findings, made_by_steps(guideline), verdict=verdict)
    return tuple(sorted(set(sets), key=lambda each: (len(each), sorted(each))))


def _grounds(
    condition: Condition,
    definitions: Mapping[str, tuple[str, Condition]],
    findings: Collection[str],
    made: Collection[str],
    *,
    verdict: bool,
) -> list[frozenset[str]]:
    name, state = condition.finding, condition.operand
    if name in definitions:
        sign = _SIGNS.get((state, verdict))
        return _grounds(definitions[name][1], definitions, findings, made, verdict=sign == "+") if sign else []
    if name:
        return _grounds_of_leaf(name, _SIGNS.get((state, verdict)) if condition.word == "is" else "", findings, made)
    wanted = verdict != (condition.word == "none")
    parts = [_grounds(part, definitions, findings, made, verdict=wanted) for part in condition.parts]
    # Every part has to come out so, or one of them has to.
    if (condition.word == "all") == wanted:
        return [each for part in parts for each in part]
    return [frozenset[str]().union(*(min(part, key=len) for part in parts))] if all(parts) else []


def _grounds_of_leaf(
    name: str, sign: str | None, findings: Collection[str], made: Collection[str]
) -> list[frozenset[str]]:
    """`sign`: of the value that is needed; empty for any that is known, None where unknown will do."""
    if sign is None:
        return []
    if name in _STATED_FOR:
        return [frozenset(_STATED_FOR[name])]
    if name in findings:
        return [frozenset((sign + name,))]
    return [frozenset((name,))] if name in made and sign == "+" else []


def holds_by(condition: Condition, name: str, value: bool, guideline: Guideline) -> bool:
    """Whether this value of one finding makes the condition hold, whatever else is on the chart."""
    if condition.finding in guideline.definitions and condition.operand == "present":
        return holds_by(guideline.definitions[condition.finding][1], name, value, guideline)
    if condition.finding:
        return condition.finding == name and condition.operand == ("present" if value else "absent")
    if condition.word == "none":
        return False
    parts = (holds_by(part, name, value, guideline) for part in condition.parts)
    return any(parts) if condition.word == "any" else all(parts)
