"""What the FHIR models say of a resource names places and no values."""

import pytest

from service.chart.fhir_validation import violations


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
