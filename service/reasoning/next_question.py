"""What to ask or examine next: the rules run again with each unknown finding both ways. Pure.

The value of a finding is what its answer can change at most: the urgency, the imaging, the referrals, the leading
cause, the treatment, each with the points that questions.toml gives it (section 5.5 of the evidence). Only what reads
the finding is evaluated again, and of it the verdict only; a question is left out as soon as what it can change at most
is less than what three others do change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heappush
from math import inf, nextafter
from typing import NamedTuple, TypeVar

from service.chart.case import Case
from service.chart.derived import FOLLOWS, MADE_OF_OTHERS, Chart
from service.chart.grounds import Grounds, grounds_of, holds_by, made_by_steps, marks, marks_of_others, may_hold
from service.chart.statements import BILATERAL, Statement
from service.guideline.conditions import CONTRADICTORY, Condition, Interval, Value
from service.guideline.forms import CHART_KINDS, COSTS, INDICATORS
from service.guideline.model import AFTER_PLAN, AFTER_RED_FLAGS, DAYS_SINCE, Guideline, Question, Recommendation
from service.reasoning.differential import Ranking, family_result, leader_of

ASKED_AT_MOST = 3
WAITS = "the ranking waits"
# What is made of the red flags where one of them is critical.
_FLAGGED = "critical-red-flag"
# How urgent an indicator is: none 0, info 1, warning 2, critical 3.
_VALUES = (True, False, None)
_TIERS = {indicator: tier for tier, indicator in enumerate(reversed(INDICATORS), start=1)}
_CRITICAL = _TIERS["critical"]

Answers = Mapping[str, Value]
# A finding with yes or no, or with any quantity (None).
_Answer = tuple[str, bool | None]
_Item = TypeVar("_Item")


class Says(NamedTuple):
    """What one recommendation that holds adds to the outcome. `flag` is its red flag, where that is critical."""

    tier: int
    flag: str = ""
    imaging: frozenset[tuple[str, str]] = frozenset()
    referrals: frozenset[str] = frozenset()
    treatment: frozenset[tuple[str, str]] = frozenset()


class Outcome(NamedTuple):
    """What of an assessment an answer can change.

    imaging: modality and region, without the advice to wait. treatment is empty beside a critical red flag: it waits.
    """

    tier: int
    critical: frozenset[str]
    imaging: frozenset[tuple[str, str]]
    referrals: frozenset[str]
    leaders: tuple[str | None, ...]
    treatment: frozenset[tuple[str, str]]


def outcome(says: Iterable[Says], leaders: tuple[str | None, ...]) -> Outcome:
    """What these recommendations call for together: a hold is not undone by an offer."""
    tier = 0
    critical: set[str] = set()
    imaging: set[tuple[str, str]] = set()
    referrals: set[str] = set()
    treatment: set[tuple[str, str]] = set()
    for said in says:
        tier = max(tier, said.tier)
        if said.flag:
            critical.add(said.flag)
        if said.imaging:
            imaging |= said.imaging
        if said.referrals:
            referrals |= said.referrals
        if said.treatment:
            treatment |= said.treatment
    return Outcome(
        tier=tier,
        critical=frozenset(critical),
        imaging=frozenset(call for call in imaging if call[0] != "none-now"),
        referrals=frozenset(referrals),
        leaders=leaders,
        treatment=frozenset(
            (id_, state) for id_, state in treatment if state == "hold" or (id_, "hold") not in treatment
        )
        if tier < _CRITICAL
        else frozenset(),
    )


def steps(before: Outcome, after: Outcome) -> int:
    """Steps of urgency between two outcomes; where a critical flag stands already, another one is a step as well."""
    if before.tier == after.tier == _CRITICAL:
        return int(before.critical != after.critical)
    return abs(after.tier - before.tier)


class Asked(NamedTuple):
    """A question to ask, and what its answer can change: terms of questions.toml, the weightiest first."""

    finding: str
    ask: str
    because: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Assessed:
    """The assessment as it stands. patient_charts: those of the red flags; charts: those of all that follows them.

    held: the ids of the recommendations that hold, with whether they are critical; rankings: none where too little is
    documented; there: the marks of all that is stated (see grounds); so: what the steps of the assessment have made, if
    it is so.
    """

    case: Case
    patient_charts: Sequence[Chart]
    charts: Sequence[Chart]
    held: Mapping[str, bool]
    rankings: Sequence[Ranking]
    there: Set[str]
    so: frozenset[str]


class _Reach(NamedTuple):
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


class _Limits(NamedTuple):
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


class NextQuestion:
    """Finds the questions worth asking by one guideline; made once. Holds what reads what, and nothing of a patient."""

    def __init__(self, guideline: Guideline, informative: frozenset[str], grounds: Mapping[str, Grounds]) -> None:
        self.guideline, self.informative = guideline, informative
        self.families = guideline.differential.families
        self.rules = tuple(r for r in guideline.recommendations if r.kind in CHART_KINDS)
        self.places = {r.id: place for place, r in enumerate(self.rules)}
        self.costs = tuple(COSTS.index(question.cost) for question in guideline.questions)
        self.grounds = tuple(grounds[r.id] for r in self.rules)
        # What has to be there for each to be critical by itself; None where it never is.
        self.grave_grounds = tuple(map(self._grave_grounds, self.rules, self.grounds))
        self.plain = tuple(_plain(r) for r in self.rules)
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
        self.made_but_flagged = self.made - {_FLAGGED}
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
        self.tried = {f: tuple({(f, _yes_or_no(value)) for value in values}) for f, values in self.tries.items()}
        # What an answer sets off by itself: a critical red flag for which the ranking waits.
        self.alone = {(f, value): self._alone(f, value) for f in asked for value in (True, False)}
        # What the answers to a question, and each answer, can change at most; also where too little is documented.
        answers: dict[object, list[_Answer]] = {
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
        if rule.critical_when is None or rule.critical_when.findings() <= {_FLAGGED}:
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

    def _find_reach(self, name: str, value: Value) -> _Reach:
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
        return _Reach(
            criteria=frozenset(moves) - {name},
            flags=started & self.flags,
            plans=started & self.plans,
            closings=started & self.closings,
            points=points,
            families=read,
            vetoes=vetoes,
            ranks=bool(points or read or vetoes),
        )

    def _reached(self, answers: tuple[_Answer, ...]) -> _Reach:
        """What to look at again with these values on a chart."""
        found = [self.reach[answer] for answer in answers]
        return _Reach(
            criteria=_all_of(reach.criteria for reach in found) - {name for name, _value in answers},
            flags=_all_of(reach.flags for reach in found),
            plans=_all_of(reach.plans for reach in found),
            closings=_all_of(reach.closings for reach in found),
            points=_all_of(reach.points for reach in found),
            families=_all_of(reach.families for reach in found),
            vetoes=_all_of(reach.vetoes for reach in found),
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

    def reached_by(self, names: Iterable[str]) -> _Reach:
        """What to look at again when these names change, whichever way."""
        return self.reached(tuple((name, None) for name in names))

    def _limit(self, answers: Iterable[_Answer], *, insufficient: bool) -> _Limits:
        """Follows what answers may set in motion, step by step as an assessment goes, whatever the chart."""
        asked = self.reached(tuple(answers))
        flags = [self.rules[i] for i in asked.flags]
        grave = [r.red_flag for r in flags if r.indicator == "critical" or r.critical_when]
        critical = bool(grave)
        made = {
            name
            for name in AFTER_RED_FLAGS
            if critical or any(block in name for r in flags if r.red_flag for block in r.red_flag.blocks)
        }
        if insufficient:
            made.add("insufficient-data")
        waits = any(flag and "ranking" in flag.blocks for flag in grave)
        leads = asked.ranks or waits or insufficient
        made |= self.considers if leads else set()
        places = asked.recommendations() | self.reached_by(made).recommendations()
        if critical:
            places |= self.plans
        if any(self.rules[i].imaging for i in places & self.before_closing):
            places |= self.reached_by(AFTER_PLAN).recommendations()
        touched = [self.rules[i] for i in places]

        def tier(rule: Recommendation) -> int:
            # What is critical only because a red flag is adds nothing to that.
            of_flag = rule.critical_when and rule.critical_when.findings() <= {_FLAGGED} - made
            return _CRITICAL if rule.critical_when and not of_flag else _TIERS[rule.indicator]

        term = self.points
        said = marks((finding, value) for finding, value in answers if value is not None)

        def beside_the_answer(places: Iterable[int]) -> tuple[Grounds, ...]:
            found = {
                tuple(each for each in grounds if said.isdisjoint(each))
                for place in places
                if (grounds := self.grave_grounds[place]) is not None
            }
            # The fewer sets there are, the sooner it is told; there is none where the answer does it alone.
            return tuple(sorted(found, key=len))

        return _Limits(
            places,
            max((tier(rule) for rule in touched), default=0),
            beside_the_answer(places),
            max((min(tier(rule), _CRITICAL - 1) for rule in touched), default=0),
            term["imaging"] * any(r.imaging for r in touched) + term["referrals"] * any(r.referrals for r in touched),
            term["treatment"] * any(r.treatment for r in touched),
            beside_the_answer(i for i in asked.flags if (flag := self.rules[i].red_flag) and "ranking" in flag.blocks),
            term["leader"] * leads,
            self._swing(asked),
            asked.vetoes,
        )

    def _swing(self, reach: _Reach) -> int:
        rules = self.guideline.differential
        swing = sum(abs(rules.points[i].points) for i in reach.points)
        for key in reach.families:
            tests, caps = self.families[key]
            weights = (0, *(w for t in tests for w in (t.positive, t.negative)), *(cap.at_most for cap in caps))
            swing += max(weights) - min(weights)
        return swing

    # -- one case -----------------------------------------------------------------------------------------------------

    def ask(self, assessed: Assessed) -> tuple[Asked, ...]:
        """The questions whose answers can change most, best first; at most three."""
        return Trials(self, assessed).ask()


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


def _yes_or_no(value: Value) -> bool | None:
    """None stands for any quantity."""
    return value if isinstance(value, bool) else None


def _keys(answers: Answers) -> tuple[_Answer, ...]:
    return tuple([(name, _yes_or_no(value)) for name, value in answers.items()])


def _all_of(sets: Iterable[frozenset[_Item]]) -> frozenset[_Item]:
    return frozenset[_Item]().union(*sets)


def _plain(recommendation: Recommendation) -> tuple[Says, Says] | None:
    """What it says, and what it says when critical, where no part of that has a condition of its own."""
    if any(i.when for i in recommendation.imaging) or any(r.when for r in recommendation.referrals):
        return None
    said = says(
        recommendation,
        recommendation.indicator,
        ((call.modality, call.region) for call in recommendation.imaging),
        (call.to for call in recommendation.referrals),
    )
    return said, _critical(recommendation, said)


def says(
    recommendation: Recommendation, indicator: str, imaging: Iterable[tuple[str, str]], referrals: Iterable[str]
) -> Says:
    """What a recommendation that holds with this indicator says, with the calls whose conditions are met."""
    said = Says(
        _TIERS[indicator],
        "",
        frozenset(imaging),
        frozenset(referrals),
        frozenset((t.id, t.state) for t in recommendation.treatment if t.state in ("offer", "hold")),
    )
    return _critical(recommendation, said) if indicator == "critical" else said


def _critical(recommendation: Recommendation, said: Says) -> Says:
    flag = recommendation.red_flag
    return said._replace(tier=_CRITICAL, flag=flag.id if flag else "")


def _may_one_hold(grounds: Iterable[Grounds], there: Set[str]) -> bool:
    for each in grounds:  # noqa: SIM110 - asked of many answers, and a generator costs twice as much
        if may_hold(each, there):
            return True
    return False


def _is_called_for(when: Condition | None, charts: Sequence[Chart]) -> bool:
    if when is None:
        return True
    for chart in charts:  # noqa: SIM110 - asked of every call, and a generator costs twice as much
        if when.test(chart):
            return True
    return False


class _State(NamedTuple):
    """Charts, and what holds on them, where the names that a step of the assessment has made are `changed`."""

    charts: Sequence[Chart]
    says: Mapping[int, Says]
    changed: Sequence[str]
    so: frozenset[str]


class _Flagged(NamedTuple):
    """A trial after its first steps: red flags and ranking. `supposed` makes charts as the answers would have them."""

    reach: _Reach
    supposed: Callable[[Sequence[Chart]], Sequence[Chart]]
    there: Set[str]
    charts: Sequence[Chart]
    held: dict[int, Says]
    made: Answers
    waits: bool
    leaders: tuple[str | None, ...]


class Trials:
    """The trials on one case."""

    def __init__(self, index: NextQuestion, assessed: Assessed) -> None:
        self.index, self.assessed = index, assessed
        self.insufficient = not assessed.rankings
        self.limits, self.severity = index.limits[self.insufficient], index.points["severity"]
        leaders = tuple(r.leader.id if r.leader else None for r in assessed.rankings)
        self.leaders: tuple[str | None, ...] = leaders or (None,) * len(assessed.charts)
        self.says = {
            place: self._said(place, assessed.patient_charts if place in index.flags else assessed.charts, critical)
            for place, critical in ((index.places[id_], critical) for id_, critical in assessed.held.items())
        }
        self.outcome = outcome(self.says.values(), self.leaders)
        self.flags = {place: said for place, said in self.says.items() if place in index.flags}
        self.made: Answers = {name: assessed.charts[0][name] for name in AFTER_RED_FLAGS}
        self.made_late = {name: assessed.charts[0][name] for name in AFTER_PLAN}
        self.made_before = {**self.made, **self.made_late}
        plan = {place: said for place, said in self.says.items() if place in index.plans}
        # Given the same red flags and the same leading cause, the rest is the same but for what reads the answers.
        self.states: dict[tuple[object, ...], _State] = {
            (*self.made.values(), self.leaders): _State(assessed.charts, plan, (), assessed.so)
        }
        # By how much the leading causes may come nearer to losing the lead and keep it.
        self.lead = min(map(self._lead, assessed.rankings), default=-1)
        # All marks that are there, or that steps of the assessment may come to make unless a red flag becomes critical.
        self.possible = assessed.there | index.made_but_flagged | assessed.so
        self.decisive = frozenset(i for i, said in self.says.items() if said.tier == self.outcome.tier)
        # What is recorded in two ways.
        self.twice = _all_of(chart.contradictory for chart in assessed.patient_charts)
        # Cases with answers, and the marks of these.
        self.answered: dict[tuple[_Answer, ...], tuple[Case, Set[str]]] = {}
        self.scores: list[dict[str, int]] = [{c.id: c.points for c in ranking.causes} for ranking in assessed.rankings]

    def _lead(self, ranking: Ranking) -> int:
        if ranking.leader is None:
            return -1
        rules = self.index.guideline.differential
        first, second = ranking.causes[0].points, ranking.causes[1].points
        return min(first - rules.lead_at_least, first - second - rules.lead_by)

    def ask(self) -> tuple[Asked, ...]:
        guideline, charts = self.index.guideline, self.assessed.patient_charts
        first: list[Asked] = []
        waiting: list[tuple[int, int, int, Question, list[str] | None, bool]] = []
        for number, question in enumerate(guideline.questions):
            if question.when and not any(question.when.test(chart) is True for chart in charts):
                continue
            if question.first:
                twice = (f for f in question.findings if f in self.twice)
                first.append(Asked(next(twice, question.findings[0]), question.ask, question.because))
                continue
            waiting.append((-self.most(question.findings), self.index.costs[number], number, question, None, False))
        heapify(waiting)
        asked = {item.finding for item in first}
        room = ASKED_AT_MOST - len(first)
        found: list[tuple[int, int, int, Asked]] = []
        while waiting:
            limit, cost, number, question, unknown, told = heappop(waiting)
            full = len(found) >= room
            if full and found[-1][:3] < (limit, cost, number):
                break
            # Its turn has come by all of its findings; then it is by those that are unknown, and then by what they can
            # make critical. Each limit takes longer to find out than the one before.
            if unknown is None:
                unknown = [f for f in question.findings if f not in asked and self.is_unknown(f)]
                if unknown:
                    heappush(waiting, (-self.most_of(question, unknown), cost, number, question, unknown, False))
                continue
            if not told:
                heappush(waiting, (-self.at_most_of(question, unknown, -limit), cost, number, question, unknown, True))
                continue
            value, answer = self._value(question, unknown, -found[-1][0] if full else 0, -limit)
            if answer:
                found = sorted([*found, (-value, cost, number, answer)], key=lambda entry: entry[:3])[:room]
        return (*first, *(item[3] for item in found))[:ASKED_AT_MOST]

    def at_most(self, finding: str, value: bool) -> int:
        """The points that this answer can have at most here, where what it could make critical may not hold at all."""
        key = (finding, value)
        limits = self.limits[key]
        there: Set[str] = self.possible
        if FOLLOWS.get(finding) in MADE_OF_OTHERS:
            # Whatever else an answer says is no more among what the gravest need.
            there = there | self._answered({finding: value})[1]
        critical = self.outcome.tier == _CRITICAL or _may_one_hold(limits.gravest, there)
        waits = critical and _may_one_hold(limits.waits, there)
        return self.most(key, short_of_critical=not critical, waits=waits)

    def most(self, what: object, *, short_of_critical: bool = False, waits: bool = True) -> int:
        """The points that answers can have at most here."""
        places, at_most, _, short, rest, treatment, waiting, leader, swing, vetoes = self.limits[what]
        if short_of_critical:
            at_most = short
        tier = self.outcome.tier
        # It is less urgent only when all that makes it so is evaluated again.
        down = tier if self.decisive <= places else 0
        up = at_most - tier
        if up == 0 and tier == _CRITICAL:
            up = 1
        points = self.severity * (up if up > down else down) + rest
        if tier != _CRITICAL and (at_most != _CRITICAL or down >= up):
            points += treatment
        if leader and ((waits and waiting) or swing > self.lead or not vetoes.isdisjoint(self.leaders)):
            points += leader
        return points

    def most_of(self, question: Question, unknown: Sequence[str]) -> int:
        """The points that answers to these findings of a question can have at most."""
        if question.together and len(unknown) > 1:
            return self.most(question.findings)
        return max([self.most(answer) for f in unknown for answer in self.index.tried[f]])

    def at_most_of(self, question: Question, unknown: Sequence[str], most: int) -> int:
        """The same, where it is `most`, and what an answer could make critical may not hold at all."""
        limit = most if question.together and len(unknown) > 1 else 0
        for finding, value in (answer for f in unknown for answer in self.index.tried[f]):
            if limit >= most:
                break
            points = self.most((finding, value))
            if points > limit:
                limit = max(limit, points if value is None else self.at_most(finding, value))
        return limit

    def is_unknown(self, finding: str) -> bool:
        for chart in self.assessed.patient_charts:
            # A date is known, though a chart does not hold it.
            if chart[finding] is not None or finding in chart.dated:
                return False
        return finding not in self.index.asked_first or finding not in self.twice

    def _value(self, question: Question, unknown: Sequence[str], worth: int, limit: int) -> tuple[int, Asked | None]:
        """What the answers change, up to `limit`; those that change less than `worth` are not tried."""
        best, answer = 0, None
        for answers in self.answers(question, unknown):
            at_least = max(worth, best + 1)
            if len(answers) == 1 and self._falls_short(answers, at_least):
                continue
            gains = self.gains(answers)
            value = sum(gains.values())
            if value > best:
                changes = sorted(gains, key=lambda term: -gains[term])
                finding = next(f for f in unknown if f in answers)
                best, answer = value, Asked(finding, question.ask, question.because, tuple(changes))
            if best >= limit:
                break
        return best, answer

    def _falls_short(self, answer: Answers, points: int) -> bool:
        """Whether one answer cannot have as many points; more is found out only where a better one is needed."""
        ((finding, value),) = answer.items()
        if self.most((finding, _yes_or_no(value))) < points:
            return True
        return points > 1 and isinstance(value, bool) and self.at_most(finding, value) < points

    def answers(self, question: Question, unknown: Sequence[str]) -> Iterator[Answers]:
        tries = self.index.tries
        if question.together and len(unknown) > 1:
            yield {f: tries[f][-1] for f in unknown}
            yield {f: tries[f][0] for f in unknown}
        for f in unknown:
            for value in reversed(tries[f]):
                yield {f: value}

    def gains(self, answers: Answers) -> dict[str, int]:
        """The terms that these answers change -> their points."""
        if len(answers) == 1 and (told := self._told(answers)):
            return told
        flagged = self._flagged(answers)
        return self.points_of(self._in_sight(flagged) or self._concluded(flagged))

    def _told(self, answer: Answers) -> dict[str, int]:
        """The same for an answer that by itself sets off a critical red flag, which calls for what nothing has called
        for; empty for others."""
        before, points = self.outcome, self.index.points
        ((finding, value),) = answer.items()
        if before.tier == _CRITICAL or not isinstance(value, bool):
            return {}
        for said in self.index.alone[finding, value]:
            if not (said.imaging <= before.imaging or said.referrals <= before.referrals):
                # The ranking waits, and a leading cause, or that none leads, is no longer what stands.
                return {
                    "severity": points["severity"] * (_CRITICAL - before.tier),
                    **{term: points[term] for term in ("imaging", "referrals", "leader")},
                }
        return {}

    def points_of(self, after: Outcome) -> dict[str, int]:
        """The terms in which this outcome differs from the one as it stands -> their points."""
        before, points = self.outcome, self.index.points
        changed = {
            "severity": steps(before, after),
            "imaging": before.imaging != after.imaging,
            "referrals": before.referrals != after.referrals,
            "leader": before.leaders != after.leaders,
            # What a critical flag does to the treatment is in its urgency.
            "treatment": _CRITICAL not in (before.tier, after.tier) and before.treatment != after.treatment,
        }
        return {term: points[term] * by for term, by in changed.items() if by}

    def supposing(self, answers: Answers) -> Outcome:
        """The outcome with these answers, by the steps of an assessment."""
        return self._concluded(self._flagged(answers))

    def _flagged(self, answers: Answers) -> _Flagged:
        """The first steps with these answers."""
        index, assessed = self.index, self.assessed
        values = {(FOLLOWS[f] if FOLLOWS.get(f) in DAYS_SINCE else f): value for f, value in answers.items()}
        reach = index.reached(_keys(values))
        case, said = self._answered(answers)

        def supposed(charts: Sequence[Chart]) -> list[Chart]:
            return [chart.supposing(case, values, reach.criteria) for chart in charts]

        held = dict(self.flags)
        there = assessed.there | said
        charts = supposed(assessed.patient_charts)
        self._judge(held, reach.flags, charts, there)
        made, waits = self.made, False
        if held != self.flags or self.insufficient:
            made, waits = self._after_red_flags(held, informed=not index.informative.isdisjoint(answers))
        if not waits and self._keeps_the_lead(answers):
            leaders = self.leaders
        else:
            leaders = self._leaders(reach, charts, supposed, waits=waits, made=made)
        return _Flagged(reach, supposed, there, charts, held, made, waits, leaders)

    def _in_sight(self, flagged: _Flagged) -> Outcome | None:
        """An outcome that differs from the one before in the same terms as the whole one, where that can be told.

        Beside a critical red flag the treatment waits, and what is called for by then is not taken back.
        """
        if flagged.made[_FLAGGED] is not True:
            return None
        after = outcome(flagged.held.values(), flagged.leaders)
        known = after.imaging <= self.outcome.imaging or after.referrals <= self.outcome.referrals
        return None if known else after

    def _concluded(self, flagged: _Flagged) -> Outcome:
        """The outcome by the steps that follow."""
        index, assessed, held = self.index, self.assessed, flagged.held
        reach, there, made, leaders = flagged.reach, flagged.there, flagged.made, flagged.leaders
        planned = self._planned(made, leaders)
        held |= planned.says
        charts: Sequence[Chart] = flagged.charts if planned.charts is assessed.patient_charts else ()
        if reach.plans and not flagged.waits:
            charts = charts or flagged.supposed(planned.charts)
            self._judge(held, reach.plans, charts, there | planned.so)
        calls = [call for said in held.values() for call in said.imaging]
        critical = made[_FLAGGED] is True
        closed = self._closed(
            planned,
            critical=critical,
            called=bool(calls),
            mri=any(modality == "mri" for modality, _region in calls),
        )
        held |= closed.says
        closings = reach.closings & index.calling if critical else reach.closings
        if closings:
            if not charts or closed.charts is not planned.charts:
                charts = flagged.supposed(closed.charts)
            self._judge(held, closings, charts, there | closed.so)
        return outcome(held.values(), leaders)

    def _planned(self, made: Answers, leaders: tuple[str | None, ...]) -> _State:
        """The plan where red flags and ranking come out like this, but for what reads the answers themselves."""
        key = (*made.values(), leaders)
        state = self.states.get(key)
        if state is None:
            charts = [chart.supposing(chart.case, {}, ()) for chart in self.assessed.charts]
            changed = [*self._make(charts, made), *self._consider(charts, leaders)]
            held: dict[int, Says] = {}
            so = self._so(charts)
            if WAITS not in leaders:
                held = {place: said for place, said in self.says.items() if place in self.index.plans}
                self._judge(held, self.index.reached_by(changed).plans, charts, self.assessed.there | so)
            state = self.states[key] = _State(charts, held, changed, so)
        return state

    def _closed(self, planned: _State, *, critical: bool, called: bool, mri: bool) -> _State:
        """What follows the plan where imaging comes out like this."""
        key = (id(planned), called, mri)
        state = self.states.get(key)
        if state is None:
            late = {"imaging-called-for": called, "mri-called-for": mri}
            charts = planned.charts
            if any(late[name] != self.made_late[name] for name in late):
                charts = [chart.supposing(chart.case, {}, ()) for chart in charts]
            changed = [*planned.changed, *self._make(charts, late)]
            places = self.index.closings & self.index.calling if critical else self.index.closings
            held = {place: said for place, said in self.says.items() if place in places}
            so = self._so(charts)
            self._judge(held, places & self.index.reached_by(changed).closings, charts, self.assessed.there | so)
            state = self.states[key] = _State(charts, held, changed, so)
        return state

    def _answered(self, answers: Answers) -> tuple[Case, Set[str]]:
        """The case with these answers, where something is made of its statements rather than of a chart, and the marks
        of what they say and of what is made of them (see grounds)."""
        case, said = self.assessed.case, marks(answers.items())
        made = [FOLLOWS[f] for f in answers if FOLLOWS.get(f) in MADE_OF_OTHERS]
        if not made:
            return case, said
        key = _keys(answers)
        if key not in self.answered:
            charts = self.assessed.patient_charts
            side = charts[0].side if len(charts) == 1 else BILATERAL
            stated = {f: (Statement(f, v, side, None, ""),) for f, v in answers.items() if isinstance(v, bool)}
            case = case.stating(stated)
            self.answered[key] = case, said | marks_of_others(case, made)
        return self.answered[key]

    def _so(self, charts: Sequence[Chart]) -> frozenset[str]:
        return frozenset(name for chart in charts for name in self.index.made if chart[name] is True)

    def _judge(self, held: dict[int, Says], places: Iterable[int], charts: Sequence[Chart], there: Set[str]) -> None:
        """Looks at these recommendations again, where these marks are (see grounds)."""
        grounds = self.index.grounds
        for place in places:
            said = self._says(place, charts) if may_hold(grounds[place], there) else None
            if said:
                held[place] = said
            else:
                held.pop(place, None)

    def _says(self, place: int, charts: Sequence[Chart]) -> Says | None:
        rule = self.index.rules[place]
        met = [chart for chart in charts if rule.when.test(chart)]
        if not met:
            return None
        crucial = rule.critical_when
        return self._said(place, met, crucial is not None and any(crucial.test(chart) for chart in met))

    def _said(self, place: int, charts: Sequence[Chart], critical: bool) -> Says:
        """What a recommendation says that holds on these charts."""
        plain, rule = self.index.plain[place], self.index.rules[place]
        if plain:
            return plain[critical]
        met = charts if len(charts) == 1 else [chart for chart in charts if rule.when.test(chart)]
        return self.index.saying(
            place,
            "critical" if critical else rule.indicator,
            tuple([_is_called_for(call.when, met) for call in rule.imaging]),
            tuple([_is_called_for(call.when, met) for call in rule.referrals]),
        )

    def _after_red_flags(self, held: Mapping[int, Says], *, informed: bool) -> tuple[Answers, bool]:
        """What the red flags make, and whether the ranking waits."""
        critical = exercise = injection = waits = False
        for place, said in held.items():
            flag = self.index.rules[place].red_flag
            is_critical = said.tier == _CRITICAL
            critical = critical or is_critical
            if flag:
                exercise = exercise or is_critical or "exercise" in flag.blocks
                injection = injection or is_critical or "injection" in flag.blocks
                waits = waits or (is_critical and "ranking" in flag.blocks)
        made = {
            _FLAGGED: critical,
            "exercise-red-flag": exercise,
            "injection-red-flag": injection,
            "insufficient-data": not held and not informed and not self._informed(),
        }
        return made, waits

    def _informed(self) -> bool:
        case = self.assessed.case
        return any(
            statement.value is not None
            for name in self.index.informative & case.statements.keys()
            for statement in case.statements[name]
        )

    def _make(self, charts: Iterable[Chart], made: Answers) -> Answers:
        changed = {name: value for name, value in made.items() if value != self.made_before[name]}
        self._set(charts, changed)
        return changed

    def _set(self, charts: Iterable[Chart], values: Answers) -> None:
        for chart in charts:
            for name in values:
                for criterion in self.index.reach[name, None].criteria:
                    chart.pop(criterion, None)
            chart.update(values)

    def _consider(self, charts: Sequence[Chart], leaders: Sequence[str | None]) -> set[str]:
        changed: set[str] = set()
        for chart, before, now in zip(charts, self.leaders, leaders, strict=True):
            for cause in {before, now} - {None, WAITS} if before != now else ():
                value = cause == now or chart[f"diagnosed-{cause}"] is True
                if value != chart[f"considers-{cause}"]:
                    self._set([chart], {f"considers-{cause}": value})
                    changed.add(f"considers-{cause}")
        return changed

    def _keeps_the_lead(self, answers: Answers) -> bool:
        """Whether what leads does so by more than a single answer can change."""
        if len(answers) > 1:
            return False
        limits = self.limits[_keys(answers)[0]]
        return limits.swing <= self.lead and limits.vetoes.isdisjoint(self.leaders)

    def _leaders(
        self,
        reach: _Reach,
        patient_charts: Sequence[Chart],
        supposed: Callable[[Sequence[Chart]], Sequence[Chart]],
        *,
        waits: bool,
        made: Answers,
    ) -> tuple[str | None, ...]:
        if waits or made["insufficient-data"]:
            return (WAITS if waits else None,) * len(self.leaders)
        if not (self.insufficient or reach.ranks):
            return self.leaders
        rules = self.index.guideline.differential
        if not self.scores:
            every = range(len(rules.points)), self.index.families
            self.scores = [self._weigh(chart, *every) for chart in self.assessed.charts]
        same = self.assessed.charts is self.assessed.patient_charts
        charts = patient_charts if same else supposed(self.assessed.charts)
        leaders = []
        for scores, before, now in zip(self.scores, self.assessed.charts, charts, strict=True):
            less, more = (self._weigh(chart, reach.points, reach.families) for chart in (before, now))
            leaders.append(
                leader_of({cause: scores[cause] - less[cause] + more[cause] for cause in scores}, rules, now)
            )
        return tuple(leaders)

    def _weigh(self, chart: Chart, points: Iterable[int], read: Iterable[tuple[str, str]]) -> dict[str, int]:
        weights = dict.fromkeys(self.index.guideline.causes, 0)
        for place in points:
            entry = self.index.guideline.differential.points[place]
            if entry.when.test(chart):
                weights[entry.cause] += entry.points
        for key in read:
            if result := family_result(chart, *self.index.families[key]):
                weights[key[0]] += result[0]
        return weights
