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

NO_SIDE_NAMED = "unspecified"


class RankedCause(msgspec.Struct, frozen=True, gc=False):
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

    @property
    def second(self) -> str:
        """The cause after the leading one that is possible too; empty for none."""
        return next((cause.id for cause in self.causes if cause is not self.leader and cause.band == "possible"), "")


def weigh(reader: EvidenceReader, chart: int) -> Iterator[Weighed]:
    """Everything that counts on this chart of a side."""
    for weight in reader.counting(chart):
        yield Weighed(weight.cause, weight.points, reader.named(weight, chart), weight.family, weight.source)


def rank(reader: EvidenceReader, chart: int) -> Ranking:
    """The causes on this chart of a side, best first."""
    knowledge, decision = reader.knowledge, reader.decision
    ranking, of_chart = knowledge.differential, decision.charts.charts[chart]
    points = dict.fromkeys(knowledge.causes, 0)
    known = set()
    for weight in reader.counting(chart):
        points[weight.cause] += weight.points
        known.add(weight.family)
    known.discard("")
    if not of_chart.known.keys().isdisjoint(ranking.tenderness):
        known.add("tenderness")
    order = sorted(points, key=points.__getitem__, reverse=True)
    most = points[order[0]]
    distance = most - points[order[1]] if len(order) > 1 else inf
    leads = next((cause for cause, bits in decision.leads.items() if bits and bits & 1 << chart), None)
    side = of_chart.side or NO_SIDE_NAMED
    causes, speaks = [], reader.speaks(chart)
    for cause in order:
        for_it, against_it = speaks.get((cause, True), ()), speaks.get((cause, False), ())
        if cause == leads:
            band = "leads"
        elif not (for_it or against_it):
            band = "not-assessed"
        else:
            near = leads is None or cause in ranking.stays_possible or most - points[cause] < ranking.clear_by
            band = "possible" if points[cause] > 0 and near else "less-likely"
        causes.append(RankedCause(cause, side, band, points[cause], tuple(for_it), tuple(against_it)))
    return Ranking(
        side=side,
        causes=tuple(causes),
        clear=distance >= ranking.clear_by,
        families_known=len(known),
        families=ranking.family_count + 1,
        leader=causes[0] if leads else None,
    )
