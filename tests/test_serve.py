"""The server process: how it starts, what it says, how it ends."""

import contextlib
import gc
import http.client
import logging
import os
import re
import resource
import selectors
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gunicorn.config import Config
from gunicorn.sock import TCPSocket

from service.server import worker as worker_module
from service.server.memory import set_aside_what_is_loaded
from service.server.serve import gunicorn_settings, require_free_address
from service.server.worker import Worker, forget
from service.settings import Settings, SettingsError
from tests import preloaded
from tests.preloaded import Process, loaded
from tests.serving import SERVE, children_of, patiently, running, service_at, status, workers_at


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def environ_at(port: int, **variables: str) -> dict[str, str]:
    """The environment of a service at this port, with these settings and no others."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SITBONE_")}
    return ours | {"SITBONE_PORT": str(port)} | variables


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_how_to_try_it_and_ends_with_code_0(
    repository: Path, told: signal.Signals, tmp_path: Path
) -> None:
    example = tmp_path / "a file.json"
    example.touch()
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command, pipe = [*SERVE, "--try", str(example)], subprocess.PIPE
    with subprocess.Popen(
        command, cwd=repository, env=environ_at(port), stdout=pipe, stderr=pipe, text=True
    ) as service:
        answers = patiently(lambda: status(f"{base}/healthz", {}) == 200)
        service.send_signal(told)
        said, complaints = service.communicate(timeout=15)

    assert answers
    assert said == (
        f"Sitbone listens at {base}\n"
        f"Try: curl -s -H 'Content-Type: application/json' --data '@{example}'"
        f" {base}/cds-services/gluteal-hamstring-pain\n"
    )
    assert complaints == ""
    assert service.returncode == 0


# Has a worker take a second from being forked to hearing what it is told.
SLOW_TO_HEAR = """
import os, time
from gunicorn import util
service = os.getpid()
util._setproctitle = lambda _title: os.getpid() == service or time.sleep(1)
"""
# Has it take a second to start each thread beside the calls.
SLOW_TO_BEGIN = """
import time
from service import background
class Thread(background.Thread):
    def start(self):
        time.sleep(1)
        super().start()
background.Thread = Thread
"""


@pytest.mark.parametrize(
    ("kind", "slow"), [("gthread", SLOW_TO_HEAR), ("sync", SLOW_TO_HEAR), ("gthread", SLOW_TO_BEGIN)]
)
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_was_just_forked_hears_that_it_is_to_end(
    repository: Path, told: signal.Signals, kind: str, slow: str
) -> None:
    environ = environ_at(free_port(), SITBONE_WORKERS="1", SITBONE_WORKER_CLASS=kind)
    with Path(os.devnull).open("r+b") as null, tempfile.TemporaryFile() as complaints:
        streams = null.fileno(), null.fileno(), complaints.fileno()
        service = Process(loaded(), "serve", cwd=repository, env=environ, streams=streams, first=slow)
        while service.poll() is None and not children_of(service.pid):
            time.sleep(0.05)
        service.send_signal(told)

        assert service.wait(20) == 0
        complaints.seek(0)
        assert complaints.read() == b""


def test_the_first_calls_may_come_at_once(repository: Path) -> None:
    body = (repository / "fixtures" / "requests" / "sudden-pop-with-bruising.json").read_bytes()
    with (
        running(repository, True, SITBONE_WORKERS="4", SITBONE_LOG_LEVEL="warning") as (base, stop),
        ThreadPoolExecutor(32) as clients,
    ):

        def call(_number: int) -> int:
            url = f"{base}/cds-services/gluteal-hamstring-pain"
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=20) as answer:
                status: int = answer.status
                return status

        answered = list(clients.map(call, range(64)))
        complaints = stop()

    assert answered == [200] * 64
    assert complaints == ""


def start_that_ends(repository: Path, *options: str, **variables: str) -> tuple[int, str, str]:
    """How a start ends that is to end by itself: the code, what it said and what it complained of."""
    ended = preloaded.run("serve", *options, cwd=repository, env=environ_at(free_port(), **variables))
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "SITBONE_WORKERS",
            "none",
            r'SITBONE_WORKERS is "none" and must be a whole number of processes from 1 to 64\.',
        ),
        ("SITBONE_KNOWLEDGE_DIR", "docs", r"guideline\.toml: file: cannot be read"),
        ("SITBONE_HOST", "127.0.0.1.invalid", r'SITBONE_HOST is "127\.0\.0\.1\.invalid", no loopback address, .*'),
    ],
)
def test_what_keeps_it_from_starting_is_said_in_one_sentence_and_ends_with_2(
    repository: Path, variable: str, value: str, sentence: str
) -> None:
    code, said, complaints = start_that_ends(repository, **{variable: value})

    assert (code, said) == (2, "")
    assert re.fullmatch(sentence + r"\n", complaints)


def test_a_port_that_is_taken_ends_the_start_with_one_sentence(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = start_that_ends(repository, SITBONE_PORT=str(port))

    assert ended == (2, "", f"Port {port} is taken: name another in SITBONE_PORT, or as in make run PORT=9000.\n")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(host="192.0.2.1"), "Cannot assign requested address"),
        (Settings(host="2001:db8::1"), "Cannot assign requested address|not supported"),
        (Settings(host="there-is-none.invalid"), "[Nn]ame"),
    ],
)
def test_an_address_that_is_not_of_this_machine_is_said_to_be_none(settings: Settings, said: str) -> None:
    with pytest.raises(SettingsError, match=f"SITBONE_HOST and SITBONE_PORT must name an address .*({said})"):
        require_free_address(settings)


def test_a_worker_that_dies_leaves_no_core_file_with_what_it_knew_of_patients(repository: Path) -> None:
    before, files = resource.getrlimit(resource.RLIMIT_CORE), set(repository.glob("core*"))
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        with running(repository, True) as (base, _stop):
            processes = [service_at(base), *workers_at(base)]
            for process in processes:
                limits = Path(f"/proc/{process}/limits").read_text()
                assert re.search(r"Max core file size +0 ", limits), limits
            os.kill(processes[1], signal.SIGABRT)
            give_up = time.monotonic() + 20
            while Path(f"/proc/{processes[1]}").exists() and time.monotonic() < give_up:
                time.sleep(0.05)
            assert set(repository.glob("core*")) == files
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def test_a_port_that_a_service_has_just_left_is_free(repository: Path) -> None:
    with running(repository) as (base, stop):
        stop()
        require_free_address(Settings(port=int(base.rpartition(":")[2])))


def test_an_example_that_is_not_there_ends_the_start(repository: Path) -> None:
    code, said, complaints = start_that_ends(repository, "--try", "nowhere.json")

    assert (code, said) == (2, "")
    assert "File 'nowhere.json' does not exist." in complaints


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
        # As it is while everything is loaded.
        gc.disable()
        set_aside_what_is_loaded()

        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == (100_000, 50, 100)
    finally:
        gc.enable()
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


@pytest.mark.parametrize(("of_the_other", "left"), [(1, True), (2, False), (3, False)])
def test_a_connection_is_left_for_a_moment_to_a_worker_that_has_fewer(
    monkeypatch: pytest.MonkeyPatch, of_the_other: int, left: bool
) -> None:
    config = Config()
    with socket.create_server(("127.0.0.1", 0)) as made, socket.create_connection(made.getsockname()):
        made.setblocking(False)
        worker, other = (Worker(age, os.getpid(), [], None, 5, config, logging.getLogger("test")) for age in (1, 2))
        with contextlib.closing(worker.tmp), contextlib.closing(other.tmp), contextlib.ExitStack() as taken:
            worker.poller = taken.enter_context(selectors.DefaultSelector())
            worker.nr_conns, other.nr_conns = 2, of_the_other
            # The other one is quick.
            monkeypatch.setattr("service.server.worker.time.sleep", lambda _: taken.enter_context(made.accept()[0]))
            worker.accept(made)

            assert worker.nr_conns == (2 if left else 3)
            for connection in worker.pending_conns:
                connection.close()
        forget(1)
        forget(2)


def test_nobody_leaves_a_connection_to_a_worker_that_stops_or_has_ended() -> None:
    config = Config()
    worker, ended = (Worker(age, os.getpid(), [], None, 5, config, logging.getLogger("test")) for age in (1, 2))
    with contextlib.closing(worker.tmp), contextlib.closing(ended.tmp):
        assert list(worker_module._HELD[1:3]) == [1, 1]
        forget(2)
        worker.alive = False
        worker.nr_conns -= 0

        assert list(worker_module._HELD[1:3]) == [0, 0]


def test_connections_that_stay_open_are_shared_among_the_workers(repository: Path) -> None:
    with running(repository, SITBONE_KEEP_ALIVE="20") as (base, _stop), contextlib.ExitStack() as open_:
        address = base.removeprefix("http://")
        workers = sorted(workers_at(base))
        before = [_sockets(pid) for pid in workers]
        for _ in range(8):
            connection = open_.enter_context(contextlib.closing(http.client.HTTPConnection(address, timeout=20)))
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        shares = [_sockets(pid) - count for pid, count in zip(workers, before, strict=True)]

        assert sum(shares) == 8
        assert min(shares) >= 2


def _sockets(process: int) -> int:
    found = 0
    for entry in Path(f"/proc/{process}/fd").iterdir():
        # One may be closed while they are looked at.
        with contextlib.suppress(FileNotFoundError):
            found += str(entry.readlink()).startswith("socket:")
    return found
