"""What this service decides of a case, under the names that the exported definitions have."""

from __future__ import annotations

from collections.abc import Iterator

from service.chart.case import Case
from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT
from service.knowledge_model.model import AFTER_PLAN
from service.knowledge_model.vocabulary import CHART_KINDS
from service.portable.logic import COMPLAINT, side_name
from service.reasoning.assessment import Assessor
from service.reasoning.decision import Decision
from service.reasoning.kernel import Atom, Node

Value = bool | int | None


def expected(assessor: Assessor, case: Case) -> dict[str, Value]:
    """Name of a definition -> what it is of this case; a verdict that cannot be told is None.

    What is read of a chart without the complaint is told as well, though this service does not ask it.
    """
    # A verdict is also that something is not so.
    decision = assessor.decided(case).told({})
    return {**dict(_of_patient(assessor, decision)), **_recommendations(assessor, decision), **_ranking(decision)}


def _of_patient(assessor: Assessor, decision: Decision) -> Iterator[tuple[str, Value]]:
    complaint = decision.of_patient(decision.kernel.located)
    yield COMPLAINT, complaint
    sides = [decision.charts.charts[chart].side for chart in decision.charts.of_patient]
    of_pain = BILATERAL if len(sides) > 1 else sides[0]
    for side in (LEFT, RIGHT, BILATERAL, NO_SIDE):
        yield side_name(side), complaint and side == of_pain
    for name in (*decision.kernel.after_red_flags, *AFTER_PLAN):
        yield name, decision.on(decision.kernel.atoms[Atom(name)].true, 0)
    for treatment in assessor.knowledge.engine.treatments:
        yield f"Holds {treatment}", complaint and bool(decision.outcome("hold", treatment) & 1)
        yield f"Offers {treatment}", complaint and bool(decision.offered(treatment) & 1)


def _recommendations(assessor: Assessor, decision: Decision) -> dict[str, Value]:
    complaint = decision.of_patient(decision.kernel.located)
    found: dict[str, Value] = {}
    for r in assessor.knowledge.recommendations:
        if r.kind not in CHART_KINDS:
            continue
        made = decision.kernel.recommendations[r.id]
        charts = decision.charts.of_patient if r.kind == "red-flag" else decision.charts.of_side
        found[f"Verdict {r.id}"] = _verdict(decision, made.when, charts)
        found[f"Fires {r.id}"] = complaint and decision.on_any(made.fires)
        found[f"Critical {r.id}"] = complaint and decision.on_any(made.critical)
        found[f"Said {r.id}"] = complaint and bool(decision.says(r.id) & 1)
        for kind, places in (("imaging", made.imaging), ("referral", made.referrals)):
            for number, place in enumerate(places, start=1):
                found[f"Calls {r.id} {kind} {number}"] = complaint and decision.on_any(place)
    return found


def _verdict(decision: Decision, node: Node, charts: range) -> bool | None:
    """Yes where it is on one of these charts, no where it is on each."""
    if any(decision.on(node.true, chart) for chart in charts):
        return True
    return False if all(decision.on(node.false, chart) for chart in charts) else None


def _ranking(decision: Decision) -> dict[str, Value]:
    kernel, found = decision.kernel, dict[str, Value]()
    complaint = decision.of_patient(kernel.located)
    for name, number in zip("AB", range(2), strict=True):
        chart = decision.charts.of_side[number] if number < len(decision.charts.of_side) else None
        for cause in kernel.considered:
            if chart is None:
                found[f"Points {cause} {name}"], found[f"Leads {cause} {name}"] = None, False
                continue
            found[f"Points {cause} {name}"] = sum(
                int(weight.points)
                for weight in kernel.weights
                if weight.cause == cause and decision.on(weight.place, chart)
            )
            found[f"Leads {cause} {name}"] = complaint and bool(decision.leads[cause] >> chart & 1)
    return found


def criterion(decision: Decision, name: str, chart: int) -> bool | None:
    """What a named criterion is on this chart."""
    return _verdict(decision, decision.kernel.criteria[name], range(chart, chart + 1))
