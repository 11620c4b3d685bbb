"""What is suspended on the page and in the form: neither said nor ordered nor asked for, and named in one line."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_hooks import HookRequest, read_request
from cds_hooks.errors import CdsHooksError
from service.app import create_app
from service.knowledge_model.vocabulary import CHART_KINDS
from service.prefetch_keys import QUESTIONNAIRE_RESPONSES
from service.reasoning.evidence import reads_of
from service.reasoning.questions import DECIDING
from service.release.muting import NOTHING, Muted
from service.release.suspension import Suspensions
from service.second_opinion.answers import Vocabulary
from service.second_opinion.form import AGE, Form
from service.second_opinion.opinion import Opinion, Opinions
from service.second_opinion.view import Answering, View
from service.service_ids import DIAGNOSIS, DIAGNOSIS_ENCOUNTER
from service.services.evaluation import Evaluator
from service.services.registry import services_by
from service.settings import Settings
from tests.charts import CLOCK, packaged
from tests.second_opinion.conftest import MakeSite, Page, Site
from tests.second_opinion.test_adaptive_form import PATIENTS, begun, of_truth, post, questions
from tests.second_opinion.test_adaptive_form import given as give

REQUESTS = Path(__file__).parents[2] / "fixtures" / "requests"
SINCE = datetime(2026, 11, 20, tzinfo=UTC)
READS = reads_of(packaged())
ABOUT_CHARTS = frozenset(each.id for each in packaged().recommendations if each.kind in CHART_KINDS)


def suspended(*ids: str) -> Muted:
    return Muted(suspended=dict.fromkeys(ids, SINCE))


class Room:
    """The opinions by the packaged knowledge; `muted` is what is not said."""

    def __init__(self) -> None:
        self.muted = NOTHING
        evaluator = Evaluator(packaged(), lambda: CLOCK, muted=lambda _now: self.muted)
        self.service = services_by(evaluator).find(DIAGNOSIS, "patient-view")
        self.opinions = Opinions(evaluator, self.service, lambda request, _: request, None)
        self.form, self.view = Form(evaluator.assessor), View(self.opinions, Vocabulary(packaged()))

    def opinion(self, chart: HookRequest, muted: Muted = NOTHING) -> Opinion:
        self.muted = muted
        return self.opinions.of(chart)

    def asked(self, opinion: Opinion) -> set[str]:
        """The findings that the page or the form asks for."""
        on_page = {
            item.finding for group in self.opinions.groups(opinion, ()) for item in self.opinions.items(opinion, group)
        }
        groups = self.form.next_groups(opinion.evaluation.assessment, {AGE}, opinion.evaluation.muted)
        return on_page | {finding for group in groups for finding in group.findings}

    def page(self, opinion: Opinion) -> dict[str, Any]:
        at = Answering({}, shown=self.opinions.groups(opinion, ()))
        return self.view.page(opinion, opinion, None, at)


@pytest.fixture(scope="module")
def room() -> Room:
    return Room()


@pytest.fixture(scope="module")
def charts(room: Room) -> Mapping[str, HookRequest]:
    """The charts of this pain without an emergency, with which there is something to ask."""
    found = {}
    for path in sorted(REQUESTS.glob("*.json")):
        body = json.loads(path.read_text("utf-8"))
        if body["hook"] == "patient-view" and "buttock-pain" in path.read_text("utf-8"):
            body["prefetch"].setdefault(QUESTIONNAIRE_RESPONSES, None)
            request = read_request(json.dumps(body).encode(), room.service, correlation_id="")
            try:
                opinion = room.opinion(request)
            except CdsHooksError:
                continue
            if room.opinions.groups(opinion, ()):
                found[path.stem] = request
    assert len(found) > 10
    return found


def test_what_only_a_suspended_recommendation_reads_is_asked_neither_on_the_page_nor_in_the_form(
    room: Room, charts: Mapping[str, HookRequest]
) -> None:
    tried = 0
    for name, chart in charts.items():
        asked = room.asked(room.opinion(chart)) & packaged().findings.keys()
        for finding in sorted(asked)[:3]:
            readers = {id_ for id_, names in READS.items() if finding in names}
            if readers:
                assert finding not in room.asked(room.opinion(chart, suspended(*readers))), (name, finding)
                tried += 1
    assert tried > 20


def test_what_can_change_is_only_what_is_said(room: Room, charts: Mapping[str, HookRequest]) -> None:
    for name, chart in charts.items():
        assert DECIDING & room.opinions.can_change(room.opinion(chart), ()), name
        opinion = room.opinion(chart, suspended(*READS))
        assert DECIDING.isdisjoint(room.opinions.can_change(opinion, ())), name
        assert room.asked(opinion) == set(), name


def test_a_suspended_recommendation_leaves_the_page_with_its_words_and_what_an_answer_would_do_to_them(
    room: Room, charts: Mapping[str, HookRequest]
) -> None:
    tried = 0
    for name, chart in charts.items():
        whole = room.opinion(chart)
        before = room.page(whole)
        for fired in whole.answered.fired:
            recommendation = fired.recommendation
            opinion = room.opinion(chart, suspended(recommendation.id))
            page = room.page(opinion)
            left = [each["title"] for each in page["fired"]]
            assert recommendation.title not in left, name
            assert {*left} <= {each["title"] for each in before["fired"]}
            assert (
                page["suspended"] == f"One recommendation is suspended ({recommendation.id}, Nov 20): judge without it."
            )
            # The causes are ranked by what was found, and stand for as long as anything is said beside them.
            assert page["rankings"] == (before["rankings"] if opinion.spoken.fired else [])
            topic = packaged().wording.topics[packaged().engine.topics.get(fired.indicator, recommendation.topic)]
            assert not [line for line in page["single"] if line.startswith(topic.display)], name
            tried += 1
    assert tried > 40


def test_an_answer_is_not_said_to_make_a_card_more_urgent_where_only_what_is_suspended_would(
    room: Room, charts: Mapping[str, HookRequest]
) -> None:
    grave = {each.id for each in packaged().recommendations if each.critical_when or each.indicator == "critical"}
    tried = 0
    for chart in charts.values():
        whole, left = room.opinion(chart), room.opinion(chart, suspended(*grave))
        of_whole = {change.topic: change for change in whole.evaluation.card_changes()}
        for change in left.evaluation.card_changes():
            raised, removed = ({*each.raised_by} for each in (of_whole[change.topic], change))
            assert removed <= raised
            # What would come in its place is not said, and does not make it needless either.
            assert {*change.removed_by} <= {*of_whole[change.topic].removed_by}
            tried += bool(raised) and not removed
    assert tried > 5


def test_of_a_suspended_service_the_page_says_that_alone(room: Room, charts: Mapping[str, HookRequest]) -> None:
    for id_ in (DIAGNOSIS, DIAGNOSIS_ENCOUNTER):
        for chart in [*charts.values()][:4]:
            opinion = room.opinion(chart, Muted(services={id_: SINCE}))
            page = room.page(opinion)
            assert [card.summary for card in page["cards"]] == [
                "This service is suspended (since Nov 20): judge without it"
            ]
            assert room.opinions.groups(opinion, ()) == ()
            members = ("groups", "rankings", "fired", "single", "can_decide", "can_change")
            assert not [name for name in members if page[name]]
            assert page["timeline"] is None


def test_a_suspended_emergency_still_keeps_questions_back_and_is_not_said_to_be_one(room: Room) -> None:
    chart = json.loads((REQUESTS / "cauda-equina.json").read_text("utf-8"))
    request = read_request(json.dumps(chart).encode(), room.service, correlation_id="")
    whole = room.opinion(request)
    critical = {each.recommendation.id for each in whole.answered.fired if each.indicator == "critical"}
    opinion = room.opinion(request, suspended(*critical))
    page = room.page(opinion)
    assert room.opinions.groups(opinion, ()) == ()
    assert (page["emergency"], page["advises_at_once"]) == (True, False)


# -- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture
def suspensions(tmp_path: Path) -> Suspensions:
    (tmp_path / "suspended").mkdir(mode=0o700)
    return Suspensions(tmp_path / "suspended" / "suspensions.jsonl")


@pytest.fixture
def site(make_site: MakeSite, suspensions: Suspensions) -> Site:
    site = make_site()
    site.app = create_app(site.settings, clock=site.time, suspensions=suspensions)
    return site


def items_of(page: Page) -> set[str]:
    """The findings that the page asks for."""
    return {do.partition("/")[2].partition("=")[0] for do in page.buttons() if do.startswith("set:")}


def test_what_is_suspended_while_a_page_is_open_leaves_it_with_the_next_answer(
    site: Site, suspensions: Suspensions
) -> None:
    page = site.open()
    assert "suspended" not in page.text
    finding = min(items_of(page) & packaged().findings.keys())
    readers = [id_ for id_, names in READS.items() if finding in names]
    suspensions.suspend(readers, "A", "why", SINCE)
    page = page.press("enough")
    assert finding not in items_of(page)
    assert "suspended (" in page.text
    suspensions.suspend([f"service:{DIAGNOSIS}"], "A", "why", SINCE)
    page = site.open()
    assert not items_of(page)
    assert "Questions" not in page.text
    assert "For and against" not in page.text


@pytest.fixture
def form_client(suspensions: Suspensions) -> FlaskClient:
    settings = Settings(adaptive_form="on", public_base_url="https://cds.example.org")
    return create_app(settings, lambda: CLOCK, suspensions=suspensions).test_client()


def answered(client: FlaskClient, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The form after each of its screens."""
    form = begun()
    while True:
        form = post(client, form)
        yield form
        if form["status"] == "completed":
            return
        for group, item in [*questions(form)]:
            if item["type"] != "boolean":
                give(form, group, item, answer(item))


def names_of(form: dict[str, Any]) -> list[str]:
    return [each["text"] for each in form["contained"][0]["item"] if each["linkId"] == "advice-suspended"]


def test_the_form_names_on_each_screen_what_is_suspended_and_asks_nothing_for_its_sake(
    form_client: FlaskClient, suspensions: Suspensions
) -> None:
    truth = of_truth(PATIENTS["tear"])
    whole = [*answered(form_client, truth)]
    assert not [line for form in whole for line in names_of(form)]
    suspensions.suspend(sorted(ABOUT_CHARTS), "A", "why", SINCE)
    screens = [*answered(form_client, truth)]
    assert 2 == len(screens) < len(whole)
    for form in screens:
        (line,) = names_of(form)
        assert line.startswith(f"{len(ABOUT_CHARTS)} recommendations are suspended (")


def test_the_form_of_a_suspended_service_ends_once_it_knows_that_it_is_about_this_pain(
    form_client: FlaskClient, suspensions: Suspensions
) -> None:
    suspensions.suspend([f"service:{DIAGNOSIS}"], "A", "why", SINCE)
    *_where, form = answered(form_client, of_truth(PATIENTS["tear"]))
    assert len(_where) == 1
    said = [each["text"] for each in form["contained"][0]["item"] if each["type"] == "display"]
    assert said == ["This service is suspended (since Nov 20): judge without it"]
