"""The page of the knowledge in a real browser: searched, linked to, printed, and read by everybody."""

from typing import Any

import pytest
from playwright.sync_api import expect

# They are all made of the same elements, and axe-core takes a minute for a hundred of them.
ALIKE = "#recommendations > article:nth-of-type(n + 4)"
pytestmark = pytest.mark.needs_system("chromium", "the page is tried in a real browser")


def opened(window: Any, anchor: str = "", **options: Any) -> Any:
    desk = window(**options)
    desk.page.goto(f"{desk.base}/knowledge.html{anchor}")
    return desk


def test_a_search_leaves_the_recommendations_with_all_its_words(window: Any) -> None:
    desk = opened(window)
    articles = desk.page.locator("#recommendations > article")
    every = articles.count()
    desk.page.get_by_label("Find a recommendation").fill("cauda equina")
    expect(desk.page.get_by_role("status")).to_contain_text(f"of {every}")
    shown = desk.page.locator("#recommendations > article:visible")
    assert 0 < shown.count() < every
    for text in shown.all_inner_texts():
        assert "cauda" in text.lower()
    desk.page.get_by_label("Find a recommendation").fill("")
    expect(desk.page.locator("#recommendations > article:visible")).to_have_count(every)


def test_a_box_of_the_picture_leads_to_its_recommendation_also_after_a_search(window: Any) -> None:
    desk = opened(window)
    desk.look("knowledge", without=ALIKE)
    desk.page.get_by_label("Find a recommendation").fill("ibuprofen")
    box = desk.page.locator(".path a").first
    target = box.get_attribute("href")
    box.click()
    expect(desk.page.locator(f"#recommendations {target}")).to_be_in_viewport()


def test_every_text_of_the_picture_stays_where_it_belongs(window: Any) -> None:
    desk = opened(window)
    over = """() => [...document.querySelectorAll('.path text')].filter((text) => {
        const box = text.previousElementSibling;
        const right = box?.matches('.chip') ? box.getBBox().x + box.getBBox().width - 6
            : text.matches('.aside') && text.getBBox().x < 20 ? 188 : 876;
        return text.getBBox().x + text.getBBox().width > right;
    }).map((text) => text.textContent)"""
    assert desk.page.evaluate(over) == []


def test_a_recommendation_has_a_link_of_its_own(window: Any) -> None:
    desk = opened(window)
    link = desk.page.locator("#recommendations a.here").nth(3)
    target = link.get_attribute("href")
    link.click()
    assert desk.page.url.endswith(target)
    expect(desk.page.locator(f"#recommendations {target}")).to_be_in_viewport()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("knowledge-dark", {"color_scheme": "dark"}),
        ("knowledge-phone", {"width": 360, "height": 740}),
    ],
)
def test_it_can_be_read_in_the_dark_and_on_a_phone(window: Any, name: str, options: dict[str, Any]) -> None:
    desk = opened(window, "#path", **options)
    desk.look(name, without=ALIKE)


def test_on_paper_the_picture_is_as_wide_as_the_page(window: Any) -> None:
    desk = opened(window, width=700)
    desk.page.emulate_media(media="print")
    expect(desk.page.locator("#search")).to_be_hidden()
    assert desk.page.evaluate("document.querySelector('.path').getBoundingClientRect().width <= innerWidth")
    desk.page.screenshot(path=desk.screenshots / "knowledge-print.png", animations="disabled")
