"""Hostile requests: the fixtures with some of their nodes replaced, deleted, doubled, nested or given odd siblings.

    python -m tests.fuzz --count 100000

calls the service in process, and says what came back, what took longest and what memory it took. It ends with 1 where
an answer was a fault of the service, or no JSON. The same seed makes the same requests.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flask.testing import FlaskClient

from service.app import create_app
from service.commands.replay import read_folder
from service.server.memory import resident
from tests.charts import CLOCK

FIXTURES = Path(__file__).parents[1] / "fixtures"
_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 1e308, float("nan"), float("-inf"), 0.1, "", " ", "a", "12345", "null", "{}",
    "0000-00-00", "2026-13-45", "9999-12-31T23:59:60Z", "\ud800", "\x00", "é" * 3, "x" * 100_000, "../..;/", "urn:oid:",
    "http://snomed.info/sct", "Patient/", "#", [], [[]], [None], [{}], {}, {"a": None}, {"resourceType": []},
    {"resourceType": "Bundle", "entry": [None, 1, {"resource": []}]}, {"coding": "a"}, {"value": {}},
    {"extension": [1]},
    [{"url": 1}], {"reference": []}, {"start": 1, "end": "x"},
)  # fmt: skip


class Hostile(NamedTuple):
    """One request: the path of its service, what it was made of, and its body."""

    path: str
    name: str
    body: bytes


class Answered(NamedTuple):
    """What came back for it: status, whether it is JSON, and seconds."""

    status: int
    is_json: bool
    seconds: float


def client() -> FlaskClient:
    """The service, in process."""
    return create_app(clock=lambda: CLOCK).test_client()


def hostile_requests(count: int, seed: int) -> Iterator[Hostile]:
    """So many requests, of all fixtures in turn."""
    generator = random.Random(seed)  # noqa: S311 - the same requests each time
    folder = read_folder(FIXTURES).requests
    services = {entry["hook"]: entry["id"] for entry in reversed(client().get("/cds-services").get_json()["services"])}
    names = sorted(folder)
    for number in range(count):
        name = names[number % len(names)]
        request = _copied(folder[name])
        service = name.rpartition("/")[0] or services[request["hook"]]
        for _ in range(generator.choice((1, 1, 2, 4))):
            _mutate(request, generator)
        yield Hostile(f"/cds-services/{service}", name, json.dumps(request).encode())


def call(client: FlaskClient, hostile: Hostile) -> Answered:
    """Call the service with it."""
    start = time.perf_counter()
    answer = client.post(hostile.path, data=hostile.body, content_type="application/json")
    took = time.perf_counter() - start
    try:
        is_json = isinstance(json.loads(answer.get_data()), dict)
    except ValueError:
        is_json = False
    return Answered(answer.status_code, is_json, took)


def _mutate(request: dict[str, Any], generator: random.Random) -> None:
    """Change one node of it, in place."""
    places = list(_places(request))
    if not places:
        return
    owner, key = generator.choice(places)
    match generator.randrange(8):
        case 0:
            del owner[key]
        case 1:
            owner[key] = [owner[key], _copied(owner[key])]
        case 2:
            owner[key] = {"a": owner[key]} if generator.random() < 0.5 else [owner[key]]
        case 3 if isinstance(owner, dict):
            owner[f"_{key}"] = _copied(generator.choice(_ODD))
        case 4 if isinstance(owner, list):
            owner.insert(key, _copied(generator.choice(_ODD)))
        case 5:
            other, place = generator.choice(places)
            owner[key] = _copied(other[place]) if len(json.dumps(other[place])) < 100_000 else None
        case 6:
            nested: Any = owner[key]
            for _ in range(generator.choice((3, 30, 150))):
                nested = [nested] if generator.random() < 0.5 else {"extension": nested}
            owner[key] = nested
        case _:
            owner[key] = _copied(generator.choice(_ODD))


def _copied(node: Any) -> Any:
    return json.loads(json.dumps(node))


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Each member and element within, as what it lies in and its name or number there."""
    waiting = [node]
    while waiting:
        owner = waiting.pop()
        for key, value in list(owner.items()) if isinstance(owner, dict) else list(enumerate(owner)):
            yield owner, key
            if isinstance(value, dict | list):
                waiting.append(value)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="how many requests (default: 10000)")
    parser.add_argument("--seed", type=int, default=11, help="what they are made of (default: 11)")
    arguments = parser.parse_args()
    service = client()
    statuses: Counter[int] = Counter()
    faults: list[str] = []
    slowest = (0.0, "")
    first = 0
    for number, hostile in enumerate(hostile_requests(arguments.count, arguments.seed)):
        answered = call(service, hostile)
        statuses[answered.status] += 1
        slowest = max(slowest, (answered.seconds, hostile.name))
        if answered.status >= 500 or not answered.is_json:
            faults.append(f"{number} {hostile.name}: {answered.status}")
        if number == arguments.count // 10:
            first = resident()
    print(f"statuses: {dict(sorted(statuses.items()))}")
    print(f"slowest: {1000 * slowest[0]:.0f} ms, {slowest[1]}")
    print(f"memory after a tenth and after all: {first >> 20} MB, {resident() >> 20} MB")
    for fault in faults[:20]:
        print(f"fault: {fault}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
