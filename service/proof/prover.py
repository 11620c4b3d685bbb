"""Decides propositions over all charts by z3: proved, refuted with the smallest chart that was found, or not in time.

Propositions about the same charts are asked together. Whichever cause leads at first; where that leaves a chart, the
points of the ranking are added, as sums of integers.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import z3

from service.knowledge_model.conditions import CONTRADICTORY
from service.proof.described import Described, described
from service.proof.formula import ChartFormula
from service.proof.propositions import Name, Proposition
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
        self.terms, self._solver, self._asked = terms, z3.SimpleSolver(), 0
        self._solver.set("timeout", milliseconds)
        # There are no quantifiers, for which z3 would keep track of what matters.
        self._solver.set("relevancy", 0)

    def require(self, terms: Iterable[int]) -> None:
        self.require_written(map(self.terms.written, terms))

    def require_written(self, written: Iterable[z3.BoolRef]) -> None:
        # By the function below that of the solver, which looks at the sort of each: there are a hundred thousand.
        for each in written:
            z3.Z3_solver_assert(self._solver.ctx.ref(), self._solver.solver, each.as_ast())

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
        self._solver.add(z3.Implies(name, self.terms.written(self.terms.both(terms))))
        return self._solver.check(name)

    def conflict(self, literals: Sequence[int]) -> list[int]:
        """Those of these literals that cannot all be so, in their order; none where that is not known."""
        written = [self.terms.written(literal) for literal in literals]
        if self._solver.check(*written) != z3.unsat:
            return []
        core = {each.get_id() for each in self._solver.unsat_core()}
        return [literal for literal, each in zip(literals, written, strict=True) if each.get_id() in core]

    def reads(self) -> Callable[[int], int]:
        """What is so on the chart that was found last."""
        return self.terms.reader(self.stated())

    def stated(self) -> Callable[[str], bool]:
        """Whether a variable is so on the chart that was found last."""
        return self.terms.stated_in(self._solver.model())


class _Examples:
    """Charts that were found, a bit each: what is an example of one proposition is tried for others."""

    def __init__(self, terms: Terms) -> None:
        self.terms, self.names = terms, terms.variables
        self._charts, self._many = dict.fromkeys(self.names, 0), 0
        self.reads = self._reads()

    def _reads(self) -> Callable[[int], int]:
        charts = self._charts
        return self.terms.reader(lambda name: charts.get(name, 0), (1 << self._many) - 1)

    def around(self, stated: Callable[[str], bool]) -> Callable[[int], int]:
        """What is so on this chart, and on all that differ from it in one variable, of which not each is possible."""
        charts = self._differing(stated, ("", *self.names))
        everywhere = (1 << len(self.names) + 1) - 1
        return self.terms.reader(
            lambda name: charts[name] if name in charts else everywhere if stated(name) else 0, everywhere
        )

    def add(self, stated: Callable[[str], bool], found: Iterable[int]) -> None:
        """Keeps what around() found: a chart of each, and one where it is of many."""
        chosen = 0
        for charts in found:
            if not charts & chosen:
                chosen |= charts & -charts
        differing = [name for number, name in enumerate(("", *self.names)) if chosen >> number & 1]
        for name, bits in self._differing(stated, differing).items():
            self._charts[name] |= bits << self._many
        self._many += len(differing)
        self.reads = self._reads()

    def _differing(self, stated: Callable[[str], bool], differing: Sequence[str]) -> dict[str, int]:
        """The variables of as many charts, each of which differs from this one in the variable that is named."""
        everywhere = (1 << len(differing)) - 1
        charts = {name: everywhere if stated(name) else 0 for name in self.names}
        for number, name in enumerate(differing):
            if name:
                charts[name] ^= 1 << number
        return charts


class Prover:
    """Decides propositions about the charts of one formula.

    seconds: of each property, the time of the processor that it took; propositions that are decided together share it.
    """

    def __init__(self, chart: ChartFormula, milliseconds: int = MILLISECONDS) -> None:
        self.chart, self.terms = chart, chart.terms
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._quick, self._exact = (_Solver(self.terms, milliseconds) for _solver in range(2))
        for solver in (self._quick, self._exact):
            solver.require((*chart.constraints, chart.complaint))
        self._exact.require_written(chart.ranking())
        self._examples = _Examples(self.terms)
        # What a chart is described by.
        self._stated = _stated(chart)

    def decide(
        self, propositions: Iterable[Proposition], unless: Mapping[Name, int] | None = None
    ) -> dict[Name, Verdict]:
        """The verdict of each. unless: of a proposition, the charts that it is not about."""
        groups: dict[tuple[bool | int, ...], list[Proposition]] = {}
        for proposition in propositions:
            groups.setdefault((proposition.exists, *map(id, proposition.charts)), []).append(proposition)
        verdicts: dict[Name, Verdict] = {}
        # What there is comes first: the charts that are found are tried for what there is not.
        for group in sorted(groups.values(), key=lambda group: not group[0].exists):
            began = time.process_time()
            verdicts |= {verdict.proposition.name: verdict for verdict in self._together(group, unless or {})}
            each = (time.process_time() - began) / len(group)
            for proposition in group:
                self.seconds[proposition.property] += each
        return verdicts

    def _together(self, group: Sequence[Proposition], unless: Mapping[Name, int]) -> list[Verdict]:
        asked = [self.terms.both((proposition.broken, -unless.get(proposition.name, FALSE))) for proposition in group]
        then = group[0].charts[1:]
        if group[0].exists:
            missing = self._missing(asked, then)
            return [Verdict(s, missing.get(number, PROVED)) for number, s in enumerate(group)]
        left = self._left(asked, then)
        found = self._with_points(group, asked, left) if left else {}
        return [found.get(number, Verdict(s, PROVED)) for number, s in enumerate(group)]

    def _left(self, asked: Sequence[int], then: Sequence[ChartFormula]) -> list[int]:
        """The numbers of the propositions that are not proved whichever cause leads."""
        reads, limits = self._examples.reads, self.terms.both(limit for chart in then for limit in chart.constraints)
        left = [number for number, term in enumerate(asked) if reads(limits) & reads(term)]
        open_ = [number for number, term in enumerate(asked) if term != FALSE and number not in left]
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
        charts = (self.chart, *then)
        unranked = self.terms.both(-may for chart in charts for may in chart.may_lead.values())
        limits = (limit for chart in charts for limit in chart.constraints)
        possible = self.terms.both((unranked, self.chart.complaint, *limits))
        reads = self._examples.reads
        waiting = [number for number, term in enumerate(asked) if not reads(possible) & reads(term)]
        if not waiting:
            return {}
        with self._quick.apart():
            for chart in then:
                self._quick.require(chart.constraints)
            left = self._not_found(asked, waiting, unranked, possible)
            missing = {number: REFUTED for number in left if self._quick.ask(asked[number]) == z3.unsat}
        if left := [number for number in left if number not in missing]:
            with self._exact.apart():
                self._require_charts(then)
                for number in left:
                    state = self._exact.ask(asked[number])
                    if state != z3.sat or not self._exact.reads()(asked[number]):
                        missing[number] = REFUTED if state == z3.unsat else UNDECIDED
        return missing

    def _not_found(self, asked: Sequence[int], numbers: Iterable[int], given: int, possible: int) -> list[int]:
        """Those of which no chart was found. One chart, or one beside it, is often an example of many."""
        waiting, left = list(numbers), []
        while waiting:
            if self._quick.ask(asked[waiting[0]], given) == z3.sat:
                stated = self._quick.stated()
                reads = self._examples.around(stated)
                found = {number: on for number in waiting if (on := reads(possible) & reads(asked[number]))}
                self._examples.add(stated, found.values())
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
            # Numbers that are known exactly where they can be.
            exact = self.terms.both(
                self.terms.implies(self.terms.both((number.known, number.high[limit])), number.low[limit])
                for chart in group[0].charts
                for number in chart.numbers.values()
                for limit in number.limits
            )
            for number in left:
                with self._exact.apart():
                    self._exact.require((asked[number],))
                    for given in (exact, TRUE):
                        state = self._exact.ask(given)
                        if state == z3.sat:
                            found[number] = Verdict(group[number], REFUTED, self._smallest(group[number], given))
                            break
                    else:
                        if state == z3.unknown:
                            found[number] = Verdict(group[number], UNDECIDED)
        return found

    def _smallest(self, proposition: Proposition, given: int) -> tuple[Described, ...]:
        """The chart that was found last, without every finding that can be left away."""
        solver, reads = self._exact, self._exact.reads()
        solver.require((given,))
        solver.require(-term for term in self._stated if not reads(term))
        left = [term for term in self._stated if reads(term)]
        # At first as many as can be together, of those that cannot without the most usual.
        away = [-term for term in left]
        while needed := solver.conflict(away):
            away.remove(needed[-1])
        found = solver.ask(*away)
        while found == z3.sat:
            reads = solver.reads()
            solver.require(-term for term in left if not reads(term))
            left = [term for term in left if reads(term)]
            found = solver.ask(self.terms.either(-term for term in left))
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
