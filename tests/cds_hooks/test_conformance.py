"""Each check of the conformance table, with a service that passes it and one that does not."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from cds_hooks.conformance import (
    CHECKS,
    Answer,
    NoneSent,
    Result,
    Status,
    Unreachable,
    as_json,
    as_junit,
    as_text,
    is_conformant,
    judge,
    observe,
)
from cds_hooks.conformance.observing import Hung, NoAnswer, Send, example_request, over_http
from cds_hooks.hooks import HOOKS, read_context
from cds_hooks.json_text import read_members

MEMBERS = (
    *("id", "hook", "title", "prefetch", "version", "extension", "uuid", "summary", "detail", "indicator", "source"),
    *("label", "topic", "code", "system", "suggestions", "selectionBehavior", "actions", "type", "resource"),
    *("resourceType", "resourceId", "links", "url", "overrideReasons", "display", "isRecommended", "description"),
)
Spoil: TypeAlias = Callable[[Response], None]
URL = "https://cds.example.org"
ENTRY = {
    "id": "greeter",
    "hook": "patient-view",
    "title": "Greeter",
    "description": "Greets",
    "version": "3.0.0",
    "prefetch": {"patient": "Patient/{{context.patientId}}", "visits": "Encounter?patient={{context.patientId}}"},
}
ORDER = {
    "resourceType": "ServiceRequest",
    "id": "1",
    "status": "draft",
    "intent": "proposal",
    "subject": {"reference": "Patient/1"},
}
SUGGESTION = {
    "label": "Order",
    "uuid": "e56e1945-20b3-4393-8503-a1a20fd73152",
    "isRecommended": True,
    "actions": [
        {"type": "create", "description": "Order", "resource": ORDER},
        {"type": "delete", "description": "Remove", "resourceId": "ServiceRequest/1"},
    ],
}
CARD = {
    "uuid": "4ff60a8a-9a2c-4d28-8f0b-58a4a0ec6e05",
    "summary": "Hello",
    "indicator": "info",
    "source": {
        "label": "Greetings",
        "url": "https://cds.example.org/",
        "topic": {"code": "greeting", "system": "urn:x"},
    },
    "suggestions": [SUGGESTION],
    "selectionBehavior": "any",
    "links": [{"label": "App", "url": "https://app.example.org/", "type": "smart", "appContext": "x"}],
    "overrideReasons": [{"code": "no", "system": "urn:x", "display": "No"}],
    "extension": {"org.example.more": {"free": False}},
}
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
}


def refusal(status: int) -> Response:
    issue = {"severity": "error", "code": "invalid"}
    return Response(
        json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}), status, content_type="application/json"
    )


def is_sound(body: Any) -> bool:
    return (
        isinstance(body, dict)
        and body.get("hook") == "patient-view"
        and "hookInstance" in body
        and "patientId" in body.get("context", {})
    )


def server(spoil: Spoil = lambda _answer: None) -> Send:
    """A service that is as it has to be, but for what `spoil` does to each of its answers."""
    app = Flask("toy")

    @app.get("/cds-services")
    def discovery() -> dict[str, Any]:
        return {"services": [ENTRY]}

    @app.post("/cds-services/<id_>")
    def call(id_: str) -> Response | dict[str, Any]:
        if id_ != "greeter":
            return refusal(404)
        if request.mimetype != "application/json":
            return refusal(415)
        return {"cards": [CARD]} if is_sound(request.get_json(silent=True)) else refusal(400)

    @app.post("/cds-services/<_id>/feedback")
    def feedback(_id: str) -> Response | dict[str, Any]:
        return {} if "feedback" in request.get_json() else refusal(400)

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["Access-Control-Allow-Origin"] = "*"
        if request.method == "OPTIONS":
            response.headers.update(PREFLIGHT)
        spoil(response)
        return response

    client = app.test_client()

    def send(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        answer = client.open(urlsplit(url).path, method=method, headers=dict(headers), data=body)
        named = {name.lower(): value for name, value in answer.headers.items()}
        if "x-lost" in named:
            raise NoAnswer("the connection broke off")
        return Answer(answer.status_code, named, answer.get_data(), float(named.get("x-seconds", 0)))

    return send


def results(spoil: Spoil = lambda _answer: None, url: str = URL, **options: Any) -> dict[str, Result]:
    return {result.check.name: result for result in judge(observe(url, server(spoil), **options))}


def is_call(path: str = "/cds-services/greeter") -> bool:
    return request.method == "POST" and request.path == path


def entry(**changes: Any) -> Spoil:
    return entries([{name: value for name, value in {**ENTRY, **changes}.items() if value is not ...}])


def entries(services: Any) -> Spoil:
    def spoil(answer: Response) -> None:
        if request.path == "/cds-services" and request.method == "GET":
            answer.set_data(json.dumps({"services": services}))

    return spoil


def body(**members: Any) -> Spoil:
    """The response of the service with these members, for whatever it answers with 200."""

    def spoil(answer: Response) -> None:
        if is_call() and answer.status_code == 200:
            answer.set_data(json.dumps({"cards": [CARD], **members}))

    return spoil


def card(**changes: Any) -> Spoil:
    return body(cards=[{name: value for name, value in {**CARD, **changes}.items() if value is not ...}])


def suggestion(**changes: Any) -> Spoil:
    return card(suggestions=[{name: value for name, value in {**SUGGESTION, **changes}.items() if value is not ...}])


def action(**members: Any) -> Spoil:
    return suggestion(actions=[members])


def link(**changes: Any) -> Spoil:
    return card(links=[{"label": "App", "url": "https://app.example.org/", "type": "absolute", **changes}])


def status(number: int, *, where: Callable[[Response], bool]) -> Spoil:
    def spoil(answer: Response) -> None:
        if where(answer):
            answer.status_code = number

    return spoil


def refusing(number: int, *, where: Callable[[Response], bool]) -> Spoil:
    def spoil(answer: Response) -> None:
        if where(answer):
            answer.status_code = number
            answer.set_data(refusal(number).get_data())

    return spoil


def header(name: str, value: str | None, *, where: Callable[[Response], bool] = lambda _answer: True) -> Spoil:
    def spoil(answer: Response) -> None:
        if where(answer):
            answer.headers.pop(name, None)
            if value is not None:
                answer.headers[name] = value

    return spoil


def text(data: str, content_type: str = "application/json", *, where: Callable[[Response], bool]) -> Spoil:
    def spoil(answer: Response) -> None:
        if where(answer):
            answer.set_data(data)
            answer.content_type = content_type

    return spoil


def members() -> Any:
    return request.get_json(silent=True)


def discovery(_answer: Response) -> bool:
    return request.path == "/cds-services" and request.method == "GET"


def sound(answer: Response) -> bool:
    return is_call() and answer.status_code == 200


def refused(answer: Response) -> bool:
    return is_call() and answer.status_code == 400


def feedback(answer: Response) -> bool:
    return is_call("/cds-services/greeter/feedback") and answer.status_code == 200


def preflight(_answer: Response) -> bool:
    return request.method == "OPTIONS"


OF_STU3 = {
    "resourceType": "ProcedureRequest",
    "status": "draft",
    "intent": "proposal",
    "code": {"text": "MRI"},
    "subject": {"reference": "Patient/1"},
}
TWO_RECOMMENDED = [SUGGESTION, {**SUGGESTION, "uuid": "e56e1945-20b3-4393-8503-a1a20fd73153"}]
# check -> the services that it finds something in.
BROKEN: Mapping[str, tuple[Spoil, ...]] = {
    "answers": (header("X-Lost", "1", where=sound),),
    "response-time": (header("X-Seconds", "0.9", where=sound),),
    "discovery-status": (status(500, where=discovery), status(401, where=discovery)),
    "discovery-shape": (
        text("[]", where=discovery),
        text("<html>", "text/html", where=discovery),
        entries({}),
        entries(["greeter"]),
        header("Content-Type", "text/plain", where=discovery),
    ),
    "discovery-members": (
        entry(description=...),
        entry(id=""),
        entry(hook=7),
        entry(title=7),
        entry(hookVersion=1),
    ),
    "discovery-null": (entry(usageRequirements=None), entry(prefetch={}), entry(extension={"org.example.a": [[]]})),
    "discovery-extension": (entry(extension=["x"]),),
    "discovery-one-id": (entries([ENTRY, {**ENTRY, "hook": "encounter-start"}]),),
    "discovery-recommended": (entry(title=...), entry(version="2.0"), entry(version="STU4"), entry(version=...)),
    "discovery-id": (entry(id="a/b"),),
    "discovery-unique": (entries([ENTRY, ENTRY]),),
    "discovery-hook": (entry(hook="patientview"),),
    "prefetch-shape": (entry(prefetch=[]), entry(prefetch={"patient": None})),
    "prefetch-tokens": (entry(prefetch={"orders": "Bundle/{{context.draftOrders}}"}),),
    "prefetch-restrictions": (
        entry(prefetch={"patient": "Patient/{{Patient.id}}"}),
        entry(prefetch={"all": "Patient/{{context.patientId}}/$everything"}),
    ),
    "call-status": (status(500, where=sound), status(400, where=sound)),
    "call-extensions": (status(400, where=lambda answer: sound(answer) and "extension" in members()),),
    "call-without-prefetch": (status(500, where=lambda answer: sound(answer) and "prefetch" not in members()),),
    "bad-no-fault": (status(500, where=refused),),
    "bad-refused": (status(200, where=refused),),
    "content-type-refused": (status(200, where=lambda answer: answer.status_code == 415),),
    "unknown-service": (status(200, where=lambda answer: answer.status_code == 404),),
    "error-no-html": (text("<!doctype html>", "text/html", where=refused), text("<html>", where=refused)),
    "error-outcome": (
        text('{"error": "x"}', where=refused),
        text('{"resourceType": "OperationOutcome"}', where=refused),
        text('{"resourceType": "OperationOutcome", "issue": []}', where=refused),
        text('{"resourceType": "OperationOutcome", "issue": [{"severity": "bad", "code": "x"}]}', where=refused),
    ),
    "response-shape": (
        text("[]", where=sound),
        text("{}", where=sound),
        header("Content-Type", "text/plain", where=sound),
        text('{"cards": [], "extension": {"org.example.a": NaN}}', where=sound),
        body(cards=["Hello"]),
        body(systemActions={}),
    ),
    "response-null": (
        card(detail=None),
        card(detail=""),
        card(links=[]),
        body(systemActions=[]),
        card(source={}),
        card(extension={"org.example.a": {"found": []}}),
        body(extension={"org.example.a": {"why": None}}),
        body(extension={}),
        action(type="create", description="x", resource={**ORDER, "note": []}),
        action(type="create", description="x", resource={**ORDER, "code": {"text": ""}}),
    ),
    "response-extension": (
        card(extension="x"),
        body(extension=["x"]),
        link(extension="x"),
        suggestion(extension="x"),
        card(source={"label": "A", "extension": "x"}),
        action(type="delete", description="x", resourceId="A/1", extension="x"),
    ),
    "response-members": (
        card(color="red"),
        card(source={"label": "A", "name": "B"}),
        body(card=[]),
        link(href="x"),
        suggestion(text="x"),
        action(type="delete", description="x", resourceId="A/1", ressource="x"),
    ),
    "card-summary": (card(summary="x" * 140), card(summary=" "), card(summary=...)),
    "card-indicator": (card(indicator="hard-stop"), card(indicator=...)),
    "card-detail": (card(detail={}), card(detail=""), card(detail=" ")),
    "detail-html": (
        card(detail="Take <b>care</b>"),
        card(detail="One<br/>two"),
        card(detail="<!-- hidden -->x"),
        card(detail="`a` <script>x</script> `b`"),
        card(detail="[more](javascript:alert)"),
        card(detail="![more]( data:text/html,x)"),
    ),
    "plain-text": (
        card(summary="Take <b>care</b>"),
        card(summary="Take **care**"),
        card(summary="One\ntwo"),
        card(source={"label": "[A](https://a.example.org/)"}),
        suggestion(label="<i>Order</i>"),
        link(label="# App"),
        card(overrideReasons=[{"code": "no", "system": "urn:x", "display": "No<br>"}]),
        action(type="delete", description="**x**", resourceId="A/1"),
    ),
    "card-source": (
        card(source=...),
        card(source={}),
        card(source={"label": "A", "url": "/about"}),
        card(source={"label": "A", "icon": 7}),
        card(source={"label": "A", "topic": {"system": "x"}}),
        card(source={"label": "A", "topic": {"code": "x", "system": 7}}),
    ),
    "coding-system": (
        card(source={"label": "A", "topic": {"code": "x"}}),
        card(overrideReasons=[{"code": "no", "display": "No"}]),
    ),
    "card-uuid": (card(uuid=7), body(cards=[CARD, CARD]), card(suggestions=[SUGGESTION, SUGGESTION])),
    "card-uuid-form": (card(uuid="card-1"), card(uuid=...), suggestion(uuid=...)),
    "card-arrays": (card(links={}), card(suggestions=["Order"])),
    "suggestion-members": (
        suggestion(label=...),
        suggestion(isRecommended="yes"),
        suggestion(actionSelectionBehavior="one"),
    ),
    "selection-behavior": (card(selectionBehavior=...), card(selectionBehavior="all")),
    "one-recommended": (card(selectionBehavior="at-most-one", suggestions=TWO_RECOMMENDED),),
    "action-members": (
        action(type="CREATE", description="x", resource=ORDER),
        action(type="create", resource=ORDER),
        action(type="create", description="x", resource=json.dumps(ORDER)),
        action(type="update", description="x", resource={"id": "1"}),
        action(type="delete", description="x", resourceId=7),
        body(systemActions=[{"type": "update"}]),
    ),
    "action-resource": (
        action(type="create", description="x", resource={"resourceType": "ServiceRequest", "status": "draft"}),
        action(type="create", description="x", resource={**ORDER, "bodyPart": "hip"}),
        action(type="create", description="x", resource={**ORDER, "intent": "a wish "}),
        action(type="create", description="x", resource={"resourceType": "Order", "id": "1"}),
        body(systemActions=[{"type": "update", "resource": {**ORDER, "subject": "Patient/1"}}]),
    ),
    "action-resource-r4": (action(type="create", description="x", resource=OF_STU3),),
    "action-update": (action(type="update", description="x", resource={**ORDER, "id": 7}),),
    "action-delete": (
        action(type="delete", description="x", resource="A/1"),
        action(type="delete", description="x", resourceId="1"),
        action(type="delete", description="x", resourceId="ServiceRequest/1", resource=ORDER),
    ),
    "action-selection": (suggestion(actionSelectionBehavior="any"),),
    "link-members": (
        link(label=""),
        link(url="/app"),
        link(type="relative"),
        link(appContext="x"),
        link(autolaunchable="yes"),
    ),
    "override-reasons": (
        card(overrideReasons=[{"code": "no"}]),
        card(overrideReasons=[{"code": "no", "display": "No", "system": 7}]),
    ),
    "feedback-status": (status(202, where=feedback), status(500, where=feedback)),
    "feedback-body": (text("thanks", "text/plain", where=feedback),),
    "feedback-refused": (
        status(200, where=lambda answer: request.path.endswith("/feedback") and answer.status_code == 400),
    ),
    "cors-preflight": (
        status(404, where=preflight),
        header("Access-Control-Allow-Origin", "https://other.example.org", where=preflight),
        header("Access-Control-Allow-Methods", "GET", where=preflight),
        header("Access-Control-Allow-Headers", "*", where=preflight),
    ),
    "cors-answers": (header("Access-Control-Allow-Origin", None, where=refused),),
    "cors-credentials": (header("Access-Control-Allow-Credentials", "true"),),
}


def test_a_service_that_is_as_it_has_to_be_passes_every_check() -> None:
    judged = results(token=lambda url: f"token for {url}")
    # The toy has no clients: it answers without a token. No request is given.
    unusual = {name for name, each in judged.items() if each.status is not Status.PASSED}
    assert unusual == {"token-required", "given-requests"}


def test_our_own_toy_service_is_conformant(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client()

    def send(method: str, url: str, headers: Mapping[str, str], sent: bytes | None) -> Answer:
        answer = client.open(urlsplit(url).path, method=method, headers=dict(headers), data=sent)
        return Answer(answer.status_code, {n.lower(): v for n, v in answer.headers.items()}, answer.get_data())

    judged = judge(observe(URL, send))
    # Three of its services are made to fail.
    wrong = {line for each in judged if each.status is Status.FAILED for line in each.problems}
    assert {line.split()[0].rstrip(",:") for line in wrong} == {"broken", "busy", "wrong"}


MINIMAL = {"summary": "Hello", "indicator": "info", "source": {"label": "A"}, "uuid": CARD["uuid"]}
# Services that are as they may be.
SOUND: Mapping[str, Spoil] = {
    "a version of an older release": entry(version="STU2"),
    "a version before its release": entry(version="3.0.0-ballot+1"),
    "the version of a hook": entry(hookVersion="1.0"),
    "no prefetch": entry(prefetch=...),
    "an extension in discovery": entry(extension={"org.example.a": [{"b": 0}]}),
    "no services": entries([]),
    "no card": body(cards=[]),
    "a card with what is required": body(cards=[MINIMAL]),
    "a summary of 139 characters": card(summary="ä" * 139),
    "signs that are no markup": card(summary="If x < 5 and y > 3: [1], 2*3*4, snake_case, a__b__c, C# & 5 'mm'"),
    "Markdown": card(
        detail="# A\n\n**b** [c](https://c.example.org/)\n\n- <https://d.example.org/> <e@f.org>\n- a < b"
    ),
    "HTML in code": card(detail="`<b>` and ``a ` <i>``\n\n```html\n<p>\n```\n\n\\<b> &lt;b>"),
    "a system action": body(systemActions=[{"type": "update", "resource": ORDER}]),
    "only a system action": body(cards=[], systemActions=[{"type": "delete", "resourceId": "ServiceRequest/1"}]),
    "a suggestion that changes nothing": suggestion(actions=...),
    "the usual selection of actions": suggestion(actionSelectionBehavior="all"),
    "two recommended where any may be taken": card(suggestions=TWO_RECOMMENDED),
    "null beside an extension of FHIR": action(
        type="create",
        description="x",
        resource={
            "resourceType": "Patient",
            "name": [{"given": ["A", None], "_given": [None, {"extension": [{"url": "urn:x", "valueCode": "y"}]}]}],
        },
    ),
    "extensions everywhere": body(
        cards=[
            {
                **CARD,
                "source": {"label": "A", "extension": {"a": 1}},
                "links": [{"label": "A", "url": "https://a.example.org", "type": "absolute", "extension": {"a": [0]}}],
                "extension": {"org.example.a": {"b": [False, 0, {"c": "d"}]}},
            }
        ],
        extension={"org.example.a": "b"},
    ),
    "data missing": refusing(412, where=sound),
    "no feedback": refusing(501, where=lambda _answer: request.path.endswith("/feedback")),
}


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_in_a_service_that_is_as_it_may_be(name: str) -> None:
    judged = judge(observe(URL, server(SOUND[name])))
    assert {each.check.name: each.problems for each in judged if each.status in (Status.FAILED, Status.WARNED)} == {}


_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("a<*`", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4),
    max_leaves=12,
)


@given(_JSON_VALUES, st.booleans())
def test_any_answer_is_judged(answer: Any, in_discovery: bool) -> None:
    spoil = entries([answer]) if in_discovery else body(cards=[answer], systemActions=[answer])
    assert len(judge(observe(URL, server(spoil)))) == len(CHECKS)


def test_where_the_models_of_fhir_are_not_installed_no_resource_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    broken = action(type="create", description="x", resource={"resourceType": "ServiceRequest"})
    judged = results(broken)
    assert judged["action-resource"].status is judged["action-resource-r4"].status is Status.SKIPPED
    assert "fhir.resources" in judged["action-resource"].problems[0]
    assert judged["action-members"].status is Status.PASSED


def _examples() -> Iterator[Any]:
    for name, spoils in BROKEN.items():
        yield from (pytest.param(name, spoil, id=f"{name}-{number}") for number, spoil in enumerate(spoils))


@pytest.mark.parametrize(("name", "spoil"), list(_examples()))
def test_what_is_wrong_is_found_by_its_check(name: str, spoil: Spoil) -> None:
    result = results(spoil)[name]
    required = next(check for check in CHECKS if check.name == name).level == "required"
    assert result.status is (Status.FAILED if required else Status.WARNED)
    assert result.problems


def test_every_check_has_an_example_that_fails() -> None:
    # Of a request that could not be sent it is only said, below, that it was not.
    elsewhere = {"https", "token-required", "given-requests"}
    assert {check.name for check in CHECKS} == BROKEN.keys() | elsewhere


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://cds.example.org/", Status.PASSED),
        ("http://cds.example.org/cds-services", Status.FAILED),
        ("http://127.0.0.1:8080", Status.SKIPPED),
    ],
)
def test_plain_http_is_let_pass_on_loopback_only(url: str, expected: Status) -> None:
    assert results(url=url)["https"].status is expected


def test_a_service_that_is_called_with_a_token_has_to_refuse_the_call_without() -> None:
    def closed(answer: Response) -> None:
        if "Authorization" not in request.headers and request.method != "OPTIONS":
            answer.status_code = 401

    assert results(closed, token=lambda _url: "secret")["token-required"].status is Status.PASSED
    assert results()["token-required"].status is Status.SKIPPED


def test_each_call_has_a_token_for_its_own_url() -> None:
    asked: list[str] = []
    observe(URL, server(), token=lambda url: asked.append(url) or "secret")  # type: ignore[func-returns-value]
    assert f"{URL}/cds-services" in asked
    assert f"{URL}/cds-services/greeter" in asked
    assert f"{URL}/cds-services/greeter/feedback" in asked


def test_a_service_without_feedback_is_conformant() -> None:
    judged = results(status(404, where=lambda _answer: request.path.endswith("/feedback")))
    assert judged["feedback-status"].status is Status.SKIPPED
    assert is_conformant(list(judged.values()))


def test_no_feedback_is_sent_where_none_is_wanted() -> None:
    paths: list[str] = []
    judged = results(lambda _answer: paths.append(request.path), feedback=False)
    assert not any(path.endswith("/feedback") for path in paths)
    assert judged["feedback-status"].status is Status.SKIPPED


def test_where_no_card_comes_the_checks_of_cards_are_skipped() -> None:
    judged = results(body(cards=[]))
    assert judged["response-shape"].status is Status.PASSED
    assert judged["card-summary"].status is Status.SKIPPED


def test_requests_that_are_given_are_sent_to_the_services_of_their_hook() -> None:
    sent: list[str] = []

    def note(_answer: Response) -> None:
        if is_call() and isinstance(members(), dict):
            sent.append(members().get("hookInstance", ""))

    given = {**example_request(ENTRY), "hookInstance": "mine"}
    other = {**given, "hook": "order-sign", "hookInstance": "other"}
    results(note, given=[("one", given), ("two", other)])
    assert "mine" in sent
    assert "other" not in sent


OTHER = {**example_request(ENTRY), "hook": "order-sign"}


def test_a_table_names_each_request_that_was_not_sent() -> None:
    given = [("one", example_request(ENTRY)), ("two", OTHER), ("three", {**OTHER, "hook": ["\x1b"]})]
    judged = results(given=given)
    assert judged["given-requests"].status is Status.SKIPPED
    assert judged["given-requests"].problems == (
        "2 of 3 not sent, as no service has their hook:",
        "two: it is for order-sign",
        "three: it is for ['\\x1b']",
    )
    assert is_conformant(list(judged.values()))
    assert "two: it is for order-sign" in as_text(list(judged.values()))
    assert results(given=given[:1])["given-requests"].status is Status.PASSED
    assert results()["given-requests"].status is Status.SKIPPED


def test_where_no_request_that_is_given_can_be_sent_nothing_is_judged() -> None:
    paths: list[str] = []
    said = "none of its 2 requests can be sent: they are for order-sign, the service is for patient-view"
    with pytest.raises(NoneSent, match=said):
        results(lambda _answer: paths.append(request.path), given=[("one", OTHER), ("two", OTHER)])
    assert paths == ["/cds-services"]
    with pytest.raises(NoneSent, match=r"the service is for none\."):
        results(entries([]), given=[("one", OTHER)])
    with pytest.raises(NoneSent) as printable:
        results(entry(hook="a\x1bb"), given=[("one", OTHER)])
    assert "the service is for ab." in str(printable.value)


@pytest.mark.parametrize("wrong", [status(401, where=discovery), text("[]", where=discovery), entry(id=...)])
def test_where_discovery_is_wrong_that_is_said_and_no_request_is_sent(wrong: Spoil) -> None:
    judged = results(wrong, given=[("one", OTHER)])
    assert not is_conformant(list(judged.values()))
    assert judged["given-requests"].status is Status.SKIPPED


@pytest.mark.parametrize("problem", [ConnectionError(), NoAnswer("no answer came"), Hung("no answer came")])
def test_nothing_that_answers_is_no_service(problem: OSError) -> None:
    def send(*_arguments: Any) -> Answer:
        raise problem

    with pytest.raises(Unreachable, match=f"^Nothing answers at {URL}/cds-services: no answer came.$"):
        observe(URL, send)


@pytest.mark.parametrize(
    ("given", "tried"),
    [
        ("localhost:8080", ["http://localhost:8080/cds-services"]),
        ("127.0.0.1:8080/", ["http://127.0.0.1:8080/cds-services"]),
        ("[::1]:8080", ["http://[::1]:8080/cds-services"]),
        ("cds.example.org", ["https://cds.example.org/cds-services", "http://cds.example.org/cds-services"]),
        ("sitbone:8080/cds-services", ["https://sitbone:8080/cds-services", "http://sitbone:8080/cds-services"]),
        ("HTTP://cds.example.org", ["HTTP://cds.example.org/cds-services"]),
    ],
)
def test_an_address_without_a_scheme_is_tried_with_those_that_fit(given: str, tried: list[str]) -> None:
    urls: list[str] = []

    def send(_method: str, url: str, *_more: Any) -> Answer:
        urls.append(url)
        raise NoAnswer("no answer came")

    with pytest.raises(Unreachable):
        observe(given, send)
    assert urls == tried


@pytest.mark.parametrize("given", ["", "ftp://cds.example.org", "http://", "://x", "http://[", "/cds-services"])
def test_what_is_no_address_of_a_web_server_is_said_to_be_none(given: str) -> None:
    with pytest.raises(Unreachable, match=r"not the address of a web server"):
        observe(given, server())


def test_the_scheme_that_answers_is_the_one_that_is_checked() -> None:
    service = server()

    def send(method: str, url: str, headers: Mapping[str, str], sent: bytes | None) -> Answer:
        if url.startswith("https:"):
            raise NoAnswer("no secure connection")
        return service(method, url, headers, sent)

    seen = observe("cds.example.org:8080", send)
    assert seen.url == "http://cds.example.org:8080"
    assert all(each.call.url.startswith("http://cds.example.org:8080/") for each in seen.of())


def test_each_call_is_marked_as_one_of_a_check() -> None:
    agents: set[str] = set()
    marked: dict[str, bool] = {}

    def note(_answer: Response) -> None:
        agents.add(request.headers["User-Agent"])
        if isinstance(members(), dict) and members():
            marked[members().get("hookInstance", request.path)] = "org.sitbone.check" in members().get("extension", {})

    given = {**example_request(ENTRY), "hookInstance": "mine", "extension": {"org.example.a": 1}}
    results(note, given=[("one", given)], agent="sitbone-check/1.2.3")
    assert agents == {"sitbone-check/1.2.3"}
    assert marked["mine"]
    assert marked["/cds-services/greeter/feedback"]


# ---------------------------------------------------------------------------------------------------------------------
# Services that hang, over a real connection


class Silent:
    """A server that answers discovery, and of a call what `says` has, if anything, letter by letter without an end."""

    def __init__(self, says: bytes) -> None:
        self.says, self.calls, self.stop = says, 0, threading.Event()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while not self.stop.is_set():
            try:
                connection, _address = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if connection.recv(65_536).startswith(b"GET /cds-services "):
                text = json.dumps({"services": [ENTRY, {**ENTRY, "id": "other"}, {**ENTRY, "id": "third"}]}).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
                connection.sendall(head.encode() + b"Connection: close\r\n\r\n" + text)
                return
            self.calls += 1
            connection.sendall(self.says)
            while not self.stop.wait(0.05):
                if self.says:
                    connection.sendall(b"x")

    def close(self) -> None:
        self.stop.set()
        self.server.close()


@pytest.fixture(params=[b"", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["mute", "header", "body"])
def silent(request: pytest.FixtureRequest) -> Iterator[Silent]:
    server_ = Silent(request.param)
    yield server_
    server_.close()


def test_of_a_service_that_hangs_two_calls_a_url_are_sent_and_it_is_said_what_hung(silent: Silent) -> None:
    seen = observe(silent.url, over_http(0.3))
    answers = next(each for each in judge(seen) if each.check.name == "answers")
    assert answers.status is Status.FAILED
    assert "greeter on patient-view: no answer within 0.3 s" in answers.problems
    assert any(line.endswith("not sent: the 2 calls of that URL before it hung") for line in answers.problems)
    sent = Counter(each.call.url for each in seen.of() if each.sent and each.answer is None)
    assert max(sent.values()) == 2
    assert silent.calls == sent.total()


def test_slow_answers_are_waited_for_so_long_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_hooks.conformance.observing._SLOW", 0.0)
    seen = observe(URL, server(), patience=1e-9)
    assert [each.call.kind for each in seen.of() if each.sent] == ["discovery"]
    [line] = next(each for each in judge(seen) if each.check.name == "answers").problems
    assert line.endswith("calls were not sent: slow answers had taken 1e-09 s in all")


def test_an_answer_without_an_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_hooks.conformance.observing._LARGEST", 70_000)
    endless = Silent(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000)
    with pytest.raises(NoAnswer, match="longer than 70000 bytes"):
        over_http(20)("POST", endless.url, {}, b"{}")
    endless.close()


def test_entries_that_each_have_an_id_are_no_problem_for_any_client() -> None:
    several = entries([ENTRY, {**ENTRY, "id": "greeter-sign", "hook": "order-sign"}])
    assert results(several)["discovery-one-id"].status is Status.PASSED


def test_no_message_has_the_name_of_a_class() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    for url in (
        f"http://127.0.0.1:{free}",
        "http://name.invalid",
        f"https://127.0.0.1:{free}",
        "http://a..b/",
        "gopher:x",
    ):
        with pytest.raises(OSError, match=r"^(?:no |it |the )") as problem:
            over_http(5)("GET", url, {"A": "b"}, None)
        assert not re.search(r"[a-z][A-Z]|Error|Exception", str(problem.value))


@pytest.mark.parametrize("hook", sorted(HOOKS))
def test_the_example_of_a_hook_is_a_sound_request_of_it(hook: str) -> None:
    request_ = example_request({**ENTRY, "hook": hook})
    _context, notes = read_context(hook, read_members(json.dumps(request_).encode())["context"])  # type: ignore[arg-type]
    assert not notes
    assert request_["prefetch"]["patient"]["resourceType"] == "Patient"


def test_a_report_says_what_is_wrong_where_and_by_which_chapter() -> None:
    judged = list(results(card(summary="x" * 140)).values())
    said = as_text(judged)
    assert "WRONG  card-summary" in said
    assert "greeter on patient-view: cards[0].summary: expected fewer than 140 characters, received 140" in said
    assert "(Card Attributes)" in said
    assert said.endswith("Not conformant.")
    assert as_text(list(results().values())).endswith("Conformant.")


def test_a_report_for_programs_has_every_check() -> None:
    report = json.loads(as_json(URL, list(results(card(summary="")).values())))
    assert report["conformant"] is False
    by_name = {check["name"]: check for check in report["checks"]}
    assert by_name.keys() == {check.name for check in CHECKS}
    assert by_name["card-summary"]["status"] == "failed"
    assert by_name["card-summary"]["level"] == "required"


def parsed(junit: str) -> ET.Element:
    return ET.fromstring(junit)  # noqa: S314 - our own


def test_a_report_for_build_servers_counts_failures_and_what_was_skipped() -> None:
    suite = parsed(as_junit(URL, list(results(card(summary="x" * 140, title="x")).values())))
    assert suite.get("tests") == str(len(CHECKS))
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["card-summary"]
    assert suite.get("failures") == "1"
    skipped = [case.get("name") for case in suite if case.find("skipped") is not None]
    assert skipped == ["given-requests", "token-required"]
    assert [case.get("name") for case in suite if case.find("system-out") is not None] == ["response-members"]


def test_what_a_server_calls_its_things_cannot_break_a_report() -> None:
    judged = list(results(card(**{"\x1b[2J\x00": "x"})).values())
    assert "\x1b" not in as_text(judged)
    parsed(as_junit(URL, judged))
