"""How a request gets from the worker that read it to the process that works on pages: the connection itself goes there,
with what has been read of it, and comes back no more.

Pages are many milliseconds of work each, in an interpreter that does one thing at a time: a hook in the same process
would wait for them.
"""

from __future__ import annotations

import mmap
import socket

# In bytes: more than the largest form of a page, and more than the system takes as one message.
_LARGEST = 262_144


class Handover:
    """One way for all workers, made before they are forked; what is on it when a process ends is there for the next."""

    def __init__(self) -> None:
        self.into, self.out = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.into.setblocking(False)
        self.out.setblocking(False)
        # The age of the worker that takes what is handed over, as gunicorn counts it; 0 where none does.
        self._taken_by = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("i")

    def open(self, age: int) -> None:
        """From now on the worker of this age takes what is handed over."""
        self._taken_by[0] = age

    def shut(self, age: int) -> None:
        """The worker of this age takes nothing any more; another may do so already."""
        if self._taken_by[0] == age:
            self._taken_by[0] = 0

    def give(self, connection: socket.socket, read: bytes) -> bool:
        """Whether the connection is handed over with what was read of it; if not, whoever has it goes on with it."""
        if not self._taken_by[0]:
            return False
        try:
            socket.send_fds(self.into, [read], [connection.fileno()])
        except OSError:
            # Too much waits there, or it is too long.
            return False
        return True

    def take(self) -> tuple[socket.socket, bytes] | None:
        """A connection that was handed over, and what was read of it; None where there is none."""
        try:
            read, connections, _flags, _address = socket.recv_fds(self.out, _LARGEST, 1)
        except BlockingIOError:
            return None
        return (socket.socket(fileno=connections[0]), read) if connections else None
