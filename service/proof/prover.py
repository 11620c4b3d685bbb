"""Decides propositions over all charts by z3: proved, refuted with the smallest chart that was found, or not in time.

Propositions about the same charts are asked together. Whichever cause leads at first; where that leaves a chart, the
points of the ranking are added, as sums of integers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import z3

from service.knowledge_model.conditions import CONTRADICTORY
from service.proof.described import Described, described
from service.proof.formula import ChartFormula
from service.proof.propositions import Proposition
from service.proof.terms import FALSE, TRUE, Terms

PROVED, REFUTED, UNDECIDED = "proved", "refuted", "undecided"
MILLISECONDS = 10_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comes of a proposition; charts: where it is refuted, the charts that do."""

    proposition: Proposition
    state: str
    charts: tuple[Described, ...] = ()


class _Solver:
    """A solver that is asked about terms. What is supposed for one question has a name there, as z3 wants it."""

    def __init__(self, terms: Terms, milliseconds: int) -> None:
        self.terms, self._solver, self._asked = terms, z3.Solver(), 0
        self._solver.set("timeout", milliseconds)

    def require(self, terms: Iterable[int]) -> None:
        self._solver.add([self.terms.written(term) for term in terms])

    def require_written(self, written: list[z3.BoolRef]) -> None:
        self._solver.add(written)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What is required within is forgotten at the end."""
        self._solver.push()
        try:
            yield
        finally:
            self._solver.pop()

    def ask(self, *terms: int) -> z3.CheckSatResult:
        """Whether there is a chart on which all of these are so."""
        self._asked += 1
        name = z3.Bool(f"asked {self._asked}")
        self._solver.add([z3.Implies(name, self.terms.written(term)) for term in terms])
        return self._solver.check(name)

    def reads(self) -> Callable[[int], bool]:
        """What is so on the chart that was found last."""
        return self.terms.model_reader(self._solver.model())


class Prover:
    """Decides propositions about the charts of one formula.

    seconds: of each property, the time of the processor that it took.
    """

    def __init__(self, chart: ChartFormula, milliseconds: int = MILLISECONDS) -> None:
        self.chart, self.terms = chart, chart.terms
        self.seconds: dict[str, float] = {}
        self._quick, self._exact = (_Solver(self.terms, milliseconds) for _solver in range(2))
        for solver in (self._quick, self._exact):
            solver.require((*chart.constraints, chart.complaint()))
        self._exact.require_written(chart.ranking())
        # What a chart is described by.
        self._stated = _stated(chart)

    def decide(self, propositions: Iterable[Proposition], unless: Mapping[str, int] | None = None) -> list[Verdict]:
        """The verdicts, in the order of the propositions. unless: of a proposition, the charts that it is not about."""
        verdicts: list[Verdict] = []
        for _charts, group in groupby(propositions, key=lambda proposition: tuple(map(id, proposition.charts))):
            began = time.process_time()
            alike = list(group)
            verdicts += self._together(alike, unless or {})
            property_ = alike[0].property
            self.seconds[property_] = self.seconds.get(property_, 0.0) + time.process_time() - began
        return verdicts

    def _together(self, group: Sequence[Proposition], unless: Mapping[str, int]) -> list[Verdict]:
        asked = [self.terms.both((proposition.broken, -unless.get(proposition.of, FALSE))) for proposition in group]
        then = group[0].charts[1:]
        if group[0].exists:
            missing = self._missing(asked, then)
            return [Verdict(s, missing.get(number, PROVED)) for number, s in enumerate(group)]
        left = self._left(asked, then)
        found = self._with_points(group, asked, left) if left else {}
        return [found.get(number, Verdict(s, PROVED)) for number, s in enumerate(group)]

    def _left(self, asked: Sequence[int], then: Sequence[ChartFormula]) -> list[int]:
        """The numbers of the propositions that are not proved whichever cause leads."""
        open_ = [number for number, term in enumerate(asked) if term != FALSE]
        left: list[int] = []
        with self._quick.apart():
            for chart in then:
                self._quick.require(chart.constraints)
            while open_:
                state = self._quick.ask(self.terms.either(asked[number] for number in open_))
                if state == z3.unsat:
                    break
                reads = self._quick.reads() if state == z3.sat else bool
                broken = [number for number in open_ if reads(asked[number])]
                # What was found has to be so: otherwise all are asked again with the points.
                left += broken or open_
                open_ = [number for number in open_ if number not in broken] if broken else []
        return sorted(left)

    def _missing(self, asked: Sequence[int], then: Sequence[ChartFormula]) -> dict[int, str]:
        """Of propositions that there is such a chart, the numbers of those for which none was found."""
        # Most are found where nothing is ranked, and where no points are needed to say so.
        unranked = self.terms.both(-may for chart in (self.chart, *then) for may in chart.may_lead.values())
        with self._quick.apart():
            for chart in then:
                self._quick.require(chart.constraints)
            left = self._not_found(self._quick, asked, range(len(asked)), unranked)
            impossible = [number for number in left if self._quick.ask(asked[number]) == z3.unsat]
        missing = dict.fromkeys(impossible, REFUTED)
        if left := [number for number in left if number not in missing]:
            with self._exact.apart():
                self._require_charts(then)
                for number in self._not_found(self._exact, asked, left):
                    refuted = self._exact.ask(asked[number]) == z3.unsat
                    missing[number] = REFUTED if refuted else UNDECIDED
        return missing

    def _not_found(self, solver: _Solver, asked: Sequence[int], numbers: Iterable[int], given: int = TRUE) -> list[int]:
        """Those of which no chart was found. One chart is often an example of many."""
        waiting, left = list(numbers), []
        while waiting:
            if solver.ask(asked[waiting[0]], given) == z3.sat:
                reads = solver.reads()
                found = [number for number in waiting if reads(asked[number])]
                # What was found has to be so.
                left += [] if found else waiting[:1]
                waiting = [number for number in waiting[not found :] if number not in found]
            else:
                left.append(waiting.pop(0))
        return left

    def _require_charts(self, charts: Iterable[ChartFormula]) -> None:
        for chart in charts:
            self._exact.require(chart.constraints)
            if chart.leads is not self.chart.leads:
                self._exact.require_written(chart.ranking())

    def _with_points(
        self, group: Sequence[Proposition], asked: Sequence[int], left: Iterable[int]
    ) -> dict[int, Verdict]:
        found: dict[int, Verdict] = {}
        with self._exact.apart():
            self._require_charts(group[0].charts[1:])
            for number in left:
                with self._exact.apart():
                    self._exact.require((asked[number],))
                    state = self._exact.ask()
                    if state == z3.sat:
                        found[number] = Verdict(group[number], REFUTED, self._smallest(group[number]))
                    elif state == z3.unknown:
                        found[number] = Verdict(group[number], UNDECIDED)
        return found

    def _smallest(self, proposition: Proposition) -> tuple[Described, ...]:
        """The chart of what was found, with numbers that are known exactly where they can be, and without every finding
        that can be left away.
        """
        solver = self._exact
        reads = solver.reads()
        exact = [
            self.terms.implies(self.terms.both((number.known, number.high[limit])), number.low[limit])
            for chart in proposition.charts
            for number in chart.numbers.values()
            for limit in number.limits
        ]
        if solver.ask(*exact) == z3.sat:
            reads = solver.reads()
            solver.require(exact)
        solver.require(-term for term in self._stated if not reads(term))
        for term in [term for term in self._stated if reads(term)]:
            if not reads(term):
                solver.require((-term,))
            elif solver.ask(-term) == z3.sat:
                reads = solver.reads()
                solver.require((-term,))
        return tuple(described(chart, reads) for chart in proposition.charts)


def _stated(chart: ChartFormula) -> list[int]:
    """The variables of what is documented, which a chart is described by: what is least usual first."""
    boolean = chart.formula.boolean
    return [
        *(chart.known(finding, CONTRADICTORY) for finding in boolean),
        *(chart.known(finding, "on a leg") for finding in chart.formula.of_both_sides),
        chart.bilateral,
        *(chart.known(finding, "absent") for finding in boolean),
        *(number.known for number in chart.numbers.values()),
        *chart.sex.values(),
        *(chart.known(finding, "present") for finding in boolean),
    ]
