"""The guarded fetch, against servers of every ill will on the loopback address."""

import asyncio
import gc
import ipaddress
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from cds_hooks import outbound
from cds_hooks.outbound import Allowance, Fetched, OutboundError, Reach, fetch, is_internal
from tests.certificates import Authority

Talk = Callable[[socket.socket], None]
GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\nContent-Length: 2\r\nX-Page: 1\r\n\r\n{}"


class Server:
    """Answers each connection with `talk`; keeps the head of each request."""

    def __init__(self, talk: Talk, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        self.heads: list[str] = []
        self.connections = 0
        # How many answers were begun and not brought to an end.
        self.talks = 0
        self._talk, self._context = talk, context
        self._listening = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._answer, args=(accepted,), daemon=True).start()

    def _answer(self, accepted: socket.socket) -> None:
        with accepted:
            try:
                opened = self._context.wrap_socket(accepted, server_side=True) if self._context else accepted
                with opened:
                    self.heads.append(opened.recv(65_536).decode("latin-1"))
                    self.talks += 1
                    self._talk(opened)
                    self.talks -= 1
            except OSError:
                pass  # the client went away

    def close(self) -> None:
        # A thread that waits in accept is woken by shutdown alone.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@contextmanager
def serving(talk: Talk, **options: Any) -> Iterator[Server]:
    server = Server(talk, **options)
    try:
        yield server
    finally:
        server.close()


def say(*parts: bytes, pause: float = 0) -> Talk:
    def talk(opened: socket.socket) -> None:
        for part in parts:
            opened.sendall(part)
            time.sleep(pause)

    return talk


def get(url: str, **options: Any) -> Fetched:
    return fetch(url, **{"deadline": 2.0, "max_bytes": 1000, "allow_http": True, **options})


def refused(url: str, **options: Any) -> str:
    with pytest.raises(OutboundError) as problem:
        get(url, **options)
    return problem.value.reason


def entry(address: str, port: int) -> tuple[Any, ...]:
    return (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Name resolution, replaced: the addresses of each name that is known."""
    known: dict[str, list[str]] = {}

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [entry(text, port) for text in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


def test_an_answer_is_given_with_status_type_body_and_headers() -> None:
    with serving(say(GOOD)) as server:
        answer = get(f"HTTP://127.0.0.1:{server.port}/a/b?c=d#e", headers={"Accept": "application/json"})

    assert (answer.status, answer.content_type, answer.body) == (200, "application/json", b"{}")
    assert answer.headers["x-page"] == "1"
    assert answer.seconds > 0
    [head] = server.heads
    assert head.startswith("GET /a/b?c=d HTTP/1.1\r\n")
    assert f"\r\nHost: 127.0.0.1:{server.port}\r\n" in head
    assert "\r\nAccept: application/json\r\n" in head


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_an_answer_of_another_status_is_an_answer(status: int) -> None:
    with serving(say(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())) as server:
        assert get(f"http://127.0.0.1:{server.port}/").status == status


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with serving(say(GOOD)) as goal:
        moved = f"HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{goal.port}/\r\nContent-Length: 0\r\n\r\n"
        with serving(say(moved.encode())) as server:
            assert refused(f"http://127.0.0.1:{server.port}/") == "redirect"
        assert goal.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "ftp://ehr.example.org/",
        "file:///etc/passwd",
        "//ehr.example.org/",
        "ehr.example.org",
        "",
        "https://",
        "https:///path",
        "https://user:pw@ehr.example.org/",
        "https://127.0.0.1\\@ehr.example.org/",
        "https://ehr.example.org:0/",
        "https://ehr.example.org:99999/",
        "https://[::1/",
        "https://ehr.example.org/a b",
        "https://ehr.example.org/a\r\nX-Injected: 1",
        "https://ehr.exämple.org/",
    ],
)
def test_what_is_not_a_plain_web_address_is_refused(url: str) -> None:
    assert refused(url) == "scheme"


def test_plain_http_is_refused_unless_allowed() -> None:
    with serving(say(GOOD)) as server:
        assert refused(f"http://127.0.0.1:{server.port}/", allow_http=False) == "scheme"
        assert refused(f"http://127.0.0.1:{server.port}/", allow_http=False, allow_internal=True) == "scheme"
    assert server.connections == 0


def test_plain_http_goes_to_loopback_addresses_alone(names: dict[str, list[str]]) -> None:
    names |= {"ehr.example.org": ["93.184.215.14"], "ehr.lan": ["10.0.0.5"], "both": ["127.0.0.1", "10.0.0.5"]}
    for host in names:
        assert refused(f"http://{host}/", allow_internal=True) == "scheme"


@pytest.mark.parametrize(
    ("address", "internal"),
    [
        ("93.184.215.14", False),
        ("2606:4700:4700::1111", False),
        ("::ffff:8.8.8.8", False),
        ("64:ff9b::808:808", False),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("10.0.0.1", True),
        ("172.16.0.1", True),
        ("192.168.1.1", True),
        ("100.64.0.1", True),
        ("169.254.169.254", True),
        ("192.0.2.1", True),
        ("224.0.0.1", True),
        ("240.0.0.1", True),
        ("255.255.255.255", True),
        ("0.0.0.0", True),  # noqa: S104
        ("::1", True),
        ("::", True),
        ("fe80::1", True),
        ("fe80::1%eth0", True),
        ("fc00::1", True),
        ("ff02::1", True),
        ("2001:db8::1", True),
        ("::ffff:10.0.0.1", True),
        ("::ffff:127.0.0.1", True),
        ("::10.0.0.1", True),
        ("2002:a00:1::", True),
        ("64:ff9b::a00:1", True),
        ("64:ff9b:1::a00:1", True),
        ("2001:0:1::1", True),
    ],
)
def test_only_addresses_of_the_public_internet_are_called_unasked(
    names: dict[str, list[str]], address: str, internal: bool
) -> None:
    assert is_internal(ipaddress.ip_address(address)) is internal
    if internal:
        names["ehr.example.org"] = [address]
        assert refused("https://ehr.example.org/") == "refused-address"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_a_loopback_address_is_refused_in_every_notation(host: str) -> None:
    assert refused(f"https://{host}/", allow_http=False) == "refused-address"


def test_one_internal_address_among_public_ones_refuses_the_host(names: dict[str, list[str]]) -> None:
    names["ehr.example.org"] = ["93.184.215.14", "10.0.0.5"]
    assert refused("https://ehr.example.org/") == "refused-address"


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "::ffff:169.254.169.254"])  # noqa: S104
def test_addresses_that_no_server_has_are_refused_although_internal_ones_are_allowed(
    names: dict[str, list[str]], address: str
) -> None:
    names["ehr.lan"] = [address]
    assert refused("https://ehr.lan/", allow_internal=True) == "refused-address"


def test_a_name_that_cannot_be_resolved_is_said(names: dict[str, list[str]]) -> None:
    assert refused("https://nowhere.example.org/") == "unresolvable"


def test_the_connection_goes_to_the_address_that_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [entry("127.0.0.1" if len(asked) == 1 else "10.0.0.5", port)]

    with serving(say(GOOD)) as server:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        assert get(f"http://rebound.example.org:{server.port}/").status == 200

    assert asked == ["rebound.example.org"]
    assert f"\r\nHost: rebound.example.org:{server.port}\r\n" in server.heads[0]


def test_the_next_address_is_tried_where_one_does_not_answer(names: dict[str, list[str]]) -> None:
    with serving(say(GOOD)) as server:
        names["two.example.org"] = ["127.0.0.2", "127.0.0.1"]
        assert get(f"http://two.example.org:{server.port}/").status == 200


def test_an_ipv6_address_is_called() -> None:
    try:
        opened = serving(say(GOOD), host="::1")
        with opened as server:
            assert get(f"http://[::1]:{server.port}/").status == 200
            assert f"\r\nHost: [::1]:{server.port}\r\n" in server.heads[0]
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(say(GOOD)) as proxy, serving(say(GOOD)) as server:
        for variable in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        assert get(f"http://127.0.0.1:{server.port}/").status == 200
    assert proxy.connections == 0


def endless_headers(opened: socket.socket) -> None:
    opened.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        opened.sendall(b"X")
        time.sleep(0.05)


@pytest.mark.parametrize(
    "talk",
    [
        say(b"", pause=20),
        say(*[bytes([letter]) for letter in GOOD], pause=0.1),
        say(GOOD.replace(b"Length: 2", b"Length: 9"), b"{", b"}", pause=20),
        endless_headers,
    ],
    ids=["silence", "letter by letter", "a slow body", "endless headers"],
)
def test_the_deadline_holds_whatever_the_server_does(talk: Talk) -> None:
    with serving(talk) as server:
        assert refused(f"http://127.0.0.1:{server.port}/", deadline=0.3) == "timeout"
        assert server.talks == 1


def test_the_deadline_holds_while_a_name_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()

    def resolve(*_: Any, **__: Any) -> list[Any]:
        assert given_up.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert refused("https://slow.example.org/", deadline=0.2) == "timeout"
    given_up.set()


def test_the_connection_of_a_fetch_that_was_given_up_ends() -> None:
    ended = threading.Event()

    def talk(opened: socket.socket) -> None:
        with suppress(OSError):
            while opened.recv(1):
                pass
        ended.set()

    with serving(talk) as server:
        assert refused(f"http://127.0.0.1:{server.port}/", deadline=0.1) == "timeout"
        assert ended.wait(10)


def test_a_deadline_that_is_over_starts_no_connection() -> None:
    with serving(say(GOOD)) as server:
        assert refused(f"http://127.0.0.1:{server.port}/", deadline=0) == "timeout"
        assert refused(f"http://127.0.0.1:{server.port}/", deadline=-1) == "timeout"
    assert server.connections == 0


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 1001\r\n", b"x" * 1001),
        (b"Content-Length: 99999999999\r\n", b"x"),
        (b"", b"x" * 1001),
        (b"Transfer-Encoding: chunked\r\n", b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"),
    ],
    ids=["announced", "announced and not sent", "until the end", "chunked"],
)
def test_a_body_over_the_limit_is_refused(head: bytes, body: bytes) -> None:
    with serving(say(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)) as server:
        assert refused(f"http://127.0.0.1:{server.port}/") == "too-large"


def test_bodies_that_share_an_allowance_have_no_more_than_that_together() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n190\r\n" + b"x" * 400 + b"\r\n0\r\n\r\n"

    async def three() -> list[Any]:
        url, in_all, end = f"http://127.0.0.1:{server.port}/", Allowance(1000), time.monotonic() + 5
        fetches = (outbound.get(url, Reach(http=True), end=end, max_bytes=500, in_all=in_all) for _ in range(3))
        return await asyncio.gather(*fetches, return_exceptions=True)

    with serving(say(chunked)) as server:
        outcomes = outbound.run(three())
    assert sorted(getattr(each, "reason", "read") for each in outcomes) == ["read", "read", "too-large"]


def test_an_answer_that_there_is_no_room_for_is_not_read_on() -> None:
    asked: list[int] = []

    def room(size: int) -> bool:
        asked.append(size)
        return sum(asked) <= 400

    async def two() -> list[Any]:
        url, end = f"http://127.0.0.1:{server.port}/", time.monotonic() + 5
        fetches = (
            outbound.get(url, Reach(http=True), end=end, max_bytes=1000, in_all=Allowance(1000, room)) for _ in range(2)
        )
        return await asyncio.gather(*fetches, return_exceptions=True)

    with serving(say(b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n" + b"x" * 300)) as server:
        outcomes = outbound.run(two())
    assert sorted(getattr(each, "reason", "read") for each in outcomes) == ["busy", "read"]


def test_a_body_at_the_limit_is_taken() -> None:
    with serving(say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000)) as server:
        assert len(get(f"http://127.0.0.1:{server.port}/").body) == 1000


@pytest.mark.parametrize(
    "talk",
    [
        say(b""),
        say(b"SSH-2.0-OpenSSH\r\n"),
        say(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf"),
        say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha"),
        say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nha"),
        say(b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 200 + b"\r\n"),
    ],
    ids=["nothing", "another protocol", "half a body", "half a chunk", "no chunk", "too many headers"],
)
def test_an_answer_that_is_none_is_a_failed_connection(talk: Talk) -> None:
    with serving(talk) as server:
        assert refused(f"http://127.0.0.1:{server.port}/") == "connection"


def test_nobody_listening_is_a_failed_connection() -> None:
    with serving(say(GOOD)) as server:
        pass
    assert refused(f"http://127.0.0.1:{server.port}/") == "connection"


@pytest.mark.parametrize("value", ["Bearer secret\r\nX-Injected: 1", "Bearer secret\n", "Bearer sec\u20acret"])
def test_a_header_that_cannot_be_sent_is_refused_and_not_repeated(value: str) -> None:
    with serving(say(GOOD)) as server, pytest.raises(OutboundError) as problem:
        get(f"http://127.0.0.1:{server.port}/", headers={"Authorization": value})
    assert problem.value.reason == "connection"
    assert "secret" not in str(problem.value)
    assert server.heads in ([], [""])


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    made = Authority(tmp_path)
    monkeypatch.setattr(outbound, "_tls", made.trusting)
    return made


def test_https_asks_for_the_name_at_the_pinned_address(names: dict[str, list[str]], authority: Authority) -> None:
    names["ehr.example.org"] = ["127.0.0.1"]
    context = authority.server("ehr.example.org")
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with serving(say(GOOD), context=context) as server:
        url = f"https://ehr.example.org:{server.port}/"
        assert refused(url) == "refused-address"
        assert get(url, allow_internal=True).body == b"{}"
    assert asked == ["ehr.example.org"]


def test_a_certificate_for_another_name_is_refused(names: dict[str, list[str]], authority: Authority) -> None:
    names["ehr.example.org"] = ["127.0.0.1"]
    with serving(say(GOOD), context=authority.server("other.example.org")) as server:
        assert refused(f"https://ehr.example.org:{server.port}/", allow_internal=True) == "certificate"
    assert server.heads == []


def test_a_certificate_of_an_unknown_authority_is_refused(
    names: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names["ehr.example.org"] = ["127.0.0.1"]
    with serving(say(GOOD), context=Authority(tmp_path).server("ehr.example.org")) as server:
        assert refused(f"https://ehr.example.org:{server.port}/", allow_internal=True) == "certificate"
    assert server.heads == []


def test_a_server_that_does_not_speak_tls_is_refused(names: dict[str, list[str]]) -> None:
    names["ehr.example.org"] = ["127.0.0.1"]
    with serving(say(GOOD)) as server:
        assert refused(f"https://ehr.example.org:{server.port}/", allow_internal=True) == "connection"


def test_no_text_of_a_refusal_holds_the_url(names: dict[str, list[str]]) -> None:
    for url in ("https://secret.example.org/", "ftp://secret/", "http://secret.example.org/"):
        with pytest.raises(OutboundError) as problem:
            get(url)
        assert "secret" not in str(problem.value)


# Kept connections


def serve(*answers: bytes, after: Callable[[int], None] = lambda _: None) -> Talk:
    """Answers the requests of a connection with these, one after the other, the last one for ever."""

    def talk(opened: socket.socket) -> None:
        number = 0
        while True:
            opened.sendall(answers[min(number, len(answers) - 1)])
            number += 1
            after(number)
            if not opened.recv(65_536):
                return

    return talk


def kept(server: Server, **options: Any) -> Fetched:
    """A fetch whose connection may serve another one of the same client."""
    reach = Reach(**{"internal": True, "http": True, "client": "clinic", **options})
    url = f"http://127.0.0.1:{server.port}/"
    return outbound.run(outbound.get(url, reach, end=time.monotonic() + 5, max_bytes=1000))


def test_a_connection_serves_one_fetch_after_the_other() -> None:
    with serving(serve(GOOD)) as server:
        assert [kept(server).body for _ in range(5)] == [b"{}"] * 5
    assert server.connections == 1
    assert "Connection: close" not in server.heads[0]


def test_a_chunked_answer_leaves_the_connection_usable() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    with serving(serve(chunked)) as server:
        assert [kept(server).body for _ in range(3)] == [b"{}"] * 3
    assert server.connections == 1


@pytest.mark.parametrize(
    "other", [{"client": "another"}, {"client": None}, {"internal": False}, {"connections": 2}], ids=str
)
def test_a_connection_is_shared_with_nobody_who_may_call_otherwise(other: dict[str, Any]) -> None:
    with serving(serve(GOOD)) as server:
        kept(server)
        kept(server, **other)
        kept(server)
    assert server.connections == 2


def test_a_fetch_without_a_client_keeps_no_connection() -> None:
    with serving(serve(GOOD)) as server:
        for _ in range(2):
            get(f"http://127.0.0.1:{server.port}/")
    assert server.connections == 2
    assert "\r\nConnection: close\r\n" in server.heads[0]


OTHER = GOOD.replace(b"{}", b"[]")


@pytest.mark.parametrize(
    "talk",
    [
        serve(GOOD + OTHER),
        serve(GOOD + b"x"),
        serve(GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")),
        serve(GOOD.replace(b"1.1", b"1.0")),
        say(GOOD),
    ],
    ids=["a second answer", "more than was announced", "close", "HTTP/1.0", "closed"],
)
def test_an_answer_that_ends_a_connection_or_has_something_behind_it_lets_nobody_else_use_it(talk: Talk) -> None:
    with serving(talk) as server:
        assert [kept(server).body for _ in range(3)] == [b"{}"] * 3
    assert server.connections == 3


def test_what_comes_unasked_is_never_the_answer_to_the_next_request() -> None:
    sent = threading.Event()

    def talk(opened: socket.socket) -> None:
        opened.sendall(GOOD)
        if server.connections == 1:
            time.sleep(0.2)
            opened.sendall(OTHER)
            while opened.recv(65_536):
                pass
            sent.set()

    with serving(talk) as server:
        assert kept(server).body == b"{}"
        assert sent.wait(10)  # the service has ended the connection
        assert kept(server).body == b"{}"
    assert server.connections == 2


def test_a_connection_that_the_server_closed_meanwhile_costs_no_fetch() -> None:
    """It is closed when the next request comes, which no client can see beforehand."""

    def talk(opened: socket.socket) -> None:
        opened.sendall(GOOD)
        opened.recv(65_536)

    with serving(talk) as server:
        assert [kept(server).body for _ in range(3)] == [b"{}"] * 3
    assert server.connections == 3


@pytest.mark.parametrize("second", [b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_an_answer_that_breaks_off_is_not_asked_for_again(second: bytes) -> None:
    def talk(opened: socket.socket) -> None:
        opened.sendall(GOOD)
        opened.recv(65_536)
        opened.sendall(second)

    with serving(talk) as server:
        kept(server)
        with pytest.raises(OutboundError) as problem:
            kept(server)
    assert problem.value.reason == "connection"
    assert server.connections == 1


def test_a_connection_that_nobody_needs_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "_KEPT", 0.05)
    closed = threading.Event()

    def talk(opened: socket.socket) -> None:
        opened.sendall(GOOD)
        if not opened.recv(65_536):
            closed.set()

    with serving(talk) as server:
        kept(server)
        assert closed.wait(10)


def test_the_connections_of_a_reach_are_no_more_than_it_allows_and_are_taken_in_the_order_of_asking() -> None:
    heads: list[bytes] = []

    def talk(opened: socket.socket) -> None:
        time.sleep(0.02)
        opened.sendall(GOOD)
        while head := opened.recv(65_536):
            heads.append(head.partition(b" HTTP")[0])
            time.sleep(0.02)
            opened.sendall(GOOD)

    async def all_at_once() -> None:
        reach = Reach(http=True, client="clinic", connections=1)
        url = f"http://127.0.0.1:{server.port}"
        await asyncio.gather(
            *(outbound.get(f"{url}/{number}", reach, end=time.monotonic() + 5, max_bytes=10) for number in range(6))
        )

    with serving(talk) as server:
        outbound.run(all_at_once())
    assert server.connections == 1
    assert heads == [f"GET /{number}".encode() for number in range(1, 6)]


def test_who_got_no_connection_in_time_is_told_so() -> None:
    async def two() -> list[Any]:
        reach = Reach(http=True, client="clinic", connections=1)
        url = f"http://127.0.0.1:{server.port}/"
        fetches = (outbound.get(url, reach, end=time.monotonic() + 1, max_bytes=10) for _ in range(2))
        return await asyncio.gather(*fetches, return_exceptions=True)

    with serving(say(b"", pause=20)) as server:
        first, second = outbound.run(two())
    assert (first.reason, second.reason) == ("timeout", "busy")
    assert server.connections == 1


def test_tls_connections_are_kept_too(names: dict[str, list[str]], authority: Authority) -> None:
    names["ehr.example.org"] = ["127.0.0.1"]
    with serving(serve(GOOD), context=authority.server("ehr.example.org")) as server:
        reach = Reach(internal=True, client="clinic")
        url = f"https://ehr.example.org:{server.port}/"
        for _ in range(3):
            assert outbound.run(outbound.get(url, reach, end=time.monotonic() + 5, max_bytes=10)).body == b"{}"
    assert server.connections == 1


def test_a_new_connection_is_judged_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    places = ["127.0.0.1", "10.0.0.5"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, port, **__: [entry(places.pop(0), port)])
    with serving(say(GOOD)) as server:
        reach = Reach(http=True, client="clinic")
        url = f"http://rebound.example.org:{server.port}/"
        assert outbound.run(outbound.get(url, reach, end=time.monotonic() + 5, max_bytes=10)).body == b"{}"
        with pytest.raises(OutboundError) as problem:
            outbound.run(outbound.get(url, reach, end=time.monotonic() + 5, max_bytes=10))
    assert problem.value.reason == "scheme"
    assert server.connections == 1


def test_a_kept_connection_keeps_nothing_of_the_call_that_opened_it() -> None:
    class Chart:
        pass

    here: ContextVar[Chart] = ContextVar("here")
    with serving(serve(GOOD)) as server:
        chart = Chart()
        left = weakref.ref(chart)
        token = here.set(chart)
        kept(server)
        here.reset(token)
        del chart, token
        gc.collect()
        assert left() is None
        kept(server)
    assert server.connections == 1


# Threads


def test_many_fetches_at_once_have_one_thread() -> None:
    """Each has a client of its own, so that none waits for the connection of another."""

    def threads() -> int:
        return sum(thread.name in ("outbound", "look-up") for thread in threading.enumerate())

    async def all_at_once() -> list[Any]:
        before = threads()
        url, end = f"http://127.0.0.1:{server.port}/", time.monotonic() + 1
        reaches = (Reach(http=True, client=str(number)) for number in range(100))
        fetches = asyncio.gather(
            *(outbound.get(url, reach, end=end, max_bytes=10) for reach in reaches), return_exceptions=True
        )
        await asyncio.sleep(0.5)
        assert threads() == before
        return await fetches

    with serving(say(b"", pause=3)) as server:
        problems = outbound.run(all_at_once())
    assert {problem.reason for problem in problems} == {"timeout"}


@pytest.fixture
def silent_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Name resolution that hangs until the test is over; the names that were asked for."""
    asked: list[str] = []
    over = threading.Event()

    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        over.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield asked
    over.set()
    end = time.monotonic() + 10
    while any(thread.name == "look-up" for thread in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.01)


def look_ups() -> int:
    return sum(thread.name == "look-up" for thread in threading.enumerate())


def test_a_name_that_is_looked_up_is_not_looked_up_again_meanwhile(silent_names: list[str]) -> None:
    assert [refused("https://slow.example.org/", deadline=0.05) for _ in range(20)] == ["timeout"] * 20
    assert silent_names == ["slow.example.org"]
    assert look_ups() == 1


def test_unfinished_look_ups_are_bounded_and_beyond_the_bound_a_fetch_is_refused_at_once(
    silent_names: list[str],
) -> None:
    # At once: those beyond the bound have no end to wait for.
    deadlines = [0.05] * 16 + [600.0] * 24
    reasons = [refused(f"https://slow-{n}.example.org/", deadline=until) for n, until in enumerate(deadlines)]

    assert reasons == ["timeout"] * 16 + ["busy"] * 24
    assert look_ups() == len(silent_names) == 16
    assert refused("https://another.example.org/", deadline=600) == "busy"
