"""A thread beside the calls of a worker, which ends when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread


class Background:
    """Does `work` in a thread of its own from `start` to `close`; it has none before, so that a process can be forked.

    `stopping` is set when it is to end: the work waits for it between what it does.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name, self._work = name, work
        self._thread: Thread | None = None
        self.stopping = Event()

    def start(self) -> None:
        """Begin; for a worker that begins."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread, and wait until it has."""
        self.stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.stopping.clear()
