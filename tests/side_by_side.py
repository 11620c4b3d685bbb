"""Runs whole files of tests side by side, in processes that begin where all tests are collected.

To collect fifteen thousand tests takes ten seconds of a processor and more. It is done once: each process is a copy
(fork) of the one that has done it, runs one file after the other and tells this one what came of each test.
"""

import multiprocessing
import os
from collections.abc import Iterator
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

# Their tests wait for a deadline, or give all processors work to do: never two of them at once.
ONE_AFTER_THE_OTHER = frozenset(
    {
        "test_bench.py",
        "test_capacity.py",
        "test_fhir_access.py",
        "test_fhir_server.py",
        "test_load.py",
        "test_outbound.py",
        "test_proxies.py",
        "test_audit_faults.py",
    }
)
# What takes longest begins first, the longest before all, so that no process waits for another at the end: four seconds
# of a processor and more. A browser is started for test_demo_ehr.py, and what needs one follows it: not at the start,
# as it waits half of the time, and so do the tests that go one after the other.
_LONGEST_FIRST = (
    "test_container.py",
    "test_proofs.py",
    "test_bad_input.py",
    "test_consistency.py",
    "test_silence.py",
    "test_imaging_referral.py",
    "test_page.py",
    "test_reload.py",
    "test_population.py",
    "test_audit.py",
    "test_serve.py",
    "test_trust.py",
    "test_schemathesis.py",
    "test_muting.py",
    "test_sensitivity.py",
    "test_shadow.py",
    "test_next_question.py",
    "test_cases.py",
    "test_demo_ehr.py",
    "test_adaptive_form.py",
    "test_knowledge.py",
    "test_portable.py",
    "test_launch.py",
    "test_digests.py",
    "test_knowledge_commands.py",
    "test_metrics.py",
    "test_would_change.py",
    "test_card_ids.py",
    "test_page_process.py",
    "test_old_imaging.py",
    "test_readers_agree.py",
    "test_sbom.py",
    "test_guides.py",
    "test_author_report.py",
    "test_case_reading.py",
    "test_insights_page.py",
    "test_missing_names.py",
    "test_sameness.py",
    "test_suspension.py",
    "test_suspended.py",
    "test_cli.py",
    "test_saving.py",
    "test_compose.py",
    "test_questions.py",
    "test_openapi.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--processes",
        type=int,
        default=0,
        help="run the files side by side in so many processes; -1: by the processors",
    )


def _processes(config: pytest.Config) -> int:
    """In how many processes; 0 for this one alone. One more than there are processors, if these decide: the process
    whose tests go one after the other waits most of the time."""
    number: int = config.getoption("processes")
    return number if number >= 0 else min(len(os.sched_getaffinity(0)) + 1, 4)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _processes(config):
        turns = {name: turn for turn, name in enumerate(_LONGEST_FIRST)} | dict.fromkeys(ONE_AFTER_THE_OTHER, -1)
        items.sort(key=lambda item: turns.get(item.path.name, len(turns)))


def _group(file: Path) -> str:
    """What goes to one process: a file, as its tests share servers; those with a browser, and those that go one after
    the other."""
    if file.name in ONE_AFTER_THE_OTHER:
        return "one after the other"
    return "browser" if file.parent.name == "browser" else str(file)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    number = _processes(session.config)
    if not number or session.testsfailed or session.config.option.collectonly:
        return None
    groups: dict[str, list[pytest.Item]] = {}
    for item in session.items:
        groups.setdefault(_group(item.path), []).append(item)
    # The folder that all of them make theirs in.
    session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if reporter:
        # Its letters are of many files at once.
        reporter.showfspath = False
    _Team(session, list(groups.values())).run(number)
    return True


class _Team:
    """The processes that run these groups of tests."""

    def __init__(self, session: pytest.Session, groups: list[list[pytest.Item]]) -> None:
        self._session, self._groups = session, groups
        self._left = iter(range(len(groups)))
        self._context: ForkContext = multiprocessing.get_context("fork")
        self._stop: Event = self._context.Event()

    def run(self, number: int) -> None:
        """Run all tests. Raises pytest's Failed where no more failures are wanted."""
        team: dict[Connection, Any] = {}
        at: dict[Connection, str] = {}
        for _ in range(min(number, len(self._groups))):
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=self._work, args=(theirs, [*team, ours]))
            process.start()
            theirs.close()
            team[ours], at[ours] = process, "(before its first test)"
        try:
            while team:
                # Whoever has ended is at the end of what it told.
                for connection in wait(list(team)):
                    assert isinstance(connection, Connection)
                    try:
                        told, what = connection.recv()
                    except EOFError:
                        process = team.pop(connection)
                        process.join()
                        if at[connection]:
                            self._report_lost(at[connection], process.exitcode)
                        continue
                    if told == "at":
                        at[connection] = what
                    elif told == "next":
                        connection.send(next(self._left, None))
                    else:
                        self._report(what)
        finally:
            self._stop.set()
            for connection, process in team.items():
                connection.close()
                process.join()
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)

    def _report(self, what: dict[str, Any]) -> None:
        """Pass on what came of a test, as if it had run here."""
        config = self._session.config
        report = config.hook.pytest_report_from_serializable(config=config, data=what)
        config.hook.pytest_runtest_logreport(report=report)
        if report.when == "teardown":
            config.hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)
        if self._session.shouldfail:
            self._stop.set()

    def _report_lost(self, nodeid: str, code: int | None) -> None:
        """Let the test fail in which a process ended: what else it was given was not run."""
        why = f"The process ended with {code}, and what of its tests is not told of was not run."
        report = pytest.TestReport(nodeid, (nodeid, None, nodeid), {}, "failed", why, "call")
        self._session.config.hook.pytest_runtest_logreport(report=report)

    def _work(self, tells: Connection, others: list[Connection]) -> None:
        """Run one group of tests after the other, as long as there are any."""
        for other in others:
            # So that this process learns when the first one ends.
            other.close()
        session = self._session
        plugins = session.config.pluginmanager
        plugins.unregister(name="terminalreporter")
        plugins.register(_Telling(session.config, tells))
        capture = plugins.getplugin("capturemanager")
        if capture:
            # Into files of its own.
            capture.stop_global_capturing()
            capture.start_global_capturing()
        try:
            for item, following in pairwise(self._given(tells)):
                assert item is not None
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if self._stop.is_set() or session.shouldfail:
                    break
            tells.send(("at", ""))
        finally:
            # Nothing is left to be torn down but where this stopped early.
            session._setupstate.teardown_exact(None)
            if capture:
                capture.stop_global_capturing()

    def _given(self, tells: Connection) -> Iterator[pytest.Item | None]:
        """The tests of this process, and None after the last: a fixture ends when no test is left that needs it."""
        while True:
            tells.send(("next", None))
            number = tells.recv()
            if number is None:
                break
            yield from self._groups[number]
        yield None


class _Telling:
    """Tells the first process which test runs, and what came of it."""

    def __init__(self, config: pytest.Config, tells: Connection) -> None:
        self._config, self._tells = config, tells

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._tells.send(("at", nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        what = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._tells.send(("report", what))
