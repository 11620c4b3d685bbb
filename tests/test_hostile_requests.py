"""No request that is made of a fixture by spoiling it is answered by a fault of the service; see tests/fuzz.py."""

import json

import pytest
from flask.testing import FlaskClient

from service.commands.replay import read_folder
from tests import fuzz

COUNT, SEED = 400, 11


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return fuzz.client()


def test_no_spoilt_request_meets_a_fault_of_the_service(client: FlaskClient) -> None:
    met = {}
    for hostile in fuzz.hostile_requests(COUNT, SEED):
        answered = fuzz.call(client, hostile)
        if answered.status >= 500 or not answered.is_json:
            met[hostile.name] = answered.status
    assert met == {}


@pytest.mark.parametrize(
    "odd",
    [
        *({"resourceType": []}, {"resourceType": {}}, {"resourceType": 1}, [], "a", None),
        {"resourceType": "Observation", "_status": "12345"},
    ],
)
@pytest.mark.parametrize("member", ["draftOrders", "appointments"])
def test_a_draft_or_an_appointment_that_is_no_resource_is_read_around(
    member: str, odd: object, client: FlaskClient
) -> None:
    folder = read_folder(fuzz.FIXTURES).requests
    asked = [(name, request) for name, request in folder.items() if member in request["context"]]
    assert asked
    for name, request in asked[:3]:
        changed = json.loads(json.dumps(request))
        changed["context"][member]["entry"].append({"resource": odd})
        changed["prefetch"]["observations"] = {
            "resourceType": "Bundle",
            "type": "searchset",
            "entry": [{"resource": odd}],
        }
        answer = client.post(f"/cds-services/{name.rpartition('/')[0]}", json=changed)
        assert answer.status_code in (200, 400, 412)
        assert answer.is_json


def test_the_same_seed_makes_the_same_requests_of_every_hook() -> None:
    one, other = (list(fuzz.hostile_requests(300, SEED)) for _ in range(2))
    assert one == other
    assert len({request.path for request in one}) >= 5
    assert [request.body for request in fuzz.hostile_requests(50, SEED + 1)] != [request.body for request in one[:50]]
