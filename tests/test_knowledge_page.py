"""The knowledge as JSON and as pages: complete, the same, safe to open, and open to everybody."""

import base64
import hashlib
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient

from cds_hooks.trust.signing import key_set, new_key
from service.app import create_app
from service.knowledge_model.model import PACKAGED, Knowledge
from service.pages.decision_path import decision_path
from service.settings import Settings
from tests.charts import packaged

WHOLE, INDEX, ONE = "/knowledge/whole.html", "/knowledge.html", "/knowledge/rl07-suspected-tear.html"
# The page has words for them: what the mark of the evidence means, and the strength in a sentence.
SAID_OTHERWISE = ("primary", "secondary", "source-document", "judgement")
CLIENTS = '[clients.ehr]\nissuers = ["https://ehr.example.org"]\njwks_file = "keys.json"\n'


class Page(HTMLParser):
    """The elements, texts and styles of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.style = self.script = ""
        self._open: list[str] = []
        self.feed(text)
        self.words = re.sub(r"\s+", " ", " ".join(self.texts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            self._open.remove(tag)

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            self.style += data
        elif "script" in self._open:
            self.script += data
        else:
            self.texts.append(data.strip())

    def values(self, attribute: str) -> list[str]:
        return [str(attributes[attribute]) for _tag, attributes in self.elements if attribute in attributes]


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    return packaged()


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app().test_client()


@pytest.fixture(scope="module")
def document(client: FlaskClient) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(client.get("/knowledge").data)
    return described


@pytest.fixture(scope="module")
def page(client: FlaskClient) -> Page:
    """All of it on one page."""
    return Page(client.get(WHOLE).get_data(as_text=True))


def texts_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in texts_of(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in texts_of(inner)]
    return [value] if isinstance(value, str) else []


def test_the_document_holds_every_recommendation_number_and_weight(
    knowledge: Knowledge, document: dict[str, Any]
) -> None:
    assert [each["id"] for each in document["recommendations"]] == [each.id for each in knowledge.recommendations]
    assert {each["id"] for each in document["thresholds"]} == knowledge.thresholds.keys()
    assert [each["id"] for each in document["imagingRatings"]] == [each.id for each in knowledge.presentations]
    ranking = knowledge.differential
    for member, entries in (
        ("points", ranking.points),
        ("tests", ranking.tests),
        ("caps", ranking.caps),
        ("vetoes", ranking.vetoes),
    ):
        assert [each["source"] for each in document["differential"][member]] == [entry.source for entry in entries]


def test_every_statement_and_rule_comes_with_its_words(knowledge: Knowledge, document: dict[str, Any]) -> None:
    for each in document["recommendations"]:
        assert all(knowledge.statements[entry["id"]] == entry["words"] for entry in each["statements"])
        assert all(knowledge.rules()[entry["id"]] == entry["words"] for entry in each["rules"])


def test_every_source_comes_with_citation_and_link_where_it_has_one(
    knowledge: Knowledge, document: dict[str, Any]
) -> None:
    for each in document["recommendations"]:
        for entry in each["evidence"]:
            reference = entry["tag"].partition(":")[2]
            if reference:
                assert entry["citation"] == knowledge.sources[reference]["citation"]
                assert entry.get("url") == knowledge.sources[reference].get("url")


def test_the_page_says_all_that_the_document_says(document: dict[str, Any], page: Page) -> None:
    elsewhere = [*page.values("href"), *page.values("id"), *SAID_OTHERWISE]
    for text in texts_of({**document, "provenance": [], "causes": [], "id": ""}):
        words = re.sub(r"\s+", " ", text).strip()
        assert words in page.words or words in elsewhere, words


def test_no_row_of_the_page_is_without_words(client: FlaskClient, knowledge: Knowledge) -> None:
    assert not all(each.statements for each in knowledge.recommendations)
    assert not re.search(r"<ul>\s*</ul>|<dd>\s*</dd>", client.get(WHOLE).get_data(as_text=True))


def test_the_page_says_that_nobody_has_signed(page: Page, document: dict[str, Any]) -> None:
    assert "Draft: not yet signed by a clinician." in page.words
    unsigned = page.words.count("None in force: its author has not finished it.")
    assert unsigned == len(document["recommendations"])


@pytest.mark.parametrize(("path", "scripts"), [(WHOLE, 0), (INDEX, 1), (ONE, 0)])
def test_the_page_has_one_script_by_its_digest_and_asks_no_other_host_for_anything(
    path: str, scripts: int, client: FlaskClient
) -> None:
    page = Page(client.get(path).get_data(as_text=True))
    assert [attributes for tag, attributes in page.elements if tag == "script"] == [{}] * scripts
    assert not {tag for tag, _ in page.elements} & {
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
    }
    names = {name for _tag, attributes in page.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("style", "src", "srcset")}
    assert "url(" not in page.style
    assert "@import" not in page.style
    policy = client.get(path).headers["Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert f"style-src 'sha256-{digest}'" in policy
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    assert scripts == 0 or f"script-src 'sha256-{digest}'" in policy
    assert not re.search(r"innerHTML|fetch|eval|https?:", page.script)
    assert "unsafe" not in policy


def test_each_recommendation_has_a_page_with_all_that_the_document_says_of_it(
    client: FlaskClient, document: dict[str, Any]
) -> None:
    for each in document["recommendations"]:
        page = Page(client.get(f"/knowledge/{each['id']}.html").get_data(as_text=True))
        elsewhere = [*page.values("href"), *SAID_OTHERWISE]
        for text in texts_of(each):
            words = re.sub(r"\s+", " ", text).strip()
            assert words in page.words or words in elsewhere, (each["id"], words)
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_search_comes_first_and_knows_every_word_of_every_recommendation(
    client: FlaskClient, document: dict[str, Any]
) -> None:
    page = Page(client.get(INDEX).get_data(as_text=True))
    ids = page.values("id")
    assert ids.index("search") == 0
    words = dict(zip(page.values("href"), page.values("data-words"), strict=False))
    assert list(words) == [f"knowledge/{each['id']}.html" for each in document["recommendations"]]
    for each in document["recommendations"]:
        found = words[f"knowledge/{each['id']}.html"]
        assert all(word in found for word in re.findall(r"[a-z]{3,}", " ".join(each["do"]).lower()))


def test_every_link_of_the_page_to_search_and_of_one_recommendation_leads_somewhere(
    client: FlaskClient, knowledge: Knowledge, page: Page
) -> None:
    urls = {source["url"] for source in knowledge.sources.values() if "url" in source}
    for path in (INDEX, ONE):
        links = Page(client.get(path).get_data(as_text=True)).values("href")
        assert len(links) > 5
        for link in set(links) - urls:
            address, _, anchor = urljoin(path, link).partition("#")
            assert client.get(address).status_code == 200, link
            assert not anchor or anchor in page.values("id"), link


def test_a_page_of_no_recommendation_is_a_404(client: FlaskClient) -> None:
    assert client.get("/knowledge/none.html").status_code == 404


def test_every_link_leads_into_the_page_to_the_document_or_to_a_source(page: Page, knowledge: Knowledge) -> None:
    ids = page.values("id")
    assert not [id_ for id_, count in Counter(ids).items() if count > 1]
    urls = {source["url"] for source in knowledge.sources.values() if "url" in source}
    for link in page.values("href"):
        assert link.removeprefix("#") in ids or link in ("../knowledge", "../knowledge.html") or link in urls, link


def test_the_page_can_be_read_on_a_phone_in_the_dark_and_on_paper(page: Page) -> None:
    assert ("html", {"lang": "en"}) in page.elements
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.elements
    assert "color-scheme: light dark" in page.style
    assert "@media print" in page.style
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_markup_in_the_knowledge_is_text_on_the_page(tmp_path: Path) -> None:
    shutil.copytree(PACKAGED, tmp_path / "knowledge")
    path = tmp_path / "knowledge" / "recommendations" / "rl25-ask-first.toml"
    text = re.sub(r'(?m)^title = ".*"$', "title = '<script>alert(1)</script>\"'", path.read_text("utf-8"), count=1)
    path.write_text(text, "utf-8")
    spoilt = create_app(Settings(knowledge_dir=tmp_path / "knowledge")).test_client()
    for address, scripts in ((WHOLE, 0), (INDEX, 1), ("/knowledge/rl25-ask-first.html", 0)):
        page = Page(spoilt.get(address).get_data(as_text=True))
        assert [tag for tag, _ in page.elements].count("script") == scripts
        assert '<script>alert(1)</script>"' in page.words


@pytest.mark.parametrize("path", ["/knowledge", WHOLE, INDEX, ONE])
def test_the_knowledge_can_be_read_where_callers_need_a_token(path: str, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(key_set(new_key())), "utf-8")
    (tmp_path / "clients.toml").write_text(CLIENTS, "utf-8")
    guarded = create_app(
        Settings(draft="show", clients=tmp_path / "clients.toml", store=tmp_path / "store")
    ).test_client()
    assert guarded.get("/cds-services").status_code == 401
    assert guarded.get(path).status_code == 200


def test_every_recommendation_is_on_the_path_once_as_a_link_to_its_words(page: Page, knowledge: Knowledge) -> None:
    steps = [step for stage in decision_path(knowledge) for group in stage.groups for step in group.steps]
    assert Counter((step.target, step.indicator) for step in steps if step.indicator) == Counter(
        (each.id, each.indicator) for each in knowledge.recommendations
    )
    assert {step.title for step in steps} >= {cause.title for cause in knowledge.causes.values()}
    assert {step.target for step in steps} <= set(page.values("id"))
    links = [f"#{step.target}" for step in steps]
    assert Counter(page.values("href")) & Counter(links) == Counter(links)
    assert all(step.title in page.words for step in steps)


def test_the_path_says_when_a_stage_is_reached(page: Page, knowledge: Knowledge) -> None:
    stages = list(decision_path(knowledge))
    assert len(stages) > 5
    assert all(stage.title in page.words and stage.note in page.words for stage in stages)
    assert all(f"Reached {stage.reached}." in page.words for stage in stages if stage.reached)
