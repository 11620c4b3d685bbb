"""New knowledge, signatures, signers and clients for a service that runs, without a call lost.

SIGHUP has the process that started the workers make a new application of what lies there now. What cannot be used is
refused, and what was there stays. It is tried in a process of its own first: whatever is wrong with a folder ends that
one, and never the service.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import TypeVar

from service.settings import SettingsError

_App = TypeVar("_App")
_LOG = logging.getLogger("sitbone")
# What `sitbone reload --check` is to a running service: the same program, with the same settings.
CHECK = (sys.executable, "-c", "from service.cli import main; main()", "reload", "--check")
# In seconds.
_LONGEST = 60


def why_not() -> str:
    """What keeps what lies there now from being used, as a sentence; empty where nothing does."""
    try:
        tried = subprocess.run(CHECK, capture_output=True, text=True, timeout=_LONGEST, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"it was not loaded within {_LONGEST} seconds."
    if tried.returncode == 0:
        return ""
    # With 2 a command says in one sentence what is wrong; anything else is a fault, of which nothing is repeated.
    return tried.stderr.strip() if tried.returncode == 2 else f"a fault, with exit code {tried.returncode}."


def renewed(
    make: Callable[[], _App], refused: tuple[type[Exception], ...], why: Callable[[], str] = why_not
) -> _App | None:
    """A new application; None where it is refused, with the reason in the log. `refused` are the errors by which `make`
    says that something cannot be used.
    """
    reason = why()
    kinds: tuple[type[Exception], ...] = (SettingsError, OSError, *refused)
    if not reason:
        try:
            made = make()
        except kinds as problem:
            # It has changed since it was tried.
            reason = str(problem)
        else:
            _LOG.warning("reload: taken")
            return made
    _LOG.error("reload: refused, what was there stays: %s", reason)
    return None
