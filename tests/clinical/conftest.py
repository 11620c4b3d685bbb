"""The service as the clinical tests call it: over HTTP, with its clock held still."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from cds_hooks import RESPONSE_SCHEMA
from service.app import create_app
from service.release.digests import without_digests
from tests.charts import CLOCK, Json, NamedCase


@pytest.fixture(scope="session")
def client() -> FlaskClient:
    return create_app(clock=lambda: CLOCK).test_client()


@pytest.fixture(scope="session")
def answer_to(client: FlaskClient) -> Callable[[NamedCase], Json]:
    """The answer to a named case; each is asked for once."""
    answers: dict[str, Json] = {}

    def ask(case: NamedCase) -> Json:
        if case.name not in answers:
            response = client.post(f"/cds-services/{case.service}", json=case.request())
            assert response.status_code == 200, response.get_data(as_text=True)
            answers[case.name] = without_digests(response.get_json())
            RESPONSE_SCHEMA.load(answers[case.name])
        return answers[case.name]

    return ask
