"""The server process under load and under callers that are slow, silent or gone. Real sockets, on loopback."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.serving import children_of

# The real service; where a call brings the header X-Test-Seconds, its answer takes that long: a slow FHIR server.
SERVE = """
import resource, sys, time
from flask import request
from service.app import create_app
from service.server.serve import serve
from service.settings import Settings

if files := int(sys.argv[3]):
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
settings = Settings(port=int(sys.argv[1]), workers=1, threads=2, max_in_flight=int(sys.argv[2]))
app = create_app(settings, checks={"store": lambda: True, "keys": lambda: False})
call = app.view_functions["cds_hooks.call"]

def slow(**given):
    response = call(**given)
    time.sleep(float(request.headers.get("X-Test-Seconds", 0)))
    return response

app.view_functions["cds_hooks.call"] = slow
serve(settings, app)
"""
PATH = "/cds-services/gluteal-hamstring-pain"
CALL = (Path(__file__).parents[1] / "fixtures" / "requests" / "sudden-pop-with-bruising.json").read_bytes()
JSON = {"Content-Type": "application/json"}


class Service:
    """One worker with two threads for work."""

    def __init__(self, max_in_flight: int, files: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SITBONE_")}
        # A file, as a pipe that nobody reads from holds up whoever writes a line once it is full.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(self.port), str(max_in_flight), str(files)],
            cwd=Path(__file__).parents[1],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self.process.stdout is not None
        assert "listens" in self.process.stdout.readline()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def call(self, seconds: float = 0) -> tuple[int, dict[str, str]]:
        """Status and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("POST", PATH, CALL, JSON | {"X-Test-Seconds": str(seconds)})
            response = connection.getresponse()
            body = json.loads(response.read())
        assert "cards" in body or body["resourceType"] == "OperationOutcome"
        return response.status, dict(response.headers)

    def is_alive(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=4)
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200

    def is_well(self) -> bool:
        """Whether it answers a call like any other. While what others left is in flight it may say 503: whoever hears
        that comes again.
        """
        end = time.monotonic() + 20
        status, _ = self.call()
        while status == 503 and time.monotonic() < end:
            time.sleep(0.05)
            status, _ = self.call()
        return status == 200

    def stop(self) -> str:
        """Its log."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=15)
        self._log.seek(0)
        return self._log.read().decode()

    def close_log(self) -> None:
        self._log.close()


@contextlib.contextmanager
def running(max_in_flight: int = 8, files: int = 0) -> Iterator[Service]:
    service = Service(max_in_flight, files)
    try:
        yield service
    finally:
        service.stop()
        service.close_log()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running() as service:
        yield service


def head(length: int, *, path: str = PATH) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def all_of(connection: socket.socket) -> bytes:
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            said += piece
    return said


@pytest.mark.parametrize(
    ("sent", "callers"),
    [
        # More than the worker has threads, of which it has twelve.
        pytest.param(b"", 40, id="nothing"),
        pytest.param(b"POST /cds-ser", 150, id="half-a-line"),
        pytest.param(head(len(CALL))[:-2], 150, id="half-a-head"),
        pytest.param(head(len(CALL)), 150, id="a-head-alone"),
        pytest.param(head(len(CALL)) + CALL[:1000], 150, id="half-a-body"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" + head(len(CALL)), 150, id="half-a-second-request"),
        pytest.param(head(2_000_000), 150, id="a-large-body"),
    ],
)
def test_silent_callers_keep_nobody_from_being_answered(sent: bytes, callers: int, service: Service) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(callers):
            stack.enter_context(service.connect()).sendall(sent)
        time.sleep(0.2)
        assert service.is_well()


def test_a_caller_that_stays_on_the_line_after_its_answer_keeps_nobody_waiting(service: Service) -> None:
    assert service.is_alive()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(service.connect()) for _ in range(8)]
        for connection in connections:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert b"200 OK" in connection.recv(65_536)
        assert service.is_well()
        # It has not waited for all of them before: some it holds still.
        assert held_by_the_service(connections) >= 1


def held_by_the_service(connections: Iterable[socket.socket]) -> int:
    """How many of these have an owner at their other end: what a process has closed belongs to none."""
    ours = {f"{connection.getsockname()[1]:04X}" for connection in connections}
    rows = (line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:])
    # Local address, remote address, and the inode of the socket, which is 0 where nobody owns it.
    return sum(row[2].partition(":")[2] in ours and row[9] != "0" for row in rows)


def whole_answer(connection: socket.socket) -> bytes:
    """Until the service hangs up: head and body may come apart."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def test_a_body_that_does_not_come_in_time_is_refused_with_400(service: Service) -> None:
    """Silence, and a byte now and then: the time is that of the whole request."""

    told = threading.Event()

    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for byte in CALL:
                connection.sendall(bytes([byte]))
                if told.wait(0.5):
                    return

    with service.connect() as silent, service.connect() as slow:
        silent.sendall(head(len(CALL)) + CALL[:1000])
        slow.sendall(head(len(CALL)))
        dripping = threading.Thread(target=drip, args=(slow,))
        dripping.start()
        # Neither body ever ends.
        answers = [whole_answer(connection) for connection in (silent, slow)]
        told.set()
        slow.close()
        dripping.join()
    assert all(answer.startswith(b"HTTP/1.1 400 ") and b"OperationOutcome" in answer for answer in answers)
    assert service.is_well()


def test_a_great_many_that_trickle_keep_nobody_from_being_answered(service: Service) -> None:
    """Each sends a byte now and then; they all are there still when the others have been answered."""
    with contextlib.ExitStack() as stack:
        trickling = [stack.enter_context(service.connect()) for _ in range(150)]
        for place, connection in enumerate(trickling):
            connection.sendall(head(len(CALL)) if place % 2 else head(len(CALL))[:-4])
        for byte in b"a{aa":
            for connection in trickling:
                connection.sendall(bytes([byte]))
            assert service.is_well()
            assert service.is_alive()
        for connection in trickling:
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)


def test_whether_it_lives_is_said_while_every_thread_is_taken(service: Service) -> None:
    chunked = head(5).replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(service.connect()).sendall(chunked)
        time.sleep(0.2)
        assert service.is_alive()
    assert service.is_well()


def test_requests_that_come_one_behind_the_other_are_all_answered(service: Service) -> None:
    probe = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with service.connect() as connection:
        connection.sendall(head(len(CALL)) + CALL + probe + head(len(CALL)) + CALL[:100])
        connection.sendall(CALL[100:] + probe.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert all_of(connection).count(b"HTTP/1.1 200 ") == 4


def test_a_body_in_chunks_and_one_that_is_asked_for_are_read(service: Service) -> None:
    chunked = head(5).replace(b"Content-Length: 5", b"Connection: close\r\nTransfer-Encoding: chunked")
    asked = head(len(CALL)).replace(b"\r\n\r\n", b"\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n")
    with service.connect() as connection:
        connection.sendall(chunked + f"{len(CALL):x}\r\n".encode() + CALL + b"\r\n0\r\n\r\n")
        assert all_of(connection).startswith(b"HTTP/1.1 200 ")
    with service.connect() as connection:
        connection.sendall(asked)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(CALL)
        assert all_of(connection).startswith(b"HTTP/1.1 200 ")


def test_what_was_not_read_of_a_body_is_not_waited_for(service: Service) -> None:
    """A path that reads none: the answer comes, and then the end."""
    with service.connect() as connection:
        connection.sendall(head(2_000_000, path="/nothing"))
        assert all_of(connection).startswith(b"HTTP/1.1 404 ")


def test_more_than_there_is_room_for_is_not_collected(service: Service) -> None:
    """Of requests that do not come whole, the oldest goes first, and is told so."""
    large = head(900_000) + bytes(890_000)
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(service.connect()) for _ in range(40)]
        for connection in callers:
            connection.sendall(large)
        assert all_of(callers[0]).startswith(b"HTTP/1.1 400 ")
        assert service.is_well()


def test_a_worker_that_can_open_no_more_files_goes_on(repository: Path) -> None:
    with running(files=60) as service:
        assert service.is_well()
        [worker] = children_of(service.process.pid)
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(service.connect())
            time.sleep(1.5)
        assert service.is_well()
        assert children_of(service.process.pid) == [worker]
        assert "EMFILE" not in service.stop()


def test_a_caller_that_hangs_up_within_the_body_harms_nobody(service: Service) -> None:
    for _ in range(20):
        with service.connect() as connection:
            connection.sendall(head(len(CALL)) + CALL[:1000])
    assert service.is_well()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n", 400),
        (b"POST " + b"/x" * 5000 + b" HTTP/1.1\r\n\r\n", 414),
        # The public SMART launcher has the keys of a client in its codes.
        (b"GET /no/callback?code=" + b"x" * 6000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 600_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X-Many: x\r\n" * 100 + b"\r\n", 431),
        (head(5).replace(b"Content-Length: 5", b"Content-Length: -5"), 400),
        (head(5).replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + b"0\r\n\r\n", 400),
        (head(5).replace(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"zz\r\n{}\r\n", 400),
        (head(20_000_000), 413),
    ],
    ids=[
        "tls",
        "long-line",
        "long-code",
        "long-header",
        "many-headers",
        "negative-length",
        "two-lengths",
        "broken-chunk",
        "too-long",
    ],
)
def test_what_is_not_a_sound_request_is_refused_and_the_worker_goes_on(
    sent: bytes, status: int, service: Service
) -> None:
    with service.connect() as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert all_of(connection).startswith(f"HTTP/1.1 {status} ".encode())
    assert service.is_well()


def test_a_body_of_ten_megabytes_is_read_and_one_byte_more_is_not(service: Service) -> None:
    whole = CALL + b" " * (10_000_000 - len(CALL))
    for body, status in ((whole, 200), (whole + b" ", 413)):
        with service.connect() as connection:
            # It need not be sent to be refused.
            connection.sendall(head(len(body)) + (body if status == 200 else b""))
            assert connection.recv(65_536).startswith(f"HTTP/1.1 {status} ".encode())
    assert service.is_well()


def test_over_capacity_is_said_at_once_and_who_is_in_is_answered() -> None:
    with running(max_in_flight=2) as service, ThreadPoolExecutor(12) as callers:
        taken = [callers.submit(service.call, 4) for _ in range(2)]
        time.sleep(0.5)
        beyond = [callers.submit(service.call, 4) for _ in range(9)]
        refused = [each.result() for each in beyond]
        # Those who are in are at work still.
        assert not any(each.done() for each in taken)
        probe = urllib.request.urlopen(f"http://127.0.0.1:{service.port}/healthz", timeout=5)
        probe.close()
        assert [status for status, _ in refused] == [503] * 9
        assert all(headers["Retry-After"] == "1" and "X-Correlation-Id" in headers for _, headers in refused)
        assert [each.result()[0] for each in taken] == [200] * 2
        assert service.is_well()


def test_a_call_that_nobody_can_work_on_soon_is_refused_and_not_kept(service: Service) -> None:
    with ThreadPoolExecutor(3) as callers:
        taken = [callers.submit(service.call, 5) for _ in range(2)]
        time.sleep(0.2)
        status, headers = service.call()
        assert (status, headers["Retry-After"]) == (503, "1")
        assert not any(each.done() for each in taken)
        assert [each.result()[0] for each in taken] == [200] * 2


def test_a_stop_loses_no_call_that_was_begun() -> None:
    """Working, waiting for its turn, half sent, and connected without anything sent yet."""
    with running() as service, ThreadPoolExecutor(3) as callers, service.connect() as half, service.connect() as just:
        working = [callers.submit(service.call, 0.4) for _ in range(3)]
        half.sendall(head(len(CALL)) + CALL[:1000])
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        half.sendall(CALL[1000:])
        just.sendall(head(len(CALL)) + CALL)
        assert [each.result()[0] for each in working] == [200] * 3
        assert half.recv(65_536).startswith(b"HTTP/1.1 200 ")
        assert just.recv(65_536).startswith(b"HTTP/1.1 200 ")
        half.close()
        just.close()
        log = service.stop()
        assert service.process.returncode == 0
        assert {json.loads(line)["event"] for line in log.splitlines()} == {"call"}


def test_whoever_comes_while_it_stops_is_turned_away_by_the_system_at_once() -> None:
    with running() as service, ThreadPoolExecutor(1) as callers:
        working = callers.submit(service.call, 1)
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            service.connect()
        assert working.result()[0] == 200


def test_not_ready_is_said_with_what_is_missing(service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        [issue] = json.loads(response.read())["issue"]
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert "keys" in issue["diagnostics"]
    assert "store" not in issue["diagnostics"]
