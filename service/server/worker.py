"""The gunicorn worker of the service: threads, none of which a caller can keep by being slow.

gunicorn's own gives a thread to each connection before anything was sent on it, sets no end to the reading of a
request, and waits for a caller to hang up in the loop that accepts the next. A handful of silent connections stops it.
It also leaves connections that it has not accepted yet in the queue of the system, where a stop loses them. And whoever
wakes first takes a connection: a few that stay open can all end up with one process, while others have nothing to do.
"""

from __future__ import annotations

import mmap
import selectors
import socket
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

# In seconds. A body of ten megabytes comes within it over fifteen megabits a second.
_READING = 6.0
# What a caller has to send its first byte, and to hang up after an answer that says so.
_SILENCE = 4.0
_HANG_UP = 2.0
# How long a worker leaves a connection to one that has fewer.
_COURTESY = 0.001
# How many connections each worker has, and one more; 0 where there is no such worker. Shared with all that are forked.
_SLOTS = 64
_HELD = memoryview(mmap.mmap(-1, 4 * _SLOTS)).cast("i")


def forget(age: int) -> None:
    """Leave out a worker that has ended; its age is the number that gunicorn gave it."""
    _HELD[age % _SLOTS] = 0


class Worker(ThreadWorker):  # type: ignore[misc]
    """A threaded worker in which only whole requests, and those that are being sent, hold a thread."""

    def __init__(self, *args: Any, **members: Any) -> None:
        super().__init__(*args, **members)
        self._reading: dict[TConn, float] = {}
        self._hanging_up: deque[TConn] = deque()

    @property
    def nr_conns(self) -> int:
        """How many connections it has."""
        return self._connections

    @nr_conns.setter
    def nr_conns(self, number: int) -> None:
        self._connections = number
        # One that stops takes no more, and nobody leaves it any.
        _HELD[self.age % _SLOTS] = number + 1 if self.alive else 0

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, unless a worker that has fewer does, and wait, without a thread, until something comes."""
        if any(0 < held <= self._connections for held in _HELD):
            time.sleep(_COURTESY)
        self._accept(listener)

    def _accept(self, listener: socket.socket) -> bool:
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False
        self.nr_conns += 1
        connection = TConn(self.cfg, client, address, listener.getsockname())
        connection.timeout = time.monotonic() + _SILENCE
        self.pending_conns.append(connection)
        self._watch(connection, self.on_pending_socket_readable)
        return True

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept or not; a worker that stops first takes what already waits, then leaves the door."""
        super().set_accept_enabled(enabled)
        # A worker may be told to stop before it began to accept, or while it refuses for want of room.
        if not (enabled or self.alive):
            forget(self.age)
            for listener in self.sockets:
                while self._accept(listener):
                    pass
                # Whoever comes now is refused by the system, and does not wait for a process that ends.
                listener.close()
            self.sockets.clear()
            soon = time.monotonic() + 1
            for conn in self.pending_conns:
                conn.timeout = min(conn.timeout, soon)

    def handle(self, conn: TConn) -> Any:
        """One request, in a thread."""
        self._reading[conn] = time.monotonic() + _READING
        try:
            return super().handle(conn)
        finally:
            del self._reading[conn]

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """Keep the connection for the next request, or let the caller hang up, without waiting for it."""
        if not fs.cancelled() and fs.exception() is None and fs.result():
            super().finish_request(conn, fs)
            return
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
            return
        conn.timeout = time.monotonic() + _HANG_UP
        self._hanging_up.append(conn)
        self._watch(conn, self._read_to_the_end)

    def murder_pending(self) -> None:
        """Close what was silent for too long; gunicorn's loop asks for it once a second."""
        super().murder_pending()
        now = time.monotonic()
        while self._hanging_up and self._hanging_up[0].timeout <= now:
            conn = self._hanging_up.popleft()
            self.poller.unregister(conn.sock)
            self._close(conn)
        for conn, end in list(self._reading.items()):
            if end <= now:
                # A thread that reads now meets the end of the request. One that writes is given as long again.
                how = socket.SHUT_RD if now < end + _READING else socket.SHUT_RDWR
                with suppress(OSError):
                    conn.sock.shutdown(how)

    def _watch(self, conn: TConn, on_data: Any) -> None:
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(on_data, conn))

    def _read_to_the_end(self, conn: TConn, sock: socket.socket) -> None:
        """Throw away what still comes: closing a connection with unread data would take the answer back."""
        try:
            if sock.recv(65_536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._hanging_up.remove(conn)
        self.poller.unregister(sock)
        self._close(conn)

    def _close(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()
