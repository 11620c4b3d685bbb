"""nginx and HAProxy as `deploy/` configures them, in front of a service or of a server made up for a test."""

import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from tests.certificates import Authority

NAME = "cds.example.org"
REPOSITORY = Path(__file__).parents[1]
# How each is told to check its configuration, and to run in the foreground.
COMMANDS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "nginx": (("nginx", "-t", "-c"), ("nginx", "-g", "daemon off;", "-c")),
    "haproxy": (("haproxy", "-c", "-f"), ("haproxy", "-db", "-f")),
}
# What a site puts in for its own.
_PLACES = {
    "nginx": {
        "/tmp/": "{folder}/",
        "listen 8443 ssl": "listen 127.0.0.1:{port} ssl",
        "/etc/sitbone-tls/certificate.pem": "{folder}/cds.example.org.pem",
        "/etc/sitbone-tls/key.pem": "{folder}/cds.example.org.pem",
        "server service:8080;": "{servers}",
        "stderr crit": "{folder}/error.log crit",
    },
    "haproxy": {
        "bind :8443 ssl": "bind 127.0.0.1:{port} ssl",
        "/etc/sitbone-tls/chain-and-key.pem": "{folder}/cds.example.org.pem",
        "server one service:8080": "{servers}",
    },
}
EACH = [
    pytest.param(name, marks=pytest.mark.needs_system(name, "the configuration in deploy/ is tried with it"))
    for name in COMMANDS
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@dataclass(frozen=True)
class Proxy:
    """A running proxy: where it listens, whom its callers trust, and where its log is."""

    port: int
    trust: ssl.SSLContext
    log: Path

    def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, Message]:
        """What comes of one call: status, body, headers."""
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body or None, dict(headers or {}) | {"Host": NAME})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers

    def connection(self) -> HTTPSConnection:
        connection = HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.trust)
        connection.sock = self.connect()
        return connection

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        return self.trust.wrap_socket(plain, server_hostname=NAME)


def configured(kind: str, folder: Path, port: int, upstreams: Sequence[int]) -> tuple[Path, ssl.SSLContext]:
    """The configuration of `deploy/` with the places of a site filled in, and whom its callers have to trust."""
    authority = Authority(folder)
    authority.server(NAME)
    source = REPOSITORY / "deploy" / {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[kind]
    one = "server 127.0.0.1:{};" if kind == "nginx" else "server s{0} 127.0.0.1:{0}"
    servers = "\n".join(one.format(upstream) for upstream in upstreams)
    text = source.read_text("utf-8")
    for place, filled in _PLACES[kind].items():
        assert place in text
        text = text.replace(place, filled.format(port=port, folder=folder, servers=servers))
    file = folder / source.name
    file.write_text(text, "utf-8")
    return file, authority.trusting()


@contextlib.contextmanager
def proxying(kind: str, folder: Path, *upstreams: int) -> Iterator[Proxy]:
    """The proxy of this kind before what listens at these ports; `folder` is empty."""
    port = free_port()
    file, trust = configured(kind, folder, port, upstreams)
    log = folder / "log"
    with log.open("wb") as said, subprocess.Popen([*COMMANDS[kind][1], str(file)], stdout=said, stderr=said) as process:
        try:
            end = time.monotonic() + 20
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, "the proxy did not start"
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                time.sleep(0.05)
            yield Proxy(port, trust, log)
        finally:
            process.terminate()
            process.wait(timeout=20)
