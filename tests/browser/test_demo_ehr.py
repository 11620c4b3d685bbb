"""The small EHR at `/` in a real browser: the whole loop of a visit, with mouse and keyboard, wide and on a phone."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import CHROMIUM

pytestmark = pytest.mark.needs_system(CHROMIUM, "the page is tried in a real browser")

TORN = "sudden-pop-with-bruising"
PHONE = {"width": 360, "height": 740}
SERVICE = "gluteal-hamstring-pain"
TODAY = datetime.now(UTC).date()


def answering(demo: Any, *cards: dict[str, Any], status: int = 200, **members: Any) -> None:
    """Let the service's answer to the next calls be this one."""
    body = json.dumps({"cards": list(cards), **members})

    def answer(route: Route) -> None:
        route.fulfill(status=status, content_type="application/json", body=body)

    # Of each hook that the chart alone decides.
    demo.page.route(f"**/cds-services/{SERVICE}*", answer)


def observed(demo: Any) -> list[dict[str, Any]]:
    """The entries of all searches for Observations in the last call."""
    prefetch = demo.calls("patient-view")[-1]["prefetch"]
    return [entry for key, found in prefetch.items() if key.startswith("observations") for entry in found["entry"]]


class Chart(BaseHTTPRequestHandler):
    """A FHIR server with one patient, who is numb between the legs."""

    def do_GET(self) -> None:
        local = "https://sitbone.example.org/fhir/CodeSystem/findings"
        seen = [
            {
                "resourceType": "Observation",
                "id": code,
                "status": "final",
                "code": {"coding": [{"system": local, "code": code}]},
                "subject": {"reference": "Patient/example"},
                "effectiveDateTime": str(TODAY),
                "valueBoolean": True,
            }
            for code in ("buttock-pain", "saddle-numbness")
        ]
        if self.path.startswith("/fhir/Patient/example"):
            answer: dict[str, Any] = {"resourceType": "Patient", "id": "example", "birthDate": "1980-05-01"}
        else:
            found = seen if self.path.startswith("/fhir/Observation") else []
            answer = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": each} for each in found]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is written."""


@pytest.fixture
def chart_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Chart) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/fhir"
        server.shutdown()


def a_card(**members: Any) -> dict[str, Any]:
    return {"uuid": "c", "summary": "Summary", "indicator": "info", "source": {"label": "Somebody"}, **members}


# -- the loop ---------------------------------------------------------------------------------------------------------


def test_accepted_and_signed_orders_take_the_card_away(demo: Any) -> None:
    demo.open(TORN)
    expect(demo.cards("critical")).to_have_count(1)
    card = demo.page.locator(".card h3").get_attribute("id")
    demo.look("chart-open")
    accepted = demo.accept_all()
    assert accepted
    expect(demo.page.locator(".drafts .rows li")).to_have_count(accepted)
    assert [entry["outcome"] for entry in demo.feedback()] == ["accepted"] * accepted
    assert {f"card-{entry['card']}" for entry in demo.feedback()} == {card}
    demo.look("accepted")
    demo.page.locator(".card .primary").click()
    demo.settle()
    if demo.page.locator("#finish").count():
        demo.look("signing")
        demo.page.locator("#finish").click()
        demo.settle()
    expect(demo.cards()).to_have_count(0)
    expect(demo.page.locator(".silent")).to_contain_text("what was advised has been ordered")
    expect(demo.page.locator("#part-orders + ul li")).to_have_count(accepted)
    expect(demo.page.locator("#part-orders + ul")).to_contain_text("active")
    demo.look("ordered")


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_what_was_accepted_comes_into_view_among_the_draft_orders(window: Any, motion: str) -> None:
    demo = window(reduced_motion=motion)
    demo.open(TORN)
    drafts = demo.page.locator(".drafts")
    demo.page.locator(".take").first.click()
    expect(drafts.locator(".rows li")).to_be_in_viewport(ratio=1)
    expect(drafts.locator("#sign")).to_be_in_viewport(ratio=1)
    expect(demo.page.locator(".card .primary")).to_be_focused()
    demo.settle()
    behaviour = demo.page.evaluate("getComputedStyle(document.getElementById('chart')).scrollBehavior")
    assert behaviour == ("auto" if motion == "reduce" else "smooth")


def test_a_new_finding_after_the_order_brings_a_card_back(demo: Any) -> None:
    demo.open(TORN)
    demo.accept_all()
    demo.page.locator("#sign").click()
    demo.settle()
    if demo.page.locator("#finish").count():
        demo.page.locator("#finish").click()
        demo.settle()
    demo.document("saddle", "saddle-numbness", "present")
    expect(demo.cards("critical")).to_have_count(1)


def test_a_card_is_dismissed_with_a_reason_and_the_service_is_told(demo: Any) -> None:
    demo.open(TORN)
    demo.page.locator(".dismiss summary").first.click()
    expect(demo.page.locator(".dismiss input:checked")).to_have_count(0)
    demo.page.get_by_role("button", name="Dismiss this card").first.click()
    expect(demo.page.get_by_role("alert").first).to_have_text("Choose a reason, or say it in your own words.")
    assert demo.feedback() == []
    demo.page.get_by_label("Patient prefers another approach").first.check()
    expect(demo.page.get_by_role("alert")).to_have_count(0)
    demo.page.get_by_label("In your own words").first.fill("Seen by the surgeon")
    demo.look("dismissing")
    demo.page.get_by_role("button", name="Dismiss this card").first.click()
    demo.settle()
    [entry] = demo.feedback()
    assert entry["outcome"] == "overridden"
    assert entry["overrideReason"]["reason"]["code"] == "prefers-alternative"
    assert entry["overrideReason"]["userComment"] == "Seen by the surgeon"
    expect(demo.page.locator(".card.done")).to_contain_text("Dismissed: Seen by the surgeon")
    expect(demo.page.locator(".card.done .take")).to_have_count(0)


@pytest.mark.parametrize("state", ["absent", "unknown"])
def test_a_finding_that_is_taken_back_takes_its_card_away(demo: Any, state: str) -> None:
    demo.open("cauda-equina")
    expect(demo.cards("critical")).to_have_count(1)
    demo.document("saddle", "saddle-numbness", state)
    expect(demo.cards("critical")).to_have_count(0)
    stated = [
        each for each in demo.page.locator("#part-findings + ul li").all_inner_texts() if "saddle" in each.lower()
    ]
    assert len(stated) == (1 if state == "absent" else 0)


def test_an_empty_chart_becomes_a_case_finding_by_finding(demo: Any) -> None:
    demo.open()
    demo.page.get_by_role("button", name="An empty chart").click()
    demo.settle()
    expect(demo.cards()).to_have_count(0)
    demo.document("buttock pain", "buttock-pain", "present", side="right")
    demo.document("pop", "pop-at-injury", "present", side="right", date=str(TODAY - timedelta(days=2)))
    demo.document("sudden onset", "sudden-onset", "present", side="right")
    demo.document("sharp", "sharp-pain", "present", side="right")
    expect(demo.cards("critical")).to_have_count(1)
    sent = observed(demo)
    [popped] = [each["resource"] for each in sent if each["resource"]["code"]["text"].startswith("Snap or pop")]
    assert popped["effectiveDateTime"] == str(TODAY - timedelta(days=2))
    assert popped["bodySite"]["coding"][0]["code"] == "24028007"
    expect(demo.cards("critical")).to_contain_text("right")


def test_a_row_of_the_chart_opens_its_finding_to_be_changed(demo: Any) -> None:
    demo.open(TORN)
    demo.page.get_by_role("button", name=re.compile("Snap or pop")).click()
    expect(demo.page.locator("#finding-name")).to_have_text("Snap or pop at the injury")
    expect(demo.page.locator("#state-present")).to_be_checked()
    expect(demo.page.locator("#finding-side")).to_have_value("left")
    demo.look("finding")


def test_what_is_asked_next_is_answered_with_one_click(demo: Any) -> None:
    demo.open("gluteal-tendinopathy")
    asked = demo.page.locator(".asked li").first
    name = asked.locator("span").first.inner_text()
    asked.get_by_role("button", name="No").click()
    demo.settle()
    expect(demo.page.locator("#part-findings + ul")).to_contain_text(name)
    expect(demo.page.locator(".asked")).not_to_contain_text(name)


def test_a_measurement_is_documented_with_its_unit(demo: Any) -> None:
    demo.open(TORN)
    demo.page.locator("#finding-search").fill("pain severity")
    demo.page.locator("#find-pain-severity").click()
    demo.page.locator("#finding-value").fill("7")
    demo.page.locator("#finding-set").click()
    demo.settle()
    sent = observed(demo)
    assert [each["resource"]["valueQuantity"]["value"] for each in sent if "valueQuantity" in each["resource"]] == [7]


# -- the steps --------------------------------------------------------------------------------------------------------


def test_every_step_calls_each_service_of_its_hook_as_discovery_has_it(demo: Any) -> None:
    demo.open(TORN)
    discovery = demo.page.evaluate("fetch('cds-services').then((answer) => answer.json())")["services"]
    hooks = [
        each.removeprefix("step-")
        for each in demo.page.evaluate("[...document.querySelectorAll('#steps button')].map((e) => e.id)")
    ]
    assert {service["hook"] for service in discovery} <= set(hooks)
    for hook in hooks:
        demo.sent.clear()
        demo.step(hook)
        expect(demo.page.locator("#steps [aria-current=step]")).to_contain_text(hook)
        if hook == "appointment-book":
            assert demo.sent == []
            demo.look("asks-the-day")
            demo.page.locator("#day-book").click()
            assert demo.sent == []
            demo.page.locator("#day").fill(str(TODAY + timedelta(days=3)))
            demo.page.locator("#day-book").click()
            demo.settle()
        called = {path.removeprefix("/cds-services/") for path, _ in demo.sent}
        assert called == {service["id"] for service in discovery if service["hook"] == hook}
        expect(demo.page.locator(".call > .problem")).to_have_count(0)
        for path, body in demo.sent:
            [service] = [each for each in discovery if path.endswith(each["id"]) and each["hook"] == hook]
            assert body["prefetch"].keys() == service["prefetch"].keys()
        demo.look(f"step-{hook}")


def test_a_drafted_order_is_selected_judged_and_can_be_removed(demo: Any) -> None:
    demo.open(TORN)
    demo.page.locator("#order-add").click()
    demo.page.locator("#order-what").select_option("mri-lumbar-spine")
    demo.page.locator("#order-put").click()
    demo.settle()
    context = demo.calls("order-select")[-1]["context"]
    [drafted] = [entry["resource"] for entry in context["draftOrders"]["entry"]]
    assert context["selections"] == [f"ServiceRequest/{drafted['id']}"]
    assert drafted["status"] == "draft"
    demo.look("order-selected")
    demo.page.get_by_role("button", name=re.compile("^Remove")).click()
    demo.settle()
    assert demo.calls("order-select")[-1]["context"]["draftOrders"]["entry"] == []


def test_an_order_can_be_replaced_by_what_its_card_suggests(demo: Any) -> None:
    demo.open(TORN)
    demo.page.locator("#order-add").click()
    demo.page.locator("#order-what").select_option("mri-lumbar-spine")
    demo.page.locator("#order-put").click()
    demo.settle()
    drafts = demo.page.locator(".drafts .rows")
    expect(drafts).to_contain_text("lumbar spine")
    card = demo.cards().filter(has_text=re.compile("lumbar", re.IGNORECASE)).first
    card.locator(".take").first.click()
    demo.settle()
    expect(drafts).not_to_contain_text("lumbar spine")
    expect(drafts.locator("li")).to_have_count(1)


def test_an_order_that_has_a_code_and_no_words_is_shown_by_its_name(demo: Any) -> None:
    demo.open("imaging-referral-sign/wrong-side")
    expect(demo.page.locator(".drafts .rows")).to_contain_text("MR Hip - right")
    expect(demo.page.get_by_role("button", name="Remove MR Hip - right")).to_be_visible()


def test_a_day_that_is_proposed_is_put_to_the_service_of_booking(demo: Any) -> None:
    demo.open("cauda-equina")
    demo.page.locator("#book-add").click()
    expect(demo.page.locator("#book-date")).to_have_value("")
    demo.page.locator("#book").click()
    assert demo.calls("appointment-book") == []
    demo.page.locator("#book-date").fill(str(TODAY + timedelta(days=30)))
    demo.page.locator("#book").click()
    demo.settle()
    expect(demo.page.locator("#steps [aria-current=step]")).to_contain_text("appointment-book")
    expect(demo.page.locator("#part-appointment + ul")).to_contain_text(str(TODAY + timedelta(days=30)))
    demo.look("booking")


# -- what lies behind -------------------------------------------------------------------------------------------------


def test_request_response_reason_and_command_are_one_click_away(demo: Any) -> None:
    demo.open(TORN)
    sent = demo.calls("patient-view")[-1]
    body = demo.page.locator("#inspector-body")
    demo.page.locator(f"#request-{SERVICE}").click()
    assert json.loads(body.locator("textarea").input_value()) == sent
    demo.look("request")
    demo.page.locator("#tab-response").click()
    assert json.loads(body.locator("pre").inner_text())["cards"]
    demo.page.locator("#tab-curl").click()
    command = body.locator("pre").inner_text()
    assert command.startswith("curl ")
    assert f"{demo.base}/cds-services/{SERVICE}" in command
    assert json.dumps(sent, separators=(",", ":"), ensure_ascii=False) in command
    demo.page.locator("#inspector-close").click()
    expect(demo.page.locator("#inspector")).to_be_hidden()


def test_a_request_can_be_changed_and_sent(demo: Any) -> None:
    demo.open("cauda-equina")
    sent = demo.calls("patient-view")[-1]
    demo.page.locator(f"#request-{SERVICE}").click()
    text = demo.page.locator("#request-text")
    text.fill("{")
    demo.page.locator("#request-send").click()
    expect(demo.page.get_by_role("alert")).to_contain_text("Not JSON")
    for found in sent["prefetch"].values():
        if found and "entry" in found:
            kept = [each for each in found["entry"] if "addle" not in json.dumps(each["resource"]["code"])]
            found |= {"entry": kept, "total": len(kept)}
    text.fill(json.dumps(sent))
    demo.page.locator("#request-send").click()
    expect(demo.page.locator("#tab-response")).to_be_focused()
    assert demo.calls("patient-view")[-1] == sent
    shown = json.loads(demo.page.locator("#inspector-body pre").inner_text())["cards"]
    assert "critical" not in [each["indicator"] for each in shown]
    demo.look("sent")
    demo.page.locator("#inspector-close").click()
    expect(demo.cards("critical")).to_have_count(0)


def test_a_chart_on_a_fhir_server_is_fetched_by_the_service(demo: Any, chart_server: str) -> None:
    demo.open()
    demo.page.locator("#server summary").click()
    demo.page.locator("#server-open").click()
    demo.page.get_by_label("Address of the server").fill(chart_server)
    demo.page.get_by_label("Id of the patient").fill("example")
    demo.page.get_by_label("Access token").fill("only-for-the-server")
    demo.look("server")
    demo.page.locator("#server-open").click()
    demo.settle()
    body = demo.calls("patient-view")[-1]
    assert "prefetch" not in body
    assert body["fhirServer"] == chart_server
    expect(demo.cards("critical")).to_have_count(1)
    expect(demo.page.locator("#part-data + ul")).to_contain_text("fetched")
    expect(demo.page.locator(".document")).to_be_hidden()
    demo.look("server-read")


def test_the_explanation_tells_what_fired_and_what_did_not_and_leads_to_the_knowledge(demo: Any) -> None:
    demo.open(TORN)
    demo.page.locator(f"#why-{SERVICE}").click()
    groups = demo.page.locator("#inspector-body summary")
    for word in ("Fired", "Could not tell", "Did not fire", "Ranking of causes"):
        expect(groups.filter(has_text=word)).to_have_count(1)
    fired = (
        demo.page.locator("#inspector-body details[open] li")
        .filter(has_text="Snap or pop at the injury: present, left")
        .first
    )
    demo.look("explained")
    link = fired.get_by_role("link")
    title = link.inner_text().splitlines()[0]
    # A test has one window.
    link.evaluate("(link) => link.removeAttribute('target')")
    link.click()
    expect(demo.page.get_by_role("heading", level=1)).to_have_text(title)


def test_the_explanation_of_an_order_tells_what_was_in_hand(demo: Any) -> None:
    demo.open(TORN)
    demo.page.locator("#order-add").click()
    demo.page.locator("#order-what").select_option("mri-lumbar-spine")
    demo.page.locator("#order-put").click()
    demo.settle()
    demo.page.locator("#why-imaging-referral").click()
    expect(demo.page.locator("#inspector-body h3").first).to_have_text("Hook context, 1: imaging order")
    demo.look("explained-order")


def test_a_refusal_is_shown_with_its_reason(demo: Any) -> None:
    demo.open(TORN)
    answering(demo, status=412, issue=[{"diagnostics": "prefetch.patient: expected the Patient"}])
    demo.step("encounter-start")
    expect(demo.page.locator(".problem")).to_contain_text("HTTP 412. prefetch.patient: expected the Patient")
    demo.look("refused")
    demo.wrong.clear()


# -- text of others ---------------------------------------------------------------------------------------------------


def test_markdown_of_a_card_becomes_elements_and_its_html_stays_text(demo: Any) -> None:
    demo.open(TORN)
    detail = (
        "Intro with **bold**, *emphasis*, `code` and \\*stars\\*.\n\n**Heading**\n\n- one\n- [a source](https://example.org/x)\n\n"
        "1. first\n2. second\n\n<img src=x onerror=\"document.title='taken'\"> [bad](javascript:alert(1))"
    )
    answering(demo, a_card(detail=detail, summary="<b>Summary</b>"))
    demo.step("encounter-start")
    card = demo.cards()
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
    assert demo.page.title() == "Sitbone: try it"


def test_a_link_that_is_no_web_address_is_text(demo: Any) -> None:
    demo.open(TORN)
    answering(demo, a_card(links=[{"label": "Danger", "url": "javascript:alert(1)", "type": "absolute"}]))
    demo.step("encounter-start")
    expect(demo.cards()).to_contain_text("Danger")
    expect(demo.cards().locator("a")).to_have_count(0)


def test_of_alternatives_only_one_can_be_taken(demo: Any) -> None:
    demo.open(TORN)
    both = [{"label": name, "uuid": name} for name in ("one", "other")]
    answering(demo, a_card(suggestions=both, selectionBehavior="at-most-one"))
    demo.step("encounter-start")
    expect(demo.page.locator(".take")).to_have_count(2)
    demo.page.locator(".take").first.click()
    expect(demo.page.locator(".take")).to_have_count(0)
    expect(demo.cards()).to_contain_text("Accepted: one")


# -- everybody --------------------------------------------------------------------------------------------------------


def test_a_visit_can_be_made_with_the_keyboard_alone(demo: Any) -> None:
    demo.open(TORN)
    keyboard = demo.page.keyboard

    def tab_to(selector: str) -> None:
        for _ in range(150):
            keyboard.press("Tab")
            if demo.page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"the keyboard does not come to {selector}")

    keyboard.press("Tab")
    expect(demo.page.locator(".skip")).to_be_focused()
    keyboard.press("Enter")
    tab_to(".take")
    demo.look("focus")
    keyboard.press("Enter")
    demo.settle()
    assert demo.page.evaluate("document.activeElement.matches('.card .primary')")
    assert len(demo.feedback()) == 1
    tab_to(".dismiss summary")
    keyboard.press("Enter")
    tab_to(".dismiss input[type=radio]")
    keyboard.press("Space")
    keyboard.press("ArrowDown")
    tab_to(".dismiss button")
    keyboard.press("Enter")
    demo.settle()
    assert demo.feedback()[-1]["overrideReason"]["reason"]["code"] == "patient-ineligible"
    demo.page.locator(f"#request-{SERVICE}").focus()
    keyboard.press("Enter")
    demo.page.locator("#tab-request").focus()
    keyboard.press("ArrowRight")
    expect(demo.page.locator("#tab-response")).to_be_focused()
    keyboard.press("Escape")
    expect(demo.page.locator("#inspector")).to_be_hidden()
    expect(demo.page.locator(f"#request-{SERVICE}")).to_be_focused()


def test_a_top_card_that_changes_comes_into_view_with_the_keyboard_on_it(window: Any) -> None:
    demo = window(**PHONE)
    demo.open("gluteal-tendinopathy")
    assert demo.page.evaluate("document.activeElement === document.body")
    demo.page.get_by_role("button", name="Patients").click()
    demo.document("saddle", "saddle-numbness", "present")
    top = demo.cards().first
    expect(top).to_be_focused()
    expect(top.locator("h3")).to_be_in_viewport(ratio=1)
    assert "critical" in (top.get_attribute("class") or "")
    demo.look("phone-changed")
    demo.page.get_by_role("button", name="Patients").click()
    demo.document("pain severity", "pain-severity", value="7")
    expect(demo.page.locator("#patients")).to_be_visible()


def test_a_patient_is_found_by_any_words_of_the_story(demo: Any) -> None:
    demo.open()
    demo.page.locator("#patient-search").fill("apixaban bruise")
    rows = demo.page.locator("#patient-list details li:visible")
    expect(rows).to_have_count(1)
    expect(demo.page.get_by_role("status")).to_have_text("1 patient found.")
    expect(rows).to_contain_text("George Haddad")
    rows.get_by_role("button").click()
    demo.settle()
    expect(demo.page.locator("#chart .banner")).to_contain_text("George Haddad")
    demo.look("found")
    demo.page.locator("#patient-search").fill("")
    assert rows.count() > 1


def test_what_changes_is_said_to_those_who_do_not_see_it(demo: Any) -> None:
    demo.open(TORN)
    expect(demo.page.get_by_role("status")).to_contain_text("critical, Left: pop, sudden onset")
    demo.page.locator(".take").first.click()
    expect(demo.page.get_by_role("status")).to_contain_text("Accepted: Order")


def test_on_a_phone_one_part_is_shown_at_a_time(window: Any) -> None:
    demo = window(**PHONE)
    demo.open()
    page = demo.page
    expect(demo.cards().first.locator("h3")).to_be_in_viewport(ratio=1)
    expect(page.locator("#patients")).to_be_hidden()
    page.get_by_role("button", name="Patients").click()
    expect(page.locator("#patients")).to_be_visible()
    demo.look("phone-patients")
    page.get_by_role("button", name="Dana Reyes").click()
    demo.settle()
    expect(page.locator("#cards")).to_be_visible()
    expect(page.locator("#patients")).to_be_hidden()
    demo.look("phone-cards")
    page.get_by_role("button", name="Chart", exact=True).click()
    expect(page.locator("#chart")).to_be_visible()
    demo.look("phone-chart")
    page.locator("#part-findings + ul button").first.click()
    expect(page.locator("#finding-name")).to_be_focused()
    demo.look("phone-finding")
    page.get_by_role("button", name=re.compile("^Cards")).click()
    page.locator(f"#request-{SERVICE}").click()
    demo.look("phone-request")


@pytest.mark.parametrize("width", [360, 600, 1024, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_head_of_the_page_shows_every_step_and_the_edition_at_the_edge(
    window: Any, width: int, scheme: str
) -> None:
    demo = window(width=width, color_scheme=scheme)
    demo.open(TORN)
    steps = demo.page.locator("#steps button")
    for place in range(steps.count()):
        expect(steps.nth(place)).to_be_in_viewport(ratio=1)
    edition = demo.page.locator(".edition").bounding_box()
    assert edition
    assert width - 20 <= edition["x"] + edition["width"] <= width
    demo.look(f"head-{width}-{scheme}")


def test_it_can_be_read_in_the_dark(window: Any) -> None:
    demo = window(color_scheme="dark")
    demo.open(TORN)
    ground = demo.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert all(int(part) < 64 for part in re.findall(r"\d+", ground)[:3])
    demo.look("dark")
    demo.page.locator(".dismiss summary").first.click()
    demo.accept_all()
    demo.look("dark-accepted")
    demo.page.locator(f"#response-{SERVICE}").click()
    demo.look("dark-response")


def test_nothing_moves_for_those_who_asked_for_it(window: Any) -> None:
    demo = window(reduced_motion="reduce")
    demo.open(TORN)
    moving = "[...document.querySelectorAll('*')].filter((e) => getComputedStyle(e).transitionDuration !== '0s').length"
    assert demo.page.evaluate(moving) == 0


def test_the_first_patient_of_each_group_opens_at_the_step_it_is_made_for(demo: Any) -> None:
    demo.open()
    hooks = {
        each["name"]: each["hook"]
        for each in demo.page.evaluate("fetch('demo/patients').then((a) => a.json())")["patients"]
    }
    groups = demo.page.locator("#patient-list details")
    for place in range(groups.count()):
        button = groups.nth(place).locator("button").first
        name = (button.get_attribute("id") or "").removeprefix("patient-")
        button.evaluate("(button) => button.click()")
        demo.settle()
        expect(demo.page.locator("#patient-list [aria-current]")).to_have_attribute("id", f"patient-{name}")
        expect(demo.page.locator("#steps [aria-current]")).to_contain_text(hooks[name])
        assert demo.calls(hooks[name])
        demo.sent.clear()
    demo.wrong[:] = [text for text in demo.wrong if "412" not in text]


def test_a_newcomer_answers_three_questions_beside_the_chart_and_signs_what_the_new_card_orders(demo: Any) -> None:
    demo.open("radiating-nerve-symptoms")
    before = demo.cards().first.locator("h3").inner_text()
    demo.page.locator("button.launch").first.click()
    app = demo.page.frame_locator("#app-frame")
    expect(app.locator("h1")).to_contain_text(demo.page.locator("[aria-current=true] .what").inner_text().split(",")[0])
    for _ in range(3):
        answers = app.locator(".item button:has-text('Yes')[aria-pressed=false]")
        left = answers.count()
        answers.first.click()
        expect(answers).not_to_have_count(left)
    app.locator("button:has-text('Save')").click()
    expect(app.locator("main")).to_contain_text("Saved in the chart")
    demo.page.locator("#app-close").click()
    expect(demo.page.locator("#said")).to_contain_text("saved to the chart")
    demo.settle()
    top = demo.cards("critical").first
    assert top.locator("h3").inner_text() != before
    # The next call has the answers, as the app saved them.
    assert demo.calls("patient-view")[-1]["prefetch"]["questionnaireResponses"]["entry"]
    top.locator("button.take").first.click()
    demo.page.locator("[id^=sign-]").first.click()
    demo.settle()
    assert demo.calls("order-sign")[-1]["context"]["draftOrders"]["entry"]


def test_an_app_that_saves_nothing_leaves_the_card_as_it_is(demo: Any) -> None:
    demo.open(TORN)
    before = demo.cards().all_inner_texts()
    demo.page.locator("button.launch").first.click()
    expect(demo.page.frame_locator("#app-frame").locator("#advice")).to_be_visible()
    demo.page.locator("#app-close").click()
    expect(demo.page.locator("#said")).to_contain_text("saved nothing")
    assert demo.cards().all_inner_texts() == before
