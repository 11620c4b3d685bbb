"""The proxies of `deploy/`: what they let through, what they hold back, and that slow callers hold up nobody."""

import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from service.settings import Settings
from tests.proxies import COMMANDS, EACH, NAME, configured, free_port, proxying
from tests.serving import PATH, patiently, running, status

CALL = (Path(__file__).parents[1] / "fixtures" / "requests" / "sudden-pop-with-bruising.json").read_bytes()
JSON = {"Content-Type": "application/json"}
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\n".encode()
# One chunk, and never the last.
UNENDING = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{ \r\n"
LIMIT = 10_000_000
# As many bytes of a body are kept back at first, to be sent one at a time.
KEPT = 20


def open_connections(port: int) -> int:
    """How many connections somebody who listens at this port has now."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


@pytest.mark.parametrize("kind", EACH)
def test_the_proxy_takes_the_configuration_as_it_is(kind: str, tmp_path: Path) -> None:
    file, _ = configured(kind, tmp_path, free_port(), [free_port()])
    checked = subprocess.run([*COMMANDS[kind][0], file], capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stderr
    assert "warn" not in (checked.stdout + checked.stderr).lower()


@pytest.mark.parametrize("kind", EACH)
def test_two_hundred_slow_bodies_hold_up_nobody_and_are_answered_in_the_end(
    kind: str, repository: Path, tmp_path: Path
) -> None:
    begun = HEAD + f"Content-Length: {len(CALL)}\r\n\r\n".encode() + CALL[:-KEPT]
    with (
        running(repository, SITBONE_TRUSTED_PROXIES="1") as (base, _stop),
        proxying(kind, tmp_path, port := int(base.rpartition(":")[2])) as proxy,
        contextlib.ExitStack() as open_,
    ):
        senders = [open_.enter_context(proxy.connect()) for _ in range(200)]
        for sender in senders:
            sender.sendall(begun)
        # Longer than the service itself would wait for a body.
        for at in range(len(CALL) - KEPT, len(CALL) - KEPT + 8):
            for sender in senders:
                sender.sendall(CALL[at : at + 1])
            assert proxy.call("GET", "/readyz")[0] == 200
            code, body, _ = proxy.call("POST", PATH, CALL, JSON)
            assert (code, bool(json.loads(body)["cards"])) == (200, True)
            assert patiently(lambda: open_connections(port) == 0)
            time.sleep(1)
        answers = []
        for sender in senders:
            sender.sendall(CALL[-KEPT + 8 :])
            answers.append(first_line(sender))

    assert answers == ["HTTP/1.1 200 OK"] * 200


def first_line(connection: ssl.SSLSocket) -> str:
    received = b""
    while b"\r\n" not in received:
        piece = connection.recv(65_536)
        assert piece, received
        received += piece
    return received.partition(b"\r\n")[0].decode()


def test_bodies_in_chunks_that_do_not_end_take_all_places_of_a_service_without_a_proxy(repository: Path) -> None:
    with running(repository, SITBONE_WORKERS="1") as (base, _stop), contextlib.ExitStack() as open_:
        for _ in range(40):
            sender = open_.enter_context(socket.create_connection(("127.0.0.1", int(base.rpartition(":")[2]))))
            sender.sendall(UNENDING)

        assert status(f"{base}{PATH}", JSON, CALL) == 503
        assert status(f"{base}/healthz", {}) == 200


@pytest.mark.parametrize("kind", EACH)
def test_bodies_in_chunks_that_do_not_end_take_no_place_behind_a_proxy(
    kind: str, repository: Path, tmp_path: Path
) -> None:
    with (
        running(repository, SITBONE_WORKERS="1") as (base, _stop),
        proxying(kind, tmp_path, int(base.rpartition(":")[2])) as proxy,
        contextlib.ExitStack() as open_,
    ):
        for _ in range(40):
            open_.enter_context(proxy.connect()).sendall(UNENDING)

        assert proxy.call("POST", PATH, CALL, JSON)[0] == 200
        assert status(f"{base}{PATH}", JSON, CALL) == 200


class Upstream:
    """Stands for the service: keeps what it was sent, and answers, or hangs up instead."""

    def __init__(self, *, answers: bool = True) -> None:
        self.requests: list[tuple[str, dict[str, str], int]] = []
        kept = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = len(self.rfile.read(int(self.headers["Content-Length"])))
                kept.append((self.path, dict(self.headers), length))
                if not answers:
                    self.close_connection = True
                    return
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library has it
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Upstream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.mark.parametrize("kind", EACH)
def test_what_a_service_reads_comes_through_and_what_it_believes_is_what_the_proxy_says(
    kind: str, tmp_path: Path
) -> None:
    token = f"Bearer {'x' * 12_000}"
    forged = {
        "X-Forwarded-Host": "evil.example.org",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "host=evil.example.org",
    }
    with Upstream() as service, proxying(kind, tmp_path, service.port) as proxy:
        code, _, _ = proxy.call("POST", f"{PATH}?code=opensesame", b"{}", forged | JSON | {
            "Authorization": token, "X-Correlation-ID": "5a0d9f0a-3a4c-4a0e-9b0e-1f5a3f0b7c11"})  # fmt: skip
        ((path, headers, _),) = service.requests
        assert patiently(lambda: PATH in proxy.log.read_text())

    headers = {name.lower(): value for name, value in headers.items()}
    assert (code, path) == (200, f"{PATH}?code=opensesame")
    assert headers["authorization"] == token
    assert headers["x-correlation-id"] == "5a0d9f0a-3a4c-4a0e-9b0e-1f5a3f0b7c11"
    assert headers["host"] == NAME
    assert {name: headers.get(name.lower()) for name in forged} == {
        "X-Forwarded-Host": NAME,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Prefix": None,
        "Forwarded": None,
    }
    log = proxy.log.read_text()
    assert "sesame" not in log
    assert "127.0.0.1" not in log


@pytest.mark.parametrize("kind", EACH)
def test_a_body_of_the_limit_comes_through_whole_and_a_larger_one_is_refused_as_the_service_would(
    kind: str, tmp_path: Path
) -> None:
    assert Settings().body_limit == LIMIT
    with Upstream() as service, proxying(kind, tmp_path, service.port) as proxy:
        assert proxy.call("POST", PATH, b" " * LIMIT, JSON)[0] == 200
        assert [length for _, _, length in service.requests] == [LIMIT]
        # It hangs up before it has read what it refuses.
        with contextlib.closing(proxy.connection()) as connection:
            connection.putrequest("POST", PATH, skip_host=True)
            for name, value in {"Host": NAME, "Content-Length": str(LIMIT + 1), **JSON}.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            code, body = answer.status, json.loads(answer.read())
        assert len(service.requests) == 1

    assert (code, body["resourceType"], body["issue"][0]["code"]) == (413, "OperationOutcome", "too-long")


@pytest.mark.parametrize("kind", EACH)
def test_where_one_instance_is_away_the_other_is_asked(kind: str, tmp_path: Path) -> None:
    with Upstream() as service, proxying(kind, tmp_path, free_port(), service.port) as proxy:
        assert [proxy.call("POST", PATH, CALL, JSON)[0] for _ in range(4)] == [200] * 4
        assert len(service.requests) == 4


@pytest.mark.parametrize("kind", EACH)
def test_what_was_sent_once_is_not_sent_again_and_the_caller_hears_so(kind: str, tmp_path: Path) -> None:
    with (
        Upstream(answers=False) as one,
        Upstream(answers=False) as other,
        proxying(kind, tmp_path, one.port, other.port) as proxy,
    ):
        code, body, _ = proxy.call("POST", PATH, CALL, JSON)
        assert len(one.requests) + len(other.requests) == 1

    assert code in (502, 503)
    assert json.loads(body)["issue"][0]["code"] == "transient"


@pytest.mark.parametrize("kind", EACH)
def test_where_no_instance_is_there_the_caller_is_told_to_come_again(kind: str, tmp_path: Path) -> None:
    with proxying(kind, tmp_path, free_port()) as proxy:
        code, body, headers = proxy.call("POST", PATH, CALL, JSON)

    assert (code, headers["Retry-After"]) == (503, "5")
    assert json.loads(body)["resourceType"] == "OperationOutcome"
