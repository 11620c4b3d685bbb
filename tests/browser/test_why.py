"""The page that says why in a real browser: read at a glance, by everybody, also on a phone and on paper."""

from typing import Any

import pytest
from playwright.sync_api import expect

from service.why_address import path_of
from tests.browser.conftest import CHROMIUM, keep_picture

pytestmark = pytest.mark.needs_system(CHROMIUM, "the page is tried in a real browser")


def opened(window: Any, *ids: str, **options: Any) -> Any:
    demo = window(**options)
    demo.page.goto(demo.base + path_of(ids))
    return demo


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("why", {"width": 600, "height": 700}),
        ("why-dark", {"color_scheme": "dark"}),
        ("why-phone", {"width": 360, "height": 740}),
    ],
)
def test_the_reason_and_the_safety_net_are_read_without_scrolling(
    window: Any, name: str, options: dict[str, Any]
) -> None:
    demo = opened(window, "rs01-sudden-tear", **options)
    expect(demo.page.get_by_text("WHEN the pain began suddenly")).to_be_in_viewport(ratio=1)
    expect(demo.page.get_by_text("Safety net.")).to_be_in_viewport(ratio=1)
    expect(demo.page.get_by_text("not yet signed by a clinician")).to_be_in_viewport(ratio=1)
    demo.look(name)


def test_it_is_complete_without_script(window: Any) -> None:
    demo = opened(window, "rs01-sudden-tear", "rl07-suspected-tear", java_script_enabled=False)
    demo.page.get_by_role("link", name="More: Suspected tear").click()
    expect(demo.page.get_by_role("heading", name="Suspected tear").last).to_be_in_viewport()
    expect(demo.page.get_by_text("It is critical when")).to_be_visible()


def test_on_paper_everything_is_there_with_the_addresses_of_the_sources(window: Any) -> None:
    demo = opened(window, "rs01-sudden-tear", width=700)
    demo.page.emulate_media(media="print")
    expect(demo.page.get_by_text("It stands while all of these hold")).to_be_visible()
    after = "getComputedStyle(document.querySelector('main a[href^=http]'), '::after').content"
    assert "http" in demo.page.evaluate(after)
    keep_picture(demo.page, "why-print")
