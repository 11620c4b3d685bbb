"""Collects what comes in on a connection until a thread can read a request from it without waiting.

It only tells how much of a request is there. What a request is, and whether it is sound, the parser of gunicorn says,
which gets the same bytes: whatever looks odd here is handed over to it at once.
Specification: RFC 9112, 2.2, 5 and 6.
"""

from __future__ import annotations

import re
from collections import deque

from service.server.capacity import PROBES, SMALL_BODY
from service.why_address import APP

# In bytes; by the limits of gunicorn, which are set in serve.py, none that is sound comes near it.
_LONGEST_HEAD = 65_536
_END = b"\r\n\r\n"
_BARE_END_OF_LINE = re.compile(rb"(?<!\r)\n")
# What says how long a body is, or that it comes only when it is asked for.
_BODY = re.compile(rb"(?i)\r\n(content-length|transfer-encoding|expect)(?::[ \t]*([0-9]{1,12})[ \t]*(?=\r\n))?")
_PROBES = tuple(f"GET {path} ".encode() for path in PROBES)
_PAGES = tuple(f"{method} {APP}/".encode() for method in ("GET", "POST"))


class Incoming:
    """The bytes of one request, in the pieces in which they came.

    `whole`: all of it is there. `is_probe`: somebody asks whether the service lives; `is_page`: for the second opinion.
    """

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.size = 0
        self.whole = self.is_probe = self.is_page = False
        self._head = b""
        self._is_large = False
        # How many bytes are collected; None where there is nothing to wait for beyond the head.
        self._length: int | None = None

    def add(self, piece: bytes) -> bool:
        """Whether a thread can go on.

        That is when the request is whole, or so much of it as is collected of a large one; or when its head is there
        and the body is sent in chunks or waits to be asked for. Whoever handles a request that is not whole asks who
        sends it before reading on.
        """
        self.size += len(piece)
        if self._length is not None:
            self.pieces.append(piece)
        elif not self._find_length(piece):
            return False
        is_there = self._length is None or self.size >= self._length
        self.whole = is_there and self._length is not None and not self._is_large
        return is_there

    def finish(self) -> None:
        """Nothing more is collected: what has come of a head is handed over too."""
        if not self.pieces:
            self.pieces.append(self._head)

    def _find_length(self, piece: bytes) -> bool:
        """Look for the end of the head, and in it for the length of the whole; whether there is nothing to wait for."""
        head, begin = self._head, max(0, len(self._head) - len(_END) + 1)
        head += piece
        end = head.find(_END, begin)
        if end < 0:
            self._head = head
            return len(head) > _LONGEST_HEAD or _BARE_END_OF_LINE.search(head, begin) is not None
        end += len(_END)
        first, rest = head[:end], head[end:]
        self.pieces.extend((first, rest) if rest else (first,))
        self.is_probe, self.is_page = first.startswith(_PROBES), first.startswith(_PAGES)
        lengths = _BODY.findall(first)
        if not lengths:
            self._length = end
        elif len(lengths) == 1 and lengths[0][0].lower() == b"content-length" and lengths[0][1]:
            length = int(lengths[0][1])
            self._is_large = length > SMALL_BODY
            self._length = end + min(length, SMALL_BODY)
        return True
