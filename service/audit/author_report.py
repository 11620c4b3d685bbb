"""What `sitbone author-report` prints: what became of a month's advice, for who writes the knowledge.

It goes to people outside the site. Nothing of a patient is in it, no name of a client and none of who suspended what;
a reason of a suspension is what somebody of the site has written, and is to be read before it is sent.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

import orjson
from sqlalchemy import Connection

from service.audit import insights
from service.audit.expectations import Expected, weeks_outside
from service.audit.insights import NO_REASON, Period
from service.audit.releases import find_release
from service.knowledge_model.loader import load
from service.knowledge_model.model import KnowledgeError
from service.release.archive import unpack
from service.release.digests import Digests
from service.release.suspension import Suspension


@dataclass(slots=True)
class OfRecommendation:
    """What became of a recommendation with this content, by its digest; "" where the content was not kept.

    fired: calls; shown, accepted, overridden, unreported: cards on which it stood. reasons: code -> overridden cards;
    a card with two counts for both. low, high: weeks of a client in which it fired less or more often than expected,
    whatever its content was.
    """

    recommendation: str
    digest: str
    fired: int = 0
    shown: int = 0
    accepted: int = 0
    overridden: int = 0
    unreported: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class Suspended:
    """What was suspended on a day of the month, and why; see Suspension."""

    what: str
    day: date
    reason: str


@dataclass(frozen=True, slots=True)
class AuthorReport:
    """A month, as 2026-11; `knowledge`: the versions that answered, with the beginnings of their digests; `not_seen`:
    what of the knowledge of today fired in no call."""

    month: str
    knowledge: tuple[str, ...]
    calls: int
    recommendations: tuple[OfRecommendation, ...]
    not_seen: tuple[str, ...]
    suspensions: tuple[Suspended, ...]


def author_report(
    connection: Connection,
    period: Period,
    month: str,
    *,
    known: Iterable[str],
    expectations: Mapping[str, Expected],
    suspensions: Iterable[Suspension],
) -> AuthorReport:
    """The report of a period, a month; `known`: the recommendations of today; `suspensions`: all that there were."""
    rows: dict[tuple[str, str], OfRecommendation] = {}
    digests = _Digests(connection)

    def of(recommendation: str, knowledge: str) -> OfRecommendation:
        key = (recommendation, digests.of(knowledge).get(recommendation, ""))
        return rows.setdefault(key, OfRecommendation(*key))

    for verdict in insights.verdicts(connection, period):
        of(verdict.recommendation, verdict.knowledge).fired += verdict.calls
    for card in insights.card_outcomes(connection, period):
        for recommendation in card.recommendations:
            _count(of(recommendation, card.knowledge), card)
    for (rule, side), weeks in weeks_outside(connection, expectations, period).items():
        for row in [row for row in rows.values() if row.recommendation == rule] or [of(rule, "")]:
            setattr(row, side, weeks)
    made = (Suspended(each.what, each.at.date(), each.reason) for each in suspensions)
    return AuthorReport(
        month,
        tuple(sorted(digests.seen)),
        insights.totals(connection, period).calls,
        tuple(rows[key] for key in sorted(rows)),
        tuple(sorted({*known} - {row.recommendation for row in rows.values() if row.fired})),
        tuple(sorted((each for each in made if f"{each.day:%Y-%m}" == month), key=lambda each: (each.day, each.what))),
    )


def _count(row: OfRecommendation, card: insights.CardOutcome) -> None:
    row.shown += card.cards
    row.accepted += card.cards * (card.outcome == "accepted")
    row.overridden += card.cards * (card.outcome == "overridden")
    row.unreported += card.cards * (card.outcome is None)
    if card.outcome == "overridden":
        row.reasons = dict(Counter(row.reasons) + Counter(dict.fromkeys(card.reasons or (NO_REASON,), card.cards)))


class _Digests:
    """The digests of recommendations by the version of the knowledge that rows have, made of the kept content."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.seen: dict[str, Mapping[str, str]] = {}

    def of(self, knowledge: str) -> Mapping[str, str]:
        if knowledge not in self.seen:
            self.seen[knowledge] = self._made(knowledge)
        return self.seen[knowledge]

    def _made(self, knowledge: str) -> Mapping[str, str]:
        kept = find_release(self._connection, knowledge)
        if kept is None:
            return {}
        with tempfile.TemporaryDirectory() as folder:
            unpack(kept.folder, Path(folder))
            try:
                return dict(Digests(load(Path(folder)), Path(folder), kept.product).recommendations)
            except KnowledgeError:
                # It is that of another version of the product, which reads other files.
                return {}


def as_json(found: AuthorReport) -> str:
    """Members are those of the dataclasses."""
    return orjson.dumps(asdict(found), option=orjson.OPT_INDENT_2).decode()


def as_text(found: AuthorReport) -> str:
    """A few lines for each recommendation, then what was not seen and what was suspended."""
    lines = [f"{found.month}: {found.calls} calls, answered by {', '.join(found.knowledge) or 'nothing'}"]
    suspended = defaultdict(list)
    for each in found.suspensions:
        suspended[each.what].append(f"  suspended on {each.day}: {each.reason}")
    for row in found.recommendations:
        lines += ["", f"{row.recommendation} {row.digest or '(content not kept)'}"]
        reasons = ", ".join(f"{reason} {cards}" for reason, cards in sorted(row.reasons.items()))
        overridden = f"{row.overridden} overridden{f' ({reasons})' if reasons else ''}"
        lines.append(
            f"  fired in {row.fired} calls; on {row.shown} cards: {row.accepted} accepted, {overridden}, "
            f"{row.unreported} without a report"
        )
        if row.low or row.high:
            lines.append(f"  outside what is expected in {row.low} weeks below and {row.high} above, of a client each")
        lines += suspended.pop(row.recommendation, [])
    for what, told in suspended.items():
        lines += ["", what, *told]
    if found.not_seen:
        lines += ["", f"Not seen ({len(found.not_seen)}): {', '.join(found.not_seen)}"]
    return "\n".join(lines)
