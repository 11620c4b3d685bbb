"""Ordinary patients are not alarmed."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from tests.calm import GENERATED, Calm, alarms, answered, benign_cases, whole_charts
from tests.charts import CLOCK, build_request


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(clock=lambda: CLOCK).test_client()


def test_benign_presentations_get_no_critical_card_and_hardly_a_warning(client: FlaskClient) -> None:
    charts = [answered(client, str(number), build_request(case)) for number, case in enumerate(benign_cases())]
    assert sum(chart.complaint for chart in charts) == GENERATED
    assert alarms(charts) == []


def test_charts_without_the_complaint_get_no_card(client: FlaskClient, shared: Path) -> None:
    charts = [answered(client, str(number), chart) for number, chart in enumerate(whole_charts(shared))]
    assert charts
    assert alarms(charts) == []


@pytest.mark.parametrize(
    "loud",
    [
        [Calm("a", complaint=False, cards=("info",))],
        [Calm("a", complaint=True, cards=("critical",))],
        [Calm("a", complaint=True, cards=("warning",))] * 4 + [Calm("b", complaint=True, cards=("info",))] * 96,
    ],
)
def test_a_card_without_the_complaint_a_critical_one_and_many_warnings_are_alarms(loud: list[Calm]) -> None:
    assert alarms(loud)


def test_three_warnings_of_a_hundred_are_allowed() -> None:
    warned = [Calm("a", complaint=True, cards=("warning",))] * 3
    assert alarms(warned + [Calm("b", complaint=True, cards=("info",))] * 97) == []
