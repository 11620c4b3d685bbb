"""What a service returns: the response, and beside it the decision that the response itself tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cds_hooks import ServiceRegistry, read_request
from service.answers.answered import ASSESSMENT_KEY, Answered
from service.services.registry import service_registry
from service.settings import Style
from tests.charts import (
    CLOCK,
    build_request,
    packaged,
    services,
)

SERVICES = services()
REQUESTS = Path(__file__).parents[1] / "fixtures" / "requests"
FILES = sorted(REQUESTS.rglob("*.json"))[::5]


def answered(service_id: str, body: bytes, services: ServiceRegistry[Answered] = SERVICES) -> Answered:
    service = services.find(service_id, json.loads(body)["hook"])
    return service.answer(read_request(body, service, correlation_id="test"))


def answered_from(file: Path) -> Answered:
    service = "gluteal-hamstring-pain" if file.parent == REQUESTS else file.parent.name
    return answered(service, file.read_bytes())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_card_carries_the_recommendations_that_its_extension_names(file: Path) -> None:
    found = answered_from(file)
    for advised, card in zip(found.advised, found.response.cards, strict=True):
        assert advised.card is card
        named = (card.extension or {})["org.sitbone.basis"]["recommendations"]
        assert [(each["id"], each["version"]) for each in named] == [*advised.versions()]
        assert [each["indicator"] for each in named] == [fired.indicator for fired in advised.fired]
        assert {id_ for id_, _version in advised.versions()} <= {*found.recommendations()}
    assert (found.response.extension or {})[ASSESSMENT_KEY] is found.extension


def test_what_was_judged_of_each_draft_is_returned_with_its_facts() -> None:
    found = answered_from(REQUESTS / "analgesic-safety-sign" / "two-nsaids.json")
    assert [judgement.kind for judgement in found.judgements] == ["analgesic-order"] * 2
    assert any(judgement.facts["second-nsaid-drafted"] for judgement in found.judgements)
    assert {one.recommendation.id for judgement in found.judgements for one in judgement.fired} <= {
        *found.recommendations()
    }


def test_where_nothing_is_to_be_judged_no_chart_is_read() -> None:
    found = answered_from(REQUESTS / "imaging-referral-sign" / "mri-with-a-device.json")
    assert found.assessment.case is not None
    request = build_request({"service": "imaging-referral-sign", "drafts": []})
    unread = answered("imaging-referral-sign", json.dumps(request).encode())
    assert (unread.assessment.case, unread.judgements, unread.has_cards()) == (None, (), False)


def test_of_a_patient_who_has_died_no_recommendation_is_left() -> None:
    request = json.loads((REQUESTS / "cauda-equina.json").read_bytes())
    request["prefetch"]["patient"]["deceasedBoolean"] = True
    found = answered("gluteal-hamstring-pain", json.dumps(request).encode())
    [advised] = found.advised
    assert (advised.fired, found.recommendations(), found.extension["deceased"]) == ((), (), True)


def test_the_cards_of_an_answer_are_those_in_the_words_of_the_ehr() -> None:
    body = (REQUESTS / "analgesic-safety-sign" / "nsaid-with-kidney-disease.json").read_bytes()
    epic = service_registry(packaged(), lambda: CLOCK, lambda _client: Style("epic"))
    plain, changed = (answered("analgesic-safety-sign", body, each) for each in (SERVICES, epic))
    assert [each.card for each in changed.advised] == [*changed.response.cards]
    assert [each.card for each in changed.advised] != [each.card for each in plain.advised]
    assert changed.recommendations() == plain.recommendations()
