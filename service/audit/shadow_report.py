"""What `sitbone shadow report` prints: what a second knowledge would have changed of the calls of a period."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import orjson
from sqlalchemy import Connection, func, select

from service.audit.insights import Period, within
from service.audit.schema import SHADOW_CALLS, SHADOW_COUNTS
from service.proportions import wilson
from service.reasoning.differences import (
    ASK,
    KINDS,
    LEAD,
    LOST,
    NEW,
    ORDER,
    ORDER_LOST,
    ORDER_NEW,
    RED_FLAG_LOST,
    REFUSED,
    TIER,
    TREATMENT,
)

# How the kinds of differences are counted in the first line, the gravest first.
_COUNTED = (
    ((RED_FLAG_LOST,), "red flag lost", "red flags lost"),
    ((LOST,), "other recommendation lost", "other recommendations lost"),
    ((NEW,), "new", "new"),
    ((ORDER_LOST, ORDER_NEW, ORDER), "order", "orders"),
    ((TIER,), "tier", "tiers"),
    ((TREATMENT,), "treatment", "treatments"),
    ((ASK,), "first question", "first questions"),
    ((LEAD,), "leading cause", "leading causes"),
    ((REFUSED,), "not answered", "not answered"),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """The release that answered and the one that was asked beside it, by their digests, and how many calls were
    compared."""

    live: str
    shadow: str
    compared: int


@dataclass(frozen=True, slots=True)
class Changed:
    """One kind of difference; see service/reasoning/differences.py. `share` is that of the calls with the complaint, as
    a fraction, with its interval of 95 %."""

    kind: str
    what: str
    how: str
    calls: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LostFlag:
    """A recommendation about a red flag that would not have fired, and the correlation ids of the calls, the latest
    first."""

    recommendation: str
    correlations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What was compared for one pair; `others` were compared in the same period and are not in it.

    compared_share: at least so much of the calls with the complaint was compared, as a fraction. A call that plainly
    states nothing of this pain is never skipped, so that the share of all calls would say too much.
    """

    pair: Pair
    complaint: int
    changed: int
    failed: int
    skipped: int
    compared_share: float
    changes: tuple[Changed, ...]
    lost: tuple[LostFlag, ...]
    others: tuple[Pair, ...]


def shadow_report(connection: Connection, period: Period, shadow: str | None = None) -> ShadowReport | None:
    """Of the latest pair of the period, or of the latest whose second release has a digest that begins so; None where
    nothing was compared."""
    of = SHADOW_COUNTS.c
    sums = [func.sum(of[name]) for name in ("compared", "complaint", "changed", "failed", "skipped")]
    rows = connection.execute(
        select(of.live, of.shadow, *sums)
        .where(within(SHADOW_COUNTS, period))
        .group_by(of.live, of.shadow)
        .order_by(func.max(of.at).desc())
    ).all()
    found = [(Pair(row[0], row[1], int(row[2])), [*map(int, row[3:])]) for row in rows]
    chosen = [each for each in found if shadow is None or _begins(each[0].shadow, shadow)]
    if not chosen:
        return None
    pair, (complaint, changed, failed, skipped) = chosen[0]
    seen = _Seen(_differing(connection, period, pair))
    changes = tuple(
        Changed(*what, calls, *((calls / complaint) if complaint else 0.0, *wilson(calls, max(calls, complaint))))
        for what, calls in seen.in_order()
    )
    others = tuple(each for each, _counts in found if each != pair)
    share = complaint / of_all if (of_all := complaint + failed + skipped) else 1.0
    return ShadowReport(pair, complaint, changed, failed, skipped, share, changes, seen.lost(), others)


def _begins(digest: str, with_: str) -> bool:
    return digest.removeprefix("sha256:").startswith(with_.removeprefix("sha256:"))


def _differing(connection: Connection, period: Period, pair: Pair) -> Iterator[tuple[str, list[list[str]]]]:
    of = SHADOW_CALLS.c
    rows = connection.execute(
        select(of.correlation, of.differences)
        .where(within(SHADOW_CALLS, period), of.live == pair.live, of.shadow == pair.shadow)
        .order_by(of.at.desc())
    )
    for correlation, differences in rows:
        yield correlation, orjson.loads(differences)


class _Seen:
    """The differences of many calls, counted."""

    def __init__(self, calls: Iterable[tuple[str, list[list[str]]]]) -> None:
        self._count: Counter[tuple[str, str, str]] = Counter()
        self._lost: dict[str, list[str]] = defaultdict(list)
        for correlation, differences in calls:
            for kind, what, how in differences:
                self._count[kind, what, how] += 1
                if kind == RED_FLAG_LOST:
                    self._lost[what].append(correlation)

    def in_order(self) -> list[tuple[tuple[str, str, str], int]]:
        return sorted(self._count.items(), key=lambda item: (KINDS.index(item[0][0]), -item[1], item[0]))

    def lost(self) -> tuple[LostFlag, ...]:
        return tuple(LostFlag(id_, tuple(calls)) for id_, calls in sorted(self._lost.items()))


def as_json(found: ShadowReport, database: str) -> str:
    """Members are those of the dataclasses, after the name of the database that was read."""
    return orjson.dumps({"database": database, **asdict(found)}, option=orjson.OPT_INDENT_2).decode()


def as_text(found: ShadowReport) -> str:
    """What would have changed in one line, then a line for each difference, and where red flags were lost."""
    lines = [f"{found.pair.live} beside {found.pair.shadow}", _headline(found)]
    if found.compared_share < 1:
        share = f"At least {found.compared_share:.1%} of the calls with the complaint were compared"
        lines += [f"{share}; what would have changed of the others is not known."]
    if found.changes:
        lines += ["", "Of the calls with the complaint, with the interval of 95 %:"]
    lines += [
        f"  {each.calls:>6}  {each.share:6.2%} ({each.low:.2%} to {each.high:.2%})  "
        f"{' '.join(filter(None, (each.kind.replace('-', ' '), each.what, each.how)))}"
        for each in found.changes
    ]
    for lost in found.lost:
        lines += ["", f"Red flag lost, {lost.recommendation}, by correlation id:"]
        lines += [f"  {correlation}" for correlation in lost.correlations]
    lines += [
        f"\nAlso compared: {each.compared:,} calls of {each.live} beside {each.shadow} (--of)" for each in found.others
    ]
    return "\n".join(lines)


def _headline(found: ShadowReport) -> str:
    counts = []
    for kinds, one, several in _COUNTED:
        if number := sum(each.calls for each in found.changes if each.kind in kinds):
            ids = f" ({', '.join(each.recommendation for each in found.lost)})" if RED_FLAG_LOST in kinds else ""
            counts.append(f"{number:,} {one if number == 1 else several}{ids}")
    changed = f"{found.changed:,} would have changed{': ' if counts else ''}{', '.join(counts)}"
    of = f"{found.pair.compared:,} calls, {found.complaint:,} with the complaint"
    return f"{of}: {changed}; {found.failed:,} failed; {found.skipped:,} skipped"
