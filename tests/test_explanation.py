"""`sitbone explain`: the whole decision about a request, as the service itself takes it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cds_hooks import BadRequest, UnknownService
from cds_hooks.conformance.observing import example_request
from service.answers.answered import ASSESSMENT_KEY
from service.cli import main
from service.knowledge_model.model import Knowledge
from service.services.explanation import Explainer, as_dict, as_text
from service.services.registry import service_registry
from tests.charts import packaged

CLOCK = datetime(2026, 11, 22, 12, tzinfo=UTC)
SERVICE = "gluteal-hamstring-pain"


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    return packaged()


@pytest.fixture(scope="module")
def explainer(knowledge: Knowledge) -> Explainer:
    return Explainer(knowledge, lambda: CLOCK)


@pytest.fixture
def told(explainer: Explainer, repository: Path) -> Any:
    def tell(name: str) -> dict[str, Any]:
        return as_dict(explainer.explain(SERVICE, (repository / f"fixtures/requests/{name}.json").read_bytes()))

    return tell


def rule(told: dict[str, Any], start: str) -> dict[str, Any]:
    [found] = [each for each in told["recommendations"] if each["id"].startswith(start)]
    return dict(found)


def test_every_recommendation_that_the_chart_decides_has_a_verdict(told: Any, knowledge: Knowledge) -> None:
    recommendations = told("sudden-tear")["recommendations"]
    kinds = {"red-flag", "plan", "closing", "treatment"}
    assert [each["id"] for each in recommendations] == [r.id for r in knowledge.recommendations if r.kind in kinds]
    assert {each["verdict"] for each in recommendations} == {"yes", "no", "cannot-tell"}


def test_what_fired_is_yes_with_the_findings_of_the_card(told: Any) -> None:
    sudden = rule(told("sudden-tear"), "rs01")
    assert sudden["verdict"] == "yes"
    assert sudden["indicator"] == "critical"
    assert {"pop-at-injury", "sudden-onset"} <= {item["id"] for item in sudden["findings"]}
    assert all(
        item["state"] == "present" and item["resource"].startswith("Observation/") for item in sudden["findings"]
    )


def test_what_cannot_be_told_names_what_it_waits_for(told: Any) -> None:
    infection = rule(told("sudden-tear"), "rl02-")
    assert infection["verdict"] == "cannot-tell"
    assert "fever" in {item["id"] for item in infection["unknown"]}


def test_what_is_no_names_what_makes_it_so(told: Any) -> None:
    not_said = [each for each in told("sprinter-of-14")["recommendations"] if each["verdict"] == "no"]
    tear = next(each for each in not_said if each["id"].startswith("rl07-"))
    assert [item["id"] for item in tear["findings"]] == ["age"]
    assert all(not each["unknown"] for each in not_said)


def test_the_points_of_a_cause_add_up_to_what_it_has(told: Any, repository: Path) -> None:
    for name in ("proximal-hamstring-tendinopathy", "sacroiliac-joint-dysfunction", "left-and-right"):
        for side in told(name)["ranking"]["sides"]:
            for cause in side["causes"]:
                assert sum(point["points"] for point in cause["made"]) == cause["points"], (name, cause["id"])
                assert all(point["source"] for point in cause["made"])


def test_the_explanation_is_of_the_answer_that_the_service_gives(explainer: Explainer, repository: Path) -> None:
    for path in sorted((repository / "fixtures" / "requests").glob("*.json"))[::6]:
        answer = json.loads((repository / "fixtures" / "responses" / path.name).read_text(encoding="utf-8"))
        if "cards" not in answer:
            continue
        service = explainer.services_of(json.loads(path.read_bytes())["hook"])[0]
        told = as_dict(explainer.explain(service, path.read_bytes()))
        fired = {each["id"] for each in told["recommendations"] if each["verdict"] == "yes" and "heldBack" not in each}
        based = {
            recommendation["id"]
            for card in answer["cards"]
            for recommendation in card["extension"]["org.sitbone.basis"]["recommendations"]
        }
        assert based <= fired
        assert told["extension"] == answer["extension"][ASSESSMENT_KEY]


def test_a_chart_without_the_complaint_has_no_verdicts(told: Any) -> None:
    nothing = told("no-complaint")
    assert nothing["assessment"]["complaint"] == "absent"
    assert nothing["recommendations"] == []


def test_every_service_can_be_explained_on_each_of_its_hooks(explainer: Explainer, knowledge: Knowledge) -> None:
    for entry in service_registry(knowledge, lambda: CLOCK).discovery()["services"]:
        told = explainer.explain(entry["id"], json.dumps(example_request(entry)).encode())
        assert told.service == entry["id"]
        assert as_text(told).startswith("Request")


def test_a_draft_order_is_explained_by_the_facts_that_it_is_judged_by(
    explainer: Explainer, knowledge: Knowledge
) -> None:
    [entry] = [
        each
        for each in service_registry(knowledge, lambda: CLOCK).discovery()["services"]
        if (each["id"], each["hook"]) == ("analgesic-safety-sign", "order-sign")
    ]
    request = example_request(entry)
    ibuprofen = next(code for code in knowledge.codes if code.concept == "nsaid-medicine")
    order = {
        "resourceType": "MedicationRequest",
        "id": "1",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": "Patient/conformance-check"},
        "medicationCodeableConcept": {"coding": [{"system": ibuprofen.system, "code": ibuprofen.code}]},
    }
    request["context"]["draftOrders"]["entry"] = [{"resource": order}]
    [judged] = as_dict(explainer.explain("analgesic-safety-sign", json.dumps(request).encode()))["judged"]
    assert judged["kind"] == "analgesic-order"
    assert judged["facts"]["nsaid-drafted"] is True
    assert {each["verdict"] for each in judged["recommendations"]} <= {"yes", "no", "cannot-tell"}


def test_a_request_that_the_service_refuses_is_refused(explainer: Explainer) -> None:
    with pytest.raises(BadRequest):
        explainer.explain(SERVICE, b"{}")
    with pytest.raises(UnknownService):
        explainer.explain("nowhere", b'{"hook":"patient-view","hookInstance":"1","context":{"patientId":"1"}}')


def test_the_command_prints_it_as_text_and_as_json(repository: Path) -> None:
    file = str(repository / "fixtures/requests/sudden-tear.json")
    text = CliRunner().invoke(main, ["explain", "--at", "2026-11-22T12:00:00Z", file])
    assert text.exit_code == 0
    for words in ("Complaint\n  present", "Yes\n", "Cannot tell\n", "No\n", "rs01-sudden-tear (critical): Sudden"):
        assert words in text.stdout
    made = CliRunner().invoke(main, ["explain", "--json", file])
    assert rule(json.loads(made.stdout), "rs01")["verdict"] == "yes"


@pytest.mark.parametrize(
    ("arguments", "given", "said"),
    [
        (["-"], "{}", "hook: expected"),
        (["-"], '{"hook":"order-review","hookInstance":"1","context":{}}', "no CDS service is published for it"),
        (
            ["--service", "nowhere", "-"],
            '{"hook":"patient-view","hookInstance":"1","context":{}}',
            "id of a CDS service",
        ),
        (["--at", "yesterday", "-"], "{}", "--at takes a time"),
    ],
)
def test_what_cannot_be_explained_ends_with_2_and_a_sentence(arguments: list[str], given: str, said: str) -> None:
    ended = CliRunner().invoke(main, ["explain", *arguments], input=given)
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_it_says_what_would_change_each_card_or_that_no_single_answer_does(told: Any, repository: Path) -> None:
    cards = {card["topic"]: card for card in told("lumbar-referred-pain")["extension"]["wouldChange"]}
    assert "saddle-numbness" in cards["assessment-due"]["raisedBy"]["present"]
    assert told("sudden-tear")["extension"]["wouldChange"] == [
        {"topic": "immediate-evaluation", "noSingleAnswer": True}
    ]
    shown = CliRunner().invoke(main, ["explain", str(repository / "fixtures/requests/sudden-tear.json")]).stdout
    assert "What would change this advice\n  immediate-evaluation: no single answer\n" in shown
