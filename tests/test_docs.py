"""The documents that are made from the knowledge and the fixtures are the ones that would be made now."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("script", ["docs/draw_card.py", "docs/generate.py"])
def test_a_made_document_is_up_to_date(script: str, repository: Path) -> None:
    made = subprocess.run(
        [sys.executable, script, "--check"],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr


def test_every_attack_of_the_table_has_its_test(repository: Path) -> None:
    rows = [
        line for line in (repository / "docs" / "attacks.md").read_text("utf-8").splitlines() if line.startswith("| ")
    ]
    tests = "".join(path.read_text("utf-8") for path in (repository / "tests").rglob("test_*.py"))
    named = {name for row in rows for name in re.findall(r"\btest_[a-z0-9_]+", row)}
    modules = {path.stem for path in (repository / "tests").rglob("test_*.py")}
    assert len(rows) >= 30
    assert {name for name in named if f"def {name}(" not in tests} <= modules
