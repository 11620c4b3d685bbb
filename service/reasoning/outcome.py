"""The outcome of an assessment, as far as the answer to a question can change it, and what each recommendation adds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from service.guideline.model import Recommendation
from service.guideline.vocabulary import INDICATORS

# How urgent an indicator is: none 0, info 1, warning 2, critical 3.
TIERS = {indicator: tier for tier, indicator in enumerate(reversed(INDICATORS), start=1)}
CRITICAL = TIERS["critical"]


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
        if tier < CRITICAL
        else frozenset(),
    )


def steps(before: Outcome, after: Outcome) -> int:
    """Steps of urgency between two outcomes; where a critical flag stands already, another one is a step as well."""
    if before.tier == after.tier == CRITICAL:
        return int(before.critical != after.critical)
    return abs(after.tier - before.tier)


def says(
    recommendation: Recommendation, indicator: str, imaging: Iterable[tuple[str, str]], referrals: Iterable[str]
) -> Says:
    """What a recommendation that holds with this indicator says, with the calls whose conditions are met."""
    said = Says(
        TIERS[indicator],
        "",
        frozenset(imaging),
        frozenset(referrals),
        frozenset((t.id, t.state) for t in recommendation.treatment if t.state in ("offer", "hold")),
    )
    return _when_critical(recommendation, said) if indicator == "critical" else said


def plain(recommendation: Recommendation) -> tuple[Says, Says] | None:
    """What it says, and what it says when critical, where no part of that has a condition of its own."""
    if any(i.when for i in recommendation.imaging) or any(r.when for r in recommendation.referrals):
        return None
    said = says(
        recommendation,
        recommendation.indicator,
        ((call.modality, call.region) for call in recommendation.imaging),
        (call.to for call in recommendation.referrals),
    )
    return said, _when_critical(recommendation, said)


def _when_critical(recommendation: Recommendation, said: Says) -> Says:
    flag = recommendation.red_flag
    return said._replace(tier=CRITICAL, flag=flag.id if flag else "")
