"""What is found on the side that does not hurt leads to no cause there, and takes nothing from the side that hurts."""

import random
from collections.abc import Iterator
from functools import cache

from service.knowledge_model.vocabulary import INDICATORS, PRIORITIES
from service.reasoning.assessment import Assessment
from tests.charts import Json, assessed, build_request, packaged

GENERATED = 1_000
# A tear may be there before it is felt; these show it by themselves.
TEAR = {"palpable-gap", "significant-bruising"}
PAIN = packaged().engine.derived.on_the_other_side["pain-on-the-other-side"]


def _pairs() -> Iterator[tuple[str, Json, Json]]:
    """The side that does not hurt, and a chart without and with what is found there."""
    generator = random.Random(31)  # noqa: S311 - the same charts each time
    sided = [
        finding.id
        for finding in packaged().findings.values()
        if finding.value == "boolean" and not finding.whole_patient and finding.id not in PAIN
    ]
    signs = [name for name in sided if packaged().findings[name].kind in ("exam", "test")]
    clinical = [name for name in sided if packaged().findings[name].kind in ("symptom", "history", "exam", "test")]
    for _ in range(GENERATED):
        here, there = generator.sample(("left", "right"), 2)
        found = generator.sample(clinical, generator.randrange(1, 7))
        cut = generator.randrange(len(found) + 1)
        other = generator.sample(sorted({*signs} - {*found}), generator.randrange(1, 4))
        pain = generator.choice([name for name in PAIN if packaged().findings[name].defines_complaint])
        case: Json = {
            "age": generator.choice((19, 28, 45, 62, 81)),
            "sex": generator.choice(("female", "male")),
            "onset_days_ago": generator.choice((1, 10, 30, 60, 120)),
            "present": [f"{name}, {here}" for name in (pain, *found[:cut])],
            "absent": [f"{name}, {here}" for name in found[cut:]],
        }
        yield there, case, {**case, "present": [*case["present"], *(f"{name}, {there}" for name in other)]}


@cache
def _assessed() -> tuple[tuple[str, Json, Assessment, Assessment], ...]:
    return tuple(
        (there, both, assessed(build_request(alone)), assessed(build_request(both))) for there, alone, both in _pairs()
    )


def test_what_is_found_on_the_painless_side_leads_to_no_cause_there() -> None:
    wrong = [
        (case["present"], ranking.leader.id)
        for there, case, _alone, both in _assessed()
        for ranking in both.rankings
        if ranking.side == there and ranking.leader
        if ranking.leader.id != "proximal-hamstring-tear" or TEAR.isdisjoint(ranking.leader.speaks_for)
    ]
    assert wrong[:3] == []


def test_what_is_found_on_the_painless_side_takes_nothing_from_the_side_that_hurts() -> None:
    """Neither urgency, nor a red flag, nor what is called for with a deadline."""
    wrong = [
        (case["present"], lost) for _there, case, alone, both in _assessed() if (lost := _grave(alone) - _grave(both))
    ]
    assert wrong[:3] == []


def _grave(assessment: Assessment) -> set[str]:
    urgency = min((INDICATORS.index(fired.indicator) for fired in assessment.fired), default=len(INDICATORS))
    reached = {f"at least {level}" for level in INDICATORS[:2] if INDICATORS.index(level) >= urgency}
    kept = {call.key for call in assessment.imaging if call.priority != PRIORITIES[-1]}
    kept |= {call.key for call in assessment.referrals if call.priority != PRIORITIES[-1]}
    flags = (fired.recommendation.red_flag for fired in assessment.red_flags())
    return reached | kept | {flag.id for flag in flags if flag}
