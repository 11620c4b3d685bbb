"""Calls made up from openapi.yaml, valid and not, against the application, with every check of schemathesis on."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from service.app import create_app
from service.settings import Settings

FILE = Path(__file__).parents[1] / "openapi.yaml"
# A call that is sound in form may still be about a patient whose chart did not come with it.
_CONFIGURATION = schemathesis.Config.from_dict(
    {"checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "412"]}}}
)


@pytest.fixture(scope="module")
def document() -> Any:
    """The document with the application; read in the test, as every process of the tests collects all of them."""
    document = schemathesis.openapi.from_path(FILE, config=_CONFIGURATION)
    document.app = create_app(Settings(features="on"), clock=lambda: datetime(2026, 11, 22, 12, tzinfo=UTC))
    return document


@pytest.fixture(autouse=True)
def named(request: pytest.FixtureRequest) -> None:
    """Schemathesis 4.32 reads the name of a test where pytest 9.2 has none any more."""
    request.node._nodeid = request.node.nodeid


# Names of files, patients and recommendations cannot be made up, nor can forms.
SCHEMA = schemathesis.pytest.from_fixture("document").exclude(
    path_regex="^/((advice|demo|docs|knowledge|why)/.*{id}|fhir)"
)


def has_a_hook_of_another_service(case: "schemathesis.Case[Any]") -> bool:
    """Whether the call is sound but for its hook: which hooks a service has is the one rule between a path and a body,
    which no schema of OpenAPI can say."""
    made = case.meta
    if made is None or not made.generation.mode.is_positive or not isinstance(case.body, dict):
        return False
    hook = case.body.get("hook")
    hooks = case.operation.schema.raw_schema["components"]["parameters"]["id"]["x-hooks"]
    service = (case.path_parameters or {}).get("id")
    # The features of a chart are those of whichever service has the hook.
    published = hooks[service] if service else {each for of_service in hooks.values() for each in of_service}
    return hook is not None and hook not in published


def took_the_others(case: "schemathesis.Case[Any]", response: Any) -> bool:
    """Whether a report of several outcomes was taken but for those that are named in the answer: nothing that a client
    reports is lost for another one's mistake."""
    if response.status_code != 200 or not case.path.endswith("/feedback"):
        return False
    found = response.json() if response.content else {}
    return found.get("resourceType") == "OperationOutcome" and found["issue"][0]["severity"] == "warning"


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@SCHEMA.parametrize()
def test_no_call_that_the_document_can_describe_breaks_what_it_promises(case: "schemathesis.Case[Any]") -> None:
    if not has_a_hook_of_another_service(case):
        response = case.call()
        excluded: list[Any] = [negative_data_rejection] if took_the_others(case, response) else []
        case.validate_response(response, excluded_checks=excluded)
        return
    refused = case.call_and_validate(excluded_checks=[positive_data_acceptance])
    assert (refused.status_code, refused.json()["issue"][0]["expression"]) == (400, ["hook"])
