"""The database of the audit trail: how it is reached, and which form it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, inspect, make_url, text
from sqlalchemy.engine import URL

from service import database
from service.audit.schema import HEAD, VERSION_TABLE
from service.database import Patience, folder_of, private_file, refusing
from service.settings import Settings, SettingsError

# In seconds: how long a statement may take, a lock is waited for, and a connection to come free.
_STATEMENT, _LOCK, _FREE = 5.0, 2.0, 1.0
_CONNECTIONS = 4
_MIGRATIONS = Path(__file__).parent / "migrations"
# Any number that nothing else in the same database takes for its lock.
_UPGRADES = 7_415_551
_FILE = "record.sqlite"
# What the query of a URL may say of the place of a database.
_WHERE = frozenset({"host", "port", "dbname", "user"})


def address_of(settings: Settings) -> URL | None:
    """Where the audit trail of these settings lies, whether or not it is there; None where they say off.

    Opens and makes nothing. Raises SettingsError where the setting is no address.
    """
    if settings.audit_url:
        with refusing("SITBONE_AUDIT_URL", settings.audit_url):
            return make_url(settings.audit_url)
    if settings.audit == "off":
        return None
    folder = folder_of(settings.audit or settings.store, settings.port)
    return URL.create("sqlite", database=str(folder.absolute() / _FILE))


def is_there(url: URL) -> bool:
    """Whether there is a database at this address, as far as that can be said without opening it."""
    if url.get_backend_name() != "sqlite" or "uri" in url.query:
        return True
    return url.database is not None and Path(url.database).exists()


def named(url: URL) -> str:
    """The path of a file, or the URL of a server without anything that could be secret."""
    if url.get_backend_name() == "sqlite":
        return str(Path(url.database).absolute()) if url.database else str(url)
    where = {name: value for name, value in url.query.items() if name in _WHERE}
    return str(URL.create(url.drivername, url.username, None, url.host, url.port, url.database, where))


def open_database(settings: Settings, *, upgrading: bool = False, patience: float = _STATEMENT) -> Engine:
    """The engine of the audit trail that the settings name, in its newest form; it holds no connection yet.

    SQLite is brought into that form, PostgreSQL only where `upgrading` says so. `patience` is how many seconds a
    statement may take. Raises SettingsError where the database cannot be used.
    """
    variable = "SITBONE_AUDIT_URL" if settings.audit_url else "SITBONE_AUDIT"
    with refusing(variable, settings.audit_url):
        if settings.audit_url:
            url = make_url(settings.audit_url)
        else:
            folder = settings.audit if isinstance(settings.audit, Path) else settings.store
            url = private_file(folder, settings.port, _FILE, variable)
        engine = make_engine(url, patience)
        try:
            _settle_form(engine, variable, upgrading=upgrading)
        finally:
            engine.dispose()
    return engine


def make_engine(url: URL, patience: float = _STATEMENT) -> Engine:
    """An engine whose transactions are whole or not at all, and on the disk once they are committed."""
    engine = database.make_engine(
        url,
        "SITBONE_AUDIT_URL",
        Patience(free=_FREE, lock=_LOCK, statement=patience),
        connections=_CONNECTIONS,
        synchronous="FULL",
    )
    if url.get_backend_name() == "sqlite":

        @event.listens_for(engine, "connect")
        def leave_transactions_to_us(connection: Any, _record: object) -> None:
            # The driver would begin one only at the first write, and none before a table is made.
            connection.isolation_level = None
            # In pages of four kilobytes, and in kilobytes: what is written to one page again and again goes to the file
            # once, also where the audit trail has grown.
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            connection.execute("PRAGMA cache_size = -8000")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # Two transactions that both read first and then write cannot both go on: a writer waits at its beginning.
            reading = connection.get_execution_options().get("reading")
            connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def reading(engine: Engine) -> Connection:
    """A connection that only reads, and sees all of it as it was at one moment."""
    if engine.dialect.name == "sqlite":
        return engine.connect().execution_options(reading=True)
    return engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def form_of(connection: Connection) -> str | None:
    """The form that the audit trail in this database has; None where there is none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    form: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - a name of ours
    return form


def _settle_form(engine: Engine, variable: str, *, upgrading: bool) -> None:
    with reading(engine) as connection:
        found = form_of(connection)
    if found == HEAD:
        return
    if engine.dialect.name != "sqlite" and not upgrading:
        raise SettingsError(
            f"{variable} names a database that has {'another form of the' if found else 'no'} audit trail"
            f"{'' if found else ' yet'}: run `sitbone db upgrade` first."
        )
    # alembic is only loaded where there is something to do.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Another host may be doing the same; on SQLite the transaction itself keeps it out.
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_UPGRADES})"))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError:
            raise SettingsError(
                f"{variable} names a database whose audit trail was made by a newer version of the service."
            ) from None
