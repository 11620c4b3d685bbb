"""Runs the service and the bare app side by side under the same server settings, loads them in turn, prints the table.

Each row is one kind of chart. The bare app and the service take turns round by round, so that what else the machine
does meets both; the ratio is taken within a round, and each figure is the median of its rounds. Needs Linux, as the
figures of the processes are read from /proc.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.charts import SIZES, Chart
from bench.trust import Trust

REPOSITORY = Path(__file__).parents[1]
BARE = [sys.executable, "-m", "bench.bare"]
SERVICE = [sys.executable, "-c", "from service.cli import main; main()", "serve"]
ROUNDS = 5
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Case:
    """One row: which chart is sent, and whether each call has ids and times of its own."""

    chart: Chart
    fresh: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """What one server did in a round. Latencies and CPU time in milliseconds, memory in MB of the largest worker."""

    calls_per_second: float
    p50: float
    p99: float
    cpu_per_call: float
    resident: float


@dataclass(frozen=True, slots=True)
class Row:
    """The medians of a case, and the service alone at half of its throughput."""

    case: Case
    bare: Figures
    service: Figures
    ratio: float
    lowest_ratio: float
    highest_ratio: float
    cpu_ratio: float
    half_load_p50: float
    half_load_p99: float


CASES = [
    Case(Chart(name, *sizes, complaint=complaint), fresh)
    for name, sizes in SIZES.items()
    for complaint in (False, True)
    for fresh in (True, False)
]


class Server:
    """A server that runs in a process group of its own."""

    def __init__(
        self,
        command: list[str],
        trust: Trust | None = None,
        folder: Path | None = None,
        checkout: Path = REPOSITORY,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.trust = trust
        self.port = _free_port()
        self._command = shlex.join(command)
        # A file, as a service keeps its log: a terminal would be slower than what is measured.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        settings = {**settings, **(trust.settings(folder) if trust and folder else {})}
        # Another checkout may not know the settings of this one: it runs by its own defaults.
        left_out = "PORT" if checkout == REPOSITORY else r"PORT|SITBONE_\w+"
        environ = {name: value for name, value in os.environ.items() if not re.fullmatch(left_out, name)}
        self._process = subprocess.Popen(
            command,
            cwd=checkout,
            env={**environ, **settings, "SITBONE_PORT": str(self.port)},
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,
        )

    @property
    def group(self) -> int:
        """The id of its process group."""
        return self._process.pid

    def wait(self, seconds: float = 20) -> None:
        """Return once it answers.

        Raises:
            RuntimeError: it ended, or did not answer in time.
        """
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up and self._process.poll() is None:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=1).close()
                return
            time.sleep(0.05)
        raise RuntimeError(f"{self._command} did not answer:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 2000))
        return self._log.read().decode(errors="replace")

    def stop(self) -> None:
        """End it and everything it started."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=20)
        self._log.close()

    def cpu_seconds(self) -> float:
        """What all its processes have used so far."""
        return sum(int(each[11]) + int(each[12]) for each in self._stats()) / _TICKS

    def resident_mb(self) -> float:
        """The largest of its processes."""
        return max(int(each[21]) for each in self._stats()) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def _stats(self) -> Iterator[list[str]]:
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                # The second field, the name of the command, may hold spaces.
                fields = entry.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self._process.pid:
                    yield fields


@dataclass(frozen=True, slots=True)
class Offered:
    """How long a round took, and each of its calls; in seconds."""

    seconds: float
    took: list[float]


class Load:
    """The process that calls."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def offer(self, server: Server, case: Case, seconds: float, rate: float | None = None) -> Offered:
        """Let it call ``server``, with a new token in each call where that wants them."""
        ask = {
            "port": server.port,
            "chart": asdict(case.chart),
            "fresh": case.fresh,
            "seconds": seconds,
            "rate": rate,
            "trust": server.trust and asdict(server.trust),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(ask) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the load ended early, see above; the server's last words:\n{server.last_words()}")
        return Offered(**json.loads(answer))

    def stop(self) -> None:
        """End it."""
        self._process.communicate(timeout=20)


def measure(
    cases: list[Case],
    seconds: float,
    *,
    service: list[str] = SERVICE,
    rounds: int = ROUNDS,
    algorithm: str | None = None,
    beside: Path | None = None,
) -> Iterator[Row]:
    """Measure each case; ``seconds`` is for all of them together, start, stop and signing not counted.

    With an ``algorithm`` the service lets in a client that signs by it, and each call has a token of its own. With the
    folder of another checkout the service that lies there takes the place of the bare app.

    Raises:
        RuntimeError: a server did not start, or answered with something else than 200.
    """
    # A warm-up and the rounds for both, and the round at half load.
    part = seconds / len(cases) / (2 * rounds + 2)
    with contextlib.ExitStack() as running:
        trust = Trust.make(algorithm) if algorithm else None
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        other = Server(SERVICE, checkout=beside) if beside else Server(BARE)
        servers = [other, Server(service, trust, folder)]
        for server in servers:
            running.callback(server.stop)
        load = Load()
        running.callback(load.stop)
        for server in servers:
            server.wait()
        for case in cases:
            for server in servers:
                load.offer(server, case, part / 2)
            yield _row(case, servers, load, part, rounds)


def _row(case: Case, servers: list[Server], load: Load, part: float, rounds: int) -> Row:
    taken = [[_round(server, case, load, part) for server in servers] for _ in range(rounds)]
    bare, service = (_medians(list(column)) for column in zip(*taken, strict=True))
    ratios = [b.calls_per_second / a.calls_per_second for a, b in taken]
    half = load.offer(servers[1], case, part, rate=service.calls_per_second / 2).took
    return Row(
        case=case,
        bare=bare,
        service=service,
        ratio=statistics.median(ratios),
        lowest_ratio=min(ratios),
        highest_ratio=max(ratios),
        cpu_ratio=bare.cpu_per_call / service.cpu_per_call if service.cpu_per_call else 0,
        half_load_p50=_percentile(half, 50),
        half_load_p99=_percentile(half, 99),
    )


def _round(server: Server, case: Case, load: Load, seconds: float) -> Figures:
    cpu = server.cpu_seconds()
    offered = load.offer(server, case, seconds)
    took = offered.took
    return Figures(
        calls_per_second=len(took) / offered.seconds,
        p50=_percentile(took, 50),
        p99=_percentile(took, 99),
        cpu_per_call=(server.cpu_seconds() - cpu) / len(took) * 1000,
        resident=server.resident_mb(),
    )


def _medians(rounds: list[Figures]) -> Figures:
    return Figures(*(statistics.median(getattr(each, name) for each in rounds) for name in Figures.__slots__))


def _percentile(took: list[float], percent: int) -> float:
    return sorted(took)[(len(took) - 1) * percent // 100] * 1000


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    packages = ["flask", "gunicorn", "orjson", "msgspec", "marshmallow", "fhir.resources", "sitbone"]
    return {
        "command": shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
        "workers": "two gthread workers of eight threads, for both",
        "load": "eight kept-alive connections, from a third process on the same cores",
        "bare app": "Flask + orjson; reads the body and answers a constant card",
    }


_COLUMNS = "{:8} {:10} {:5} |{:>9}{:>8}{:>8}{:>8}{:>6} |{:>9}{:>8}{:>8}{:>8}{:>6} |{:>7}{:>12}{:>6} |{:>9}{:>8}"

_SERVER = ["p50", "p99", "CPU", "MB"]
_HEADINGS = ["", "", "", "bare", *_SERVER, "service", *_SERVER, "ratio", "", "CPU", "half p50", "p99"]


def _line(row: Row) -> str:
    return _COLUMNS.format(
        row.case.chart.name,
        "complaint" if row.case.chart.complaint else "quiet",
        "fresh" if row.case.fresh else "seen",
        *(
            text
            for each in (row.bare, row.service)
            for text in (
                f"{each.calls_per_second:.0f}",
                f"{each.p50:.1f}",
                f"{each.p99:.1f}",
                f"{each.cpu_per_call:.2f}",
                f"{each.resident:.0f}",
            )
        ),
        f"{row.ratio:.2f}",
        f"{row.lowest_ratio:.2f}-{row.highest_ratio:.2f}",
        f"{row.cpu_ratio:.2f}",
        f"{row.half_load_p50:.1f}",
        f"{row.half_load_p99:.1f}",
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=200, help="how long all rounds take together (default: 200)")
    parser.add_argument(
        "--trust", metavar="ALGORITHM", choices=["ES384", "RS384"], help="a client's new token in each call, signed so"
    )
    parser.add_argument(
        "--beside", metavar="FOLDER", type=Path, help="measure beside the service of another checkout, not the bare app"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    about = machine()
    if given.beside:
        about["bare app"] = f"none: in its columns stands the service of {given.beside}"
    rows = measure(CASES, given.seconds, algorithm=given.trust, beside=given.beside)
    if given.json:
        print(json.dumps({"machine": about, "rows": [asdict(row) for row in rows]}, indent=2))
        return
    for name, value in about.items():
        print(f"{name:15} {value}")
    print("\ncalls/s, latency p50 and p99 in ms, CPU in ms a call, memory in MB of the largest worker;")
    print(f"medians of {ROUNDS} rounds, bare app and service in turn; ratio = service / bare app in calls/s,")
    print("lowest-highest, and of the calls that a second of CPU is enough for;")
    print("half: the service alone, at half of the calls/s that it can answer")
    print(_COLUMNS.format(*_HEADINGS))
    for row in rows:
        print(_line(row), flush=True)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as problem:
        sys.exit(str(problem))
