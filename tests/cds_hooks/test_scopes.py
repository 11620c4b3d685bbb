"""Which scopes allow a query, in both notations of SMART App Launch."""

import pytest

from cds_hooks.scopes import Grant, Interaction, granted


@pytest.mark.parametrize(
    ("scope", "read", "search"),
    [
        ("patient/Observation.read", Grant.FULL, Grant.FULL),
        ("user/Observation.read", Grant.FULL, Grant.FULL),
        ("system/Observation.read", Grant.FULL, Grant.FULL),
        ("user/*.read", Grant.FULL, Grant.FULL),
        ("patient/*.*", Grant.FULL, Grant.FULL),
        ("patient/Observation.*", Grant.FULL, Grant.FULL),
        ("patient/Observation.rs", Grant.FULL, Grant.FULL),
        ("patient/*.cruds", Grant.FULL, Grant.FULL),
        ("patient/Observation.r", Grant.FULL, Grant.NONE),
        ("patient/Observation.s", Grant.NONE, Grant.FULL),
        ("patient/Observation.write", Grant.NONE, Grant.NONE),
        ("patient/Observation.cud", Grant.NONE, Grant.NONE),
        ("patient/Condition.rs", Grant.NONE, Grant.NONE),
        ("patient/Condition.read user/Patient.read", Grant.NONE, Grant.NONE),
        ("patient/ObservationDefinition.read", Grant.NONE, Grant.NONE),
        ("patient/Observation.rs?category=laboratory", Grant.PART, Grant.PART),
        ("patient/*.rs?_security=N", Grant.PART, Grant.PART),
        ("patient/Observation.rs?category=laboratory user/*.read", Grant.FULL, Grant.FULL),
        ("patient/Observation.r patient/Observation.s?code=1", Grant.FULL, Grant.PART),
        ("openid launch/patient patient/Observation.read", Grant.FULL, Grant.FULL),
    ],
)
def test_a_scope_grants_what_it_names_and_nothing_more(scope: str, read: Grant, search: Grant) -> None:
    assert granted(scope, "Observation", Interaction.READ) is read
    assert granted(scope, "Observation", Interaction.SEARCH) is search


@pytest.mark.parametrize("scope", ["", "   ", "openid fhirUser launch/patient", "observation read", "Observation.read"])
def test_a_scope_that_says_nothing_of_any_resource_is_unknown_and_left_to_the_server(scope: str) -> None:
    assert granted(scope, "Observation", Interaction.SEARCH) is Grant.FULL


@pytest.mark.parametrize(
    "scope", ["patient/Patient.read patient/observation.read", "user/Patient.read user/Observation.reads"]
)
def test_a_scope_that_is_misspelt_grants_nothing(scope: str) -> None:
    assert granted(scope, "Observation", Interaction.SEARCH) is Grant.NONE
