"""Published requests are decided again by the running process, and what is decided otherwise is told."""

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cds_hooks import ServiceRegistry
from fixtures.build import published
from service.app import create_app
from service.commands.replay import read_folder
from service.reasoning.assessment import Assessor
from service.server import canary
from service.server.canary import Canary, Published, Round, read_published, write_published
from service.server.metrics import Metrics
from service.services.evaluation import Evaluator
from service.services.registry import services_by
from service.settings import Settings
from tests.charts import packaged
from tests.recording import FIXTURES
from tests.serving import patiently
from tests.test_metrics import total

CLOCK, PUBLISHED = read_published()
# A few: two with a red flag, one with an order, one of another pain.
NAMES = ("cauda-equina", "malignancy", "sudden-tear", "no-complaint")
FEW = [each for each in PUBLISHED if each.name in NAMES]


class Watched:
    """A service of which only a few requests are published, and what its canary tells."""

    def __init__(self, folder: Path, few: list[Published], *, as_released: bool) -> None:
        write_published(CLOCK, few, file := folder / "published.jsonl.gz")
        self.evaluator = Evaluator(packaged(), lambda: datetime.now(CLOCK.tzinfo))
        self.told: list[Round] = []

        def services(at: datetime) -> ServiceRegistry[Any]:
            return services_by(self.evaluator.standing_still(at))

        self.canary = Canary(services, self.told.append, as_released=as_released, file=file, clock=lambda: 1_000.0)

    def look(self) -> int:
        assert self.canary.look()
        return self.told[-1].differing

    def lose_red_flags(self) -> None:
        """No red flag fires any more, in the objects that answer."""
        self.evaluator.assessor = Assessor(packaged())
        self.evaluator.assessor.by_kind["red-flag"] = ()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path, FEW, as_released=True)
    yield made
    made.canary.close()


def unknown() -> list[Published]:
    """The few, as if nothing had been decided of them."""
    return [Published(each.name, each.service, each.hook, each.request) for each in FEW]


def test_the_package_holds_every_published_request_with_what_is_decided_of_it() -> None:
    folder = read_folder(FIXTURES.parent)
    now = {each.name: (each.service, json.loads(bytes(each.request)), each.decided) for each in published(folder)}
    kept = {each.name: (each.service, json.loads(bytes(each.request)), each.decided) for each in PUBLISHED}
    assert folder.clock == CLOCK
    assert kept == now, "run python -m fixtures.build"
    assert len({each.service for each in PUBLISHED}) == 8
    assert sum(bool(each.decided.red_flags) for each in PUBLISHED) > 80


def test_the_knowledge_of_the_package_is_decided_as_it_was_released(watched: Watched) -> None:
    assert watched.look() == 0
    assert watched.told == [Round(0, 1_000.0)]


def test_knowledge_that_breaks_in_memory_is_found_in_the_next_round(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    assert watched.look() == 0
    watched.lose_red_flags()
    with caplog.at_level(logging.ERROR, "sitbone"):
        assert watched.look() == 3
        assert watched.look() == 3
    # Once each, with what differs.
    assert len(caplog.messages) == 3
    [told] = [line for line in caplog.messages if line.startswith("canary: malignancy")]
    assert "red-flag-lost rl03-malignancy warning" in told


def test_a_fault_is_a_difference_and_ends_no_round(
    watched: Watched, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_given: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Assessor, "assess", fail)
    with caplog.at_level(logging.ERROR, "sitbone"):
        assert watched.look() == len(FEW)
    assert {line.rpartition(": ")[2] for line in caplog.messages} == {"ZeroDivisionError"}
    monkeypatch.undo()
    assert watched.look() == 0


def test_knowledge_of_a_site_is_compared_with_what_it_decided_first(tmp_path: Path) -> None:
    watched = Watched(tmp_path, unknown(), as_released=False)
    assert [watched.look(), watched.look()] == [0, 0]
    watched.lose_red_flags()
    assert watched.look() == 3


def test_an_installation_that_decides_otherwise_than_the_release_is_found_at_once(tmp_path: Path) -> None:
    assert Watched(tmp_path, unknown(), as_released=True).look() == 3


def test_what_is_muted_changes_nothing(watched: Watched) -> None:
    watched.evaluator.is_silent = lambda _client: True
    watched.evaluator.muted = lambda _now: pytest.fail("it is not asked what is muted")
    assert watched.look() == 0


def test_a_worker_looks_by_itself_and_stops(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST", "_FIRST_ROUND", "_ROUND"):
        monkeypatch.setattr(canary, name, 0.01)
    watched.canary.start()
    assert patiently(lambda: len(watched.told) > 3)
    watched.canary.close()
    assert {each.differing for each in watched.told} == {0}


def test_a_round_that_is_spread_over_an_hour_ends_with_its_worker(watched: Watched) -> None:
    watched.canary._thread.stopping.set()
    assert not watched.canary.look(3_600)
    assert watched.told == []


def test_the_metrics_say_how_many_and_when() -> None:
    metrics = Metrics({})
    metrics.canary(Round(2, 7_200.0))
    text = metrics.text().decode()
    assert total(text, "sitbone_canary_differs") == 2
    assert total(text, "sitbone_canary_timestamp_seconds") == 7_200


@pytest.mark.parametrize(("snomed_ct", "as_released"), [("all", True), ("global-patient-set", False)])
def test_only_what_was_released_is_held_to_the_release(snomed_ct: str, *, as_released: bool) -> None:
    assert create_app(Settings(snomed_ct=snomed_ct)).extensions["canary"]._as_released is as_released
