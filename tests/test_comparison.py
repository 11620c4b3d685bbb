"""``sitbone replay --against``: whose advice changes from one set of knowledge to another, and how."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from service.cli import main
from service.commands import comparison
from service.commands.comparison import Change, changes
from service.knowledge_model.model import PACKAGED

FIXTURES = Path(__file__).parents[1] / "fixtures"
NAMES = ("no-complaint", "significant-bruising")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder of requests; what was answered to them does not matter here."""
    (tmp_path / "requests").mkdir()
    for name in NAMES:
        shutil.copy(FIXTURES / "requests" / f"{name}.json", tmp_path / "requests")
    shutil.copy(FIXTURES / "clock.txt", tmp_path)
    return tmp_path


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A copy of the knowledge, to be changed."""
    return Path(shutil.copytree(PACKAGED, tmp_path / "changed"))


def against(folder: Path, old: Path, *options: str, **environ: str) -> Result:
    return CliRunner().invoke(main, ["replay", str(folder), "--against", str(old), *options], env=environ)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_same_knowledge_changes_nothing_and_ends_with_0(folder: Path) -> None:
    done = against(folder, PACKAGED)
    assert (done.exit_code, done.output) == (0, "2 replayed, 0 change\n")


def test_a_version_alone_is_no_change(folder: Path, changed: Path) -> None:
    change(changed / "guideline.toml", 'version = "', 'version = "9')
    assert against(folder, changed).exit_code == 0


def test_a_red_flag_that_is_lost_is_listed_with_the_cards_that_change(folder: Path, changed: Path) -> None:
    rule = changed / "recommendations" / "rs02-significant-bruising.toml"
    change(rule, 'when = "significant-bruising and not-present(avulsion-on-mri)"', 'when = "cauda-equina-diagnosed"')
    done = against(folder, PACKAGED, SITBONE_KNOWLEDGE_DIR=str(changed))
    lines = [line.strip() for line in done.output.splitlines()]
    assert done.exit_code == 1
    assert lines[0] == "significant-bruising"
    assert lines[lines.index("red flags") + 1] == "- significant-bruising critical"
    assert any(line.startswith("card immediate-evaluation") for line in lines)
    assert "2 replayed, 1 change" in lines


def test_words_of_a_card_are_shown_line_by_line(folder: Path, changed: Path) -> None:
    file = changed / "recommendations" / "rs14-critical-holds.toml"
    change(file, "No self-care, exercise or NSAID until this is evaluated", "Nothing until this is evaluated")
    done = against(folder, changed, "--json")
    found = json.loads(done.output)
    assert done.exit_code == 1
    assert found["no-complaint"] == []
    assert found["significant-bruising"]
    for entry in found["significant-bruising"]:
        assert entry["part"].startswith("card ")
        assert [len(entry["removed"]), len(entry["added"])] == [1, 1]
        assert "Nothing until this is evaluated" in entry["removed"][0]
        assert "No self-care, exercise or NSAID" in entry["added"][0]


def test_old_knowledge_that_cannot_be_used_ends_with_2(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = against(folder, tmp_path / "empty")
    assert done.exit_code == 2
    assert done.output.startswith("The knowledge to compare with cannot be used: guideline.toml: ")


def test_a_running_service_cannot_be_compared(folder: Path) -> None:
    done = against(folder, PACKAGED, "--url", "http://127.0.0.1:9")
    assert done.exit_code == 2
    assert "--against compares in process" in done.output


def test_a_fault_is_never_taken_for_no_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
    monkeypatch.setattr(comparison, "answers", lambda *_, **__: dict.fromkeys(NAMES, fault))
    done = against(folder, PACKAGED)
    assert (done.exit_code, done.output) == (
        2,
        "requests/no-complaint.json cannot be answered: the fault is in the log.\n",
    )


def answer(*cards: dict[str, Any], **assessment: Any) -> dict[str, Any]:
    parts = ("redFlags", "causes", "imaging", "referrals", "treatment", "ask")
    said = {**{part: [] for part in parts}, "knowledge": {"version": "1.0"}, "complaint": "present", **assessment}
    return {"cards": list(cards), "extension": {"org.sitbone.assessment": said}}


def card(topic: str, detail: str = "x", **members: Any) -> dict[str, Any]:
    return {"summary": "S", "indicator": "info", "detail": detail, "source": {"topic": {"code": topic}}, **members}


MRI = {"modality": "mri", "region": "pelvis", "priority": "urgent", "recommendation": "r"}


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (answer(), answer(), []),
        (
            answer(redFlags=[{"id": "infection", "indicator": "critical", "findings": []}]),
            answer(redFlags=[{"id": "infection", "indicator": "warning", "findings": []}]),
            [Change("red flags", ("infection critical",), ("infection warning",))],
        ),
        (
            answer(causes=[{"side": "left", "id": "tear", "band": "leads", "points": 5, "for": [], "against": []}]),
            answer(causes=[{"side": "left", "id": "tear", "band": "possible", "points": 2, "for": [], "against": []}]),
            [Change("causes", ("left tear leads 5",), ("left tear possible 2",))],
        ),
        (
            answer(imaging=[]),
            answer(imaging=[{**MRI, "alternative": "ultrasound"}]),
            [Change("imaging", (), ("mri pelvis urgent or ultrasound",))],
        ),
        (
            answer(referrals=[{"to": "spine", "priority": "stat", "recommendation": "r"}]),
            answer(referrals=[{"to": "spine", "priority": "stat", "recommendation": "another"}]),
            [],
        ),
        (
            answer(treatment=[{"id": "nsaid", "state": "offer", "because": []}]),
            answer(treatment=[{"id": "nsaid", "state": "hold", "because": [], "without": ["stretching"]}]),
            [Change("treatment", ("nsaid offer",), ("nsaid hold without stretching",))],
        ),
        (answer(ask=["a", "b"]), answer(ask=["b", "a"]), [Change("ask, in another order", ("a, b",), ("b, a",))]),
        (answer(ask=["a"]), answer(ask=["b"]), [Change("ask", ("a",), ("b",))]),
        (answer(complaint="absent"), answer(), [Change("complaint", ('"absent"',), ('"present"',))]),
        (answer(), answer(card("care-plan")), [Change("card care-plan is new", (), ("info: S",))]),
        (answer(card("care-plan")), answer(), [Change("card care-plan is gone", ("info: S",), ())]),
        (
            answer(card("order", "a"), card("order", "b")),
            answer(card("order", "a"), card("order", "c")),
            [Change("card order 2", ("b",), ("c",))],
        ),
        (
            answer(card("care-plan", suggestions=[{"label": "Order: MRI"}])),
            answer(card("care-plan")),
            [Change("card care-plan", ("suggests Order: MRI",), ())],
        ),
        ({"issue": []}, {"issue": []}, []),
    ],
)
def test_what_is_different_is_said_by_part(before: dict[str, Any], after: dict[str, Any], found: list[Change]) -> None:
    assert list(changes(before, after)) == found


def test_a_refusal_in_place_of_an_answer_is_a_change() -> None:
    (found,) = changes(answer(), {"issue": []})
    assert found.part == "answer"
