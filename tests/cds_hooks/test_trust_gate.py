"""Who may call, seen from outside: what a caller gets for each token."""

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_hooks import CallRecord, FeedbackRecord, HookRequest, HookResponse, ServiceRegistry, create_blueprint
from cds_hooks.trust import Gate, KeySetError

NOW = 1_800_000_000.0
BASE = "https://cds.example.org"
URL = f"{BASE}/cds-services/greeter"
MakeToken = Callable[..., str]
MakeGate = Callable[..., Gate]
MakeClient = Callable[..., FlaskClient]


def bearer(token: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **more}


@pytest.fixture
def guarded(make_client: MakeClient, make_gate: MakeGate) -> FlaskClient:
    return make_client(gate=make_gate(), base_url=BASE)


@pytest.fixture
def post(guarded: FlaskClient, text: Callable[..., bytes]) -> Callable[..., TestResponse]:
    def send(token: str, path: str = "/cds-services/greeter", client: FlaskClient = guarded) -> TestResponse:
        return client.post(path, data=text(), headers=bearer(token))

    return send


Post = Callable[..., TestResponse]


def diagnostics(answer: TestResponse, status: int, code: str) -> str:
    assert answer.status_code == status
    outcome = answer.get_json()
    assert outcome["resourceType"] == "OperationOutcome"
    assert outcome["issue"][0]["code"] == code
    return str(outcome["issue"][0]["diagnostics"])


def test_a_call_with_a_good_token_is_answered(token: MakeToken, post: Post) -> None:
    answer = post(token())
    assert answer.status_code == 200
    assert answer.get_json()["cards"]


@pytest.mark.parametrize(
    ("header", "received"),
    [
        (None, "nothing"),
        ("", "nothing"),
        ("Bearer", "no token"),
        ("Bearer  ", "no token"),
        ("Basic Z3Vlc3Q6Z3Vlc3Q=", "another scheme"),
        ("DPoP abc", "another scheme"),
        ("Token abc", "another scheme"),
    ],
)
def test_a_call_without_a_bearer_token_is_401(
    header: str | None, received: str, guarded: FlaskClient, text: Callable[..., bytes]
) -> None:
    headers = {"Content-Type": "application/json"} | ({} if header is None else {"Authorization": header})
    answer = guarded.post("/cds-services/greeter", data=text(), headers=headers)
    assert f"received {received}" in diagnostics(answer, 401, "login")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_bad_token_is_401_and_says_which_check_failed(token: MakeToken, post: Post) -> None:
    answer = post(token(aud="https://other.example.org/"))
    said = diagnostics(answer, 401, "login")
    assert said.startswith(
        f"Authorization, aud of the token: expected the URL that is called, {URL}, "
        'received "https://other.example.org/".'
    )
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_scheme_is_read_in_either_case(
    scheme: str, token: MakeToken, guarded: FlaskClient, text: Callable[..., bytes]
) -> None:
    headers = {"Authorization": f"{scheme} {token()}", "Content-Type": "application/json"}
    assert guarded.post("/cds-services/greeter", data=text(), headers=headers).status_code == 200


def test_a_token_anywhere_but_in_the_header_is_not_read(
    token: MakeToken, guarded: FlaskClient, text: Callable[..., bytes]
) -> None:
    answer = guarded.post(f"/cds-services/greeter?access_token={token()}", data=text(), content_type="application/json")
    assert answer.status_code == 401


def test_two_tokens_in_one_header_are_refused(token: MakeToken, post: Post) -> None:
    assert "form" in diagnostics(post(f"{token()}, Bearer {token()}"), 401, "login")


def test_every_route_of_the_protocol_asks_for_a_token(
    registry: ServiceRegistry[HookResponse], make_gate: MakeGate, text: Callable[..., bytes]
) -> None:
    app = Flask("toy")
    app.register_blueprint(
        create_blueprint(registry, on_feedback=lambda *_: None, gate=make_gate(), base_url=BASE), url_prefix="/a"
    )
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("cds_hooks.")]
    assert len(rules) == 3
    client = app.test_client()
    for rule in rules:
        path = rule.rule.replace("<service_id>", "greeter")
        for method in (rule.methods or set()) - {"OPTIONS"}:
            answer = client.open(path, method=method, data=text(), content_type="application/json")
            assert answer.status_code == 401, (method, path)


def test_a_preflight_needs_no_token_as_browsers_send_none(guarded: FlaskClient) -> None:
    answer = guarded.options("/cds-services/greeter", headers={"Origin": "https://ehr.example.org"})
    assert answer.status_code == 200
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


def test_a_refusal_can_be_read_by_a_browser(guarded: FlaskClient) -> None:
    answer = guarded.get("/cds-services", headers={"Origin": "https://ehr.example.org"})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_discovery_is_called_by_its_own_url(token: MakeToken, guarded: FlaskClient) -> None:
    def discover(**claims: Any) -> TestResponse:
        return guarded.get("/cds-services", headers=bearer(token(**claims)))

    assert discover(aud=f"{BASE}/cds-services").status_code == 200
    assert discover(aud=f"{BASE}/cds-services/").status_code == 200
    assert "aud" in diagnostics(discover(), 401, "login")
    assert "aud" in diagnostics(discover(aud=BASE), 401, "login")


def test_feedback_is_called_by_its_own_url_or_by_that_of_its_service(token: MakeToken, guarded: FlaskClient) -> None:
    def report(**claims: Any) -> TestResponse:
        body = {"feedback": [{"card": "1", "outcome": "overridden", "outcomeTimestamp": "2026-11-22T12:00:00Z"}]}
        return guarded.post("/cds-services/greeter/feedback", json=body, headers=bearer(token(**claims)))

    assert report().status_code == 200
    assert report(aud=f"{URL}/feedback").status_code == 200
    assert "aud" in diagnostics(report(aud=f"{BASE}/cds-services/echo"), 401, "login")
    assert "aud" in diagnostics(report(aud=f"{BASE}/cds-services"), 401, "login")


def test_a_service_is_not_called_by_the_url_of_its_feedback(token: MakeToken, post: Post) -> None:
    assert "aud" in diagnostics(post(token(aud=f"{URL}/feedback")), 401, "login")


def test_a_token_for_one_service_does_not_open_another(token: MakeToken, post: Post) -> None:
    assert "aud" in diagnostics(post(token(), "/cds-services/echo"), 401, "login")


def test_whether_a_service_exists_is_not_told_without_a_token(token: MakeToken, post: Post) -> None:
    assert post("x", "/cds-services/nothing").status_code == 401
    answer = post(token(aud=f"{BASE}/cds-services/nothing"), "/cds-services/nothing")
    diagnostics(answer, 404, "not-found")


def test_the_body_of_a_refused_call_is_not_read(token: MakeToken, guarded: FlaskClient) -> None:
    answer = guarded.post("/cds-services/greeter", data=b"{", headers=bearer(token(exp=1)))
    assert answer.status_code == 401


def test_the_base_url_decides_and_not_the_host_of_the_request(
    token: MakeToken, guarded: FlaskClient, text: Callable[..., bytes]
) -> None:
    stolen = token(aud="https://evil.example.org/cds-services/greeter")
    for more in (
        {"Host": "evil.example.org"},
        {"Host": "evil.example.org", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example.org"},
        {"Forwarded": "host=evil.example.org;proto=https"},
    ):
        answer = guarded.post("/cds-services/greeter", data=text(), headers=bearer(stolen, **more))
        assert "aud" in diagnostics(answer, 401, "login")
    answer = guarded.post("/cds-services/greeter", data=text(), headers=bearer(token(), Host="inside:8080"))
    assert answer.status_code == 200


def test_without_a_base_url_the_called_url_is_that_of_the_request(
    token: MakeToken, make_client: MakeClient, make_gate: MakeGate, text: Callable[..., bytes]
) -> None:
    client = make_client(gate=make_gate(), url_prefix="/pain")

    def call(audience: str, **more: str) -> int:
        headers = bearer(token(aud=audience), Host="127.0.0.1:8080", **more)
        return client.post("/pain/cds-services/greeter", data=text(), headers=headers).status_code

    assert call("http://127.0.0.1:8080/pain/cds-services/greeter") == 200
    assert call("http://127.0.0.1:8080/cds-services/greeter") == 401
    assert call("https://127.0.0.1:8080/pain/cds-services/greeter", **{"X-Forwarded-Proto": "https"}) == 401
    assert call("http://cds.example.org/pain/cds-services/greeter", **{"X-Forwarded-Host": "cds.example.org"}) == 401


def test_a_token_is_good_for_one_call(token: MakeToken, post: Post) -> None:
    once = token()
    assert post(once).status_code == 200
    assert "used before" in diagnostics(post(once), 401, "login")
    assert post(token()).status_code == 200


def test_a_used_token_stays_used_with_another_spelling_of_its_signature_or_header(token: MakeToken, post: Post) -> None:
    first, again = token(jti="one", header={"kid": "es384"}), token(jti="one", header={"kid": "es384", "cty": "x"})
    assert first != again
    assert post(first).status_code == 200
    assert post(again).status_code == 401


def test_a_token_that_was_refused_is_not_used_up(
    token: MakeToken, make_client: MakeClient, make_gate: MakeGate, post: Post
) -> None:
    early = token(nbf=NOW + 100)
    now = [NOW]
    client = make_client(gate=make_gate(clock=lambda: now[0]), base_url=BASE)
    assert post(early, client=client).status_code == 401
    now[0] += 50
    assert post(early, client=client).status_code == 200


def test_the_same_jti_of_two_issuers_is_two_tokens(memory: Any) -> None:
    assert memory.first_use("a", "1", 1.0, 0.0)
    assert memory.first_use("b", "1", 1.0, 0.0)


def test_a_store_that_fails_lets_nobody_in(token: MakeToken, post: Post, memory: Any) -> None:
    memory.failing = True
    answer = post(token())
    diagnostics(answer, 503, "transient")
    assert answer.headers["Retry-After"] == "3"


def test_keys_that_cannot_be_had_let_nobody_in(
    token: MakeToken, post: Post, make_client: MakeClient, make_gate: MakeGate
) -> None:
    def fail() -> bytes:
        raise KeySetError("no answer")

    gate = make_gate()
    gate.directory.registrations[0].keys._load = fail
    answer = post(token(), client=make_client(gate=gate, base_url=BASE))
    diagnostics(answer, 503, "transient")
    assert answer.headers["Retry-After"] == "10"


def test_readiness_counts_the_clients_with_keys_and_loads_those_of_the_others_meanwhile(make_gate: MakeGate) -> None:
    def fail() -> bytes:
        raise KeySetError("no answer")

    gate = make_gate()
    gate.directory.registrations[0].keys._load = fail
    assert gate.keys_ready() == 0
    end = time.monotonic() + 5
    while gate.keys_ready() == 0 and time.monotonic() < end:
        time.sleep(0.005)
    assert gate.keys_ready() == 1


def test_a_client_that_may_not_use_a_service_is_403(
    token: MakeToken, post: Post, make_client: MakeClient, make_gate: MakeGate
) -> None:
    client = make_client(gate=make_gate(services=("echo",)), base_url=BASE)
    said = diagnostics(post(token(), client=client), 403, "forbidden")
    assert "a call of echo" in said
    assert "client general" in said
    assert post(token(aud=f"{BASE}/cds-services/echo"), "/cds-services/echo", client).status_code == 200


def test_403_is_for_those_who_have_shown_who_they_are(
    token: MakeToken, post: Post, make_client: MakeClient, make_gate: MakeGate
) -> None:
    client = make_client(gate=make_gate(services=("echo",)), base_url=BASE)
    head, claims, signature = token().split(".")
    assert post(f"{head}.{claims}.{'A' * len(signature)}", client=client).status_code == 401


def test_a_tenant_that_is_not_listed_is_403(
    token: MakeToken, post: Post, make_client: MakeClient, make_gate: MakeGate
) -> None:
    client = make_client(gate=make_gate(tenants=("t1",)), base_url=BASE)
    assert post(token(tenant="t1"), client=client).status_code == 200
    said = diagnostics(post(token(tenant="secret-tenant"), client=client), 403, "forbidden")
    assert "secret-tenant" not in said


def test_discovery_shows_a_client_what_it_may_call(
    token: MakeToken, make_client: MakeClient, make_gate: MakeGate
) -> None:
    client = make_client(gate=make_gate(services=("greeter",)), base_url=BASE)
    answer = client.get("/cds-services", headers=bearer(token(aud=f"{BASE}/cds-services")))
    assert {entry["id"] for entry in answer.get_json()["services"]} == {"greeter"}
    assert len(answer.get_json()["services"]) == 2


def test_over_its_rate_a_client_is_told_when_to_call_again(
    token: MakeToken, post: Post, make_client: MakeClient, make_gate: MakeGate
) -> None:
    now = [NOW + 17]
    client = make_client(gate=make_gate(calls_per_minute=2, clock=lambda: now[0]), base_url=BASE)
    assert [post(token(), client=client).status_code for _ in range(2)] == [200, 200]
    answer = post(token(), client=client)
    assert "at most 2 calls a minute" in diagnostics(answer, 429, "throttled")
    assert answer.headers["Retry-After"] == "43"
    now[0] += 43
    assert post(token(), client=client).status_code == 200


def test_a_replayed_token_does_not_count_against_the_rate(
    token: MakeToken, post: Post, make_client: MakeClient, make_gate: MakeGate, memory: Any
) -> None:
    client = make_client(gate=make_gate(calls_per_minute=2), base_url=BASE)
    once = token()
    assert [post(once, client=client).status_code for _ in range(4)] == [200, 401, 401, 401]
    assert list(memory.counts.values()) == [1]


def test_the_request_and_the_record_of_the_call_name_the_client(
    token: MakeToken, text: Callable[..., bytes], make_gate: MakeGate
) -> None:
    from cds_hooks import CdsService  # noqa: PLC0415

    seen: list[HookRequest] = []
    calls: list[CallRecord[HookResponse]] = []
    reported: list[FeedbackRecord] = []

    def look(request: HookRequest) -> HookResponse:
        seen.append(request)
        return HookResponse(())

    service = CdsService("greeter", "patient-view", "Greeter", "Greets", {}, look)
    app = Flask("toy")
    app.register_blueprint(
        create_blueprint(
            ServiceRegistry([service]),
            on_feedback=reported.append,
            on_call=calls.append,
            gate=make_gate(),
            base_url=BASE,
        )
    )
    client = app.test_client()
    client.post("/cds-services/greeter", data=text(), headers=bearer(token(header={"typ": ...})))
    client.post("/cds-services/greeter", data=b"{", headers=bearer(token()))
    feedback = {"card": "1", "outcome": "overridden", "outcomeTimestamp": "2026-11-22T12:00:00Z"}
    client.post("/cds-services/greeter/feedback", json={"feedback": [feedback]}, headers=bearer(token()))

    assert seen[0].client == "general"
    assert [record.client for record in reported] == ["general"]
    assert [(call.client, call.status) for call in calls] == [("general", 200), ("general", 400)]
    assert "the token has no typ" in calls[0].notes


def test_without_a_gate_nobody_is_asked_who_they_are(client: FlaskClient, text: Callable[..., bytes]) -> None:
    answer = client.post("/cds-services/greeter", data=text(), headers=bearer("nonsense"))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "spoil", [{}, {"aud": "x"}, {"exp": 1}, {"iss": "x"}, {"jti": 7}, {"header": {"kid": "unknown"}}]
)
def test_neither_token_nor_jti_is_in_any_answer_or_log_line(
    spoil: dict[str, Any], token: MakeToken, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        sent = token(**{"jti": "very-secret-jti", "sub": "very-secret-sub", **spoil})
        answers = [post(sent), post(sent)]
    text = caplog.text + "".join(
        json.dumps([dict(answer.headers), answer.get_data(as_text=True)]) for answer in answers
    )
    assert "very-secret" not in text
    assert not any(part in text for part in sent.split("."))


CALL, OTHER_CALL = "0f5d3c1e-0000-4000-8000-000000000001", "0f5d3c1e-0000-4000-8000-000000000002"


def test_the_log_says_for_which_check_a_call_was_refused(
    token: MakeToken, guarded: FlaskClient, text: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="cds_hooks"):
        headers = bearer(token(aud="https://x.example.org/"), **{"X-Correlation-Id": CALL})
        guarded.post("/cds-services/greeter", data=text(), headers=headers)
        guarded.get("/cds-services", headers={"X-Correlation-Id": OTHER_CALL})
    assert [record.getMessage() for record in caplog.records] == [
        f"{CALL}: refused for Authorization, aud of the token",
        f"{OTHER_CALL}: refused for Authorization",
    ]
