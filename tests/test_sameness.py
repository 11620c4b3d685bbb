"""The comparison of the decisions of two checkouts: what charts it draws, and that it sees what differs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sameness.__main__ import compared, without
from sameness.charts import Call, calls, generated_calls
from service.service_ids import DIAGNOSIS
from tests.charts import Json, build_request, packaged

SITTING = {"age": 45, "side": "left", "present": ["buttock-pain", "pain-with-sitting"]}


@pytest.fixture(scope="module")
def drawn() -> list[Call]:
    return list(generated_calls(150))


def resources(drawn: list[Call]) -> Iterator[Json]:
    for call in drawn:
        for bundle in call.request["prefetch"].values():
            for entry in bundle.get("entry", ()):
                yield entry["resource"]


def test_the_same_seed_draws_the_same_charts(drawn: list[Call]) -> None:
    assert drawn[:5] == list(generated_calls(5))


def test_fixtures_and_named_cases_are_compared_as_well() -> None:
    names = [call.name.partition(" ")[0] for call in calls(1)]
    assert names.count("fixture") > 100
    assert names.count("case") > 1000


def test_charts_lie_below_on_and_above_a_threshold(drawn: list[Call]) -> None:
    limit = packaged().thresholds["fever"]["value"]
    found = {
        (value > limit) - (value < limit)
        for each in resources(drawn)
        if each["code"].get("text") == packaged().findings["body-temperature"].title
        for value in [each["valueQuantity"]["value"]]
    }
    assert found == {-1, 0, 1}


def test_charts_have_partial_dates_no_dates_both_sides_and_contradictions(drawn: list[Call]) -> None:
    observed = [each for each in resources(drawn) if each["resourceType"] == "Observation"]
    assert {len(each.get("effectiveDateTime", "")) for each in observed} >= {0, 4, 7, 10}
    assert {len(call.request["prefetch"]["patient"].get("birthDate", "")) for call in drawn} == {0, 4, 7, 10}
    sides = {each["bodySite"]["coding"][0]["display"] for each in observed if "bodySite" in each}
    assert sides == {"Left", "Right", "Right and left"}

    def said(call: Call, value: bool) -> set[str]:
        entries = call.request["prefetch"]["observations"]["entry"]
        return {e["resource"]["code"]["text"] for e in entries if e["resource"].get("valueBoolean") is value}

    assert any(said(call, True) & said(call, False) for call in drawn)


def test_every_service_is_asked(drawn: list[Call]) -> None:
    assert len({call.service for call in drawn}) == 5


def test_a_checkout_decides_as_itself(repository: Path) -> None:
    call = Call("sitting", DIAGNOSIS, build_request(SITTING))
    assert list(compared(repository, [call])) == [("sitting", [])]


def test_a_checkout_that_decides_otherwise_is_told_with_the_member(tmp_path: Path) -> None:
    program = tmp_path / "sameness" / "decide.py"
    program.parent.mkdir()
    program.write_text(f"import sys\nfor line in sys.stdin: print({json.dumps({'response': {}})!r})\n")
    [(name, found)] = compared(tmp_path, [Call("sitting", DIAGNOSIS, build_request(SITTING))])
    assert name == "sitting"
    assert any(line.startswith("$.response.cards") for line in found)


def test_a_member_that_is_new_here_can_be_left_out_of_the_comparison() -> None:
    decided: dict[str, Any] = {"a": [{"new": 1, "b": 2}], "new": 3}
    assert without(decided, ["new"]) == {"a": [{"b": 2}]}
