"""The one way out: a guarded GET, for the keys of CDS clients and for their FHIR servers.

A caller names the addresses that are fetched, in a token or in a request. So each fetch is held to what a caller cannot
turn against the network that the service stands in: the host is resolved once and every address of it is judged, the
connection goes to the address that was judged, redirects and proxies of the environment are not followed, and time
and size are bounded. Specification: Security and Safety; FHIR Resource Access.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, urlsplit

import certifi

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_URL = re.compile(r"(?i:https?)://[A-Za-z0-9._~%:\[\]-]+(?:[/?][!-~]*)?", re.ASCII)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_CHUNK = 65_536
_ADDRESSES_TRIED = 4
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class OutboundError(Exception):
    """A fetch came to nothing; its text holds no URL and no header.

    `reason` is one of refused-address, timeout, too-large, connection, certificate, redirect, scheme, unresolvable.
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


def fetch(
    url: str,
    *,
    headers: Mapping[str, str] = _NO_HEADERS,
    deadline: float,
    max_bytes: int,
    allow_internal: bool = False,
    allow_http: bool = False,
) -> Fetched:
    """GET `url` within `deadline` seconds from now, name resolution included; raises OutboundError.

    Only addresses of the public internet are called. `allow_internal` adds private and loopback ones, never link-local,
    multicast or reserved ones; `allow_http` adds plain http to loopback addresses.
    """
    attempt = _Attempt(_target(url, allow_http), headers, monotonic() + deadline, max_bytes, allow_internal)
    # Neither name resolution nor the reading of headers can be bounded from inside, so they are watched from here.
    Thread(target=attempt.run, name="outbound", daemon=True).start()
    try:
        outcome = attempt.outcome.get(timeout=max(deadline, 0))
    except Empty:
        attempt.abandon()
        raise _late() from None
    if isinstance(outcome, OutboundError):
        raise outcome
    return outcome


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


class _Attempt:
    """One fetch, run in a thread of its own, which puts one outcome into `outcome`."""

    def __init__(
        self, target: SplitResult, headers: Mapping[str, str], end: float, max_bytes: int, allow_internal: bool
    ) -> None:
        self.outcome: SimpleQueue[Fetched | OutboundError] = SimpleQueue()
        self._target = target
        self._host = target.hostname or ""
        self._plain = target.scheme == "http"
        self._headers = headers
        self._start = monotonic()
        self._end = end
        self._max_bytes = max_bytes
        self._allow_internal = allow_internal
        self._abandoned = Event()
        self._socket: socket.socket | None = None

    def abandon(self) -> None:
        """End the thread: what it waits for on its connection fails at once."""
        self._abandoned.set()
        if self._socket is not None:
            with suppress(OSError):  # it may be closed already
                self._socket.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Fetch, and leave the outcome in the queue whatever happens."""
        try:
            with self._connected(self._addresses()) as self._socket:
                self.outcome.put(self._exchange(self._socket))
        except OutboundError as problem:
            self.outcome.put(problem)
        except TimeoutError:
            self.outcome.put(_late())
        except ssl.SSLCertVerificationError:
            # Its text repeats the host.
            self.outcome.put(OutboundError("certificate", "the certificate of the host is not acceptable"))
        except ssl.SSLError:
            self.outcome.put(OutboundError("connection", "the TLS of the host is not acceptable"))
        except (OSError, HTTPException, ValueError) as problem:
            # ValueError: a header that cannot be sent. Its text repeats the header, so no text is passed on.
            self.outcome.put(OutboundError("connection", f"the connection failed: {type(problem).__name__}"))

    def _left(self) -> float:
        left = self._end - monotonic()
        if left <= 0 or self._abandoned.is_set():
            raise _late()
        return left

    def _addresses(self) -> list[tuple[socket.AddressFamily, Any]]:
        """The addresses of the host, every one of them judged; none is ever looked up again."""
        port = self._target.port or (80 if self._plain else 443)
        try:
            found = socket.getaddrinfo(self._host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise OutboundError("unresolvable", "the host name cannot be resolved") from None
        for *_, (text, *_) in found:
            address = ipaddress.ip_address(text)
            if self._plain and not _is_loopback(address):
                raise OutboundError("scheme", "https is required for any address but a loopback one")
            if is_internal(address) and not self._plain and not (self._allow_internal and _may_be_listed(address)):
                raise OutboundError("refused-address", "the host has an address that may not be called from here")
        return [(family, place) for family, *_, place in found[:_ADDRESSES_TRIED]]

    def _connected(self, addresses: list[tuple[socket.AddressFamily, Any]]) -> socket.socket:
        for others in range(len(addresses) - 1, -1, -1):
            family, place = addresses[-1 - others]
            # An address that swallows packets must leave time for the next one.
            left = self._left() / (2 if others else 1)
            opened = socket.socket(family, socket.SOCK_STREAM)
            try:
                opened.settimeout(left)
                opened.connect(place)
            except OSError:
                opened.close()
                if not others:
                    raise
            else:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                opened.settimeout(max(self._end - monotonic(), 0.001))
                return opened if self._plain else _tls().wrap_socket(opened, server_hostname=self._host.rstrip("."))
        raise OutboundError("unresolvable", "the host name has no address")

    def _exchange(self, opened: socket.socket) -> Fetched:
        target = self._target
        opened.settimeout(self._left())
        connection = HTTPConnection(self._host)
        connection.sock = opened
        connection.request(
            "GET",
            (target.path or "/") + (f"?{target.query}" if target.query else ""),
            headers={
                "Host": target.netloc,
                "Accept-Encoding": "identity",
                "Connection": "close",
                "User-Agent": "cds-hooks",
                **self._headers,
            },
        )
        with connection.getresponse() as response:
            if 300 <= response.status < 400:
                raise OutboundError("redirect", "redirects are not followed")
            body = self._read(response)
            return Fetched(
                response.status,
                response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
                body,
                {name.lower(): value for name, value in response.headers.items()},
                monotonic() - self._start,
            )

    def _read(self, response: HTTPResponse) -> bytes:
        too_large = OutboundError("too-large", f"the answer has more than {self._max_bytes} bytes")
        if response.length is not None and response.length > self._max_bytes:
            raise too_large
        body = bytearray()
        while chunk := response.read(min(_CHUNK, self._max_bytes + 1 - len(body))):
            body += chunk
            if len(body) > self._max_bytes:
                raise too_large
        if response.length:
            raise OutboundError("connection", "the answer ended before its announced length")
        return bytes(body)


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
