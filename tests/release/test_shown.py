"""What is in force, wherever it is shown: cards, the extension, discovery, readiness and pages of a signed service."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.knowledge_model.loader import load
from service.release.archive import pack
from service.release.digests import Digests
from service.service_ids import DIAGNOSIS
from service.settings import Settings
from tests.release import conftest
from tests.release.conftest import CLINICIAN, GOVERNOR, Site
from tests.release.keys import clinical, governance
from tests.test_knowledge_page import Page
from tests.test_openapi import problems
from tests.toy import CLOCK, request

FEVER, CRACK = "rf2-fever", "rf3-crack"
# Two red flags of one tier, so that both stand on one card, and others.
CHART: dict[str, Any] = {"present": ["ankle-pain", "fever", "loud-crack", "swelling"]}


class Running:
    """The service on a signed copy of the toy, with a clock that can be set."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        # The version of the product is part of the release: here that of the running service counts.
        self.site, self.now = site, CLOCK
        settings = Settings(knowledge_dir=site.folder, signers=site.signers, review_grace_days=30, pages="off")
        self.app = create_app(settings, clock=lambda: self.now)
        self.client: FlaskClient = self.app.test_client()

    def answer(self, **chart: Any) -> Any:
        return self.client.post(f"/cds-services/{DIAGNOSIS}", json=request(**(chart or CHART))).get_json()


@pytest.fixture
def start(new_site: Callable[[], Site], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Running]:
    monkeypatch.setattr(conftest, "PRODUCT", version("sitbone"))

    def start(*unsigned: str, **governed: Any) -> Running:
        site = new_site()
        digests = Digests(load(site.folder), site.folder, version("sitbone"))
        covers = {id_: digest for id_, digest in digests.recommendations.items() if id_ not in unsigned}
        site.write("clinical", clinical(digests, CLINICIAN, covers=covers), site.clinician)
        site.write("governance", governance(digests, GOVERNOR, **governed), site.governor)
        return Running(site, monkeypatch)

    return start


def _recommendations(answer: Any) -> Iterator[tuple[Any, Any]]:
    """Each recommendation in the basis of a card, with the card."""
    for card in answer["cards"]:
        for each in card["extension"]["org.sitbone.basis"]["recommendations"]:
            yield each, card


def test_a_signed_service_names_both_signatures_on_each_card_and_in_the_extension(
    start: Callable[..., Running],
) -> None:
    answer = start().answer()
    assert answer["cards"]
    version = answer["extension"]["org.sitbone.assessment"]["knowledge"]["version"]
    line = f"active {version}: A. Example (sports physician) 2026-11-01, B. Example (Example Hospital) 2026-11-01"
    for recommendation, card in _recommendations(answer):
        assert card["detail"].endswith(f"{line}, until 2027-11-01")
        assert (recommendation["status"], recommendation["state"]) == ("active", "active")
        assert recommendation["signed"] == [
            {"role": "clinical", "by": CLINICIAN, "date": "2026-11-01"},
            {"role": "governance", "by": GOVERNOR, "date": "2026-11-01"},
        ]
        assert recommendation["reviewBy"] == "2027-11-01"
    # The ids of the toy are none that the document has.
    found = problems(answer, {"$ref": "#/components/schemas/HookResponse"})
    assert not [each for each in found if re.search(r"\.(signed|reviewBy|state|digest|knowledge)\b", each)]


def test_one_draft_in_a_signed_set_is_a_draft_on_its_card_in_the_extension_and_on_its_page(
    start: Callable[..., Running],
) -> None:
    running = start(FEVER)
    answer = running.answer()
    seen = set()
    for recommendation, card in _recommendations(answer):
        stands = recommendation["id"] == FEVER
        seen.add(recommendation["id"])
        assert (recommendation["state"] == "draft") == stands
        assert ("signed" in recommendation) != stands
        named = [each["id"] for each, of in _recommendations(answer) if of is card]
        status = card["detail"].rpartition("\n")[2]
        assert status.startswith(("draft in " if len(named) > 1 else "draft ") if FEVER in named else "active ")
    assert FEVER in seen
    assert answer["extension"]["org.sitbone.assessment"]["knowledge"]["status"] == "draft"
    draft, other = (Page(running.client.get(f"/knowledge/{id_}.html").text).words for id_ in (FEVER, CRACK))
    assert "Draft: not yet signed by a clinician." in draft
    assert "None in force: no clinician has signed this content." in draft
    assert "In force." in other
    assert "Clinical: A. Example (sports physician) 2026-11-01. “I read these, they are right.”" in other
    assert "Governance: B. Example (Example Hospital) 2026-11-01." in other
    why = Page(running.client.get(f"/why/{FEVER}+{CRACK}").text).words
    assert "is not yet signed by a clinician in part." in why
    assert "No clinician has signed it: no clinician has signed this content." in why
    assert "Signed by A. Example (sports physician) 2026-11-01." in why
    assert "Released by B. Example (Example Hospital) 2026-11-01." in why


def test_under_a_red_flag_a_draft_does_not_hide_behind_one_that_is_signed(start: Callable[..., Running]) -> None:
    answer = start(FEVER).answer()
    card = next(card for each, card in _recommendations(answer) if each["id"] == FEVER)
    others = [each["id"] for each, of in _recommendations(answer) if of is card and each["id"] != FEVER]
    assert others
    assert re.search(r"\ndraft in 1\+[0-9a-f]{8}: [^;]+$", card["detail"])


def test_metrics_count_what_is_in_each_state_and_say_until_when(start: Callable[..., Running]) -> None:
    running = start(FEVER)
    count = len(running.site.digests.recommendations)
    metrics = running.client.get("/metrics").text
    assert f'sitbone_recommendations{{state="active"}} {count - 1}.0' in metrics
    assert 'sitbone_recommendations{state="draft"} 1.0' in metrics
    assert 'sitbone_recommendations{state="suspended"} 0.0' in metrics
    until = datetime(2027, 11, 2, tzinfo=UTC).timestamp()
    assert float(re.findall(r"\nsitbone_review_by_timestamp_seconds (\S+)", metrics)[0]) == until


def test_discovery_and_readiness_say_what_is_in_force_by_whom_and_until_when(start: Callable[..., Running]) -> None:
    running = start(FEVER)
    ready = running.client.get("/readyz").get_json()
    published = running.client.get("/cds-services").get_json()["services"][0]["extension"]["org.sitbone.knowledge"]
    count = len(running.site.digests.recommendations)
    assert ready["knowledge"] == {name: value for name, value in published.items() if name != "id"}
    assert ready["knowledge"]["states"] == {"active": count - 1, "draft": 1}
    assert ready["knowledge"]["releasedBy"] == "B. Example (Example Hospital) 2026-11-01"
    assert ready["knowledge"]["reviewBy"] == "2027-11-01"
    assert ready["knowledge"]["status"] == "draft"
    document = json.loads(running.client.get("/knowledge").data)
    assert document["states"] == ready["knowledge"]["states"]
    assert problems(document, {"$ref": "#/components/schemas/Knowledge"}) == []


def test_what_begins_tomorrow_is_shown_as_a_draft_until_midnight_by_one_process(start: Callable[..., Running]) -> None:
    running = start(effectiveFrom="2026-11-23")
    running.now = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
    assert running.client.get("/readyz").get_json()["knowledge"]["status"] == "draft"
    assert running.answer()["cards"][0]["detail"].rpartition("\n")[2].startswith("draft ")
    assert "Draft: not yet signed" in running.client.get("/knowledge.html").text
    running.now = datetime(2026, 11, 23, tzinfo=UTC)
    assert running.client.get("/readyz").get_json()["knowledge"]["status"] == "active"
    assert running.answer()["cards"][0]["detail"].rpartition("\n")[2].startswith("active ")
    assert "In force." in running.client.get("/knowledge.html").text


def test_a_review_that_is_overdue_is_shown_and_after_the_grace_a_draft(start: Callable[..., Running]) -> None:
    running = start()
    running.now = datetime(2027, 11, 20, 12, tzinfo=UTC)
    overdue = running.client.get("/readyz").get_json()["knowledge"]
    assert [*overdue["states"]] == ["review-overdue"]
    assert overdue["reviewBy"] == "2027-11-01"
    page = Page(running.client.get(f"/knowledge/{FEVER}.html").text).words
    assert "In force, review overdue since 2027-11-01." in page
    chart = {**CHART, "present": [f"{each}" for each in CHART["present"]]}
    body = json.loads(json.dumps(request(**chart)).replace("2026-11-22", "2027-11-20"))
    detail = running.client.post(f"/cds-services/{DIAGNOSIS}", json=body).get_json()["cards"][0]["detail"]
    assert re.search(r"\noverdue 1\+[0-9a-f]{8}: .* since 2027-11-01$", detail)
    running.now = datetime(2027, 12, 20, 12, tzinfo=UTC)
    assert [*running.client.get("/readyz").get_json()["knowledge"]["states"]] == ["draft"]


def test_the_page_says_what_changed_since_it_was_signed(new_site: Callable[[], Site]) -> None:
    site = new_site()
    digests = Digests(load(site.folder), site.folder, version("sitbone"))
    site.write("clinical", clinical(digests, CLINICIAN), site.clinician)
    (site.folder / "signatures" / "clinical.tar.gz").write_bytes(pack(site.folder))
    path = site.folder / "recommendations" / f"{FEVER}.toml"
    path.write_text(path.read_text("utf-8").replace('title = "', 'title = "New: ', 1), "utf-8")
    client = create_app(Settings(knowledge_dir=site.folder, signers=site.signers, pages="off")).test_client()
    page = Page(client.get(f"/knowledge/{FEVER}.html").text).words
    assert "Changed since it was signed (A. Example (sports physician) 2026-11-01): the recommendation itself" in page
    document = json.loads(client.get("/knowledge").data)
    changed = {each["id"] for each in document["recommendations"] if each["changedSince"]}
    assert changed == {FEVER}
    assert problems(document, {"$ref": "#/components/schemas/Knowledge"}) == []


def test_a_kept_folder_that_is_not_what_was_signed_says_nothing(new_site: Callable[[], Site]) -> None:
    site = new_site()
    digests = Digests(load(site.folder), site.folder, version("sitbone"))
    covers = {FEVER: f"sha256:{'1' * 64}"}
    site.write("clinical", clinical(digests, CLINICIAN, covers=covers), site.clinician)
    (site.folder / "signatures" / "clinical.tar.gz").write_bytes(pack(site.folder))
    client = create_app(Settings(knowledge_dir=site.folder, signers=site.signers, pages="off")).test_client()
    assert "Changed since" not in client.get(f"/knowledge/{FEVER}.html").text


def test_a_signature_that_does_not_count_is_told_in_the_log_of_the_start(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    path = site.folder / "signatures" / "clinical.json"
    path.write_bytes(path.read_bytes().replace(b"right", b"wrong"))
    create_app(Settings(knowledge_dir=site.folder, signers=site.signers, pages="off"))
    assert "knowledge: signatures/clinical.json: the signature is not over this content" in caplog.text
