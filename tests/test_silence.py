"""No failure looks like silence: a fixture that has a card never loses all of them because data did not arrive."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import combinations, cycle
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_hooks import (
    CdsService,
    HookRequest,
    HookResponse,
    PreconditionFailed,
    PrefetchState,
    PrefetchValue,
    create_blueprint,
    read_request,
)
from cds_hooks.prefetch import LEFT_ALONE, NOT_FETCHED, NOT_IN_TIME
from service.answers.answered import Answered
from service.app import create_app
from service.prefetch_keys import COMPLAINT, PATIENT, kind_of
from service.services.registry import service_registry
from tests.charts import (
    CLOCK,
    Json,
    NamedCase,
    build_request,
    collection,
    named_cases,
    packaged,
    sentence,
    services,
)
from tests.charts import PATIENT as PATIENT_ID

SERVICES = services()
FIXTURES = tuple(case for case in named_cases() if case.fixture)
RESPONSES = Path(__file__).parents[1] / "fixtures" / "responses"
# What a FHIR server or a client puts in the place of data. Nothing can be fetched: the request has no FHIR server.
MISSING: Any = object()
BAD: Mapping[str, Callable[[Any], Any]] = {
    "failed": lambda _value: {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "exception"}],
    },
    "refused": lambda _value: {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "forbidden"}],
    },
    "missing": lambda _value: MISSING,
    "array": lambda value: [entry["resource"] for entry in value["entry"]] if "entry" in value else [value],
    "html": lambda _value: "<html><body>403 Forbidden</body></html>",
    "first page": lambda _value: {
        "resourceType": "Bundle",
        "type": "searchset",
        "link": [{"relation": "next", "url": "https://fhir.example.org/r4?page=2"}],
        "entry": [],
    },
    "fewer than the total": lambda _value: {"resourceType": "Bundle", "type": "searchset", "total": 3, "entry": []},
    "failed batch entry": lambda _value: {
        "resourceType": "Bundle",
        "type": "batch-response",
        "entry": [{"response": {"status": "500 Internal Server Error"}}],
    },
    "failed outcome in a batch": lambda _value: {
        "resourceType": "Bundle",
        "type": "batch-response",
        "entry": [
            {
                "response": {
                    "status": "200",
                    "outcome": {
                        "resourceType": "OperationOutcome",
                        "issue": [{"severity": "error", "code": "timeout"}],
                    },
                }
            }
        ],
    },
}
# Of these a client that does not send them has nothing, or an order is then taken for none: that they do not come is no
# failure of a call.
OPTIONAL = frozenset({"encounter", "questionnaireResponses", "orders", "imaging"})


@cache
def client() -> FlaskClient:
    return create_app(clock=lambda: CLOCK).test_client()


def read(case: NamedCase, request: Json) -> HookRequest:
    service = SERVICES.find(case.service, str(request["hook"]))
    return read_request(orjson.dumps(request), service, correlation_id="silence")


def answer(case: NamedCase, request: Json) -> HookResponse:
    """What the service answers, called as the blueprint calls it."""
    return SERVICES.find(case.service, str(request["hook"])).answer(read(case, request)).response


def is_silent(case: NamedCase, request: Json) -> bool:
    """Whether the answer is 200 without a card."""
    try:
        return not answer(case, request).cards
    except PreconditionFailed as refused:
        return not refused.expression


def spoilt(request: Json, states: Mapping[str, str]) -> Json:
    changed = {**request, "prefetch": dict(request["prefetch"])}
    del changed["fhirServer"]
    for key, state in states.items():
        value = BAD[state](request["prefetch"][key])
        if value is MISSING:
            del changed["prefetch"][key]
        else:
            changed["prefetch"][key] = value
    return changed


def has_cards(case: NamedCase) -> bool:
    """By the responses among the fixtures: whoever only collects the tests need not ask for the answers."""
    return bool(json.loads((RESPONSES / f"{case.path}.json").read_text("utf-8"))["cards"])


WITH_CARDS = tuple(filter(has_cards, FIXTURES))


def bearing(request: Json) -> list[str]:
    """The keys of a request that may bear the complaint."""
    return [key for key in request["prefetch"] if kind_of(key) in COMPLAINT]


def states_of(key: str) -> list[str]:
    return [state for state in BAD if not (state == "missing" and kind_of(key) in OPTIONAL)]


def test_the_fixtures_with_cards_are_those_that_the_service_answers_so() -> None:
    assert [case.path for case in WITH_CARDS] == [case.path for case in FIXTURES if answer(case, case.request()).cards]


def test_there_are_fixtures_with_cards_of_every_service() -> None:
    assert {case.service for case in WITH_CARDS} == {entry["id"] for entry in SERVICES.discovery()["services"]}


READ_AS: dict[tuple[str, ...], tuple[str, int]] = {}


def read_as(case: NamedCase, request: Json, key: str, state: str) -> tuple[str, int]:
    """As what a key in this state is read: no key is read otherwise for what else was sent."""
    alone = spoilt({**request, "prefetch": {key: request["prefetch"][key]}}, {key: state})
    sent = case.service, str(request["hook"]), key, json.dumps(alone["prefetch"])
    if sent not in READ_AS:
        value = read(case, alone).prefetch[key]
        READ_AS[sent] = value.state, len(value.resources)
    return READ_AS[sent]


def tried(case: NamedCase, request: Json, key: str) -> Iterator[str]:
    """Of the states that are read alike one, in turn from fixture to fixture: the answer is to what is read."""
    alike: dict[tuple[str, int], list[str]] = {}
    for state in states_of(key):
        alike.setdefault(read_as(case, request, key, state), []).append(state)
    for states in alike.values():
        yield states[WITH_CARDS.index(case) % len(states)]


@pytest.mark.parametrize("case", WITH_CARDS, ids=lambda case: case.path)
def test_no_bad_state_of_a_key_that_may_bear_the_complaint_silences_a_fixture(case: NamedCase) -> None:
    request = case.request()
    silent = [
        (key, state)
        for key in bearing(request)
        for state in tried(case, request, key)
        if is_silent(case, spoilt(request, {key: state}))
    ]
    assert silent == []


def pairs() -> Iterator[tuple[NamedCase, Json, dict[str, str]]]:
    """Two bad keys at once, drawn with a fixed seed: each fixture with each key, and each state of each key."""
    drawn = random.Random(11)  # noqa: S311 - it draws cases
    states: dict[str, Iterator[str]] = {}
    for case in WITH_CARDS:
        request = case.request()
        keys = [key for key in request["prefetch"] if kind_of(key) != PATIENT]
        every = list(combinations(keys, 2))
        drawn.shuffle(every)
        seen: set[str] = set()
        for pair in every:
            if not seen.issuperset(pair):
                seen.update(pair)
                for key in pair:
                    states.setdefault(key, cycle(drawn.sample(states_of(key), len(states_of(key)))))
                yield case, request, {key: next(states[key]) for key in pair}


def test_two_keys_in_a_bad_state_silence_no_fixture() -> None:
    tried = list(pairs())
    assert {(key, state) for _case, _request, chosen in tried for key, state in chosen.items()} == {
        (key, state)
        for case in WITH_CARDS[:1]
        for key in case.request()["prefetch"]
        if kind_of(key) != PATIENT
        for state in states_of(key)
    }
    silent = [(case.path, chosen) for case, request, chosen in tried if is_silent(case, spoilt(request, chosen))]
    assert silent == []


# ---------------------------------------------------------------------------------------------------------------------
# What is no failure


NOTHING_OF_OURS: Mapping[str, Json] = {
    "a diet": {
        "resourceType": "NutritionOrder",
        "id": "n1",
        "status": "draft",
        "intent": "order",
        "patient": {"reference": f"Patient/{PATIENT_ID}"},
        "dateTime": "2026-11-22",
    },
    "another medicine": {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": f"Patient/{PATIENT_ID}"},
        "medicationCodeableConcept": {"text": "Amoxicillin 500 mg capsule"},
    },
    "a radiograph of the chest": {
        "resourceType": "ServiceRequest",
        "id": "o1",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": f"Patient/{PATIENT_ID}"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "36643-5", "display": "XR Chest 2 Views"}]},
    },
}
ORDER_SERVICES = tuple(entry["id"] for entry in SERVICES.discovery()["services"] if entry["hook"].startswith("order-"))


@pytest.mark.parametrize("service", ORDER_SERVICES)
@pytest.mark.parametrize("draft", NOTHING_OF_OURS.values(), ids=NOTHING_OF_OURS)
def test_an_order_of_something_else_needs_no_chart(draft: Json, service: str) -> None:
    request = build_request({"service": service, "present": ["buttock-pain", "saddle-numbness"], "drafts": []})
    request["context"]["draftOrders"] = collection([draft])
    request["context"]["selections"] = [f"{draft['resourceType']}/{draft['id']}"]
    for sent in (request, {**request, "prefetch": {}}):
        answered = client().post(f"/cds-services/{service}", json=sent)
        assert (answered.status_code, answered.get_json()["cards"]) == (200, [])


def test_nothing_is_fetched_for_an_order_of_something_else() -> None:
    asked: list[str] = []

    def complete(request: HookRequest, service: CdsService[Answered]) -> HookRequest:
        asked.append(service.id)
        return request

    app = Flask(__name__)
    app.register_blueprint(create_blueprint(SERVICES, on_feedback=lambda _record: None, complete=complete))
    request = build_request({"service": "imaging-referral-sign", "drafts": [{"id": "o1", "order": "loinc|30679-5"}]})
    for drafts in (collection(list(NOTHING_OF_OURS.values())), request["context"]["draftOrders"]):
        request["context"]["draftOrders"] = drafts
        assert app.test_client().post("/cds-services/imaging-referral-sign", json=request).status_code == 200
    assert asked == ["imaging-referral-sign"]


@pytest.mark.parametrize(
    ("appointments", "cards"),
    [
        ([{"in_days": -3}], 0),
        ([{"in_days": 30, "status": "cancelled"}], 0),
        ([{"start": "soon"}], 1),
        ([], 1),
    ],
)
def test_an_appointment_without_any_time_warns_on_a_chart_with_a_red_flag(appointments: list[Json], cards: int) -> None:
    chart = {"service": "appointment-timing", "age": 58, "present": ["buttock-pain", "leg-weakness"]}
    request = build_request(chart | {"appointments": appointments})
    answered = client().post("/cds-services/appointment-timing", json=request)
    assert (answered.status_code, len(answered.get_json()["cards"])) == (200, cards)
    if not cards:
        assert client().post("/cds-services/appointment-timing", json={**request, "prefetch": {}}).status_code == 200


def test_the_encounter_is_neither_asked_for_nor_missing_where_the_context_has_none() -> None:
    request = build_request({"present": ["buttock-pain"]})
    del request["context"]["encounterId"], request["prefetch"]["encounter"]
    answered = client().post("/cds-services/gluteal-hamstring-pain", json=request).get_json()
    assert "encounter" not in answered["extension"]["org.sitbone.assessment"]["data"]


@pytest.mark.parametrize("key", ["conditions", "observations", "questionnaireResponses", "encounter"])
def test_null_on_a_search_is_nothing_there(key: str) -> None:
    request = build_request({"age": 40, "null": [key]})
    answered = client().post("/cds-services/gluteal-hamstring-pain", json=request)
    found = answered.get_json()["extension"]["org.sitbone.assessment"]
    assert (answered.status_code, found["data"][key], found["complaint"]) == (200, "null", "absent")


def test_the_refusal_names_each_key_and_its_state() -> None:
    request = build_request({"age": 40, "withheld": ["conditions"]})
    request["prefetch"]["observations2"] = "<html>"
    answered = client().post("/cds-services/gluteal-hamstring-pain", json=request)
    assert answered.status_code == 412
    said = answered.get_json()["issue"][0]
    assert said["expression"] == ["prefetch.conditions"]
    assert "conditions: missing" in said["diagnostics"]
    assert "observations2: failed (string instead of a resource; " in said["diagnostics"]


@pytest.mark.parametrize(
    "changed", [{"subject": {"reference": "Patient/somebody-else"}}, {"effectiveDateTime": "2027-06-01"}]
)
def test_a_chart_of_which_all_was_left_out_is_not_called_free_of_the_complaint(changed: Json) -> None:
    request = build_request({"age": 40, "present": ["buttock-pain"]})
    [entry] = request["prefetch"]["observations"]["entry"]
    entry["resource"] |= changed
    answered = client().post("/cds-services/gluteal-hamstring-pain", json=request)
    assert answered.status_code == 412


@pytest.mark.parametrize("key", ["encounter", "questionnaireResponses"])
def test_what_need_not_be_there_is_missed_where_the_server_that_has_it_did_not_answer(key: str) -> None:
    service = SERVICES.find("gluteal-hamstring-pain", "patient-view")
    request = read_request(json.dumps(build_request({"age": 40})).encode(), service, correlation_id="late")
    for note, is_refused in (("", False), (NOT_IN_TIME, True), (LEFT_ALONE, True), (NOT_FETCHED, True)):
        value = PrefetchValue(key, PrefetchState.MISSING, note=note)
        late = replace(request, prefetch={**request.prefetch, key: value})
        if is_refused:
            with pytest.raises(PreconditionFailed, match=f"{key}: missing"):
                service.answer(late)
        else:
            assert service.answer(late).response.cards == ()


def test_what_a_client_never_sends_is_said_and_no_reason_to_refuse() -> None:
    services = service_registry(packaged(), lambda: CLOCK, never_sends=lambda _client: ("observations",))
    service = services.find("gluteal-hamstring-pain", "patient-view")
    for conditions, cards in (([], 0), (["icd10cm|M76.892"], 1)):
        request = build_request({"age": 40, "conditions": conditions, "withheld": ["observations"]})
        answered = service.answer(read_request(json.dumps(request).encode(), service, correlation_id="never"))
        given = answered.response
        assert given.extension is not None
        assert given.extension["org.sitbone.assessment"]["data"]["observations"] == "missing"
        assert len(given.cards) >= cards
        for card in given.cards[:1]:
            assert sentence("data_missing", data="Observations") in str(card.detail)
