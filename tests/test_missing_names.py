"""Each name of the knowledge taken away in turn: the start tells what is missing, or the service does without it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from cds_hooks import read_request
from service.answers.orders import check_templates
from service.knowledge_model.model import KnowledgeError
from service.knowledge_model.properties import read_properties
from service.pages.knowledge import document
from service.service_ids import APPOINTMENT_TIMING, DIAGNOSIS, DISCHARGE_ADVICE, IMAGING_REFERRAL
from service.services.evaluation import Evaluator
from service.services.registry import services_by
from tests import missing_names
from tests.missing_names import Json, Without, is_a_name, places
from tests.toy import CLOCK, HOOKS, PACK, order, request, toy

CRACK: dict[str, Any] = {"present": ["ankle-pain", "loud-crack", "swelling"]}
CHARTS: tuple[tuple[str, Json], ...] = (
    (DIAGNOSIS, {"present": ["ankle-pain"]}),
    (DIAGNOSIS, {"present": ["ankle-pain", "blue-toes", "cold-foot, right", "numb-foot"]}),
    (DIAGNOSIS, {**CRACK, "absent": ["loud-crack"], "dates": {"injury-date": "2026-10"}, "asked": ["fever"]}),
    (IMAGING_REFERRAL, {**CRACK, "drafts": [order("mri-ankle", "left"), order("radiograph-foot")]}),
    (IMAGING_REFERRAL, {"present": ["ankle-pain", "blue-toes"], "drafts": [order("mri-ankle", "left")]}),
    (APPOINTMENT_TIMING, {"present": ["ankle-pain", "fever"], "appointment": "2026-12-20T10:00:00Z"}),
    (DISCHARGE_ADVICE, CRACK),
)


def test_each_name_of_the_pack_taken_away_is_told_at_the_start_or_done_without(tmp_path: Path) -> None:
    requests = [(service, json.dumps(request(service, **chart)).encode()) for service, chart in CHARTS]
    nothing = read_properties(toy(), tmp_path)
    every = places(PACK)
    others = random.Random(12).sample([place for place in every if not is_a_name(place)], 15)  # noqa: S311 - no secret
    told, answered = [], []
    with Without(PACK, tmp_path / "pack") as without:
        for place in (*filter(is_a_name, every), *others):
            try:
                knowledge = without.knowledge(place)
                services = services_by(Evaluator(knowledge, lambda: CLOCK))
                check_templates(knowledge, CLOCK)
            except KnowledgeError as error:
                told.append(str(error))
                continue
            for service_id, body in requests:
                service = services.find(service_id, HOOKS[service_id])
                service.answer(read_request(body, service, correlation_id=""))
            document(knowledge, nothing)
            answered.append(place)
    assert not [error for error in told if str(tmp_path) in error]
    # Both come about: what is declared and missing ends the start, and what is only one of many is done without.
    assert len(told) > 100
    assert len(answered) > 30


def test_a_sample_of_the_names_of_the_packaged_knowledge_is_told_at_the_start_or_done_without(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert missing_names.main(["--sample", "10"]) == 0
    assert "10 of " in capsys.readouterr().out
