"""The second opinion in a real Chromium: in a frame of the EHR without third-party cookies, by keyboard, on a phone, on
paper, without a script, and held to axe-core."""

import http.server
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Frame, Page, expect

from cds_hooks.trust.signing import key_set
from tests.browser.conftest import _AXE, CHROMIUM, KEEPS_PICTURES, SCREENSHOTS, keep_picture, launched
from tests.certificates import Authority
from tests.second_opinion.conftest import APP, CALLER, KEY, chart_of
from tests.second_opinion.ehr import LAUNCH, Ehr
from tests.serving import running

pytestmark = pytest.mark.needs_system(CHROMIUM, "the page is looked at in a browser")
WINDOWS = {"desk": (1280, 900), "phone": (320, 640)}


@dataclass
class Place:
    """The app, the EHR, and the origins of two pages that frame it, of which the EHR's entry lists the first."""

    app: str
    ehr: Ehr
    framing: str
    stranger: str
    browser: Browser

    @property
    def launch(self) -> str:
        return f"{self.app}/app/launch?iss={self.ehr.iss}&launch={LAUNCH}"


@contextmanager
def tls_before(behind: list[int], context: ssl.SSLContext) -> Iterator[int]:
    """A front that ends TLS for the service whose port stands in the list by then; its own port."""
    listening = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve(accepted: socket.socket) -> None:
        with (
            suppress(OSError),
            context.wrap_socket(accepted, server_side=True) as front,
            socket.create_connection(("127.0.0.1", behind[0])) as back,
        ):
            up = threading.Thread(target=copy, args=(front, back), daemon=True)
            up.start()
            copy(back, front)
            up.join(5)

    def accept() -> None:
        while not stopped.is_set():
            with suppress(OSError):
                accepted, _ = listening.accept()
                threading.Thread(target=serve, args=(accepted,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        stopped.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()


@contextmanager
def page_that_frames(context: ssl.SSLContext) -> Iterator[int]:
    """A server of one page, with a frame of what stands behind `?`; it also sets a cookie of the old kind."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            source = self.path.partition("?")[2].replace("&", "&amp;")
            kept = "old=1" in self.headers.get("Cookie", "")
            body = f'<title>EHR</title><p id="kept">{kept}</p>'
            body += f'<iframe src="{source}" width="900" height="700" title="App"></iframe>' if source else ""
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Set-Cookie", "old=1; Secure; SameSite=None; Path=/")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def place(repository: Path, tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("second-opinion")
    authority = Authority(folder)
    (folder / "authority.pem").write_bytes(authority.pem)
    (folder / "caller.json").write_text(json.dumps(key_set(CALLER)))
    (folder / "app.json").write_text(json.dumps(APP))
    (folder / "store").mkdir(mode=0o700)
    with ExitStack() as stack:
        behind: list[int] = []
        ehr = stack.enter_context(
            Ehr(chart_of("office-worker-of-42")).running(authority.server("localhost"), "localhost")
        )
        front = stack.enter_context(tls_before(behind, authority.server("cds.test")))
        framing = stack.enter_context(page_that_frames(authority.server("ehr.test")))
        base, origin = f"https://cds.test:{front}", f"https://ehr.test:{framing}"
        ehr.redirect_uri, ehr.app_keys = f"{base}/app/callback/clinic", key_set(APP)
        (folder / "clients.toml").write_text(
            f"""
            [clients.clinic]
            issuers = ["https://clinic.example.org"]
            jwks_file = "caller.json"
            fhir_servers = ["{ehr.iss}"]
            internal_hosts = ["localhost"]
            [clients.clinic.app]
            iss = "{ehr.iss}"
            client_id = "private"
            key_file = "app.json"
            frame_origins = ["{origin}"]
            write = ["QuestionnaireResponse", "ServiceRequest"]
            """
        )
        variables = {
            "SITBONE_CLIENTS": str(folder / "clients.toml"),
            "SITBONE_DRAFT": "show",
            "SITBONE_STORE": str(folder / "store"),
            "SITBONE_AUDIT": "off",
            "SITBONE_PUBLIC_BASE_URL": base,
            "SITBONE_APP_KEYS": KEY,
            "SITBONE_FEATURES": "on",
            "SSL_CERT_FILE": str(folder / "authority.pem"),
        }
        served, _stop = stack.enter_context(running(repository, **variables))
        behind.append(int(served.rpartition(":")[2]))
        blocking = launched(
            browser.browser_type,
            "--host-resolver-rules=MAP *.test 127.0.0.1",
            "--enable-features=ForceThirdPartyCookieBlockingEnabled,ThirdPartyStoragePartitioning",
            # In the place of Playwright's list, which has the second of these, without which the first does nothing.
            "--disable-features=PaintHolding",
        )
        stack.callback(blocking.close)
        yield Place(base, ehr, origin, f"https://other.test:{framing}", blocking)


@pytest.fixture(autouse=True)
def nothing_saved_yet(place: Place) -> None:
    place.ehr.created.clear()
    for reference in [each for each in place.ehr.resources if "/new-" in each]:
        del place.ehr.resources[reference]


@pytest.fixture
def context(place: Place) -> Iterator[BrowserContext]:
    made = place.browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 900})
    made.set_default_timeout(15_000)
    yield made
    made.close()


def looked_at(page: Page, name: str) -> None:
    """Keep a picture, and hold the page to axe-core and to the width of its window."""
    keep_picture(page, name, full_page=True)
    # The policy of the page lets no script in but its own: axe comes by the debugger.
    found = page.evaluate(f"{_AXE}; axe.run(document, {{ resultTypes: ['violations'] }})")["violations"]
    assert not [(each["id"], [node["target"] for node in each["nodes"]]) for each in found]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than the window"


def in_frame(page: Page) -> Frame:
    return page.frames[1]


def test_in_a_frame_of_the_ehr_without_third_party_cookies_a_launch_goes_through_to_saved_answers(
    place: Place, context: BrowserContext
) -> None:
    page = context.new_page()
    page.goto(f"{place.framing}/?{place.launch}")
    frame = page.frame_locator("iframe")
    expect(frame.locator("header h1")).to_contain_text("Pat Sample")
    frame.locator("#right-pop-at-injury-yes").click()
    expect(frame.locator(".card").first).to_have_class(re.compile("warning"))
    frame.locator("#save").click()
    expect(frame.locator(".saved")).to_contain_text("QuestionnaireResponse/new-1")
    [form] = place.ehr.saved("QuestionnaireResponse")
    assert form["subject"]["reference"] == "Patient/1032702"
    keep_picture(page, "second-opinion-framed")


def test_third_party_cookies_are_blocked_in_this_browser(place: Place, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(place.framing)
    page.goto(place.framing)
    expect(page.locator("#kept")).to_have_text("True")
    page.goto(place.stranger)
    # A page of another site, in a frame: it does not get the cookie that it has in a window of its own.
    page.goto(f"{place.framing}/?{place.stranger}/")
    assert in_frame(page).locator("#kept").text_content() == "False"


def test_in_a_frame_of_another_origin_the_browser_shows_nothing(place: Place, context: BrowserContext) -> None:
    page = context.new_page()
    blocked: list[str] = []
    page.on("console", lambda message: blocked.append(message.text))
    asked = len(place.ehr.token_requests)
    page.goto(f"{place.stranger}/?{place.launch}")
    page.wait_for_timeout(1500)
    assert any("frame-ancestors" in text for text in blocked), blocked
    assert "Pat Sample" not in (in_frame(page).content() if len(page.frames) > 1 else "")
    assert len(place.ehr.token_requests) <= asked + 1


@pytest.mark.parametrize("size", WINDOWS)
def test_the_page_is_accessible_and_fits_on_a_desk_and_on_a_phone(
    place: Place, context: BrowserContext, size: str
) -> None:
    width, height = WINDOWS[size]
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": height})
    page.goto(place.launch)
    expect(page.locator("header h1")).to_contain_text("Pat Sample")
    looked_at(page, f"second-opinion-{size}")
    page.locator("#right-pop-at-injury-yes").click()
    expect(page.locator(".card").first).to_have_class(re.compile("warning"))
    looked_at(page, f"second-opinion-{size}-answered")
    for each in page.locator("button:visible").all():
        box = each.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44
    # The advice is in sight wherever one answers, once, and hides nothing that has the focus.
    line = page.locator(".in-sight span")
    page.locator("h1").scroll_into_view_if_needed()
    expect(line).to_be_hidden()
    page.locator("#save").scroll_into_view_if_needed()
    expect(line).to_be_visible()
    expect(line).to_be_in_viewport()
    expect(line).to_contain_text("Warning: Right: pop, not examined")
    keep_picture(page, f"second-opinion-{size}-in-sight")
    for name in ("next", "right-worsening-yes", "right-sharp-pain-yes", "right-pop-at-injury-yes"):
        page.locator(f"#{name}").focus()
        box, bar = page.locator(f"#{name}").bounding_box(), line.bounding_box()
        assert box is not None
        assert bar is not None
        assert box["y"] >= bar["y"] + bar["height"], name


class Presses:
    """Counts each key that is pressed and each tap."""

    def __init__(self, page: Page) -> None:
        self.page, self.count = page, 0

    def key(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.count += 1

    def tap(self, selector: str) -> None:
        self.page.locator(selector).tap()
        self.count += 1


FINDINGS = ("pop-at-injury", "sudden-onset", "sharp-pain")


def saved_critical(place: Place, page: Page) -> None:
    """What the page says, and what the next launch reads."""
    expect(page.locator(".card").first).to_have_class(re.compile("critical"))
    expect(page.locator(".saved")).to_contain_text("QuestionnaireResponse/new-1")
    again = page.context.new_page()
    again.goto(place.launch)
    expect(again.locator(".card").first).to_have_class(re.compile("critical"))
    assert len(place.ehr.created) == 1


def test_a_tear_is_documented_and_saved_with_at_most_eight_real_keys(place: Place, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(place.launch)
    presses = Presses(page)
    expect(page.locator("header h1")).to_contain_text("Pat Sample")
    for finding in FINDINGS:
        presses.key("Tab")
        expect(page.locator(f"#right-{finding}-yes")).to_be_focused()
        presses.key("y")
        expect(page.locator(f"#right-{finding}-yes")).to_have_attribute("aria-pressed", "true")
        # The focus is where it was, and the advice is said aloud.
        expect(page.locator(f"#right-{finding}-yes")).to_be_focused()
        expect(page.locator(".told").first).to_have_text("The advice changed.")
    expect(page.locator(".keys")).to_be_visible()
    presses.key("Alt+s")
    saved_critical(place, page)
    looked_at(page, "second-opinion-critical")
    assert presses.count <= 8


def test_a_tear_is_documented_and_saved_with_at_most_eight_taps_on_a_phone(place: Place) -> None:
    with ExitStack() as stack:
        phone = place.browser.new_context(
            ignore_https_errors=True, has_touch=True, is_mobile=True, viewport={"width": 320, "height": 640}
        )
        stack.callback(phone.close)
        page = phone.new_page()
        page.goto(place.launch)
        presses = Presses(page)
        for finding in FINDINGS:
            presses.tap(f"#right-{finding}-yes")
            expect(page.locator(f"#right-{finding}-yes")).to_have_attribute("aria-pressed", "true")
        # Whoever has no keys is told of none.
        expect(page.locator(".keys")).to_be_hidden()
        presses.tap("#save")
        saved_critical(place, page)
        assert presses.count <= 8


def test_tab_goes_from_question_to_question_and_the_arrows_within_one(place: Place, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(place.launch)
    page.locator("#right-pop-at-injury-yes").focus()
    for key, focused in (
        ("ArrowRight", "right-pop-at-injury-no"),
        ("ArrowRight", "right-pop-at-injury-unknown"),
        ("ArrowRight", "right-pop-at-injury-unknown"),
        ("ArrowLeft", "right-pop-at-injury-no"),
        ("Tab", "right-sudden-onset-yes"),
        ("Shift+Tab", "right-pop-at-injury-yes"),
    ):
        page.keyboard.press(key)
        expect(page.locator(f"#{focused}")).to_be_focused()


def test_a_fault_of_the_service_leaves_the_page_as_it_is(place: Place, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(place.launch)
    page.locator("#right-pop-at-injury-yes").click()
    expect(page.locator(".card").first).to_have_class(re.compile("warning"))
    page.route("**/app/opinion", lambda route: route.fulfill(status=500, json={"resourceType": "OperationOutcome"}))
    page.locator("#right-sudden-onset-yes").click()
    expect(page.locator("[role=status]").first).to_have_text(
        "The service could not answer. Nothing was lost: try again."
    )
    expect(page.locator("main")).to_contain_text("Snap or pop at the injury (right): yes")


def test_what_was_read_is_a_file_and_the_page_stays_as_it_is(place: Place, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(place.launch)
    page.locator("#right-pop-at-injury-yes").click()
    expect(page.locator(".card").first).to_have_class(re.compile("warning"))
    with page.expect_download() as kept:
        page.locator("#features").click()
    assert kept.value.suggested_filename == "case-features.json"
    codes = [entry["resource"].get("code") for entry in json.loads(kept.value.path().read_text("utf-8"))["entry"]]
    assert "pop-at-injury" in [code["coding"][0]["code"] for code in codes if code]
    expect(page.locator(".card").first).to_have_class(re.compile("warning"))


def test_a_key_is_an_answer_in_a_question_alone(place: Place, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(place.launch)
    page.locator("#enough").focus()
    page.keyboard.press("y")
    page.locator("#value-right-onset-date").focus()
    page.keyboard.press("u")
    expect(page.locator('[aria-pressed="true"]')).to_have_count(0)


def test_the_address_holds_no_code_once_the_page_is_there(place: Place, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(place.launch)
    expect(page.locator("header h1")).to_contain_text("Pat Sample")
    assert page.url == f"{place.app}/app/callback/clinic"


def test_the_page_works_without_a_script(place: Place) -> None:
    with ExitStack() as stack:
        plain = place.browser.new_context(ignore_https_errors=True, java_script_enabled=False)
        stack.callback(plain.close)
        page = plain.new_page()
        page.goto(place.launch)
        page.locator("#right-pop-at-injury-yes").click()
        expect(page.locator(".card").first).to_have_class(re.compile("warning"))
        page.locator("#value-right-onset-date").fill("2026-11-01")
        # Enter takes over what was written, and answers nothing else.
        page.locator("#value-right-onset-date").press("Enter")
        expect(page.locator("main")).to_contain_text("Date of onset or injury (right): 2026-11-01")
        expect(page.locator("main")).not_to_contain_text("Getting worse (right): ")


def test_on_paper_it_has_two_pages_at_most_and_no_buttons(place: Place, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(place.launch)
    page.locator("#right-pop-at-injury-yes").click()
    expect(page.locator(".card").first).to_have_class(re.compile("warning"))
    page.emulate_media(media="print")
    assert page.locator("button:visible").count() == 0
    printed = page.pdf(format="A4", path=SCREENSHOTS / "second-opinion.pdf" if KEEPS_PICTURES else None)
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 2
    keep_picture(page, "second-opinion-print", full_page=True)
