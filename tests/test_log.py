"""What the log of the running service holds, and what it never does."""

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_hooks import CallRecord
from service.app import create_app
from service.server import log
from service.server.log import CallLog, JsonLines
from service.settings import Settings

CALL_ID = "0f3b1ba2-7c41-4c0e-9a3e-2f6f0d3f8f11"

REQUESTS = sorted((Path(__file__).parents[1] / "fixtures" / "requests").glob("*.json"))
SERVICE = "/cds-services/gluteal-hamstring-pain"
JSON = {"Content-Type": "application/json", "X-Correlation-Id": CALL_ID}
# Members whose values belong to the protocol and not to a patient.
_PROTOCOL = {"resourceType", "system", "status", "hook", "type", "token_type", "mode", "unit", "linkId", "intent"}


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """The log as the running service writes it, of which nothing is held back."""
    root, own = logging.getLogger(), [logging.getLogger(name) for name in ("sitbone", "cds_hooks")]
    before = root.handlers[:], root.level, [each.level for each in own]
    stream = io.StringIO()
    log.configure("debug", stream)
    yield stream
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    for each, level in zip(own, before[2], strict=True):
        each.setLevel(level)


@pytest.fixture
def client(written: io.StringIO) -> FlaskClient:
    return create_app(Settings(log_key="0123456789abcdef")).test_client()


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def values_of(node: Any) -> Iterator[str]:
    """Every text and number that a request holds about its patient."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name not in _PROTOCOL:
                yield from values_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from values_of(value)
    elif isinstance(node, str | float | int) and not isinstance(node, bool):
        yield str(node)


# What the service itself has measured or counted, and the ids of rules, which are words of medicine.
_OWN = {"time", "milliseconds", "status", "cards", "rules", "hookInstance", "correlationId"}
# A shorter text is found by chance within longer ones; it is looked for as a word.
_TELLING = 5


def test_the_log_of_every_kind_of_call_holds_nothing_of_the_patient(client: FlaskClient, written: io.StringIO) -> None:
    sent: set[str] = set()
    for path in REQUESTS:
        call = json.loads(path.read_text("utf-8"))
        call["fhirServer"] = "https://ehr.example.org/fhir/tenant-of-jane-doe"
        call["fhirAuthorization"] = {"access_token": "very-secret-token", "scope": "patient/secret.read"}
        call["context"]["patientName"] = "Jane Doe"
        call["prefetch"]["Jane-Doe-key"] = {"resourceType": "Patient", "name": [{"family": "Doe-Smith"}]}
        sent |= set(values_of(call)) | {"Jane-Doe-key"}
        for body in (
            call,
            {**call, "hook": "Jane Doe"},
            {**call, "context": {**call["context"], "patientId": 4711_4711}},
            {**call, "context": {**call["context"], "patientId": "Patient/Jane/Doe"}},
            {**call, "prefetch": {"patient": call["prefetch"]["patient"]}},
            {**call, "prefetch": {"patient": "Jane Doe was here"}},
            {**call, "hookInstance": "Jane Doe of 5 Main Street"},
        ):
            text = json.dumps(body)
            client.post(SERVICE, data=text, headers=JSON)
            client.post(f"{SERVICE}/feedback", data=text, headers=JSON)
        client.post(SERVICE, data=text[:-40], headers=JSON)
        client.post("/cds-services/Jane-Doe", data=text, headers=JSON)
        client.get("/Patient/Jane-Doe", headers=JSON)
    sent |= {"Jane Doe", "Jane-Doe", "Jane Doe was here", "Jane Doe of 5 Main Street", "47114711", "Patient/Jane/Doe"}
    kept = [{name: value for name, value in line.items() if name not in _OWN} for line in lines(written)]
    assert len(kept) > 5 * len(REQUESTS)
    said = json.dumps(kept)
    words = set(re.findall(r"[\w.]+", said))
    own = {"gluteal-hamstring-pain", "patient-view", "encounter-start"}
    assert {value for value in sent - own if (value in said if len(value) >= _TELLING else value in words)} == set()


def test_a_fault_is_written_down_with_its_place_and_not_with_what_it_says(
    client: FlaskClient, written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall_over(*_: object) -> None:
        raise RuntimeError("Jane Doe, temperature 39.4")

    monkeypatch.setattr("service.chart.case.CaseReader.read", fall_over)
    assert client.post(SERVICE, data=REQUESTS[0].read_bytes(), headers=JSON).status_code == 500
    fault, call = lines(written)
    assert fault["level"] == "error"
    assert "RuntimeError" in fault["event"]
    assert "fall_over" in fault["event"]
    assert (call["event"], call["status"], call["correlationId"]) == (
        "call",
        500,
        CALL_ID,
    )
    assert "Jane" not in written.getvalue()
    assert "39.4" not in written.getvalue()


def test_a_line_about_a_call_has_what_is_needed_to_find_out_what_happened(
    client: FlaskClient, written: io.StringIO, repository: Path
) -> None:
    body = (repository / "fixtures" / "requests" / "sudden-pop-with-bruising.json").read_bytes()
    answer = client.post(SERVICE, data=body, headers=JSON)
    [line] = lines(written)
    assert line.pop("time").endswith("+00:00")
    assert {stage: took > 0 for stage, took in line.pop("milliseconds").items()} == {
        "read": True,
        "fetch": True,
        "answer": True,
        "send": True,
    }
    assert len(line.pop("hookInstance")) == 16
    cards = json.loads(answer.data)["cards"]
    told = {used["id"] for card in cards for used in card["extension"]["org.sitbone.basis"]["recommendations"]}
    assert set(line.pop("rules")) >= told > set()
    assert line == {
        "level": "info",
        "event": "call",
        "correlationId": CALL_ID,
        "client": None,
        "service": "gluteal-hamstring-pain",
        "hook": "patient-view",
        "status": 200,
        "states": line["states"],
        "notes": line["notes"],
        "cards": len(cards),
    }
    assert line["states"]["patient"] == "supplied"


def record(hook_instance: str) -> CallRecord[Any]:
    return CallRecord("c", "s", hook_instance=hook_instance)


def hashed(written: io.StringIO, settings: Settings, *hook_instances: str) -> list[str]:
    calls = CallLog(settings, ())
    for hook_instance in hook_instances:
        calls.call(record(hook_instance))
    return [line["hookInstance"] for line in lines(written)[-len(hook_instances) :]]


def test_the_hook_instance_is_a_keyed_hash_that_is_the_same_wherever_the_key_is(written: io.StringIO) -> None:
    keyed = Settings(log_key="0123456789abcdef")
    one, other = hashed(written, keyed, "a", "b")
    assert one != other
    assert hashed(written, keyed, "a") == [one]
    assert hashed(written, Settings(log_key="fedcba9876543210"), "a") != [one]
    assert hashed(written, Settings(), "a") != hashed(written, Settings(), "a")
    assert hashed(written, keyed, "\ud800")


def test_feedback_is_written_down_without_words_of_the_user(client: FlaskClient, written: io.StringIO) -> None:
    feedback = {
        "card": "4e0a3a1e-3283-4575-ab82-028d55fe2719",
        "outcome": "overridden",
        "overrideReasons": [
            {"reason": {"code": "Jane Doe says no"}, "userComment": "Jane Doe cannot lie still"},
            {"userComment": "secret"},
        ],
        "outcomeTimestamp": "2026-11-22T10:05:31Z",
    }
    accepted = {**feedback, "card": "Jane Doe", "outcome": "accepted", "acceptedSuggestions": [{"id": "Jane Doe"}]}
    sent = json.dumps({"feedback": [feedback, {**feedback, "card": 7, "userComment": "Jane Doe"}, accepted]})
    assert client.post(f"{SERVICE}/feedback", data=sent, headers=JSON).status_code == 200
    refused, first, second = lines(written)
    assert (refused["event"], refused["elements"]) == ("feedback refused", 1)
    assert {(line["correlationId"], line["client"]) for line in (first, second)} == {(CALL_ID, None)}
    assert (first["card"], first["overrideReasons"]) == ("4e0a3a1e-3283-4575-ab82-028d55fe2719", ["other"])
    assert (second["card"], second["acceptedSuggestions"], second["outcome"]) == (None, [], "accepted")
    assert "Jane" not in written.getvalue()
    assert "secret" not in written.getvalue()


@pytest.mark.parametrize(
    ("logger", "message", "arguments", "said"),
    [
        ("gunicorn.error", "Worker (pid:%s) was sent SIGKILL!", (7,), "Worker (pid:7) was sent SIGKILL!"),
        ("gunicorn.error", "Connection in use: %s", ("('127.0.0.1', 80)",), "Connection in use: ('127.0.0.1', 80)"),
        ("gunicorn.error", "Invalid request from ip=10.0.0.1: secret", (), "Invalid request"),
        ("gunicorn.error", "Error handling request %s %s", ("GET", "/secret"), None),
        ("gunicorn.error", "Ignored premature client disconnection. %s", ("secret",), None),
        ("urllib3.connectionpool", "Connection pool is full: %s", ("secret",), None),
    ],
)
def test_of_other_packages_only_what_they_say_of_themselves_is_kept(
    logger: str, message: str, arguments: tuple[object, ...], said: str | None
) -> None:
    line = json.loads(
        JsonLines().format(logging.LogRecord(logger, logging.WARNING, "their.py", 5, message, arguments, None))
    )
    assert line.get("said") == said
    assert (line["event"], line["logger"], line["at"]) == ("library", logger, "their:5")
    assert "secret" not in json.dumps(line)
    assert "10.0.0.1" not in json.dumps(line)


def test_an_exception_in_another_package_is_kept_without_what_it_says(written: io.StringIO) -> None:
    try:
        raise ValueError("secret")  # noqa: TRY301 - it is the log of it that is looked at
    except ValueError:
        logging.getLogger("gunicorn.error").exception("Worker failed with %s", "secret")
    [line] = lines(written)
    assert line["fault"] == "ValueError"
    assert "test_log.py" in line["place"]
    assert "secret" not in written.getvalue()


@pytest.mark.parametrize("sent", ["MRN-1234567", "p1", "6b1f0a5e-9f0d-4a5c-8d39-6a2f5d1c7e90"])
def test_a_correlation_id_that_may_be_the_patients_is_written_down_as_a_hash(
    sent: str, client: FlaskClient, written: io.StringIO
) -> None:
    """Its caller gets it back. A uuid may be the id of a patient too: here it is."""
    request = json.loads(REQUESTS[0].read_bytes())
    request["context"]["patientId"] = sent
    feedback = {"feedback": [{"card": "c", "outcome": "overridden", "outcomeTimestamp": "2026-11-20T10:00:00Z"}]}
    headers = JSON | {"X-Correlation-Id": sent}
    answers = [client.post(SERVICE, json=request, headers=headers), client.post(SERVICE, data=b"{", headers=headers)]
    if "-4a5c-" not in sent:
        answers.append(client.post(f"{SERVICE}/feedback", json=feedback, headers=headers))
    assert {answer.headers["X-Correlation-Id"] for answer in answers} == {sent}
    told = [line["correlationId"] for line in lines(written) if "correlationId" in line]
    assert len(told) == len(answers)
    assert sent not in json.dumps(told[:1] if "-4a5c-" in sent else lines(written))
    assert re.fullmatch("[0-9a-f]{16}", told[0])
