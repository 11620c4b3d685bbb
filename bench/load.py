"""The load: calls over a few kept-alive connections.

Runs as a process of its own (``python -m bench.load``), so that its work is no server's: a line of JSON asks for a
round, a line of JSON tells how long it and each call took. One thread and raw sockets: the load shares the cores with
what it loads.
"""

import contextlib
import json
import re
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator

from bench.charts import Chart, requests
from bench.trust import Trust


class _Connection:
    """One connection, opened when it is first needed and again when the server has closed it. It carries one call."""

    def __init__(self, port: int, selector: selectors.BaseSelector) -> None:
        self.started = 0.0
        self._port = port
        self._selector = selector
        self._socket: socket.socket | None = None
        self._unsent = memoryview(b"")
        self._received = bytearray()
        self._length: int | None = None

    def send(self, call: bytes) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setblocking(False)
            self._selector.register(self._socket, selectors.EVENT_READ, self)
        self._unsent = memoryview(call)
        self._received = bytearray()
        self._length = None
        self._send_on(self._socket)

    def advance(self) -> bool:
        """Go on where the socket was not ready; true when the answer is complete."""
        if self._socket is None:
            return False
        if self._unsent:
            self._send_on(self._socket)
            return False
        chunk = self._socket.recv(1 << 20)
        self._received += chunk
        if self._length is None and (head := self._received.find(b"\r\n\r\n")) >= 0:
            self._length = head + 4 + _content_length(bytes(self._received[:head]))
        if self._length is not None and len(self._received) >= self._length:
            if re.search(rb"(?im)^connection: *close", self._received[:1000]):
                self.close()
            return True
        if not chunk:
            raise RuntimeError("the server closed a connection before its answer was complete")
        return False

    def close(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def _send_on(self, to: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            self._unsent = self._unsent[to.send(self._unsent) :]
        self._selector.modify(to, selectors.EVENT_WRITE if self._unsent else selectors.EVENT_READ, self)


def _content_length(head: bytes) -> int:
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"the server answered {head.splitlines()[0].decode('latin-1')}")
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    if length is None:
        raise RuntimeError("the server answered without a Content-Length")
    return int(length[1])


def offer(
    calls: Iterator[bytes], *, port: int, seconds: float, connections: int = 8, rate: float | None = None
) -> list[float]:
    """Call for ``seconds`` and return how long each call took, in seconds.

    Without ``rate`` each connection calls again as soon as it has its answer. With it that many calls a second fall
    due, and a call's time counts from when it was due: one that waited for a free connection counts as slow. When the
    ``calls`` come to an end, so does the round.

    Raises:
        RuntimeError: an answer was not 200, or not whole.
    """
    selector = selectors.DefaultSelector()
    everyone = [_Connection(port, selector) for _ in range(connections)]
    idle = deque(everyone)
    took: list[float] = []
    due = time.perf_counter()
    end = due + seconds
    while (now := time.perf_counter()) < end or len(idle) < connections:
        while idle and now < end and due <= now:
            call = next(calls, None)
            if call is None:
                end = now
                break
            connection = idle.popleft()
            if rate is None:
                due = time.perf_counter()
            connection.started = due
            connection.send(call)
            due += 1 / rate if rate is not None else 0
            now = time.perf_counter()
        pause = min(due, end) - now if rate is not None and idle and now < end else 1
        for key, _ in selector.select(max(pause, 0)):
            if key.data.advance():
                took.append(time.perf_counter() - key.data.started)
                idle.append(key.data)
    for connection in everyone:
        connection.close()
    selector.close()
    return took


def main() -> None:
    """Serve rounds until the input ends."""
    for line in sys.stdin:
        ask = json.loads(line)
        # Made before the round: signing is the client's work, and no part of what is measured.
        tokens = Trust(**ask["trust"]).tokens(ask["seconds"], ask["rate"]) if ask["trust"] else None
        calls = requests(Chart(**ask["chart"]), fresh=ask["fresh"], tokens=tokens)
        began = time.perf_counter()
        took = offer(calls, port=ask["port"], seconds=ask["seconds"], rate=ask["rate"])
        sys.stdout.write(json.dumps({"seconds": time.perf_counter() - began, "took": took}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
