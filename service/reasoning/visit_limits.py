"""How soon a visit has to be: the fewest days that something urgent on the chart allows. Pure.

The days are knowledge (guideline.toml, seen-within-… and seen-by-day-…).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from service.knowledge_model.conditions import Interval
from service.knowledge_model.model import Knowledge, Recommendation
from service.reasoning.assessment import Assessment
from service.reasoning.decision import Decision
from service.reasoning.evidence import Fired

# The indicators that allow a number of days until a visit; guideline.toml has it for each as seen-within-….
URGENT = ("critical", "warning")
# The fewest days that a window since the injury leaves while it closes, and the day after which it is past.
CLOSING, PAST = "seen-by-day-closing", "seen-by-day-past"
# The day up to which a window may have a closer end, with no fewest days: what is said of it holds to the day.
FIRST = "seen-by-day-first"
# The kinds of recommendations that can be urgent.
LIMITING = ("red-flag", "plan")


@dataclass(frozen=True, slots=True)
class Limit:
    """The fewest days until a visit that something on the chart allows, 0 for the same day, and what does.

    `emergency`: among it is something for which no visit is soon enough, but emergency care at once.
    """

    days: int
    fired: tuple[Fired, ...]
    emergency: bool = False


def limit_of(knowledge: Knowledge, assessment: Assessment) -> Limit | None:
    """What allows the fewest days of all that is urgent on the chart."""
    allowed = [
        (days_allowed(knowledge, assessment, fired), fired)
        for fired in assessment.fired
        if fired.indicator in URGENT and fired.recommendation.kind in LIMITING
    ]
    if not allowed:
        return None
    days = min(day for day, _fired in allowed)
    emergency = any(_is_for_emergency_care(knowledge, fired.recommendation, fired.indicator) for _day, fired in allowed)
    return Limit(days, tuple(fired for day, fired in allowed if day == days), emergency)


def limits_of_variants(knowledge: Knowledge, assessment: Assessment) -> list[tuple[Limit | None, int]]:
    """Each limit that an answer can make of the chart, without what has fired, and the variants in which it is that."""
    if (decision := assessment.of_complaint) is None:
        return [(None, 1)]
    by_days: dict[int, int] = {}
    emergency = 0
    since = list(_since_onset(decision))
    for recommendation in knowledge.recommendations:
        if recommendation.kind not in LIMITING:
            continue
        made = decision.kernel.recommendations[recommendation.id]
        if not (said := decision.says(recommendation.id)):
            continue
        critical = said & decision.is_critical(recommendation.id)
        for indicator, variants in ((URGENT[0], critical), (recommendation.indicator, said & ~critical)):
            if not variants or indicator not in URGENT:
                continue
            if _is_for_emergency_care(knowledge, recommendation, indicator):
                emergency |= variants
            for onset, charts in ((None, decision.charts.everywhere(variants)), *since):
                days = _days(knowledge, recommendation, indicator, (onset,) if onset else ())
                by_days[days] = by_days.get(days, 0) | variants & decision.charts.anywhere(
                    decision.values[made.fires] & charts
                )
    found: list[tuple[Limit | None, int]] = []
    rest = decision.charts.layout.first
    for days, variants in sorted(by_days.items()):
        found += ((Limit(days, (), emergency=True), variants & rest & emergency),)
        found += ((Limit(days, ()), variants & rest & ~emergency),)
        rest &= ~variants
    return [*found, (None, rest)]


def _since_onset(decision: Decision) -> Iterator[tuple[Interval, int]]:
    """The days since the onset or injury, as far as they are known, and the charts on which it is so long."""
    charts, case = decision.charts, decision.charts.case
    for name in (name for name, date in case.derived.days_since.items() if date == case.onset):
        answered = charts.answered(name)
        for number, chart in enumerate(charts.charts):
            if isinstance(days := chart[name], Interval):
                yield days, (charts.layout.first & ~answered) << number
        for days, of in charts.layout.answers.get(name, ()) if answered else ():
            if isinstance(days, Interval):
                yield days, of


def limit_key(knowledge: Knowledge, recommendation: Recommendation, indicator: str) -> tuple[str, str]:
    """The names of the limits of a recommendation, of a window its own id: the same where two allow the same days."""
    within, by_day = (
        next((name for name in limit_names(word, recommendation, indicator) if name in knowledge.thresholds), "")
        for word in ("seen-within", "seen-by-day")
    )
    return within, by_day and recommendation.id


def days_allowed(knowledge: Knowledge, assessment: Assessment, fired: Fired) -> int:
    """How many days until a visit something urgent allows: from today, and where the evidence has a window since the
    injury, no later than that leaves.
    """
    return _days(knowledge, fired.recommendation, fired.indicator, assessment.days_since_onset(fired))


def due_today(knowledge: Knowledge, decision: Decision, recommendation: Recommendation) -> int:
    """The variants in which a recommendation fires, short of critical, and allows no day until a visit."""
    charts, found = decision.charts, 0
    if firing := decision.values[decision.kernel.recommendations[recommendation.id].fires]:
        for onset, of in ((None, charts.everywhere(charts.layout.first)), *_since_onset(decision)):
            if not _days(knowledge, recommendation, recommendation.indicator, (onset,) if onset else ()):
                found |= charts.anywhere(firing & of)
    return found


def window_left(knowledge: Knowledge, assessment: Assessment, fired: Sequence[Fired]) -> int | None:
    """How many days the window since the injury leaves for what critical red flags call for beside being seen today:
    those that a warning of the same would allow. None where one of them has no window, or the day is not known.
    """
    thresholds, left = knowledge.thresholds, list[int]()
    for each in fired:
        if each.indicator != URGENT[0] or not each.recommendation.red_flag:
            continue
        if thresholds.keys().isdisjoint(limit_names("seen-by-day", each.recommendation, URGENT[1])):
            return None
        since = [days for days in assessment.days_since_onset(each) if days.low <= thresholds[PAST]["value"]]
        if not since:
            return None
        left.append(_days(knowledge, each.recommendation, URGENT[1], since))
    return min(left, default=None)


def _days(knowledge: Knowledge, recommendation: Recommendation, indicator: str, since: Iterable[Interval]) -> int:
    thresholds = knowledge.thresholds

    def of(word: str) -> Iterator[int]:
        # The closest: of this recommendation, of its red flag, of whatever is as urgent.
        return (int(thresholds[n]["value"]) for n in limit_names(word, recommendation, indicator) if n in thresholds)

    days = next(of("seen-within"))
    if by_day := next(of("seen-by-day"), 0):
        closing, past = (int(thresholds[name]["value"]) for name in (CLOSING, PAST))
        first = int(thresholds[FIRST]["value"]) if FIRST in thresholds else -1
        open_still = (each for each in since if each.low <= past)
        # Of a day that is not known exactly the earliest that it may be leaves the least.
        left = (
            first - int(each.high) if each.high <= first else max(by_day - int(min(each.high, past)), closing)
            for each in open_still
        )
        days = min((days, *left))
    return days


def _is_for_emergency_care(knowledge: Knowledge, recommendation: Recommendation, indicator: str) -> bool:
    """A critical red flag that refers to emergency care at once, unless it has days of its own."""
    *own, _of_all = limit_names("seen-within", recommendation, indicator)
    at_once = any(to.to == knowledge.engine.emergency and to.priority == "stat" for to in recommendation.referrals)
    return indicator == URGENT[0] and at_once and knowledge.thresholds.keys().isdisjoint(own)


def limit_names(word: str, recommendation: Recommendation, indicator: str) -> tuple[str, str, str]:
    """The numbers under which the limit of a recommendation may stand, the closest first; `word` is how they begin."""
    flag = recommendation.red_flag.id if recommendation.red_flag else recommendation.id
    of_all = f"{word}-{indicator}"
    return f"{of_all}-{recommendation.id}", f"{of_all}-{flag}", of_all
