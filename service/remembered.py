"""What short texts came to, remembered between calls: charts repeat their dates and words.

Callers choose the texts, so that of a long one nothing is kept: thousands of them would fill the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Generic, TypeVar

_T = TypeVar("_T")
_LONG = 256
_MOST = 4096


class Remembered(Generic[_T]):
    """A function of one text, as a decorator; `cache` is the memory, of the newest texts below 256 characters."""

    def __init__(self, read: Callable[[str], _T]) -> None:
        self._read, self.cache = read, lru_cache(maxsize=_MOST)(read)

    def __call__(self, text: str) -> _T:
        return self.cache(text) if len(text) < _LONG else self._read(text)
