import dataclasses
import io
import json
import logging
import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import pytest
from fhir.resources.R4B.operationoutcome import OperationOutcome
from flask import Flask, abort
from flask.testing import FlaskClient
from werkzeug.exceptions import default_exceptions
from werkzeug.test import TestResponse

from cds_hooks import (
    CallRecord,
    CdsService,
    FeedbackRecord,
    HookRequest,
    HookResponse,
    ServiceRegistry,
    create_blueprint,
)

CALL_ID = "0f3b1ba2-7c41-4c0e-9a3e-2f6f0d3f8f11"

Body: TypeAlias = dict[str, Any]
Text = Callable[..., bytes]
Make = Callable[..., FlaskClient]
JSON = {"Content-Type": "application/json"}
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def post(client: FlaskClient, path: str, body: bytes, **headers: str) -> TestResponse:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, data=body, headers={**JSON, **names})


def assert_outcome(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """The issue of a response that must be an OperationOutcome with all that goes with it."""
    assert response.status_code == status
    assert response.content_type == "application/json"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    outcome = json.loads(response.data)
    OperationOutcome.model_validate(outcome)
    assert outcome["id"] == response.headers["X-Correlation-Id"]
    issue: dict[str, Any] = outcome["issue"][0]
    assert issue["code"] == code
    assert issue["severity"] == "error"
    assert issue["details"]["text"]
    assert issue["diagnostics"]
    return issue


@pytest.mark.parametrize("path", ["/cds-services", "/cds-services/"])
def test_discovery_lists_the_services(path: str, client: FlaskClient, registry: ServiceRegistry[HookResponse]) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert json.loads(response.data) == registry.discovery()


@pytest.mark.parametrize("path", ["/cds-services/greeter", "/cds-services/greeter/"])
def test_a_service_is_called_and_answers_with_its_cards(path: str, client: FlaskClient, text: Text) -> None:
    response = post(client, path, text())
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert json.loads(response.data)["cards"][0]["summary"] == "Hello from patient-view"


def test_one_id_answers_each_of_its_hooks(client: FlaskClient, text: Text) -> None:
    response = post(client, "/cds-services/greeter", text(hook="encounter-start"))
    assert json.loads(response.data)["cards"][0]["summary"] == "Hello from encounter-start"


def test_a_hook_that_the_service_does_not_have_is_refused_with_400(client: FlaskClient, text: Text) -> None:
    issue = assert_outcome(post(client, "/cds-services/greeter", text(hook="order-sign")), 400, "value")
    assert "patient-view and encounter-start" in issue["diagnostics"]
    assert issue["expression"] == ["hook"]


def test_a_missing_hook_instance_is_refused_with_400(client: FlaskClient, text: Text) -> None:
    issue = assert_outcome(post(client, "/cds-services/greeter", text(hookInstance=...)), 400, "required")
    assert issue["expression"] == ["hookInstance"]


@pytest.mark.parametrize("path", ["/cds-services/nobody", "/cds-services/nobody/feedback"])
def test_an_unknown_service_is_not_found_whatever_is_sent(path: str, client: FlaskClient) -> None:
    assert_outcome(client.post(path, data="no json"), 404, "not-found")


@pytest.mark.parametrize("path", ["/", "/cds-service", "/cds-services/greeter/feedback/x", "/../etc/passwd"])
def test_a_path_without_anything_is_not_found(path: str, client: FlaskClient) -> None:
    issue = assert_outcome(client.get(path), 404, "not-found")
    assert "/cds-services" in issue["diagnostics"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("post", "/cds-services", {"GET", "HEAD", "OPTIONS"}),
        ("get", "/cds-services/greeter", {"POST", "OPTIONS"}),
        ("put", "/cds-services/greeter", {"POST", "OPTIONS"}),
        ("delete", "/cds-services/greeter/feedback", {"POST", "OPTIONS"}),
    ],
)
def test_a_wrong_method_is_refused_with_those_that_are_allowed(
    method: str, path: str, allowed: set[str], client: FlaskClient
) -> None:
    response = client.open(path, method=method)
    assert_outcome(response, 405, "not-supported")
    assert set(response.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/fhir+json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ('application/fhir+json; fhirVersion=4.0; charset="utf-8"', 200),
        ("application/json; charset=latin-1", 415),
        ("text/json", 415),
        ("text/plain", 415),
        ("application/xml", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
    ],
)
def test_only_json_in_utf_8_is_taken(content_type: str, status: int, client: FlaskClient, text: Text) -> None:
    response = client.post("/cds-services/greeter", data=text(), headers={"Content-Type": content_type})
    assert response.status_code == status
    if status == 415:
        assert_outcome(response, 415, "not-supported")


def test_a_compressed_body_is_refused(client: FlaskClient, text: Text) -> None:
    response = post(client, "/cds-services/greeter", text(), Content_Encoding="gzip")
    assert_outcome(response, 415, "not-supported")


@pytest.mark.parametrize("path", ["/cds-services/greeter", "/cds-services/greeter/feedback"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xef\xbb\xbf{}", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(path: str, body: bytes, client: FlaskClient) -> None:
    assert_outcome(post(client, path, body), 400, "structure")


class Counting(io.BytesIO):
    """A body that knows how much of it was read."""

    taken: ClassVar[int] = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        Counting.taken += len(data)
        return data


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("over", "status"), [(0, 200), (1, 413), (5_000, 413)])
def test_a_body_over_the_limit_is_refused_and_not_read_past_it(
    chunked: bool, over: int, status: int, make_client: Make, text: Text
) -> None:
    body = text(extension={"padding": "x" * 10_000})
    client = make_client(body_limit=len(body) - over)
    Counting.taken = 0
    # wsgi.input_terminated is how a WSGI server says that it ends a chunked body.
    environ: dict[str, Any] = {"wsgi.input": Counting(body)}
    environ |= {"wsgi.input_terminated": True} if chunked else {"CONTENT_LENGTH": str(len(body))}
    response = client.post("/cds-services/greeter", headers=JSON, environ_overrides=environ)
    assert response.status_code == status
    if status == 413:
        assert_outcome(response, 413, "too-long")
        assert Counting.taken <= len(body) - over + 1 if chunked else Counting.taken == 0


def test_a_body_without_a_length_and_without_an_end_is_empty(client: FlaskClient, text: Text) -> None:
    response = client.post("/cds-services/greeter", headers=JSON, environ_overrides={"wsgi.input": io.BytesIO(text())})
    assert_outcome(response, 400, "structure")


def test_a_body_that_is_shorter_than_announced_is_refused(client: FlaskClient, text: Text) -> None:
    environ = {"wsgi.input": io.BytesIO(text()), "CONTENT_LENGTH": str(len(text()) + 1)}
    response = client.post("/cds-services/greeter", headers=JSON, environ_overrides=environ)
    assert_outcome(response, 400, "structure")


class ServerError(Exception):
    """WSGI servers have exceptions of their own for a chunk that is malformed."""


@pytest.mark.parametrize("kind", [OSError, ServerError])
def test_a_body_that_breaks_off_is_refused(kind: type[Exception], client: FlaskClient) -> None:
    class Torn(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise kind

    environ = {"wsgi.input": Torn(), "CONTENT_LENGTH": "9"}
    response = client.post("/cds-services/greeter", headers=JSON, environ_overrides=environ)
    assert_outcome(response, 400, "structure")


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"X-Correlation-Id": "abc.1-2"}, "abc.1-2"),
        ({"X-Request-Id": "abc"}, "abc"),
        ({"X-Correlation-Id": "first", "X-Request-Id": "second"}, "first"),
        ({"X-Correlation-Id": "not usable", "X-Request-Id": "second"}, "second"),
        ({"X-Correlation-Id": "a" * 64}, "a" * 64),
        ({"X-Correlation-Id": "a" * 65}, None),
        ({"X-Correlation-Id": "<script>"}, None),
        ({}, None),
    ],
)
def test_a_usable_correlation_id_is_kept_and_another_replaced(
    headers: dict[str, str], kept: str | None, client: FlaskClient
) -> None:
    for path in ("/cds-services", "/nothing"):
        found = client.get(path, headers=headers).headers["X-Correlation-Id"]
        assert found == kept if kept else UUID4.fullmatch(found)


def test_a_correlation_id_with_an_underscore_is_kept_although_fhir_has_none(client: FlaskClient) -> None:
    response = client.get("/nothing", headers={"X-Correlation-Id": "call_1"})
    assert response.headers["X-Correlation-Id"] == "call_1"
    assert "call_1" in json.loads(response.data)["issue"][0]["diagnostics"]


@pytest.mark.parametrize("path", ["/cds-services", "/cds-services/greeter", "/cds-services/greeter/feedback"])
def test_a_browser_may_ask_before_it_calls(path: str, client: FlaskClient) -> None:
    asked = {"Origin": "https://ehr.example.org", "Access-Control-Request-Method": "POST"}
    response = client.options(path, headers=asked)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
    assert response.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type, X-Correlation-Id"
    assert int(response.headers["Access-Control-Max-Age"]) > 0
    assert "Access-Control-Allow-Credentials" not in response.headers


def test_only_listed_origins_are_allowed_where_a_list_is_given(make_client: Make, text: Text) -> None:
    client = make_client(allowed_origins=["https://a.example.org", "https://b.example.org"])
    for path, method in (("/cds-services", "GET"), ("/nothing", "GET"), ("/cds-services/broken", "POST")):
        for origin, allowed in (
            ("https://a.example.org", "https://a.example.org"),
            ("https://b.example.org", "https://b.example.org"),
            ("https://c.example.org", None),
            ("null", None),
        ):
            response = client.open(path, method=method, headers={**JSON, "Origin": origin}, data=text())
            assert response.headers.get("Access-Control-Allow-Origin") == allowed
            assert "Origin" in response.headers["Vary"]
            assert response.headers["Access-Control-Expose-Headers"] == "X-Correlation-Id"
            assert "Access-Control-Allow-Credentials" not in response.headers
    assert "Access-Control-Allow-Origin" not in client.get("/cds-services").headers


def test_a_fault_of_the_service_is_a_500_that_tells_nothing_and_a_log_line_that_tells_where(
    client: FlaskClient, text: Text, caplog: pytest.LogCaptureFixture
) -> None:
    response = post(client, "/cds-services/broken", text(), X_Correlation_Id=CALL_ID)
    assert_outcome(response, 500, "exception")
    assert b"secret" not in response.data
    assert b"RuntimeError" not in response.data
    [record] = caplog.records
    assert (record.name, record.levelno) == ("cds_hooks", logging.ERROR)
    assert f"{CALL_ID}: RuntimeError" in record.getMessage()
    assert re.search(r"conftest\.py:\d+ fall_over < blueprint\.py:\d+ call", record.getMessage())
    assert "secret" not in caplog.text
    assert "p1" not in caplog.text


def test_a_response_that_does_not_pass_its_schema_is_not_sent(
    client: FlaskClient, text: Text, caplog: pytest.LogCaptureFixture
) -> None:
    issue = assert_outcome(post(client, "/cds-services/wrong", text()), 500, "exception")
    assert "cards is not of its form at $[0].summary" in issue["diagnostics"]
    assert "secret" not in issue["diagnostics"]
    assert "InternalError" in caplog.text


def test_a_declared_error_of_the_service_goes_out_with_its_headers(client: FlaskClient, text: Text) -> None:
    response = post(client, "/cds-services/busy", text())
    assert_outcome(response, 503, "transient")
    assert response.headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    "status", sorted(code for code in default_exceptions if code >= 400), ids=lambda code: f"status {code}"
)
def test_every_http_error_of_the_framework_leaves_as_an_outcome(
    status: int, registry: ServiceRegistry[HookResponse]
) -> None:
    app = Flask("toy")
    app.register_blueprint(create_blueprint(registry, on_feedback=lambda *_: None))

    @app.get("/fails")
    def fail() -> str:
        abort(status)

    response = app.test_client().get("/fails")
    code = json.loads(response.data)["issue"][0]["code"]
    assert_outcome(response, status, code)


def test_feedback_is_handed_to_the_sink(client: FlaskClient, reported: list[FeedbackRecord]) -> None:
    sent = {"feedback": [{"card": "c1", "outcome": "overridden", "outcomeTimestamp": "2021-12-11T10:05:31Z"}]}
    for path in ("/cds-services/greeter/feedback", "/cds-services/greeter/feedback/"):
        response = post(client, path, json.dumps(sent).encode(), X_Correlation_Id=CALL_ID)
        assert (response.status_code, response.data) == (200, b"{}")
        assert response.content_type == "application/json"
    expected = [(CALL_ID, "greeter", None, 1)] * 2
    assert [(each.correlation_id, each.service_id, each.client, len(each.feedback)) for each in reported] == expected


def test_of_a_batch_the_sound_elements_reach_the_sink_and_the_others_are_named(
    client: FlaskClient, reported: list[FeedbackRecord]
) -> None:
    good = {"card": "c1", "outcome": "overridden", "outcomeTimestamp": "2021-12-11T10:05:31Z"}
    batch = {"feedback": [good, {**good, "outcomeTimestamp": None}, {**good, "card": "c2"}, 7]}
    response = post(
        client,
        "/cds-services/greeter/feedback",
        json.dumps(batch).encode(),
        X_Correlation_Id=CALL_ID,
    )
    outcome = json.loads(response.data)
    assert (response.status_code, outcome["resourceType"], outcome["id"]) == (200, "OperationOutcome", CALL_ID)
    assert [(issue["severity"], issue["expression"]) for issue in outcome["issue"]] == [
        ("warning", ["feedback[1].outcomeTimestamp"]),
        ("warning", ["feedback[3]"]),
    ]
    [record] = reported
    assert ([one.card for one in record.feedback], record.refused) == (["c1", "c2"], 2)


def test_feedback_that_is_not_sound_does_not_reach_the_sink(
    client: FlaskClient, reported: list[FeedbackRecord]
) -> None:
    issue = assert_outcome(
        post(client, "/cds-services/greeter/feedback", b'{"feedback":[{"card":"c1","outcome":"overridden"}]}'),
        400,
        "required",
    )
    assert issue["expression"] == ["feedback[0].outcomeTimestamp"]
    assert reported == []


def test_everything_works_below_a_prefix(make_client: Make, text: Text) -> None:
    client = make_client(url_prefix="/tenant/a")
    assert client.get("/tenant/a/cds-services").status_code == 200
    assert post(client, "/tenant/a/cds-services/greeter", text()).status_code == 200
    assert_outcome(client.get("/cds-services"), 404, "not-found")


def test_a_call_is_recorded_without_anything_from_the_chart(
    client: FlaskClient, text: Text, calls: list[CallRecord[HookResponse]]
) -> None:
    prefetch = {"patient": {"resourceType": "Patient", "id": "p1"}, "Jane Doe": None}
    post(
        client,
        "/cds-services/greeter",
        text(prefetch=prefetch, fhirServer=None),
        X_Correlation_Id=CALL_ID,
    )
    [record] = calls
    assert (record.correlation_id, record.service_id, record.hook) == (
        CALL_ID,
        "greeter",
        "patient-view",
    )
    assert record.status == 200
    assert record.answered is not None
    assert len(record.answered.cards) == 1
    assert record.hook_instance == "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
    assert record.states == {"patient": "supplied", "visits": "missing"}
    assert "fhirServer is null" in record.notes
    assert list(record.seconds) == ["read", "answer", "send"]
    assert all(seconds >= 0 for seconds in record.seconds.values())
    assert "p1" not in repr(record)
    assert "Jane" not in repr(record)


@pytest.mark.parametrize(
    ("service_id", "sent", "status", "hook", "stages"),
    [
        ("greeter", b"{", 400, None, []),
        ("greeter", None, 200, "patient-view", ["read", "answer", "send"]),
        ("broken", None, 500, "patient-view", ["read"]),
        ("wrong", None, 500, "patient-view", ["read", "answer"]),
    ],
)
def test_a_refused_call_is_recorded_as_far_as_it_came(
    *,
    service_id: str,
    sent: bytes | None,
    status: int,
    hook: str | None,
    stages: list[str],
    client: FlaskClient,
    text: Text,
    calls: list[CallRecord[HookResponse]],
) -> None:
    post(client, f"/cds-services/{service_id}", text() if sent is None else sent)
    [record] = calls
    assert (record.status, record.hook, list(record.seconds)) == (status, hook, stages)


ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1.5,
    10**400,
    "",
    "text",
    "\u2028\U0001f9c0",
    [],
    [None],
    {},
    {"": {}},
    [[[]]],
)


def paths(value: Any) -> list[tuple[Any, ...]]:
    """The way to every value within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((key, *rest) for key, child in inner for rest in paths(child))]


def with_changed(value: Any, path: tuple[Any, ...], instead: Any) -> Any:
    if not path:
        return instead
    changed = list(value) if isinstance(value, list) else dict(value)
    changed[path[0]] = with_changed(value[path[0]], path[1:], instead)
    return changed


def test_no_single_change_of_a_request_gives_anything_but_an_answer_or_a_400(client: FlaskClient, body: Body) -> None:
    visits = {
        "resourceType": "Bundle",
        "link": [{"relation": "self", "url": "x"}],
        "entry": [{"resource": {"resourceType": "Encounter", "id": "e1"}, "search": {"mode": "match"}}],
    }
    request = {**body, "prefetch": {**body["prefetch"], "visits": visits}, "extension": {"org.example.x": [1, {}]}}
    for path in paths(request):
        for instead in ODD_VALUES:
            changed = json.dumps(with_changed(request, path, instead)).encode()
            response = post(client, "/cds-services/greeter", changed)
            assert response.status_code in (200, 400), (path, instead)


def test_other_requests_are_not_recorded(client: FlaskClient, calls: list[CallRecord[HookResponse]]) -> None:
    client.get("/cds-services")
    client.post("/cds-services/nobody", data=b"{}", headers=JSON)
    post(client, "/cds-services/greeter/feedback", b"{}")
    assert calls == []


def test_calls_need_not_be_recorded(registry: ServiceRegistry[HookResponse], text: Text) -> None:
    app = Flask("toy")
    app.register_blueprint(create_blueprint(registry, on_feedback=lambda *_: None))
    assert post(app.test_client(), "/cds-services/greeter", text()).status_code == 200


@dataclasses.dataclass(frozen=True)
class Reasoned:
    """What a service returns that hands on more than its response."""

    response: HookResponse
    reasons: tuple[str, ...]


def test_whatever_a_service_returns_beside_its_response_is_recorded_and_not_sent(
    text: Text, registry: ServiceRegistry[HookResponse]
) -> None:
    greeter: CdsService[Any] = registry.find("greeter", "patient-view")
    service: CdsService[Reasoned] = dataclasses.replace(
        greeter, id="reasoned", answer=lambda _: Reasoned(HookResponse(()), ("polite",))
    )
    revised: list[CallRecord[Reasoned]] = []

    def revise(_request: HookRequest, answered: Reasoned) -> Reasoned:
        return dataclasses.replace(answered, reasons=(*answered.reasons, "revised"))

    app = Flask("toy")
    app.register_blueprint(
        create_blueprint(ServiceRegistry([service]), on_feedback=lambda *_: None, on_call=revised.append, revise=revise)
    )
    response = post(app.test_client(), "/cds-services/reasoned", text())
    assert json.loads(response.data) == {"cards": []}
    [record] = revised
    assert record.answered is not None
    assert record.answered.reasons == ("polite", "revised")


def test_to_be_busy_is_a_warning_in_the_log_and_no_error(
    client: FlaskClient, text: Text, caplog: pytest.LogCaptureFixture
) -> None:
    post(client, "/cds-services/busy", text())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
