"""The documents that follow from data are up to date and complete: the coverage and the hazards hold what they name."""

from dataclasses import replace
from pathlib import Path

import pytest

from docs import generate
from service.knowledge_model import loader
from service.knowledge_model.model import RuleGroup
from service.release.hazard_log import read_hazards


def test_a_stale_document_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("docs/one.md", "docs/other.md")
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    # What stands in each of them is for the tests of the documents.
    monkeypatch.setattr(generate, "DOCUMENTS", {name: lambda _knowledge: iter(["text"]) for name in names})
    generate.main([])
    generate.main(["--check"])
    for name in names:
        (tmp_path / name).write_text("old", "utf-8")
        with pytest.raises(SystemExit, match=f"{name} is stale"):
            generate.main(["--check"])
        (tmp_path / name).unlink()
        with pytest.raises(SystemExit, match=f"{name} is stale"):
            generate.main(["--check"])
        generate.main([])


@pytest.mark.parametrize("lacking", ["S23", "R-S01"])
def test_a_statement_or_rule_without_a_case_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    for path in generate.CASES.glob("*.toml"):
        text = path.read_text(encoding="utf-8").replace(f'"{lacking}"', '"S25"')
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(generate, "CASES", tmp_path)
    with pytest.raises(SystemExit, match=f"{lacking} has no case"):
        generate.main(["--check"])


def test_a_statement_without_knowledge_stops_it() -> None:
    knowledge = loader.load()
    more = {**knowledge.statements, "S37": "A statement that nothing implements."}
    object.__setattr__(knowledge, "statements", more)
    with pytest.raises(generate.IncompleteError, match="S37 is carried by nothing"):
        list(generate.coverage(knowledge))


def test_a_rule_that_nothing_carries_stops_it_unless_it_is_open() -> None:
    knowledge = loader.load()
    group = RuleGroup("Rules", {"R-S99": "A rule."}, frozenset())
    object.__setattr__(knowledge, "rule_groups", (group,))
    with pytest.raises(generate.IncompleteError, match="R-S99 is carried by nothing"):
        list(generate.coverage(knowledge))
    object.__setattr__(knowledge, "rule_groups", (replace(group, open=frozenset({"R-S99"})),))
    assert "| R-S99 | A rule. | not yet |  |" in list(generate.coverage(knowledge))


def test_each_row_names_all_that_carries_it_and_its_cases_by_file() -> None:
    lines = "\n".join(generate.coverage(loader.load())).splitlines()
    (rule,) = [line for line in lines if line.startswith("| R-S14 |")]
    assert "ranking of proximal hamstring tendinopathy" in rule
    (statement,) = [line for line in lines if line.startswith("| S1 |")]
    assert "cause proximal hamstring tendinopathy" in statement
    assert "finding working diagnosis: proximal hamstring tendinopathy" in statement
    assert "causes 6" in statement


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("test_cards.py::test_nothing_of_the_kind", "There is no test"),
        ("test_nowhere.py::test_nothing", "There is no test"),
        ("red_flags.toml: Nothing of the kind", "There is no case"),
        ("nowhere.toml: Nothing", "There is no case"),
    ],
)
def test_a_hazard_whose_test_does_not_exist_stops_it(monkeypatch: pytest.MonkeyPatch, named: str, said: str) -> None:
    (hazard, *_) = read_hazards(None)
    monkeypatch.setattr(generate, "read_hazards", lambda _folder: [replace(hazard, tests=(named,))])
    with pytest.raises(SystemExit, match=said):
        generate.main(["--check"])
