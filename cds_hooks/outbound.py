"""The one way out: a guarded GET, for the keys of CDS clients and for their FHIR servers; and a POST that is guarded in
the same way, for what a person has told a page to send.

A caller names the addresses that are fetched, in a token or in a request. So each fetch is held to what a caller cannot
turn against the network that the service stands in: the host is resolved once for a connection and every address of it
is judged, the connection goes to the address that was judged, redirects and proxies of the environment are not
followed, and time and size are bounded. All fetches of a process share one thread, whatever their number.
Specification: Security and Safety; FHIR Resource Access.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from functools import cache
from threading import Lock, Thread
from time import monotonic
from types import MappingProxyType
from typing import Any, TypeVar, cast
from urllib.parse import SplitResult, urlsplit
from weakref import WeakValueDictionary

import certifi
import h11

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_Result = TypeVar("_Result")
_Place = tuple[socket.AddressFamily, Any]

_URL = re.compile(r"(?i:https?)://[A-Za-z0-9._~%:\[\]-]+(?:[/?][!-~]*)?", re.ASCII)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_ADDRESSES_TRIED = 4
_HEADERS = 100
# A look-up of a name cannot be ended from outside, and each has a thread: beyond so many nobody is looked up.
_LOOK_UPS = 16
# In seconds: how long a connection that nobody uses is kept.
_KEPT = 15.0
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class OutboundError(Exception):
    """A fetch came to nothing; its text holds no URL and no header.

    `reason` is one of busy, refused-address, timeout, too-large, connection, certificate, redirect, scheme,
    unresolvable.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer of any status but a redirect; `seconds` is the time it took.

    `content_type` is in small letters and without parameters; the names of `headers` are in small letters.
    """

    status: int
    content_type: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    seconds: float


@dataclass(frozen=True, slots=True)
class Reach:
    """What a fetch may call beside addresses of the public internet, and over which connections.

    `internal` adds private and loopback addresses, never link-local, multicast or reserved ones; `http` adds plain http
    to loopback addresses. Connections are kept for fetches of the same reach alone, and only where it has a `client`;
    there may be `connections` of them to one server at a time.
    """

    internal: bool = False
    http: bool = False
    client: str | None = None
    connections: int = 64


@dataclass(slots=True)
class Allowance:
    """How much may still be read by several fetches together; `room` says whether so many bytes more can be kept."""

    bytes_left: int
    room: Callable[[int], bool] = lambda _: True


def fetch(
    url: str,
    *,
    headers: Mapping[str, str] = _NO_HEADERS,
    deadline: float,
    max_bytes: int,
    allow_internal: bool = False,
    allow_http: bool = False,
) -> Fetched:
    """GET `url` within `deadline` seconds from now, over a connection of its own; raises OutboundError.

    What may be called is what a Reach with these two says.
    """
    reach = Reach(allow_internal, allow_http)
    return run(get(url, reach, headers=headers, end=monotonic() + deadline, max_bytes=max_bytes))


def send(
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    deadline: float,
    max_bytes: int,
    allow_internal: bool = False,
    allow_http: bool = False,
) -> Fetched:
    """POST `body` to `url` within `deadline` seconds from now, over a connection of its own; raises OutboundError.

    It is sent once: where no answer came, nobody knows whether it was taken.
    """
    reach = Reach(allow_internal, allow_http)
    end = monotonic() + deadline
    return run(_answer("POST", url, reach, sent=body, headers=headers, end=end, max_bytes=max_bytes))


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """What a coroutine of this module, or one that awaits such, comes to; the calling thread waits for it."""
    # In a context of its own: a connection that is kept would otherwise keep the call that opened it, patient and all.
    return Context().run(asyncio.run_coroutine_threadsafe, work, _engine().loop).result()


async def get(
    url: str,
    reach: Reach,
    *,
    headers: Mapping[str, str] = _NO_HEADERS,
    end: float,
    max_bytes: int,
    in_all: Allowance | None = None,
) -> Fetched:
    """GET `url` before `end` of the monotonic clock, name resolution included; raises OutboundError. See `run`.

    The body has at most `max_bytes`, and all that share `in_all` have no more than that together.
    """
    return await _answer("GET", url, reach, headers=headers, end=end, max_bytes=max_bytes, in_all=in_all)


async def _answer(
    method: str,
    url: str,
    reach: Reach,
    *,
    sent: bytes = b"",
    headers: Mapping[str, str],
    end: float,
    max_bytes: int,
    in_all: Allowance | None = None,
) -> Fetched:
    start = monotonic()
    target = _target(url, reach.http)
    if end <= start:
        raise _late()
    server = _engine().server(target, reach)
    late = OutboundError("busy", "no connection to this server was free in time")
    try:
        async with asyncio.timeout_at(end), server.room:
            late = _late()
            request, room = _request(method, target, reach, headers, sent), in_all or Allowance(max_bytes)
            response, body = await server.exchange(request, sent, end, max_bytes, room)
    except TimeoutError:
        raise late from None
    except ssl.SSLCertVerificationError:
        # Its text repeats the host.
        raise OutboundError("certificate", "the certificate of the host is not acceptable") from None
    except ssl.SSLError:
        raise OutboundError("connection", "the TLS of the host is not acceptable") from None
    except (OSError, h11.ProtocolError, ValueError):
        # ValueError: a header that cannot be sent. Its text repeats the header, so no text is passed on.
        raise OutboundError("connection", "the connection failed: refused, broken off, or not as HTTP has it") from None
    named = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    content_type = named.get("content-type", "").partition(";")[0].strip().lower()
    return Fetched(response.status_code, content_type, body, named, monotonic() - start)


def is_internal(address: Address) -> bool:
    """Whether an address is outside of the public internet, or hides an IPv4 address that is."""
    if isinstance(address, ipaddress.IPv4Address):
        return not address.is_global or address.is_multicast or address.is_reserved
    inner = address.ipv4_mapped or address.sixtofour
    if address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if inner is not None:
        return is_internal(inner)
    return not address.is_global or address not in _GLOBAL_UNICAST


def _target(url: str, allow_http: bool) -> SplitResult:
    try:
        parts = urlsplit(url) if _URL.fullmatch(url) else None
        if parts is not None and (parts.port == 0 or not parts.hostname):
            parts = None
    except ValueError:
        parts = None
    if parts is None:
        raise OutboundError("scheme", "not an absolute URL of printable ASCII characters without user and password")
    if parts.scheme != "https" and not allow_http:
        raise OutboundError("scheme", "https is required")
    return parts


def _request(method: str, target: SplitResult, reach: Reach, headers: Mapping[str, str], sent: bytes) -> h11.Request:
    named = {"Host": target.netloc, "Accept-Encoding": "identity", "User-Agent": "cds-hooks", **headers}
    if reach.client is None:
        named["Connection"] = "close"
    if sent:
        named["Content-Length"] = str(len(sent))
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    return h11.Request(method=method, target=path, headers=list(named.items()))


class _Engine:
    """What makes the fetches of this process: an event loop in a thread, and what its coroutines share."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._servers: WeakValueDictionary[tuple[object, ...], _Server] = WeakValueDictionary()
        self._looked_up: dict[tuple[str, int], asyncio.Future[list[_Place]]] = {}
        Thread(target=self.loop.run_forever, name="outbound", daemon=True).start()

    def server(self, target: SplitResult, reach: Reach) -> _Server:
        """The server that this leads to, as a fetch of this reach may use it."""
        plain = target.scheme == "http"
        host, port = target.hostname or "", target.port or (80 if plain else 443)
        key = plain, host, port, reach
        server = self._servers.get(key)
        if server is None:
            server = self._servers[key] = _Server(self, host, port, plain, reach)
        return server

    async def look_up(self, host: str, port: int) -> list[_Place]:
        """The addresses of a host, none where there is no such name; whoever asks meanwhile gets the same answer."""
        name = host, port
        if name not in self._looked_up:
            if len(self._looked_up) >= _LOOK_UPS:
                raise OutboundError("busy", "too many look-ups of host names are unfinished")
            self._looked_up[name] = self.loop.create_future()
            Thread(target=self._resolve, args=name, name="look-up", daemon=True).start()
        # What others wait for does not end with the patience of one.
        return await asyncio.shield(self._looked_up[name])

    def _resolve(self, host: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        places: list[_Place] = [(family, place) for family, *_, place in found]
        self.loop.call_soon_threadsafe(lambda: self._looked_up.pop((host, port)).set_result(places))


_STARTING = Lock()


def _engine() -> _Engine:
    with _STARTING:
        return _started()


@cache
def _started() -> _Engine:
    return _Engine()


# Threads do not come along into a forked worker.
os.register_at_fork(after_in_child=_started.cache_clear)


class _Server:
    """One server within one reach: the connections to it that are kept, and the room for more."""

    def __init__(self, engine: _Engine, host: str, port: int, plain: bool, reach: Reach) -> None:
        self.room = asyncio.Semaphore(reach.connections)
        self._engine = engine
        self._host, self._port, self._plain = host, port, plain
        self._reach = reach
        self._kept: list[_Connection] = []

    async def exchange(
        self, request: h11.Request, sent: bytes, end: float, max_bytes: int, in_all: Allowance
    ) -> tuple[h11.Response, bytes]:
        """The answer to a request."""
        while True:
            connection = self._take() or await self._opened(end)
            try:
                answer = await connection.exchange(request, sent, max_bytes, in_all)
            except h11.RemoteProtocolError:
                # The server may have closed what was kept while the request was on its way.
                if connection.was_stale():
                    continue
                raise
            if self._reach.client is not None and connection.is_usable():
                self._keep(connection)
            else:
                connection.close()
            return answer

    def _keep(self, connection: _Connection) -> None:
        connection.expiry = self._engine.loop.call_later(_KEPT, self._let_go, connection)
        self._kept.append(connection)

    def _let_go(self, connection: _Connection) -> None:
        self._kept.remove(connection)
        connection.close()

    def _take(self) -> _Connection | None:
        """The connection that was used last; those that were not needed for a while come to their end."""
        while self._kept:
            connection = self._kept.pop()
            if connection.expiry is not None:
                connection.expiry.cancel()
            if connection.is_usable():
                return connection
            connection.close()
        return None

    async def _opened(self, end: float) -> _Connection:
        loop = self._engine.loop
        opened = await self._connected(self._judged(await self._engine.look_up(self._host, self._port)), end)
        if self._plain:
            _, connection = await loop.create_connection(_Connection, sock=opened)
        else:
            _, connection = await loop.create_connection(
                _Connection, sock=opened, ssl=_tls(), server_hostname=self._host.rstrip(".")
            )
        return connection

    def _judged(self, places: list[_Place]) -> list[_Place]:
        """The addresses that are tried, after every one was judged; none is ever looked up again for a connection."""
        if not places:
            raise OutboundError("unresolvable", "the host name cannot be resolved")
        for _, (text, *_) in places:
            address = ipaddress.ip_address(text)
            if self._plain and not _is_loopback(address):
                raise OutboundError("scheme", "https is required for any address but a loopback one")
            if is_internal(address) and not self._plain and not (self._reach.internal and _may_be_listed(address)):
                raise OutboundError("refused-address", "the host has an address that may not be called from here")
        return places[:_ADDRESSES_TRIED]

    async def _connected(self, places: list[_Place], end: float) -> socket.socket:
        *others, last = places
        for place in others:
            # An address that swallows packets must leave time for the next one.
            with suppress(OSError):
                return await self._connect(place, (end - monotonic()) / 2)
        return await self._connect(last, None)

    async def _connect(self, place: _Place, patience: float | None) -> socket.socket:
        family, where = place
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setblocking(False)
            async with asyncio.timeout(patience):
                await self._engine.loop.sock_connect(opened, where)
        except BaseException:
            opened.close()
            raise
        return opened


class _Connection(asyncio.Protocol):
    """A connection to an address that was judged, for one request after the other."""

    def __init__(self) -> None:
        self.expiry: asyncio.TimerHandle | None = None
        self._http = h11.Connection(h11.CLIENT)
        self._news = asyncio.Event()
        self._used = False
        self._answered = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._http.our_state is h11.IDLE:
            # Nobody asked: it must not be taken for the answer to the next request.
            self._transport.abort()
            return
        self._answered = True
        self._http.receive_data(data)
        self._news.set()

    def connection_lost(self, _problem: Exception | None) -> None:
        self._http.receive_data(b"")
        self._news.set()

    def is_usable(self) -> bool:
        """Whether another request may be sent over it: nothing is left of the last answer, nor came after it."""
        return (
            self._http.our_state is h11.IDLE
            and self._http.trailing_data == (b"", False)
            and not self._transport.is_closing()
        )

    def was_stale(self) -> bool:
        """Whether it had served before and was lost without a byte of an answer."""
        return self._used and not self._answered

    def close(self) -> None:
        """End it at once; nothing is on its way."""
        self._transport.abort()

    async def exchange(
        self, request: h11.Request, sent: bytes, max_bytes: int, in_all: Allowance
    ) -> tuple[h11.Response, bytes]:
        """Send a request and read the whole answer; whatever goes wrong, the connection ends with it."""
        self._answered = False
        try:
            head, body = self._http.send(request), self._http.send(h11.Data(sent)) if sent else b""
            self._transport.write(head + body + self._http.send(h11.EndOfMessage()))
            response = await self._response()
            content = await self._body(response, max_bytes, in_all)
            if self._http.our_state is self._http.their_state is h11.DONE:
                self._http.start_next_cycle()
        except BaseException:
            self.close()
            raise
        self._used = True
        return response, content

    async def _response(self) -> h11.Response:
        event = await self._next()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next()
        if not isinstance(event, h11.Response) or len(event.headers) > _HEADERS:
            raise h11.RemoteProtocolError("no response, or one with too many headers")
        if 300 <= event.status_code < 400:
            raise OutboundError("redirect", "redirects are not followed")
        return event

    async def _body(self, response: h11.Response, max_bytes: int, in_all: Allowance) -> bytes:
        too_large = OutboundError("too-large", f"the answer has more than {max_bytes} bytes, or all have too many")
        if int(dict(response.headers).get(b"content-length", b"0")) > min(max_bytes, in_all.bytes_left):
            raise too_large
        body = bytearray()
        while isinstance(event := await self._next(), h11.Data):
            body += event.data
            in_all.bytes_left -= len(event.data)
            if len(body) > max_bytes or in_all.bytes_left < 0:
                raise too_large
            if not in_all.room(len(event.data)):
                raise OutboundError("busy", "there is no room for an answer of this size now")
        return bytes(body)

    async def _next(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._news.clear()
            await self._news.wait()
        return event


def _is_loopback(address: Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _may_be_listed(address: Address) -> bool:
    """Whether an internal address can be that of a server at all; 169.254.169.254 and its like are never."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    judged = mapped or address
    if judged.is_loopback:
        return True
    return not (judged.is_link_local or judged.is_multicast or judged.is_reserved or judged.is_unspecified)


@cache
def _tls() -> ssl.SSLContext:
    """The authorities of the system, those that SSL_CERT_FILE adds, and Mozilla's."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _late() -> OutboundError:
    return OutboundError("timeout", "there was no complete answer in time")
