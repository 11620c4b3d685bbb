"""The gunicorn worker of the service: threads, none of which a caller can keep by being slow.

gunicorn's own gives a thread to each connection before a request was sent on it, sets no end to the reading of one, and
waits for a caller to hang up in the loop that accepts the next. A handful of slow connections stops it. It ends when it
has as many files open as it may. It also leaves connections that it has not accepted yet in the queue of the system,
where a stop loses them. And whoever wakes first takes a connection: a few that stay open can all end up with one
process, while others have nothing to do.
"""

from __future__ import annotations

import errno
import mmap
import os
import selectors
import socket
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.http.body import Body, LengthReader
from gunicorn.http.message import Request
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

from service.server.handover import Handover
from service.server.memory import FreedMemory
from service.server.reading import Incoming

# In seconds. A body of ten megabytes comes within it over fifteen megabits a second.
_READING = 6.0
# What a caller has to send its first byte, and to hang up after an answer that says so.
_SILENCE = 4.0
_HANG_UP = 2.0
# How long a worker leaves a connection to one that has fewer.
_COURTESY = 0.001
# How long it accepts no more than it has, once the system has no more files for it.
_FEWER = 1.0
_NO_MORE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# How long nothing is worked on before what was freed is given back.
_IDLE = 1.0
# In bytes: what is read at once, and what may be there of all requests that are not whole yet.
_PIECE = 262_144
_MOST_INCOMING = 32_000_000
_PROBE_THREADS = 2
# How much less of a processor pages get than hooks, where both want it: a third.
_NICE = 5
# How many connections each worker has, and one more; 0 where there is no such worker. Shared with all that are forked.
_SLOTS = 64
_HELD = memoryview(mmap.mmap(-1, 4 * _SLOTS)).cast("i")


def forget(age: int) -> None:
    """Leave out a worker that has ended; its age is the number that gunicorn gave it."""
    _HELD[age % _SLOTS] = 0


class _Unreader(SocketUnreader):  # type: ignore[misc]
    """What was collected of a request, then what else comes on its connection."""

    pieces: deque[bytes]

    def chunk(self, size_hint: int | None = None) -> bytes:
        piece: bytes = self.pieces.popleft() if self.pieces else super().chunk(size_hint)
        return piece

    def take_rest(self) -> bytes:
        """What came behind the request."""
        rest: bytes = self.take_buffered() + b"".join(self.pieces)
        self.pieces.clear()
        return rest


class JoinedBody(Body):  # type: ignore[misc]
    """A body of known length, put together once; gunicorn's own is copied twice on its way."""

    reader: LengthReader

    def read(self, size: int | None = None) -> bytes:
        """So many bytes, or all; fewer only where no more come."""
        if self.buf.tell():
            # A line of it was read before.
            return bytes(super().read(size))
        wanted = missing = min(self.getsize(size), self.reader.length)
        unreader, pieces = self.reader.unreader, []
        piece = unreader.take_buffered()
        while missing > 0 and (piece := piece or unreader.chunk(missing)):
            pieces.append(piece[:missing])
            missing, piece = missing - len(piece), piece[missing:]
        if piece:
            unreader.unread(piece)
        self.reader.length -= wanted
        return b"".join(pieces)


class _Request(Request):  # type: ignore[misc]
    body: Any

    def set_body_reader(self) -> None:
        super().set_body_reader()
        if isinstance(self.body.reader, LengthReader):
            self.body = JoinedBody(self.body.reader)


class Worker(ThreadWorker):  # type: ignore[misc]
    """A threaded worker in which only requests that are whole, large bodies of callers who may send them, and answers
    that are being sent hold a thread. Whoever asks whether it lives has threads apart. With a `handover`, pages go to
    whoever takes what is handed over, as long as somebody does."""

    handover: Handover | None = None
    # Whether it accepts connections, and so others leave some to it.
    _accepts = True

    def __init__(self, *args: Any, **members: Any) -> None:
        super().__init__(*args, **members)
        # Connections on which a request comes in or is worked on, each with the end of its time to be read.
        self._receiving: dict[TConn, float] = {}
        self._handling: dict[TConn, float] = {}
        self._incoming = 0
        self._hanging_up: deque[TConn] = deque()
        self._more_again = 0.0
        self._worked = 0.0
        self._freed: FreedMemory

    def init_process(self) -> None:
        """Serve, until it is told to stop."""
        self._probes = ThreadPoolExecutor(_PROBE_THREADS)
        # What this process has at rest, and not the one that it was forked from.
        self._freed = FreedMemory()
        super().init_process()

    @property
    def nr_conns(self) -> int:
        """How many connections it has."""
        return self._connections

    @nr_conns.setter
    def nr_conns(self, number: int) -> None:
        self._connections = number
        # One that stops takes no more, and nobody leaves it any.
        if self._accepts:
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
        except OSError as problem:
            if problem.errno not in _NO_MORE:
                raise
            self.worker_connections = self.nr_conns
            self._more_again = time.monotonic() + _FEWER
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

    def on_pending_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Read the first request of a connection."""
        self.pending_conns.remove(conn)
        self._begin(conn)
        self._receive(conn, client)

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Read a further request of a connection."""
        self.keepalived_conns.remove(conn)
        self._begin(conn)
        self._receive(conn, client)

    def enqueue_req(self, conn: TConn) -> None:
        """Have a request handled by a thread."""
        self._worked = time.monotonic()
        threads = self._probes if conn.incoming.is_probe else self.tpool
        threads.submit(self.handle, conn).add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def handle(self, conn: TConn) -> Any:
        """One request, in a thread."""
        self._handling[conn] = time.monotonic() + _READING
        try:
            if not conn.initialized:
                conn.data_ready = True
                conn.init()
                conn.parser.unreader, conn.parser.mesg_class = _Unreader(conn.sock), _Request
            conn.parser.unreader.pieces = conn.incoming.pieces
            return super().handle(conn)
        finally:
            del self._handling[conn]

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """Keep the connection for the next request, or let the caller hang up, without waiting for it."""
        if not fs.cancelled() and fs.exception() is None and fs.result():
            if rest := conn.parser.unreader.take_rest():
                self._watch(conn, self._receive)
                self._begin(conn)
                self._take(conn, rest)
            else:
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
        while self._receiving and next(iter(self._receiving.values())) <= now:
            self._give_up(next(iter(self._receiving)))
        for conn, end in list(self._handling.items()):
            if end <= now:
                # A thread that reads now meets the end of the request. One that writes is given as long again.
                how = socket.SHUT_RD if now < end + _READING else socket.SHUT_RDWR
                with suppress(OSError):
                    conn.sock.shutdown(how)

        if self._more_again <= now:
            self.worker_connections = self.cfg.worker_connections
        if not self._handling and now - self._worked > _IDLE:
            self._freed.give_back(now)

    def _keepalive_after(self, conn: TConn, keepalive: Any) -> bool:
        """Whether the connection can be used again: nobody waits for the part of a body that was not read."""
        if getattr(conn.parser.mesg.body.reader, "length", 1) == 0:
            return bool(keepalive)
        return bool(conn.incoming.whole and super()._keepalive_after(conn, keepalive))

    def _begin(self, conn: TConn) -> None:
        conn.incoming = Incoming()
        self._receiving[conn] = time.monotonic() + _READING
        self.poller.modify(conn.sock, selectors.EVENT_READ, partial(self._receive, conn))

    def _receive(self, conn: TConn, sock: socket.socket) -> None:
        try:
            piece = sock.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self._take(conn, piece)

    def _take(self, conn: TConn, piece: bytes) -> None:
        """Go on with a piece of a request; an empty one is the end of what comes."""
        self._incoming += len(piece)
        if not piece or conn.incoming.add(piece):
            self._hand_over(conn)
        while self._incoming > _MOST_INCOMING:
            self._give_up(next(iter(self._receiving)))

    def _give_up(self, conn: TConn) -> None:
        """Let a thread tell the caller that the request did not come whole."""
        with suppress(OSError):
            conn.sock.shutdown(socket.SHUT_RD)
        self._hand_over(conn)

    def _hand_over(self, conn: TConn) -> None:
        self.poller.unregister(conn.sock)
        del self._receiving[conn]
        self._incoming -= conn.incoming.size
        if conn.incoming.size:
            conn.incoming.finish()
            self._go_on(conn)
        else:
            self._close(conn)

    def _go_on(self, conn: TConn) -> None:
        """Have what came handled, here or by whoever works on pages."""
        came, to = conn.incoming, self.handover
        if came.is_page and came.whole and to and to.give(conn.sock, b"".join(came.pieces)):
            self._close(conn)
        else:
            self.enqueue_req(conn)

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


class PageWorker(Worker):
    """Works on the pages that others hand over, a connection for each, and gives way to them."""

    handover: Handover
    sockets: list[Any]
    _accepts = False

    def init_process(self) -> None:
        """Serve, until it is told to stop."""
        os.nice(_NICE)
        # Whoever comes after the others have left is refused by the system.
        for listener in self.sockets:
            listener.close()
        self.sockets = [self.handover.out]
        # What comes next on a connection may be a hook.
        self.cfg.set("keepalive", 0)
        super().init_process()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take what is handed over or not; one that stops first takes what already waits."""
        if enabled:
            self.handover.open(self.age)
        else:
            self.handover.shut(self.age)
        super().set_accept_enabled(enabled)

    def accept(self, listener: socket.socket) -> None:
        """Take a connection."""
        self._accept(listener)

    def _accept(self, _listener: socket.socket) -> bool:
        taken = self.handover.take()
        if taken is None:
            return False
        client, read = taken
        try:
            connection = TConn(self.cfg, client, client.getpeername(), client.getsockname())
        except OSError:
            # Whoever waited for it has left.
            client.close()
            return True
        self.nr_conns += 1
        self._watch(connection, self._receive)
        self._begin(connection)
        self._take(connection, read)
        return True

    def _go_on(self, conn: TConn) -> None:
        self.enqueue_req(conn)
