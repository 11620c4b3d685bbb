"""What the answers to questions can change by the guideline, whatever the chart: what reads them, and how far it goes.

It spares most trials: only what reads an answer has to be looked at again, and what cannot change enough is not tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import inf, nextafter
from typing import NamedTuple, TypeVar

from service.chart.derived import FOLLOWS
from service.chart.grounds import Grounds, grounds_of, holds_by, made_by_steps, marks
from service.guideline.conditions import CONTRADICTORY, Condition, Interval, Value
from service.guideline.model import AFTER_PLAN, AFTER_RED_FLAGS, DAYS_SINCE, Guideline, Recommendation
from service.guideline.vocabulary import CHART_KINDS, COSTS
from service.reasoning.outcome import CRITICAL, TIERS, Says, plain, says

# What is made of the red flags where one of them is critical.
FLAGGED = "critical-red-flag"
Answers = Mapping[str, Value]
# A finding with yes or no, or with any quantity (None).
Answer = tuple[str, bool | None]
_VALUES = (True, False, None)
_Item = TypeVar("_Item")


class Reach(NamedTuple):
    """What to look at again when names change: criteria, recommendations by kind, and what of the ranking reads them.

    Recommendations and points are named by their places, vetoes by their cause; closings: all that follows the plan;
    ranks: whether the leading cause can be another one.
    """

    criteria: frozenset[str]
    flags: frozenset[int]
    plans: frozenset[int]
    closings: frozenset[int]
    points: frozenset[int]
    families: frozenset[tuple[str, str]]
    vetoes: frozenset[str]
    ranks: bool

    def recommendations(self) -> frozenset[int]:
        return self.flags | self.plans | self.closings


class Limits(NamedTuple):
    """What the answers to a question can change at most: which recommendations, and the points of what these say.

    gravest: what has to be there beside the answer, for each of those that can be critical by themselves;
    waits: the same for those of them for which the ranking waits; short_of_that: the tier where none of them is; swing:
    by how much two causes may come nearer; vetoes: the causes whose vetoes are read again.
    """

    places: frozenset[int]
    tier: int
    gravest: tuple[Grounds, ...]
    short_of_that: int
    rest: int
    treatment: int
    waits: tuple[Grounds, ...]
    leader: int
    swing: int
    vetoes: frozenset[str]


class AnswerIndex:
    """What reads each answer, and what it can change at most; made once, by one guideline, and without any patient."""

    def __init__(self, guideline: Guideline, informative: frozenset[str], grounds: Mapping[str, Grounds]) -> None:
        self.guideline, self.informative = guideline, informative
        self.families = guideline.differential.families
        self.rules = tuple(r for r in guideline.recommendations if r.kind in CHART_KINDS)
        self.places = {r.id: place for place, r in enumerate(self.rules)}
        self.costs = tuple(COSTS.index(question.cost) for question in guideline.questions)
        self.grounds = tuple(grounds[r.id] for r in self.rules)
        # What has to be there for each to be critical by itself; None where it never is.
        self.grave_grounds = tuple(map(self._grave_grounds, self.rules, self.grounds))
        self.plain = tuple(plain(r) for r in self.rules)
        self.flags = frozenset(i for i, r in enumerate(self.rules) if r.kind == "red-flag")
        self.plans = frozenset(i for i, r in enumerate(self.rules) if r.kind == "plan")
        self.before_closing = self.flags | self.plans
        self.closings = frozenset(range(len(self.rules))) - self.before_closing
        # All that matters of the others beside a critical red flag.
        self.calling = frozenset(i for i, r in enumerate(self.rules) if r.imaging or r.referrals)
        # What each of them reads, criteria opened or not: most have nothing to do with a given name.
        self._opened = {criterion: guideline.opened([criterion]) for criterion in guideline.definitions}
        self._named = tuple(frozenset(n for c in r.conditions() for n in c.findings()) for r in self.rules)
        self.points = {term: values.points for term, values in guideline.question_terms.items()}
        self.considers = frozenset(f"considers-{cause}" for cause in guideline.causes)
        self.made = made_by_steps(guideline)
        self.made_but_flagged = self.made - {FLAGGED}
        asked = {f for q in guideline.questions for f in q.findings}
        self.asked_first = frozenset(f for q in guideline.questions if q.first for f in q.findings)
        self.reach = {
            (name, value): self._find_reach(name, value)
            for name in {*asked, *(FOLLOWS.get(f, f) for f in asked), *AFTER_RED_FLAGS, *AFTER_PLAN, *self.considers}
            for value in _VALUES
        }
        # Given the knowledge, few names ever change together, and few parts of what is said hold together.
        self.reached = lru_cache(maxsize=4096)(self._reached)
        self.saying = lru_cache(maxsize=4096)(self._saying)
        self.tries = {f: self._values(f) for q in guideline.questions for f in q.findings}
        self.tried = {f: tuple({(f, yes_or_no(value)) for value in values}) for f, values in self.tries.items()}
        # What an answer sets off by itself: a critical red flag for which the ranking waits.
        self.alone = {(f, value): self._alone(f, value) for f in asked for value in (True, False)}
        # What the answers to a question, and each answer, can change at most; also where too little is documented.
        answers: dict[object, list[Answer]] = {
            q.findings: [(f, value) for f in q.findings for value in _VALUES] for q in guideline.questions
        }
        answers |= {(f, value): [(f, value)] for f in asked for value in _VALUES}
        self.limits = {
            insufficient: {what: self._limit(keys, insufficient=insufficient) for what, keys in answers.items()}
            for insufficient in (False, True)
        }

    # -- what is known of the guideline -------------------------------------------------------------------------------

    def _alone(self, finding: str, value: bool) -> tuple[Says, ...]:
        says = (
            (rule, self.plain[place])
            for place, rule in enumerate(self.rules)
            if rule.indicator == "critical" and rule.red_flag and "ranking" in rule.red_flag.blocks
        )
        # Advice to wait is no imaging, see outcome.
        return tuple(
            plain[True]
            for rule, plain in says
            if plain
            and not any(modality == "none-now" for modality, _region in plain[True].imaging)
            and holds_by(rule.when, finding, value, self.guideline)
        )

    def _grave_grounds(self, rule: Recommendation, grounds: Grounds) -> Grounds | None:
        if rule.indicator == "critical":
            return grounds
        if rule.critical_when is None or rule.critical_when.findings() <= {FLAGGED}:
            return None
        return (*grounds, *grounds_of(rule.critical_when, self.guideline))

    def _values(self, finding: str) -> tuple[Value, ...]:
        """What an answer may be: absent or present; of a quantity one value in each stretch between its thresholds."""
        known = self.guideline.findings.get(finding)
        if known and known.value == "boolean":
            return (False, True)
        name = FOLLOWS.get(finding, finding)
        leaves = [leaf for c in self.guideline.rule_conditions() for leaf in c.leaves() if leaf.finding == name]
        days = name in DAYS_SINCE
        stretches: dict[tuple[bool, ...], Value] = {}
        bounds = {
            value
            for leaf in leaves
            for value in (
                leaf.operand,
                (leaf.operand - 1 if leaf.word == "at_least" else leaf.operand + 1)
                if days
                else nextafter(leaf.operand, -inf if leaf.word == "at_least" else inf),
            )
        }
        for value in sorted(bounds):
            verdicts = (leaf.operand <= value if leaf.word == "at_least" else value <= leaf.operand for leaf in leaves)
            stretches.setdefault(tuple(verdicts), Interval(value, value))
        return tuple(stretches.values())

    def _find_reach(self, name: str, value: Value) -> Reach:
        guideline, rules = self.guideline, self.guideline.differential
        moves: dict[str, str] = {name: _UP if value is True else _DOWN if value is False else _ANY}
        if name in FOLLOWS:
            moves[FOLLOWS[name]] = _ANY
        criteria = [c for c, names in self._opened.items() if not names.isdisjoint(moves)]
        before: dict[str, str] = {}
        while before != moves:
            before = moves
            found = {criterion: _move(guideline.definitions[criterion][1], moves) for criterion in criteria}
            moves = {**moves, **{criterion: move for criterion, move in found.items() if move}}

        def starts(condition: Condition | None) -> bool:
            """Whether it may hold where it did not, or not where it did: no is as good as unknown."""
            return condition is not None and _move(condition, moves) not in ("", _DOWN)

        points = frozenset(i for i, entry in enumerate(rules.points) if starts(entry.when))
        read = frozenset(
            key
            for key, (tests, caps) in self.families.items()
            if any(test.finding in moves for test in tests) or any(starts(cap.when) for cap in caps)
        )
        started = frozenset(
            i
            for i, (r, names) in enumerate(zip(self.rules, self._named, strict=True))
            if not names.isdisjoint(moves) and any(starts(c) for c in r.conditions())
        )
        vetoes = frozenset(veto.cause for veto in rules.vetoes if starts(veto.when))
        return Reach(
            criteria=frozenset(moves) - {name},
            flags=started & self.flags,
            plans=started & self.plans,
            closings=started & self.closings,
            points=points,
            families=read,
            vetoes=vetoes,
            ranks=bool(points or read or vetoes),
        )

    def _reached(self, answers: tuple[Answer, ...]) -> Reach:
        """What to look at again with these values on a chart."""
        found = [self.reach[answer] for answer in answers]
        return Reach(
            criteria=all_of(reach.criteria for reach in found) - {name for name, _value in answers},
            flags=all_of(reach.flags for reach in found),
            plans=all_of(reach.plans for reach in found),
            closings=all_of(reach.closings for reach in found),
            points=all_of(reach.points for reach in found),
            families=all_of(reach.families for reach in found),
            vetoes=all_of(reach.vetoes for reach in found),
            ranks=any(reach.ranks for reach in found),
        )

    def _saying(self, place: int, indicator: str, imaging: tuple[bool, ...], referrals: tuple[bool, ...]) -> Says:
        """What a recommendation that holds says with this indicator and these of its calls."""
        rule = self.rules[place]
        return says(
            rule,
            indicator,
            ((call.modality, call.region) for call, said in zip(rule.imaging, imaging, strict=True) if said),
            (call.to for call, said in zip(rule.referrals, referrals, strict=True) if said),
        )

    def reached_by(self, names: Iterable[str]) -> Reach:
        """What to look at again when these names change, whichever way."""
        return self.reached(tuple((name, None) for name in names))

    def _limit(self, answers: Iterable[Answer], *, insufficient: bool) -> Limits:
        """Follows what answers may set in motion, step by step as an assessment goes, whatever the chart."""
        asked = self.reached(tuple(answers))
        flags = [self.rules[i] for i in asked.flags]
        said = marks((finding, value) for finding, value in answers if value is not None)

        def beside_the_answer(places: Iterable[int]) -> tuple[Grounds, ...]:
            found = {
                tuple(each for each in grounds if said.isdisjoint(each))
                for place in places
                if (grounds := self.grave_grounds[place]) is not None
            }
            # The fewer sets there are, the sooner it is told; there is none where the answer does it alone.
            return tuple(sorted(found, key=len))

        blocking = (i for i in asked.flags if (flag := self.rules[i].red_flag) and "ranking" in flag.blocks)
        waits = beside_the_answer(blocking)
        critical = any(r.indicator == "critical" or r.critical_when for r in flags)
        made = {
            name
            for name in AFTER_RED_FLAGS
            if critical or any(block in name for r in flags if r.red_flag for block in r.red_flag.blocks)
        }
        if insufficient:
            made.add("insufficient-data")
        leads = asked.ranks or bool(waits) or insufficient
        made |= self.considers if leads else set()
        places = asked.recommendations() | self.reached_by(made).recommendations()
        if critical:
            places |= self.plans
        if any(self.rules[i].imaging for i in places & self.before_closing):
            places |= self.reached_by(AFTER_PLAN).recommendations()
        touched = [self.rules[i] for i in places]

        def tier(rule: Recommendation) -> int:
            # What is critical only because a red flag is adds nothing to that.
            of_flag = rule.critical_when and rule.critical_when.findings() <= {FLAGGED} - made
            return CRITICAL if rule.critical_when and not of_flag else TIERS[rule.indicator]

        term = self.points
        return Limits(
            places,
            max((tier(rule) for rule in touched), default=0),
            beside_the_answer(places),
            max((min(tier(rule), CRITICAL - 1) for rule in touched), default=0),
            term["imaging"] * any(r.imaging for r in touched) + term["referrals"] * any(r.referrals for r in touched),
            term["treatment"] * any(r.treatment for r in touched),
            waits,
            term["leader"] * leads,
            self._swing(asked),
            asked.vetoes,
        )

    def _swing(self, reach: Reach) -> int:
        rules = self.guideline.differential
        swing = sum(abs(rules.points[i].points) for i in reach.points)
        for key in reach.families:
            tests, caps = self.families[key]
            weights = (0, *(w for t in tests for w in (t.positive, t.negative)), *(cap.at_most for cap in caps))
            swing += max(weights) - min(weights)
        return swing


# How a verdict may move when a value becomes known: towards yes, towards no, or anyhow, also from what it was.
_UP, _DOWN, _ANY = "up", "down", "any"
_OPPOSITE = {"": "", _UP: _DOWN, _DOWN: _UP, _ANY: _ANY}


def _move(condition: Condition, moves: Mapping[str, str]) -> str:
    """How the verdict of a condition may move with the names in it; empty when it cannot."""
    if condition.finding:
        move = moves.get(condition.finding, "")
        if condition.word != "is":
            return _ANY if move else ""
        if condition.operand == "absent":
            return _OPPOSITE[move]
        # The two words that speak of documentation leave a verdict that stood, and not only what was open.
        if condition.operand in ("not-absent", "not-present"):
            return "" if move in ("", _UP if condition.operand == "not-absent" else _DOWN) else _ANY
        # What is recorded in two ways is asked for first, and not tried.
        return "" if condition.operand == CONTRADICTORY else move
    found = {_move(part, moves) for part in condition.parts} - {""}
    move = found.pop() if len(found) == 1 else _ANY if found else ""
    return _OPPOSITE[move] if condition.word == "none" else move


def yes_or_no(value: Value) -> bool | None:
    """None stands for any quantity."""
    return value if isinstance(value, bool) else None


def keys_of(answers: Answers) -> tuple[Answer, ...]:
    return tuple([(name, yes_or_no(value)) for name, value in answers.items()])


def all_of(sets: Iterable[frozenset[_Item]]) -> frozenset[_Item]:
    return frozenset[_Item]().union(*sets)
