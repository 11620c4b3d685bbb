"""What of a question is still to be asked: one way for the page and for the adaptive form."""

from __future__ import annotations

from collections.abc import Sequence

from service.chart.elements import NO_SIDE
from service.chart.side_chart import Chart
from service.knowledge_model.model import Knowledge, Question
from service.reasoning.assessment import Assessment
from service.second_opinion.answers import Item


def open_items(
    assessment: Assessment, knowledge: Knowledge, question: Question, sides: Sequence[str]
) -> tuple[Item, ...]:
    """The findings of a question that are not known, on each of these sides or, where they have none, of the patient.

    Of a question about what is recorded in two ways only that, where there is any. The age is an item without being a
    finding of the knowledge.
    """
    case = assessment.case
    if case is None:
        return ()
    asked = question.findings
    if question.first:
        asked = tuple(f for f in asked if f in assessment.contradictory) or asked
    charts = {side: Chart(case, side, with_sideless=len(sides) == 1) for side in {*sides, NO_SIDE}}
    found = []
    for name in asked:
        finding = knowledge.findings.get(name)
        for side in (NO_SIDE,) if finding is None or finding.whole_patient else sides:
            chart = charts[side]
            if name not in chart.known and name not in chart.dated:
                found.append(Item(name, side))
    return tuple(found)
