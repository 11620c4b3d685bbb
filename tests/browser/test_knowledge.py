"""The page of the knowledge in a real browser: searched, linked to, printed, and read by everybody."""

from typing import Any

import pytest
from playwright.sync_api import expect

# They are all made of the same elements, and axe-core takes a minute for a hundred of them.
ALIKE = "#recommendations > article:nth-of-type(n + 4)"
pytestmark = pytest.mark.needs_system("chromium", "the page is tried in a real browser")


def opened(window: Any, anchor: str = "", **options: Any) -> Any:
    demo = window(**options)
    demo.page.goto(f"{demo.base}/knowledge.html{anchor}")
    return demo


def test_a_search_leaves_the_recommendations_with_all_its_words(window: Any) -> None:
    demo = opened(window)
    articles = demo.page.locator("#recommendations > article")
    every = articles.count()
    demo.page.get_by_label("Find a recommendation").fill("cauda equina")
    expect(demo.page.get_by_role("status")).to_contain_text(f"of {every}")
    shown = demo.page.locator("#recommendations > article:visible")
    assert 0 < shown.count() < every
    for text in shown.all_inner_texts():
        assert "cauda" in text.lower()
    demo.page.get_by_label("Find a recommendation").fill("")
    expect(demo.page.locator("#recommendations > article:visible")).to_have_count(every)


def test_a_box_of_the_picture_leads_to_its_recommendation_also_after_a_search(window: Any) -> None:
    demo = opened(window)
    demo.look("knowledge", without=ALIKE)
    demo.page.get_by_label("Find a recommendation").fill("ibuprofen")
    box = demo.page.locator(".path a").first
    target = box.get_attribute("href")
    box.click()
    expect(demo.page.locator(f"#recommendations {target}")).to_be_in_viewport()


def test_every_text_of_the_picture_stays_where_it_belongs(window: Any) -> None:
    demo = opened(window)
    over = """() => [...document.querySelectorAll('.path text')].filter((text) => {
        const box = text.previousElementSibling;
        const right = box?.matches('.chip') ? box.getBBox().x + box.getBBox().width - 6
            : text.matches('.aside') && text.getBBox().x < 20 ? 188 : 876;
        return text.getBBox().x + text.getBBox().width > right;
    }).map((text) => text.textContent)"""
    assert demo.page.evaluate(over) == []


def test_a_recommendation_has_a_link_of_its_own(window: Any) -> None:
    demo = opened(window)
    link = demo.page.locator("#recommendations a.here").nth(3)
    target = link.get_attribute("href")
    link.click()
    assert demo.page.url.endswith(target)
    expect(demo.page.locator(f"#recommendations {target}")).to_be_in_viewport()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("knowledge-dark", {"color_scheme": "dark"}),
        ("knowledge-phone", {"width": 360, "height": 740}),
    ],
)
def test_it_can_be_read_in_the_dark_and_on_a_phone(window: Any, name: str, options: dict[str, Any]) -> None:
    demo = opened(window, "#path", **options)
    demo.look(name, without=ALIKE)


def test_on_paper_the_picture_is_as_wide_as_the_page(window: Any) -> None:
    demo = opened(window, width=700)
    demo.page.emulate_media(media="print")
    expect(demo.page.locator("#search")).to_be_hidden()
    assert demo.page.evaluate("document.querySelector('.path').getBoundingClientRect().width <= innerWidth")
    demo.page.screenshot(path=demo.screenshots / "knowledge-print.png", animations="disabled")
