"""How many calls a process takes on: a queue that outlives the patience of an EHR is of use to nobody.

The calls that a process works on at a time are few, because they share one interpreter. Some more may be on their way
in, or wait for a moment; whatever is beyond is refused at once, with a time after which to come back.
"""

from __future__ import annotations

from threading import Semaphore
from typing import Protocol

from cds_hooks import ServiceUnavailable

# In seconds. CDS clients give up after a few, and the answer to a long chart takes its part of them.
LONGEST_WAIT = 1.0
_COME_BACK = 1


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Capacity:
    """The places of one process; made before it forks, held by threads."""

    def __init__(self, at_work: int, in_flight: int) -> None:
        self.at_work = Semaphore(at_work)
        self.in_flight = Semaphore(in_flight)

    def take(self, body: _Readable) -> Place:
        """A place for a call with this body. Raises ServiceUnavailable, at once, when there is none.

        Specification: CDS Service Response, HTTP Status Codes.
        """
        if not self.in_flight.acquire(blocking=False):
            raise _full()
        return Place(self, body)


class Place:
    """The place of one call, and its body: once that is read, the work begins, and until then nobody waits for it."""

    def __init__(self, capacity: Capacity, body: _Readable) -> None:
        self._capacity = capacity
        self._body = body
        self._works = False

    def read(self, size: int = -1, /) -> bytes:
        """So much of the body. Raises ServiceUnavailable when there is nobody to work on it within a second."""
        data = self._body.read(size)
        if not self._works:
            if not self._capacity.at_work.acquire(timeout=LONGEST_WAIT):
                raise _full()
            self._works = True
        return data

    def leave(self) -> None:
        """Make room for the next call."""
        if self._works:
            self._capacity.at_work.release()
        self._capacity.in_flight.release()


def _full() -> ServiceUnavailable:
    return ServiceUnavailable(
        "The service has as many calls in hand as it can answer in time. Call again after the time in Retry-After.",
        retry_after=_COME_BACK,
    )
