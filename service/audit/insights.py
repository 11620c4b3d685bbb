"""What became of the advice: questions to the audit trail, answered with counts.

Each function takes a connection (see database.reading) and a Period: the calls and the cards of that time, of one
client or of all, with what was reported of these cards until now. A card that an EHR asked for twice under one
hookInstance is one card; of several outcomes the latest counts. What was suppressed was not shown. An outcome happened
when the client says, but no later than it was reported: a clock that is wrong must not have the last word for ever.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from statistics import fmean, quantiles
from typing import Any, TypeVar

import orjson
from sqlalchemy import Column, ColumnElement, Connection, Subquery, Table, and_, case, func, literal, select

from service.audit.schema import CALLS, CARDS, DAY, FEEDBACK, HAPPENED, PAGES
from service.release.mode import LIVE

_Key = TypeVar("_Key", bound=tuple[Any, ...])
NO_REASON = "none given"
# "I do not agree with this recommendation" and "Does not apply to this patient": somebody has to look at it.
DISAGREEING = frozenset({"recipient-does-not-trust", "patient-ineligible"})
_WEEK = 7 * DAY
# The first Monday of 1970.
_MONDAY = 4 * DAY
_FIRST_MONDAY = date(1970, 1, 5)


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` until before `until`, both in milliseconds since 1970; of all clients where `client` is None.

    Only `with_checks` does it hold what is marked as of a check of the service. `mode` is live or silent, never both:
    what nobody saw was neither accepted nor ignored.
    """

    since: int
    until: int
    client: str | None = None
    with_checks: bool = False
    mode: str = LIVE

    @classmethod
    def of_days(
        cls, first: date, last: date, client: str | None = None, *, with_checks: bool = False, mode: str = LIVE
    ) -> Period:
        """Whole days in UTC, the last one included."""
        return cls(start_of(first), start_of(last + timedelta(days=1)), client, with_checks, mode)


@dataclass(frozen=True, slots=True)
class Totals:
    """Over everything. `refused` are calls with another status than 200; `unknown_cards` is feedback of this time on
    cards that the audit trail does not hold, `repeated` how often feedback came again. `check_calls` and
    `check_feedback` are marked as of a check of the service, and in no other figure unless the period is one with
    checks."""

    calls: int
    refused: int
    without_card: int
    shown: int
    accepted: int
    overridden: int
    ignored: int
    suppressed: int
    feedback: int
    repeated: int
    unknown_cards: int
    check_calls: int
    check_feedback: int


@dataclass(frozen=True, slots=True)
class WeekCount:
    """Cards of a week, each counted once; `week` is its Monday."""

    week: date
    client: str
    shown: int
    accepted: int
    overridden: int
    ignored: int
    suppressed: int


@dataclass(frozen=True, slots=True)
class CardCount:
    """Cards of a week on which a recommendation stands; a card with several counts for each. `week` is its Monday,
    `knowledge` the version of the knowledge, `ignored` are those of which nothing was reported so far."""

    week: date
    client: str
    service: str
    recommendation: str
    version: int
    knowledge: str
    shown: int
    accepted: int
    overridden: int
    ignored: int
    suppressed: int


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """Overridden cards with a reason, by the first recommendation of the card; `reason` is a code that cards offer,
    `other`, or `none given`. A card with two reasons counts for both. `commented` had words of the user beside it."""

    client: str
    topic: str
    recommendation: str
    version: int
    reason: str
    cards: int
    commented: int


@dataclass(frozen=True, slots=True)
class ActionTime:
    """Seconds from the first time a card was shown until its latest outcome, by the clock of the client; `early` are
    outcomes before the card was shown, which tell that the clocks differ and are left out of the figures: the median,
    and between which times the middle half lies."""

    client: str
    topic: str
    recommendation: str
    version: int
    outcome: str
    cards: int
    early: int
    median_seconds: float | None
    quarter_seconds: float | None
    three_quarters_seconds: float | None


@dataclass(frozen=True, slots=True)
class CallCount:
    """Calls of a service at a hook; `without_card` were answered and had nothing to show, `refused` were not answered
    with 200."""

    client: str
    service: str
    hook: str
    calls: int
    without_card: int
    refused: int


@dataclass(frozen=True, slots=True)
class StateCount:
    """Calls in which a prefetch key had a state: which client never sends Observations."""

    client: str
    service: str
    key: str
    state: str
    calls: int


@dataclass(frozen=True, slots=True)
class Burden:
    """How often the same card came up for the same patient. `cards` were shown to `patients`; `repeats` are those after
    the first for a patient, `most` is the greatest number for one, `overridden` how many were."""

    client: str
    topic: str
    recommendation: str
    version: int
    indicator: str
    patients: int
    cards: int
    repeats: int
    most: int
    overridden: int
    suppressed: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """In how many calls a recommendation fired, with the indicator on its card; `""` where it was on no card."""

    client: str
    service: str
    recommendation: str
    indicator: str
    knowledge: str
    calls: int


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage of the answered calls took."""

    service: str
    stage: str
    calls: int
    mean_milliseconds: float
    longest_milliseconds: float


@dataclass(frozen=True, slots=True)
class CardOutcome:
    """Cards that were shown, on which these recommendations stand, and of which this was reported last; None where
    nothing was. `reasons` are codes."""

    knowledge: str
    recommendations: tuple[str, ...]
    outcome: str | None
    reasons: tuple[str, ...]
    cards: int


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Cards whose first recommendation this is and of which an outcome was reported: how many, how many of them were
    overridden, and how many by a reason that says that the recommendation is wrong, see DISAGREEING."""

    recommendation: str
    reported: int
    overridden: int
    disagreed: int


@dataclass(frozen=True, slots=True)
class PageCount:
    """Pages of the second opinion on which a step was made, and how often; no call of a hook is among them. `step` is
    shown, answered, saved or drafted; `written_as` the type of what that wrote, `written` how many are in the chart."""

    client: str
    step: str
    written_as: str
    pages: int
    times: int
    written: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """One report about a card, as it came; `at` is when, `outcome_at` what the client said of it. `known` tells whether
    the audit trail holds the card."""

    card: str
    client: str
    outcome: str
    at: datetime
    outcome_at: datetime
    suggestions: tuple[str, ...]
    reasons: tuple[str, ...]
    commented: bool
    times: int
    known: bool


def totals(connection: Connection, period: Period) -> Totals:
    calls = connection.execute(
        select(func.count(), _count(CALLS.c.status != 200), _count(_silent())).where(within(CALLS, period))
    ).one()
    cards = connection.execute(select(*_outcomes(_cards(period)))).one()
    known = select(CARDS.c.uuid).where(CARDS.c.client == FEEDBACK.c.client, CARDS.c.uuid == FEEDBACK.c.card).exists()
    feedback = connection.execute(
        select(func.count(), func.coalesce(func.sum(FEEDBACK.c.times - 1), 0), _count(~known)).where(
            within(FEEDBACK, period)
        )
    ).one()
    everything = replace(period, with_checks=True)
    checks = [
        connection.scalar(select(func.count()).where(within(table, everything), table.c.is_check)) or 0
        for table in (CALLS, FEEDBACK)
    ]
    return Totals(*map(int, (*calls, *cards, *feedback, *checks)))


def week_counts(connection: Connection, period: Period, today: date) -> tuple[WeekCount, ...]:
    """In the order of week and client. A client has each week from its first card until `today` or the end of the
    period, also those without a card: that nothing came is what one has to see."""
    cards = _cards(period)
    by = ((cards.c.at - _MONDAY) // _WEEK, cards.c.client)
    found: dict[str, dict[int, Sequence[Any]]] = defaultdict(dict)
    for week, client, *numbers in connection.execute(select(*by, *_outcomes(cards)).group_by(*by)):
        found[client][int(week)] = numbers
    last = (min(period.until, start_of(today) + DAY) - 1 - _MONDAY) // _WEEK
    filled = [
        (week, client, weeks.get(week, (0,) * 5))
        for client, weeks in found.items()
        for week in range(min(weeks), max(last, *weeks) + 1)
    ]
    return tuple(
        WeekCount(_FIRST_MONDAY + timedelta(weeks=week), client, *map(int, numbers))
        for week, client, numbers in sorted(filled, key=lambda row: row[:2])
    )


def card_counts(connection: Connection, period: Period) -> tuple[CardCount, ...]:
    """In the order of week, client, service, recommendation and versions."""
    cards = _cards(period)
    by = ((cards.c.at - _MONDAY) // _WEEK, cards.c.client, cards.c.service, cards.c.knowledge, cards.c.recommendations)
    found: dict[tuple[int, str, str, str, int, str], list[int]] = defaultdict(lambda: [0] * 5)
    for week, client, service, knowledge, recommendations, *counts in connection.execute(
        select(*by, *_outcomes(cards)).group_by(*by)
    ):
        for id_, version in orjson.loads(recommendations):
            sums = found[int(week), client, service, id_, version, knowledge]
            sums[:] = (old + int(new) for old, new in zip(sums, counts, strict=True))
    return tuple(CardCount(_FIRST_MONDAY + timedelta(weeks=key[0]), *key[1:], *found[key]) for key in sorted(found))


def override_reasons(connection: Connection, period: Period) -> tuple[ReasonCount, ...]:
    """The most frequent first."""
    cards = _cards(period)
    by = (cards.c.client, cards.c.topic, cards.c.recommendation, cards.c.version, cards.c.reasons)
    found: Counter[tuple[str, str, str, int, str]] = Counter()
    commented: Counter[tuple[str, str, str, int, str]] = Counter()
    overridden = and_(cards.c.outcome == "overridden", cards.c.suppressed_since.is_(None))
    for *key, reasons, count, with_words in connection.execute(
        select(*by, func.count(), _count(cards.c.commented)).where(overridden).group_by(*by)
    ):
        for reason in orjson.loads(reasons) or (NO_REASON,):
            found[*key, reason] += count
            commented[*key, reason] += int(with_words)
    return tuple(ReasonCount(*key, cards=count, commented=commented[key]) for key, count in _most_first(found))


def times_to_action(connection: Connection, period: Period) -> tuple[ActionTime, ...]:
    """In the order of their names."""
    cards = _cards(period)
    by = (cards.c.client, cards.c.topic, cards.c.recommendation, cards.c.version, cards.c.outcome)
    seconds: dict[tuple[str, str, str, int, str], list[float]] = defaultdict(list)
    for *key, took in connection.execute(
        select(*by, cards.c.happened - cards.c.at).where(
            cards.c.outcome.is_not(None), cards.c.suppressed_since.is_(None)
        )
    ):
        seconds[*key,].append(took / 1000)
    return tuple(ActionTime(*key, *_spread(seconds[key])) for key in sorted(seconds))


def call_counts(connection: Connection, period: Period) -> tuple[CallCount, ...]:
    """In the order of their names; a call that did not come so far as to name its hook has none."""
    by = (CALLS.c.client, CALLS.c.service, func.coalesce(CALLS.c.hook, "").label("hook"))
    counts = (func.count(), _count(_silent()), _count(CALLS.c.status != 200))
    rows = connection.execute(select(*by, *counts).where(within(CALLS, period)).group_by(*by))
    return tuple(CallCount(*names, *map(int, numbers)) for *names, numbers in _split(rows, len(by)))


def page_counts(connection: Connection, period: Period) -> tuple[PageCount, ...]:
    """In the order of their names."""
    by = (PAGES.c.client, PAGES.c.step, PAGES.c.written_as)
    counts = (func.count(PAGES.c.page.distinct()), func.count(), func.sum(PAGES.c.written))
    rows = connection.execute(select(*by, *counts).where(within(PAGES, period)).group_by(*by))
    return tuple(PageCount(*names, *map(int, numbers)) for *names, numbers in _split(rows, len(by)))


def data_states(connection: Connection, period: Period) -> tuple[StateCount, ...]:
    """In the order of their names."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for client, service, states, count in _grouped(connection, period, CALLS.c.client, CALLS.c.service, CALLS.c.states):
        for key, state in orjson.loads(states).items():
            found[client, service, key, state] += count
    return tuple(StateCount(*key, calls=found[key]) for key in sorted(found))


def verdicts(connection: Connection, period: Period) -> tuple[Verdict, ...]:
    """In the order of their names."""
    found: Counter[tuple[str, str, str, str, str]] = Counter()
    columns = (CALLS.c.client, CALLS.c.service, CALLS.c.knowledge, CALLS.c.fired)
    for client, service, knowledge, fired, count in _grouped(connection, period, *columns):
        for id_, indicator in orjson.loads(fired).items():
            found[client, service, id_, indicator, knowledge] += count
    return tuple(Verdict(*key, calls=found[key]) for key in sorted(found))


def stages(connection: Connection, period: Period) -> tuple[Stage, ...]:
    """In the order of their names; reads each answered call of the period."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    rows = connection.execute(select(CALLS.c.service, CALLS.c.took).where(within(CALLS, period), CALLS.c.status == 200))
    for service, took in rows:
        for stage, microseconds in orjson.loads(took).items():
            found[service, stage].append(microseconds / 1000)
    return tuple(Stage(*key, len(took), fmean(took), max(took)) for key, took in sorted(found.items()))


def card_outcomes(connection: Connection, period: Period) -> Iterator[CardOutcome]:
    """In no order."""
    cards = _cards(period)
    by = (cards.c.knowledge, cards.c.recommendations, cards.c.outcome, cards.c.reasons)
    shown = select(*by, func.count()).where(cards.c.suppressed_since.is_(None)).group_by(*by)
    for knowledge, recommendations, outcome, reasons, count in connection.execute(shown):
        ids = tuple(id_ for id_, _version in orjson.loads(recommendations))
        yield CardOutcome(knowledge, ids, outcome, tuple(orjson.loads(reasons or "[]")), count)


def disagreements(connection: Connection, period: Period) -> tuple[Disagreement, ...]:
    """In the order of the recommendations."""
    cards = _cards(period)
    by = (cards.c.recommendation, cards.c.outcome, cards.c.reasons)
    found: dict[str, list[int]] = defaultdict(lambda: [0] * 3)
    reported = and_(cards.c.outcome.is_not(None), cards.c.suppressed_since.is_(None))
    for recommendation, outcome, reasons, count in connection.execute(
        select(*by, func.count()).where(reported).group_by(*by)
    ):
        disagrees = outcome == "overridden" and not DISAGREEING.isdisjoint(orjson.loads(reasons))
        of = (count, count * (outcome == "overridden"), count * disagrees)
        found[recommendation] = [before + more for before, more in zip(found[recommendation], of, strict=True)]
    return tuple(Disagreement(id_, *found[id_]) for id_ in sorted(found))


def feedback_stopped(connection: Connection, since: int, until: int) -> dict[str, bool]:
    """Of each client to whom cards were shown from `since` until before `until`, in milliseconds, whether it reported
    none of them although it had reported in the four weeks before."""

    def reporting(first: int, last: int) -> set[str]:
        within_ = (FEEDBACK.c.at >= first, FEEDBACK.c.at < last, ~FEEDBACK.c.is_check)
        return {*connection.scalars(select(FEEDBACK.c.client).where(*within_).distinct())}

    shown = select(CARDS.c.client).where(within(CARDS, Period(since, until)), CARDS.c.suppressed_since.is_(None))
    before, now = reporting(since - 4 * _WEEK, since), reporting(since, until)
    return {client: client in before and client not in now for client in connection.scalars(shown.distinct())}


def burdens(connection: Connection, period: Period) -> tuple[Burden, ...]:
    """The most repeated first."""
    cards = _cards(period)
    card = (cards.c.client, cards.c.topic, cards.c.recommendation, cards.c.version, cards.c.indicator)
    shown, _accepted, overridden, _ignored, held = _outcomes(cards)
    counts = (shown.label("shown"), overridden.label("overridden"), held.label("held"))
    each = select(*card, *counts).group_by(*card, cards.c.patient).subquery()
    by = [each.c[column.key] for column in card]
    patients = _count(each.c.shown > 0)
    numbers = (patients, func.sum(each.c.shown), func.sum(each.c.shown) - patients, func.max(each.c.shown))
    found = connection.execute(select(*by, *numbers, func.sum(each.c.overridden), func.sum(each.c.held)).group_by(*by))
    counted = [Burden(*names, *map(int, numbers)) for *names, numbers in _split(found, len(by))]
    return tuple(
        sorted(counted, key=lambda burden: (-burden.repeats, burden.client, burden.topic, burden.recommendation))
    )


def history(connection: Connection, client: str, card: str) -> tuple[Outcome, ...]:
    """All that a client reported about a card, in the order in which it happened."""
    known = select(CARDS.c.uuid).where(CARDS.c.client == client, CARDS.c.uuid == card.lower()).exists()
    rows = connection.execute(
        select(FEEDBACK, known.label("known"))
        .where(FEEDBACK.c.client == client, FEEDBACK.c.card == card.lower())
        .order_by(HAPPENED, FEEDBACK.c.at, FEEDBACK.c.outcome_at, FEEDBACK.c.place)
    )
    return tuple(
        Outcome(
            card=row.card,
            client=row.client,
            outcome=row.outcome,
            at=_time(row.at),
            outcome_at=_time(row.outcome_at),
            suggestions=tuple(orjson.loads(row.suggestions)),
            reasons=tuple(orjson.loads(row.reasons)),
            commented=row.commented,
            times=row.times,
            known=row.known,
        )
        for row in rows
    )


def _cards(period: Period) -> Subquery:
    """Each card of the period once, with its latest outcome, if any; once more where it was also suppressed."""
    nth = func.row_number().over(
        partition_by=(CARDS.c.client, CARDS.c.uuid, CARDS.c.suppressed_since.is_(None)),
        order_by=(CARDS.c.at, CARDS.c.call),
    )
    card = select(CARDS, nth.label("nth")).where(within(CARDS, period)).subquery()
    by_time = [column.desc() for column in (HAPPENED, FEEDBACK.c.at, FEEDBACK.c.outcome_at, FEEDBACK.c.place)]
    last = func.row_number().over(partition_by=(FEEDBACK.c.client, FEEDBACK.c.card), order_by=by_time)
    # Nobody reports on a card before it is shown; a day for the clocks of several hosts.
    happened = HAPPENED.label("happened")
    reports = select(FEEDBACK, happened, last.label("last")).where(FEEDBACK.c.at >= period.since - DAY)
    reported = (reports if period.with_checks else reports.where(~FEEDBACK.c.is_check)).subquery()
    outcome_columns = [reported.c[name] for name in ("outcome", "happened", "reasons", "commented")]
    of_the_card = and_(reported.c.client == card.c.client, reported.c.card == card.c.uuid, reported.c.last == 1)
    return select(card, *outcome_columns).outerjoin(reported, of_the_card).where(card.c.nth == 1).subquery()


def _outcomes(cards: Subquery) -> tuple[ColumnElement[int], ...]:
    """Counts of shown, accepted, overridden, ignored and suppressed."""
    shown, outcome = cards.c.suppressed_since.is_(None), cards.c.outcome
    return (
        _count(shown),
        _count(and_(shown, outcome == "accepted")),
        _count(and_(shown, outcome == "overridden")),
        _count(and_(shown, outcome.is_(None))),
        _count(~shown),
    )


def _grouped(connection: Connection, period: Period, *by: Column[Any]) -> Iterable[Sequence[Any]]:
    """The calls of a period by these columns, with their number."""
    counted = select(*by, func.count()).where(within(CALLS, period)).group_by(*by)
    rows: Iterable[Any] = connection.execute(counted)
    return rows


def _silent() -> ColumnElement[bool]:
    return and_(CALLS.c.status == 200, CALLS.c.cards == 0)


def within(table: Table, period: Period) -> ColumnElement[bool]:
    """What holds of the rows of a table that are of the period."""
    inside = [table.c.at >= period.since, table.c.at < period.until]
    if period.client is not None:
        inside.append(table.c.client == period.client)
    if not period.with_checks and "is_check" in table.c:
        inside.append(~table.c.is_check)
    if "mode" in table.c:
        inside.append(table.c.mode == period.mode)
    elif table in (FEEDBACK, PAGES):
        # They are of what was shown.
        inside.append(literal(period.mode == LIVE))
    return and_(*inside)


def _count(holds: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((holds, 1), else_=0)), 0)


def _split(rows: Iterable[Sequence[Any]], names: int) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of their names, with the numbers after these as one."""
    for row in sorted(rows, key=lambda row: tuple(row)[:names]):
        yield *row[:names], row[names:]


def _most_first(found: Counter[_Key]) -> list[tuple[_Key, int]]:
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def _spread(seconds: Sequence[float]) -> tuple[int, int, float | None, float | None, float | None]:
    """How many, how many of them below zero, and of the others median and quarters."""
    sound = [each for each in seconds if each >= 0]
    if not sound:
        return len(seconds), len(seconds), None, None, None
    quarters = quantiles(sound, n=4, method="inclusive") if len(sound) > 1 else [sound[0]] * 3
    return len(seconds), len(seconds) - len(sound), quarters[1], quarters[0], quarters[2]


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)


def start_of(day: date) -> int:
    """When a day begins in UTC, in milliseconds since 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
