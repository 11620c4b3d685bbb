"""A body is gone through twice at most, and what is read on the way is what a slower reading finds."""

import json
import random
import tracemalloc
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import pytest

from cds_hooks import BadRequest, CdsService, HookRequest, full_urls, read_request
from cds_hooks.errors import CdsHooksError
from service.chart.case import Case
from service.service_ids import DIAGNOSIS
from service.services.evaluation import chart_of
from tests.charts import (
    CLOCK,
    HOOKS,
    Json,
    services,
)
from tests.test_bad_input import ODD_VALUES, REQUESTS, changed, paths
from tests.test_case_reading import OWN, READER, call, held, observation
from tests.test_encounter import BUTTOCK, SOUGHT, encounter

SERVICES = services()
CALLED = SERVICES.find(DIAGNOSIS, HOOKS[DIAGNOSIS])
EVERY_REQUEST = sorted((REQUESTS[0].parent).rglob("*.json"))
EPIC = {"system": "urn:oid:1.2.840.114350.1.13.0.1.7.2.657369", "code": "4101"}
REMARK = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "warning", "code": "processing", "details": {"coding": [EPIC]}}],
}


@cache
def called(hook: str) -> CdsService[Any]:
    return next((SERVICES.find(id_, hook) for id_, of in HOOKS.items() if of == hook), CALLED)


def plain(value: Any) -> Any:
    """The same in what can be compared: bytes for what is raw."""
    if isinstance(value, msgspec.Raw):
        return bytes(value)
    return {name: plain(member) for name, member in value.items()} if isinstance(value, Mapping) else value


def told_of(request: HookRequest) -> Any:
    values = {
        key: (value.state, value.note, value.next_page, [*map(bytes, value.resources)], [*full_urls(value)])
        for key, value in request.prefetch.items()
    }
    context = {
        name: json.loads(bytes(each)) if isinstance(each, msgspec.Raw) else each
        for name, each in request.context.items()
    }
    return values, context, plain(request.extension), request.fhir_authorization, request.notes, request.hook_instance


def read(body: bytes, service: CdsService[Any], sought: frozenset[str] | None) -> Any:
    """What a request says and what case its chart makes, or what is wrong with either."""
    try:
        request = read_request(body, service, correlation_id="test")
        case = READER.read(chart_of(request), CLOCK, sought)
    except CdsHooksError as problem:
        return type(problem), str(problem)
    known: Any = {name: getattr(case, name) for name in case.__struct_fields__}
    return told_of(request), {**known, "resources": [*map(bytes, case.resources)]}


def assert_alike(body: bytes, service: CdsService[Any], name: str = "") -> None:
    slowly = replace(service, reads=None)
    for sought in (SOUGHT, None):
        assert read(body, service, sought) == read(body, slowly, sought), name


def test_what_is_read_ahead_is_what_is_read_slowly() -> None:
    """Of each request as it is, and with some of its members left out or replaced by an odd value."""
    for path in EVERY_REQUEST:
        text = path.read_text("utf-8")
        request = json.loads(text)
        service = called(request["hook"])
        assert_alike(text.encode(), service, path.stem)
        chosen = random.Random(path.stem)  # noqa: S311 - the same each time is what is wanted
        places = [*paths(request)]
        outer = [place for place in places if len(place) < 4]
        for place in (*chosen.choices(outer, k=2), *chosen.choices(places, k=2)):
            assert_alike(changed(text, place, chosen.choice([..., *ODD_VALUES])), service, f"{path.stem}: {place}")


def quiet(**prefetch: Any) -> Json:
    """A call of whom nothing tells of this pain."""
    return call(
        [observation("4548-4", "http://loinc.org", valueQuantity={"value": 5, "unit": "%"})],
        **{"encounter": encounter(), **prefetch},
    )


PATIENT = quiet()["prefetch"]["patient"]


@pytest.mark.parametrize(
    "prefetch",
    [
        {},
        {"encounter": None},
        {"encounter": encounter(id="another")},
        {"encounter": encounter(subject={"reference": "Patient/another"})},
        {"encounter": encounter(subject={"identifier": {"system": "urn:x", "value": "1"}})},
        {"encounter": encounter(reasonCode=[BUTTOCK])},
        {"encounter": encounter(reason=[BUTTOCK])},
        {"encounter": encounter(diagnosis=[{"condition": [{"concept": BUTTOCK}]}])},
        {"encounter": encounter(reasonReference=[{"display": "Buttock pain"}])},
        {"encounter": encounter(contained=[{"resourceType": "Condition", "code": BUTTOCK}])},
        {"encounter": encounter(type=[{"text": "a visit"}])},
        {"encounter": {"resourceType": "Bundle", "entry": [{"resource": encounter(reasonCode=[BUTTOCK])}]}},
        {"patient": {**PATIENT, "deceasedBoolean": True}},
        {"patient": {**PATIENT, "deceasedDateTime": "2026-01-01"}},
        {"patient": {**PATIENT, "deceasedBoolean": False}},
        {"patient": {**PATIENT, "id": "another"}},
        {"patient": {**PATIENT, "birthDate": "1950", "gender": "male"}},
        {"patient": {**PATIENT, "birthDate": 1950, "gender": "male"}},
        {"patient": {**PATIENT, "birthDate": None, "gender": None}},
        {"patient": {**PATIENT, "birthDate": "", "gender": "x"}},
        {"patient": {name: value for name, value in PATIENT.items() if name != "id"}},
        {"patient": {"resourceType": "Bundle", "entry": [{"resource": PATIENT}]}},
        {"patient": None},
        {"conditions": {"resourceType": "Bundle", "entry": [{"resource": {**PATIENT, "deceasedBoolean": True}}]}},
        {"conditions": {"resourceType": "Bundle", "entry": [{"resource": REMARK}]}},
        {"conditions": {"resourceType": "Bundle", "entry": [{"resource": REMARK}, {"response": {"status": "404"}}]}},
        {"conditions": {"resourceType": "Bundle", "entry": [{"resource": quiet()["prefetch"]["observations"]}]}},
        {"more": {"resourceType": "Bundle", "entry": [{"resource": observation("buttock-pain")}]}},
    ],
    ids=str,
)
def test_a_chart_without_this_pain_is_read_alike_too(prefetch: Json) -> None:
    assert_alike(json.dumps(quiet(**prefetch)).encode(), CALLED)


class Counting:
    """A decoder that counts how often it is used."""

    def __init__(self, decoder: Any) -> None:
        self.decoder, self.times = decoder, 0

    def decode(self, body: bytes) -> Any:
        self.times += 1
        return self.decoder.decode(body)


def read_in_walks(
    body: Json, sought: frozenset[str] | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[HookRequest, Case, int]:
    """A call, its chart as it is read, and how many second walks were made; the slower reading would fail."""
    service = called(body["hook"])
    assert service.walks
    second = Counting(service.walks.second)
    monkeypatch.setattr(service.walks, "second", second)
    monkeypatch.setattr("cds_hooks.request.read_members", None)
    monkeypatch.setattr("service.chart.case._head", None)
    request = read_request(json.dumps(body).encode(), service, correlation_id="test")
    case = READER.read(chart_of(request), CLOCK, sought)
    # What lives on of a long chart is most of what it was read by.
    assert all(len(value.heads) <= 1 for value in request.prefetch.values())
    return request, case, second.times


@pytest.mark.parametrize(
    ("resources", "expected"),
    [([], 0), ([observation("buttock-pain")], 1), ([REMARK], 1)],
    ids=["without this pain", "with this pain", "with a remark of Epic"],
)
def test_a_body_is_gone_through_once_and_where_it_matters_twice(
    resources: list[Json], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = quiet()
    body["prefetch"]["observations"]["entry"] += [{"resource": resource} for resource in resources]
    assert read_in_walks(body, SOUGHT, monkeypatch)[2] == expected


def test_medicines_that_are_named_by_full_urls_need_no_walk_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    body = quiet()
    order = {"resourceType": "MedicationRequest", "status": "active", "intent": "order", "subject": OWN}
    medication = {"resourceType": "Medication", "id": "m", "code": {"text": "Warfarin"}}
    body["prefetch"]["medications"] = {
        "resourceType": "Bundle",
        "entry": [
            {"resource": {**order, "medicationReference": {"reference": "urn:uuid:1"}}},
            {"fullUrl": "urn:uuid:1", "resource": medication},
        ],
    }
    _request, case, second_walks = read_in_walks(body, None, monkeypatch)
    assert second_walks == 1
    assert held(case, "anticoagulant-medicine") is True


def test_draft_orders_are_found_on_the_second_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    body = next(body for path in EVERY_REQUEST if (body := json.loads(path.read_text()))["hook"] == "order-sign")
    request, _case, second_walks = read_in_walks(body, None, monkeypatch)
    assert json.loads(bytes(request.context["draftOrders"])) == body["context"]["draftOrders"]
    assert second_walks == 1


def test_what_is_nested_just_as_deeply_as_can_be_read_ahead_is_no_error_of_the_service() -> None:
    def nested(depth: int) -> bytes:
        inner = "[" * depth + "]" * depth
        return json.dumps(quiet()).replace('"Encounter"', f'"Encounter", "deep": {inner}').encode()

    def is_read_ahead(depth: int) -> bool:
        return CALLED.walks is not None and CALLED.walks.read_ahead(nested(depth)) is not None

    deepest = bisect_left(range(20_000), True, key=lambda depth: not is_read_ahead(depth)) - 1
    assert deepest > 100
    answers = [read(nested(depth), CALLED, None) for depth in range(deepest - 40, deepest + 10)]
    assert BadRequest in [answer[0] for answer in answers]


@pytest.mark.parametrize(
    ("bundle", "times_its_length"),
    [
        ('"total": 1, "type": [@]', 1),
        ('"entry": [@]', 20),
        ('"entry": [@, {"resource": {"resourceType": "Basic"}}]', 20),
    ],
    ids=["of no type", "with empty entries", "with a resource behind empty entries"],
)
def test_what_says_nothing_takes_little_memory_and_keeps_none(bundle: str, times_its_length: int) -> None:
    text = json.dumps(call([], observations="@")).replace('"@"', f'{{"resourceType": "Bundle", {bundle}}}')
    body = text.replace("@", "{}," * 200_000 + "{}").encode()
    tracemalloc.start()
    try:
        request = read_request(body, CALLED, correlation_id="test")
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(request.prefetch["observations"].resources) == bundle.count("Basic")
    assert peak < times_its_length * len(body)
    assert kept < len(body) / 10
