"""The page of what became of the advice, in a real browser."""

import csv
import json
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import CHROMIUM, DemoEhr, keep_picture
from tests.serving import PATH, running

pytestmark = pytest.mark.needs_system(CHROMIUM, "the page is tried in a real browser")


def post(url: str, body: Any) -> Any:
    sent = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(sent, timeout=10) as answer:
        return json.load(answer)


def recorded_cards(base: str) -> int:
    """How many cards the audit trail knows."""
    with urllib.request.urlopen(f"{base}/insights/weeks.csv", timeout=10) as table:
        return sum(int(row["shown"]) for row in csv.DictReader(table.read().decode().splitlines()))


@pytest.fixture(scope="module")
def recorded(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that some charts were opened on, and some cards accepted or overridden."""
    folder = tmp_path_factory.mktemp("audit")
    folder.chmod(0o700)
    with running(repository, SITBONE_WORKERS="1", SITBONE_AUDIT=str(folder)) as (base, _stop):
        names = (
            "sudden-tear",
            "proximal-hamstring-tendinopathy",
            "cauda-equina",
            "hip-pain-alone",
            "complaint-unknown",
        )
        later = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        shown = 0
        for number, name in enumerate(names * 2):
            request = json.loads((repository / f"fixtures/requests/{name}.json").read_text("utf-8"))
            cards = post(base + PATH, {**request, "hookInstance": str(uuid4())})["cards"]
            shown += len(cards)
            for card in cards[: number % 3]:
                outcome = {"card": card["uuid"], "outcomeTimestamp": later}
                what: Any = [
                    {"outcome": "overridden", "overrideReason": {"reason": card["overrideReasons"][0]}},
                    {"outcome": "accepted", "acceptedSuggestions": [{"id": str(uuid4())}]},
                ][number % 2]
                post(f"{base}{PATH}/feedback", {"feedback": [{**outcome, **what}]})
        # A call is written down after it was answered.
        end = time.monotonic() + 20
        while recorded_cards(base) < shown and time.monotonic() < end:
            time.sleep(0.1)
        yield base


@pytest.fixture
def opened(browser: Browser, recorded: str) -> Iterator[Any]:
    contexts = []
    demos = []

    def make(width: int = 1280, height: int = 800, **options: Any) -> DemoEhr:
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **options))
        demos.append(DemoEhr(contexts[-1].new_page(), recorded))
        demos[-1].page.goto(f"{recorded}/insights")
        return demos[-1]

    yield make
    for context in contexts:
        context.close()
    assert [wrong for demo in demos for wrong in demo.wrong] == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("insights", {}),
        ("insights-dark", {"color_scheme": "dark"}),
        ("insights-phone", {"width": 360, "height": 740}),
    ],
)
def test_everybody_can_read_it(opened: Any, name: str, options: dict[str, Any]) -> None:
    demo = opened(**options)
    expect(demo.page.get_by_role("img", name="Cards by week")).to_be_visible()
    demo.look(name)
    keep_picture(demo.page, f"{name}-whole", full_page=True)


def test_on_a_phone_a_bar_has_most_of_the_width_and_its_label_is_whole(opened: Any) -> None:
    demo = opened(width=360, height=740)
    for name in ("cards", "override-reasons", "times-to-action", "calls", "data-states", "burdens", "stages"):
        plot = demo.page.locator(f"#{name} svg")
        room, longest, right = plot.evaluate(
            """(plot) => {
                const boxes = (kind) => [...plot.querySelectorAll(kind)].map((each) => each.getBoundingClientRect());
                const bars = boxes("rect, .span, circle");
                const all = plot.getBoundingClientRect();
                return [all.width, Math.max(...bars.map((box) => box.right)) - all.left,
                        Math.max(...boxes("text").map((box) => box.right)) - all.left];
            }"""
        )
        assert room <= 328, name
        assert longest > room / 2, name
        assert right <= room, name


def test_the_form_asks_for_other_days_and_stays_filled_in(opened: Any) -> None:
    demo = opened()
    demo.page.get_by_label("From", exact=True).fill("2020-01-01")
    demo.page.get_by_label("To", exact=True).fill("2020-02-01")
    demo.page.get_by_role("button", name="Show").click()
    expect(demo.page.get_by_text("The audit trail holds no call")).to_be_visible()
    expect(demo.page.get_by_label("From", exact=True)).to_have_value("2020-01-01")
    assert urlsplit(demo.page.url).path == "/insights"


def test_a_table_comes_as_a_file(opened: Any) -> None:
    demo = opened()
    with demo.page.expect_download() as download:
        demo.page.get_by_role("link", name="Cards by week as CSV").click()
    assert download.value.suggested_filename == "sitbone-weeks.csv"
    assert Path(download.value.path()).read_text("utf-8").startswith("week,client,shown,accepted")
