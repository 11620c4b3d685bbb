"""The compiled knowledge as a formula: a chart of which nothing is given, and what is decided of it.

The operations are those of the kernel. An atom is two variables, known to be so and known not to be so, never both. The
limits of one number share a variable each for its lower and its upper end, in the order of the limits; a date is known
by the days since then. A chart here is of one patient with one side, or with none; two sides at once are sampled (see
tests/test_proofs.py). Specification: decision.decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from itertools import pairwise
from math import ceil, inf
from typing import TypeAlias

import z3

from service.chart.elements import LEFT, RIGHT
from service.knowledge_model.conditions import ANYWHERE, CONTRADICTORY, Condition, Interval
from service.knowledge_model.model import AFTER_PLAN, RADIOGRAPH_AT_HAND, Knowledge
from service.proof.terms import FALSE, TRUE, Terms
from service.reasoning.kernel import (
    ALWAYS,
    CHART,
    FLAGGED,
    INFORMED,
    JUDGED,
    KNOWN,
    OF_PATIENT,
    OF_PLAN,
    OF_SIDE,
    PLANNED,
    TOLD,
    Atom,
    Kernel,
    Places,
)

SEXES = ("female", "male")
STATED = ("present", "absent")
# How far the ends of what a date tells can lie apart: of a birth date, or of another, only the year may be known.
_YEARS, _DAYS = 1.0, 365.0
# A value, and whether it has to be passed.
Limit: TypeAlias = tuple[float, bool]


class Number:
    """What is known of a number: its lower and its upper end, each by the limits that it reaches.

    A limit is a value, and whether it has to be passed. Of what is not known the lower end reaches none, the upper all.
    span: how far the ends of a whole number can lie apart; None for a measurement.
    """

    def __init__(
        self, terms: Terms, name: str, limits: Iterable[Limit], plausible: Interval, span: float | None
    ) -> None:
        self.limits, self.plausible, self.whole = sorted(limits), plausible, span is not None
        self.known = terms.variable(f"{name} known")

        def ends(which: str) -> dict[Limit, int]:
            return {limit: terms.variable(f"{name} {which} {limit}") for limit in self.limits}

        self.low, self.high = ends("low"), ends("high")
        implies = terms.implies
        self.constraints: list[int] = []
        for of in (self.low, self.high):
            self.constraints += [implies(of[further], of[nearer]) for nearer, further in pairwise(self.limits)]
        for limit in self.limits:
            low, high = self.low[limit], self.high[limit]
            self.constraints += [implies(low, high), implies(low, self.known), implies(-high, self.known)]
            # It touches what it can be at all.
            if limit <= (plausible.low, False):
                self.constraints.append(implies(self.known, low) if self.whole else high)
            if limit >= (plausible.high, True):
                self.constraints.append(-low)
            if span is not None:
                self.constraints += [
                    implies(terms.both((self.known, high)), self.low[nearer])
                    for nearer in self.limits
                    if nearer[0] <= limit[0] - span
                ]

    def verdict(self, word: str, bound: float) -> tuple[int, int]:
        """Where it is known to be at least, or at most, this, and where it is known not to be."""
        limit = limit_of(word, bound, whole=self.whole)
        reached, missed = self.low[limit], -self.high[limit]
        return (reached, missed) if word == "at_least" else (missed, reached)


def limit_of(word: str, bound: float, *, whole: bool) -> Limit:
    """The limit that decides a comparison; a whole number above one is at least the next."""
    above = word == "at_most"
    return (bound + 1, False) if above and whole else (bound, above)


class Formula:
    """One compiled knowledge as a formula, of which charts are made."""

    def __init__(self, knowledge: Knowledge, kernel: Kernel) -> None:
        self.knowledge, self.kernel, self.terms = knowledge, kernel, Terms()
        findings = knowledge.findings.values()
        self.boolean = tuple(f.id for f in findings if f.value == "boolean")
        self.locating = tuple(f for f in findings if f.defines_complaint)
        self.informative = tuple(sorted(knowledge.informative()))
        self.plausible = {f.id: f.plausible for f in findings if f.value == "quantity"}
        derived = knowledge.engine.derived
        # These are whole numbers: above one is the same as from the next.
        self.spans = {"age": _YEARS, **dict.fromkeys(derived.days_since, _DAYS)}
        self.plausible |= {name: Interval(0, inf) for name in self.spans}
        # A date is known by the days since then.
        self.number_of = {date: days for days, date in derived.days_since.items()}
        self.of_both_sides = tuple(dict.fromkeys(of for names in derived.on_both_sides.values() for of in names))
        self.on_either_side = derived.on_either_side
        self.limits: dict[str, set[Limit]] = {name: set() for name in self.plausible}
        facts = {fact for names in knowledge.facts.values() for fact in names}
        for atom in kernel.atoms:
            if atom.word in ("at_least", "at_most"):
                if atom.finding in facts:
                    self.plausible.setdefault(atom.finding, ANYWHERE)
                limits = self.limits.setdefault(atom.finding, set())
                limits.add(limit_of(atom.word, atom.operand, whole=atom.finding in self.spans))
        # What a rating or a card about a draft reads beside the chart; nothing ties it to the chart here.
        self.facts = facts | {RADIOGRAPH_AT_HAND}
        self.flags: dict[str, list[int]] = {}
        for recommendation in knowledge.recommendations:
            if recommendation.red_flag:
                self.flags.setdefault(f"flag-{recommendation.red_flag.id}", []).append(
                    kernel.recommendations[recommendation.id].fires
                )
        self.size = kernel.size + sum(map(len, kernel.stages))
        # What decides which cause leads.
        self.ranked_by = {weight.place for weight in kernel.weights} | {*kernel.vetoes.values()}
        self.ranked_by |= {*kernel.red_flags.values(), kernel.unranked, kernel.atoms[Atom(INFORMED)].true}


class ChartFormula:
    """A chart: a term for the place of every verdict, and what limits the chart to what there can be.

    values: by place; constraints: what is so of every chart; leads: of each cause whether it leads. What ties that to
    the points is in ranking(), and is left away at first: most propositions hold whichever cause leads. complaint:
    whether it is a chart of this complaint.
    """

    def __init__(self, formula: Formula, name: str = "") -> None:
        self.formula, self.name, self.terms = formula, name, formula.terms
        self.constraints: list[int] = []
        self.values = [FALSE] * formula.size
        self.values[ALWAYS] = TRUE
        self.leads: dict[str, int] = {}
        self.may_lead: dict[str, int] = {}
        self.numbers = {
            finding: Number(
                self.terms, f"{name}{finding}", limits, formula.plausible[finding], formula.spans.get(finding)
            )
            for finding, limits in formula.limits.items()
        }
        for number in self.numbers.values():
            self.constraints += number.constraints
        self.sex = {sex: self.terms.variable(f"{name}sex {sex}") for sex in SEXES}
        self.constraints.append(self.terms.at_most_one(tuple(self.sex.values())))
        self.bilateral = self.terms.variable(f"{name}bilateral")
        # Whatever is recorded in two ways tells of the pain, also where no condition asks whether it is.
        self.contradictory = {finding: self.known(finding, CONTRADICTORY) for finding in formula.boolean}
        for finding, contradictory in self.contradictory.items():
            states = (contradictory, *(self.known(finding, state) for state in STATED))
            self.constraints.append(self.terms.at_most_one(states))
        self.changed = set(range(formula.size))
        for atom, places in formula.kernel.atoms.items():
            self._state(atom, places)
        self._state_what_follows()
        self.decide()

    def stated(self, finding: str, *, present: bool) -> ChartFormula:
        """The same chart with this finding documented as present, or as absent, and not in two ways."""
        other = copy(self)
        other.name = f"{self.name}{finding} {'present' if present else 'absent'} "
        other.values, other.changed, other.constraints = self.values.copy(), set(), []
        other.contradictory = {**self.contradictory, finding: FALSE}
        values = {Atom(finding): (TRUE, FALSE) if present else (FALSE, TRUE)}
        values[Atom(finding, "is", CONTRADICTORY)] = (FALSE, FALSE)
        if finding in self.formula.of_both_sides:
            # With a side, or without.
            left = self.terms.variable(f"{other.name}on a leg") if present else FALSE
            values[Atom(finding, LEFT)] = (left, FALSE)
            values[Atom(finding, RIGHT)] = (self.terms.both((left, self.bilateral)), FALSE)
        if present:
            values |= {
                Atom(either): (TRUE, FALSE) for either, of in self.formula.on_either_side.items() if of == finding
            }
        for atom, pair in values.items():
            for place, value in zip(self.formula.kernel.atoms.get(atom, ()), pair, strict=False):
                other.put(place, value)
        other.decide()
        return other

    def another(self, number: str, name: str) -> ChartFormula:
        """The same chart with another value of this number."""
        other = copy(self)
        other.name, other.values, other.changed = name, self.values.copy(), set()
        of = self.formula
        made = Number(self.terms, f"{name}{number}", of.limits[number], of.plausible[number], of.spans.get(number))
        other.numbers = {**self.numbers, number: made}
        other.constraints = made.constraints.copy()
        for atom, places in self.formula.kernel.atoms.items():
            if atom.finding == number and atom.word != "is":
                for place, value in zip(places, made.verdict(*atom[1:]), strict=True):
                    other.put(place, value)
        other.decide()
        return other

    # -- atoms --------------------------------------------------------------------------------------------------------

    def _state(self, atom: Atom, places: Places) -> None:
        finding, word, operand = atom
        variable = self.terms.variable
        if finding in self.numbers:
            number = self.numbers[finding]
            # A number is neither present nor absent.
            pair = (number.known, FALSE) if operand == KNOWN else (FALSE, FALSE)
            if word != "is":
                pair = number.verdict(word, operand)
        elif finding == "sex" and word == "one_of":
            pair = (
                self.terms.either(self.sex[sex] for sex in SEXES if sex in operand),
                self.terms.either(self.sex[sex] for sex in SEXES if sex not in operand),
            )
        elif finding in self.formula.facts:
            pair = (self.known(finding, f"{word} {operand}"), self.known(finding, f"not {word} {operand}"))
            self.constraints.append(self.terms.at_most_one(pair))
        elif finding not in self.formula.knowledge.findings or word != "is":
            return
        elif operand == "present":
            pair = (self.known(finding, "present"), self.known(finding, "absent"))
        elif operand == CONTRADICTORY:
            pair = (self.contradictory[finding], FALSE)
        else:
            # Of a date, whether the days since then are known.
            days = self.formula.number_of.get(finding, "")
            known = self.numbers[days].known if days in self.numbers else variable(f"{self.name}{finding} known")
            pair = (known, FALSE)
        self.values[places.true], self.values[places.false] = pair

    def known(self, finding: str, state: str) -> int:
        """The variable of a finding in a state."""
        return self.terms.variable(f"{self.name}{finding} {state}")

    def _state_what_follows(self) -> None:
        """What shows on a leg is there on the side of this chart, on both, or without a side."""
        atoms, values = self.formula.kernel.atoms, self.values
        for finding in self.formula.of_both_sides:
            if Atom(finding, LEFT) in atoms:
                left = self.known(finding, "on a leg")
                self.constraints.append(self.terms.implies(left, values[atoms[Atom(finding)].true]))
                values[atoms[Atom(finding, LEFT)].true] = left
                values[atoms[Atom(finding, RIGHT)].true] = self.terms.both((left, self.bilateral))
        for either, of in self.formula.on_either_side.items():
            if Atom(of) in atoms and Atom(either) in atoms:
                self.constraints.append(
                    self.terms.implies(values[atoms[Atom(of)].true], values[atoms[Atom(either)].true])
                )

    def put(self, place: int, value: int) -> None:
        """States what is at a place, and that what is made of it has to be made anew."""
        if self.values[place] != value:
            self.values[place] = value
            self.changed.add(place)

    # -- the decision -------------------------------------------------------------------------------------------------

    def decide(self) -> None:
        """Makes anew whatever follows from what has changed, stage by stage."""
        kernel, values, terms = self.formula.kernel, self.values, self.terms
        for atom in (OF_PATIENT, OF_SIDE):
            self.put(kernel.atoms[Atom(atom)].true, TRUE)
        self.put(kernel.atoms[Atom(INFORMED)].true, terms.either(self._informing()))
        self._run(CHART)
        flags = {name: values[place] for name, place in kernel.red_flags.items()}
        waits, informed = flags["ranking-waits"], values[kernel.atoms[Atom(INFORMED)].true]
        flags["insufficient-data"] = terms.both((-flags["any-red-flag"], -informed))
        for name in kernel.after_red_flags:
            self._make(name, flags[name])
        self._lead(terms.both((-waits, -flags["insufficient-data"], -values[kernel.unranked])))
        self.put(kernel.atoms[Atom(OF_PLAN)].true, -waits)
        self._run(FLAGGED)
        for name in AFTER_PLAN:
            self._make(name, values[kernel.plan[name]])
        self._run(PLANNED)
        for name, holding in self.formula.flags.items():
            self._make(name, terms.either(values[place] for place in holding))
        self._run(JUDGED)
        self._run(TOLD)
        self.complaint = self._of_complaint()

    def _of_complaint(self) -> int:
        atoms, kernel = self.formula.kernel.atoms, self.formula.kernel
        located = [
            self.numbers[f.id].known if f.id in self.numbers else self.values[atoms[Atom(f.id)].true]
            for f in self.formula.locating
        ]
        if criterion := kernel.criteria.get(self.formula.knowledge.engine.complaint):
            located.append(self.values[criterion.true])
        return self.terms.either(located)

    def _informing(self) -> Iterable[int]:
        """Whether anything is known that may tell of the pain, also what is recorded in two ways."""
        atoms = self.formula.kernel.atoms
        for name in self.formula.informative:
            if (number := self.formula.number_of.get(name, name)) in self.numbers:
                yield self.numbers[number].known
            elif Atom(name) in atoms:
                yield from (self.values[place] for place in atoms[Atom(name)])
                yield self.contradictory[name]

    def _make(self, name: str, value: int) -> None:
        true, false = self.formula.kernel.atoms[Atom(name)]
        self.put(true, value)
        self.put(false, -value)

    def _run(self, stage: int) -> None:
        values, changed, terms = self.values, self.changed, self.terms
        for word, place, of in self.formula.kernel.stages[stage]:
            if not changed.isdisjoint(of):
                parts = [values[each] for each in of]
                made = terms.both(parts) if word == "and" else terms.either(parts) if word == "or" else -parts[0]
                self.put(place, made)

    def _lead(self, ranked: int) -> None:
        """The cause that leads: at most one, and none where nothing is ranked."""
        kernel, values, terms = self.formula.kernel, self.values, self.terms
        if not self.changed.isdisjoint(self.formula.ranked_by):
            self.leads = {cause: terms.variable(f"{self.name}leads {cause}") for cause in kernel.considered}
            self.may_lead = {cause: terms.both((ranked, -values[kernel.vetoes[cause]])) for cause in self.leads}
            self.constraints.append(terms.at_most_one(tuple(self.leads.values())))
            self.constraints += [terms.implies(self.leads[cause], may) for cause, may in self.may_lead.items()]
        for cause, leads in self.leads.items():
            self._make(f"considers-{cause}", terms.either((leads, values[kernel.diagnosed[cause]])))

    def ranking(self) -> list[z3.BoolRef]:
        """The cause that leads is the one with enough points, far enough from the next; see decision.

        Points are whole numbers, and what is compared are sums of them.
        """
        kernel, written = self.formula.kernel, self.terms.written
        points: dict[str, list[tuple[int, int]]] = {cause: [] for cause in self.leads}
        for weight in kernel.weights:
            if (value := self.values[weight.place]) != FALSE:
                points[weight.cause].append((value, weight.points))

        def at_least(parts: list[tuple[int, int]], bound: float) -> z3.BoolRef:
            return self.terms.at_least(parts, ceil(bound)) if parts else z3.BoolVal(bound <= 0)

        found = []
        for cause, leads in self.leads.items():
            others = [[(term, -weight) for term, weight in points[rival]] for rival in points if rival != cause]
            far = [at_least([*points[cause], *other], kernel.lead_by) for other in others]
            first = z3.And(at_least(points[cause], kernel.lead_at_least), written(self.may_lead[cause]), *far)
            found.append(written(leads) == first)
        return found

    # -- what is asked of it ------------------------------------------------------------------------------------------

    def condition(self, condition: Condition) -> tuple[int, int]:
        """Where a condition is true and where it is false. Raises KeyError for what no recommendation compares."""
        kernel, terms = self.formula.kernel, self.terms
        if not condition.finding:
            pairs = [self.condition(part) for part in condition.parts]
            trues, falses = [true for true, _false in pairs], [false for _true, false in pairs]
            if condition.word == "all":
                return terms.both(trues), terms.either(falses)
            true, false = terms.either(trues), terms.both(falses)
            return (false, true) if condition.word == "none" else (true, false)
        if condition.word != "is":
            places = kernel.atoms[Atom(condition.finding, condition.word, condition.operand)]
        elif condition.finding in kernel.criteria:
            criterion = kernel.criteria[condition.finding]
            places = Places(criterion.true, criterion.false)
        else:
            places = kernel.atoms[Atom(condition.finding)]
        true, false = self.values[places.true], self.values[places.false]
        by_state = {
            "present": (true, false),
            "absent": (false, true),
            "not-present": (-true, true),
            "not-absent": (-false, false),
            "unknown": (terms.both((-true, -false)), terms.either((true, false))),
        }
        return (true, false) if condition.word != "is" else by_state[condition.operand]
