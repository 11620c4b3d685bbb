"""No red flag and no imaging decision hangs on a single weight of the ranking."""

import pytest

from docs import sensitivity
from docs.sensitivity import Flip
from service.guideline import loader as knowledge


@pytest.fixture(scope="module")
def found() -> list[Flip]:
    return sensitivity.flips(knowledge.load())[1]


def test_varying_the_weights_is_seen_where_it_turns_the_leading_cause(found: list[Flip]) -> None:
    assert any(flip.decision == "leading cause" for flip in found)


def test_no_red_flag_hangs_on_a_single_weight(found: list[Flip]) -> None:
    assert [flip for flip in found if flip.decision == "red flags"] == []


def test_no_imaging_hangs_on_a_single_weight(found: list[Flip]) -> None:
    assert [flip for flip in found if flip.decision == "imaging"] == []


def test_the_table_is_up_to_date() -> None:
    sensitivity.main(["--check"])
