"""When a request is handed to a thread: whole, however it comes, and never before something can be done with it."""

import random

import pytest
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.unreader import IterUnreader

from service.server.capacity import SMALL_BODY
from service.server.reading import Incoming
from service.server.worker import JoinedBody

HEAD = b"POST /cds-services/a HTTP/1.1\r\nHost: a\r\n"
WHOLE = [
    b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    HEAD + b"Content-Length: 5\r\n\r\nhello",
    HEAD + b"content-length:0\r\n\r\n",
    HEAD + b"CONTENT-LENGTH: \t4 \r\nX: y\r\n\r\n\r\n\r\n",
    b"\r\n" + HEAD + b"Content-Length: 5\r\n\r\nhello",
]


def handed_over(pieces: list[bytes]) -> tuple[int, Incoming]:
    """How many bytes had come when a thread could go on, 0 where none can."""
    incoming = Incoming()
    for piece in pieces:
        if incoming.add(piece):
            return incoming.size, incoming
    return 0, incoming


@pytest.mark.parametrize("request_", WHOLE)
def test_a_request_is_handed_over_with_its_last_byte_however_it_is_cut(request_: bytes) -> None:
    generator = random.Random(11)  # noqa: S311 - the same cuts each time
    for _ in range(50):
        cuts = sorted(generator.sample(range(1, len(request_)), generator.randint(0, 6)))
        pieces = [request_[a:b] for a, b in zip([0, *cuts], [*cuts, len(request_)], strict=True)]
        size, incoming = handed_over(pieces)
        assert (size, incoming.whole) == (len(request_), True)
        assert b"".join(incoming.pieces) == request_


def test_what_comes_behind_a_request_is_kept_for_the_next() -> None:
    two = WHOLE[0] + WHOLE[1]
    _, incoming = handed_over([two])
    assert incoming.whole
    assert b"".join(incoming.pieces) == two


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: chunked",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: five",
        b"Content-Length: -5",
        b"Content-Length: 5, 5",
        b"Content-Length : 5",
        b"Content-Length: 5\r\nExpect: 100-continue",
    ],
)
def test_a_body_that_is_not_collected_is_left_to_the_thread_with_the_head(lines: bytes) -> None:
    request_ = HEAD + lines + b"\r\n\r\n"
    size, incoming = handed_over([request_[:-1], request_[-1:], b"never"])
    assert (size, incoming.whole) == (len(request_), False)


def test_of_a_large_body_the_first_part_is_collected() -> None:
    head = HEAD + f"Content-Length: {SMALL_BODY + 1}\r\n\r\n".encode()
    size, incoming = handed_over([head, bytes(SMALL_BODY - 1), b"a", b"never"])
    assert (size, incoming.whole) == (len(head) + SMALL_BODY, False)


@pytest.mark.parametrize("odd", [b"GET / HTTP/1.1\nHost: a\n\n", b"\n", b"x" * 70_000, b"GET / HTTP/1.1\r\n" + b"\n"])
def test_what_can_become_no_request_is_handed_over_to_be_refused(odd: bytes) -> None:
    size, incoming = handed_over([odd])
    incoming.finish()
    assert size == len(odd)
    assert not incoming.whole
    assert b"".join(incoming.pieces) == odd


def test_half_a_head_is_waited_for_and_kept_when_nothing_more_comes() -> None:
    half = HEAD + b"Content-Le"
    size, incoming = handed_over([bytes([byte]) for byte in half])
    incoming.finish()
    assert size == 0
    assert b"".join(incoming.pieces) == half


@pytest.mark.parametrize(
    ("line", "is_probe"),
    [("GET /healthz", True), ("GET /readyz", True), ("POST /healthz", False), ("GET /heal", False)],
)
def test_whoever_asks_whether_the_service_lives_is_known_by_the_first_line(line: str, is_probe: bool) -> None:
    _, incoming = handed_over([f"{line} HTTP/1.1\r\n\r\n".encode()])
    assert incoming.is_probe is is_probe


@pytest.mark.parametrize("take", [[None], [4, None], [4, 3, 100], [0, 9, 1], ["line", 3, None], [5, "line", "line"]])
@pytest.mark.parametrize("came", [[b"one\n", b"two\n!GET"], [b"one\ntwo\n!GET"], [b"o", b"ne\n"], []])
def test_a_body_that_is_put_together_once_is_read_as_gunicorn_reads_it(
    take: list[int | str | None], came: list[bytes]
) -> None:
    def read_as(kind: type[Body]) -> tuple[list[bytes], bytes, int]:
        unreader = IterUnreader(iter(came))
        body = kind(LengthReader(unreader, 9))
        read = [body.readline() if size == "line" else body.read(size) for size in take]
        rest = body.read()
        return [*read, rest], unreader.take_buffered(), body.reader.length

    assert read_as(JoinedBody) == read_as(Body)


def test_a_body_that_came_in_one_piece_is_not_copied() -> None:
    piece = bytes(2_000_000)
    assert JoinedBody(LengthReader(IterUnreader(iter([piece])), len(piece))).read() is piece
