"""Workers and databases that are killed under load: what was acknowledged is kept, once, and calls are answered.

What a run came to is in its log; docs/audit.md has the figures of one.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import signal
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from service.audit.database import open_database
from service.settings import Settings
from tests.recording import FIXTURES, PATH
from tests.serving import children_of, running, service_at

if TYPE_CHECKING:
    from tests.postgresql import Postgresql

pytest_plugins = ["tests.postgresql"]

_LOG = logging.getLogger(__name__)
SECONDS = 6.0
REPORTERS, CALLERS = 4, 2
JSON = {"Content-Type": "application/json"}
CALL = json.loads((FIXTURES / "sudden-pop-with-bruising.json").read_text("utf-8"))


def post(url: str, body: object) -> int:
    """The status of the answer; 0 where there was none."""
    request = urllib.request.Request(url, json.dumps(body).encode(), JSON)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
    except (OSError, http.client.HTTPException):
        return 0


class Load:
    """EHRs that call and report for some seconds; a report that was not acknowledged is sent again, as it was."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.over = threading.Event()
        self.acknowledged: list[str] = []
        self.reports: Counter[int] = Counter()
        self.calls: Counter[int] = Counter()

    def report(self) -> None:
        while not self.over.is_set():
            card = str(uuid4())
            item = {"card": card, "outcome": "overridden", "outcomeTimestamp": "2026-11-22T10:05:31Z"}
            while True:
                status = post(f"{self.base}{PATH}/feedback", {"feedback": [item]})
                self.reports[status] += 1
                if status == 200:
                    self.acknowledged.append(card)
                    break
                if self.over.is_set():
                    return
                time.sleep(0.05)

    def call(self) -> None:
        while not self.over.is_set():
            self.calls[post(f"{self.base}{PATH}", {**CALL, "hookInstance": str(uuid4())})] += 1

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(REPORTERS + CALLERS) as pool:
            tasks = [pool.submit(self.report) for _ in range(REPORTERS)]
            tasks += [pool.submit(self.call) for _ in range(CALLERS)]
            try:
                yield
            finally:
                self.over.set()
            for task in tasks:
                task.result()


def assert_kept(load: Load, kept: list[str]) -> None:
    assert len(load.acknowledged) > 20
    assert Counter(kept).most_common(1)[0][1] == 1
    assert set(load.acknowledged) - set(kept) == set()


def test_no_acknowledged_feedback_is_lost_or_doubled_when_workers_are_killed(repository: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    killed = 0
    with running(repository, SITBONE_AUDIT=str(tmp_path)) as (base, stop):
        load = Load(base)
        with load.running():
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                time.sleep(0.7)
                for worker in children_of(service_at(base))[:1]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker, signal.SIGKILL)
                        killed += 1
        stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "record.sqlite")) as connection:
        kept = [row[0] for row in connection.execute("SELECT card FROM audit_feedback")]
        calls = connection.execute("SELECT count(*) FROM audit_calls WHERE status = 200").fetchone()[0]
    _LOG.info("%d workers killed; %d reports acknowledged, sent %s", killed, len(load.acknowledged), dict(load.reports))
    _LOG.info("calls %s, of which kept %d", dict(load.calls), calls)
    assert killed >= 4
    assert_kept(load, kept)
    assert set(load.calls) <= {0, 200}
    assert calls > 0


def test_no_acknowledged_feedback_is_lost_or_doubled_when_the_database_is_killed_and_every_call_is_answered(
    repository: Path, postgresql: Postgresql
) -> None:
    open_database(Settings(audit_url=postgresql.url), upgrading=True)
    killed = 0
    with running(repository, SITBONE_AUDIT_URL=postgresql.url) as (base, stop):
        load = Load(base)
        with load.running():
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                time.sleep(0.8)
                postgresql.kill()
                killed += 1
                time.sleep(0.4)
                postgresql.start()
            time.sleep(1)
        said = stop()
    kept = [row[0] for row in postgresql.execute("SELECT card FROM audit_feedback")]
    [(calls,)] = postgresql.execute("SELECT count(*) FROM audit_calls WHERE status = 200")
    _LOG.info(
        "server killed %d times; %d reports acknowledged, sent %s", killed, len(load.acknowledged), dict(load.reports)
    )
    _LOG.info("calls %s, of which kept %d", dict(load.calls), calls)
    assert killed >= 3
    assert_kept(load, kept)
    assert load.reports[503] > 0
    assert set(load.calls) == {200}
    # Nothing was dropped: the queue held what came while the server was away, and each worker wrote it at the end.
    assert calls == load.calls[200]
    assert postgresql.url.rpartition("=")[2] not in said


@pytest.mark.parametrize("url", ["sqlite", "postgresql"])
def test_what_waits_is_written_when_the_service_is_told_to_stop(
    url: str, repository: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tmp_path.chmod(0o700)
    where = {"SITBONE_AUDIT": str(tmp_path)}
    settings = Settings(audit=tmp_path)
    if url == "postgresql":
        where = {"SITBONE_AUDIT_URL": request.getfixturevalue("postgresql").url}
        settings = Settings(audit_url=where["SITBONE_AUDIT_URL"])
        open_database(settings, upgrading=True)
    with running(repository, **where) as (base, stop):
        for _ in range(10):
            assert post(f"{base}{PATH}", {**CALL, "hookInstance": str(uuid4())}) == 200
        stop()
    engine = open_database(settings)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM audit_calls").scalar() == 10
    engine.dispose()
