"""What of a chart could not be read and may speak against an NSAID. Pure."""

from __future__ import annotations

from service.chart.assertions import Assertion
from service.chart.case import Case
from service.knowledge_model.model import Knowledge


class UnreadValues:
    """Finds them by one body of knowledge; made once. `treatments`: those that are an NSAID."""

    def __init__(self, knowledge: Knowledge) -> None:
        medicine = knowledge.engine.medicines.get("nsaid")
        self.treatments = frozenset((medicine.treatment,)) if medicine else frozenset[str]()
        # What may speak against one.
        self._names = sorted(
            {
                name
                for recommendation in knowledge.recommendations
                if any(call.id in self.treatments and call.state != "offer" for call in recommendation.treatment)
                for name in knowledge.base_findings(recommendation.when.findings())
            }
        )
        self._quantities = {finding.id for finding in knowledge.findings.values() if finding.value == "quantity"}

    def of(self, case: Case) -> tuple[Assertion, ...]:
        """The newest assertion of each such finding; of a measurement also one that is recorded without any value."""
        found = case.unread(self._names)
        return tuple(one for one in found if one.unreadable or one.finding in self._quantities)
