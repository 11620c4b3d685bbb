"""Reads the audit trail once an hour for what has stopped, is not read, or fires otherwise than a site expects.

The figures are of whole days and change once a day: a counter that moved with a call could, beside a list of visits,
tell what a patient has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.audit.database import reading
from service.audit.expectations import Expected, Figure, observe
from service.background import Background

_LOG = logging.getLogger("sitbone")
# In seconds: how long after its beginning a worker looks for the first time, and then again and again.
_FIRST, _EVERY = 90.0, 3600.0


class Watch:
    """Looks for a worker and has `told` get the figures; it has no thread before `start`."""

    def __init__(
        self,
        engine: Engine,
        expectations: Mapping[str, Expected],
        told: Callable[[Sequence[Figure]], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._engine, self._expectations, self._told, self._clock = engine, expectations, told, clock
        self._thread = Background("watch", self._go_on)

    def start(self) -> None:
        """Look from now on; for a worker that begins."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._thread.close()

    def look(self) -> None:
        """Look once; what cannot be read stays as it was."""
        try:
            with reading(self._engine) as connection:
                found = observe(connection, self._expectations, self._clock().date())
        except SQLAlchemyError as problem:
            _LOG.error("watch: the audit trail cannot be read, %s", type(problem).__name__)
            return
        self._told(found)

    def _go_on(self) -> None:
        pause = _FIRST
        while not self._thread.stopping.wait(pause):
            self.look()
            pause = _EVERY
