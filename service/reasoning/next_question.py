"""What to ask or examine next: the rules run again with each unknown finding both ways. Pure.

The value of a finding is what its answer can change at most: the urgency, the imaging, the referrals, the leading
cause, the treatment, each with the points that questions.toml gives it (section 5.5 of the evidence). Only what reads
the finding is evaluated again, and of it the verdict only; a question is left out as soon as what it can change at most
is less than what three others do change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from service.chart.assertions import Assertion
from service.chart.case import Case
from service.chart.derived import FOLLOWS, MADE_OF_OTHERS, Chart
from service.chart.elements import BILATERAL
from service.chart.grounds import Grounds, marks, marks_of_others, may_hold
from service.guideline.conditions import Condition
from service.guideline.model import AFTER_PLAN, AFTER_RED_FLAGS, DAYS_SINCE, Question
from service.reasoning.answer_index import (
    FLAGGED,
    Answer,
    AnswerIndex,
    Answers,
    Limits,
    Reach,
    all_of,
    keys_of,
    yes_or_no,
)
from service.reasoning.differential import Ranking, family_result, is_unranked, leader_of
from service.reasoning.outcome import CRITICAL, Outcome, Says, outcome, steps

ASKED_AT_MOST = 3
WAITS = "the ranking waits"


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
    documented or no cause is ranked; there: the marks of all that is stated (see grounds); so: what the steps of the
    assessment have made, if it is so.
    """

    case: Case
    patient_charts: Sequence[Chart]
    charts: Sequence[Chart]
    held: Mapping[str, bool]
    rankings: Sequence[Ranking]
    there: Set[str]
    so: frozenset[str]


class NextQuestion(AnswerIndex):
    """Finds the questions worth asking by one guideline; made once."""

    def ask(self, assessed: Assessed) -> tuple[Asked, ...]:
        """The questions whose answers can change most, best first; at most three."""
        return Trials(self, assessed).ask()


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

    reach: Reach
    supposed: Callable[[Sequence[Chart]], Sequence[Chart]]
    there: Set[str]
    charts: Sequence[Chart]
    held: dict[int, Says]
    made: Answers
    waits: bool
    leaders: tuple[str | None, ...]


class Trials:
    """The trials on one case."""

    def __init__(self, index: AnswerIndex, assessed: Assessed) -> None:
        self.index, self.assessed = index, assessed
        self.insufficient = assessed.charts[0]["insufficient-data"] is True
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
        self.twice = all_of(chart.contradictory for chart in assessed.patient_charts)
        # Cases with answers, and the marks of these.
        self.answered: dict[tuple[Answer, ...], tuple[Case, Set[str]]] = {}
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
        critical = self.outcome.tier == CRITICAL or _may_one_hold(limits.gravest, there)
        waits = critical and _may_one_hold(limits.waits, there)
        return self.most(key, short_of_critical=not critical, waits=waits)

    def most(self, what: object, *, short_of_critical: bool = False, waits: bool = True) -> int:
        """The points that answers can have at most here."""
        limits = self.limits[what]
        places, at_most, _, short, rest, treatment, waiting, leader, _, _ = limits
        if short_of_critical:
            at_most = short
        tier = self.outcome.tier
        # It is less urgent only when all that makes it so is evaluated again.
        down = tier if self.decisive <= places else 0
        up = at_most - tier
        if up == 0 and tier == CRITICAL:
            up = 1
        points = self.severity * (up if up > down else down) + rest
        if tier != CRITICAL and (at_most != CRITICAL or down >= up):
            points += treatment
        if leader and ((waits and waiting) or not self._keeps_the_lead(limits)):
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
        if self.most((finding, yes_or_no(value))) < points:
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
        if before.tier == CRITICAL or not isinstance(value, bool):
            return {}
        for said in self.index.alone[finding, value]:
            if not (said.imaging <= before.imaging or said.referrals <= before.referrals):
                # The ranking waits, and a leading cause, or that none leads, is no longer what stands.
                return {
                    "severity": points["severity"] * (CRITICAL - before.tier),
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
            "treatment": CRITICAL not in (before.tier, after.tier) and before.treatment != after.treatment,
        }
        return {term: points[term] * by for term, by in changed.items() if by}

    def supposing(self, answers: Answers) -> Outcome:
        """The outcome with these answers, by the steps of an assessment."""
        return self._concluded(self._flagged(answers))

    def _flagged(self, answers: Answers) -> _Flagged:
        """The first steps with these answers."""
        index, assessed = self.index, self.assessed
        values = {(FOLLOWS[f] if FOLLOWS.get(f) in DAYS_SINCE else f): value for f, value in answers.items()}
        reach = index.reached(keys_of(values))
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
        leaders = self._leaders(answers, reach, charts, supposed, waits=waits, made=made)
        return _Flagged(reach, supposed, there, charts, held, made, waits, leaders)

    def _in_sight(self, flagged: _Flagged) -> Outcome | None:
        """An outcome that differs from the one before in the same terms as the whole one, where that can be told.

        Beside a critical red flag the treatment waits, and what is called for by then is not taken back.
        """
        if flagged.made[FLAGGED] is not True:
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
        critical = made[FLAGGED] is True
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
        key = keys_of(answers)
        if key not in self.answered:
            charts = self.assessed.patient_charts
            side = charts[0].side if len(charts) == 1 else BILATERAL
            stated = {f: (Assertion(f, v, side, None, ""),) for f, v in answers.items() if isinstance(v, bool)}
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
            is_critical = said.tier == CRITICAL
            critical = critical or is_critical
            if flag:
                exercise = exercise or is_critical or "exercise" in flag.blocks
                injection = injection or is_critical or "injection" in flag.blocks
                waits = waits or (is_critical and "ranking" in flag.blocks)
        made = {
            FLAGGED: critical,
            "exercise-red-flag": exercise,
            "injection-red-flag": injection,
            "insufficient-data": not held and not informed and not self.assessed.case.knows(self.index.informative),
        }
        return made, waits

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

    def _keeps_the_lead(self, limits: Limits) -> bool:
        """Whether what leads does so by more than can be changed within these limits."""
        return limits.swing <= self.lead and limits.vetoes.isdisjoint(self.leaders)

    def _leaders(
        self,
        answers: Answers,
        reach: Reach,
        patient_charts: Sequence[Chart],
        supposed: Callable[[Sequence[Chart]], Sequence[Chart]],
        *,
        waits: bool,
        made: Answers,
    ) -> tuple[str | None, ...]:
        if waits or made["insufficient-data"]:
            return (WAITS if waits else None,) * len(self.leaders)
        if is_unranked(self.index.guideline.differential, patient_charts):
            return (None,) * len(self.leaders)
        if not (self.insufficient or reach.ranks):
            return self.leaders
        if len(answers) == 1 and self._keeps_the_lead(self.limits[keys_of(answers)[0]]):
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
