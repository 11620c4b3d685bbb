"""For what may not take long because it is long: what does not come to an end is found, and no time is measured."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

# In seconds of the processor, far beyond what any of it takes: what looks at each of 200,000 letters again for each of
# them takes longer.
_ENOUGH = 60.0


@contextlib.contextmanager
def must_end() -> Iterator[None]:
    """Fails what is within where it goes on and on, also in the middle of a regular expression."""

    def fail(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError("it does not come to an end")

    before = signal.signal(signal.SIGVTALRM, fail)
    signal.setitimer(signal.ITIMER_VIRTUAL, _ENOUGH)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
