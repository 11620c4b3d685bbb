"""How many calls a process takes on: a queue that outlives the patience of an EHR is of use to nobody.

The calls that a process works on at a time are few, because they share one interpreter. Some more may be on their way
in, or wait for a FHIR server; whatever is beyond is refused at once, with a time after which to come back. Where there
are several clients, none can take what is left for the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Semaphore
from typing import Protocol

from cds_hooks import ServiceUnavailable

# In seconds. CDS clients give up after a few, and the answer to a long chart takes its part of them.
LONGEST_WAIT = 1.0
# In bytes: a body up to this size needs no room, and so much may always be fetched.
SMALL_BODY = 1_000_000
# Those who ask whether the process lives must hear it also when it has as many calls as it can answer.
PROBES = ("/healthz", "/readyz", "/metrics")
_COME_BACK = 1


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Capacity:
    """The places of one process; made before it forks, shared by its threads.

    `at_work` calls are worked on at a time, `in_flight` are let in, those included. All bodies above SMALL_BODY
    take at most `large_bytes` together, and so does what is fetched beyond it; of the calls with such a body one is
    worked on at a time. With `several_clients` a call is let in when it is known whose it is, and a client has a share
    only: those whose share is used up take no place while they are told so.
    """

    def __init__(
        self, at_work: int, in_flight: int, *, large_bytes: int = 20_000_000, several_clients: bool = False
    ) -> None:
        self.at_work = Semaphore(at_work)
        # Charts of some megabytes, read side by side in one interpreter, take longer each and leave memory in pieces.
        self.large_at_work = Semaphore()
        self.changed = Condition()
        self.free = self.in_flight = in_flight
        self.free_bytes = large_bytes
        self.largest = large_bytes
        self.free_fetched = large_bytes
        self.by_client: Counter[str] = Counter()
        self.several_clients = several_clients

    def in_use(self) -> float:
        """The share of all places that is taken, from 0 to 1."""
        return 1 - self.free / self.in_flight

    def take(self, body: _Readable) -> Place:
        """A place for a call with this body. Raises ServiceUnavailable, at once, when there is none.

        Specification: CDS Service Response, HTTP Status Codes.
        """
        place = Place(self, body)
        if not self.several_clients:
            with self.changed:
                place.let_in()
        return place


class Place:
    """The place of one call, and its body: work begins once that is read."""

    def __init__(self, capacity: Capacity, body: _Readable) -> None:
        self._capacity = capacity
        self._body = body
        self._is_in = False
        self._works = self._is_large = self._works_alone = False
        self._bytes = 0
        self._fetched = 0
        self._client: str | None = None

    def let_in(self) -> None:
        """Take one of the free places; whoever calls holds `changed`. Raises ServiceUnavailable when there is none."""
        if not self._capacity.free:
            raise _full()
        self._capacity.free -= 1
        self._is_in = True

    def belongs_to(self, client: str) -> None:
        """Count the call as one of this client. Raises ServiceUnavailable when the client has its share already, or
        nothing is free.

        A client may have as many places as are free beside them: half of all where it is alone, and the more clients
        want in, the less each has. So the next one always finds something free.
        """
        capacity = self._capacity
        if not capacity.several_clients:
            return
        with capacity.changed:
            taken = capacity.by_client[client]
            if taken and taken >= capacity.free:
                raise ServiceUnavailable(
                    "The calls of this client that are not answered yet are as many as its share of the service. "
                    "Call again after the time in Retry-After.",
                    retry_after=_COME_BACK,
                )
            self.let_in()
            capacity.by_client[client] += 1
            self._client = client

    def read(self, size: int = -1, /) -> bytes:
        """So much of the body. Raises ServiceUnavailable when there is nobody to work on it within a second, or no
        room for a large one."""
        if self._works or 0 <= size <= SMALL_BODY:
            data = self._body.read(size)
        else:
            self._reserve(self._capacity.largest if size < 0 else min(size, self._capacity.largest))
            data = self._body.read(size)
            self._return_bytes(self._bytes - min(len(data), self._bytes))
            self._is_large = len(data) > SMALL_BODY
        self._work()
        return data

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """While the call waits for somebody else, another is worked on in its place.

        Raises ServiceUnavailable at the end, when there is nobody to go on with it within a second.
        """
        self._stop_work()
        yield
        self._work()

    def has_room(self, size: int) -> bool:
        """Count so many bytes as fetched for the call; False where all calls together have no room for them."""
        capacity = self._capacity
        with capacity.changed:
            before, after = (max(0, fetched - SMALL_BODY) for fetched in (self._fetched, self._fetched + size))
            if after - before > capacity.free_fetched:
                return False
            capacity.free_fetched -= after - before
            self._fetched += size
        return True

    def leave(self) -> None:
        """Make room for the next call."""
        self._stop_work()
        self._return_bytes(self._bytes)
        with self._capacity.changed:
            self._capacity.free_fetched += max(0, self._fetched - SMALL_BODY)
            self._capacity.free += self._is_in
            if self._client is not None:
                self._capacity.by_client[self._client] -= 1

    def _work(self) -> None:
        # Whoever waits for room, for a slow line or for the large body before it keeps nobody from work.
        if self._is_large and not self._works_alone:
            if not self._capacity.large_at_work.acquire(timeout=LONGEST_WAIT):
                raise _full()
            self._works_alone = True
        if not self._works:
            if not self._capacity.at_work.acquire(timeout=LONGEST_WAIT):
                raise _full()
            self._works = True

    def _stop_work(self) -> None:
        if self._works_alone:
            self._capacity.large_at_work.release()
        if self._works:
            self._capacity.at_work.release()
        self._works = self._works_alone = False

    def _reserve(self, size: int) -> None:
        with self._capacity.changed:
            if not self._capacity.changed.wait_for(lambda: self._capacity.free_bytes >= size, LONGEST_WAIT):
                raise _full()
            self._capacity.free_bytes -= size
        self._bytes = size

    def _return_bytes(self, size: int) -> None:
        if size:
            with self._capacity.changed:
                self._capacity.free_bytes += size
                self._capacity.changed.notify_all()
            self._bytes -= size


def _full() -> ServiceUnavailable:
    return ServiceUnavailable(
        "The service has as many calls as it can answer in time. Call again after the time in Retry-After.",
        retry_after=_COME_BACK,
    )
