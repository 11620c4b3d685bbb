"""Requests that other people sent, at every service: answered, or refused for a named reason. They lie elsewhere."""

import json
from pathlib import Path

import pytest

from service.app import create_app
from service.settings import Settings


def test_every_real_request_is_answered_or_refused_for_a_named_reason_by_every_service(shared: Path) -> None:
    files = sorted((shared / "requests").glob("*.json"))
    if not files:
        pytest.skip("the folder of real charts and requests has no requests")
    client = create_app(Settings(fhir_access="off")).test_client()
    entries = client.get("/cds-services").get_json()["services"]
    for file in files:
        hook = json.loads(file.read_bytes()).get("hook")
        for entry in entries:
            at = f"{file.name} at {entry['id']}"
            answer = client.post(
                f"/cds-services/{entry['id']}", data=file.read_bytes(), content_type="application/json"
            )
            body = answer.get_json()
            if answer.status_code == 200:
                assert body["extension"]["org.sitbone.assessment"]["complaint"], at
            else:
                assert answer.status_code in (400, 412), at
                [issue] = body["issue"]
                assert issue["diagnostics"].partition(":")[0].partition(".")[0].isalpha(), at
                assert issue["severity"] == "error", at
            if answer.status_code == 412:
                assert issue["diagnostics"].startswith(("prefetch", "context")), at
            # What is refused for its hook is not of the service's hook.
            assert hook != entry["hook"] or answer.status_code != 400 or not issue["diagnostics"].startswith("hook:"), (
                at
            )
