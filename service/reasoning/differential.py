"""The ranking of causes on one side: transparent points, no probability.

All weights are knowledge (differential.toml): history and place of tenderness add points, of each family of tests the
one with the largest weight counts, caps and vetoes keep what is not specific from leading. Here stands what a clinician
reads of it; which cause leads is decided with everything else (decision.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import msgspec

from service.reasoning.evidence import EvidenceReader
from service.reasoning.kernel import Weight

NO_SIDE_NAMED = "unspecified"


class RankedCause(msgspec.Struct, frozen=True):
    """One cause on one side. band: leads, possible, less-likely, not-assessed."""

    id: str
    side: str
    band: str
    points: int
    speaks_for: tuple[str, ...]
    speaks_against: tuple[str, ...]


class Weighed(msgspec.Struct, frozen=True):
    """What a cause has points for, or against. `family` is that of a test, and empty for history and tenderness."""

    cause: str
    points: int
    findings: tuple[str, ...]
    family: str
    source: str


class Ranking(msgspec.Struct, frozen=True):
    """The causes of one side, best first. `clear`: the distance to the next is such that no second cause is named."""

    side: str
    causes: tuple[RankedCause, ...]
    clear: bool
    families_known: int
    families: int
    leader: RankedCause | None


def weigh(reader: EvidenceReader, chart: int) -> Iterator[Weighed]:
    """Everything that counts on this chart of a side."""
    values, bit, known = reader.decision.values, 1 << chart, reader.decision.charts.charts[chart].known
    for weight in reader.kernel.weights:
        if values[weight.place] & bit:
            findings = reader.evidence_for(weight.when, chart) if weight.when else _done(reader, chart, weight)
            # What is absent speaks for or against a cause only where its absence is what counts.
            absences = weight.absences if weight.when else findings
            named = [
                name
                for name in findings
                if name in reader.knowledge.findings and (name in absences or known.get(name) is not False)
            ]
            yield Weighed(weight.cause, weight.points, tuple(named), weight.family, weight.source)


def _done(reader: EvidenceReader, chart: int, weight: Weight) -> list[str]:
    """The tests behind a result: the test itself, or those of a group that came out that way."""
    if weight.test in reader.knowledge.findings:
        return [weight.test]
    tests = sorted(reader.knowledge.base_findings([weight.test]))
    return [name for name in tests if reader.value(name, chart) is (weight.points > 0)]


def rank(reader: EvidenceReader, chart: int) -> Ranking:
    """The causes on this chart of a side, best first."""
    knowledge, decision = reader.knowledge, reader.decision
    ranking, of_chart = knowledge.differential, decision.charts.charts[chart]
    points = dict.fromkeys(knowledge.causes, 0)
    speaks_for: dict[str, list[str]] = {cause: [] for cause in points}
    speaks_against: dict[str, list[str]] = {cause: [] for cause in points}
    known = set()
    for weighed in weigh(reader, chart):
        points[weighed.cause] += weighed.points
        (speaks_for if weighed.points > 0 else speaks_against)[weighed.cause] += weighed.findings
        if weighed.family:
            known.add(weighed.family)
    order = sorted(points, key=lambda cause: -points[cause])
    top, *others = (points[cause] for cause in order)
    distance = top - others[0] if others else inf
    leads = next((cause for cause, bits in decision.leads.items() if bits & 1 << chart), None)

    def band(cause: str) -> str:
        if cause == leads:
            return "leads"
        if not (speaks_for[cause] or speaks_against[cause]):
            return "not-assessed"
        near = leads is None or cause in ranking.stays_possible or top - points[cause] < ranking.clear_by
        return "possible" if points[cause] > 0 and near else "less-likely"

    side = of_chart.side or NO_SIDE_NAMED
    if any(place in of_chart.known for place in ranking.tenderness):
        known.add("tenderness")
    causes = tuple(
        RankedCause(
            cause,
            side,
            band(cause),
            points[cause],
            tuple(dict.fromkeys(speaks_for[cause])),
            tuple(dict.fromkeys(speaks_against[cause])),
        )
        for cause in order
    )
    return Ranking(
        side=side,
        causes=causes,
        clear=distance >= ranking.clear_by,
        families_known=len(known),
        families=ranking.family_count + 1,
        leader=causes[0] if leads else None,
    )
