"""docs/statements.md is up to date, and complete: every statement and every rule has knowledge and cases."""

from pathlib import Path

import pytest

from docs import generate
from service import knowledge_loader as knowledge


def test_the_table_of_statements_is_up_to_date() -> None:
    generate.main(["--check"])


def test_a_stale_table_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "FILE", tmp_path / "statements.md")
    with pytest.raises(SystemExit, match="is stale"):
        generate.main(["--check"])
    generate.main([])
    generate.main(["--check"])


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
    guideline = knowledge.load()
    more = {**guideline.statements, "S37": "A statement that nothing implements."}
    object.__setattr__(guideline, "statements", more)
    with pytest.raises(generate.IncompleteError, match="S37 is in no finding, cause or recommendation"):
        generate.table(guideline)
