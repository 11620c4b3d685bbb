"""The page that says why: short first, complete below, without script, token or anything of a patient."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient

from cds_hooks.trust.signing import key_set, new_key
from service.app import create_app
from service.knowledge_model.model import Knowledge
from service.pages.why import address_maker
from service.settings import Settings, SettingsError
from service.why_address import ADVICE, MOST, path_of
from tests.charts import CLOCK, Json, build_request, packaged
from tests.test_discharge_advice import GRADE_OF_A_MESSAGE, reading_grade
from tests.test_knowledge_page import CLIENTS, Page

PAIR = ("rs01-sudden-tear", "rl07-suspected-tear")


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    return packaged()


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app().test_client()


def page_of(client: FlaskClient, *ids: str) -> Page:
    return Page(client.get(path_of(ids)).get_data(as_text=True))


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def test_each_card_links_to_where_a_site_hears_what_is_wrong_with_it_by_its_id_and_its_recommendations() -> None:
    at = "https://intranet.example.org/card-problems?form=7"
    # Where the links of the service itself lead to one address, that of the site stays.
    card = discharge_card(card_problems=at, ehr="oracle-health")
    *_others, problem = card["links"]
    assert (problem["label"], problem["type"]) == ("Something wrong with this card", "absolute")
    assert problem["url"].startswith(f"{at}&card=")
    told = parse_qs(urlsplit(problem["url"]).query)
    about = card["extension"]["org.sitbone.basis"]["recommendations"]
    ids = " ".join(each["id"] for each in about)
    assert told == {"form": ["7"], "card": [card["uuid"]], "recommendations": [ids]}
    assert "Something wrong" not in str(discharge_card())


def test_the_address_has_the_ids_in_their_order_each_once() -> None:
    assert path_of(["b", "a", "b"]) == "/why/b+a"


def test_the_address_of_more_than_a_page_has_is_that_of_the_first_ones(client: FlaskClient) -> None:
    path = path_of([each.id for each in packaged().recommendations])
    assert path.count("+") == MOST - 1
    assert len(path) < 1_500
    assert client.get(path).status_code == 200


def test_each_recommendation_of_the_knowledge_has_its_page(client: FlaskClient, knowledge: Knowledge) -> None:
    safety_net = knowledge.wording.sentences["safety_net"]
    for each in knowledge.recommendations:
        page = page_of(client, each.id)
        said = [each.title, each.when_then, each.summary, *each.do, *each.say, safety_net, each.history[-1].change]
        said += [knowledge.statements[id_] for id_ in each.statements]
        said += [str(knowledge.sources[tag.partition(":")[2]]["citation"]) for tag in each.evidence if ":" in tag]
        assert [text for text in said if squeezed(text) not in page.words] == [], each.id
        urls = {knowledge.sources[tag.partition(":")[2]].get("url") for tag in each.evidence if ":" in tag} - {None}
        assert urls <= set(page.values("href"))
        assert re.search(
            rf"Draft: knowledge {knowledge.version}\+[0-9a-f]{{8}} is not yet signed by a clinician\.", page.words
        )
        assert "No clinician has signed it: its author has not finished it." in page.words


def test_evidence_is_said_in_words_and_not_in_tags(client: FlaskClient, knowledge: Knowledge) -> None:
    for each in knowledge.recommendations:
        words = page_of(client, each.id).words
        # What the author of a sentence wrote is the author's, and a citation may have a page S159.
        for text in (each.when_then, *(str(source["citation"]) for source in knowledge.sources.values())):
            words = words.replace(squeezed(text), "")
        assert not re.search(r"\[(V2?|C|M|J)\b|\bV2?:R\d|\b(S\d{1,2}|RF\d+)\b", words), each.id


def test_the_short_part_comes_first_and_stands_for_itself(client: FlaskClient) -> None:
    page = page_of(client, *PAIR)
    short, _, depth = page.words.partition("Safety net.")
    for title in ("Sudden sharp pain with a snap or pop", "Suspected tear without the full triad"):
        assert title in short
        assert title in depth
    assert short.index("Sudden sharp") < short.index("Suspected tear")
    assert "WHEN the pain began suddenly" in short
    assert "Examine today" in depth
    assert len(page_of(client, PAIR[0]).words.partition("Safety net.")[0].split()) < 100


def test_it_says_what_would_change_the_advice_in_words(client: FlaskClient) -> None:
    words = page_of(client, *PAIR).words
    assert "It stands while all of these hold: “snap or pop at the injury” “sudden onset” “sharp pain”" in words
    assert "It is critical when" in words
    # A named criterion that a condition reads, and one that this reads.
    assert (
        "MRI of the hamstring origin due “over 20 years, a radiograph that shows no avulsion, or pregnancy” AND"
        in words
    )
    assert "Radiograph already done, or pregnancy “radiograph already done” OR “pregnancy”" in words


def test_numbers_come_with_where_they_are_from(client: FlaskClient) -> None:
    assert "Adult, 18 years: " in page_of(client, "gh08-ibuprofen").words


@pytest.mark.parametrize("ids", ["none", "rs01-sudden-tear+none+<script>", "+"])
def test_an_address_that_names_no_recommendation_is_a_page_that_says_so(client: FlaskClient, ids: str) -> None:
    response = client.get(f"/why/{ids}")
    page = Page(response.get_data(as_text=True))
    assert response.status_code == 404
    assert "script" not in {tag for tag, _ in page.elements}
    assert "No such recommendation" in page.words
    if "none" in ids:
        assert "none" in page.words
        assert ("rs01-sudden-tear" in page.values("href")) is ("rs01" in ids)


def test_an_address_has_a_limit(client: FlaskClient) -> None:
    response = client.get(f"/why/{'+'.join(f'x{number}' for number in range(MOST + 1))}")
    assert response.status_code == 400
    assert f"at most {MOST}" in response.get_data(as_text=True)


def test_it_asks_no_host_for_anything_and_needs_no_script(client: FlaskClient, knowledge: Knowledge) -> None:
    page = page_of(client, *(each.id for each in knowledge.recommendations))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "link", "iframe", "object", "embed", "form", "base"}
    names = {name for _tag, attributes in page.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("style", "src", "srcset")}
    assert "url(" not in page.style
    assert "@import" not in page.style
    policy = client.get(path_of(PAIR)).headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy
    assert "unsafe" not in policy


def test_every_link_leads_into_the_page_to_the_knowledge_or_to_a_source(
    client: FlaskClient, knowledge: Knowledge
) -> None:
    ids = [each.id for each in knowledge.recommendations]
    urls = {source["url"] for source in knowledge.sources.values() if "url" in source}
    page = page_of(client, *ids)
    for link in page.values("href"):
        if link.startswith("../"):
            assert client.get(link[2:]).status_code == 200, link
        else:
            assert link in urls or link.removeprefix("#") in page.values("id"), link
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def guarded(folder: Path, **settings: Any) -> Settings:
    (folder / "keys.json").write_text(json.dumps(key_set(new_key())), "utf-8")
    (folder / "clients.toml").write_text(CLIENTS, "utf-8")
    return Settings(draft="show", clients=folder / "clients.toml", store=folder / "store", **settings)


@pytest.mark.parametrize("pages", ["auto", "off"])
def test_it_is_there_where_callers_need_a_token_and_the_trial_pages_are_off(pages: str, tmp_path: Path) -> None:
    client = create_app(guarded(tmp_path, pages=pages)).test_client()
    assert client.get("/cds-services").status_code == 401
    assert client.get(path_of(PAIR)).status_code == 200


def test_the_address_begins_with_the_public_base_url(tmp_path: Path) -> None:
    settings = guarded(tmp_path, host="10.0.0.5", public_base_url="https://cds.example.org/pain")
    with create_app(settings).test_request_context(base_url="http://elsewhere.example.org"):
        assert (
            address_maker(settings)(path_of(PAIR))
            == "https://cds.example.org/pain/why/rs01-sudden-tear+rl07-suspected-tear"
        )


def test_on_loopback_the_address_begins_as_that_of_the_request() -> None:
    settings = Settings(port=9000)
    with create_app(settings).test_request_context(base_url="http://localhost:9000/under/"):
        assert (
            address_maker(settings)(path_of(["rs01-sudden-tear"])) == "http://localhost:9000/under/why/rs01-sudden-tear"
        )


def test_where_others_can_call_the_start_asks_for_the_public_base_url(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="set SITBONE_PUBLIC_BASE_URL to the address"):
        create_app(guarded(tmp_path, host="10.0.0.5"))


def discharge_card(**settings: Any) -> Json:
    client = create_app(Settings(**settings), clock=lambda: CLOCK).test_client()
    chart = {"age": 40, "side": "left", "present": ["buttock-pain", "pain-with-sitting"], "service": "discharge-advice"}
    (card,) = client.post("/cds-services/discharge-advice", json=build_request(chart)).get_json()["cards"]
    found: Json = card
    return found


def test_the_discharge_card_leads_to_the_advice_as_the_patient_will_get_it(client: FlaskClient) -> None:
    card = discharge_card()
    _why, advice = card["links"]
    assert advice["label"] == "Read and print the discharge advice"
    response = client.get(advice["url"])
    page = Page(response.get_data(as_text=True))
    ((action,),) = (suggestion["actions"] for suggestion in card["suggestions"])
    lines = [each["contentString"].removeprefix("- ") for each in action["resource"]["payload"]]
    assert response.status_code == 200
    assert squeezed(" ".join(lines)) in page.words


def test_the_advice_is_in_plain_words_is_made_for_print_and_loads_nothing(client: FlaskClient) -> None:
    ids = [each.id for each in packaged().recommendations if each.say]
    for some in (ids[:4], ids[4:20], ids[20:]):
        response = client.get(path_of(some, ADVICE))
        page = Page(response.get_data(as_text=True))
        assert reading_grade("\n".join(filter(None, page.texts[1:]))) <= GRADE_OF_A_MESSAGE
        assert "@media print" in page.style
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert not page.values("src")


def test_the_advice_needs_no_token_and_says_that_it_is_a_draft(tmp_path: Path) -> None:
    client = create_app(guarded(tmp_path, pages="off")).test_client()
    page = Page(client.get(f"{ADVICE}gh20-watch-for").get_data(as_text=True))
    assert "No doctor has signed it yet." in page.words
    assert "Both of your legs feel weak." in page.words


def test_a_reader_in_the_united_kingdom_gets_the_advice_in_their_words(client: FlaskClient) -> None:
    (_why, advice) = discharge_card(spelling="uk")["links"]
    assert "paracetamol" in client.get(advice["url"]).get_data(as_text=True)
    assert "paracetamol" not in client.get(advice["url"].replace("/uk/", "/")).get_data(as_text=True)


@pytest.mark.parametrize("ids", ["none", "rs01-sudden-tear", "gh20-watch-for+<script>", "+"])
def test_an_address_that_is_not_of_advice_for_patients_is_a_page_that_says_so(client: FlaskClient, ids: str) -> None:
    response = client.get(f"{ADVICE}{ids}")
    page = Page(response.get_data(as_text=True))
    assert response.status_code == 404
    assert "No such advice" in page.words
    assert "script" not in page.words


def test_the_page_that_says_why_leads_to_the_words_for_the_patient(client: FlaskClient) -> None:
    page = page_of(client, "gh20-watch-for", "gh21-come-back")
    (link,) = {link for link in page.values("href") if ADVICE in link}
    assert link == "../advice/gh20-watch-for+gh21-come-back"
