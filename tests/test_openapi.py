"""openapi.yaml against the running application, in both directions."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_hooks.trust.signing import claims_for, key_set, new_key, sign
from service.app import create_app
from service.audit import open_audit
from service.service_ids import FORMER_IDS
from service.settings import Settings
from tests.recording import KEY as SECRET

DOCUMENT: dict[str, Any] = yaml.load((Path(__file__).parents[1] / "openapi.yaml").read_text("utf-8"), yaml.CSafeLoader)
SERVICE = "/cds-services/gluteal-hamstring-pain"
FEEDBACK = f"{SERVICE}/feedback"
CALL_PATH = "/cds-services/{id}"
FEEDBACK_PATH = "/cds-services/{id}/feedback"
EXPLAIN_PATH, EXPLAIN = "/explain/{id}", "/explain/gluteal-hamstring-pain"
METHODS = ("get", "post", "put", "patch", "delete", "options")
LOCAL = "https://sitbone.example.org/fhir/CodeSystem/findings"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def resolved(node: Any) -> Any:
    """A part of the document; where it refers to another part, that part."""
    if not (isinstance(node, dict) and set(node) == {"$ref"}):
        return node
    part: Any = DOCUMENT
    for step in node["$ref"].removeprefix("#/").split("/"):
        part = part[step]
    return part


def problems(value: Any, schema: dict[str, Any]) -> list[str]:
    """What in a value does not fit a schema of the document."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - almost a second, for each process that collects tests

    validator = Draft202012Validator({**schema, "components": DOCUMENT["components"]})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def example(path: str) -> dict[str, Any]:
    body: dict[str, Any] = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
    return json.loads(json.dumps(body))  # type: ignore[no-any-return]


def observation(finding: str, side: str, **members: Any) -> dict[str, Any]:
    return {
        "resource": {
            "resourceType": "Observation",
            "id": f"{finding}-{side}",
            "status": "final",
            "code": {"coding": [{"system": LOCAL, "code": finding}]},
            "bodySite": {"coding": [{"system": "http://snomed.info/sct", "code": side}]},
            "subject": {"reference": "Patient/example"},
            "effectiveDateTime": "2026-11-20",
            "valueBoolean": True,
            **members,
        }
    }


LEFT, RIGHT = "7771000", "24028007"
# Stated as provisional, and with a member that the FHIR models refuse.
DOUBTFUL = {"status": "preliminary", "note": "none"}


def call(*findings: str, sides: tuple[str, ...] = (LEFT,), of_each: Any = None, **members: Any) -> bytes:
    """The example of the document with further findings; its members changed, or left out where they are `...`."""
    body = example(CALL_PATH)
    entries = [observation(name, side, **(of_each or {})) for name in findings for side in sides]
    body["prefetch"]["observations"]["entry"] += entries
    return json.dumps({name: value for name, value in {**body, **members}.items() if value is not ...}).encode()


def call_with_a_medicine(text: str) -> bytes:
    """The example with a planned medicine that has a name and no code."""
    body = json.loads(call("pain-with-sitting", "ischial-tenderness"))
    medicine = {
        "resourceType": "MedicationRequest",
        "id": "medicine",
        "status": "active",
        "intent": "plan",
        "medicationCodeableConcept": {"text": text},
        "subject": {"reference": "Patient/example"},
    }
    body["prefetch"]["medications"] = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": medicine}]}
    return json.dumps(body).encode()


def call_with_a_form(*links: str) -> bytes:
    """The example with a form that answers these items with yes."""
    body = json.loads(call())
    form = {
        "resourceType": "QuestionnaireResponse",
        "id": "form",
        "status": "completed",
        "subject": {"reference": "Patient/example"},
        "item": [{"linkId": link, "answer": [{"valueBoolean": True}]} for link in links],
    }
    body["prefetch"]["questionnaireResponses"] = {"resourceType": "Bundle", "entry": [{"resource": form}]}
    return json.dumps(body).encode()


def call_with_a_reason(text: str) -> bytes:
    """The example at a visit whose reason is in words."""
    body = json.loads(call())
    body["context"]["encounterId"] = "visit"
    body["prefetch"]["encounter"] = {
        "resourceType": "Encounter",
        "id": "visit",
        "status": "in-progress",
        "subject": {"reference": "Patient/example"},
        "period": {"start": "2026-11-22T09:00:00Z"},
        "reasonCode": [{"text": text}],
    }
    body["prefetch"]["observations"]["entry"] = []
    return json.dumps(body).encode()


def call_with_an_order(code: str) -> bytes:
    """A call at the signing of an imaging order, with a red flag whose orders are not drafted."""
    order = {
        "resourceType": "ServiceRequest",
        "id": "order",
        "status": "draft",
        "intent": "order",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": "Patient/example"},
    }
    drafts = {"resourceType": "Bundle", "entry": [{"resource": order}]}
    context = {**example(CALL_PATH)["context"], "draftOrders": drafts}
    findings = ("pop-at-injury", "sudden-onset", "sharp-pain", "ischial-tenderness")
    return call(*findings, hook="order-sign", context=context)


class Clock:
    """Stands still, and fails where a test wants a fault of the service."""

    broken = False

    def __call__(self) -> datetime:
        if self.broken:
            raise RuntimeError
        return NOW


@dataclass(frozen=True)
class Case:
    """A request that brings about one declared status of one operation."""

    path: str
    method: str
    status: int
    url: str
    data: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    broken: bool = False
    # The client of the guarded application that calls, in one of CLIENTS or none; how many times it calls.
    client: str | None = None
    times: int = 1

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status}"


def answers(path: str, url: str, sent: bytes) -> list[Case]:
    """What the two operations that take a body have in common."""
    return [
        Case(path, "post", 200, url, sent),
        Case(path, "post", 200, url, sent, "application/fhir+json; charset=utf-8"),
        Case(path, "post", 400, url, b"{"),
        Case(path, "post", 400, url, b"{}"),
        Case(path, "post", 404, url.replace("gluteal", "no"), sent),
        Case(path, "post", 413, url, sent + b" " * 200_000),
        Case(path, "post", 415, url, sent, "text/plain"),
        Case(path, "options", 200, url, headers=(("Origin", "https://ehr.example.org"),)),
    ]


def refusals(path: str, method: str, url: str, sent: bytes = b"") -> list[Case]:
    """What the operations that need a token have in common where trust is on."""
    return [
        Case(path, method, 401, url, sent, client="nobody"),
        Case(path, method, 403, url, sent, client="of-another-tenant"),
        Case(path, method, 429, url, sent, client="hurried", times=2),
        Case(path, method, 503, url, sent, client="keyless"),
    ]


FORM_PATHS = ("/fhir", "/fhir/$next-question", "/fhir/Questionnaire/$next-question")
FORM = "http://localhost/fhir/Questionnaire/second-opinion"


def a_form(derived_from: str = FORM, *items: dict[str, Any]) -> bytes:
    """A form with these answers."""
    contained = {"resourceType": "Questionnaire", "id": "q", "status": "draft", "derivedFrom": [derived_from]}
    form = {"resourceType": "QuestionnaireResponse", "status": "in-progress", "questionnaire": "#q"}
    answers = {"item": list(items)} if items else {}
    return json.dumps({**form, "contained": [contained], **answers}).encode()


def of_a_form(path: str) -> list[Case]:
    """What the operation answers under one of its paths."""
    no_place = {"linkId": "enough", "answer": [{"valueBoolean": True}]}
    return [
        *refusals(path, "post", path, a_form()),
        Case(path, "post", 200, path, a_form()),
        Case(path, "post", 400, path, b"{"),
        Case(path, "post", 404, path, a_form("https://forms.example.org/another")),
        Case(path, "post", 409, path, a_form(f"{FORM}|0.0.1", {"linkId": "no-longer-asked"})),
        Case(path, "post", 413, path, a_form() + b" " * 200_000),
        Case(path, "post", 415, path, a_form(), content_type="text/plain"),
        Case(path, "post", 422, path, a_form(FORM, no_place)),
    ]


CASES = [
    Case("/readyz", "get", 503, "/readyz", client="unready"),
    *refusals("/cds-services", "get", "/cds-services"),
    *refusals(CALL_PATH, "post", SERVICE, call()),
    *refusals(FEEDBACK_PATH, "post", FEEDBACK, json.dumps(example(FEEDBACK_PATH)).encode()),
    Case("/", "get", 200, "/"),
    *(
        Case("/demo/files/{id}", "get", 200, f"/demo/files/{name}")
        for name in ("demo_ehr.js", "demo_ehr.css", "mark.svg")
    ),
    Case("/demo/files/{id}", "get", 404, "/demo/files/none.js"),
    Case("/docs", "get", 200, "/docs"),
    *(
        Case("/docs/files/{id}", "get", 200, f"/docs/files/{name}")
        for name in ("api_docs.js", "swagger-ui-bundle.js", "swagger-ui.css")
    ),
    Case("/docs/files/{id}", "get", 404, "/docs/files/none.js"),
    Case("/openapi.yaml", "get", 200, "/openapi.yaml"),
    Case("/demo/patients", "get", 200, "/demo/patients"),
    Case("/demo/patients/{id}", "get", 200, "/demo/patients/cauda-equina"),
    Case("/demo/patients/{id}", "get", 404, "/demo/patients/none"),
    Case("/demo/vocabulary", "get", 200, "/demo/vocabulary"),
    Case(EXPLAIN_PATH, "post", 200, EXPLAIN, call("saddle-numbness")),
    Case(EXPLAIN_PATH, "post", 400, EXPLAIN, b"{"),
    Case(EXPLAIN_PATH, "post", 404, "/explain/none", call()),
    Case(EXPLAIN_PATH, "post", 412, EXPLAIN, call(prefetch=None)),
    Case(EXPLAIN_PATH, "post", 413, EXPLAIN, call() + b" " * 200_000),
    Case("/metrics", "get", 200, "/metrics"),
    Case("/metrics", "get", 401, "/metrics", client="metrics"),
    Case("/insights", "get", 200, "/insights?from=2026-11-01&to=&client=one"),
    Case("/insights", "get", 400, "/insights?from=today"),
    Case("/insights/{id}.csv", "get", 200, "/insights/stages.csv", client="recorded"),
    Case("/insights/{id}.csv", "get", 400, "/insights/weeks.csv?to=today", client="recorded"),
    Case("/insights/{id}.csv", "get", 404, "/insights/none.csv", client="recorded"),
    Case("/knowledge", "get", 200, "/knowledge"),
    Case("/knowledge.html", "get", 200, "/knowledge.html"),
    Case("/knowledge/{id}.html", "get", 200, "/knowledge/rl07-suspected-tear.html"),
    Case("/knowledge/{id}.html", "get", 404, "/knowledge/none.html"),
    Case("/why/{id}", "get", 200, "/why/rs01-sudden-tear+rl07-suspected-tear"),
    Case("/why/{id}", "get", 400, f"/why/{'+'.join(f'x{number}' for number in range(41))}"),
    Case("/why/{id}", "get", 404, "/why/rs01-sudden-tear+none"),
    Case("/advice/{id}", "get", 200, "/advice/gh03-self-care+gh20-watch-for"),
    Case("/advice/{id}", "get", 404, "/advice/rs01-sudden-tear"),
    Case("/advice/uk/{id}", "get", 200, "/advice/uk/gh06-acetaminophen"),
    Case("/advice/uk/{id}", "get", 404, "/advice/uk/none"),
    Case("/healthz", "get", 200, "/healthz"),
    Case("/readyz", "get", 200, "/readyz"),
    Case("/cds-services", "get", 200, "/cds-services"),
    Case("/cds-services", "get", 200, "/cds-services/", headers=(("X-Request-Id", "a.b-c"),)),
    Case("/cds-services", "options", 200, "/cds-services"),
    *answers(CALL_PATH, SERVICE, call()),
    *answers(FEEDBACK_PATH, FEEDBACK, json.dumps(example(FEEDBACK_PATH)).encode()),
    Case(CALL_PATH, "post", 200, SERVICE, call("pop-at-injury", "sudden-onset", "pain-with-sitting")),
    Case(CALL_PATH, "post", 200, SERVICE, call("ischial-tenderness", "pain-with-sitting", sides=(LEFT, RIGHT))),
    Case(CALL_PATH, "post", 200, SERVICE, call("saddle-numbness", "leg-weakness", "significant-bruising")),
    Case(CALL_PATH, "post", 200, SERVICE, call("pop-at-injury", "sudden-onset", of_each=DOUBTFUL)),
    Case(CALL_PATH, "post", 200, SERVICE, call_with_a_medicine("Warfarin 3 mg tablet")),
    Case(CALL_PATH, "post", 200, SERVICE, call_with_a_reason("Left buttock pain")),
    Case(CALL_PATH, "post", 200, SERVICE, call_with_a_form("r/significant-bruising", "r/palpable-gap")),
    *(
        Case(CALL_PATH, "post", 200, "/cds-services/imaging-referral-sign", call_with_an_order(code))
        for code in ("30673-8", "30679-5")
    ),
    Case(CALL_PATH, "post", 400, SERVICE, call(hook="order-sign")),
    Case(CALL_PATH, "post", 400, SERVICE, call(hookInstance=...), headers=(("X-Correlation-Id", "a_b"),)),
    Case(CALL_PATH, "post", 400, SERVICE, call(hook="encounter-start")),
    Case(CALL_PATH, "post", 412, SERVICE, call(prefetch=None)),
    Case(CALL_PATH, "post", 500, SERVICE, call(), broken=True),
    *(case for path in FORM_PATHS for case in of_a_form(path)),
    *refusals("/features", "post", "/features", call()),
    Case("/features", "post", 200, "/features", call("sudden-onset", of_each=DOUBTFUL)),
    Case("/features", "post", 400, "/features", b"{"),
    Case("/features", "post", 412, "/features", call(prefetch=None)),
    Case("/features", "post", 413, "/features", call() + b" " * 200_000),
    Case("/features", "post", 415, "/features", call(), "text/plain"),
    Case("/fhir/metadata", "get", 200, "/fhir/metadata"),
    *refusals("/fhir/Questionnaire", "get", "/fhir/Questionnaire"),
    Case("/fhir/Questionnaire", "get", 200, "/fhir/Questionnaire"),
    Case("/fhir/Questionnaire", "get", 200, "/fhir/Questionnaire?status=retired"),
    *refusals("/fhir/Questionnaire/{id}", "get", "/fhir/Questionnaire/second-opinion"),
    Case("/fhir/Questionnaire/{id}", "get", 200, "/fhir/Questionnaire/second-opinion"),
    Case("/fhir/Questionnaire/{id}", "get", 404, "/fhir/Questionnaire/none"),
]


CLOCK = Clock()


@cache
def application() -> Flask:
    return create_app(Settings(body_limit=200_000, adaptive_form="on", features="on"), CLOCK)


CLIENTS = """
[clients.of-another-tenant]
issuers = ["of-another-tenant"]
jwks_file = "keys.json"
tenants = ["one"]
[clients.hurried]
issuers = ["hurried"]
jwks_file = "keys.json"
calls_per_minute = 1
[clients.keyless]
issuers = ["keyless"]
jku = "https://keys.invalid/jwks.json"
"""
KEY = new_key()


def guarded(folder: Path) -> Flask:
    """The application with trust on, anew: no case has spent another's calls."""
    (folder / "keys.json").write_text(json.dumps(key_set(KEY)), "utf-8")
    (folder / "clients.toml").write_text(CLIENTS, "utf-8")
    trusted = Settings(draft="show", clients=folder / "clients.toml", store=folder / "store")
    settings = replace(trusted, adaptive_form="on", features="on")
    return create_app(settings, CLOCK)


def application_of(case: Case, folder: Path) -> Flask:
    if case.client is None:
        return application()
    if case.client == "unready":
        return create_app(Settings(), CLOCK, {"something": lambda: False})
    if case.client == "metrics":
        return create_app(Settings(metrics_token=SECRET), CLOCK)
    if case.client == "recorded":
        return create_app(Settings(), CLOCK, audit=open_audit(Settings(audit=folder)))
    return guarded(folder)


def token_of(case: Case) -> dict[str, str]:
    if case.client in (None, "unready", "nobody", "metrics", "recorded"):
        return {}
    claims = claims_for(str(case.client), f"http://localhost{case.url}", NOW.timestamp())
    return {"Authorization": f"Bearer {sign(KEY, claims)}"}


@cache
def answer(case: Case) -> TestResponse:
    """What the application says in a case; asked once, and looked at by several tests."""
    content_type = {"Content-Type": case.content_type} if case.data else {}
    with TemporaryDirectory() as folder:
        client = application_of(case, Path(folder)).test_client()
        CLOCK.broken = case.broken
        try:
            for _ in range(case.times):
                headers = {**content_type, **token_of(case), **dict(case.headers)}
                response = client.open(case.url, method=case.method.upper(), data=case.data, headers=headers)
        finally:
            CLOCK.broken = False
    return response


@pytest.fixture
def client() -> FlaskClient:
    return application().test_client()


def test_the_document_is_valid_openapi() -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator  # noqa: PLC0415 - almost a second, for each process that collects tests

    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_the_document_has_the_version_of_the_product(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    assert DOCUMENT["info"]["version"] == project["version"]


# Redirects, sealed forms and FHIR of which SMART App Launch and FHIR R4 say how they are; the document says so.
DESCRIBED_ELSEWHERE = ("/app/", "/demo/ehr/")


def test_every_route_of_the_application_is_in_the_document_and_every_one_there_exists() -> None:
    assert all(f"`{path.rstrip('/')}`" in DOCUMENT["info"]["description"] for path in DESCRIBED_ELSEWHERE)
    served = {
        (re.sub(r"<[^>]+>", "{id}", rule.rule), method.lower())
        for rule in application().url_map.iter_rules()
        if not rule.rule.startswith(DESCRIBED_ELSEWHERE)
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS")
    }
    assert served == {(path, method) for path, method, _ in operations() if method != "options"}


def test_every_declared_status_is_brought_about_by_a_case() -> None:
    declared = {(path, method, int(status)) for path, method, of in operations() for status in of["responses"]}
    assert declared == {(case.path, case.method, case.status) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_case_gets_what_the_document_says(case: Case) -> None:
    response = answer(case)
    assert response.status_code == case.status
    declared = resolved(DOCUMENT["paths"][case.path][case.method]["responses"][str(case.status)])
    content = declared.get("content")
    if content is None:
        assert response.data == b""
    else:
        is_json = str(response.mimetype).endswith("json")
        value = json.loads(response.data) if is_json else response.get_data(as_text=True)
        assert problems(value, content[response.mimetype]["schema"]) == []


def test_every_declared_media_type_is_sent_in_a_case() -> None:
    declared = {
        (path, method, int(status), media_type)
        for path, method, of in operations()
        for status, response in of["responses"].items()
        for media_type in resolved(response).get("content", ())
    }
    assert declared == {
        (case.path, case.method, case.status, answer(case).mimetype) for case in CASES if answer(case).data
    }


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_response_has_the_headers_of_the_document_and_no_others(case: Case) -> None:
    response = answer(case)
    declared = resolved(DOCUMENT["paths"][case.path][case.method]["responses"][str(case.status)])["headers"]
    of_http = {"Content-Type", "Content-Length", "Allow"}
    assert set(response.headers.keys()) - of_http == set(declared)
    for name, header in declared.items():
        assert problems(response.headers[name], resolved(header)["schema"]) == []


def test_the_errors_of_the_whole_application_have_the_form_of_the_document(client: FlaskClient) -> None:
    schema = {"$ref": "#/components/schemas/OperationOutcome"}
    unknown, wrong_method = client.get("/nothing"), client.get(SERVICE)
    assert (unknown.status_code, wrong_method.status_code) == (404, 405)
    assert problems(json.loads(unknown.data), schema) == []
    assert problems(json.loads(wrong_method.data), schema) == []
    assert "POST" in wrong_method.headers["Allow"]


def test_services_and_hooks_of_the_document_are_those_of_discovery(client: FlaskClient) -> None:
    services = json.loads(client.get("/cds-services").data)["services"]
    described = DOCUMENT["components"]["schemas"]
    ids, hooks = {service["id"] for service in services}, {service["hook"] for service in services}
    assert set(described["Service"]["properties"]["id"]["enum"]) == ids
    parameter = DOCUMENT["components"]["parameters"]["id"]
    # A former id is answered, and no longer in discovery.
    assert set(parameter["schema"]["enum"]) == ids | set(FORMER_IDS.values())
    assert {(id_, hook) for id_, of in parameter["x-hooks"].items() for hook in of} == {
        (id_, service["hook"])
        for service in services
        for id_ in (service["id"], FORMER_IDS.get(service["id"], service["id"]))
    }
    assert set(described["Service"]["properties"]["hook"]["enum"]) == hooks
    assert set(described["HookRequest"]["properties"]["hook"]["enum"]) == hooks


@pytest.mark.parametrize(("path", "schema"), [(CALL_PATH, "HookRequest"), (FEEDBACK_PATH, "FeedbackRequest")])
def test_the_examples_of_the_document_fit_it(path: str, schema: str) -> None:
    assert problems(example(path), {"$ref": f"#/components/schemas/{schema}"}) == []


@pytest.mark.parametrize(
    ("path", "url", "schema", "change"),
    [
        (CALL_PATH, SERVICE, "HookRequest", lambda body: body.pop("hook")),
        (CALL_PATH, SERVICE, "HookRequest", lambda body: body.update(hook="order-sign")),
        (CALL_PATH, SERVICE, "HookRequest", lambda body: body.update(hookInstance="x" * 257)),
        (CALL_PATH, SERVICE, "HookRequest", lambda body: body["context"].pop("patientId")),
        (CALL_PATH, SERVICE, "HookRequest", lambda body: body.update(hook="encounter-start")),
        (CALL_PATH, SERVICE, "HookRequest", lambda body: body.update(prefetch=[])),
        (CALL_PATH, SERVICE, "HookRequest", lambda body: body.update(fhirServer=1)),
        (CALL_PATH, SERVICE, "HookRequest", lambda body: body.update(fhirAuthorization={})),
        (FEEDBACK_PATH, FEEDBACK, "FeedbackRequest", lambda body: body.update(feedback=[])),
        (FEEDBACK_PATH, FEEDBACK, "FeedbackRequest", lambda body: body["feedback"][0].pop("card")),
        (FEEDBACK_PATH, FEEDBACK, "FeedbackRequest", lambda body: body["feedback"][0].pop("outcomeTimestamp")),
        (FEEDBACK_PATH, FEEDBACK, "FeedbackRequest", lambda body: body["feedback"][0].update(outcome="ignored")),
        (FEEDBACK_PATH, FEEDBACK, "FeedbackRequest", lambda body: body["feedback"][0].update(outcome="accepted")),
        (FEEDBACK_PATH, FEEDBACK, "FeedbackRequest", lambda body: body["feedback"][0].update(overrideReason="no")),
    ],
)
def test_what_the_document_refuses_the_application_refuses_too(
    *, path: str, url: str, schema: str, change: Callable[[dict[str, Any]], object], client: FlaskClient
) -> None:
    body = example(path)
    change(body)
    assert problems(body, {"$ref": f"#/components/schemas/{schema}"})
    assert client.post(url, json=body).status_code == 400


@pytest.mark.parametrize(
    ("path", "url", "schema", "change"),
    [
        (CALL_PATH, SERVICE, "HookRequest", lambda body: body.update(hookInstance="no-uuid", more=[1], extension=[])),
        (
            CALL_PATH,
            SERVICE,
            "HookRequest",
            lambda body: body.update(fhirServer=None, fhirAuthorization=None, extension=None),
        ),
        (CALL_PATH, SERVICE, "HookRequest", lambda body: body["context"].update(encounterId=None, userId=None, x={})),
        (CALL_PATH, SERVICE, "HookRequest", lambda body: body.update(fhirAuthorization={"access_token": "t", "x": 1})),
        (
            CALL_PATH,
            SERVICE,
            "HookRequest",
            lambda body: body.update(hook="encounter-start", context={"patientId": "example", "encounterId": "e"}),
        ),
        (
            FEEDBACK_PATH,
            FEEDBACK,
            "FeedbackRequest",
            lambda body: body["feedback"][0].update(overrideReason=None, overrideReasons=[{"userComment": "no"}]),
        ),
        (
            FEEDBACK_PATH,
            FEEDBACK,
            "FeedbackRequest",
            lambda body: body["feedback"][0].update(
                outcome="accepted", acceptedSuggestions=[{"id": "s"}], extension={}
            ),
        ),
    ],
)
def test_what_the_document_allows_the_application_takes(
    *, path: str, url: str, schema: str, change: Callable[[dict[str, Any]], object], client: FlaskClient
) -> None:
    body = example(path)
    change(body)
    assert problems(body, {"$ref": f"#/components/schemas/{schema}"}) == []
    assert client.post(url, json=body).status_code == 200


@pytest.mark.parametrize("name", ["Card", "Suggestion"])
def test_what_the_document_says_of_our_own_is_said_of_members_that_are_checked(name: str) -> None:
    schemas = DOCUMENT["components"]["schemas"]
    own = schemas[f"Sitbone{name}"]
    narrowed = next((part for part in own.get("allOf", ()) if "properties" in part), own)
    named = {*narrowed["properties"], *narrowed.get("required", ()), *narrowed.get("propertyNames", {}).get("enum", ())}
    assert named <= set(schemas[name]["properties"])


def test_every_member_that_the_document_has_in_an_answer_is_sent_in_one() -> None:
    """Members of an assessment, a card or a basis that no case brings about are promises without proof."""
    bodies = [
        json.loads(answer(case).data) for case in CASES if (case.path, case.status) == (CALL_PATH, 200) and case.data
    ]
    assessments = [body["extension"]["org.sitbone.assessment"] for body in bodies]
    cards = [card for body in bodies for card in body["cards"]]
    bases = [card["extension"]["org.sitbone.basis"] for card in cards]
    schemas = DOCUMENT["components"]["schemas"]
    assessment, basis = schemas["Assessment"]["properties"], schemas["Basis"]["properties"]

    def sent(objects: list[dict[str, Any]], member: str) -> set[str]:
        return {name for one in objects for element in one.get(member, ()) for name in element}

    assert {name for card in cards for name in card} == set(schemas["Card"]["properties"])
    for member in ("redFlags", "causes", "imaging", "referrals", "treatment"):
        assert sent(assessments, member) == set(assessment[member]["items"]["properties"]), member
    orders = [order for one in assessments for order in one.get("orders", ())]
    described = assessment["orders"]["items"]["properties"]
    assert {name for order in orders for name in order} == set(described)
    variants = [order["variant"] for order in orders if "variant" in order]
    assert {name for variant in variants for name in variant} == set(described["variant"]["properties"])
    # What is only there where somebody has signed is sent in tests/release/test_shown.py.
    assert sent(bases, "recommendations") == set(basis["recommendations"]["items"]["properties"]) - {
        "signed",
        "reviewBy",
    }
    assert sent(bases, "findings") == set(basis["findings"]["items"]["properties"])


def test_the_fixtures_fit_the_document_and_show_every_member_about_what_is_in_hand() -> None:
    """Requests and responses of every service, as they lie in fixtures."""
    folder = Path(__file__).parents[1] / "fixtures"
    for kind, schema in (("requests", "HookRequest"), ("responses", "HookResponse"), ("dialects", "HookResponse")):
        for path in sorted((folder / kind).rglob("*.json")):
            body = json.loads(path.read_text("utf-8"))
            if body.get("resourceType") != "OperationOutcome":
                assert problems(body, {"$ref": f"#/components/schemas/{schema}"}) == [], path.name
    answers = [json.loads(path.read_text("utf-8")) for path in (folder / "responses").rglob("*.json")]
    assessments = [body["extension"]["org.sitbone.assessment"] for body in answers if "extension" in body]
    described = DOCUMENT["components"]["schemas"]["Assessment"]["properties"]
    for member in ("medications", "appointments"):
        sent = {name for one in assessments for entry in one.get(member, ()) for name in entry}
        assert sent == set(described[member]["items"]["properties"]), member
    going_home = [one["goingHome"] for one in assessments if "goingHome" in one]
    assert {entry["message"] for entry in going_home} == {True, False}
