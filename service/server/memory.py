"""What the allocator of the C library does with memory that was freed; other libraries than glibc do as they like."""

import ctypes
import gc
import os
from pathlib import Path

# From malloc.h of glibc.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
# In bytes: how much more than at rest is worth giving back, and in seconds how often that is looked at.
_SURPLUS = 3 * 1024 * 1024
_EVERY = 1.0
_LIBRARY = ctypes.CDLL(None)
_STATM = Path("/proc/self/statm")


def keep_freed_memory() -> None:
    """Let the allocator keep what one long chart has used for the next, in one place for all threads.

    Left alone, glibc gives the memory of a body of some megabytes back to the system after each call and has it zeroed
    again for the next, a third of the work of reading it. It also keeps a place for each thread, although the lock of
    the interpreter lets one thread at a time use theirs. Other C libraries do not have this call.
    """
    mallopt = getattr(_LIBRARY, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 1024 * 1024)
        mallopt(_M_TRIM_THRESHOLD, 64 * 1024 * 1024)
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give back to the system what was freed; other C libraries than glibc do not have this call."""
    trim = getattr(_LIBRARY, "malloc_trim", None)
    if trim is not None:
        trim(0)


def set_aside_what_is_loaded() -> None:
    """Take models and knowledge out of the garbage collector's sight, and let it run less often.

    It would otherwise walk all of them while a long chart is read, and unshare their pages between the workers; it was
    a fifth of what sorting out the lines of a population took.
    """
    gc.collect()
    # What was used to load them would lie in each process that is forked from this one.
    give_back()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    gc.enable()


def resident() -> int:
    """The memory of this process in bytes, shared memory included; 0 where the system does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class FreedMemory:
    """Gives back to the system what a process that has nothing to do has freed."""

    def __init__(self) -> None:
        self._at_rest = resident()
        self._next_look = 0.0

    def give_back(self, now: float) -> None:
        """Look, once a second at most, whether there is more than at rest; `now` is in seconds of any clock."""
        if now < self._next_look:
            return
        self._next_look = now + _EVERY
        if resident() > self._at_rest + _SURPLUS:
            gc.collect()
            give_back()
            self._at_rest = resident()
