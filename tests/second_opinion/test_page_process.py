"""Pages are worked on by a process of their own beside the workers, which lets hooks go first; where it is not there,
pages are answered all the same."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import requests
from flask.testing import FlaskClient

from service.release.suspension import Suspensions
from service.server.handover import Handover
from service.server.reading import Incoming
from service.service_ids import DIAGNOSIS
from tests.second_opinion.conftest import KEY, PUBLIC, MakeSite, Site
from tests.serving import children_of, patiently, running, service_at, status, workers_at

TOKEN = "token-of-the-monitoring"  # noqa: S105 - nobody's


class OverHttp:
    """A browser as the tests have it, at a service that runs."""

    def __init__(self, address: str) -> None:
        self._address, self._cookie = address, ""

    def get(self, path: str, *, query_string: Mapping[str, str], base_url: str) -> Any:
        return self._answer("GET", path, params=query_string)

    def post(self, path: str, *, data: Mapping[str, str], base_url: str) -> Any:
        return self._answer("POST", path, data=data)

    def _answer(self, method: str, path: str, **sent: Any) -> Any:
        answer: Any = requests.request(
            method,
            self._address + path,
            headers={"Cookie": self._cookie},
            allow_redirects=False,
            timeout=30,
            **sent,
        )
        # It is for https alone, which ends before the service.
        if kept := answer.headers.get("Set-Cookie"):
            self._cookie = kept.partition(";")[0]
        answer.get_data = lambda as_text: answer.text if as_text else answer.content
        return answer


@dataclass
class Running:
    """The service as a process, and the EHR that launches its page."""

    site: Site
    address: str
    process: int

    def browser(self) -> FlaskClient:
        return cast(FlaskClient, OverHttp(self.address))

    def page_processes(self) -> list[int]:
        """The processes below it that let others go first."""
        found = []
        for process in children_of(self.process):
            with contextlib.suppress(ProcessLookupError):
                if os.getpriority(os.PRIO_PROCESS, process) > os.getpriority(os.PRIO_PROCESS, self.process):
                    found.append(process)
        return found

    def page_process(self) -> int:
        """The one process of pages, once it is there."""
        assert patiently(lambda: len(self.page_processes()) == 1)
        return self.page_processes()[0]

    def keys(self) -> int:
        """The status of the public keys, a page that needs no launch."""
        return status(f"{self.address}/app/jwks.json", {})


Start = Callable[..., contextlib.AbstractContextManager[Running]]


@pytest.fixture
def start(make_site: MakeSite, repository: Path) -> Start:
    @contextlib.contextmanager
    def started(**settings: str) -> Iterator[Running]:
        site = make_site()
        ours = {
            "SITBONE_CLIENTS": str(site.settings.clients),
            "SITBONE_STORE": str(site.settings.store),
            "SITBONE_AUDIT": "off",
            "SITBONE_DRAFT": "show",
            "SITBONE_PUBLIC_BASE_URL": PUBLIC,
            "SITBONE_APP_KEYS": KEY,
            "SITBONE_METRICS_TOKEN": TOKEN,
        }
        with running(repository, **ours, **settings) as (address, _stop):
            yield Running(site, address, service_at(address))

    return started


def test_a_page_waits_for_the_process_of_pages_and_nothing_else_does(start: Start) -> None:
    with start() as service, ThreadPoolExecutor(1) as other:
        process = service.page_process()
        assert service.keys() == 200
        os.kill(process, signal.SIGSTOP)
        try:
            page = other.submit(service.keys)
            # Whichever worker has read it, none waits with it.
            assert [status(f"{service.address}/", {}) for _ in range(20)] == [200] * 20
            assert not page.done()
        finally:
            os.kill(process, signal.SIGCONT)
        assert page.result() == 200


def test_what_waits_for_a_process_of_pages_that_dies_is_answered_by_the_next(start: Start) -> None:
    with start() as service, ThreadPoolExecutor(4) as others:
        process = service.page_process()
        os.kill(process, signal.SIGSTOP)
        pages = [others.submit(service.keys) for _ in range(4)]
        assert [status(f"{service.address}/", {}) for _ in range(20)] == [200] * 20
        os.kill(process, signal.SIGKILL)
        assert [page.result() for page in pages] == [200] * 4
        assert service.page_process() != process


def test_a_page_that_waits_while_the_service_ends_is_answered(start: Start) -> None:
    with start() as service, ThreadPoolExecutor(1) as other:
        process = service.page_process()
        os.kill(process, signal.SIGSTOP)
        page = other.submit(service.keys)
        assert [status(f"{service.address}/", {}) for _ in range(20)] == [200] * 20
        os.kill(service.process, signal.SIGTERM)
        assert patiently(lambda: status(f"{service.address}/", {}) == 0)
        os.kill(process, signal.SIGCONT)
        assert page.result() == 200


def test_a_new_process_of_pages_comes_with_the_new_workers_on_sighup(start: Start) -> None:
    with start() as service:
        process = service.page_process()
        os.kill(service.process, signal.SIGHUP)
        assert patiently(lambda: process not in service.page_processes() and len(children_of(service.process)) == 3)
        assert service.page_process() != process
        assert service.keys() == 200


def test_a_whole_page_comes_from_there_counts_in_the_metrics_and_obeys_a_suspension(start: Start) -> None:
    with start() as service:
        page = service.site.open(service.browser())
        assert page.status == 200
        page = page.press("set:right/pop-at-injury=yes")
        assert page.cards()

        suspensions = Suspensions((service.site.settings.store or Path()) / "suspensions.jsonl")
        suspensions.suspend([f"service:{DIAGNOSIS}"], "A", "why", datetime.now(UTC))
        assert "This service is suspended" in page.press("enough").text

        def counted() -> bool:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            text = requests.get(f"{service.address}/metrics", headers=headers, timeout=10).text
            return 'sitbone_responses_total{route="/app/opinion",status="200"} 2.0' in text

        assert patiently(counted)


def test_without_threads_pages_are_answered_by_the_workers(start: Start) -> None:
    with start(SITBONE_WORKER_CLASS="sync") as service:
        assert service.keys() == 200
        assert service.page_processes() == []


def test_where_no_client_has_an_app_there_is_no_such_process(repository: Path) -> None:
    with running(repository) as (address, _stop):
        workers_at(address, 2)


@pytest.fixture
def way() -> Iterator[tuple[Handover, socket.socket]]:
    handover, (connection, other_end) = Handover(), socket.socketpair()
    with handover.into, handover.out, connection, other_end:
        yield handover, connection


def test_a_connection_is_handed_over_with_what_was_read_while_somebody_takes_it(
    way: tuple[Handover, socket.socket],
) -> None:
    handover, connection = way
    assert not handover.give(connection, b"GET /app/launch")
    handover.open(3)
    assert handover.give(connection, b"GET /app/launch")
    taken = handover.take()
    assert taken is not None
    with taken[0] as same:
        assert same.fileno() != connection.fileno()
        assert os.path.sameopenfile(same.fileno(), connection.fileno())
    assert taken[1] == b"GET /app/launch"
    assert handover.take() is None


def test_one_that_ends_shuts_the_way_unless_another_takes_already(way: tuple[Handover, socket.socket]) -> None:
    handover, connection = way
    handover.open(3)
    handover.open(7)
    handover.shut(3)
    assert handover.give(connection, b"x")
    handover.shut(7)
    assert not handover.give(connection, b"x")


def test_what_is_too_long_or_too_much_stays_with_whoever_has_it(way: tuple[Handover, socket.socket]) -> None:
    handover, connection = way
    handover.open(3)
    assert not handover.give(connection, bytes(2_000_000))
    given = 0
    while handover.give(connection, bytes(10_000)):
        given += 1
    for _ in range(given):
        taken = handover.take()
        assert taken is not None
        taken[0].close()
    assert given
    assert handover.take() is None


@pytest.mark.parametrize(
    ("line", "is_page"),
    [
        ("GET /app/launch?iss=x HTTP/1.1", True),
        ("POST /app/opinion HTTP/1.1", True),
        ("GET /apple HTTP/1.1", False),
        ("POST /cds-services/gluteal-hamstring-pain HTTP/1.1", False),
        ("GET /healthz HTTP/1.1", False),
    ],
)
def test_a_page_is_known_by_the_line_of_its_request(line: str, is_page: bool) -> None:
    incoming = Incoming()
    assert incoming.add(f"{line}\r\nHost: x\r\n\r\n".encode())
    assert incoming.is_page == is_page
