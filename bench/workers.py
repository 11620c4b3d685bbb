"""Which gunicorn worker suits the service: ``python -m bench.workers``.

Each row is a worker class with a number of threads that work at a time. Two loads: calls that only compute, and the
same with one call in ten waiting 100 ms, as one does that asks a FHIR server. Rows take turns, round by round.
"""

import argparse
import itertools
import os
import statistics
import sys
import time
from typing import Any

from bench.__main__ import Server
from bench.charts import SIZES, Chart, requests
from bench.load import offer

CHART = Chart("small", *SIZES["small"], complaint=True)
KINDS = [("sync", 1), *(("gthread", threads) for threads in (1, 2, 4, 8))]
CONNECTIONS = 16
ROUNDS = 3
_WAIT = 0.1
_ONE_IN = 10


def serve(worker_class: str, threads: int, *, waits: bool) -> None:
    """The service in this process; every tenth call waits, if told so."""
    from service.app import create_app  # noqa: PLC0415
    from service.server import capacity  # noqa: PLC0415 - only the server processes need the service
    from service.server.serve import serve as run  # noqa: PLC0415
    from service.settings import Settings  # noqa: PLC0415

    port = int(os.environ["SITBONE_PORT"])
    settings = Settings(port=port, worker_class=worker_class, threads=threads, log_level="warning")
    # A queue is what is to be seen here; the service would refuse its end.
    capacity.LONGEST_WAIT = 60
    app = create_app(settings)
    if waits:
        answer, numbers = app.view_functions["cds_hooks.call"], itertools.count(1)

        def call(service_id: str) -> Any:
            response = answer(service_id=service_id)
            if next(numbers) % _ONE_IN == 0:
                time.sleep(_WAIT)
            return response

        app.view_functions["cds_hooks.call"] = call
    run(settings, app)


def measure(worker_class: str, threads: int, *, waits: bool, seconds: float) -> tuple[float, float, float]:
    """Calls a second, median and 99th percentile of the latency in milliseconds."""
    server = Server([sys.executable, "-m", "bench.workers", "serve", worker_class, str(threads), str(int(waits))])
    try:
        server.wait()
        offer(requests(CHART, fresh=True), port=server.port, seconds=seconds / 3, connections=CONNECTIONS)
        began = time.monotonic()
        took = offer(requests(CHART, fresh=True), port=server.port, seconds=seconds, connections=CONNECTIONS)
        passed = time.monotonic() - began
    finally:
        server.stop()
    took.sort()
    return len(took) / passed, took[len(took) // 2] * 1000, took[len(took) * 99 // 100] * 1000


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[3]), waits=sys.argv[4] == "1")
        return
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="how long each measurement takes (default: 3)")
    seconds = parser.parse_args().seconds
    cases = list(itertools.product(KINDS, (False, True)))
    taken: dict[tuple[tuple[str, int], bool], list[tuple[float, float, float]]] = {case: [] for case in cases}
    for number in range(ROUNDS):
        # There and back, so that no row always has the same neighbour or hour.
        for kind, waits in cases if number % 2 == 0 else reversed(cases):
            taken[kind, waits].append(measure(*kind, waits=waits, seconds=seconds))
    print(f"{'worker':10}{'threads':>8} |{'calls/s':>9}{'p50':>8}{'p99':>8} |{'one in ten':>12}{'p50':>8}{'p99':>8}")
    for kind in KINDS:
        figures = [
            statistics.median(column) for waits in (False, True) for column in zip(*taken[kind, waits], strict=True)
        ]
        print("{:10}{:>8} |{:>9.0f}{:>8.1f}{:>8.1f} |{:>12.0f}{:>8.1f}{:>8.1f}".format(*kind, *figures), flush=True)


if __name__ == "__main__":
    main()
