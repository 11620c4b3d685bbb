"""How many calls a process takes on: a queue that outlives the patience of an EHR is of use to nobody.

The calls that a process works on at a time are few, because they share one interpreter. As many again may wait, for a
moment; whatever is more is refused at once, with a time after which to come back.
"""

from __future__ import annotations

from threading import Semaphore

from cds_hooks import ServiceUnavailable

# In seconds. A CDS client shows what came within half a second or so; a call that has waited longer helps no one.
_LONGEST_WAIT = 0.5
_COME_BACK = 1


class Capacity:
    """The places of one process; made before it forks, held by threads."""

    def __init__(self, at_work: int, in_flight: int) -> None:
        self._at_work = Semaphore(at_work)
        self._in_flight = Semaphore(in_flight)

    def take(self) -> None:
        """Take a place, which may need a wait of a moment. Raises ServiceUnavailable when there is none.

        Specification: CDS Service Response, HTTP Status Codes.
        """
        if not self._in_flight.acquire(blocking=False):
            raise _full()
        if not self._at_work.acquire(timeout=_LONGEST_WAIT):
            self._in_flight.release()
            raise _full()

    def leave(self) -> None:
        """Give back a place that was taken."""
        self._at_work.release()
        self._in_flight.release()


def _full() -> ServiceUnavailable:
    return ServiceUnavailable(
        "The service has as many calls in hand as it can answer in time. Call again after the time in Retry-After.",
        retry_after=_COME_BACK,
    )
