"""How soon a visit has to be: the fewest days that something urgent on the chart allows. Pure.

The days are knowledge (guideline.toml, seen-within-… and seen-by-day-…).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from service.knowledge_model.model import Knowledge, Recommendation
from service.reasoning.assessment import Assessment
from service.reasoning.evidence import Fired
from service.reasoning.kernel import Kernel

# The indicators that allow a number of days until a visit; guideline.toml has it for each as seen-within-….
URGENT = ("critical", "warning")
# The fewest days that a window since the injury leaves while it closes, and the day after which it is past.
CLOSING, PAST = "seen-by-day-closing", "seen-by-day-past"


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
        if fired.indicator in URGENT and fired.recommendation.kind in ("red-flag", "plan")
    ]
    if not allowed:
        return None
    days = min(day for day, _fired in allowed)
    emergency = any(_is_for_emergency_care(knowledge, fired) for _day, fired in allowed)
    return Limit(days, tuple(fired for day, fired in allowed if day == days), emergency)


def read_for_limits(knowledge: Knowledge, kernel: Kernel) -> Iterator[tuple[int, ...]]:
    """The places in the kernel of what sets a limit, those together that set the same; see Assessor.answered."""
    found: dict[tuple[str, str, str, bool], list[int]] = {}
    for recommendation in knowledge.recommendations:
        if recommendation.kind not in ("red-flag", "plan"):
            continue
        compiled = kernel.recommendations[recommendation.id]
        for indicator, place in ((URGENT[0], compiled.critical), (recommendation.indicator, compiled.holds)):
            if indicator in URGENT:
                found.setdefault(limit_key(knowledge, recommendation, indicator), []).append(place)
    yield from map(tuple, found.values())


def limit_key(knowledge: Knowledge, recommendation: Recommendation, indicator: str) -> tuple[str, str, str, bool]:
    """What is the same where two recommendations allow the same: the thresholds, of a window the one that has it, and
    whether it is for emergency care.
    """
    fired = Fired(recommendation, indicator, (), ())
    within, by_day = (
        next((name for name in _names(word, fired) if name in knowledge.thresholds), "")
        for word in ("seen-within", "seen-by-day")
    )
    return within, by_day, recommendation.id if by_day else "", _is_for_emergency_care(knowledge, fired)


def days_allowed(knowledge: Knowledge, assessment: Assessment, fired: Fired) -> int:
    """How many days until a visit something urgent allows: from today, and where the evidence has a window since the
    injury, no later than that leaves.
    """
    thresholds = knowledge.thresholds
    # The closest: of this recommendation, of its red flag, of whatever is as urgent.
    days = next(int(thresholds[name]["value"]) for name in _names("seen-within", fired) if name in thresholds)
    by_day = next((int(thresholds[name]["value"]) for name in _names("seen-by-day", fired) if name in thresholds), 0)
    if by_day:
        closing, past = (int(thresholds[name]["value"]) for name in (CLOSING, PAST))
        open_still = (since for since in assessment.days_since_onset(fired) if since.low <= past)
        # Of a day that is not known exactly the earliest that it may be leaves the least.
        days = min((days, *(max(by_day - int(min(since.high, past)), closing) for since in open_still)))
    return days


def _is_for_emergency_care(knowledge: Knowledge, fired: Fired) -> bool:
    """A critical red flag that refers to emergency care at once, unless it has days of its own."""
    referrals = fired.recommendation.referrals
    *own, _of_all = _names("seen-within", fired)
    at_once = any(to.to == knowledge.engine.emergency and to.priority == "stat" for to in referrals)
    return fired.indicator == URGENT[0] and at_once and knowledge.thresholds.keys().isdisjoint(own)


def _names(word: str, fired: Fired) -> tuple[str, str, str]:
    """The names under which the limit of what has fired may stand, the closest first."""
    recommendation = fired.recommendation
    flag = recommendation.red_flag.id if recommendation.red_flag else recommendation.id
    of_all = f"{word}-{fired.indicator}"
    return f"{of_all}-{recommendation.id}", f"{of_all}-{flag}", of_all
