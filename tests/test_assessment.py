"""The assessment: what is left out of it beforehand makes no difference."""

from dataclasses import replace
from itertools import product

from service.chart.grounds import grounds_of, marks, may_hold
from service.guideline.condition_text import parse
from service.guideline.conditions import STATES, Value
from service.reasoning.assessment import Assessor
from tests.charts import packaged
from tests.test_next_question import charts


def test_leaving_out_what_cannot_hold_gives_what_evaluating_everything_gives() -> None:
    sparing, thorough = Assessor(packaged()), Assessor(packaged())
    thorough.grounds = dict.fromkeys(thorough.grounds, ())
    assert all(sparing.grounds[recommendation.id] for recommendation in sparing.by_kind["red-flag"])
    for case in charts():
        spared, whole = (replace(assessor.assess(case), reached=None) for assessor in (sparing, thorough))
        assert spared == whole, case.assertions.keys()


def test_a_condition_comes_out_so_only_where_its_grounds_are() -> None:
    # Any three findings will do.
    names = ("fever", "chills", "night-pain")
    leaves = [f"{state}({name})" for name in names for state in STATES]
    joints = ("{} and {}", "any of ({}, {})", "none of ({}, {})")
    pairs = [joint.format(one, other) for joint in joints for one in leaves for other in leaves]
    nested = [
        joint.format(f"({pair})", leaves[number % len(leaves)])
        for joint in (joints[0], joints[2])
        for number, pair in enumerate(pairs)
    ]
    values = (True, False, None)
    states: list[dict[str, Value]] = [dict(zip(names, each, strict=True)) for each in product(values, repeat=3)]
    told = 0
    for text in (*leaves, *pairs, *nested):
        condition = parse(text, {})
        for verdict in (True, False):
            grounds = grounds_of(condition, packaged(), verdict=verdict)
            told += bool(grounds)
            for state in states:
                there = marks((name, value) for name, value in state.items() if value is not None)
                assert may_hold(grounds, there) or condition.test(state) is not verdict, (text, state)
    assert told > len(nested)
