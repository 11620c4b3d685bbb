"""What callers wait for while a second knowledge looks at the same calls (SITBONE_SHADOW_DIR).

Two services, one with and one without, get the same calls in turn at half of what the one without can answer; the ratio
of their 99th percentiles is taken within a round, so that what else the machine does meets both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass

from bench.__main__ import SERVICE, Case, Load, Server
from bench.charts import SIZES, Chart
from service.knowledge_model.model import PACKAGED

ROUNDS = 9
_PREFIX = "sitbone_shadow_total"


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians of the rounds. In milliseconds: p50 and p99 without and with the second knowledge, and CPU a call; the
    ratio of the p99, the median, the lowest and the highest; how many calls were compared and skipped."""

    rate: float
    without_p50: float
    with_p50: float
    without_p99: float
    with_p99: float
    without_cpu: float
    with_cpu: float
    ratio: float
    lowest: float
    highest: float
    compared: int
    skipped: int


def measure(seconds: float, size: str = "small", rounds: int = ROUNDS) -> Figures:
    """Measure for so many seconds; start and stop not counted. Raises RuntimeError as Server.wait does."""
    case, part = Case(Chart(size, *SIZES[size], complaint=True), fresh=True), seconds / (2 * rounds + 3)
    with ExitStack() as running:
        servers = []
        for settings in ({}, {"SITBONE_SHADOW_DIR": str(PACKAGED)}):
            folder = running.enter_context(tempfile.TemporaryDirectory())
            server = Server(SERVICE, settings={"SITBONE_AUDIT": folder, **settings})
            running.callback(server.stop)
            servers.append(server)
        load = Load()
        running.callback(load.stop)
        for server in servers:
            server.wait()
            load.offer(server, case, part)
        full = load.offer(servers[0], case, part)
        rate = len(full.took) / full.seconds / 2
        seen = [[_round(server, case, load, part, rate) for server in servers] for _ in range(rounds)]
        ratios = [with_[1] / without[1] for without, with_ in seen]
        without_p50, without_p99, without_cpu = _medians([each[0] for each in seen])
        with_p50, with_p99, with_cpu = _medians([each[1] for each in seen])
        counts = _compared(servers[1])
        return Figures(
            rate,
            without_p50,
            with_p50,
            without_p99,
            with_p99,
            without_cpu,
            with_cpu,
            statistics.median(ratios),
            min(ratios),
            max(ratios),
            counts.get("same", 0) + counts.get("changed", 0),
            counts.get("skipped", 0),
        )


def _round(server: Server, case: Case, load: Load, seconds: float, rate: float) -> tuple[float, float, float]:
    cpu = server.cpu_seconds()
    took = sorted(load.offer(server, case, seconds, rate=rate).took)
    used = (server.cpu_seconds() - cpu) / len(took)
    p50, p99 = (took[(len(took) - 1) * percent // 100] * 1000 for percent in (50, 99))
    return p50, p99, used * 1000


def _medians(rounds: list[tuple[float, float, float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def _compared(server: Server) -> dict[str, int]:
    """How many calls came to what."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = (line.removeprefix(_PREFIX).split() for line in lines if line.startswith(_PREFIX))
    return {labels.split('"')[1]: int(float(value)) for labels, value in found}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.shadow", description=__doc__)
    parser.add_argument("--seconds", type=float, default=150, help="how long all rounds take together (default: 150)")
    parser.add_argument("--size", choices=[*SIZES], default="small", help="of the chart (default: small)")
    given = parser.parse_args()
    it = measure(given.seconds, given.size)
    print(f"{json.dumps(given.size)} charts, {it.rate:.0f} calls a second, two workers, median of {ROUNDS} rounds:")
    print(f"  {'':10}{'without':>10}{'with':>10}")
    for name, without, with_ in (
        ("p50 in ms", it.without_p50, it.with_p50),
        ("p99 in ms", it.without_p99, it.with_p99),
        ("CPU in ms", it.without_cpu, it.with_cpu),
    ):
        print(f"  {name:10}{without:10.1f}{with_:10.1f}")
    print(f"  ratio of p99 {it.ratio:.2f} ({it.lowest:.2f} to {it.highest:.2f})")
    print(f"  {it.compared} compared, {it.skipped} skipped")


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as problem:
        sys.exit(str(problem))
