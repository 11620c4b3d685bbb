"""The service as operators run it, for tests: `sitbone serve` with two workers, and a client that may call it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cds_hooks.trust.signing import claims_for, key_set, new_key, sign
from tests.preloaded import Process, loaded

PUBLIC = "https://cds.example.org/pain"
PATH = "/cds-services/gluteal-hamstring-pain"
SERVE = [sys.executable, "-c", "from service.cli import main; main()", "serve"]
# Of the services that run, by their addresses.
_PROCESSES: dict[str, int] = {}


class Answer(NamedTuple):
    """What a call came to, and how many seconds it took."""

    status: int
    body: dict[str, Any]
    seconds: float


@contextlib.contextmanager
def running(repository: Path, by_command: bool = False, /, **variables: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """The service as a process of two workers, at its base address, and what it said on its error output: begun where
    the product is loaded already (preloaded.py), or from nothing, by its command, as operators begin it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SITBONE_")}
    environ |= {"SITBONE_PORT": str(port), "SITBONE_WORKERS": "2"} | variables
    base = f"http://127.0.0.1:{port}"
    said: list[str] = []
    # A file, as a pipe that nobody reads from holds up whoever writes a line once it is full.
    with tempfile.TemporaryFile() as log:
        service: Process | subprocess.Popen[bytes]
        if by_command:
            service = subprocess.Popen(SERVE, cwd=repository, env=environ, stdout=subprocess.DEVNULL, stderr=log)
        else:
            with Path(os.devnull).open("r+b") as null:
                streams = null.fileno(), null.fileno(), log.fileno()
                service = Process(loaded(), "serve", cwd=repository, env=environ, streams=streams)
        _PROCESSES[base] = service.pid

        def stop() -> str:
            if not said:
                service.terminate()
                service.wait(timeout=15)
                log.seek(0)
                said.append(log.read().decode())
            return said[0]

        try:
            end = time.monotonic() + 20
            while status(f"{base}/healthz", {}) != 200:
                assert time.monotonic() < end
                assert service.poll() is None
                time.sleep(0.02)
            yield base, stop
        finally:
            stop()
            del _PROCESSES[base]


def service_at(base: str) -> int:
    """The service at this address, which was started by `running`."""
    return _PROCESSES[base]


def workers_at(base: str, number: int = 2) -> set[int]:
    """The workers of the service at this address, once all are forked: gunicorn takes its time between them."""
    workers: set[int] = set()

    def are_there() -> bool:
        workers.clear()
        workers.update(children_of(service_at(base)))
        return len(workers) == number

    assert patiently(are_there), f"{len(workers)} workers instead of {number}"
    return workers


def patiently(holds: Callable[[], bool]) -> bool:
    """Whether this comes to hold, for what happens in another process or thread."""
    for _ in range(2400):
        if holds():
            return True
        time.sleep(0.05)
    return False


def status(url: str, headers: Mapping[str, str], body: bytes | None = None) -> int:
    """The status of the answer, 0 where nobody listens."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, dict(headers)), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
    except (urllib.error.URLError, ConnectionError):
        return 0


@contextlib.contextmanager
def running_for_each(
    repository: Path, folder: Path, fhir_servers: Mapping[str, Sequence[str]], **variables: str
) -> Iterator[tuple[Callable[[str, dict[str, Any]], Answer], Callable[[], str]]]:
    """The service with these clients, whose entries list their FHIR servers and let each be internal; how one of them
    calls, and how the service is stopped and its log had. `folder` is empty."""
    keys = {client: new_key("ES384", "mine") for client in fhir_servers}
    issuers = {client: f"https://{client}.example.org/" for client in fhir_servers}
    lines = []
    for client, servers in fhir_servers.items():
        (folder / f"{client}.json").write_text(json.dumps(key_set(keys[client])))
        entry = {
            "issuers": [issuers[client]],
            "jwks_file": f"{client}.json",
            "fhir_servers": list(servers),
            "internal_hosts": sorted({urlsplit(each).hostname or "" for each in servers}),
        }
        lines += [f"[clients.{client}]", *(f"{name} = {json.dumps(value)}" for name, value in entry.items())]
    (folder / "store").mkdir(mode=0o700)
    (folder / "clients.toml").write_text("\n".join(lines))
    ours = {
        "SITBONE_CLIENTS": str(folder / "clients.toml"),
        "SITBONE_DRAFT": "show",
        "SITBONE_STORE": str(folder / "store"),
        "SITBONE_PUBLIC_BASE_URL": PUBLIC,
    }
    with running(repository, **ours, **variables) as (base, stop):

        def call(client: str, body: dict[str, Any]) -> Answer:
            token = sign(keys[client], claims_for(issuers[client], PUBLIC + PATH, time.time()))
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            request = urllib.request.Request(base + PATH, json.dumps(body).encode(), headers)
            start = time.monotonic()
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return Answer(answer.status, json.load(answer), time.monotonic() - start)
            except urllib.error.HTTPError as refused:
                with refused:
                    return Answer(refused.code, json.load(refused), time.monotonic() - start)

        yield call, stop


@contextlib.contextmanager
def running_for(
    repository: Path, folder: Path, fhir_servers: Sequence[str], **variables: str
) -> Iterator[tuple[Callable[[dict[str, Any]], Answer], Callable[[], str]]]:
    """The same with one client, called clinic."""
    with running_for_each(repository, folder, {"clinic": fhir_servers}, **variables) as (call, stop):
        yield partial(call, "clinic"), stop


def children_of(process: int) -> list[int]:
    """The processes that this one has started."""
    children = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # The second field, the name of the command, may hold spaces.
            if int(entry.read_text().rpartition(")")[2].split()[1]) == process:
                children.append(int(entry.parent.name))
    return children
