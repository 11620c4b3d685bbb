"""CDS Hooks, releases 1.0, 2.0.1 and the 3.0.0 ballot, as a package that knows no medicine.

Every name of `api.py` is one of this package. They are loaded when one of them is asked for, so that a module such as
`prefetch.py` can be used without Flask and marshmallow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cds_hooks.api import *  # noqa: F403


def __getattr__(name: str) -> object:
    try:
        return vars(import_module("cds_hooks.api"))[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
