"""The page: it says what the hook says, asks what matters, and ends."""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_hooks import HookRequest, read_request
from cds_hooks.errors import PreconditionFailed
from service.app import create_app
from service.chart.elements import LEFT, RIGHT
from service.reasoning.questions import DECIDING
from service.release.states import release_of
from service.second_opinion.answers import NO, UNKNOWN, YES, About, Item, Vocabulary
from service.second_opinion.form import AGE, Form
from service.second_opinion.opinion import Group, Opinion, Opinions, with_answers
from service.second_opinion.view import stated
from service.service_ids import DIAGNOSIS
from service.services.evaluation import Evaluator
from service.services.registry import services_by
from service.settings import Settings
from tests.charts import CLOCK, SERVICE, build_request, packaged
from tests.second_opinion.conftest import MakeSite, Site, chart_of, plain

REQUESTS = Path(__file__).parents[2] / "fixtures" / "requests"
CHARTS = sorted(
    path.stem for path in REQUESTS.glob("*.json") if json.loads(path.read_text("utf-8"))["hook"] == "patient-view"
)
PAIN = {"side": "left", "conditions": [], "present": ["buttock-pain"]}
ABOUT = About("1032702", "", "Practitioner/4451", CLOCK.isoformat(timespec="seconds"), "a51bd54b")


def hook(chart: Mapping[str, Any], client: FlaskClient) -> list[tuple[str, str]]:
    """Summary and detail of the cards of patient-view, as text."""
    answer = client.post(SERVICE, json=chart)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return [(plain(card["summary"]), plain(card.get("detail", ""))) for card in answer.get_json()["cards"]]


@pytest.fixture(scope="module")
def hooks() -> FlaskClient:
    """The service as a CDS client calls it, at the time of the fixtures."""
    return create_app(Settings(), clock=lambda: CLOCK).test_client()


# -- the page in the EHR ----------------------------------------------------------------------------------------------


class _Still:
    """The clock of the fixtures."""

    ahead = 0.0

    def __call__(self) -> datetime:
        return CLOCK


@pytest.fixture
def still(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site at the time of the fixtures; its EHR lives today, and is shown no assertion."""
    monkeypatch.setattr("tests.second_opinion.conftest.Time", _Still)
    return make_site(auth="public")


def test_the_advice_on_the_page_is_that_of_the_hook_for_the_same_chart_word_for_word(
    still: Site, hooks: FlaskClient
) -> None:
    compared = 0
    for name in CHARTS:
        chart = chart_of(name)
        still.ehr.resources.clear()
        still.ehr.take(chart)
        still.ehr.patient, still.ehr.encounter = chart["context"]["patientId"], chart["context"].get("encounterId", "")
        page = still.open()
        if page.status != 200:
            assert page.status == 502, page.text
            continue
        token = {"access_token": list(still.ehr.tokens)[-1], "token_type": "Bearer", "expires_in": 300}
        asked = {name: chart[name] for name in ("hook", "hookInstance", "context")}
        said = hook({**asked, "fhirServer": still.ehr.iss, "fhirAuthorization": token}, hooks)
        assert page.cards() == said, name
        compared += bool(said)
    assert compared > 100


def test_an_answer_changes_the_advice_at_once_and_what_it_said_before_is_struck_through(make_site: MakeSite) -> None:
    site = make_site("office-worker-of-42")
    page = site.open()
    for finding in ("pop-at-injury", "sudden-onset"):
        page = page.press(f"set:right/{finding}=yes")
    before = page.cards()[0][0]
    assert 'class="card warning"' in page.html
    page = page.press("set:right/sharp-pain=yes")
    assert "The advice changed." in page.text
    assert 'class="card critical"' in page.html
    assert f"<del>{before}</del>" in page.html
    assert "Snap or pop at the injury (right): yes" in page.text
    # What has been answered can be answered otherwise, with one click.
    page = page.press("set:right/pop-at-injury=no")
    assert 'class="card critical"' not in page.html
    assert "Snap or pop at the injury (right): no" in page.text
    assert "The advice is the same." in page.press("set:right/knee-flexion-weakness=unknown").text


def test_what_the_chart_tells_can_be_answered_otherwise_and_the_page_shows_both(make_site: MakeSite) -> None:
    site = make_site("sudden-pop-with-bruising", write=["QuestionnaireResponse"])
    for resource in site.ehr.resources.values():
        if resource["resourceType"] == "Observation":
            resource["effectiveDateTime"] = "2026-11-22"
    page = site.open()
    assert "Snap or pop at the injury present left Nov 22 Observation" in page.text
    assert 'class="card critical"' in page.html
    assert "Answer otherwise" in page.text
    assert "set:left/pop-at-injury=unknown" not in page.buttons()
    for finding in ("pop-at-injury", "significant-bruising", "sudden-onset"):
        page = page.press(f"set:left/{finding}=no")
    assert "The advice changed." in page.text
    assert 'class="card critical"' not in page.html
    assert "Snap or pop at the injury present Answered here: no left Nov 22 Observation" in page.text
    assert "Snap or pop at the injury (left): no" in page.text
    # What is saved says the same to the next hook, which reads both.
    page = page.press("save")
    [saved] = (each for each in site.ehr.resources.values() if each["resourceType"] == "QuestionnaireResponse")
    when = datetime.fromisoformat(saved["authored"])
    again = site.open()
    assert again.cards() == page.cards()
    assert f"Snap or pop at the injury absent left {when:%b} {when.day} QuestionnaireResponse" in again.text
    # It can be taken back, and the page keeps telling of both.
    page = page.press("set:left/pop-at-injury=yes")
    assert "Snap or pop at the injury absent Answered here: yes left" in page.text


def test_beside_what_has_no_date_another_answer_makes_it_recorded_in_two_ways(make_site: MakeSite) -> None:
    page = make_site("sudden-pop-with-bruising").open()
    assert "Snap or pop at the injury present left no date Observation" in page.text
    page = page.press("set:left/pop-at-injury=no")
    assert "Recorded in two ways: Snap or pop at the injury." in page.text


def test_a_date_and_a_number_of_the_chart_can_be_answered_otherwise(make_site: MakeSite) -> None:
    page = make_site("runner-after-physiotherapy").open()
    assert "Weeks of physiotherapy completed 12 wk" in page.text
    page = page.send("set", **{"value:physiotherapy-weeks": "1"})
    assert "Weeks of physiotherapy completed 12 wk Answered here: 1 wk Nov 22" in page.text
    page = page.send("set", **{"value:onset-date": "2026-11-01"})
    assert "Date of onset or injury 2026-08-14 Answered here: 2026-11-01 Nov 22" in page.text


def test_what_no_question_asks_for_is_not_corrected_here(site: Site) -> None:
    page = site.open()
    assert "Buttock pain present" in page.text
    assert not [do for do in page.buttons() if "buttock-pain" in do]
    assert "Answer otherwise" not in page.text


def test_none_of_these_is_a_no_to_what_is_open_of_a_question(site: Site) -> None:
    page = site.open().press("set:right/sharp-pain=yes")
    number = next(do for do in page.buttons() if do.startswith("none:") and f'id="{do.replace(":", "-")}"' in page.html)
    page = page.press(number)
    assert "Sharp pain (right): yes" in page.text
    assert "Sudden onset (right): no" in page.text


def test_a_number_and_a_date_are_taken_with_any_button_and_nonsense_leaves_the_question_open(site: Site) -> None:
    page = site.open().send("set", **{"value:right/onset-date": "2026-11-01", "value:physiotherapy-weeks": "7,5"})
    assert "Date of onset or injury (right): 2026-11-01" in page.text
    assert "Weeks of physiotherapy completed: 7.5 wk" in page.text
    for key, wrong in (
        ("physiotherapy-weeks", "many"),
        ("physiotherapy-weeks", "-3"),
        ("physiotherapy-weeks", "1e9"),
        ("right/onset-date", "yesterday"),
        ("right/onset-date", "2026-02-30"),
        ("right/no-such-finding", "1"),
        ("up/onset-date", "2026-11-01"),
    ):
        page = site.open().send("set", **{f"value:{key}": wrong})
        assert (page.status, "None yet." in page.text) == (200, True), key


def test_the_next_three_questions_come_when_they_are_asked_for_and_none_of_them_twice(site: Site) -> None:
    page = site.open()
    seen: set[str] = set()
    screens = 0
    while "next" in page.buttons():
        asked = {do.rpartition("=")[0] for do in page.buttons() if do.startswith("set:")}
        assert not asked & seen
        seen |= asked
        page = page.press("next")
        screens += 1
        assert screens < 20
    assert screens > 1
    assert "No answer left would change urgency, imaging or referral." in page.text


def test_enough_ends_the_questions_and_names_what_could_still_change(site: Site) -> None:
    page = site.open().press("enough")
    assert "Enough was asked. Answers could still change: urgency, imaging, referral." in page.text
    assert "next" not in page.buttons()


def test_where_the_chart_names_no_side_the_page_asks_for_it_and_the_answers_are_of_that_side(
    make_site: MakeSite,
) -> None:
    site = make_site()
    case = {"present": ["buttock-pain"], "age": 40}
    site.ehr.resources.clear()
    site.ehr.take(build_request(case))
    page = site.open()
    assert "Which side hurts?" in page.text
    page = page.press("side=left")
    pressed = next(do for do in page.buttons() if do.endswith("pop-at-injury=yes"))
    page = page.press(pressed)
    assert page.cards()[0][0].startswith("Left: pop")
    assert "side=up" not in page.buttons()
    assert page.send("side=up").status == 400


def test_two_pages_of_one_browser_are_two_patients(make_site: MakeSite) -> None:
    site = make_site()
    browser = site.browser()
    first = site.open(browser)
    other = {"resourceType": "Patient", "id": "7770123", "birthDate": "1990-01-01", "name": [{"text": "Ann Other"}]}
    site.ehr.resources["Patient/7770123"] = other
    pain = build_request({"present": ["buttock-pain"], "side": "left"})["prefetch"]["observations"]
    site.ehr.take({"prefetch": {"observations": pain}})
    for resource in site.ehr.resources.values():
        if resource["resourceType"] == "Observation" and resource["id"] == pain["entry"][0]["resource"]["id"]:
            resource["subject"] = {"reference": "Patient/7770123"}
    site.ehr.patient = "7770123"
    second = site.open(browser)
    for finding in ("pop-at-injury", "sudden-onset"):
        first, second = first.press(f"set:right/{finding}=no"), second.press(f"set:left/{finding}=no")
        assert "Pat Sample" in first.text
        assert "Ann Other" not in first.text
        assert "Ann Other" in second.text
        assert "Pat Sample" not in second.text


def test_a_page_has_no_inline_script_or_style_and_nothing_from_elsewhere(site: Site) -> None:
    page = site.open().press("set:right/pop-at-injury=yes")
    assert "<style" not in page.html
    assert " style=" not in page.html
    assert "onclick" not in page.html
    scripts = [part.split(">", 1) for part in page.html.split("<script")[1:]]
    assert [(head.strip(), body.startswith("</script>")) for head, body in scripts] == [
        ('src="/pain/app/files/app.js" defer', True)
    ]
    # The evidence is behind a link that leaves the page, and is the only one.
    links = [part.split('"')[0] for part in page.html.split('href="')[1:]]
    assert links[0] == "/pain/app/files/app.css"
    assert all(link.startswith("https://cds.example.org/pain/why/") for link in links[1:])
    for name in ("app.css", "app.js", "hand_over.js"):
        assert site.get(page.client, f"/app/files/{name}").status_code == 200
    assert site.get(page.client, "/app/files/routes.py").status_code == 400


def test_the_name_and_the_birth_date_stand_on_top_and_above_the_answers(site: Site) -> None:
    text = site.open().text
    assert text.count("Pat Sample , born 1984-10-20") == 2


def test_text_of_the_chart_is_shown_and_never_obeyed(make_site: MakeSite) -> None:
    site = make_site()
    name = "<script>alert(1)</script>"
    site.ehr.resources["Patient/1032702"]["name"] = [{"text": name}]
    assert "<script>alert" not in site.open().html


def test_what_could_not_be_read_is_named_on_the_page(make_site: MakeSite) -> None:
    site = make_site()
    site.ehr.faults.answers[("GET", "MedicationRequest")] = [403]
    assert "Not read, or not all of it: Prescribed medicines." in site.open().text


def test_done_has_the_ehr_forget_the_access(site: Site) -> None:
    page = site.open()
    done = page.press("done")
    assert (done.status, "Pat Sample" in done.text) == (200, False)
    assert len(site.ehr.revoked) == 1
    assert site.ehr.revoked[0].startswith("refresh-")


@pytest.mark.parametrize(
    "form",
    [
        {"answering": ""},
        {"answering": "[]"},
        {"answering": '{"answers": 7}'},
        {"answering": '{"shown": [["x", []]]}'},
        {"answering": "\ud800"},
        {"do": "none:99"},
        {"do": "set:x"},
        {"do": "set:=yes"},
        {"do": "no-such-button"},
        {"session": ""},
    ],
)
def test_a_form_that_was_tampered_with_is_no_fault_of_the_service(site: Site, form: dict[str, str]) -> None:
    page = site.open()
    sent = {**page.hidden(), "do": "enough", **form}
    body = "&".join(f"{name}={value.encode('utf-8', 'surrogatepass').hex()}" for name, value in sent.items())
    assert body
    answer = site.post(page.client, "/app/opinion", {k: v.encode("utf-8", "replace").decode() for k, v in sent.items()})
    assert answer.status < 500


def test_a_page_of_another_content_type_or_of_any_size_is_refused(site: Site) -> None:
    client = site.browser()
    assert client.post("/app/opinion", json={}, base_url=site.base).status_code == 400
    too_large = {"session": "x" * 300_000}
    assert client.post("/app/opinion", data=too_large, base_url=site.base).status_code == 400


# -- questions and answers, without a browser -------------------------------------------------------------------------


@dataclass
class Room:
    """The opinions of the packaged knowledge on charts that are at hand."""

    opinions: Opinions
    vocabulary: Vocabulary
    service: Any

    def request(self, chart: Mapping[str, Any]) -> HookRequest:
        return read_request(json.dumps(chart).encode(), self.service, correlation_id="")

    def opinion(self, request: HookRequest, answers: Mapping[Item, str], side: str = "") -> Opinion:
        if not answers:
            return self.opinions.of(request)
        form = self.vocabulary.questionnaire_response(answers, ABOUT, side)
        return self.opinions.of(with_answers(request, form))

    def told(self, opinion: Opinion) -> list[tuple[str, str]]:
        return [(plain(one.card.summary), plain(one.card.detail or "")) for one in opinion.answered.advised]


@pytest.fixture(scope="module")
def room() -> Room:
    # The card says what of the knowledge is in force, as the hooks do.
    standings_at = release_of(Settings(), packaged()).at
    evaluator = Evaluator(packaged(), lambda: CLOCK, standings_at=standings_at)
    service = services_by(evaluator).find(DIAGNOSIS, "patient-view")
    return Room(Opinions(evaluator, service, lambda request, _: request, None), Vocabulary(packaged()), service)


def every_item(room: Room, chart: Opinion) -> list[Item]:
    numbers = range(len(room.opinions.knowledge.questions))
    return [item for number in numbers for item in room.opinions.items(chart, Group(number))]


def corrections(room: Room, chart: Opinion) -> list[Item]:
    """What of the chart can be answered otherwise."""
    return [Item(one.finding, one.side) for one in stated(chart) if room.opinions.can_be_corrected(one.finding)]


def an_answer(room: Room, item: Item, of: random.Random) -> str:
    value = room.opinions.knowledge.findings[item.finding].value
    if value == "boolean":
        return of.choice([YES, NO, UNKNOWN])
    return of.choice([UNKNOWN, str(of.randint(1, 9)) if value == "quantity" else f"2026-11-{of.randint(1, 21):02}"])


def saved(chart: Mapping[str, Any], form: Mapping[str, Any]) -> dict[str, Any]:
    """The chart after the EHR has saved the form."""
    bundle = chart["prefetch"]["questionnaireResponses"]
    entries = [*bundle.get("entry", ()), {"resource": {**form, "id": "saved-by-the-ehr"}}]
    prefetch = {**chart["prefetch"], "questionnaireResponses": {**bundle, "total": len(entries), "entry": entries}}
    return {**chart, "prefetch": prefetch}


@pytest.mark.parametrize("seed", range(10))
def test_after_each_answer_the_page_says_what_the_hook_says_once_the_answers_are_saved_and_read_back(
    room: Room, hooks: FlaskClient, seed: int
) -> None:
    of = random.Random(seed)  # noqa: S311 - for cases, not secrets
    names = [name for name in CHARTS if chart_of(name)["prefetch"].get("questionnaireResponses")]
    sequences = 0
    while sequences < 20:
        chart = chart_of(of.choice(names))
        request = room.request(chart)
        start = room.opinion(request, {})
        items = every_item(room, start)
        if not items:
            continue
        answers: dict[Item, str] = {}
        corrected = corrections(room, start)
        for item in (*of.sample(items, min(4, len(items))), *of.sample(corrected, min(2, len(corrected)))):
            answers[item] = an_answer(room, item, of)
            form = room.vocabulary.questionnaire_response(answers, ABOUT, "")
            on_page = room.told(room.opinion(request, answers))
            assert on_page == hook(saved(chart, form), hooks), (seed, answers)
        sequences += 1


def points_of(opinion: Opinion, side: str) -> dict[str, int]:
    """The causes of a side that have points."""
    rankings = (each for each in opinion.evaluation.assessment.rankings if each.side == side)
    return {cause.id: cause.points for each in rankings for cause in each.causes if cause.points}


def test_what_is_answered_for_one_side_is_read_for_that_side_alone(room: Room) -> None:
    chart = build_request({"present": ["buttock-pain, left", "buttock-pain, right"], "age": 40})
    request = room.request(chart)
    start = room.opinion(request, {})
    assert start.sides == (LEFT, RIGHT)
    items = [item for item in every_item(room, start) if item.side == RIGHT]
    assert len(items) > 20
    before, right_ordered = points_of(start, LEFT), 0
    for item in items:
        opinion = room.opinion(request, {item: YES if room.vocabulary.value(item, YES) else "3"})
        labels = [change.label for one in opinion.answered.advised for change in one.card.suggestions]
        assert not [label for label in labels if "left" in label], item
        right_ordered += any("right" in label for label in labels)
        found = opinion.evaluation.case.assertions.get(item.finding, ())
        assert {one.side for one in found if one.resource == "QuestionnaireResponse"} <= {RIGHT, ""}, item
        assert points_of(opinion, LEFT) == before, item
    assert right_ordered > 5


def test_of_what_the_chart_tells_nothing_is_asked(room: Room) -> None:
    for name in ("sudden-pop-with-bruising", "runner-after-physiotherapy", "radiating-nerve-symptoms"):
        chart = room.opinion(room.request(chart_of(name)), {})
        known = {
            finding
            for finding in chart.evaluation.case.assertions
            if chart.evaluation.case.resolve(finding, chart.sides[0], with_sideless=True).value is not None
        }
        assert not known & {item.finding for item in every_item(room, chart)}


def test_the_page_and_the_form_ask_for_the_same_findings_of_a_chart(room: Room) -> None:
    form = Form(room.opinions.evaluator.assessor)
    asked = 0
    for name in CHARTS:
        try:
            chart = room.opinion(room.request(chart_of(name)), {})
        except PreconditionFailed:
            continue
        if chart.sides not in ((LEFT,), (RIGHT,), (LEFT, RIGHT)) or chart.is_emergency:
            continue
        on_page = [item for group in room.opinions.groups(chart, ()) for item in room.opinions.items(chart, group)]
        of_form = {
            (finding, group.side)
            for group in form.next_groups(chart.evaluation.assessment, {AGE})
            for finding in group.findings
        }
        # With one side, the form asks what is of the patient in the same group.
        [alone] = chart.sides if len(chart.sides) == 1 else [""]
        assert {(item.finding, item.side or alone) for item in on_page} == {
            (finding, side or alone) for finding, side in of_form
        }, name
        asked += len(on_page)
    assert asked > 300


Chooses = Callable[[Item], str]


def screens_until_enough(room: Room, case: Mapping[str, Any], choose: Chooses) -> Iterator[Opinion]:
    """The opinion after each screen, with every question on it answered, until nothing is asked any more."""
    request = room.request(build_request(case))
    chart = opinion = room.opinion(request, {})
    answers: dict[Item, str] = {}
    asked: set[str] = set()
    while groups := room.opinions.groups(opinion, asked | {item.finding for item in answers}):
        for group in groups:
            items = room.opinions.items(chart, group)
            assert not asked & {item.finding for item in items}, "asked twice"
            asked |= {item.finding for item in items}
            answers |= {item: choose(item) for item in items}
        opinion = room.opinion(request, answers)
        yield opinion


def chosen(*present: str, numbers: Mapping[str, str] | None = None, otherwise: str = NO) -> Chooses:
    def choose(item: Item) -> str:
        if item.finding in present:
            return YES
        value = packaged().findings[item.finding].value
        if value != "boolean":
            return (numbers or {}).get(item.finding, UNKNOWN)
        return otherwise

    return choose


STORIES: dict[str, Chooses] = {
    "a tear": chosen(
        "pop-at-injury", "sudden-onset", "sharp-pain", "significant-bruising", "ischial-tenderness",
        numbers={"onset-date": "2026-11-19"},
    ),
    "tendinopathy": chosen(
        "gradual-onset", "pain-with-sitting", "ischial-tenderness", "runner", "bent-knee-stretch", "puranen-orava",
        numbers={"onset-date": "2026-09-01", "physiotherapy-weeks": "2"},
    ),
    "a nerve": chosen("radiating-numbness-or-tingling", "numbness-below-knee", "straight-leg-raise", "slump"),
    "nothing": chosen(),
    "nothing known": chosen(otherwise=UNKNOWN),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_no_more_than_seven_screens_are_asked_and_a_tear_is_critical_after_the_first(room: Room, story: str) -> None:
    screens = list(screens_until_enough(room, {"present": ["buttock-pain"], "side": "left", "age": 40}, STORIES[story]))
    assert 1 <= len(screens) <= 7
    if story == "a tear":
        assert str(screens[0].answered.advised[0].card.indicator) == "critical"


@pytest.mark.parametrize("seed", range(5))
def test_every_sequence_of_answers_ends_and_asks_nothing_twice(room: Room, seed: int) -> None:
    of = random.Random(seed)  # noqa: S311 - for cases, not secrets
    for _ in range(8):
        case = {"present": ["buttock-pain"], "side": of.choice(["left", "bilateral"]), "age": of.randint(12, 80)}
        screens = list(screens_until_enough(room, case, lambda item: an_answer(room, item, of)))
        assert len(screens) <= 20


def test_what_was_asked_and_is_unknown_is_not_asked_again_and_counts_for_the_stop(room: Room) -> None:
    request = room.request(build_request({"present": ["buttock-pain"], "side": "left"}))
    chart = room.opinion(request, {})
    answers = dict.fromkeys(every_item(room, chart), UNKNOWN)
    opinion = room.opinion(request, answers)
    asked = {item.finding for item in answers}
    assert room.opinions.groups(opinion, asked) == ()
    assert room.opinions.is_enough(opinion, asked)
    assert room.opinions.can_change(opinion, ()) >= DECIDING


def test_a_silent_service_shows_no_advice_on_the_page_either(make_site: MakeSite) -> None:
    page = make_site("sudden-pop-with-bruising", mode="silent").open()
    assert (page.status, page.cards()) == (403, [])
    assert "No advice is shown here yet" in page.text
