"""The documents that are made from the knowledge and the fixtures are the ones that would be made now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("script", ["docs/draw_card.py", "docs/generate.py"])
def test_a_made_document_is_up_to_date(script: str, repository: Path) -> None:
    made = subprocess.run(
        [sys.executable, script, "--check"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
