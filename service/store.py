"""What every worker and host of the service must agree on: which tokens were used, and how often a client has called.

An SQLite file by default; hosts that share their clients share a database. Of a token only a digest is kept, and that
for as long as the token could be used again. Whatever the database cannot say is refused, never let through.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    delete,
    event,
    insert,
    update,
)
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from cds_hooks import ServiceUnavailable
from service.settings import Settings, SettingsError

_LOG = logging.getLogger("sitbone")
_PURGE_SECONDS = 60
_WAIT_SECONDS = 1.0
_RETRY_AFTER = 5
_MINUTE = 60
_TRIES = 5
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
# Built once: to build one costs more than to execute it.
_FIRST_USE = insert(_TOKENS)
_FIRST_CALL = insert(_CALLS)
_ONE_MORE = (
    update(_CALLS)
    .where(
        _CALLS.c.client == bindparam("of_client"),
        _CALLS.c.window == bindparam("in_window"),
        _CALLS.c.calls < bindparam("limit"),
    )
    .values(calls=_CALLS.c.calls + 1)
)
_OLD_TOKENS = delete(_TOKENS).where(_TOKENS.c.expires < bindparam("now"))
_OLD_CALLS = delete(_CALLS).where(_CALLS.c.window < bindparam("before"))


class Store:
    """Keeps the two tables; made before the workers are forked, it holds no connection until it is used."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock
        self._next_purge = clock() + _PURGE_SECONDS
        _make_tables(engine)
        engine.dispose()

    def first_use(self, issuer: str, jti: str, expires: float) -> bool:
        """Whether a token is seen for the first time; see cds_hooks.trust.ReplayGuard."""
        key = blake2b(f"{len(issuer)}:{issuer}{jti}".encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
        # Whole seconds, rounded up: a token must not be forgotten before it has expired.
        first = self._inserted(_FIRST_USE, {"key": key, "expires": int(expires) + 1})
        if self._clock() >= self._next_purge:
            self._purge()
        return first

    def within(self, client: str, window: int, limit: int) -> bool:
        """Whether one more call of a client is within its limit; see cds_hooks.trust.CallCounter."""
        row = {"of_client": client, "in_window": window, "limit": limit}
        if self._changed(_ONE_MORE, row):
            return True
        if limit > 0 and self._inserted(_FIRST_CALL, {"client": client, "window": window, "calls": 1}):
            return True
        # The row is there: the client is over its limit, unless another worker has only just inserted it.
        return self._changed(_ONE_MORE, row) > 0

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
        self._changed(_OLD_TOKENS, {"now": now})
        self._changed(_OLD_CALLS, {"before": now // _MINUTE - 1})

    def _changed(self, statement: Any, values: dict[str, Any]) -> int:
        try:
            with self._engine.connect() as connection:
                return int(connection.execute(statement, values).rowcount)
        except SQLAlchemyError as problem:
            raise _unavailable(problem) from None

    def _inserted(self, statement: Any, row: dict[str, Any]) -> bool:
        try:
            with self._engine.connect() as connection:
                connection.execute(statement, row)
        except IntegrityError:
            return False
        except SQLAlchemyError as problem:
            raise _unavailable(problem) from None
        return True


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


def open_store(settings: Settings) -> Store:
    """The store that the settings name, with its tables; raises SettingsError where it cannot be used."""
    variable = "SITBONE_STORE_URL" if settings.store_url else "SITBONE_STORE"
    try:
        url = make_url(settings.store_url) if settings.store_url else _file(settings)
        return Store(_engine(url, settings.threads))
    except ModuleNotFoundError as missing:
        raise SettingsError(
            f"{variable} needs the database driver {missing.name}, which is not installed: "
            "install it beside the service or name another driver."
        ) from None
    except (SQLAlchemyError, OSError) as problem:
        # What the database said may hold the address that it was given, with a password.
        raise SettingsError(
            f"{variable} must name a database that can be written to: {type(problem).__name__}."
        ) from None


def _engine(url: URL, threads: int) -> Engine:
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "pool_size": threads, "max_overflow": 0}
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_timeout=_WAIT_SECONDS, pool_recycle=300, **options)
    engine = create_engine(url, pool_timeout=_WAIT_SECONDS, connect_args={"timeout": _WAIT_SECONDS}, **options)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # A write waits for no disk but when the log is folded in; the file is sound even after a power cut.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine


def _file(settings: Settings) -> URL:
    """The database file in its folder, which belongs to this user alone."""
    folder = settings.store or Path(tempfile.gettempdir()) / f"sitbone-{settings.port}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise SettingsError(
            "SITBONE_STORE must name a folder of the user that runs the service, which nobody else can write to; "
            f"{'it does not' if settings.store else f'without it, {folder} is taken, which is none'}."
        )
    return URL.create("sqlite", database=str(folder / "store.sqlite"))


def _unavailable(problem: SQLAlchemyError) -> ServiceUnavailable:
    cause = problem.orig if isinstance(problem, DBAPIError) else problem
    _LOG.error("store: %s", type(cause).__name__)
    return ServiceUnavailable(
        "Authorization: whether this token was used before cannot be told at the moment. Call again later.",
        retry_after=_RETRY_AFTER,
    )
