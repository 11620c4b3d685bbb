"""Writes the audit trail. A caller waits for no database, except one who reports what became of a card: that is on the
disk before it is acknowledged.

Calls go into a queue with a bound, and a thread of each worker writes them in batches. While the database is away they
stay there, and what has no place any more is dropped and counted; the service goes on answering.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from operator import itemgetter
from threading import Event, Lock, Thread
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Table, delete, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cds_hooks import ServiceUnavailable
from service.audit.database import open_database
from service.audit.days import counted
from service.audit.rows import CallRows, PageRow, Row, ShadowRows, canonical
from service.audit.schema import CALLS, CARDS, DAY, DAYS, FEEDBACK, PAGES, SHADOW_CALLS, SHADOW_COUNTS
from service.fhir_validation import Judge
from service.settings import Settings

_LOG = logging.getLogger("sitbone")
# Calls that a worker keeps in memory, about three kilobytes each, and writes in one transaction.
QUEUE = 5_000
_BATCH = 500
# Fewer values than any SQLite takes in one statement, which is 999 in old ones.
_ROWS_AT_ONCE = 32
# How many of the calls that wait keep what was read for them, about 20 kilobytes each, for the FHIR models to judge.
# That takes 0.3 milliseconds a call: under load a part of the calls tells enough of a client.
_JUDGED = 2
# In seconds.
_GATHER, _PAUSE, _LAST_CHANCE = 0.5, 1.0, 4.0
_PURGE_EVERY = 3600.0
_PURGE_ROWS = 5_000
_RETRY_AFTER = 5


@dataclass(frozen=True, slots=True)
class Health:
    """How the writer of this process fares: calls that wait and calls that are lost, of all that it was given, and when
    the database last failed it, in seconds since 1970."""

    queued: int
    dropped: int
    written: int
    last_error: float | None

    def to_dict(self) -> dict[str, int | str]:
        """As /readyz says it, the time as an instant in UTC."""
        members: dict[str, int | str] = {"queued": self.queued, "dropped": self.dropped}
        if self.last_error is not None:
            members["lastError"] = datetime.fromtimestamp(self.last_error, UTC).isoformat(timespec="seconds")
        return members


@dataclass(frozen=True, slots=True)
class Purged:
    """How many rows were removed."""

    calls: int
    cards: int
    feedback: int
    pages: int
    shadow_calls: int
    shadow_counts: int
    days: int


def _insert_of_postgresql() -> Callable[[Table], Any]:
    # Most sites keep SQLite, and the start waits for every import.
    from sqlalchemy.dialects.postgresql import insert  # noqa: PLC0415

    return insert


class AuditWriter:
    """Made before the workers are forked: it has neither thread nor connection until it is used."""

    def __init__(
        self, engine: Engine, *, days: int = 0, bound: int = QUEUE, clock: Callable[[], float] = time.time
    ) -> None:
        self.engine = engine
        self._days, self._bound, self._clock = days, bound, clock
        self._queue: deque[CallRows | PageRow | ShadowRows] = deque()
        self._lock, self._stopping = Lock(), Event()
        self._thread: Thread | None = None
        self._dropped = self._written = 0
        self._last_error: float | None = None
        self._failing = False
        self._judge = Judge()
        self._next_purge = 0.0
        self._insert = sqlite.insert if engine.dialect.name == "sqlite" else _insert_of_postgresql()
        self._once_more = self._insert(FEEDBACK).on_conflict_do_update(
            index_elements=[FEEDBACK.c.id], set_={"times": FEEDBACK.c.times + 1}
        )

        added = self._insert(DAYS)
        self._more_of_day = added.on_conflict_do_update(
            index_elements=list(DAYS.primary_key), set_={"calls": DAYS.c.calls + added.excluded.calls}
        )

    def keep(self, entry: CallRows | PageRow | ShadowRows) -> None:
        """Queue a call, a step of a page or a comparison to be written; waits for nothing and never fails."""
        with self._lock:
            if len(self._queue) >= self._bound:
                self._dropped += 1
                return
            if isinstance(entry, CallRows) and entry.resources and len(self._queue) >= _JUDGED:
                entry = msgspec.structs.replace(entry, resources=())
            self._queue.append(entry)
            if self._thread is None:
                self._thread = Thread(target=self._write_on, name="audit", daemon=True)
                self._thread.start()

    def keep_feedback(self, rows: Sequence[Row]) -> None:
        """Write what was reported, all of it or nothing; the same again changes nothing but a count.

        Raises ServiceUnavailable where the database has not confirmed it: the client then reports it again.
        """
        try:
            with self.engine.begin() as connection:
                connection.execute(self._once_more, list(rows))
        except SQLAlchemyError as problem:
            _LOG.error("audit: feedback not kept, %s", _kind(problem))
            raise ServiceUnavailable(
                "The feedback cannot be kept at the moment, and nothing of it was. Send it again later.",
                retry_after=_RETRY_AFTER,
            ) from None

    def write(self, batch: Sequence[CallRows | PageRow | ShadowRows]) -> None:
        """Write calls and steps at once, all of them or none; those that are there already stay as they are."""
        calls = [entry for entry in batch if isinstance(entry, CallRows)]
        compared = [entry for entry in batch if isinstance(entry, ShadowRows)]
        rows = {
            CALLS: [entry.call for entry in calls],
            CARDS: [card for entry in calls for card in entry.cards],
            PAGES: [entry.page for entry in batch if isinstance(entry, PageRow)],
            SHADOW_CALLS: [entry.call for entry in compared if entry.call],
            SHADOW_COUNTS: _summed_up(entry.count for entry in compared),
        }
        days = counted((entry.call, entry.signs) for entry in calls)
        # What was committed before the connection was cut, unconfirmed, is there already; of a day it counts twice.
        with self.engine.begin() as connection:
            for table, of_table in rows.items():
                if of_table:
                    self._add(connection, table, of_table)
            if days:
                connection.execute(self._more_of_day, days)

    def _add(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        if connection.dialect.name != "sqlite":
            connection.execute(self._insert(table).on_conflict_do_nothing(), rows)
            return
        # Many rows a statement: row by row, the driver lets go of the interpreter for each, and has to win it back from
        # all threads that answer calls. Powers of two, because the driver keeps every statement that it has prepared.
        # By the names that the rows have: those of the table are texts of another kind, and found in a row more slowly.
        names, first = tuple(rows[0]), 0
        values_of = itemgetter(*names)
        while first < len(rows):
            count = min(1 << ((len(rows) - first).bit_length() - 1), _ROWS_AT_ONCE)
            values = ", ".join([f"({', '.join('?' * len(names))})"] * count)
            connection.exec_driver_sql(
                f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {values} ON CONFLICT DO NOTHING",  # noqa: S608
                tuple(chain.from_iterable(map(values_of, rows[first : first + count]))),
            )
            first += count

    def health(self) -> Health:
        """Of this process only; each worker has a queue of its own."""
        with self._lock:
            return Health(len(self._queue), self._dropped, self._written, self._last_error)

    def close(self, within: float = _LAST_CHANCE) -> None:
        """Write what still waits, for so many seconds at most, and end the thread."""
        if self._thread is None:
            return
        self._stopping.set()
        self._thread.join(within)
        with self._lock:
            if self._queue:
                self._dropped += len(self._queue)
                _LOG.error("audit: %d calls not kept at the end", len(self._queue))
                self._queue.clear()
            self._thread = None
        self._stopping.clear()
        self.engine.dispose()

    def _write_on(self) -> None:
        pause = _GATHER
        while not self._stopping.wait(pause):
            pause = _GATHER if self._flush() and self._purge() else _PAUSE
        self._flush()

    def _flush(self) -> bool:
        """Write all that waits; whether the database took it."""
        while True:
            with self._lock:
                batch = list(islice(self._queue, _BATCH))
            if not batch:
                return True
            self._remark_on(batch)
            try:
                self.write(batch)
            except SQLAlchemyError as problem:
                self._failed(problem)
                return False
            with self._lock:
                for _ in batch:
                    self._queue.popleft()
                self._written += len(batch)
            if self._failing:
                self._failing = False
                _LOG.warning("audit: kept again, %d calls were dropped so far", self._dropped)

    def _remark_on(self, batch: Iterable[CallRows | PageRow | ShadowRows]) -> None:
        """Put down how much of what was read for each call is no valid FHIR: after the answer, which waits for none."""
        for entry in batch:
            if isinstance(entry, CallRows) and entry.resources and entry.call["not_valid"] is None:
                entry.call["not_valid"] = canonical(self._judge.not_valid(entry.resources))

    def _purge(self) -> bool:
        now = time.monotonic()
        if not self._days or now < self._next_purge:
            return True
        try:
            purge(self.engine, int(self._clock() * 1000) - self._days * DAY)
        except SQLAlchemyError as problem:
            self._failed(problem)
            return False
        self._next_purge = now + _PURGE_EVERY
        return True

    def _failed(self, problem: SQLAlchemyError) -> None:
        self._last_error = self._clock()
        if not self._failing:
            self._failing = True
            _LOG.error("audit: %s", _kind(problem))


def _summed_up(counts: Iterable[Row]) -> list[Row]:
    """One row for all that are of the same: the first, with its id and time, so that the batch may be written again."""
    found: dict[tuple[str, ...], Row] = {}
    for row in counts:
        key = tuple(row[name] for name in ("client", "service", "live", "shadow"))
        if first := found.get(key):
            for name in ("compared", "complaint", "changed", "failed", "skipped"):
                first[name] += row[name]
        else:
            found[key] = dict(row)
    return [*found.values()]


# The tables whose rows grow old, each with its key.
_DATED = (
    (CALLS, CALLS.c.id),
    (CARDS, CARDS.c.call),
    (FEEDBACK, FEEDBACK.c.id),
    (PAGES, PAGES.c.id),
    (SHADOW_CALLS, SHADOW_CALLS.c.id),
    (SHADOW_COUNTS, SHADOW_COUNTS.c.id),
    (DAYS, DAYS.c.at),
)


def purge(engine: Engine, before: int) -> Purged:
    """Remove what is older than a time in milliseconds, in parts that hold nobody up for long."""
    removed = []
    for table, key in _DATED:
        count = 0
        old = select(key).where(table.c.at < before).limit(_PURGE_ROWS)
        while True:
            with engine.begin() as connection:
                part = connection.execute(delete(table).where(key.in_(old))).rowcount
            count += part
            if not part:
                break
        removed.append(count)
    return Purged(*removed)


def open_audit(settings: Settings) -> AuditWriter | None:
    """The audit trail that the settings name, None where they say off; raises SettingsError where it cannot be used."""
    if settings.audit == "off" and not settings.audit_url:
        return None
    return AuditWriter(open_database(settings), days=settings.audit_days)


def _kind(problem: SQLAlchemyError) -> str:
    """What the database said may hold values and addresses: its kind says enough."""
    return type(problem.orig if isinstance(problem, DBAPIError) else problem).__name__
