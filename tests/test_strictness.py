"""The models' word on a resource is remembered by its shape, in which a date of every calendar has no part."""

import orjson
import pytest

from service.chart.strictness import shape, violations


def observation(date: str) -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "pain"},
        "effectiveDateTime": f"{date}T10:00:00Z",
    }


def shape_on(date: str) -> int:
    resource = observation(date)
    return shape(orjson.dumps(resource), resource)


@pytest.mark.parametrize("date", ["2026-02-28", "2026-01-29", "2026-04-30", "2026-12-31"])
def test_resources_of_any_day_that_every_year_has_are_of_one_shape(date: str) -> None:
    assert shape_on(date) == shape_on("2026-01-01")
    assert not violations(observation(date))


def test_resources_that_were_last_changed_at_other_times_are_of_one_shape() -> None:
    first, second = (
        {**observation("2026-01-01"), "meta": {"lastUpdated": f"2026-01-0{day}T10:00:00Z"}} for day in (1, 2)
    )
    other = {**observation("2026-01-01"), "meta": {"lastUpdated": "yesterday"}}
    assert shape(orjson.dumps(first), first) == shape(orjson.dumps(second), second) != shape(orjson.dumps(other), other)


def test_what_another_member_says_counts_though_it_is_the_id_as_well() -> None:
    one, other = ({**observation("2026-01-01"), "id": text, "issued": text} for text in ("2026-01-01", "soon"))
    assert shape(orjson.dumps(one), one) != shape(orjson.dumps(other), other)
    assert violations(other)


@pytest.mark.parametrize("date", ["2026-02-29", "2024-02-29", "2026-02-30", "2026-04-31", "2026-06-31", "2026-01-32"])
def test_a_day_that_not_every_year_has_is_left_to_the_models(date: str) -> None:
    assert shape_on(date) != shape_on("2026-01-01")
