"""Calls made up from openapi.yaml, valid and not, against the application, with every check of schemathesis on."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings

from service.app import create_app

# A call that is sound in form may still be about a patient whose chart did not come with it.
_CONFIGURATION = schemathesis.Config.from_dict(
    {"checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "412"]}}}
)
SCHEMA = schemathesis.openapi.from_path(Path(__file__).parents[1] / "openapi.yaml", config=_CONFIGURATION)
SCHEMA.app = create_app(clock=lambda: datetime(2026, 11, 22, 12, tzinfo=UTC))


@SCHEMA.parametrize()
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_call_that_the_document_can_describe_breaks_what_it_promises(case: "schemathesis.Case[Any]") -> None:
    case.call_and_validate()
