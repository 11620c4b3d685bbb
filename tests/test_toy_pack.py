"""Another body region is a folder: a toy pack is served by the same product, and no line of it is Python."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from service.app import create_app
from service.audit import open_audit
from service.cli import main
from service.knowledge_model.loader import load
from service.knowledge_model.model import KnowledgeError
from service.service_ids import ANALGESIC_SAFETY, APPOINTMENT_TIMING, DIAGNOSIS, DISCHARGE_ADVICE, IMAGING_REFERRAL
from service.settings import Settings
from tests.recording import KEY, Clock
from tests.toy import CLOCK, PACK, done, order, request, toy

Json = dict[str, Any]
CRACK: dict[str, Any] = {"present": ["ankle-pain", "loud-crack", "swelling"]}


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(Settings(knowledge_dir=PACK), lambda: CLOCK).test_client()


def call(client: FlaskClient, service: str = DIAGNOSIS, **chart: Any) -> Json:
    answer = client.post(f"/cds-services/{service}", json=request(service, **chart))
    assert answer.status_code == 200, answer.text
    found: Json = answer.get_json()
    return found


def summaries(answer: Json) -> list[str]:
    return [card["summary"] for card in answer["cards"]]


def test_the_pack_is_data_alone_and_says_that_it_is_a_toy() -> None:
    files = [path for path in PACK.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".toml", ".csv"}
    assert toy().status == "draft"
    assert "not clinical" in toy().title
    assert not toy().sources


def test_the_pack_names_nothing_of_the_packaged_knowledge() -> None:
    packaged = load()
    # What is the same wherever it hurts; all else are names of a region.
    anywhere = {"fever", "swelling", "pain-severity", "referral-emergency"}
    for of in ("findings", "definitions", "causes", "orders"):
        assert getattr(toy(), of).keys() & getattr(packaged, of).keys() <= anywhere, of


def test_the_pack_has_neither_errors_nor_warnings() -> None:
    linted = CliRunner().invoke(main, ["knowledge", "lint", str(PACK)])
    assert (linted.exit_code, linted.stdout) == (0, "0 errors, 0 warnings\n")


@pytest.mark.parametrize(
    ("added", "said"),
    [
        (
            '[referral."two  spaces"]\ntitle = "Clinic"',
            "referral-two  spaces: does not make a valid ServiceRequest: code.",
        ),
        ('[imaging."mri-ankle "]\ntitle = "MRI"', "mri-ankle : does not make a valid ServiceRequest: code."),
    ],
)
def test_an_order_that_is_no_valid_fhir_ends_the_start_and_not_a_call(tmp_path: Path, added: str, said: str) -> None:
    folder = tmp_path / "pack"
    shutil.copytree(PACK, folder)
    orders = folder / "orders.toml"
    orders.write_text(f"{orders.read_text()}\n{added}\n")
    with pytest.raises(KnowledgeError, match=re.escape(f"orders.toml: {said}")):
        create_app(Settings(knowledge_dir=folder), lambda: CLOCK)


def test_the_pack_keeps_the_safety_properties() -> None:
    proved = CliRunner().invoke(main, ["knowledge", "prove", "--folder", str(PACK)])
    assert proved.exit_code == 0, proved.stdout
    assert "0 failures, 0 counterexamples" in proved.stdout


def test_discovery_presents_the_services_in_the_words_of_the_pack(client: FlaskClient) -> None:
    services = {each["id"]: each for each in client.get("/cds-services").get_json()["services"]}
    assert services[DIAGNOSIS]["title"] == toy().title
    assert services[IMAGING_REFERRAL]["title"] == "Toy imaging-referral"
    assert "loud-crack" in services[DIAGNOSIS]["prefetch"]["observations"]


def test_a_hook_is_answered_with_cards_questions_and_what_would_change_them(client: FlaskClient) -> None:
    answer = call(client, **CRACK)
    assert summaries(answer) == ["Left: crack", "Left: sprain", "Left: swelling without an emergency"]
    assert answer["cards"][0]["indicator"] == "warning"
    [suggestion] = answer["cards"][0]["suggestions"][:1]
    assert suggestion["actions"][0]["resource"]["code"]["text"].startswith("Radiograph of the ankle")
    decided = answer["extension"]["org.sitbone.assessment"]
    assert decided["ask"][0] == "blue-toes"
    assert [each["topic"] for each in decided["wouldChange"]] == ["soon", "care", "home"]
    assert call(client, present=["swelling"])["cards"] == []


def test_every_service_answers_by_the_pack(client: FlaskClient) -> None:
    mri = order("mri-ankle", "left")
    assert summaries(call(client, IMAGING_REFERRAL, **CRACK, drafts=[mri])) == ["MRI before a radiograph"]
    assert call(client, IMAGING_REFERRAL, **CRACK, drafts=[mri], orders=[done("radiograph-ankle", 0)])["cards"] == []
    pill = {
        "resourceType": "MedicationRequest",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": "Patient/1"},
        "medicationCodeableConcept": {
            "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "5640"}]
        },
    }
    held = call(client, ANALGESIC_SAFETY, present=["ankle-pain", "bad-kidney"], drafts=[pill])
    assert summaries(held) == ["Pill that the chart holds"]
    late = call(client, APPOINTMENT_TIMING, **CRACK, appointment="2026-12-20T10:00:00Z")
    assert summaries(late) == ["Left: visit that is too late"]
    assert summaries(call(client, DISCHARGE_ADVICE, **CRACK)) == ["Left: going home with a crack"]


def test_the_side_is_read_beside_the_words_that_the_pack_has_for_its_region(client: FlaskClient) -> None:
    def side(title: str) -> str:
        chart = request(present=["ankle-pain, no side"])
        item = {"linkId": "1", "text": title, "item": [{"linkId": "swelling", "answer": [{"valueBoolean": True}]}]}
        form = {
            "resourceType": "QuestionnaireResponse",
            "id": "form",
            "status": "completed",
            "subject": {"reference": "Patient/1"},
            "authored": "2026-11-22",
            "item": [item],
        }
        chart["prefetch"]["questionnaireResponses"]["entry"] = [{"resource": form}]
        answer = client.post(f"/cds-services/{DIAGNOSIS}", json=chart).get_json()
        return str(answer["extension"]["org.sitbone.assessment"]["side"])

    assert side("Look at the right ankle first") == "right"
    assert side("Look at the right hip first") == "unspecified"


def test_the_pages_are_those_of_the_pack(client: FlaskClient) -> None:
    page = client.get("/knowledge/whole.html").text
    assert toy().title in page
    assert "tr6-ice" in page
    assert not re.search("hamstring|glut", page.replace("gluteal-hamstring-pain", ""), re.IGNORECASE)
    assert client.get("/").status_code == 200
    ready = client.get("/readyz").get_json()["knowledge"]
    assert ready["version"] == f"1+{ready['digest'].removeprefix('sha256:')[:8]}"
    assert ready["states"] == {"draft": len(toy().recommendations)}


def test_a_request_is_explained_by_the_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITBONE_KNOWLEDGE_DIR", str(PACK))
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request(**CRACK)), encoding="utf-8")
    told = CliRunner().invoke(main, ["explain", "--at", "2026-11-22T12:00:00Z", str(file)])
    assert told.exit_code == 0, told.output
    assert "rf3-crack" in told.stdout
    assert "Loud crack at the injury" in told.stdout


def test_an_overridden_card_stays_away_until_it_gains_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.audit.suppression.LONGEST_LOOK", 5.0)
    tmp_path.chmod(0o700)
    settings = Settings(knowledge_dir=PACK, audit=tmp_path, log_key=KEY, suppression_days=30)
    audit = open_audit(settings)
    assert audit is not None
    clock = Clock()
    client = create_app(settings, clock, audit=audit).test_client()

    def cards(**chart: Any) -> dict[str, Json]:
        body = {**request(**chart), "hookInstance": str(uuid4())}
        answer = client.post(f"/cds-services/{DIAGNOSIS}", json=body).get_json()
        return {card["source"]["topic"]["code"]: card for card in answer["cards"]}

    def override(card: Json) -> None:
        audit.close()
        outcome = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": clock.now.isoformat()}
        sent = client.post(f"/cds-services/{DIAGNOSIS}/feedback", json={"feedback": [outcome]})
        assert sent.status_code == 200
        clock.move(minutes=1)

    try:
        quiet = {"present": ["ankle-pain", "swelling"], "age": 17}
        first = cards(**quiet)
        assert set(first) == {"check", "home"}
        override(first["check"])
        assert set(cards(**quiet)) == {"home"}
        # The same card with a hold on it as well was never overridden.
        assert {"check", "care"} & set(cards(present=["ankle-pain", "swelling", "numb-foot"], age=17))
        # A red flag always comes.
        override(cards(**CRACK)["soon"])
        assert "soon" in cards(**CRACK)
    finally:
        audit.close()
        audit.engine.dispose()
