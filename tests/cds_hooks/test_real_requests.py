"""A cross-check against requests that other people's clients sent; they lie outside of the repository."""

import json
from pathlib import Path

import pytest

from cds_hooks import HOOKS, CdsHooksError, CdsService, HookRequest, HookResponse, read_request

REFUSED = {
    "cds-hooks-go__03-order-select.json": "context.draftOrders",
    "hl7-spec-1.0__02-patient-view.json": "context.patientId",
    "inferno-crd__fancy_structure_hook_request.json": "hook",
    "sandbox-services-greeting__requestWithOpenFhirServer.json": "hookInstance",
    "sandbox-services-greeting__requestWithSecuredFhirServer.json": "hookInstance",
}


def answer(file: Path) -> HookRequest | CdsHooksError:
    body = file.read_bytes()
    hook = json.loads(body)["hook"]
    service = CdsService(
        "any",
        hook if hook in HOOKS else "patient-view",
        "Any",
        "Any",
        {"patient": "Patient/{{context.patientId}}"},
        lambda _: HookResponse(()),
    )
    try:
        return read_request(body, service, correlation_id="c")
    except CdsHooksError as error:
        return error


def test_each_real_request_is_read_or_refused_for_a_reason_that_is_named(shared: Path) -> None:
    files = sorted((shared / "requests").glob("*.json"))
    if not files:
        pytest.skip("the folder of real charts and requests has no requests")
    answers = {file.name: answer(file) for file in files}
    refused = {name: found.expression for name, found in answers.items() if isinstance(found, CdsHooksError)}
    assert refused == {name: path for name, path in REFUSED.items() if name in answers}
    for found in answers.values():
        assert isinstance(found, HookRequest) or found.status == 400


def test_no_note_repeats_a_value_of_a_real_request(shared: Path) -> None:
    for file in sorted((shared / "requests").glob("*.json")):
        found = answer(file)
        if isinstance(found, HookRequest):
            said = " ".join(found.notes) + " ".join(value.note for value in found.prefetch.values())
            assert found.patient_id not in said.split()
            assert "http:" not in said
