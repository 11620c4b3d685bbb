"""What a condition of the knowledge is: four words over findings, joined by all, any and none. It is data alone.

A condition is yes (True), no (False) or cannot tell (None). `any` is yes as soon as one part is yes, `all` is no as
soon as one part is no, otherwise what is unknown stays unknown (Kleene). Unknown is never no. Four states speak of
documentation rather than of the patient, and are always yes or no: `not-absent`, `not-present`, `unknown`, and
`contradictory`: recorded both as present and as absent at the same time, so that it is unknown, but to be asked about.
How a condition is written is in condition_text, and how it is evaluated in service.reasoning.kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple


class Interval(NamedTuple):
    """A quantity that is known to lie between two bounds, both included, in the unit of its finding."""

    low: float
    high: float


ANYWHERE = Interval(-inf, inf)
# What may be known of a finding: present or absent, a quantity, a coded value; None where it is unknown.
Value = bool | Interval | str | None
JOINTS = ("all", "any", "none")
WORDS = ("is", "at_least", "at_most", "one_of")
CONTRADICTORY = "contradictory"
UNKNOWN = "unknown"
STATES = ("present", "absent", "not-absent", "not-present", UNKNOWN, CONTRADICTORY)


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


def comparison(finding: str, word: str, operand: Any, threshold: str = "") -> Condition:
    """One of WORDS said of a finding."""
    return Condition(word, finding, operand, (), threshold)


def joint(word: str, parts: tuple[Condition, ...]) -> Condition:
    """One of JOINTS over conditions."""
    return Condition(word, "", None, parts)
