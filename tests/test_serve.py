"""The server process: how it starts, what it says, how it ends."""

import contextlib
import gc
import logging
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gunicorn.config import Config
from gunicorn.sock import TCPSocket

from service.server.serve import gunicorn_settings, set_aside_what_is_loaded
from service.server.worker import Worker
from service.settings import Settings

SERVE = [sys.executable, "-c", "from service.cli import main; main()", "serve"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(repository: Path, *options: str, **variables: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A service that answers, at its base address."""
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SITBONE_")}
    environ |= {"SITBONE_PORT": str(port)} | variables
    with subprocess.Popen(
        [*SERVE, *options], cwd=repository, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as service:
        base = f"http://127.0.0.1:{port}"
        try:
            give_up = time.monotonic() + 20
            while True:
                try:
                    urllib.request.urlopen(f"{base}/healthz", timeout=1).close()
                except (urllib.error.URLError, ConnectionError):
                    if time.monotonic() > give_up or service.poll() is not None:
                        raise
                    time.sleep(0.05)
                else:
                    break
            yield base, service
        finally:
            if service.poll() is None:
                service.terminate()
            service.communicate(timeout=15)


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_how_to_try_it_and_ends_with_code_0(
    repository: Path, told: signal.Signals
) -> None:
    with serving(repository, "--try", "a file.json") as (base, service):
        service.send_signal(told)
        said, complaints = service.communicate(timeout=15)

    assert said == (
        f"Sitbone listens at {base}\n"
        "Try: curl -s -H 'Content-Type: application/json' --data '@a file.json'"
        f" {base}/cds-services/gluteal-hamstring-pain\n"
    )
    assert complaints == ""
    assert service.returncode == 0


def test_the_first_calls_may_come_at_once(repository: Path) -> None:
    body = (repository / "fixtures" / "requests" / "sudden-pop-with-bruising.json").read_bytes()
    with (
        serving(repository, SITBONE_WORKERS="4", SITBONE_LOG_LEVEL="warning") as (base, service),
        ThreadPoolExecutor(32) as clients,
    ):

        def call(_number: int) -> int:
            url = f"{base}/cds-services/gluteal-hamstring-pain"
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=20) as answer:
                status: int = answer.status
                return status

        answered = list(clients.map(call, range(64)))
        service.terminate()
        _, complaints = service.communicate(timeout=15)

    assert answered == [200] * 64
    assert complaints == ""


def test_a_wrong_setting_ends_the_start_with_one_sentence(repository: Path) -> None:
    ended = subprocess.run(
        SERVE,
        cwd=repository,
        env=os.environ | {"SITBONE_WORKERS": "none"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert ended.returncode == 1
    assert re.fullmatch(r"SITBONE_WORKERS is text and must be a whole number of processes [^\n]*\.\n", ended.stderr)


@pytest.mark.parametrize(
    ("settings", "member", "told"),
    [
        (Settings(), "bind", "127.0.0.1:8080"),
        (Settings(host="::1", port=9000), "bind", "[::1]:9000"),
        (Settings(worker_class="gthread", max_in_flight=4), "threads", 8),
        (Settings(worker_class="gthread"), "worker_class", Worker),
        (Settings(worker_class="sync", threads=4), "threads", 1),
        (Settings(), "accesslog", None),
        (Settings(), "control_socket_disable", True),
        (Settings(log_level="info"), "loglevel", "warning"),
        (Settings(log_level="debug"), "loglevel", "debug"),
    ],
)
def test_gunicorn_is_told_what_the_settings_say(settings: Settings, member: str, told: object) -> None:
    assert gunicorn_settings(settings)[member] == told


def test_what_is_loaded_is_out_of_the_garbage_collectors_sight() -> None:
    before = gc.get_threshold()
    try:
        set_aside_what_is_loaded()

        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == (100_000, 50, 100)
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


@pytest.mark.parametrize("asked", [[False, False], [True, False], [True, False, False]], ids=str)
def test_a_worker_that_is_told_to_stop_while_it_begins_takes_who_waits_and_leaves(asked: list[bool]) -> None:
    config = Config()
    with socket.create_server(("127.0.0.1", 0)) as made, socket.create_connection(made.getsockname()):
        listener = TCPSocket(("127.0.0.1", 0), config, logging.getLogger("test"), fd=os.dup(made.fileno()))
        worker = Worker(1, os.getpid(), [listener], None, 5, config, logging.getLogger("test"))
        worker.poller, worker.alive = selectors.DefaultSelector(), False
        with worker.poller, contextlib.closing(worker.tmp):
            for enabled in asked:
                worker.set_accept_enabled(enabled)
            (waiting,) = worker.pending_conns
            waiting.close()
