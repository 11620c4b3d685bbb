"""No red flag and no imaging decision depends on a single weight of the ranking."""

import pytest

from docs import sensitivity
from docs.sensitivity import Flip
from tests.charts import packaged


@pytest.fixture(scope="module")
def flips() -> tuple[int, list[Flip]]:
    return sensitivity.flips(packaged())


@pytest.fixture(scope="module")
def found(flips: tuple[int, list[Flip]]) -> list[Flip]:
    return flips[1]


def test_varying_the_weights_is_seen_where_it_turns_the_leading_cause(found: list[Flip]) -> None:
    assert any(flip.decision == "leading cause" for flip in found)


def test_no_red_flag_hangs_on_a_single_weight(found: list[Flip]) -> None:
    assert [flip for flip in found if flip.decision == "red flags"] == []


def test_no_imaging_hangs_on_a_single_weight(found: list[Flip]) -> None:
    assert [flip for flip in found if flip.decision == "imaging"] == []


def test_the_rating_of_an_imaging_order_changes_only_with_the_leading_cause(found: list[Flip]) -> None:
    led = {(flip.weight, flip.factor, flip.fixture) for flip in found if flip.decision == "leading cause"}
    rated = {(flip.weight, flip.factor, flip.fixture) for flip in found if flip.decision == "ratings of imaging orders"}
    assert rated
    assert rated <= led


def test_no_imaging_is_called_for_by_what_leads_the_ranking() -> None:
    """What a single weight does not turn, two could: imaging reads findings and working diagnoses alone."""
    knowledge = packaged()
    for recommendation in knowledge.recommendations:
        for call in recommendation.imaging:
            if call.modality != "none-now":
                conditions = [recommendation.when, *([call.when] if call.when else [])]
                read = knowledge.opened(name for condition in conditions for name in condition.findings())
                assert not {name for name in read if name.startswith("considers-")}, recommendation.id


def test_the_charts_that_hung_on_single_weights_are_in_the_run() -> None:
    ranked = {name for name, _case in sensitivity.charts(packaged())}
    assert ranked >= {
        "back-and-cough-pain-for-seven-weeks",
        "piriformis-by-points-after-physiotherapy",
        "hard-seat-after-physiotherapy",
        "tendon-with-a-slump-after-physiotherapy",
    }


def test_the_table_is_up_to_date(flips: tuple[int, list[Flip]]) -> None:
    assert sensitivity.FILE.read_text("utf-8") == sensitivity.table(*flips), "run python docs/sensitivity.py"
