"""What large charts leave in memory: ``python -m bench.memory``.

For each size, eight connections call the service for some seconds; then nobody does. Printed is the memory of the
largest worker before, at most during, and at rest after that, and how many calls were answered, and refused for want of
room. Needs Linux, as the figures of the processes are read from /proc.
"""

import argparse
import http.client
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from bench.__main__ import SERVICE, Server
from bench.charts import PATH, Chart, requests

CHARTS = [
    Chart("3 MB", 100, 3_000, complaint=False),
    Chart("3 MB", 100, 3_000, complaint=True),
    Chart("10 MB", 300, 9_500, complaint=False),
    Chart("10 MB", 300, 9_500, complaint=True),
]
CONNECTIONS = 8
_REST = 5.0
_EVERY = 0.02


def load(port: int, body: bytes, end: float) -> Counter[int]:
    """Call again and again over one connection until this time; how often each status came."""
    statuses: Counter[int] = Counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while time.monotonic() < end:
        try:
            connection.request("POST", PATH, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            statuses[answer.status] += 1
        except (ConnectionError, http.client.HTTPException):
            # A refusal that comes while the body is being sent, and then the end of the connection.
            statuses[0] += 1
            connection.close()
    connection.close()
    return statuses


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="how long each load lasts (default: 10)")
    seconds = parser.parse_args().seconds
    print(f"{'chart':8}{'complaint':>10} |{'before':>8}{'at most':>9}{'at rest':>9} |{'answered':>10}{'refused':>9}")
    # The pages to try it, and the EHR behind them, are not there where patients are.
    os.environ.setdefault("SITBONE_PAGES", "off")
    server = Server(SERVICE)
    try:
        server.wait()
        for chart in CHARTS:
            body = next(requests(chart, fresh=False)).partition(b"\r\n\r\n")[2]
            before, most = server.resident_mb(), 0.0
            end = time.monotonic() + seconds
            with ThreadPoolExecutor(CONNECTIONS) as callers:
                calls = [callers.submit(load, server.port, body, end) for _ in range(CONNECTIONS)]
                while not all(call.done() for call in calls):
                    most = max(most, server.resident_mb())
                    time.sleep(_EVERY)
            statuses = sum((call.result() for call in calls), Counter())
            time.sleep(_REST)
            print(
                f"{chart.name:8}{chart.complaint!s:>10} |{before:8.0f}{most:9.0f}{server.resident_mb():9.0f} |"
                f"{statuses[200]:10}{statuses.total() - statuses[200]:9}",
                flush=True,
            )
    finally:
        server.stop()


if __name__ == "__main__":
    main()
