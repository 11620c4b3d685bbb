"""Counts the calls that one request makes within Sitbone, and draws the rooms that it passes, in their order.

A call is one of a Python function of `cds_hooks` or `service`; it changes the file where it is made from another one.
Libraries count for nothing. A room is `cds_hooks` or a folder of `service`. It is entered where a function of it is
called from another room, and drawn with all calls that are made until it is left; what takes fewer than ten calls is a
look at a value, and is left out. A service goes back where it enters a room that stands before one that it has been in:
first chart, then reasoning, then answers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

REQUEST = Path(__file__).parents[1] / "fixtures" / "requests" / "sudden-pop-with-bruising.json"
_LOOK = 10
_ORDER = ("chart", "reasoning", "answers")


@dataclass(slots=True)
class Call:
    """A call of a function of Sitbone, with the calls that were made until it returned."""

    room: str
    file: str
    function: str
    calls: list[Call] = field(default_factory=list)

    def count(self) -> int:
        """How many calls it is, itself among them."""
        return 1 + sum(call.count() for call in self.calls)

    def changes_of_file(self) -> int:
        """How many of the calls below it were made from another file."""
        return sum((call.file != self.file) + call.changes_of_file() for call in self.calls)

    def entered(self) -> Iterator[Call]:
        """The calls by which other rooms are entered from the room of this one."""
        for call in self.calls:
            if call.room == self.room:
                yield from call.entered()
            elif call.count() >= _LOOK:
                yield call


@dataclass(frozen=True, slots=True)
class Trace:
    """The calls of one request."""

    top: Call

    @property
    def calls(self) -> int:
        """All calls of Sitbone's own functions."""
        return self.top.count() - 1

    @property
    def changes_of_file(self) -> int:
        """Those that were made from another file of its own."""
        return sum(call.changes_of_file() for call in self.top.calls)

    def goes_back(self) -> int:
        """How often a service enters a room that stands before one in which it has been."""
        return sum(
            back < here
            for service in _within(self.top, "services")
            for rooms in [[_ORDER.index(call.room) for call in service.entered() if call.room in _ORDER]]
            for number, back in enumerate(rooms)
            for here in [max(rooms[:number], default=0)]
        )

    def lines(self) -> Iterator[str]:
        """The rooms in their order, each below the one that it is entered from."""
        yield from _drawn(self.top, 0)


def _within(call: Call, room: str) -> Iterator[Call]:
    for entered in call.entered():
        if entered.room == room:
            yield entered
        yield from _within(entered, room)


def _drawn(call: Call, depth: int) -> Iterator[str]:
    for entered in call.entered():
        yield f"{'  ' * depth}{entered.room}: {entered.function.replace('.<locals>', '')} ({entered.count()})"
        yield from _drawn(entered, depth + 1)


class _Recorder:
    """A profiler that keeps the calls of functions in these folders."""

    def __init__(self, root: Path) -> None:
        self._root = f"{root}/"
        self.top = Call("", "", "")
        self._open = [self.top]

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "return" and len(self._open) > 1:
            self._open.pop()
        elif event == "call":
            file = frame.f_code.co_filename.removeprefix(self._root)
            package, _, rest = file.partition("/")
            call = self._open[-1]
            if package in ("cds_hooks", "service"):
                room = package if package == "cds_hooks" else rest.partition("/")[0]
                call = Call(room, file, frame.f_code.co_qualname)
                self._open[-1].calls.append(call)
            # A function of a library stands for the one that has called it.
            self._open.append(call)


@cache
def _client() -> Any:
    # Another checkout may have been put before this one.
    from service.app import create_app  # noqa: PLC0415
    from service.settings import Settings  # noqa: PLC0415

    return create_app(Settings()).test_client()


def trace(request: Path = REQUEST, service_id: str = "") -> Trace:
    """The calls of this request, made after others like it; of the first service of its hook unless one is named.

    Raises RuntimeError where the service refuses it.
    """
    import service  # noqa: PLC0415

    client, body = _client(), request.read_bytes()
    hook, published = json.loads(body)["hook"], client.get("/cds-services").get_json()["services"]
    id_ = service_id or next(entry["id"] for entry in published if entry["hook"] == hook)

    def call() -> Any:
        return client.post(f"/cds-services/{id_}", data=body, content_type="application/json")

    for _ in range(3):
        if call().status_code != 200:
            raise RuntimeError(f"{id_} refuses {request.name}")
    audit_trail = _Recorder(Path(service.__file__).parents[1])
    before = sys.getprofile()
    sys.setprofile(audit_trail)
    try:
        call()
    finally:
        sys.setprofile(before)
    return Trace(audit_trail.top)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.trace", description=__doc__)
    parser.add_argument("request", nargs="?", type=Path, default=REQUEST, help="the README's chart, unless another one")
    parser.add_argument("--service", default="", metavar="ID", help="the first service of the hook, unless another one")
    parser.add_argument("--checkout", type=Path, metavar="FOLDER", help="trace the code of another checkout")
    given = parser.parse_args()
    if given.checkout:
        sys.path.insert(0, str(given.checkout.resolve()))
    traced = trace(given.request, given.service)
    print(f"{traced.calls} calls, {traced.changes_of_file} changes of file, goes back {traced.goes_back()} times")
    print(*traced.lines(), sep="\n")


if __name__ == "__main__":
    main()
