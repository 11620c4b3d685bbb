"""The description of the API in a real browser: drawn under a strict policy, and every call can be tried from it."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import CHROMIUM, keep_picture

pytestmark = pytest.mark.needs_system(CHROMIUM, "the page is tried in a real browser")


@pytest.mark.parametrize(("width", "name"), [(1280, "docs"), (390, "docs-phone")])
def test_a_call_that_is_tried_gets_a_card(window: Any, width: int, name: str) -> None:
    demo = window(width=width)
    demo.page.goto(f"{demo.base}/docs")
    call = demo.page.locator("#operations-CDS_Hooks-call")
    call.locator(".opblock-summary-control").click()
    call.get_by_role("button", name="Try it out").click()
    call.get_by_role("button", name="Execute").click()
    answer = call.locator(".live-responses-table").first
    expect(answer.locator(".response-col_status").last).to_have_text("200")
    expect(answer).to_contain_text('"summary":')
    [(path, _body)] = demo.sent
    assert path == "/cds-services/gluteal-hamstring-pain"
    keep_picture(demo.page, name)
