"""Conditions, compiled and decided as those of the knowledge are, to be looked at one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from service.chart.side_chart import Chart
from service.knowledge_model.conditions import Condition, Value
from service.reasoning.decision import charts_of, layout, screen
from service.reasoning.kernel import compiled
from tests.charts import build_request, case_of, packaged


def verdicts(
    conditions: Mapping[str, Condition], charts: Sequence[Mapping[str, Value]]
) -> dict[str, list[bool | None]]:
    """What comes of each condition on charts of which nothing else is known; all charts are decided in one pass."""
    knowledge = packaged()
    added = {f"({text})": (text, condition) for text, condition in conditions.items()}
    kernel = compiled(replace(knowledge, definitions={**knowledge.definitions, **added}))
    nothing = Chart(case_of(build_request({})), "", with_sideless=True)
    laid_out = layout(kernel, 1, charts)
    values = screen(kernel, charts_of(kernel, laid_out, [nothing], open_=frozenset(laid_out.answered))).values

    def verdict(text: str, number: int) -> bool | None:
        node = kernel.criteria[f"({text})"]
        true, false = values[node.true] >> number & 1, values[node.false] >> number & 1
        assert not (true and false)
        return True if true else False if false else None

    # The first is the chart of which nothing is known.
    return {text: [verdict(text, number) for number in range(1, len(charts) + 1)] for text in conditions}
