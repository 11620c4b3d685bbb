"""What every worker and host of the service must agree on: which tokens were used, how often a client has called, and
the key of the ids of cards.

An SQLite file by default; hosts that share their clients share a PostgreSQL database. Of a token only a digest is kept,
and that for as long as the token could be used again on any of them. Whatever the database cannot say is refused, never
let through.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from secrets import token_hex

from sqlalchemy import (
    BigInteger,
    Column,
    Executable,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    select,
    text,
)
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cds_hooks import ServiceUnavailable
from service.database import Patience, make_engine, private_file, refusing
from service.settings import Settings

_LOG = logging.getLogger("sitbone")
_PURGE_SECONDS = 60
_PURGE_TOKENS = 10_000
# How far apart the clocks of hosts that share a database may be: what one takes for old, another may still need.
_CLOCKS_APART_SECONDS = 300
_WAIT_SECONDS = 1.0
_RETRY_AFTER = 5
_MINUTE = 60
_TRIES = 5
# In seconds since 1970, later than any clock.
_LATEST = 2**53
_PAUSE_SECONDS = 0.1

_METADATA = MetaData()
_TOKENS = Table(
    "seen_tokens",
    _METADATA,
    Column("key", String(64), primary_key=True),
    Column("expires", BigInteger, nullable=False, index=True),
    sqlite_with_rowid=False,
)
_CALLS = Table(
    "calls_in_window",
    _METADATA,
    Column("client", String(100), primary_key=True),
    Column("window", BigInteger, primary_key=True, autoincrement=False),
    Column("calls", Integer, nullable=False),
)
# When the store was made, and up to which end of validity tokens may have been removed, in seconds since 1970; the key.
_STATE = Table(
    "store_state",
    _METADATA,
    Column("name", String(20), primary_key=True),
    Column("at", BigInteger),
    Column("value", String(64)),
)
# PostgreSQL and SQLite read all of them in the same way. One statement each: no other host can come in between, and a
# call that is refused leaves neither an error in the log of the database nor a dead row in its table.
# Of a token from before the store was made, or from before what was removed, nobody knows whether it was used.
_FIRST_USE = text(
    "INSERT INTO seen_tokens (key, expires) SELECT :key, CAST(:expires AS BIGINT) WHERE NOT EXISTS "
    "(SELECT 1 FROM store_state WHERE (name = 'made' AND at > :issued) OR (name = 'removed' AND at >= :expires)) "
    "ON CONFLICT DO NOTHING"
)
_REMEMBER = text("INSERT INTO store_state (name, at, value) VALUES (:name, :at, :value) ON CONFLICT DO NOTHING")
_MADE_LATER = text("UPDATE store_state SET at = :now WHERE name = 'made' AND at > :now")
_NEWEST_OLD = "(SELECT MAX(expires) FROM seen_tokens WHERE expires < :before)"
# Not the time of the clock: one that was ahead for a moment would then have every token refused.
_REMOVED = text(f"UPDATE store_state SET at = {_NEWEST_OLD} WHERE name = 'removed' AND at < {_NEWEST_OLD}")  # noqa: S608
_ONE_MORE = text(
    'INSERT INTO calls_in_window (client, "window", calls) VALUES (:client, :window, 1) '
    'ON CONFLICT (client, "window") '
    "DO UPDATE SET calls = calls_in_window.calls + 1 WHERE calls_in_window.calls < :limit"
)
# A part at a time, which ends within the time that a statement has, and never one that another host is removing.
_OLD_TOKENS = delete(_TOKENS).where(
    _TOKENS.c.key.in_(
        select(_TOKENS.c.key)
        .where(_TOKENS.c.expires < bindparam("before"))
        .limit(_PURGE_TOKENS)
        .with_for_update(skip_locked=True)
    )
)
_OLD_CALLS = delete(_CALLS).where(_CALLS.c.window < bindparam("before"))


class Store:
    """Keeps the three tables; made before the workers are forked, it holds no connection until it is used.

    `card_key` is the key of the ids of cards, made with the store.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock
        self._next_purge = clock() + _PURGE_SECONDS
        _make_tables(engine)
        self.card_key = _remember(engine, int(clock()))
        engine.dispose()

    def first_use(self, issuer: str, jti: str, expires: float, issued: float = math.inf) -> bool:
        """Whether a token is certainly seen for the first time; see cds_hooks.trust.ReplayGuard."""
        key = blake2b(f"{len(issuer)}:{issuer}{jti}".encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
        # Whole seconds, rounded up: a token must not be forgotten before it has expired.
        values: dict[str, str | int] = {"key": key, "expires": int(expires) + 1, "issued": int(min(issued, _LATEST))}
        first = self._changed(_FIRST_USE, values) > 0
        if self._clock() >= self._next_purge:
            # The call has its answer; that old rows stay for now is no reason to refuse it.
            with suppress(ServiceUnavailable):
                self._purge()
        return first

    def within(self, client: str, window: int, limit: int) -> bool:
        """Whether one more call of a client is within its limit; see cds_hooks.trust.CallCounter."""
        return limit > 0 and self._changed(_ONE_MORE, {"client": client, "window": window, "limit": limit}) > 0

    def is_ready(self) -> bool:
        """Whether the store can be written to."""
        try:
            self._purge()
        except ServiceUnavailable:
            return False
        return True

    def _purge(self) -> None:
        now = int(self._clock())
        self._next_purge = now + _PURGE_SECONDS
        before = now - _CLOCKS_APART_SECONDS
        self._changed(_OLD_CALLS, {"before": before // _MINUTE})
        self._changed(_REMOVED, {"before": before})
        if self._changed(_OLD_TOKENS, {"before": before}) == _PURGE_TOKENS:
            self._next_purge = now

    def _changed(self, statement: Executable, values: dict[str, str | int]) -> int:
        try:
            with self._engine.connect() as connection:
                result = connection.execute(statement, values, execution_options={"preserve_rowcount": True})
                return int(result.rowcount)
        except SQLAlchemyError as problem:
            raise _unavailable(problem) from None


def _make_tables(engine: Engine) -> None:
    """Make the tables that are not there; another host may be making them at the same moment."""
    for tries_left in range(_TRIES - 1, -1, -1):
        try:
            _METADATA.create_all(engine)
        except DBAPIError:
            if not tries_left:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _remember(engine: Engine, now: int) -> str:
    """The key of the ids of cards. Key and times are written where they are not there yet; another host may do so too.

    A store that was made while the clock was ahead would refuse every token until then: it counts as made now.
    """
    initial = {"made": (now, None), "removed": (0, None), "card-key": (None, token_hex(32))}
    with engine.connect() as connection:
        known = {name: at for name, at, _value in connection.execute(select(_STATE))}
        for name in initial.keys() - known.keys():
            at, value = initial[name]
            connection.execute(_REMEMBER, {"name": name, "at": at, "value": value})
        if known.get("made", now) > now + _CLOCKS_APART_SECONDS:
            connection.execute(_MADE_LATER, {"now": now})
        key: str = connection.execute(select(_STATE.c.value).where(_STATE.c.name == "card-key")).scalar_one()
    return key


def open_store(settings: Settings, clock: Callable[[], float] = time.time) -> Store:
    """The store that the settings name, with its tables; raises SettingsError where it cannot be used."""
    variable, address = address_of(settings)
    with refusing(variable, address):
        url = make_url(address) if address else private_file(settings.store, settings.port, "store.sqlite", variable)
        return Store(store_engine(url, settings.threads), clock)


def address_of(settings: Settings) -> tuple[str, str | None]:
    """The setting that says where the store is, and the URL of its database; None where it is a file.

    Hosts that share an audit trail share the store in the same database, unless they are told otherwise.
    """
    address = settings.store_url or (None if settings.store else settings.audit_url)
    variable = "SITBONE_STORE_URL" if settings.store_url else "SITBONE_AUDIT_URL" if address else "SITBONE_STORE"
    return variable, address


def store_engine(url: URL, threads: int) -> Engine:
    """An engine that waits no longer than _WAIT_SECONDS for a connection to be free, a lock or a statement."""
    return make_engine(
        url,
        "SITBONE_STORE_URL",
        Patience(free=_WAIT_SECONDS, lock=_WAIT_SECONDS, statement=_WAIT_SECONDS),
        connections=threads,
        # A write waits for no disk but when the log is folded in; the file is sound even after a power cut.
        synchronous="NORMAL",
        isolation_level="AUTOCOMMIT",
    )


def _unavailable(problem: SQLAlchemyError) -> ServiceUnavailable:
    cause = problem.orig if isinstance(problem, DBAPIError) else problem
    _LOG.error("store: %s", type(cause).__name__)
    return ServiceUnavailable(
        "Authorization: whether this token was used before cannot be told at the moment. Call again later.",
        retry_after=_RETRY_AFTER,
    )
