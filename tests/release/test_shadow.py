"""A second knowledge looks at the same calls after their answers: it changes none, and what differs is told."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any

import pytest
from click.testing import CliRunner

from cds_hooks.errors import PreconditionFailed
from service.app import create_app
from service.cli import main
from service.commands.replay import answers, read_folder
from service.knowledge_model.model import PACKAGED
from service.reasoning.differences import KINDS
from service.server import shadow
from service.server.shadow import Shadow
from service.settings import Settings, SettingsError
from tests.recording import FIXTURES, KEY, PATH, Clock, Site, environ
from tests.release.edits import bench, written
from tests.serving import children_of, patiently, running, status, workers_at
from tests.test_audit import values_of
from tests.test_metrics import total

FOLDER = read_folder(FIXTURES.parent)
# A call whose red flag the planted edit loses, and one about something else.
LOSES, OTHER = "malignancy", "sudden-tear"
FLAG = "rl03-malignancy"
# Nothing of this pain.
EMPTY = {"resourceType": "Bundle", "type": "searchset"}
QUIET = {**FOLDER.requests[LOSES]["prefetch"], "conditions": EMPTY, "observations": EMPTY}


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged knowledge with a red flag that no chart raises any more, and an order that is more urgent."""
    on = bench(PACKAGED, tmp_path_factory.mktemp("edited") / "knowledge")
    name = f"recommendations/{FLAG}.toml"
    lost = {**on.files[name], "when": "palpable-mass and growing-mass and unexplained-weight-loss and pregnancy"}
    (on.folder / name).write_text(written(lost), "utf-8")
    return on.folder


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    started: list[Site] = []

    def start(**settings: Any) -> Site:
        folder = tmp_path / f"site{len(started)}"
        folder.mkdir(mode=0o700)
        clock = Clock()
        clock.now = FOLDER.clock
        started.append(Site(Settings(audit=folder, log_key=KEY, card_key=KEY, **settings), clock))
        if of := started[-1].client.application.extensions.get("shadow"):
            of._rest = lambda _seconds: None
        return started[-1]

    yield start
    for each in started:
        if of := each.client.application.extensions.get("shadow"):
            of.close()
        each.audit.close()


def send(of: Site, path: str, body: bytes | None, name: str = "") -> bytes:
    """The answer to a call, closed as a server closes it once it is sent."""
    headers = {"X-Correlation-Id": name, "Content-Type": "application/json"}
    with of.client.get(path) if body is None else of.client.post(path, data=body, headers=headers) as answer:
        return answer.get_data()


def call(of: Site, fixture: str, **members: Any) -> dict[str, Any]:
    body = json.dumps({**FOLDER.requests[fixture], **members}).encode()
    answer: dict[str, Any] = json.loads(send(of, PATH, body))
    return answer


def compared(of: Site) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The calls of which something would have changed, and how many were looked at, once all are."""
    of.client.application.extensions["shadow"]._waiting.join()
    names = ("compared", "complaint", "changed", "failed", "skipped")
    counts = of.rows("audit_shadow_counts")
    return of.rows("audit_shadow_calls"), {name: sum(row[name] for row in counts) for name in names}


def report(of: Site, *options: str) -> Any:
    until = of.clock.now.date().isoformat()
    given = ["shadow", "report", "--until", until, *options]
    return CliRunner().invoke(main, given, env=environ(of.settings))


def test_a_red_flag_that_would_be_lost_is_found_with_its_call_and_ends_with_1(
    site: Callable[..., Site], edited: Path
) -> None:
    of = site(shadow_dir=edited)
    for fixture in (LOSES, LOSES, OTHER, "hip-pain-alone"):
        call(of, fixture)
    changed, counts = compared(of)
    assert counts == {"compared": 4, "complaint": 3, "changed": 2, "failed": 0, "skipped": 0}
    assert {each["correlation"] for each in changed} < {each["correlation"] for each in of.rows("audit_calls")}
    assert {each["patient"] for each in changed} <= {each["patient"] for each in of.rows("audit_calls")}
    [first, _second] = (json.loads(each["differences"]) for each in changed)
    assert first[0] == ["red-flag-lost", FLAG, "warning"]
    assert {"order-lost", "treatment"} <= {kind for kind, _what, _how in first} <= set(KINDS)
    assert ["order-lost", "referral-oncology", "urgent"] in first
    said = report(of)
    assert said.exit_code == 1, said.output
    assert f"4 calls, 3 with the complaint: 2 would have changed: 2 red flags lost ({FLAG})" in said.output
    assert "0 failed; 0 skipped" in said.output
    assert "At least" not in said.output
    for each in changed:
        assert f"\n  {each['correlation']}\n" in said.output
    machine = json.loads(report(of, "--json").output)
    assert machine["pair"]["shadow"] == changed[0]["shadow"] == of.client.get("/readyz").get_json()["shadow"]
    [lost] = [each for each in machine["changes"] if each["kind"] == "red-flag-lost"]
    assert (lost["what"], lost["calls"], lost["share"]) == (FLAG, 2, pytest.approx(2 / 3))
    assert lost["low"] < 2 / 3 < lost["high"]
    assert [each["recommendation"] for each in machine["lost"]] == [FLAG]
    # The knowledge that was told of is chosen by its digest.
    assert report(of, "--of", changed[0]["shadow"][:20]).exit_code == 1
    assert report(of, "--of", "sha256:0000").exit_code == 2


def test_beside_itself_nothing_would_change_in_any_published_call(site: Callable[..., Site], tmp_path: Path) -> None:
    shutil.copytree(PACKAGED, same := tmp_path / "same")
    of = site(shadow_dir=same)
    of.client.application.extensions["shadow"]._waiting.maxsize = 1_000
    answered = dict(answers(FOLDER, lambda path, name, body: send(of, path, body, name)))
    changed, counts = compared(of)
    assert changed == []
    assert counts["compared"] == sum("cards" in each for each in answered.values()) > 150
    assert 100 < counts["complaint"] < counts["compared"]
    assert (counts["failed"], counts["skipped"]) == (0, 0)
    said = report(of)
    assert said.exit_code == 0
    assert "0 would have changed; 0 failed; 0 skipped" in said.output


def test_a_second_knowledge_that_fails_on_every_call_changes_no_answer(
    site: Callable[..., Site], edited: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, of = site(), site(shadow_dir=edited)

    def fail(*_given: object) -> None:
        raise ZeroDivisionError("said of the chart of Jane Doe")

    with monkeypatch.context() as patch:
        patch.setattr(of.client.application.extensions["shadow"].other, "_services", None)
        patch.setattr(shadow, "differences", fail)
        for members in ({}, {"prefetch": QUIET}):
            ours, theirs = (call(each, LOSES, hookInstance=KEY, **members) for each in (plain, of))
            assert ours == theirs
        changed, counts = compared(of)
    assert changed == []
    # The one without the complaint is not asked about: it is plain.
    assert counts == {"compared": 1, "complaint": 0, "changed": 0, "failed": 1, "skipped": 0}
    text = of.client.get("/metrics").get_data(as_text=True)
    assert total(text, "sitbone_shadow_total", outcome="failed") == 1
    assert total(text, "sitbone_shadow_total", outcome="same") == 1


def test_what_it_would_refuse_is_lost_and_said_to_be_not_answered(site: Callable[..., Site], edited: Path) -> None:
    of = site(shadow_dir=edited)

    class Refusing:
        def find(self, *_given: object) -> Any:
            raise PreconditionFailed("no chart")

    of.client.application.extensions["shadow"].other._services = Refusing()
    call(of, OTHER)
    [changed], counts = compared(of)
    kinds = [kind for kind, _what, _how in json.loads(changed["differences"])]
    assert kinds[0] == "red-flag-lost"
    assert kinds[-1] == "refused"
    assert (counts["compared"], counts["complaint"]) == (1, 1)


def test_above_most_of_the_capacity_a_call_is_skipped_and_counted(site: Callable[..., Site], edited: Path) -> None:
    of = site(shadow_dir=edited)
    beside: Shadow = of.client.application.extensions["shadow"]
    beside._busy = lambda: 0.81
    call(of, LOSES)
    beside._busy = lambda: 0.8
    call(of, LOSES)
    _changed, counts = compared(of)
    assert counts == {"compared": 1, "complaint": 1, "changed": 1, "failed": 0, "skipped": 1}


def test_it_compares_a_tenth_of_the_time_and_what_more_comes_meanwhile_is_skipped_and_counted(
    site: Callable[..., Site], edited: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = site(shadow_dir=edited)
    beside: Shadow = of.client.application.extensions["shadow"]
    clock, rests, rested = iter(range(0, 1_000, 2)), Queue[float](), Event()
    monkeypatch.setattr(shadow, "monotonic", lambda: next(clock))

    def rest(seconds: float) -> None:
        rests.put(seconds)
        rested.wait()

    beside._rest = rest
    call(of, LOSES)
    # The first took two seconds by this clock, and now it rests for eighteen.
    assert rests.get() == 18
    for _ in range(shadow._WAITING + 3):
        call(of, LOSES)
    assert rests.empty()
    rested.set()
    assert compared(of)[1] == {
        "compared": 1 + shadow._WAITING,
        "complaint": 1 + shadow._WAITING,
        "changed": 1 + shadow._WAITING,
        "failed": 0,
        "skipped": 3,
    }
    assert [rests.get() for _ in range(shadow._WAITING)] == [18] * shadow._WAITING
    # What was skipped may all have had the complaint.
    assert json.loads(report(of, "--json").output)["compared_share"] == pytest.approx(17 / 20)
    assert "3 skipped\nAt least 85.0% of the calls with the complaint were compared; what would" in report(of).output


def test_a_share_of_the_calls_is_looked_at(
    site: Callable[..., Site], edited: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = site(shadow_dir=edited, shadow_share=25)
    drawn = iter([0.24, 0.25, 0.9])
    monkeypatch.setattr("random.random", lambda: next(drawn))
    for _ in range(3):
        call(of, LOSES)
    assert compared(of)[1]["compared"] == 1


def test_refused_calls_and_those_of_a_check_are_not_compared(site: Callable[..., Site], edited: Path) -> None:
    of = site(shadow_dir=edited)
    call(of, LOSES, prefetch={})
    call(of, LOSES, extension={"org.sitbone.check": {}})
    assert compared(of) == ([], dict.fromkeys(("compared", "complaint", "changed", "failed", "skipped"), 0))
    assert report(of).exit_code == 2


def test_nothing_of_a_chart_is_kept_of_a_comparison(site: Callable[..., Site], edited: Path) -> None:
    of = site(shadow_dir=edited)
    sent: set[str] = set()
    for number, (name, request) in enumerate(sorted(FOLDER.requests.items())):
        if "/" in name or (number % 5 and name != LOSES):
            continue
        body = json.loads(json.dumps(request))
        body["context"]["patientName"] = "Jane Doe of Main Street"
        body["fhirServer"] = "https://ehr.example.org/fhir/tenant-of-jane-doe"
        body["fhirAuthorization"] = {"access_token": "very-secret-token", "token_type": "Bearer", "expires_in": 60}
        sent |= values_of({key: value for key, value in body.items() if key != "hook"})
        send(of, PATH, json.dumps(body).encode(), "Jane-Doe-of-Main-Street")
    changed, counts = compared(of)
    assert changed
    assert counts["compared"] > 10
    held = json.dumps([changed, of.rows("audit_shadow_counts")])
    assert {text for text in sent | {"Jane", "secret"} if text in held} == set()


def test_a_second_knowledge_that_cannot_be_used_ends_the_start(edited: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="toy-ankle, and what answers is gluteal-hamstring-pain"):
        create_app(Settings(shadow_dir=Path(__file__).parents[1] / "toy_pack"))
    shutil.copytree(edited, broken := tmp_path / "broken")
    (broken / "engine.toml").write_text("nothing = 1\n", "utf-8")
    refused = CliRunner().invoke(main, ["reload", "--check"], env={"SITBONE_SHADOW_DIR": str(broken)})
    assert refused.exit_code == 2
    assert "engine.toml" in refused.output


def test_readiness_and_discovery_say_its_digest(site: Callable[..., Site], edited: Path) -> None:
    of = site(shadow_dir=edited)
    ready = of.client.get("/readyz").get_json()
    assert ready["shadow"].startswith("sha256:")
    assert ready["shadow"] != ready["knowledge"]["digest"]
    [entry, *_] = of.client.get("/cds-services").get_json()["services"]
    assert entry["extension"]["org.sitbone.release"]["shadow"] == ready["shadow"]
    assert "shadow" not in site().client.get("/readyz").get_json()


def test_in_a_running_service_a_process_of_its_own_compares_and_ends_with_its_worker(
    repository: Path, edited: Path, tmp_path: Path
) -> None:
    (tmp_path / "audit").mkdir(mode=0o700)
    settings = {"SITBONE_SHADOW_DIR": str(edited), "SITBONE_AUDIT": str(tmp_path / "audit")}
    body = json.dumps(FOLDER.requests[LOSES]).encode()
    with running(repository, SITBONE_WORKERS="1", **settings) as (base, _stop):
        [worker] = workers_at(base, 1)
        [comparing] = children_of(worker)
        assert os.sched_getscheduler(comparing) == os.SCHED_IDLE
        assert status(base + PATH, {"Content-Type": "application/json"}, body) == 200
        said = CliRunner(env={"SITBONE_AUDIT": str(tmp_path / "audit")})
        assert patiently(lambda: said.invoke(main, ["shadow", "report"]).exit_code == 1)
        os.kill(worker, 9)
        assert patiently(lambda: not Path(f"/proc/{comparing}").exists())
        assert patiently(lambda: status(base + PATH, {"Content-Type": "application/json"}, body) == 200)


def test_large_charts_wait_one_at_a_time(
    site: Callable[..., Site], edited: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = site(shadow_dir=edited)
    beside: Shadow = of.client.application.extensions["shadow"]
    monkeypatch.setattr(shadow, "_WAITING_BYTES", 1)
    resting, rested = Event(), Event()

    def rest(_seconds: float) -> None:
        resting.set()
        rested.wait()

    beside._rest = rest
    call(of, LOSES)
    assert resting.wait(60)
    # The first is compared, the second waits in its place, and there is no room for the third.
    call(of, LOSES)
    call(of, LOSES)
    rested.set()
    assert compared(of)[1] == {"compared": 2, "complaint": 2, "changed": 2, "failed": 0, "skipped": 1}
    assert beside._bytes == 0


def test_a_worker_that_ends_waits_for_no_rest_and_skips_what_waits(site: Callable[..., Site], edited: Path) -> None:
    of = site(shadow_dir=edited)
    beside: Shadow = of.client.application.extensions["shadow"]
    resting = Event()

    def rest(_seconds: float) -> None:
        resting.set()
        beside._one_by_one.stopping.wait()

    beside._rest = rest
    call(of, LOSES)
    assert resting.wait(60)
    call(of, LOSES)
    beside.close()
    assert compared(of)[1] == {"compared": 1, "complaint": 1, "changed": 1, "failed": 0, "skipped": 1}


def test_a_process_that_has_died_fails_what_it_is_given(site: Callable[..., Site], edited: Path) -> None:
    of = site(shadow_dir=edited)
    of.client.application.extensions["shadow"]._pipe, theirs = multiprocessing.Pipe()
    theirs.close()
    call(of, LOSES)
    assert compared(of)[1]["failed"] == 1


def test_a_new_application_as_a_reload_makes_one_takes_the_folder_anew(edited: Path, tmp_path: Path) -> None:
    shutil.copytree(edited, folder := tmp_path / "next")

    def digest() -> str:
        ready = create_app(Settings(shadow_dir=folder)).test_client().get("/readyz").get_json()
        return str(ready["shadow"])

    before = digest()
    file = folder / f"recommendations/{FLAG}.toml"
    file.write_text(file.read_text("utf-8").replace("palpable-mass and growing-mass", "palpable-mass", 1), "utf-8")
    assert digest() != before


def test_where_no_process_can_be_made_a_thread_compares(
    site: Callable[..., Site], edited: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr("os.fork", refuse)
    of = site(shadow_dir=edited)
    of.client.application.extensions["shadow"].start()
    call(of, LOSES)
    assert compared(of)[1]["changed"] == 1
