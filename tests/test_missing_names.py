"""Each name of the knowledge taken away in turn: the start tells what is missing, or the service does without it."""

from __future__ import annotations

import json
import random
import shutil
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from cds_hooks import read_request
from service.answers.orders import check_templates
from service.app import create_app
from service.knowledge_model import loader
from service.knowledge_model.loader import load
from service.knowledge_model.model import PACKAGED, Knowledge, KnowledgeError
from service.knowledge_model.properties import read_properties
from service.pages.knowledge import document
from service.service_ids import APPOINTMENT_TIMING, DIAGNOSIS, DISCHARGE_ADVICE, IMAGING_REFERRAL
from service.services.evaluation import Evaluator
from service.services.registry import services_by
from service.settings import Settings
from tests.charts import build_request
from tests.toy import CLOCK, HOOKS, PACK, order, request, toy

Json = dict[str, Any]
CRACK: dict[str, Any] = {"present": ["ankle-pain", "loud-crack", "swelling"]}
# A place in a file: the keys and the numbers of list entries that lead to what is taken away.
Place = tuple[str, tuple[str | int, ...]]
CHARTS: tuple[tuple[str, Json], ...] = (
    (DIAGNOSIS, {"present": ["ankle-pain"]}),
    (DIAGNOSIS, {"present": ["ankle-pain", "blue-toes", "cold-foot, right", "numb-foot"]}),
    (DIAGNOSIS, {**CRACK, "absent": ["loud-crack"], "dates": {"injury-date": "2026-10"}, "asked": ["fever"]}),
    (IMAGING_REFERRAL, {**CRACK, "drafts": [order("mri-ankle", "left"), order("radiograph-foot")]}),
    (IMAGING_REFERRAL, {"present": ["ankle-pain", "blue-toes"], "drafts": [order("mri-ankle", "left")]}),
    (APPOINTMENT_TIMING, {"present": ["ankle-pain", "fever"], "appointment": "2026-12-20T10:00:00Z"}),
    (DISCHARGE_ADVICE, CRACK),
)


def inside(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Everything in a file that can be taken away by itself."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from inside(value, (*path, key))


def places(folder: Path) -> list[Place]:
    """Every key and entry of the files of a folder, and each recommendation as a whole."""
    found: list[Place] = []
    for file in sorted(folder.rglob("*.toml")):
        if file.name != "properties.toml":
            name = file.relative_to(folder).as_posix()
            found += [(name, path) for path in inside(tomllib.loads(file.read_text(encoding="utf-8")))]
            found += [(name, ())] if file.parent != folder else []
    return found


class Without:
    """Loads a folder of knowledge without what stands at a place. What the place does not touch is read once."""

    def __init__(self, folder: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = Path(shutil.copytree(folder, copy))
        self.place: Place = ("", ())
        self._of_loader = {name: getattr(loader, name) for name in ("_read", "parse", "_recommendation")}
        self._known: dict[tuple[str, str], Any] = {}
        for name, instead in (("_read", self.read), ("parse", self.parse), ("_recommendation", self.recommendation)):
            monkeypatch.setattr(loader, name, instead)

    def _once(self, of: str, key: str, *given: Any) -> Any:
        if (of, key) not in self._known:
            self._known[of, key] = self._of_loader[of](*given)
        return self._known[of, key]

    def _is_of_all(self) -> bool:
        """Whether recommendations and conditions may be others without this."""
        return self.place[0] == "guideline.toml"

    def read(self, folder: Path, name: str) -> Json:
        data: Json = deepcopy(self._once("_read", name, folder, name))
        file, path = self.place
        if name == file and path:
            *way, last = path
            holder: Any = data
            for key in way:
                holder = holder[key]
            del holder[last]
        return data

    def parse(self, text: str, thresholds: dict[str, float]) -> Any:
        if self._is_of_all():
            return self._of_loader["parse"](text, thresholds)
        return self._once("parse", text, text, thresholds)

    def recommendation(self, folder: Path, name: str, *given: Any) -> Any:
        if self._is_of_all() or name == self.place[0]:
            return self._of_loader["_recommendation"](folder, name, *given)
        return self._once("_recommendation", name, folder, name, *given)

    def knowledge(self, place: Place) -> Knowledge:
        """Raises KnowledgeError."""
        self.place = place
        file, path = place
        if path:
            return load(self.folder)
        (self.folder / file).rename(self.folder / "away")
        try:
            return load(self.folder)
        finally:
            (self.folder / "away").rename(self.folder / file)


# What is a name in each file: the keys of these tables, the top-level tables where none is said, and entries of lists.
_NAMED = {
    "engine.toml": ("complaint", "derived", "red_flags", "treatments", "topics", "imaging", "medicines", "referrals"),
    "guideline.toml": ("thresholds", "statements", "provenance"),
    "orders.toml": ("imaging", "referral", "medicine"),
    "questions.toml": ("value", "questions"),
    "differential.toml": ("rules", "caps", "vetoes"),
    "ratings.toml": ("presentations",),
    "rules.toml": ("groups",),
    "wording.toml": ("topics", "facts"),
}
_TABLES = ("findings.toml", "definitions.toml", "causes.toml", "medicine_names.toml", "synonyms.toml", "sources.toml")


def is_a_name(place: Place) -> bool:
    """Whether what stands there is a name: of a finding, a cause, a number, a topic, a recommendation and the like."""
    file, path = place
    if file in _TABLES:
        return len(path) == 1
    if file in _NAMED:
        return path[0] in _NAMED[file] and (len(path) == 2 or isinstance(path[-1], int))
    return not path


def test_each_name_of_the_pack_taken_away_is_told_at_the_start_or_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = Without(PACK, tmp_path / "pack", monkeypatch)
    requests = [(service, json.dumps(request(service, **chart)).encode()) for service, chart in CHARTS]
    nothing = read_properties(toy(), tmp_path)
    every = places(PACK)
    others = random.Random(12).sample([place for place in every if not is_a_name(place)], 15)  # noqa: S311 - no secret
    told, answered = [], []
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


def test_a_name_of_the_packaged_knowledge_taken_away_is_told_at_the_start_or_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A sample by a fixed seed: to load all of it takes a second.
    without = Without(PACKAGED, tmp_path / "knowledge", monkeypatch)
    body = json.dumps(build_request({"present": ["buttock-pain", "sudden-onset", "leg-weakness"], "age": 40})).encode()
    for place in random.Random(12).sample([*filter(is_a_name, places(PACKAGED))], 5):  # noqa: S311 - no secret
        try:
            without.knowledge(place)
            client = create_app(Settings(knowledge_dir=without.folder), lambda: CLOCK).test_client()
        except KnowledgeError:
            continue
        answer = client.post(f"/cds-services/{DIAGNOSIS}", data=body, content_type="application/json")
        assert answer.status_code == 200, (place, answer.text)
        assert client.get("/knowledge/whole.html").status_code == 200, place
