"""The EHR behind the page at `/`: it launches the second opinion as SMART App Launch has it, and no more."""

import hashlib
import os
import stat
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.pages.demo_server import CLIENT_ID
from service.settings import Settings

BASE = "http://127.0.0.1:8080"
ISS = f"{BASE}/demo/ehr"
CALLBACK = f"{BASE}/app/callback/{CLIENT_ID}"
VERIFIER = "a-verifier-of-forty-three-characters-at-least-42"
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
PATIENT = {"resourceType": "Patient", "id": "p1", "birthDate": "1980-01-01"}
FORM = {"resourceType": "QuestionnaireResponse", "status": "completed"}


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    (tmp_path / "store").mkdir(mode=0o700)
    return create_app(Settings(store=tmp_path / "store")).test_client()


def launched(client: FlaskClient) -> str:
    chart = {"patient": "p1", "encounter": "e1", "resources": [PATIENT, {"resourceType": "Condition", "id": "c1"}]}
    answer = client.post("/demo/ehr/charts", json=chart)
    assert answer.get_json()["iss"] == ISS
    launch: str = answer.get_json()["launch"]
    return launch


def asked(launch: str, **changes: str) -> dict[str, str]:
    return {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": CALLBACK,
        "scope": "launch patient/Patient.r",
        "state": "s",
        "aud": ISS,
        "launch": launch,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }


def code_of(client: FlaskClient, launch: str) -> str:
    to = client.get("/demo/ehr/authorize", query_string=asked(launch)).headers["Location"]
    assert to.startswith(f"{CALLBACK}?")
    answer = parse_qs(urlsplit(to).query)
    assert (answer["state"], answer["iss"]) == (["s"], [ISS])
    return answer["code"][0]


def redeemed(client: FlaskClient, code: str, **changes: str) -> Any:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    return client.post("/demo/ehr/token", data=form | changes)


def bearer(client: FlaskClient, launch: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {redeemed(client, code_of(client, launch)).get_json()['access_token']}"}


def test_a_launch_gives_access_to_the_chart_that_was_handed_over(client: FlaskClient) -> None:
    launch = launched(client)
    token = redeemed(client, code_of(client, launch)).get_json()
    assert (token["patient"], token["encounter"], token["scope"]) == ("p1", "e1", "launch patient/Patient.r")
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    assert client.get("/demo/ehr/Patient/p1", headers=headers).get_json() == PATIENT
    (entry,) = client.get("/demo/ehr/Condition?patient=p1", headers=headers).get_json()["entry"]
    assert entry["resource"]["id"] == "c1"
    assert client.get("/demo/ehr/Observation", headers=headers).get_json()["entry"] == []
    assert client.get("/demo/ehr/Patient/p2", headers=headers).status_code == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redirect_uri", "https://elsewhere.example.org/"),
        ("client_id", "another"),
        ("aud", "https://elsewhere.example.org/fhir"),
        ("code_challenge_method", "plain"),
        ("response_type", "token"),
    ],
)
def test_nothing_but_its_own_app_is_sent_anywhere(client: FlaskClient, name: str, value: str) -> None:
    answer = client.get("/demo/ehr/authorize", query_string=asked(launched(client), **{name: value}))
    assert (answer.status_code, answer.headers.get("Location")) == (400, None)


def test_a_launch_of_no_chart_is_refused(client: FlaskClient) -> None:
    for launch in ("", "../../etc/passwd", "00000000-0000-4000-8000-000000000000"):
        assert client.get("/demo/ehr/authorize", query_string=asked(launch)).status_code == 404


def test_a_code_is_good_once_and_with_its_verifier_alone(client: FlaskClient) -> None:
    code = code_of(client, launched(client))
    assert redeemed(client, code, code_verifier="another").status_code == 400
    assert redeemed(client, code, redirect_uri="https://elsewhere.example.org/").status_code == 400
    assert redeemed(client, code).status_code == 200
    assert redeemed(client, code).status_code == 400
    assert redeemed(client, "no code").status_code == 400


def test_the_chart_is_read_with_its_token_alone(client: FlaskClient) -> None:
    launch = launched(client)
    assert client.get("/demo/ehr/Patient/p1").status_code == 401
    # A code is no token.
    code = {"Authorization": f"Bearer {code_of(client, launch)}"}
    assert client.get("/demo/ehr/Patient/p1", headers=code).status_code == 401
    assert client.post("/demo/ehr/QuestionnaireResponse", json=FORM).status_code == 401


def test_what_the_app_saves_is_on_the_chart_and_the_page_can_take_it_over(client: FlaskClient) -> None:
    launch = launched(client)
    headers = bearer(client, launch)
    made = client.post("/demo/ehr/QuestionnaireResponse", json=FORM, headers=headers)
    assert made.status_code == 201
    assert made.headers["Location"] == f"{ISS}/QuestionnaireResponse/{made.get_json()['id']}"
    (entry,) = client.get("/demo/ehr/QuestionnaireResponse", headers=headers).get_json()["entry"]
    assert client.get(f"/demo/ehr/charts/{launch}/saved").get_json() == [entry["resource"]] == [made.get_json()]
    assert client.post("/demo/ehr/Patient", json=PATIENT, headers=headers).status_code == 400
    assert client.post("/demo/ehr/Observation", json=FORM, headers=headers).status_code == 400
    assert client.get("/demo/ehr/metadata").get_json()["rest"][0]["resource"][0]["type"] == "QuestionnaireResponse"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"patient": 1}', b'{"patient": "p", "resources": {}}'])
def test_what_is_no_chart_is_refused(client: FlaskClient, body: bytes) -> None:
    assert client.post("/demo/ehr/charts", data=body).status_code == 400


def test_charts_lie_where_no_other_user_reads_them_and_go_after_an_hour(client: FlaskClient, tmp_path: Path) -> None:
    old = tmp_path / "store" / "demo-charts" / launched(client)
    assert stat.S_IMODE(old.stat().st_mode) == 0o600
    assert stat.S_IMODE(old.parent.stat().st_mode) == 0o700
    hour_ago = time.time() - 3_700
    os.utime(old, (hour_ago, hour_ago))
    new = old.parent / launched(client)
    assert not old.exists()
    assert new.exists()


def test_only_the_calls_of_the_page_are_answered_with_the_link_of_its_app(client: FlaskClient) -> None:
    request = client.get("/demo/patients/sudden-pop-with-bruising").get_json()
    service = "/cds-services/gluteal-hamstring-pain"

    def links(**members: str) -> set[tuple[str, str]]:
        (card,) = client.post(service, json=request | members).get_json()["cards"][:1]
        return {(link["type"], link["url"]) for link in card["links"] if link["type"] == "smart"}

    assert links(fhirServer=ISS) == {("smart", f"{BASE}/app/launch")}
    assert links() == set()
    assert links(fhirServer="https://ehr.example.org/fhir") == set()


@pytest.mark.parametrize(
    "changes", [{"pages": "off"}, {"fhir_access": "off"}, {"public_base_url": "https://x.example"}]
)
def test_where_the_page_is_not_shown_or_reads_no_server_there_is_no_such_ehr(changes: dict[str, str]) -> None:
    client = create_app(Settings(**changes)).test_client()  # type: ignore[arg-type]
    assert client.get("/demo/ehr/metadata").status_code == 404
    assert client.get("/app/launch").status_code == 404
