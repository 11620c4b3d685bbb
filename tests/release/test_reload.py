"""SIGHUP takes new knowledge and clients, or refuses them, and no call is lost: check 22."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.knowledge_model.model import PACKAGED
from service.release import reload as reload_module
from service.release.reload import renewed
from service.server.serve import is_handed_over
from service.settings import Settings, SettingsError
from tests import preloaded
from tests.recording import FIXTURES, PATH
from tests.serving import SERVE, children_of, patiently, running, service_at, workers_at

# The shortest answer: how often a call comes counts, not what it says.
BODY = (FIXTURES / "empty-chart.json").read_bytes()
CALLS = 1_000


@pytest.fixture
def knowledge(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PACKAGED, tmp_path / "knowledge"))


@pytest.fixture
def service(repository: Path, knowledge: Path, tmp_path: Path) -> Iterator[tuple[str, int, Callable[[], str]]]:
    """A running service of that knowledge: its address, the process that was started, and what it logs at the end."""
    (tmp_path / "store").mkdir(mode=0o700)
    environ = {"SITBONE_KNOWLEDGE_DIR": str(knowledge), "SITBONE_STORE": str(tmp_path / "store")}
    with running(repository, **environ, SITBONE_AUDIT="off") as (base, stop):
        workers_at(base)
        yield base, service_at(base), stop


def version(base: str) -> str:
    """The version of the knowledge by which a call was answered; raises OSError where one was lost."""
    request = urllib.request.Request(base + PATH, BODY, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(json.load(answer)["extension"]["org.sitbone.assessment"]["knowledge"]["version"])


def during(base: str, do: Callable[[], None]) -> list[str]:
    """The versions that answered, of CALLS calls while something is done."""
    with ThreadPoolExecutor(4) as callers:
        calls = [callers.submit(version, base) for _ in range(CALLS)]
        do()
        return [each.result() for each in calls]


def changed(knowledge: Path) -> None:
    file = knowledge / "guideline.toml"
    file.write_text(file.read_text("utf-8").replace('version = "', 'version = "9', 1), "utf-8")


def test_good_knowledge_is_taken_by_every_worker_and_no_call_is_lost(
    service: tuple[str, int, Callable[[], str]], knowledge: Path
) -> None:
    base, master, stop = service
    before, workers = version(base), set(children_of(master))

    def hang_up() -> None:
        changed(knowledge)
        os.kill(master, signal.SIGHUP)
        assert patiently(lambda: len(now := set(children_of(master))) == 2 and not now & workers)

    seen = during(base, hang_up)
    assert len(seen) == CALLS
    assert set(seen) | {version(base)} == {before, f"9{before.partition('+')[0]}+{version(base).partition('+')[2]}"}
    assert before not in {version(base) for _ in range(40)}
    assert "reload: taken" in stop()


def test_bad_knowledge_is_refused_with_the_reason_and_no_call_is_lost(
    service: tuple[str, int, Callable[[], str]], knowledge: Path
) -> None:
    base, master, stop = service
    before = version(base)
    refused = "sitbone_reloads_refused_total"

    def count() -> float:
        with urllib.request.urlopen(f"{base}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line for line in lines if line.startswith(refused)).split()[-1])

    def hang_up() -> None:
        (knowledge / "engine.toml").write_text("nothing = 1\n", "utf-8")
        os.kill(master, signal.SIGHUP)
        assert patiently(lambda: count() == 1)

    assert set(during(base, hang_up)) == {before}
    assert {version(base) for _ in range(20)} == {before}
    said = stop()
    assert "reload: refused, what was there stays: engine.toml" in said


def test_the_application_that_was_replaced_is_not_kept(knowledge: Path) -> None:
    apps = [create_app(Settings(knowledge_dir=knowledge)) for _ in range(2)]
    old = weakref.ref(apps.pop(0))
    gc.collect()
    assert old() is None


def test_what_has_changed_since_it_was_tried_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Any:
        raise SettingsError("SITBONE_CLIENTS: the reason.")

    assert renewed(make, (), lambda: "") is None
    assert renewed(lambda: "new", (), lambda: "knowledge: the reason.") is None
    assert [record.message for record in caplog.records] == [
        "reload: refused, what was there stays: SITBONE_CLIENTS: the reason.",
        "reload: refused, what was there stays: knowledge: the reason.",
    ]


def test_a_trial_that_ends_by_a_fault_is_a_refusal_and_repeats_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload_module, "CHECK", (sys.executable, "-c", "raise KeyError('a secret')"))
    assert reload_module.why_not() == "a fault, with exit code 1."


def test_the_check_says_what_would_change_and_what_would_be_refused(repository: Path, knowledge: Path) -> None:
    environ = {**os.environ, "SITBONE_KNOWLEDGE_DIR": str(knowledge)}

    def check(*arguments: str) -> subprocess.CompletedProcess[str]:
        return preloaded.run("reload", "--check", *arguments, cwd=repository, env=environ)

    file = knowledge / "guideline.toml"
    text = file.read_text("utf-8")
    place = text.index("[thresholds.adolescent-last-year]")
    file.write_text(text[:place] + text[place:].replace("value = 20", "value = 18", 1), "utf-8")
    told = check("--against", str(PACKAGED))
    assert told.returncode == 0, told.stderr
    assert "threshold adolescent-last-year changed" in told.stdout
    assert "It would be taken: knowledge " in told.stdout
    (knowledge / "engine.toml").write_text("nothing = 1\n", "utf-8")
    refused = check()
    assert (refused.returncode, refused.stderr.startswith("engine.toml")) == (2, True)


@pytest.mark.parametrize(
    ("environ", "handed_over"),
    [
        ({}, False),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, False),
        ({"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())}, False),
        ({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}, True),
        ({"GUNICORN_FD": "3"}, True),
    ],
)
def test_a_socket_that_is_handed_over_is_not_looked_for(environ: dict[str, str], handed_over: bool) -> None:
    assert is_handed_over(environ) is handed_over


def answers(base: str) -> bool:
    try:
        return bool(version(base))
    except OSError:
        return False


def test_a_new_process_takes_the_socket_over_and_the_old_one_ends(repository: Path, tmp_path: Path) -> None:
    """As code is upgraded without a proxy: SIGUSR2, then SIGTERM to the old one."""
    (tmp_path / "store").mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    base, given = f"http://127.0.0.1:{port}", {"SITBONE_STORE": str(tmp_path / "store"), "SITBONE_AUDIT": "off"}
    environ = {**os.environ, **given, "SITBONE_PORT": str(port), "PYTHONPATH": str(repository)}
    # It starts itself again by the path of its script.
    script = Path(sys.executable).with_name("sitbone")
    old = subprocess.Popen([script, "serve"], cwd=repository, env=environ, stderr=subprocess.DEVNULL)
    new: list[int] = []

    def has_begun() -> bool:
        new[:] = [each for each in children_of(old.pid) if len(children_of(each)) == 2]
        return bool(new)

    try:
        assert patiently(lambda: answers(base))
        old.send_signal(signal.SIGUSR2)
        assert patiently(has_begun)
        old.terminate()
        assert old.wait(timeout=15) == 0
        assert {version(base) for _ in range(20)} == {version(base)}
    finally:
        old.kill()
        old.wait()
        for process in new[:1]:
            os.kill(process, signal.SIGTERM)


def test_a_socket_of_systemd_is_listened_on(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o700)
    starts = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()));"
        "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        environ = {**os.environ, "SITBONE_PORT": str(port), "SITBONE_STORE": str(tmp_path / "store")}
        command = [sys.executable, "-c", starts, str(listener.fileno()), *SERVE[1:]]
        service = subprocess.Popen(
            command,
            cwd=repository,
            env={**environ, "SITBONE_AUDIT": "off"},
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            assert patiently(lambda: answers(f"http://127.0.0.1:{port}"))
        finally:
            service.terminate()
            assert service.wait(timeout=15) == 0
