"""``sitbone replay``: what it compares, what it says and how it ends."""

import contextlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from werkzeug.serving import make_server

from service.app import create_app
from service.cli import main
from service.commands.replay import Difference, as_text, differences
from service.knowledge_model.model import PACKAGED
from tests.preloaded import Process, loaded

FIXTURES = Path(__file__).parents[1] / "fixtures"
# One with dates in its request, its cards and its orders, one that gets no card.
NAMES = ("water-skier-before-mri", "no-complaint")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder of fixtures, to be spoilt."""
    for kind in ("requests", "responses"):
        (tmp_path / kind).mkdir()
        for name in NAMES:
            shutil.copy(FIXTURES / kind / f"{name}.json", tmp_path / kind)
    shutil.copy(FIXTURES / "clock.txt", tmp_path)
    return tmp_path


def replay(folder: Path, *options: str, **environ: str) -> Result:
    return CliRunner().invoke(main, ["replay", str(folder), *options], env=environ)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def serve(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def running() -> Iterator[str]:
    """A service at its own time."""
    yield from serve(create_app())


@pytest.fixture
def stranger() -> Iterator[str]:
    """A web server that is no CDS service."""
    yield from serve(Flask("stranger"))


def test_answers_that_are_as_expected_end_with_0(folder: Path) -> None:
    done = replay(folder)
    assert (done.exit_code, done.output) == (0, "2 replayed, 0 with differences\n")


def test_a_member_that_differs_is_named_and_ends_with_1(folder: Path) -> None:
    change(folder / "responses" / "water-skier-before-mri.json", '"indicator": "critical",\n      "source"', '"source"')
    done = replay(folder)
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "water-skier-before-mri",
        "  $.cards[0].indicator",
        '    + "critical"',
        "2 replayed, 1 with differences",
    ]


def test_of_a_long_text_the_lines_that_differ_are_shown(folder: Path) -> None:
    change(folder / "responses" / "water-skier-before-mri.json", ", age 39", ", age 40")
    done = replay(folder)
    path, removed, added = (line.strip() for line in done.output.splitlines()[1:-1])
    assert path == "$.cards[0].detail"
    assert (removed[:2], added[:2]) == ("- ", "+ ")
    assert ("age 40" in removed, "age 39" in added) == (True, True)


def test_the_differences_can_be_had_as_json(folder: Path) -> None:
    change(folder / "responses" / "no-complaint.json", '"complaint": "absent"', '"complaint": "unknown"')
    done = replay(folder, "--json")
    assert done.exit_code == 1
    assert json.loads(done.output) == {
        "no-complaint": [
            {
                "path": '$.extension["org.sitbone.assessment"].complaint',
                "expected": "unknown",
                "received": "absent",
            }
        ],
        "water-skier-before-mri": [],
    }


def test_a_request_without_a_response_and_a_response_without_a_request_are_differences(folder: Path) -> None:
    (folder / "responses" / "no-complaint.json").unlink()
    (folder / "requests" / "water-skier-before-mri.json").unlink()
    found = json.loads(replay(folder, "--json").output)
    assert [[sorted(entry) for entry in entries] for entries in found.values()] == [
        [["path", "received"]],
        [["expected", "path"]],
    ]


def test_another_folder_of_knowledge_shows_which_answers_change(folder: Path, tmp_path: Path) -> None:
    knowledge = tmp_path / "knowledge"
    shutil.copytree(PACKAGED, knowledge)
    change(knowledge / "guideline.toml", 'version = "', 'version = "9')
    done = replay(folder, "--json", SITBONE_KNOWLEDGE_DIR=str(knowledge))
    assert done.exit_code == 1
    assert all(
        any(entry["path"].endswith("knowledge.version") for entry in found)
        for found in json.loads(done.output).values()
    )


def test_knowledge_that_cannot_be_used_ends_with_2(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = replay(folder, SITBONE_KNOWLEDGE_DIR=str(tmp_path / "empty"))
    assert done.exit_code == 2
    assert "guideline.toml" in done.output


def test_a_refusal_is_the_same_answer_each_time(folder: Path) -> None:
    change(folder / "requests" / "no-complaint.json", '"patientId"', '"somebody"')
    received = [json.loads(replay(folder, "--json").output)["no-complaint"] for _ in range(2)]
    assert received[0] == received[1]
    assert "OperationOutcome" in json.dumps(received[0])


def test_a_request_in_a_subfolder_goes_to_the_service_of_its_name(folder: Path) -> None:
    for kind in ("requests", "responses"):
        (folder / kind / "gluteal-hamstring-pain").mkdir()
        (folder / kind / "no-complaint.json").rename(folder / kind / "gluteal-hamstring-pain" / "no-complaint.json")
    assert replay(folder).exit_code == 0
    (folder / "requests" / "gluteal-hamstring-pain").rename(folder / "requests" / "no-such-service")
    assert "no-such-service/no-complaint" in replay(folder).output


def _without_itself(folder: Path) -> None:
    shutil.rmtree(folder)


def _without_clock(folder: Path) -> None:
    (folder / "clock.txt").unlink()


def _clock_without_zone(folder: Path) -> None:
    (folder / "clock.txt").write_text("2026-11-22T12:00:00")


def _without_requests(folder: Path) -> None:
    shutil.rmtree(folder / "requests")


def _request_is_no_json(folder: Path) -> None:
    (folder / "requests" / "no-complaint.json").write_text("{")


def _request_is_a_list(folder: Path) -> None:
    (folder / "requests" / "no-complaint.json").write_text("[]")


def _hook_of_no_service(folder: Path) -> None:
    change(folder / "requests" / "no-complaint.json", '"patient-view"', '"medication-refill"')


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without_itself, "{folder} is no folder."),
        (_without_clock, "clock.txt is missing or holds no time like 2026-11-22T12:00:00Z."),
        (_clock_without_zone, "clock.txt holds a time without a zone; write it like 2026-11-22T12:00:00Z."),
        (_without_requests, "There is no request in the folder requests."),
        (_request_is_no_json, "requests/no-complaint.json is not JSON."),
        (_request_is_a_list, "requests/no-complaint.json is no object."),
        (_hook_of_no_service, "requests/no-complaint.json: the service publishes nothing for its hook."),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_folder_that_cannot_be_used_ends_with_2_and_a_sentence(folder: Path, spoil: Any, said: str) -> None:
    spoil(folder)
    done = replay(folder)
    assert (done.exit_code, done.output) == (2, f"{said.format(folder=folder)}\n")


def test_a_setting_that_is_wrong_ends_with_2(folder: Path) -> None:
    assert replay(folder, SITBONE_WORKERS="none").exit_code == 2


def test_a_running_service_gives_the_same_answers_today(folder: Path, running: str) -> None:
    done = replay(folder, "--url", running)
    assert (done.exit_code, done.output) == (0, "2 replayed, 0 with differences\n")


def test_dates_are_moved_by_the_days_since_the_clock(folder: Path, running: str) -> None:
    # The same chart seen ten days later by the clock: its dates lie ten days further back and come back as such.
    change(folder / "clock.txt", "2026-11-22", "2026-12-02")
    done = replay(folder, "--url", running, "--json")
    text = json.dumps(json.loads(done.output)["water-skier-before-mri"])
    assert done.exit_code == 1
    assert "authoredOn" in text
    assert "2026-12-02" in text


def test_an_address_where_nothing_answers_ends_with_2(folder: Path) -> None:
    done = replay(folder, "--url", "http://127.0.0.1:9")
    assert (done.exit_code, done.output) == (
        2,
        "The service cannot be called: no connection: refused, broken off, or the name of the host is not known.\n",
    )


def test_an_address_of_something_else_ends_with_2(folder: Path, stranger: str) -> None:
    done = replay(folder, "--url", stranger)
    assert (done.exit_code, done.output) == (
        2,
        "The service answers something that is not JSON; is the address right?\n",
    )


@pytest.mark.parametrize(
    ("expected", "received", "paths"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, ["$.a"]),
        ({"a": [1, 2]}, {"a": [1]}, ["$.a[1]"]),
        ({"a": 1}, {"b": 1}, ["$.a", "$.b"]),
        ({"a-b": 1}, {"a-b": 2}, ['$["a-b"]']),
        ([{"x": {"y": 1}}], [{"x": {"y": 2}}], ["$[0].x.y"]),
        ({"a": None}, {}, ["$.a"]),
        ({}, [], ["$"]),
    ],
)
def test_two_answers_are_compared_member_by_member(expected: Any, received: Any, paths: list[str]) -> None:
    assert [found.path for found in differences(expected, received)] == paths


def test_a_difference_is_written_with_both_sides() -> None:
    text = as_text({"x": (Difference("$.a", {"expected": 1, "received": "ü"}),)})
    assert text == 'x\n  $.a\n    - 1\n    + "ü"\n1 replayed, 1 with differences'


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_and_nowhere_else(tmp_path: Path, *, terminal: bool) -> None:
    (tmp_path / "requests").mkdir()
    (tmp_path / "responses").mkdir()
    for part in ("clock.txt", "requests/no-complaint.json", "responses/no-complaint.json"):
        (tmp_path / part).write_bytes((FIXTURES / part).read_bytes())
    reads, writes = os.openpty() if terminal else os.pipe()
    with (
        contextlib.closing(os.fdopen(reads, "rb", buffering=0)) as told,
        Path(os.devnull).open("rb") as nothing,
        tempfile.TemporaryFile() as printed,
    ):
        streams = nothing.fileno(), printed.fileno(), writes
        replay = Process(loaded(), "replay", str(tmp_path), cwd=FIXTURES.parent, env=os.environ, streams=streams)
        os.close(writes)
        assert replay.wait(60) == 0
        said = b""
        # A terminal that nobody writes to any more ends with an error.
        with contextlib.suppress(OSError):
            while part_of_it := told.read(4096):
                said += part_of_it
        printed.seek(0)
        assert b"1 replayed" in printed.read()
    assert (b"Replaying" in said) is terminal
