"""What real charts can say: every verified code is used or has a reason why not."""

import csv
from pathlib import Path

import pytest

from service.chart.codes import CodeIndex
from service.knowledge_model.model import PACKAGED
from service.knowledge_model.vocabulary import SYSTEMS
from tests.charts import packaged

# The codes that were verified in a primary source, each used or with the reason why not. Without the procedure codes of
# the American Medical Association, which are nowhere in this repository.
VERIFIED = Path(__file__).with_name("verified_codes.csv")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def listed() -> set[tuple[str, str]]:
    """The codes that stand in a value set as they are."""
    return {(row["system"], row["code"]) for path in (PACKAGED / "value_sets").glob("*.csv") for row in _rows(path)}


def test_every_verified_code_is_used_or_has_a_reason_why_not(listed: set[tuple[str, str]]) -> None:
    index = CodeIndex(packaged())
    silent = [
        (row["system"], row["code"], row["display"])
        for row in _rows(VERIFIED)
        if not row["reason"]
        and (row["system"], row["code"]) not in listed
        and not index.lookup(SYSTEMS.get(row["system"]), row["code"])
    ]
    assert silent == []


def test_no_code_that_is_used_has_a_reason_why_it_is_not(listed: set[tuple[str, str]]) -> None:
    stale = [row["code"] for row in _rows(VERIFIED) if row["reason"] and (row["system"], row["code"]) in listed]
    assert stale == []
