"""What the two databases of the service, the store and the audit trail, are opened with."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from service.settings import SettingsError, shown

# For a PostgreSQL host that is silent, in seconds and milliseconds; what a URL says goes before it.
_SILENT_HOST = {"connect_timeout": "2", "tcp_user_timeout": "2000"}
_WAL = "PRAGMA journal_mode = WAL"
# In seconds.
_MOMENT = 0.005


def folder_of(folder: Path | None, port: int) -> Path:
    """This folder; without one, a folder for this port among the temporary files, whether or not it is there."""
    return folder or Path(tempfile.gettempdir()) / f"sitbone-{port}"


def private_folder(folder: Path | None, port: int, variable: str) -> Path:
    """The folder that folder_of names, which must belong to this user alone and is made where there is none. Raises
    SettingsError, which names the variable, and OSError."""
    chosen = folder_of(folder, port)
    chosen.mkdir(mode=0o700, exist_ok=True)
    found = chosen.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        is_now = shown(folder) if folder else f"not set, so that {shown(chosen)} is taken,"
        raise SettingsError(
            f"{variable} is {is_now} and must name a folder of the user that runs the service, closed to "
            "everybody else (chmod 700)."
        )
    return chosen


def private_file(folder: Path | None, port: int, name: str, variable: str) -> URL:
    """The SQLite file of this name in the private folder, made where there is none. Raises as private_folder does."""
    # The files that SQLite lays beside it have the same mode.
    file = private_folder(folder, port, variable) / name
    file.touch(mode=0o600)
    file.chmod(0o600)
    return URL.create("sqlite", database=str(file))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection to come free, a lock and a statement are waited for, in seconds."""

    free: float
    lock: float
    statement: float


def make_engine(
    url: URL, variable: str, patience: Patience, *, connections: int, synchronous: str, **options: Any
) -> Engine:
    """An engine for SQLite or PostgreSQL that waits no longer than this and holds no more connections.

    `synchronous` says when SQLite waits for the disk, as its pragma does; `options` are those of create_engine. Raises
    SettingsError, which names the variable, for another database.
    """
    options |= {"pool_size": connections, "max_overflow": 0, "pool_timeout": patience.free}
    match url.get_backend_name():
        case "sqlite":
            prepare = [_WAL, f"PRAGMA synchronous = {synchronous}"]
            options["connect_args"] = {"timeout": patience.lock}
        case "postgresql":
            prepare = [f"SET statement_timeout = {int(patience.statement * 1000)}"]
            # Without the ping, each worker would refuse one call after the database was away.
            options |= {"pool_pre_ping": True, "pool_recycle": 300}
            if url.get_driver_name() == "psycopg":
                url = url.set(query={**_SILENT_HOST, **url.query})
        case _:
            raise SettingsError(f"{variable} must name a database of PostgreSQL or SQLite.")
    engine = create_engine(url, **options)

    @event.listens_for(engine, "connect")
    def prepare_connection(connection: Any, _record: object) -> None:
        with closing(connection.cursor()) as cursor:
            for statement in prepare:
                _run(cursor, statement, patience.lock)
        connection.commit()

    return engine


def _run(cursor: Any, statement: str, patience: float) -> None:
    """Run a statement that prepares a connection. Where several processes switch the same new file to WAL, SQLite may
    refuse one at once, and does not wait as it does everywhere else: that one tries again."""
    end = time.monotonic() + patience
    while True:
        try:
            cursor.execute(statement)
        except sqlite3.OperationalError as problem:
            is_busy = problem.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if statement != _WAL or not is_busy or time.monotonic() > end:
                raise
            time.sleep(_MOMENT)
        else:
            return


@contextmanager
def refusing(variable: str, address: str | None) -> Iterator[None]:
    """Whatever keeps the database at an address from being used, as a SettingsError that names the variable."""
    try:
        yield
    except (ImportError, NoSuchModuleError):
        # Not the name of a module: psycopg is also of no use without its library, and says so without one.
        driver = make_url(address or "sqlite://").get_driver_name()
        raise SettingsError(
            f"{variable} needs the database driver {driver}, which is not there or cannot be loaded: "
            "install psycopg[binary], as the extra postgresql of Sitbone does, and begin the URL with postgresql+psycopg://."
        ) from None
    except (SQLAlchemyError, OSError):
        # What the database said may hold the address that it was given, with a password.
        raise SettingsError(
            f"{variable} must name a database that can be written to; it did not answer, is busy or refused that."
        ) from None
