"""What a condition of the knowledge is and what comes of it: four words over findings, joined by all, any and none.

A condition is yes (True), no (False) or cannot tell (None). `any` is yes as soon as one part is yes, `all` is no as
soon as one part is no, otherwise what is unknown stays unknown (Kleene). Unknown is never no. Four states speak of
documentation rather than of the patient, and are always yes or no: `not-absent`, `not-present`, `unknown`, and
`contradictory`: recorded both as present and as absent at the same time, so that it is unknown, but to be asked about.
How a condition is written is in condition_text.

A chart is a mapping from finding id to a value: True, False, None (unknown), an Interval for a quantity, a string for a
coded value. It may compute what it does not hold (see derived.Chart).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple


class Interval(NamedTuple):
    """A quantity that is known to lie between two bounds, both included, in the unit of its finding."""

    low: float
    high: float


ANYWHERE = Interval(-inf, inf)
Value = bool | Interval | str | None
Test = Callable[[Mapping[str, Value]], bool | None]
JOINTS = ("all", "any", "none")
WORDS = ("is", "at_least", "at_most", "one_of")
_PLAIN_STATES = ("present", "absent")
CONTRADICTORY = "contradictory"
UNKNOWN = "unknown"
STATES = (*_PLAIN_STATES, "not-absent", "not-present", UNKNOWN, CONTRADICTORY)


@dataclass(frozen=True, slots=True)
class Condition:
    """One node, made by `comparison` or `joint`.

    `finding` is empty for a joint. `operand` is a state, codes, or a bound in the unit of the finding; of a bound,
    `threshold` is the name of that number in the knowledge.
    """

    word: str
    finding: str
    operand: Any
    parts: tuple[Condition, ...]
    test: Test = field(compare=False, repr=False)
    threshold: str = ""

    def leaves(self) -> Iterator[Condition]:
        """Every comparison in this condition."""
        if self.finding:
            yield self
        for part in self.parts:
            yield from part.leaves()

    def findings(self) -> frozenset[str]:
        """The ids that this condition reads."""
        return frozenset(leaf.finding for leaf in self.leaves())

    def carried_by(self, chart: Mapping[str, Value]) -> list[Condition]:
        """The comparisons that make this condition's verdict on the chart what it is."""
        if self.finding:
            return [self]
        found: list[Condition] = []
        _find_carrying(self, self.test(chart), chart, found)
        return found


def _find_carrying(joint: Condition, verdict: bool | None, chart: Mapping[str, Value], found: list[Condition]) -> None:
    # The parts of a `none` carry its verdict by saying the opposite.
    wanted = verdict if joint.word != "none" or verdict is None else not verdict
    for part in joint.parts:
        if part.test(chart) is wanted:
            if part.finding:
                found.append(part)
            else:
                _find_carrying(part, wanted, chart, found)


# The verdict of a part that decides, what it decides, and the verdict where none does and nothing is unknown.
_OUTCOMES = {"all": (False, False, True), "any": (True, True, False), "none": (True, False, True)}


def _join(word: str, parts: tuple[Condition, ...]) -> Test:
    decisive, when_decided, otherwise = _OUTCOMES[word]
    # The commonest parts, a finding that is to be present or absent, cost no call, and so they are looked at first: the
    # order of the parts decides nothing. With each finding stands the value by which it decides.
    states = tuple(
        (part.finding, decisive == (part.operand == "present")) for part in parts if part.operand in _PLAIN_STATES
    )
    # What is recorded in two ways is a set of the chart, and there is seldom any.
    twice = frozenset(part.finding for part in parts if part.operand == CONTRADICTORY)
    tests = tuple(part.test for part in parts if part.operand not in (*_PLAIN_STATES, CONTRADICTORY))

    def test(chart: Mapping[str, Value]) -> bool | None:
        unknown = False
        for finding, deciding in states:
            value = chart[finding]
            if value is deciding:
                return when_decided
            if value is None:
                unknown = True
        if twice:
            found = contradictory_on(chart)
            # Of any and none, one of them decides; of all, one that is not.
            if not twice.isdisjoint(found) if decisive else not twice <= found:
                return when_decided
        for part in tests:
            verdict = part(chart)
            if verdict is decisive:
                return when_decided
            if verdict is None:
                unknown = True
        return None if unknown else otherwise

    return test


def contradictory_on(chart: Mapping[str, Value]) -> frozenset[str]:
    """The findings that are recorded in two ways; only a chart that is read from statements can tell."""
    found: frozenset[str] = getattr(chart, "contradictory", frozenset())
    return found


def _is(finding: str, state: str) -> Test:
    if state == "present":
        return lambda chart: chart[finding]  # type: ignore[return-value]
    if state == "absent":
        return lambda chart: None if (value := chart[finding]) is None else not value
    if state == "not-absent":
        return lambda chart: chart[finding] is not False
    if state == UNKNOWN:
        return lambda chart: chart[finding] is None
    if state == CONTRADICTORY:
        return lambda chart: finding in contradictory_on(chart)
    return lambda chart: chart[finding] is not True


def _bound(finding: str, word: str, bound: float) -> Test:
    def at_least(chart: Mapping[str, Value]) -> bool | None:
        value = chart[finding]
        if not isinstance(value, Interval):
            return None
        return True if value.low >= bound else False if value.high < bound else None

    def at_most(chart: Mapping[str, Value]) -> bool | None:
        value = chart[finding]
        if not isinstance(value, Interval):
            return None
        return True if value.high <= bound else False if value.low > bound else None

    return at_least if word == "at_least" else at_most


def _one_of(finding: str, codes: frozenset[str]) -> Test:
    return lambda chart: None if (value := chart[finding]) is None else value in codes


def comparison(finding: str, word: str, operand: Any, threshold: str = "") -> Condition:
    """One of WORDS said of a finding.

    >>> comparison("fever", "is", "present").test({"fever": True})
    True
    """
    if word == "is":
        test = _is(finding, operand)
    elif word == "one_of":
        test = _one_of(finding, operand)
    else:
        test = _bound(finding, word, operand)
    return Condition(word, finding, operand, (), test, threshold)


def joint(word: str, parts: tuple[Condition, ...]) -> Condition:
    """One of JOINTS over conditions."""
    return Condition(word, "", None, parts, _join(word, parts))
