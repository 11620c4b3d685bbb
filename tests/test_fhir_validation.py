"""What the FHIR models say of a resource names places and no values."""

import orjson
import pytest

from service.fhir_validation import Judge, shape, violations


def observation(date: str) -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "pain"},
        "effectiveDateTime": f"{date}T10:00:00Z",
    }


@pytest.mark.parametrize("date", ["2026-02-28", "2024-02-29", "2026-04-30", "2026-12-31"])
def test_a_day_of_the_calendar_is_valid(date: str) -> None:
    assert violations(observation(date)) == ""


@pytest.mark.parametrize("date", ["2026-02-29", "2026-02-30", "2026-04-31", "2026-01-32"])
def test_a_day_that_no_calendar_has_is_named_by_its_place(date: str) -> None:
    assert violations(observation(date)) == "effectiveDateTime"


def test_what_is_no_resource_has_no_model() -> None:
    assert violations({"resourceType": ["Observation"]}) == "resourceType: no model"


@pytest.mark.parametrize("kind", [["Patient"], "left/right", {}])
def test_what_the_models_end_at_is_no_valid_resource(kind: object) -> None:
    assert violations({**observation("2026-01-01"), "contained": [{"resourceType": kind, "id": "c"}]})
    assert violations({**observation("2026-01-01"), "extension": [{"url": {"x": 1}, "valueBoolean": True}]})


def test_resources_that_differ_in_ids_dates_and_numbers_are_judged_once() -> None:
    made = [orjson.dumps({**observation(f"2026-01-0{day}"), "id": f"o{day}"}) for day in (1, 2, 3)]
    assert len({shape(raw, orjson.loads(raw)) for raw in made}) == 1


@pytest.mark.parametrize("date", ["2026-02-29", "2024-02-29", "2026-04-31"])
def test_a_day_that_not_every_year_has_is_left_to_the_models(date: str) -> None:
    usual, odd = observation("2026-01-01"), observation(date)
    assert shape(orjson.dumps(odd), odd) != shape(orjson.dumps(usual), usual)


def test_what_the_models_refuse_is_counted_by_type() -> None:
    sound, wrong = observation("2026-01-01"), observation("2026-02-30")
    judge = Judge()
    assert judge.not_valid(map(orjson.dumps, (sound, wrong, wrong, {"resourceType": ["no"]}))) == {"Observation": 2}
    assert judge.not_valid([orjson.dumps(sound), b"no json"]) == {}
