"""The knowledge, compiled once: every condition as arithmetic of bits, for one chart or thousands at once.

A verdict is two bits, known true and known false; unknown is neither. Of many charts the bits stand beside each other
in two integers, and the logic of three values (Kleene) is `and` and `or` of integers: `all` is true where all parts are
true, and false where any is false. A place is the index of an integer among the values of a decision (see decision.py).

The operations are data, from which Python is written, and from which a prover can read the same formula. They stand in
stages: what a stage makes of its charts (that a red flag is critical, that a cause is considered, that imaging is
called for) is an atom of the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from math import ceil, floor
from typing import Any, NamedTuple

import msgspec

from service.knowledge_model.conditions import CONTRADICTORY, UNKNOWN, WORDS, Condition
from service.knowledge_model.model import (
    AFTER_PLAN,
    RADIOGRAPH_AT_HAND,
    Knowledge,
    Recommendation,
    WeightedTest,
)
from service.knowledge_model.vocabulary import CHART_KINDS, INDICATORS

# The places of what is true of no chart, and of every chart.
NEVER, ALWAYS = 0, 1
# What is read of: the chart, what red flags and ranking make, what the plan makes, and what is judged beside the chart.
# The last decides nothing: it tells why something is not so, to whoever asks.
CHART, FLAGGED, PLANNED, JUDGED, TOLD = range(5)
# Atoms that no condition names: which charts red flags, the plan and all the rest are about, and whether anything is
# known that may tell of the pain.
OF_PATIENT, OF_PLAN, OF_SIDE, INFORMED = "charts of the patient", "charts of the plan", "charts of a side", "informed"
# The operand of an atom that is true wherever a quantity has a value.
KNOWN = "known"
# The most places that a stage can have while they are counted.
_MANY = 1 << 20


def charts_of(recommendation: Recommendation) -> str:
    """The atom that says on which charts a recommendation can fire."""
    return OF_PATIENT if recommendation.kind == "red-flag" else OF_PLAN if recommendation.waits else OF_SIDE


class Atom(NamedTuple):
    """Something about a finding that is compared on each chart by itself: `word` and `operand` as in a condition.

    `left` and `right` are words for what is present on that side, whichever side a chart is of.
    """

    finding: str
    word: str = "is"
    operand: Any = "present"


class Places(NamedTuple):
    """Where the bits of a verdict are: those of the charts on which it is true, and on which it is false."""

    true: int
    false: int


class Node(msgspec.Struct, frozen=True, gc=False):
    """A condition with the places of its verdict."""

    word: str
    finding: str
    operand: Any
    parts: tuple[Node, ...]
    true: int
    false: int

    def nodes(self) -> Iterator[Node]:
        """This and all that it is made of."""
        yield self
        for part in self.parts:
            yield from part.nodes()


class Carrier(NamedTuple):
    """What carries a verdict on the charts at `place`: by its name, or what is made of these parts.

    contradictory: whether it does by being recorded in two ways.
    """

    place: int
    name: str = ""
    parts: tuple[Any, ...] = ()
    contradictory: bool = False


class Operation(NamedTuple):
    """`word` (and, or, not) of these places, of which the result is at `place`."""

    word: str
    place: int
    of: tuple[int, ...]


class Compiled(msgspec.Struct, frozen=True, gc=False):
    """A recommendation as it is compiled: its condition, that of its critical form, and those of its calls.

    evidence: what carries each verdict of the condition; critical_evidence: that it is so in its critical form; fires,
    critical, imaging, referrals: the places of the charts, of those that it is about, on which this is so; adds,
    cautions: see OnCard.
    """

    when: Node
    critical_when: Node | None
    evidence: Mapping[bool | None, tuple[Carrier, ...]]
    critical_evidence: tuple[Carrier, ...]
    fires: int
    critical: int
    imaging: tuple[int, ...]
    referrals: tuple[int, ...]
    adds: frozenset[str]
    cautions: frozenset[str]


class Weight(msgspec.Struct, frozen=True, gc=False):
    """Points of a cause on the charts at `place`: of a condition, or of a test, which then has a family.

    evidence: what carries that the condition is so; absences: the findings whose absence it asks for; named: what is
    behind it, where it is always one finding.
    """

    cause: str
    points: int
    place: int
    source: str
    evidence: tuple[Carrier, ...] = ()
    absences: frozenset[str] = frozenset()
    family: str = ""
    test: str = ""
    named: tuple[str, ...] = ()


class OnCard(msgspec.Struct, frozen=True, gc=False):
    """What puts a card of this topic where it fires; not where all that it `adds` to is left out by another
    recommendation, nor where nothing that it `cautions` of is offered.
    """

    topic: str
    place: int
    adds: frozenset[str]
    cautions: frozenset[str]


@dataclass(frozen=True)
class Kernel:
    """The compiled knowledge: data alone, which can be pickled; what runs is made of it when it is needed.

    red_flags, plan: the places of what they make; considered, diagnosed: of each cause; outcome: of what an answer can
    change, by its term and name; cards: of what puts a card there; presentations: of each, and of each of its ratings;
    questions: of their conditions. outcome_of, cards_of: what of outcome and cards each recommendation makes.
    """

    atoms: Mapping[Atom, Places]
    stages: tuple[tuple[Operation, ...], ...]
    criteria: Mapping[str, Node]
    recommendations: Mapping[str, Compiled]
    red_flags: Mapping[str, int]
    plan: Mapping[str, int]
    weights: tuple[Weight, ...]
    vetoes: Mapping[str, int]
    unranked: int
    lead_at_least: float
    lead_by: float
    # As engine.toml says it.
    on_both_sides: Mapping[str, tuple[str, ...]]
    after_red_flags: tuple[str, ...]
    considered: Mapping[str, Places]
    diagnosed: Mapping[str, int]
    outcome: Mapping[tuple[str, str], int]
    outcome_of: Mapping[str, tuple[tuple[tuple[str, str], int], ...]]
    cards: tuple[OnCard, ...]
    cards_of: Mapping[str, tuple[OnCard, ...]]
    presentations: tuple[tuple[int, tuple[int, ...]], ...]
    questions: tuple[int, ...]
    # Where something makes this the complaint of the knowledge, and what carries that its criterion is so.
    located: int
    located_by: tuple[Carrier, ...]
    # Of each question: how plausible its answer is, in percent, and the place where that is so.
    priors: tuple[tuple[tuple[int, int], ...], ...]
    asked_when: Mapping[str, Node]

    @property
    def size(self) -> int:
        """How many places come before those of the operations."""
        return 2 + 2 * len(self.atoms)

    @property
    def judged_from(self) -> int:
        """The first place of what is made of the facts that are judged beside a chart."""
        return self.size + sum(len(self.stages[stage]) for stage in (CHART, FLAGGED, PLANNED))

    @cached_property
    def of_finding(self) -> Mapping[str, list[tuple[str, Any, int, int]]]:
        """Finding -> what is compared of it on each chart, whichever side that is of, with its places."""
        found: dict[str, list[tuple[str, Any, int, int]]] = {}
        for atom, places in self.atoms.items():
            if atom.word in WORDS:
                found.setdefault(atom.finding, []).append((atom.word, atom.operand, *places))
        return found

    @cached_property
    def present(self) -> Mapping[str, Places]:
        """Where it is true and where it is false that something is present, or so, by its name."""
        return {atom.finding: places for atom, places in self.atoms.items() if atom == Atom(atom.finding)}

    @cached_property
    def made(self) -> frozenset[str]:
        """What the red flags, the ranking and the plan make."""
        return frozenset((*self.after_red_flags, *AFTER_PLAN, *(f"considers-{cause}" for cause in self.considered)))

    @cached_property
    def stated(self) -> Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]:
        """What is said to be there or not, as most is: the places of what is true where it is not, and where it is."""
        found: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        for name, compared in self.of_finding.items():
            known = [true for _word, operand, true, _false in compared if operand == KNOWN]
            present = [places for _word, operand, *places in compared if operand == "present"]
            found[name] = (
                (*known, *(false for _true, false in present)),
                (*known, *(true for true, _false in present)),
            )
        return found

    @cached_property
    def weighed(self) -> Mapping[int, list[tuple[int, float]]]:
        """Each place of weights, with their causes by number and their points."""
        causes, found = list(self.considered), dict[int, list[tuple[int, float]]]()
        for weight in self.weights:
            found.setdefault(weight.place, []).append((causes.index(weight.cause), weight.points))
        return found

    @cached_property
    def run(self) -> tuple[Callable[[Sequence[int]], tuple[int, ...]], ...]:
        """Of each stage, what makes its results of the values so far."""
        return tuple(map(_function, self.stages))

    def prepare(self) -> None:
        """Make now what the first decision would make: for a process that others are forked from."""
        _ = self.run

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "run"}


def compiled(knowledge: Knowledge) -> Kernel:
    """The knowledge of this knowledge, compiled."""
    # Once to see what decides and to count how many places each stage has, and once to have them in a row.
    counted = _Compiler(knowledge, range(2, 6 * _MANY, _MANY))
    decided = _decided(counted.kernel())
    told = frozenset(number for number, place in enumerate(counted.places.values()) if place not in decided)
    count = Counter(
        TOLD if number in told else counted.stage[place] for number, place in enumerate(counted.places.values())
    )
    lengths = (2 * len(counted.atoms), *(count[stage] for stage in (CHART, FLAGGED, PLANNED, JUDGED)))
    return _Compiler(knowledge, list(accumulate(lengths, initial=2)), told).kernel()


def _decided(kernel: Kernel) -> set[int]:
    """The places without which nothing is decided, and no evidence of it found."""
    open_ = {
        *(*kernel.red_flags.values(), *kernel.plan.values(), *kernel.vetoes.values(), *kernel.diagnosed.values()),
        *(*kernel.outcome.values(), *kernel.questions, kernel.unranked, kernel.located),
        *(weight.place for weight in kernel.weights),
        *(card.place for cards in (kernel.cards, *kernel.cards_of.values()) for card in cards),
        *(place for of in kernel.outcome_of.values() for _term, place in of),
        *(place for priors in kernel.priors for _percent, place in priors),
        *(
            place
            for node in (*kernel.criteria.values(), *kernel.asked_when.values())
            for place in (node.true, node.false)
        ),
        *(place for when, ratings in kernel.presentations for place in (when, *ratings)),
        *(operation.place for operation in kernel.stages[JUDGED]),
    }
    for each in kernel.recommendations.values():
        open_ |= {each.fires, each.critical, *each.imaging, *each.referrals}
    made_of = {operation.place: operation.of for stage in kernel.stages for operation in stage}
    decided: set[int] = set()
    while open_:
        decided |= open_
        open_ = {of for place in open_ for of in made_of.get(place, ())} - decided
    return decided


def _function(operations: Sequence[Operation]) -> Callable[[Sequence[int]], tuple[int, ...]]:
    written = {operation.place for operation in operations}
    read = sorted({place for operation in operations for place in operation.of} - written | {NEVER, ALWAYS})
    lines = [line for operation in operations for line in _written(operation)]
    source = "\n    ".join(
        (
            "def stage(values):",
            *(f"x{place} = values[{place}]" for place in read),
            *lines,
            f"return ({''.join(f'x{operation.place}, ' for operation in operations)})",
        )
    )
    names: dict[str, Any] = {}
    exec(compile(source, "<stage>", "exec"), names)  # noqa: S102 - written here of numbers and three words
    stage: Callable[[Sequence[int]], tuple[int, ...]] = names["stage"]
    return stage


def _written(operation: Operation) -> Iterator[str]:
    """An operation in Python. Most of a chart is not known, and nothing is done with a zero but to look at it."""
    word, place, of = operation
    first, *others = (f"x{each}" for each in of)
    if word == "not":
        yield f"x{place} = x{ALWAYS} ^ {first} if {first} else x{ALWAYS}"
    elif word == "and":
        yield f"x{place} = {' and '.join((first, *others))} and {' & '.join((first, *others))}"
    else:
        yield f"x{place} = {first}"
        yield from (f"if {each}: x{place} |= {each}" for each in others)


class _Compiler:
    """Gives each operation a place, the same to those that are the same. starts: the first of atoms, of each stage;
    told: the operations that decide nothing, by the order in which they are made.
    """

    def __init__(self, knowledge: Knowledge, starts: Sequence[int], told: frozenset[int] = frozenset()) -> None:
        self.knowledge, self.ends, self.told = knowledge, list(starts), told
        self.atoms: dict[Atom, Places] = {}
        self.places: dict[tuple[str, tuple[int, ...]], int] = {}
        self.operations: tuple[list[Operation], ...] = ([], [], [], [], [])
        # The stage in which a place can be read first.
        self.stage = {NEVER: CHART, ALWAYS: CHART}
        self.opposites = {NEVER: ALWAYS, ALWAYS: NEVER}
        self.criteria: dict[str, Node] = {}
        self.carriers_of: dict[tuple[str, bool], tuple[Carrier, ...]] = {}
        self.derived = knowledge.engine.derived
        flags = (f"flag-{flag}" for flag in knowledge.engine.red_flags)
        considers = (f"considers-{cause}" for cause in knowledge.causes)
        judged = (fact for facts in knowledge.facts.values() for fact in facts)
        self.made_by = {
            **dict.fromkeys((*knowledge.engine.after_red_flags, OF_PLAN, *considers), FLAGGED),
            **dict.fromkeys(AFTER_PLAN, PLANNED),
            **dict.fromkeys((RADIOGRAPH_AT_HAND, *flags, *judged), JUDGED),
        }

    def kernel(self) -> Kernel:
        knowledge, ranking = self.knowledge, self.knowledge.differential
        self.place_names()
        each = {r.id: self.recommendation(r) for r in knowledge.recommendations}
        by_kind = {kind: [(r, each[r.id]) for r in knowledge.recommendations if r.kind == kind] for kind in CHART_KINDS}
        flags, of_charts = by_kind["red-flag"], [each for kind in by_kind.values() for each in kind]
        outcome_of = {r.id: tuple(self.outcome_of(r, made)) for r, made in of_charts}
        cards_of = {r.id: tuple(self.cards_of(r, made)) for r, made in of_charts}
        return Kernel(
            criteria=self.criteria,
            recommendations=each,
            red_flags=self.of_red_flags(flags),
            plan=self.of_plan([*flags, *by_kind["plan"]]),
            weights=(*self.points(), *self.tests()),
            vetoes=self.vetoes(),
            unranked=self.condition(ranking.unranked).true if ranking.unranked else NEVER,
            lead_at_least=ranking.lead_at_least,
            lead_by=ranking.lead_by,
            on_both_sides=self.derived.on_both_sides,
            after_red_flags=knowledge.engine.after_red_flags,
            considered={cause: self.pair(f"considers-{cause}") for cause in knowledge.causes},
            diagnosed={cause: self.pair(f"diagnosed-{cause}").true for cause in knowledge.causes},
            outcome=self.any_of(outcome_of.values()),
            outcome_of=outcome_of,
            cards=tuple(self.cards(cards_of.values())),
            cards_of=cards_of,
            presentations=tuple(
                (self.of_side(each.when), tuple(self.of_side(rating.when) for rating in each.ratings))
                for each in knowledge.presentations
            ),
            questions=tuple(self.true(question.when) for question in knowledge.questions),
            located=self.located(),
            located_by=self.opened(knowledge.engine.complaint, True) if knowledge.engine.complaint else (),
            priors=tuple(
                tuple((percent, self.true(when)) for percent, when in question.priors)
                for question in knowledge.questions
            ),
            asked_when=self.asked_when(),
            atoms=self.atoms,
            stages=tuple(map(tuple, self.operations)),
        )

    def place_names(self) -> None:
        """Gives a place to whatever a chart or a stage states, read by a condition or not."""
        knowledge = self.knowledge
        stated = (finding.id for finding in knowledge.findings.values() if finding.value == "boolean")
        for name in (*self.made_by, OF_PATIENT, OF_SIDE, INFORMED, *stated):
            self.atom(Atom(name))
        for name in knowledge.definitions:
            self.criterion(name)
        for name in self.derived.on_both_sides:
            self.pair(name)

    def asked_when(self) -> dict[str, Node]:
        """Finding -> the condition under which it is asked for, where there is one."""
        questions = (q for q in self.knowledge.questions if q.when and not q.first)
        return {finding: self.condition(q.when) for q in questions if q.when for finding in q.findings}

    # -- operations ---------------------------------------------------------------------------------------------------

    def place(self, row: int, stage: int) -> int:
        place = self.ends[row]
        self.ends[row] += 1
        self.stage[place] = stage
        return place

    def operation(self, word: str, of: tuple[int, ...]) -> int:
        if (word, of) not in self.places:
            stage = max(self.stage[place] for place in of)
            kept = TOLD if len(self.places) in self.told else stage
            self.places[word, of] = place = self.place(1 + kept, stage)
            self.operations[kept].append(Operation(word, place, of))
        return self.places[word, of]

    def both(self, of: Iterable[int]) -> int:
        """Where all of these are."""
        return self.joined("and", of, nothing=ALWAYS, decides=NEVER)

    def either(self, of: Iterable[int]) -> int:
        """Where any of these is."""
        return self.joined("or", of, nothing=NEVER, decides=ALWAYS)

    def joined(self, word: str, of: Iterable[int], *, nothing: int, decides: int) -> int:
        places = {*of} - {nothing}
        if decides in places:
            return decides
        if len(places) < 2:
            return places.pop() if places else nothing
        return self.operation(word, tuple(sorted(places)))

    def opposite(self, place: int) -> int:
        if place not in self.opposites:
            other = self.operation("not", (place,))
            self.opposites |= {place: other, other: place}
        return self.opposites[place]

    def at_least(self, count: int, of: Sequence[int]) -> int:
        """Where at least so many of these are."""
        if count <= 0:
            return ALWAYS
        if len(of) < count:
            return NEVER
        first, rest = of[0], of[1:]
        return self.either((self.at_least(count, rest), self.both((first, self.at_least(count - 1, rest)))))

    # -- conditions ---------------------------------------------------------------------------------------------------

    def atom(self, atom: Atom) -> Places:
        if atom not in self.atoms:
            stage = self.made_by.get(atom.finding, CHART)
            self.atoms[atom] = Places(self.place(0, stage), self.place(0, stage))
        return self.atoms[atom]

    def criterion(self, name: str) -> Node:
        if name not in self.criteria:
            self.criteria[name] = self.condition(self.knowledge.definitions[name][1])
        return self.criteria[name]

    def pair(self, name: str) -> Places:
        """Where a finding or a criterion is present and where it is absent."""
        if name in self.knowledge.definitions:
            criterion = self.criterion(name)
            return Places(criterion.true, criterion.false)
        stated = self.atom(Atom(name))
        if name == RADIOGRAPH_AT_HAND:
            at_hand, not_awaited = stated.true, self.knowledge.engine.imaging.radiograph_at_hand
            if not_awaited:
                at_hand = self.either((at_hand, self.criterion(not_awaited).true))
            return Places(at_hand, self.opposite(at_hand))
        if name in self.derived.on_both_sides:
            others = self.derived.on_both_sides[name]
            sides = (self.either(self.atom(Atom(of, side)).true for of in others) for side in ("left", "right"))
            both = self.both(sides)
            return Places(self.either((stated.true, both)), self.both((stated.false, self.opposite(both))))
        return stated

    def condition(self, condition: Condition) -> Node:
        parts = tuple(map(self.condition, condition.parts))
        if condition.finding:
            true, false = self.comparison(condition)
        elif condition.word == "all":
            true, false = self.both(p.true for p in parts), self.either(p.false for p in parts)
        else:
            true, false = self.either(p.true for p in parts), self.both(p.false for p in parts)
            if condition.word == "none":
                true, false = false, true
        return Node(condition.word, condition.finding, condition.operand, parts, true, false)

    def comparison(self, leaf: Condition) -> Places:
        if leaf.word == "is":
            return self.state_of(leaf.finding, leaf.operand)
        if leaf.finding in self.derived.count_of:
            return self.count(self.derived.count_of[leaf.finding], leaf.word, leaf.operand)
        return self.atom(Atom(leaf.finding, leaf.word, leaf.operand))

    def state_of(self, name: str, state: str) -> Places:
        true, false = self.pair(name)
        if state == "present":
            return Places(true, false)
        if state == "absent":
            return Places(false, true)
        # The others speak of documentation, and not of the patient: they are true or false of every chart.
        if state == CONTRADICTORY:
            contradictory = self.atom(Atom(name, "is", CONTRADICTORY)).true
            documented = (
                self.both((contradictory, self.opposite(true))) if name in self.derived.on_both_sides else contradictory
            )
        else:
            documented = self.opposite({"not-absent": false, "not-present": true, UNKNOWN: self.known(name)}[state])
        return Places(documented, self.opposite(documented))

    def known(self, name: str) -> int:
        """Where anything is known of this."""
        if name in self.derived.count_of:
            return self.either(place for of in self.derived.count_of[name] for place in self.pair(of))
        if self.knowledge.value_of(name) != "boolean":
            return self.atom(Atom(name, "is", KNOWN)).true
        return self.either(self.pair(name))

    def count(self, counted: Sequence[str], word: str, bound: float) -> Places:
        """How many of these are present: what is not known may be either."""
        present, absent = zip(*map(self.pair, counted), strict=True)
        least = ceil(bound) if word == "at_least" else floor(bound) + 1
        enough = self.at_least(least, present)
        too_few = self.at_least(len(counted) - least + 1, absent)
        return Places(enough, too_few) if word == "at_least" else Places(too_few, enough)

    # -- what carries a verdict ---------------------------------------------------------------------------------------

    def carriers(self, node: Node, verdict: bool | None) -> tuple[Carrier, ...]:
        """What carries this verdict of a condition, named criteria opened; all of it where it cannot be told. What is
        recorded in two ways or made by a stage does where that is so, and not where it is not.
        """
        name, place = node.finding, ALWAYS if verdict is None else node.true if verdict else node.false
        if node.operand == CONTRADICTORY:
            return () if verdict is False else (Carrier(node.true, name, contradictory=True),)
        if name in self.criteria or self.made_by.get(name) in (FLAGGED, PLANNED):
            true, false = self.pair(name)
            # Where it cannot be one of both, the other alone makes it so.
            opened = [
                self.opened(name, so)
                for so, at, other in ((True, true, false), (False, false, true))
                if place not in (other, self.opposites.get(at))
            ]
            found = tuple(chain.from_iterable(opened))
            return found if len(opened) == 1 or not found else (Carrier(place, parts=found),)
        if name:
            return (Carrier(place, name),)
        carriers: list[Carrier] = []
        # The parts of a `none` carry its verdict by saying the opposite.
        wanted = verdict if verdict is None else verdict != (node.word == "none")
        for part in node.parts:
            of_part = self.carriers(part, wanted)
            if of_part and part.parts:
                of_part = (Carrier(ALWAYS if wanted is None else part.true if wanted else part.false, parts=of_part),)
            carriers += of_part
        return tuple(carriers)

    def opened(self, name: str, verdict: bool) -> tuple[Carrier, ...]:
        """The same of a criterion, or of what a stage makes."""
        if (name, verdict) not in self.carriers_of:
            true, false = self.pair(name)
            if name in self.criteria:
                parts = self.carriers(self.criteria[name], verdict)
                found = (Carrier(true if verdict else false, parts=parts),) if parts else ()
            else:
                found = (Carrier(true, name),) if verdict else ()
            self.carriers_of[name, verdict] = found
        return self.carriers_of[name, verdict]

    # -- recommendations ----------------------------------------------------------------------------------------------

    def true(self, condition: Condition | None) -> int:
        """Where this is so; everywhere where there is no condition."""
        return self.condition(condition).true if condition else ALWAYS

    def located(self) -> int:
        locating = [f for f in self.knowledge.findings.values() if f.defines_complaint]
        found = [self.pair(f.id).true if f.value == "boolean" else self.known(f.id) for f in locating]
        if complaint := self.knowledge.engine.complaint:
            found.append(self.criterion(complaint).true)
        return self.both((self.either(found), self.atom(Atom(OF_PATIENT)).true))

    def of_side(self, condition: Condition | None) -> int:
        return self.both((self.true(condition), self.atom(Atom(OF_SIDE)).true))

    def recommendation(self, recommendation: Recommendation) -> Compiled:
        when = self.condition(recommendation.when)
        fires = self.both((when.true, self.atom(Atom(charts_of(recommendation))).true))
        critical_when = self.condition(recommendation.critical_when) if recommendation.critical_when else None
        grave = critical_when.true if critical_when else ALWAYS if recommendation.indicator == "critical" else NEVER

        def called(conditions: Iterable[Condition | None]) -> tuple[int, ...]:
            return tuple(self.both((fires, self.true(each))) for each in conditions)

        return Compiled(
            when,
            critical_when,
            {verdict: self.carriers(when, verdict) for verdict in (True, False, None)},
            self.carriers(critical_when, True) if critical_when else (),
            fires,
            self.both((fires, grave)),
            called(call.when for call in recommendation.imaging),
            called(call.when for call in recommendation.referrals),
            frozenset(what for treatment in recommendation.treatment for what in treatment.adds),
            frozenset(treatment.id for treatment in recommendation.treatment if treatment.state == "caution"),
        )

    def of_red_flags(self, flags: Sequence[tuple[Recommendation, Compiled]]) -> dict[str, int]:
        """What later conditions read of the red flags, and whether the ranking waits for one."""
        blocks = [(r.red_flag.blocks if r.red_flag else frozenset[str](), made) for r, made in flags]
        return {
            "critical-red-flag": self.either(made.critical for _r, made in flags),
            **{
                f"{block}-red-flag": self.either(made.fires if block in of else made.critical for of, made in blocks)
                for block in self.knowledge.engine.blocks
            },
            "ranking-waits": self.either(made.critical for of, made in blocks if "ranking" in of),
            "any-red-flag": self.either(made.fires for _r, made in flags),
        }

    def of_plan(self, compiled: Sequence[tuple[Recommendation, Compiled]]) -> dict[str, int]:
        """What later conditions read of the plan."""
        calls = [each for r, made in compiled for each in zip(r.imaging, made.imaging, strict=True)]
        return {
            "imaging-called-for": self.either(place for _call, place in calls),
            "mri-called-for": self.either(place for call, place in calls if call.modality == "mri"),
        }

    def outcome_of(self, r: Recommendation, made: Compiled) -> Iterator[tuple[tuple[str, str], int]]:
        """What of the outcome a recommendation makes: term and name, and where."""
        yield ("tier", "critical"), made.critical
        yield ("tier", r.indicator), made.fires
        if r.red_flag:
            yield ("flag", r.red_flag.id), made.fires
            yield ("critical-flag", r.red_flag.id), made.critical
        for call, place in zip(r.imaging, made.imaging, strict=True):
            # The advice to wait is no imaging.
            if call.modality != "none-now":
                yield ("imaging", f"{call.modality}-{call.region}"), place
        for to, place in zip(r.referrals, made.referrals, strict=True):
            yield ("referrals", to.to), place
        for treatment in r.treatment:
            yield (treatment.state, treatment.id), made.fires
            for what in treatment.without:
                yield ("without", what), made.fires

    def any_of(self, outcomes: Iterable[Iterable[tuple[tuple[str, str], int]]]) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], list[int]] = {}
        for key, place in chain.from_iterable(outcomes):
            found.setdefault(key, []).append(place)
        return {key: self.either(places) for key, places in found.items()}

    def cards_of(self, r: Recommendation, made: Compiled) -> Iterator[OnCard]:
        """The urgent tiers each have one card; what is not urgent stands on that of its topic."""
        topics = self.knowledge.engine.topics
        of_topic = (topics.get(r.indicator, r.topic), self.both((made.fires, self.opposite(made.critical))))
        for topic, place in ((topics[INDICATORS[0]], made.critical), of_topic):
            yield OnCard(topic, place, made.adds, made.cautions)

    def cards(self, cards: Iterable[Iterable[OnCard]]) -> Iterator[OnCard]:
        """The same with those of all recommendations together that differ in their place alone."""
        found = dict[OnCard, list[int]]()
        for card in chain.from_iterable(cards):
            found.setdefault(msgspec.structs.replace(card, place=NEVER), []).append(card.place)
        for card, places in found.items():
            yield msgspec.structs.replace(card, place=self.either(places))

    # -- the ranking --------------------------------------------------------------------------------------------------

    def vetoes(self) -> dict[str, int]:
        """Cause -> where it cannot lead."""
        vetoes = [(veto.cause, self.condition(veto.when).true) for veto in self.knowledge.differential.vetoes]
        return {cause: self.either(place for of, place in vetoes if of == cause) for cause in self.knowledge.causes}

    def points(self) -> Iterator[Weight]:
        for entry in self.knowledge.differential.points:
            when = self.condition(entry.when)
            named = when.finding if when.operand in ("present", "absent") else ""
            yield Weight(
                entry.cause,
                entry.points,
                when.true,
                entry.source,
                self.carriers(when, True),
                self.absences(when),
                named=self.findings(named),
            )

    def findings(self, name: str) -> tuple[str, ...]:
        """This one, if it is a finding."""
        return (name,) if name in self.knowledge.findings else ()

    def absences(self, node: Node) -> frozenset[str]:
        """The findings whose absence a condition asks for, named criteria opened."""
        if node.finding in self.criteria:
            return self.absences(self.criteria[node.finding])
        if node.finding:
            return frozenset({node.finding}) if node.operand == "absent" else frozenset()
        return frozenset[str]().union(*map(self.absences, node.parts))

    def tests(self) -> Iterator[Weight]:
        """Of the tests of a family the one with the largest weight counts, and no more than its caps allow."""
        for (cause, family), (tests, caps) in self.knowledge.differential.families.items():
            results = [
                (weight, place, test)
                for test in tests
                for weight, place in zip((test.positive, test.negative), self.results(test), strict=True)
                if weight
            ]
            larger: list[int] = []
            for weight, place, test in sorted(results, key=lambda result: -abs(result[0])):
                counts = [(weight, self.both((place, *map(self.opposite, larger))))]
                larger.append(place)
                for cap in caps:
                    capped = self.condition(cap.when).true
                    kept = [(points, self.both((where, self.opposite(capped)))) for points, where in counts]
                    counts = [*kept, *((min(p, cap.at_most), self.both((where, capped))) for p, where in counts)]
                for points, where in counts:
                    named = self.findings(test.finding)
                    yield Weight(cause, points, where, test.source, family=family, test=test.finding, named=named)

    def results(self, test: WeightedTest) -> tuple[int, int]:
        """Where a test is positive and where it is negative."""
        positive, negative = self.pair(test.finding)
        return positive, self.condition(test.negative_when).true if test.negative_when else negative
