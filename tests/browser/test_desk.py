"""The small EHR at `/` in a real browser: the whole loop of a visit, with mouse and keyboard, on a desk and a phone."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Route, expect

pytestmark = pytest.mark.needs_system("chromium", "the page is tried in a real browser")

TORN = "sudden-pop-with-bruising"
PHONE = {"width": 360, "height": 740}
SERVICE = "gluteal-hamstring-pain"
TODAY = datetime.now(UTC).date()


def answering(desk: Any, *cards: dict[str, Any], status: int = 200, **members: Any) -> None:
    """Let the service's answer to the next calls be this one."""
    body = json.dumps({"cards": list(cards), **members})

    def answer(route: Route) -> None:
        route.fulfill(status=status, content_type="application/json", body=body)

    # Of each hook that the chart alone decides.
    desk.page.route(f"**/cds-services/{SERVICE}*", answer)


def observed(desk: Any) -> list[dict[str, Any]]:
    """The entries of all searches for Observations in the last call."""
    prefetch = desk.calls("patient-view")[-1]["prefetch"]
    return [entry for key, found in prefetch.items() if key.startswith("observations") for entry in found["entry"]]


def a_card(**members: Any) -> dict[str, Any]:
    return {"uuid": "c", "summary": "Summary", "indicator": "info", "source": {"label": "Somebody"}, **members}


# -- the loop ---------------------------------------------------------------------------------------------------------


def test_accepted_and_signed_orders_take_the_card_away(desk: Any) -> None:
    desk.open(TORN)
    expect(desk.cards("critical")).to_have_count(1)
    card = desk.page.locator(".card h3").get_attribute("id")
    desk.look("chart-open")
    accepted = desk.accept_all()
    assert accepted
    expect(desk.page.locator(".drafts .rows li")).to_have_count(accepted)
    assert [entry["outcome"] for entry in desk.feedback()] == ["accepted"] * accepted
    assert {f"card-{entry['card']}" for entry in desk.feedback()} == {card}
    desk.look("accepted")
    desk.page.locator(".card .primary").click()
    desk.settle()
    if desk.page.locator("#finish").count():
        desk.look("signing")
        desk.page.locator("#finish").click()
        desk.settle()
    expect(desk.cards()).to_have_count(0)
    expect(desk.page.locator(".silent")).to_contain_text("what was advised has been ordered")
    expect(desk.page.locator("#part-orders + ul li")).to_have_count(accepted)
    expect(desk.page.locator("#part-orders + ul")).to_contain_text("active")
    desk.look("ordered")


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_what_was_accepted_comes_into_view_among_the_draft_orders(window: Any, motion: str) -> None:
    desk = window(reduced_motion=motion)
    desk.open(TORN)
    drafts = desk.page.locator(".drafts")
    desk.page.locator(".take").first.click()
    expect(drafts.locator(".rows li")).to_be_in_viewport(ratio=1)
    expect(drafts.locator("#sign")).to_be_in_viewport(ratio=1)
    expect(desk.page.locator(".card .primary")).to_be_focused()
    desk.settle()
    behaviour = desk.page.evaluate("getComputedStyle(document.getElementById('chart')).scrollBehavior")
    assert behaviour == ("auto" if motion == "reduce" else "smooth")


def test_a_new_finding_after_the_order_brings_a_card_back(desk: Any) -> None:
    desk.open(TORN)
    desk.accept_all()
    desk.page.locator("#sign").click()
    desk.settle()
    if desk.page.locator("#finish").count():
        desk.page.locator("#finish").click()
        desk.settle()
    desk.document("saddle", "saddle-numbness", "present")
    expect(desk.cards("critical")).to_have_count(1)


def test_a_card_is_dismissed_with_a_reason_and_the_service_is_told(desk: Any) -> None:
    desk.open(TORN)
    desk.page.locator(".dismiss summary").first.click()
    desk.page.get_by_label("Patient prefers another approach").first.check()
    desk.page.get_by_label("In your own words").first.fill("Seen by the surgeon")
    desk.look("dismissing")
    desk.page.get_by_role("button", name="Dismiss this card").first.click()
    desk.settle()
    [entry] = desk.feedback()
    assert entry["outcome"] == "overridden"
    assert entry["overrideReason"]["reason"]["code"] == "prefers-alternative"
    assert entry["overrideReason"]["userComment"] == "Seen by the surgeon"
    expect(desk.page.locator(".card.done")).to_contain_text("Dismissed: Seen by the surgeon")
    expect(desk.page.locator(".card.done .take")).to_have_count(0)


@pytest.mark.parametrize("state", ["absent", "unknown"])
def test_a_finding_that_is_taken_back_takes_its_card_away(desk: Any, state: str) -> None:
    desk.open("cauda-equina")
    expect(desk.cards("critical")).to_have_count(1)
    desk.document("saddle", "saddle-numbness", state)
    expect(desk.cards("critical")).to_have_count(0)
    stated = [
        each for each in desk.page.locator("#part-findings + ul li").all_inner_texts() if "saddle" in each.lower()
    ]
    assert len(stated) == (1 if state == "absent" else 0)


def test_an_empty_chart_becomes_a_case_finding_by_finding(desk: Any) -> None:
    desk.open()
    desk.page.locator("#patient-").click()
    desk.settle()
    expect(desk.cards()).to_have_count(0)
    desk.document("buttock pain", "buttock-pain", "present", side="right")
    desk.document("pop", "pop-at-injury", "present", side="right", date=str(TODAY - timedelta(days=2)))
    desk.document("sudden onset", "sudden-onset", "present", side="right")
    desk.document("sharp", "sharp-pain", "present", side="right")
    expect(desk.cards("critical")).to_have_count(1)
    sent = observed(desk)
    [popped] = [each["resource"] for each in sent if each["resource"]["code"]["text"].startswith("Snap or pop")]
    assert popped["effectiveDateTime"] == str(TODAY - timedelta(days=2))
    assert popped["bodySite"]["coding"][0]["code"] == "24028007"
    expect(desk.cards("critical")).to_contain_text("right")


def test_a_row_of_the_chart_opens_its_finding_to_be_changed(desk: Any) -> None:
    desk.open(TORN)
    desk.page.get_by_role("button", name=re.compile("Snap or pop")).click()
    expect(desk.page.locator("#finding-name")).to_have_text("Snap or pop at the injury")
    expect(desk.page.locator("#state-present")).to_be_checked()
    expect(desk.page.locator("#finding-side")).to_have_value("left")
    desk.look("finding")


def test_what_is_asked_next_is_answered_with_one_click(desk: Any) -> None:
    desk.open("gluteal-tendinopathy")
    asked = desk.page.locator(".asked li").first
    name = asked.locator("span").first.inner_text()
    asked.get_by_role("button", name="No").click()
    desk.settle()
    expect(desk.page.locator("#part-findings + ul")).to_contain_text(name)
    expect(desk.page.locator(".asked")).not_to_contain_text(name)


def test_a_measurement_is_documented_with_its_unit(desk: Any) -> None:
    desk.open(TORN)
    desk.page.locator("#finding-search").fill("pain severity")
    desk.page.locator("#find-pain-severity").click()
    desk.page.locator("#finding-value").fill("7")
    desk.page.locator("#finding-set").click()
    desk.settle()
    sent = observed(desk)
    assert [each["resource"]["valueQuantity"]["value"] for each in sent if "valueQuantity" in each["resource"]] == [7]


# -- the steps --------------------------------------------------------------------------------------------------------


def test_every_step_calls_each_service_of_its_hook_as_discovery_has_it(desk: Any) -> None:
    desk.open(TORN)
    discovery = desk.page.evaluate("fetch('cds-services').then((answer) => answer.json())")["services"]
    hooks = [
        each.removeprefix("step-")
        for each in desk.page.evaluate("[...document.querySelectorAll('#steps button')].map((e) => e.id)")
    ]
    assert {service["hook"] for service in discovery} <= set(hooks)
    for hook in hooks:
        desk.sent.clear()
        desk.step(hook)
        expect(desk.page.locator("#steps [aria-current=step]")).to_contain_text(hook)
        called = {path.removeprefix("/cds-services/") for path, _ in desk.sent}
        assert called == {service["id"] for service in discovery if service["hook"] == hook}
        expect(desk.page.locator(".call .problem")).to_have_count(0)
        for path, body in desk.sent:
            [service] = [each for each in discovery if path.endswith(each["id"]) and each["hook"] == hook]
            assert body["prefetch"].keys() == service["prefetch"].keys()
        desk.look(f"step-{hook}")


def test_a_drafted_order_is_selected_judged_and_can_be_removed(desk: Any) -> None:
    desk.open(TORN)
    desk.page.locator("#order-add").click()
    desk.page.locator("#order-what").select_option("mri-lumbar-spine")
    desk.page.locator("#order-put").click()
    desk.settle()
    context = desk.calls("order-select")[-1]["context"]
    [drafted] = [entry["resource"] for entry in context["draftOrders"]["entry"]]
    assert context["selections"] == [f"ServiceRequest/{drafted['id']}"]
    assert drafted["status"] == "draft"
    desk.look("order-selected")
    desk.page.get_by_role("button", name=re.compile("^Remove")).click()
    desk.settle()
    assert desk.calls("order-select")[-1]["context"]["draftOrders"]["entry"] == []


def test_an_order_can_be_replaced_by_what_its_card_suggests(desk: Any) -> None:
    desk.open(TORN)
    desk.page.locator("#order-add").click()
    desk.page.locator("#order-what").select_option("mri-lumbar-spine")
    desk.page.locator("#order-put").click()
    desk.settle()
    drafts = desk.page.locator(".drafts .rows")
    expect(drafts).to_contain_text("lumbar spine")
    card = desk.cards().filter(has_text=re.compile("lumbar", re.IGNORECASE)).first
    card.locator(".take").first.click()
    desk.settle()
    expect(drafts).not_to_contain_text("lumbar spine")
    expect(drafts.locator("li")).to_have_count(1)


def test_a_day_that_is_proposed_is_put_to_the_service_of_booking(desk: Any) -> None:
    desk.open("cauda-equina")
    desk.page.locator("#book-add").click()
    desk.page.locator("#book-date").fill(str(TODAY + timedelta(days=30)))
    desk.page.locator("#book").click()
    desk.settle()
    expect(desk.page.locator("#steps [aria-current=step]")).to_contain_text("appointment-book")
    expect(desk.page.locator("#part-appointment + ul")).to_contain_text(str(TODAY + timedelta(days=30)))
    desk.look("booking")


# -- what lies behind -------------------------------------------------------------------------------------------------


def test_request_response_reason_and_command_are_one_click_away(desk: Any) -> None:
    desk.open(TORN)
    sent = desk.calls("patient-view")[-1]
    body = desk.page.locator("#behind-body")
    desk.page.locator(f"#request-{SERVICE}").click()
    assert json.loads(body.locator("pre").inner_text()) == sent
    desk.look("request")
    desk.page.locator("#tab-response").click()
    assert json.loads(body.locator("pre").inner_text())["cards"]
    desk.page.locator("#tab-curl").click()
    command = body.locator("pre").inner_text()
    assert command.startswith("curl ")
    assert f"{desk.base}/cds-services/{SERVICE}" in command
    assert json.dumps(sent, separators=(",", ":"), ensure_ascii=False) in command
    desk.page.locator("#behind-close").click()
    expect(desk.page.locator("#behind")).to_be_hidden()


def test_the_explanation_tells_what_fired_and_what_did_not_and_leads_to_the_knowledge(desk: Any) -> None:
    desk.open(TORN)
    desk.page.locator(f"#why-{SERVICE}").click()
    groups = desk.page.locator("#behind-body summary")
    for word in ("Fired", "Could not tell", "Did not fire", "Ranking of causes"):
        expect(groups.filter(has_text=word)).to_have_count(1)
    fired = (
        desk.page.locator("#behind-body details[open] li")
        .filter(has_text="Snap or pop at the injury: present, left")
        .first
    )
    target = fired.get_by_role("link").get_attribute("href")
    assert target
    desk.look("why")
    assert f'id="{target.partition("#")[2]}"' in desk.page.request.get(f"{desk.base}/{target}").text()


def test_the_explanation_of_an_order_tells_what_was_in_hand(desk: Any) -> None:
    desk.open(TORN)
    desk.page.locator("#order-add").click()
    desk.page.locator("#order-what").select_option("mri-lumbar-spine")
    desk.page.locator("#order-put").click()
    desk.settle()
    desk.page.locator("#why-imaging-referral").click()
    expect(desk.page.locator("#behind-body h3").first).to_have_text("In hand, 1: imaging order")
    desk.look("why-order")


def test_a_refusal_is_shown_with_its_reason(desk: Any) -> None:
    desk.open(TORN)
    answering(desk, status=412, issue=[{"diagnostics": "prefetch.patient: expected the Patient"}])
    desk.step("encounter-start")
    expect(desk.page.locator(".problem")).to_contain_text("HTTP 412. prefetch.patient: expected the Patient")
    desk.look("refused")
    desk.wrong.clear()


# -- text of others ---------------------------------------------------------------------------------------------------


def test_markdown_of_a_card_becomes_elements_and_its_html_stays_text(desk: Any) -> None:
    desk.open(TORN)
    detail = (
        "Intro with **bold**, *emphasis*, `code` and \\*stars\\*.\n\n**Heading**\n\n- one\n- [a source](https://example.org/x)\n\n"
        "1. first\n2. second\n\n<img src=x onerror=\"document.title='taken'\"> [bad](javascript:alert(1))"
    )
    answering(desk, a_card(detail=detail, summary="<b>Summary</b>"))
    desk.step("encounter-start")
    card = desk.cards()
    expect(card.locator("h3")).to_have_text("<b>Summary</b>")
    expect(card.locator(".detail strong")).to_have_text("bold")
    expect(card.locator(".detail em")).to_have_text("emphasis")
    expect(card.locator(".detail code")).to_have_text("code")
    expect(card.locator(".detail")).to_contain_text("*stars*")
    expect(card.locator(".detail summary")).to_have_text("Heading")
    expect(card.locator(".detail ul li")).to_have_count(2)
    expect(card.locator(".detail ol li")).to_have_count(2)
    link = card.locator(".detail a")
    expect(link).to_have_count(1)
    expect(link).to_have_attribute("href", "https://example.org/x")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(card.locator("img")).to_have_count(0)
    expect(card.locator(".detail")).to_contain_text("<img src=x onerror")
    assert desk.page.title() == "Sitbone: try it"


def test_a_link_that_is_no_web_address_is_text(desk: Any) -> None:
    desk.open(TORN)
    answering(desk, a_card(links=[{"label": "Danger", "url": "javascript:alert(1)", "type": "absolute"}]))
    desk.step("encounter-start")
    expect(desk.cards()).to_contain_text("Danger")
    expect(desk.cards().locator("a")).to_have_count(0)


def test_of_alternatives_only_one_can_be_taken(desk: Any) -> None:
    desk.open(TORN)
    both = [{"label": name, "uuid": name} for name in ("one", "other")]
    answering(desk, a_card(suggestions=both, selectionBehavior="at-most-one"))
    desk.step("encounter-start")
    expect(desk.page.locator(".take")).to_have_count(2)
    desk.page.locator(".take").first.click()
    expect(desk.page.locator(".take")).to_have_count(0)
    expect(desk.cards()).to_contain_text("Accepted: one")


# -- everybody --------------------------------------------------------------------------------------------------------


def test_a_visit_can_be_made_with_the_keyboard_alone(desk: Any) -> None:
    desk.open(TORN)
    keyboard = desk.page.keyboard

    def tab_to(selector: str) -> None:
        for _ in range(150):
            keyboard.press("Tab")
            if desk.page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"the keyboard does not come to {selector}")

    keyboard.press("Tab")
    expect(desk.page.locator(".skip")).to_be_focused()
    keyboard.press("Enter")
    tab_to(".take")
    desk.look("focus")
    keyboard.press("Enter")
    desk.settle()
    assert desk.page.evaluate("document.activeElement.matches('.card .primary')")
    assert len(desk.feedback()) == 1
    tab_to(".dismiss summary")
    keyboard.press("Enter")
    tab_to(".dismiss input[type=radio]")
    keyboard.press("ArrowDown")
    tab_to(".dismiss button")
    keyboard.press("Enter")
    desk.settle()
    assert desk.feedback()[-1]["overrideReason"]["reason"]["code"] == "patient-ineligible"
    desk.page.locator(f"#request-{SERVICE}").focus()
    keyboard.press("Enter")
    desk.page.locator("#tab-request").focus()
    keyboard.press("ArrowRight")
    expect(desk.page.locator("#tab-response")).to_be_focused()
    keyboard.press("Escape")
    expect(desk.page.locator("#behind")).to_be_hidden()
    expect(desk.page.locator(f"#request-{SERVICE}")).to_be_focused()


def test_what_changes_is_said_to_those_who_do_not_see_it(desk: Any) -> None:
    desk.open(TORN)
    expect(desk.page.get_by_role("status")).to_contain_text("critical, Sudden sharp pain with a pop")
    desk.page.locator(".take").first.click()
    expect(desk.page.get_by_role("status")).to_contain_text("Accepted: Order")


def test_on_a_phone_one_part_is_shown_at_a_time(window: Any) -> None:
    desk = window(**PHONE)
    desk.open()
    page = desk.page
    expect(page.locator("#patients")).to_be_visible()
    desk.look("phone-patients")
    page.locator("#patient-list summary", has_text="Red flags").click()
    page.locator("#patient-cauda-equina").click()
    desk.settle()
    expect(page.locator("#cards")).to_be_visible()
    expect(page.locator("#patients")).to_be_hidden()
    desk.look("phone-cards")
    page.get_by_role("button", name="Chart", exact=True).click()
    expect(page.locator("#chart")).to_be_visible()
    desk.look("phone-chart")
    page.locator("#part-findings + ul button").first.click()
    expect(page.locator("#finding-name")).to_be_focused()
    desk.look("phone-finding")
    page.get_by_role("button", name=re.compile("^Cards")).click()
    page.locator(f"#request-{SERVICE}").click()
    desk.look("phone-request")


@pytest.mark.parametrize("width", [360, 600, 1024, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_head_of_the_page_shows_every_step_and_the_edition_at_the_edge(
    window: Any, width: int, scheme: str
) -> None:
    desk = window(width=width, color_scheme=scheme)
    desk.open(TORN)
    steps = desk.page.locator("#steps button")
    for place in range(steps.count()):
        expect(steps.nth(place)).to_be_in_viewport(ratio=1)
    edition = desk.page.locator(".edition").bounding_box()
    assert edition
    assert width - 20 <= edition["x"] + edition["width"] <= width
    desk.look(f"head-{width}-{scheme}")


def test_it_can_be_read_in_the_dark(window: Any) -> None:
    desk = window(color_scheme="dark")
    desk.open(TORN)
    ground = desk.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert all(int(part) < 64 for part in re.findall(r"\d+", ground)[:3])
    desk.look("dark")
    desk.page.locator(".dismiss summary").first.click()
    desk.accept_all()
    desk.look("dark-accepted")
    desk.page.locator(f"#response-{SERVICE}").click()
    desk.look("dark-response")


def test_nothing_moves_for_those_who_asked_for_it(window: Any) -> None:
    desk = window(reduced_motion="reduce")
    desk.open(TORN)
    moving = "[...document.querySelectorAll('*')].filter((e) => getComputedStyle(e).transitionDuration !== '0s').length"
    assert desk.page.evaluate(moving) == 0


def test_the_first_patient_of_each_group_opens_at_the_step_it_is_made_for(desk: Any) -> None:
    desk.open()
    hooks = {
        each["name"]: each["hook"]
        for each in desk.page.evaluate("fetch('desk/patients').then((a) => a.json())")["patients"]
    }
    groups = desk.page.locator("#patient-list details")
    for place in range(groups.count()):
        button = groups.nth(place).locator("button").first
        name = (button.get_attribute("id") or "").removeprefix("patient-")
        button.evaluate("(button) => button.click()")
        desk.settle()
        expect(desk.page.locator("#patient-list [aria-current]")).to_have_attribute("id", f"patient-{name}")
        expect(desk.page.locator("#steps [aria-current]")).to_contain_text(hooks[name])
        assert desk.calls(hooks[name])
        desk.sent.clear()
    desk.wrong[:] = [text for text in desk.wrong if "412" not in text]
