"""The pages of the knowledge in a real browser: searched, linked to, printed, and read by everybody."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import CHROMIUM, keep_picture

# They are all made of the same elements, and axe-core takes a minute for two hundred of them.
ALIKE = "#recommendations > article:nth-of-type(n + 4)"
pytestmark = pytest.mark.needs_system(CHROMIUM, "the page is tried in a real browser")


def opened(window: Any, path: str = "knowledge.html", **options: Any) -> Any:
    demo = window(**options)
    demo.page.goto(f"{demo.base}/{path}")
    return demo


def test_a_search_finds_the_recommendations_with_all_its_words_and_leads_to_their_pages(window: Any) -> None:
    demo = opened(window)
    field, path = demo.page.get_by_label("Find a recommendation"), demo.page.locator("#path")
    expect(field).to_be_in_viewport(ratio=1)
    expect(path).to_be_visible()
    field.fill("cauda equina saddle")
    shown = demo.page.locator("#found li:visible")
    every = demo.page.locator("#found li").count()
    expect(demo.page.get_by_role("status")).to_have_text(f"{shown.count()} of {every}")
    assert 0 < shown.count() < every
    expect(path).to_be_hidden()
    demo.look("knowledge-found")
    title = shown.first.get_by_role("link").inner_text()
    shown.first.get_by_role("link").click()
    expect(demo.page.get_by_role("heading", level=1)).to_have_text(title)
    demo.page.go_back()
    demo.page.get_by_label("Find a recommendation").fill("")
    expect(path).to_be_visible()


def test_a_box_of_the_path_leads_to_the_page_of_its_recommendation(window: Any) -> None:
    demo = opened(window)
    demo.look("knowledge")
    box = demo.page.locator(".path a.critical").first
    title = box.inner_text()
    box.click()
    expect(demo.page.get_by_role("heading", level=1)).to_have_text(title)
    demo.look("knowledge-one")


def test_a_link_from_the_time_of_one_page_leads_to_the_page_of_its_recommendation(window: Any) -> None:
    demo = opened(window, "knowledge.html#rl07-suspected-tear")
    demo.page.wait_for_url("**/knowledge/rl07-suspected-tear.html")


def test_without_script_the_path_leads_to_every_page(window: Any) -> None:
    demo = opened(window, java_script_enabled=False)
    demo.page.locator(".path a.info").first.click()
    expect(demo.page.get_by_text("As the author says it")).to_be_visible()


def test_a_recommendation_has_a_link_of_its_own_on_the_page_of_all(window: Any) -> None:
    demo = opened(window, "knowledge/whole.html")
    link = demo.page.locator("#recommendations a.here").nth(3)
    target = link.get_attribute("href")
    link.click()
    assert demo.page.url.endswith(target)
    expect(demo.page.locator(f"#recommendations {target}")).to_be_in_viewport()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dark", {"color_scheme": "dark"}),
        ("phone", {"width": 360, "height": 740}),
    ],
)
def test_it_can_be_read_in_the_dark_and_on_a_phone(window: Any, name: str, options: dict[str, Any]) -> None:
    opened(window, **options).look(f"knowledge-{name}")
    opened(window, "knowledge/rl07-suspected-tear.html", **options).look(f"knowledge-one-{name}")
    opened(window, "knowledge/whole.html", **options).look(f"knowledge-whole-{name}", without=ALIKE)


def test_on_paper_the_page_of_all_has_everything_and_the_path_is_as_wide_as_the_page(window: Any) -> None:
    demo = opened(window, "knowledge/whole.html", width=700)
    demo.page.emulate_media(media="print")
    expect(demo.page.locator("nav")).to_be_hidden()
    expect(demo.page.locator("#debts")).to_be_visible()
    assert demo.page.evaluate("document.querySelector('.path').getBoundingClientRect().width <= innerWidth")
    keep_picture(demo.page, "knowledge-print")
