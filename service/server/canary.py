"""The canary: published requests that the running process answers again and again, at their own time.

Rare red flags are rare: whether they would still be raised can be seen of no counter of calls. So each worker decides,
once an hour, every request that is published with the product, by the same objects in memory that answer callers, and
compares it with what is known of it: for the knowledge of the package what was decided when it was released, for that
of a site what was decided after the start. Nothing of it is answered, recorded or counted as a call.
"""

from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import msgspec

from cds_hooks import CdsHooksError, ServiceRegistry
from cds_hooks.request import read_request
from service.answers.answered import Answered
from service.background import Background
from service.reasoning.differences import NOTHING_DECIDED, Decided, decided, differences

_LOG = logging.getLogger("sitbone")
FILE = Path(__file__).parent / "published.jsonl.gz"
# In seconds: how long after its beginning a worker looks for the first time, how long that takes, and every later time.
_FIRST, _FIRST_ROUND, _ROUND = 60.0, 60.0, 3600.0


class Published(msgspec.Struct, frozen=True):
    """A request that is published, for one service, with what the knowledge of the package decides of it."""

    name: str
    service: str
    hook: str
    request: msgspec.Raw
    decided: Decided = NOTHING_DECIDED


class _Head(msgspec.Struct):
    """The first line: the time of all requests."""

    clock: datetime


class Round(msgspec.Struct, frozen=True):
    """How many requests are decided otherwise than is known of them, and when that was last found out of all of them,
    in seconds since 1970."""

    differing: int
    at: float


def read_published(file: Path = FILE) -> tuple[datetime, tuple[Published, ...]]:
    """The time of the requests that are published, and these."""
    head, *lines = gzip.decompress(file.read_bytes()).splitlines()
    return msgspec.json.decode(head, type=_Head).clock, tuple(
        msgspec.json.decode(line, type=Published) for line in lines
    )


def write_published(clock: datetime, published: Iterable[Published], file: Path = FILE) -> None:
    """Write them; the same ones make the same file."""
    lines = (msgspec.json.encode(each, order="sorted") for each in (_Head(clock), *published))
    file.write_bytes(gzip.compress(b"\n".join(lines), mtime=0))


def decide(services: ServiceRegistry[Answered], each: Published) -> Decided:
    """What these services decide of a request; nothing where they refuse it."""
    try:
        service = services.find(each.service, each.hook)
        answered = service.answer(read_request(bytes(each.request), service, correlation_id="canary"))
    except CdsHooksError:
        return NOTHING_DECIDED
    return decided(answered.assessment, answered.fired)


class Canary:
    """Looks after the `published` requests by these `services`, whose clock stands at the time of the requests.

    `told` gets the result of each round. Where `as_released` they have to be decided as they were for the package;
    otherwise as the first time. It has no thread before `start`.
    """

    def __init__(
        self,
        services: Callable[[datetime], ServiceRegistry[Answered]],
        told: Callable[[Round], None],
        *,
        as_released: bool,
        file: Path = FILE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._services, self._told, self._as_released = services, told, as_released
        self._file, self._clock = file, clock
        self._thread = Background("canary", self._go_on)
        self._known: dict[str, Decided] = {}
        self._differing: dict[str, Sequence[str]] = {}

    def start(self) -> None:
        """Look from now on; for a worker that begins."""
        self._told(Round(0, self._clock()))
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._thread.close()

    def look(self, seconds: float = 0.0) -> bool:
        """Decide each request once, spread over so many seconds; False where it was to stop before it came to the end.

        Of each that is decided otherwise the log says once in which.
        """
        clock, published = read_published(self._file)
        services = self._services(clock)
        # Whatever goes wrong with one is a difference, and ends neither the round nor the thread.
        with ThreadPoolExecutor(1, thread_name_prefix="canary") as apart:
            for each in published:
                found = apart.submit(decide, services, each)
                problem = found.exception()
                self._compare(each, type(problem).__name__ if problem else found.result())
                if self._thread.stopping.wait(seconds / len(published)):
                    return False
        self._told(Round(len(self._differing), self._clock()))
        return True

    def _compare(self, each: Published, found: Decided | str) -> None:
        known = each.decided if self._as_released else self._known.get(each.name)
        if isinstance(found, str):
            differs: Sequence[str] = (found,)
        elif known is None:
            self._known[each.name], differs = found, ()
        else:
            differs = [" ".join(filter(None, each)) for each in differences(known, found)]
        if differs and each.name not in self._differing:
            _LOG.error("canary: %s is decided otherwise: %s", each.name, "; ".join(differs))
        if differs:
            self._differing[each.name] = differs
        else:
            self._differing.pop(each.name, None)

    def _go_on(self) -> None:
        pause, over = _FIRST, _FIRST_ROUND
        while not self._thread.stopping.wait(pause) and self.look(over):
            pause, over = 0.0, _ROUND


def published_of(requests: Mapping[str, bytes], services: ServiceRegistry[Answered]) -> list[Published]:
    """The requests of a folder (see service/commands/replay.py), with what these services decide of them: one in a
    subfolder is for the service of its name, the others for the first that discovery has for their hook."""
    first, made = services.first_of_hooks(), []
    for name, body in sorted(requests.items()):
        hook = msgspec.json.decode(body)["hook"]
        service = name.partition("/")[0] if "/" in name else first[hook]
        each = Published(name, service, hook, msgspec.Raw(body))
        made.append(msgspec.structs.replace(each, decided=decide(services, each)))
    return made
