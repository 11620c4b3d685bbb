"""The link of a card that opens the second opinion, for clients that have that app."""

import json
import time
from pathlib import Path

import pytest

from cds_hooks.trust.signing import claims_for, sign
from service.app import create_app
from tests.charts import SERVICE
from tests.second_opinion.conftest import CALLER, PUBLIC, Site, chart_of


def cards(site: Site, chart: str, tmp_path: Path, *, app: bool, ehr: str = "generic") -> list[dict[str, object]]:
    file = tmp_path / "clients.toml"
    text = file.read_text()
    text = text.replace("[clients.clinic.app]", f'ehr = "{ehr}"\n[clients.clinic.app]')
    file.write_text(text if app else text[: text.index("[clients.clinic.app]")])
    client = create_app(site.settings, clock=site.time).test_client()
    token = sign(CALLER, claims_for("https://clinic.example.org", PUBLIC + SERVICE, time.time()))
    answer = client.post(SERVICE, json=chart_of(chart), headers={"Authorization": f"Bearer {token}"})
    found: list[dict[str, object]] = answer.get_json()["cards"]
    assert found
    return found


@pytest.mark.parametrize("chart", ["sudden-pop-with-bruising", "office-worker-of-42", "cauda-equina"])
@pytest.mark.parametrize("ehr", ["generic", "epic", "oracle-health"])
def test_each_card_of_a_client_with_an_app_has_one_smart_link_that_tells_nothing_of_the_patient(
    site: Site, tmp_path: Path, chart: str, ehr: str
) -> None:
    for card in cards(site, chart, tmp_path, app=True, ehr=ehr):
        links = card["links"]
        assert isinstance(links, list)
        smart = [link for link in links if link["type"] == "smart"]
        assert [link["url"] for link in smart] == [f"{PUBLIC}/app/launch"]
        assert smart[0].keys() == {"label", "url", "type"}
        assert smart[0]["label"].startswith("Second opinion: why")
        assert len(links) == 2


def test_the_label_says_that_there_are_questions_where_there_are(site: Site, tmp_path: Path) -> None:
    [card] = cards(site, "office-worker-of-42", tmp_path, app=True)
    assert "and up to 3 questions" in json.dumps(card["links"])


def test_a_card_of_another_client_has_none(site: Site, tmp_path: Path) -> None:
    for card in cards(site, "sudden-pop-with-bruising", tmp_path, app=False):
        assert "smart" not in json.dumps(card["links"])
