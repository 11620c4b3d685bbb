"""The assessment: what is left out of it beforehand makes no difference."""

from dataclasses import replace

from service.chart.derived import grounds_to_hold
from service.guideline.conditions import STATES, Value, read_condition
from service.reasoning.assessment import Assessor
from tests.charts import packaged
from tests.test_next_question import charts


def test_leaving_out_what_cannot_hold_gives_what_evaluating_everything_gives() -> None:
    sparing, thorough = Assessor(packaged()), Assessor(packaged())
    thorough.grounds = {kind: tuple((r, None) for r in of_kind) for kind, of_kind in thorough.by_kind.items()}
    assert any(names for _r, names in sparing.grounds["red-flag"])
    for case in charts():
        spared, whole = (replace(assessor.assess(case), reached=None) for assessor in (sparing, thorough))
        assert spared == whole, case.statements.keys()


def test_a_condition_comes_out_so_only_where_something_of_its_grounds_is_known() -> None:
    names = ("a", "b", "c")
    leaves = [{"finding": name, "is": state} for name in names for state in STATES]
    pairs = [{word: [one, other]} for word in ("all", "any", "none") for one in leaves for other in leaves]
    nested = [
        {word: [pair, leaves[number % len(leaves)]]} for word in ("all", "none") for number, pair in enumerate(pairs)
    ]
    values = (True, False, None)
    states: list[dict[str, Value]] = [{"a": a, "b": b, "c": c} for a in values for b in values for c in values]
    for raw in (*leaves, *pairs, *nested):
        condition = read_condition(raw, {})
        for verdict in (True, False):
            grounds = grounds_to_hold(condition, {}, names, verdict=verdict)
            if grounds is not None:
                reached = [state for state in states if condition.test(state) is verdict]
                assert all(any(state[name] is not None for name in grounds) for state in reached), raw
