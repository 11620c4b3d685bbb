"""How soon a suspension holds: from the end of `sitbone suspend` to the last changed answer, while others call.

Once the command has ended new connections, more of them than there are workers, each ask again and again; a service
with a folder of its own that shares the database is another host. Each round suspends one more recommendation of the
chart.
"""

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.__main__ import REPOSITORY, Server
from bench.charts import SIZES, Chart, requests
from bench.load import offer

CHART = Chart("small", *SIZES["small"], complaint=True)
COMMAND = [sys.executable, "-c", "from service.cli import main; main()"]
CONNECTIONS = 8
# Calls a second of the others, to each host.
RATE = 50.0


class _Host:
    """A service with a store of its own."""

    def __init__(self, folder: Path, database: str) -> None:
        folder.mkdir(mode=0o700)
        self.settings = {"SITBONE_STORE": str(folder), "SITBONE_STORE_URL": database, "SITBONE_AUDIT": "off"}
        self.server = Server([*COMMAND, "serve"], settings=self.settings)
        head, _, self._body = next(requests(CHART, fresh=False)).partition(b"\r\n\r\n")
        self._path = head.split()[1].decode()

    def said(self, connection: http.client.HTTPConnection) -> dict[str, Any]:
        """An answer."""
        connection.request("POST", self._path, self._body, {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer

    def recommendations(self) -> list[str]:
        """The ids of what stands on the cards of the chart."""
        with contextlib.closing(self.connection()) as connection:
            cards = self.said(connection)["cards"]
        return [each["id"] for card in cards for each in card["extension"]["org.sitbone.basis"]["recommendations"]]

    def connection(self) -> http.client.HTTPConnection:
        """A new one, which stays with the worker that takes it."""
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)

    def seconds_until(self, suspended: str, since: float) -> float:
        """How long after `since` an answer that names this as suspended has come."""
        with contextlib.closing(self.connection()) as connection:
            while suspended not in self.said(connection)["extension"]["org.sitbone.assessment"].get("suspended", ()):
                time.sleep(0.001)
            return time.perf_counter() - since


def measure(rounds: int = 20, rate: float = RATE) -> dict[str, list[float]]:
    """Seconds a round: what the command takes, and from its end until every connection to this host, and to another
    one, has had an answer without what was suspended."""
    took: dict[str, list[float]] = {"the command": [], "this host": [], "another host": []}
    while len(took["the command"]) < rounds:
        for of_round in _rounds(rounds - len(took["the command"]), rate):
            for name, seconds in of_round.items():
                took[name].append(seconds)
    return took


def _rounds(rounds: int, rate: float) -> Iterator[dict[str, float]]:
    """So many rounds, or as many as the chart has recommendations."""
    with tempfile.TemporaryDirectory() as folder:
        hosts = [_Host(Path(folder, name), f"sqlite:///{folder}/shared.sqlite") for name in ("here", "there")]
        stopped = threading.Event()
        calling = [threading.Thread(target=_call_on, args=(host.server.port, rate, stopped)) for host in hosts]
        try:
            for host, calls in zip(hosts, calling, strict=True):
                host.server.wait()
                calls.start()
            ids = hosts[0].recommendations()
            with ThreadPoolExecutor(2 * CONNECTIONS) as askers:
                for id_ in ids[:rounds]:
                    began = time.perf_counter()
                    command = [*COMMAND, "suspend", id_, "--by", "the bench", "--reason", "to measure"]
                    environ = {**os.environ, **hosts[0].settings}
                    subprocess.run(command, cwd=REPOSITORY, env=environ, stdout=subprocess.DEVNULL, check=True)
                    ended = time.perf_counter()
                    asked = [
                        [askers.submit(host.seconds_until, id_, ended) for _ in range(CONNECTIONS)] for host in hosts
                    ]
                    here, there = (max(each.result() for each in of_host) for of_host in asked)
                    yield {"the command": ended - began, "this host": here, "another host": there}
        finally:
            stopped.set()
            for calls in calling:
                if calls.is_alive():
                    calls.join()
            for host in hosts:
                host.server.stop()


def _call_on(port: int, rate: float, stopped: threading.Event) -> None:
    calls = requests(CHART, fresh=True)
    while not stopped.is_set():
        offer(calls, port=port, seconds=0.2, rate=rate)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.suspension", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how many suspensions are measured (default: 20)")
    took = measure(parser.parse_args().rounds)
    print(f"{'':14}{'median':>10}{'longest':>10}  of {len(took['the command'])}")
    for name, seconds in took.items():
        print(f"{name:14}{statistics.median(seconds) * 1000:>7.0f} ms{max(seconds) * 1000:>7.0f} ms")


if __name__ == "__main__":
    main()
