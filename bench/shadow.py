"""What callers wait for while a second knowledge looks at the same calls (SITBONE_SHADOW_DIR).

Three services, one of them with a second knowledge, get the same calls in turn at half of what one without can answer,
in many short rounds. The 99th percentiles are taken over the calls of all rounds; how sure the ratio of two is, samples
of the rounds say. The two without a second knowledge, set beside each other, show what ratio chance alone makes.

On a machine that does other work, `--first` has the system serve the services and their caller before all other
programs (SCHED_RR), and what compares before the others: as if nothing else ran. It needs the right to do so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.__main__ import SERVICE, Case, Load, Server
from bench.charts import SIZES, Chart
from service.knowledge_model.model import PACKAGED

# In seconds: how long one service is called at a time.
ROUND = 2.0
_SAMPLES = 400
_PREFIX = "sitbone_shadow_total"
_OFF, _AGAIN, _ON = range(3)


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of two 99th percentiles, with its interval of 95 %."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """p50 and p99 in milliseconds, CPU in milliseconds a call, each of the service without, of the other one without
    and of the one with a second knowledge; the ratios of the p99 of the last, and of the second, to that of the first;
    how many calls were compared and skipped."""

    rate: float
    rounds: int
    p50: tuple[float, ...]
    p99: tuple[float, ...]
    cpu: tuple[float, ...]
    beside: Ratio
    by_chance: Ratio
    compared: int
    skipped: int


def measure(seconds: float, size: str = "small", *, first: bool = False) -> Figures:
    """Measure for so many seconds; start, stop and finding the rate not counted.

    Raises RuntimeError as Server.wait does, and PermissionError where it may not be `first`.
    """
    case = Case(Chart(size, *SIZES[size], complaint=True), fresh=True)
    rounds = max(2, round(seconds / (3 * ROUND)))
    if first:
        # Whatever is started from now on has it too.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with ExitStack() as running:
        servers = []
        for settings in ({}, {}, {"SITBONE_SHADOW_DIR": str(PACKAGED)}):
            folder = running.enter_context(tempfile.TemporaryDirectory())
            server = Server(SERVICE, settings={"SITBONE_AUDIT": folder, **settings})
            running.callback(server.stop)
            servers.append(server)
        load = Load()
        running.callback(load.stop)
        for server in servers:
            server.wait()
            load.offer(server, case, ROUND)
        if first:
            _bring_forward(servers[_ON].group)
        # The best of three, as something else may have been at work meanwhile.
        full = [load.offer(servers[_OFF], case, ROUND) for _ in range(3)]
        rate = max(len(each.took) / each.seconds for each in full) / 2
        took: list[list[list[float]]] = [[] for _ in servers]
        cpu = [-server.cpu_seconds() for server in servers]
        for number in range(rounds):
            # None of them always comes after the same one.
            for place in sorted(range(3), key=lambda place: (place + number) % 3, reverse=number % 2 == 1):
                took[place].append(load.offer(servers[place], case, ROUND, rate=rate).took)
        cpu = [before + server.cpu_seconds() for before, server in zip(cpu, servers, strict=True)]
        counts = _compared(servers[_ON])
    return Figures(
        rate,
        rounds,
        tuple(_percentile(of, 50) * 1000 for of in took),
        tuple(_percentile(of, 99) * 1000 for of in took),
        tuple(used / sum(map(len, of)) * 1000 for used, of in zip(cpu, took, strict=True)),
        _ratio(took[_OFF], took[_ON]),
        _ratio(took[_OFF], took[_AGAIN]),
        counts.get("same", 0) + counts.get("changed", 0),
        counts.get("skipped", 0),
    )


def _bring_forward(group: int) -> None:
    """Have what of a process group yields to everybody yield to what is `first` alone."""
    for task in Path("/proc").glob("[0-9]*/task/[0-9]*"):
        with suppress(ProcessLookupError):
            of = int(task.name)
            if os.getpgid(of) == group and os.sched_getscheduler(of) == os.SCHED_IDLE:
                os.sched_setscheduler(of, os.SCHED_OTHER, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, of, -20)


def _ratio(without: Sequence[Sequence[float]], with_: Sequence[Sequence[float]]) -> Ratio:
    """Rounds are drawn again and again, each with what both services took in it (bootstrap)."""
    draw = random.Random(1)  # noqa: S311 - a sample, no secret
    drawn = (draw.choices(range(len(without)), k=len(without)) for _ in range(_SAMPLES))
    ratios = sorted(
        _percentile([with_[place] for place in some], 99) / _percentile([without[place] for place in some], 99)
        for some in drawn
    )
    ratio = _percentile(with_, 99) / _percentile(without, 99)
    return Ratio(ratio, ratios[_SAMPLES // 40], ratios[-1 - _SAMPLES // 40])


def _percentile(rounds: Sequence[Sequence[float]], percent: int) -> float:
    took = sorted(each for of in rounds for each in of)
    return took[(len(took) - 1) * percent // 100]


def _compared(server: Server) -> dict[str, int]:
    """How many calls came to what."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = (line.removeprefix(_PREFIX).split() for line in lines if line.startswith(_PREFIX))
    return {labels.split('"')[1]: int(float(value)) for labels, value in found}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.shadow", description=__doc__)
    parser.add_argument("--seconds", type=float, default=270, help="how long all rounds take together (default: 270)")
    parser.add_argument("--size", choices=[*SIZES], default="small", help="of the chart (default: small)")
    parser.add_argument("--first", action="store_true", help="before all other programs of the machine")
    given = parser.parse_args()
    it = measure(given.seconds, given.size, first=given.first)
    print(f"{json.dumps(given.size)} charts, {it.rate:.0f} calls a second, two workers,")
    print(f"{it.rounds} rounds of {ROUND:g} seconds each:")
    print(f"  {'':10}{'without':>10}{'without':>10}{'with':>10}")
    for name, of in (("p50 in ms", it.p50), ("p99 in ms", it.p99), ("CPU in ms", it.cpu)):
        print(f"  {name:10}{''.join(f'{each:10.1f}' for each in of)}")
    for name, of_two in (("with / without", it.beside), ("without / without", it.by_chance)):
        print(f"  ratio of p99, {name}: {of_two.ratio:.2f} ({of_two.low:.2f} to {of_two.high:.2f})")
    print(f"  {it.compared} compared, {it.skipped} skipped")


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, PermissionError) as problem:
        sys.exit(str(problem))
