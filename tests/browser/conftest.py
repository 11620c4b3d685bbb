"""The running service and a real browser. Whatever a page does wrong while a test looks elsewhere fails the test."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, BrowserContext, BrowserType, Locator, Page, Request, sync_playwright

from tests.serving import running

_AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
# Each takes a tenth of a second of CPU, and only the build server keeps them.
KEEPS_PICTURES = os.environ.get("CI") == "true" or "PICTURES" in os.environ
# The first draws what the second does, without the windows of a desk: that takes two thirds of the CPU.
_BROWSERS = ("chromium-headless-shell", "chromium")
CHROMIUM = next(filter(shutil.which, _BROWSERS), _BROWSERS[0])

# Leaves two of neighbours that are made of the same elements with the same attributes, whatever their words are.
_LEAVE_TWO_ALIKE = """(top) => {
    const kinds = new Map();
    const kind = (element) => {
        const own = [...element.attributes].map(({ name, value }) => (/^(id|href)$/.test(name) ? name : [name, value]));
        const within = [...element.childNodes].map((node) => (node.tagName ? kind(node) : !!node.data.trim()));
        kinds.set(element, JSON.stringify([element.tagName, own, [...new Set(within)].sort()]));
        return kinds.get(element);
    };
    const leaveTwo = (element) => {
        const left = {};
        for (const child of [...element.children]) {
            left[kinds.get(child)] = (left[kinds.get(child)] ?? 0) + 1;
            left[kinds.get(child)] > 2 ? child.remove() : leaveTwo(child);
        }
    };
    kind(top);
    leaveTwo(top);
}"""


def keep_picture(page: Page, name: str, **options: Any) -> None:
    """Keep a picture of a page, where they are kept."""
    if KEEPS_PICTURES:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled", **options)


class DemoEhr:
    """A page of the service in one window; what is called `demo` is the one at `/`."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.wrong: list[str] = []
        self.sent: list[tuple[str, Any]] = []
        page.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        url = urlsplit(request.url)
        if f"{url.scheme}://{url.netloc}" != self.base:
            self.wrong.append(f"asked another host: {url.netloc}")
        elif request.method == "POST":
            self.sent.append((url.path, request.post_data_json))

    def open(self, patient: str = "") -> None:
        """The page with this patient chosen; without one, with its first."""
        self.page.goto(f"{self.base}/#{patient}" if patient else self.base)
        self.page.wait_for_selector("body[data-ready]")
        self.settle()

    def step(self, hook: str) -> None:
        self.page.locator(f"#step-{hook}").click()
        self.settle()

    def settle(self) -> None:
        """Wait until the calls of the last action are answered."""
        self.page.wait_for_selector("main:not([aria-busy])")

    def cards(self, indicator: str = "") -> Locator:
        return self.page.locator(f".card{'.' + indicator if indicator else ''}:not(.done)")

    def calls(self, hook: str) -> list[Any]:
        return [body for path, body in self.sent if not path.endswith("/feedback") and body.get("hook") == hook]

    def feedback(self) -> list[Any]:
        return [entry for path, body in self.sent if path.endswith("/feedback") for entry in body["feedback"]]

    def document(self, search: str, finding: str, state: str = "present", **members: str) -> None:
        """Document a finding through the form."""
        self.page.locator("#finding-search").fill(search)
        self.page.locator(f"#find-{finding}").click()
        if "value" in members:
            self.page.locator("#finding-value").fill(members["value"])
        else:
            self.page.locator(f"#state-{state}").check()
        if "side" in members:
            self.page.locator("#finding-side").select_option(members["side"])
        if "date" in members:
            self.page.locator("#finding-date").fill(members["date"])
        self.page.locator("#finding-set").click()
        self.settle()

    def accept_all(self) -> int:
        """Accept every suggestion that is offered; how many there were."""
        count = 0
        while self.page.locator(".take").count():
            self.page.locator(".take").first.click()
            count += 1
        self.settle()
        return count

    def look(self, name: str, *, without: str = "") -> None:
        """Keep a picture, and hold the page to what axe-core knows of accessibility; `without` these elements, and with
        two of those that are alike, which leaves the page so for good."""
        keep_picture(self.page, name)
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than the window"
        if without:
            self.page.locator(without).evaluate_all("(elements) => elements.forEach((each) => each.remove())")
            self.page.locator("body").evaluate(_LEAVE_TWO_ALIKE)
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(_AXE)
        found = self.page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
        assert not [(each["id"], [node["target"] for node in each["nodes"]]) for each in found]


def sandbox() -> list[str]:
    """How Chromium is started: its sandbox does not run for root, as whom containers run tests."""
    return ["--no-sandbox"] if os.geteuid() == 0 else []


def launched(kind: BrowserType, *arguments: str) -> Browser:
    """The browser of the tests. The pages of a context are drawn in one process, which has compiled their scripts
    already; each in its own takes a sixth more."""
    return kind.launch(
        executable_path=shutil.which(CHROMIUM), args=[*sandbox(), "--renderer-process-limit=1", *arguments]
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launched(playwright.chromium)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def served(repository: Path) -> Iterator[str]:
    with running(repository, SITBONE_WORKERS="1") as (base, _stop):
        yield base


@pytest.fixture(scope="session")
def context_of(browser: Browser, served: str) -> Iterator[Any]:
    """What windows with the same options are opened in, as each of its own costs more than a page: the pages of the
    service keep nothing in the browser but the cookie of the second opinion, see window."""
    contexts: list[BrowserContext] = []

    @cache
    def made(width: int, height: int, **options: Any) -> BrowserContext:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(10_000)
        # It stays, and with it the process that the other pages are drawn in.
        context.new_page().goto(f"{served}/healthz")
        contexts.append(context)
        return context

    yield made
    assert [context.storage_state()["origins"] for context in contexts] == [[]] * len(contexts)


@pytest.fixture
def window(context_of: Any, served: str) -> Iterator[Any]:
    """Makes windows: `window(width, height, **options of playwright)`; nothing may have gone wrong in any."""
    with ExitStack() as stack:
        demos: list[DemoEhr] = []

        def make(width: int = 1280, height: int = 800, **options: Any) -> DemoEhr:
            context = context_of(width, height, **options)
            page = context.new_page()
            stack.callback(context.clear_cookies)
            stack.callback(page.close)
            demo = DemoEhr(page, served)
            demos.append(demo)
            return demo

        yield make
        assert [wrong for demo in demos for wrong in demo.wrong] == []


@pytest.fixture
def demo(window: Any) -> DemoEhr:
    """One window of a wide screen's size."""
    made: DemoEhr = window()
    return made
