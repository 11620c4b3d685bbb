"""Whatever a caller sends, it gets cards or an OperationOutcome: never a 5xx, never silence where data was lost."""

import itertools
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from fhir.resources.R4B.operationoutcome import OperationOutcome
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import create_environ
from werkzeug.wrappers import Response

from service.app import create_app
from tests.once import decided_once
from tests.unending import must_end

REQUESTS = sorted((Path(__file__).parents[1] / "fixtures" / "requests").glob("*.json"))
FULL = REQUESTS[[path.stem for path in REQUESTS].index("sudden-pop-with-bruising")]
SERVICE = "/cds-services/gluteal-hamstring-pain"
FEEDBACK = f"{SERVICE}/feedback"
ENVIRON = create_environ(method="POST", content_type="application/json")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

# What stands where something else should: every JSON type, and each kind of value that code may trip over.
ODD_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e308, 5e-324, 10**30, 10**400, "", " ", "x", "\x00", "\ud800", "é" * 300),
    *([], [[]], [None], [{}], [1, "a"], {}, {"a": {"a": {}}}, {"": ""}),
    *("0000-00-00", "2026-02-30", "9999-12-31", "0001-01-01", "2026-11-22T12:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    *("Patient/", "Patient/somebody-else", "urn:uuid:", "#", "//", "../..", "{{context.patientId}}", "'; --", "<b>"),
    *({"coding": None}, {"coding": [None]}, {"coding": [{"system": 1, "code": []}]}, {"text": {}}, {"reference": 1}),
    *({"value": None}, {"value": "1"}, {"value": 10**400, "unit": "d"}, {"value": 1, "comparator": {}}),
    *({"start": 1, "end": []}, {"resourceType": "Bundle", "entry": 1}, {"resourceType": "OperationOutcome"}),
]


@cache
def app() -> Flask:
    return create_app(clock=lambda: NOW)


def post(body: bytes, path: str = SERVICE) -> Response:
    """As a server calls the application: the client of the tests makes all of an environment anew for each call."""
    environ = {**ENVIRON, "PATH_INFO": path, "CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)}
    return Response.from_app(app(), environ)


@pytest.fixture(scope="module", autouse=True)
def _decided_once() -> Iterator[None]:
    """What may be spoilt is how a chart is read; four of five are read as before, and say what they said."""
    with decided_once():
        yield


def assert_answered(response: Response) -> None:
    """Cards with the state of every key, or an OperationOutcome that says where and what."""
    answer = orjson.loads(response.data)
    if response.status_code == 200:
        data = answer["extension"]["org.sitbone.assessment"]["data"]
        assert isinstance(answer["cards"], list)
        assert {"patient", "conditions", "observations"} <= set(data)
    else:
        assert response.status_code in (400, 412), answer
        OperationOutcome.model_validate(answer)
        assert answer["issue"][0]["diagnostics"]


def paths(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in members:
        yield from paths(value, (*at, name))


def changed(text: str, path: tuple[Any, ...], value: Any) -> bytes:
    """The request with one value replaced, or left out where the new value is `...`."""
    return next(each_changed(text, [(path, value)]))


def each_changed(text: str, changes: Iterable[tuple[tuple[Any, ...], Any]]) -> Iterator[bytes]:
    """The request with each of these changes in turn, of which it is read once."""
    request = json.loads(text)
    for path, value in changes:
        owner = request
        for step in path[:-1]:
            owner = owner[step]
        before = [*owner.items()] if isinstance(owner, dict) else [*owner]
        if value is ...:
            del owner[path[-1]]
        else:
            # Some of them only the slower module writes.
            owner[path[-1]] = orjson.Fragment(json.dumps(value))
        yield orjson.dumps(request)
        owner.clear()
        owner.update(before) if isinstance(owner, dict) else owner.extend(before)


def kind_of(request: Any, place: tuple[Any, ...]) -> str:
    """What stands at a place: under which key, in a resource of which code, in which element. Charts repeat that."""
    node, resource, within = request, {}, place
    for depth, step in enumerate(place):
        if isinstance(node, dict) and node.get("resourceType", "Bundle") != "Bundle":
            resource, within = node, place[depth:]
            break
        node = node[step]
    if not resource:
        # One entry of a Bundle is like another.
        return json.dumps([step for step in place if isinstance(step, str)])
    code = resource.get("code") or resource.get("medicationCodeableConcept")
    return json.dumps((place[:2], resource["resourceType"], code, within))


@cache
def places() -> dict[Path, list[tuple[Any, ...]]]:
    """Of all requests each kind of place once, in the request that has the fewest so far."""
    holding = defaultdict(list)
    for path in REQUESTS:
        request = json.loads(path.read_text("utf-8"))
        for kind, place in {kind_of(request, place): place for place in paths(request)}.items():
            holding[kind].append((path, place))
    given: dict[Path, list[tuple[Any, ...]]] = {path: [] for path in REQUESTS}
    for held in holding.values():
        path, place = min(held, key=lambda each: len(given[each[0]]))
        given[path].append(place)
    return given


@pytest.mark.parametrize("path", REQUESTS, ids=lambda path: path.stem)
def test_any_member_of_a_request_may_be_missing_or_anything_else(path: Path) -> None:
    """Each kind of member and element is left out once, and once replaced by one of the odd values."""
    text = path.read_text("utf-8")
    chosen = random.Random(path.stem)  # noqa: S311 - the same each time is what is wanted
    assert places()[path]
    changes = ((place, value) for place in places()[path] for value in (..., chosen.choice(ODD_VALUES)))
    for body in each_changed(text, changes):
        assert_answered(post(body))


def test_every_member_of_the_envelope_and_of_the_context_may_be_every_odd_value() -> None:
    text = FULL.read_text("utf-8")
    call = json.loads(text)
    members: list[tuple[Any, ...]] = [
        (name,) for name in (*call, "prefetch", "extension", "fhirServer", "fhirAuthorization")
    ]
    members += [("context", name) for name in (*call["context"], "encounterId", "other")]
    members += [("prefetch", name) for name in (*call["prefetch"], "other")]
    for body in each_changed(text, itertools.product(dict.fromkeys(members), ODD_VALUES)):
        assert_answered(post(body))


def test_every_odd_value_may_stand_in_every_element_of_one_observation() -> None:
    text = FULL.read_text("utf-8")
    before = ("prefetch", "observations", "entry", 0)
    places = [before + place for place in paths(json.loads(text)["prefetch"]["observations"]["entry"][0])]
    for body in each_changed(text, itertools.product(places, ODD_VALUES)):
        assert_answered(post(body))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(ODD_VALUES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(
    [
        *("Patient", "Observation", "Condition", "QuestionnaireResponse", "AllergyIntolerance", "MedicationRequest"),
        *("MedicationStatement", "Medication", "Procedure", "ServiceRequest", "Bundle", "OperationOutcome", "Basic"),
    ]
)
ELEMENTS = st.sampled_from(
    [
        *("id", "status", "code", "subject", "patient", "bodySite", "component", "hasMember", "valueBoolean", "item"),
        *("valueQuantity", "valueCodeableConcept", "effectiveDateTime", "effectivePeriod", "onsetDateTime", "entry"),
        *("clinicalStatus", "verificationStatus", "medicationReference", "medicationCodeableConcept", "contained"),
        *("dataAbsentReason", "interpretation", "birthDate", "gender", "link", "resource", "authored", "reaction"),
    ]
)
FHIR_VALUES = JSON_VALUES | st.fixed_dictionaries(
    {"coding": st.lists(st.fixed_dictionaries({"system": JSON_VALUES, "code": JSON_VALUES}), max_size=2)}
)
RESOURCES = st.builds(
    lambda kind, elements: {"resourceType": kind, **elements},
    KINDS | JSON_VALUES,
    st.dictionaries(ELEMENTS, FHIR_VALUES, max_size=6),
)
PREFETCH_VALUES = (
    RESOURCES
    | JSON_VALUES
    | st.fixed_dictionaries(
        {
            "resourceType": st.just("Bundle"),
            "entry": st.lists(st.fixed_dictionaries({"resource": RESOURCES}), max_size=4),
        }
    )
)
KEYS = st.sampled_from(["patient", "conditions", "observations", "medications", "allergies", "other", ""])
quick = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@quick
@given(st.dictionaries(st.sampled_from(["hook", "hookInstance", "context", "prefetch", "fhirServer"]), JSON_VALUES))
def test_any_envelope_is_answered(members: dict[str, Any]) -> None:
    call = {**json.loads(FULL.read_text("utf-8")), **members}
    assert_answered(post(json.dumps(call).encode()))


@quick
@given(st.dictionaries(st.sampled_from(["patientId", "userId", "encounterId", "selections", "x"]), JSON_VALUES))
def test_any_context_is_answered(context: dict[str, Any]) -> None:
    call = json.loads(FULL.read_text("utf-8"))
    assert_answered(post(json.dumps({**call, "context": {**call["context"], **context}}).encode()))


@quick
@given(st.dictionaries(KEYS, PREFETCH_VALUES, max_size=4))
def test_any_prefetch_is_answered(prefetch: dict[str, Any]) -> None:
    call = json.loads(FULL.read_text("utf-8"))
    assert_answered(post(json.dumps({**call, "prefetch": {**call["prefetch"], **prefetch}}).encode()))


@quick
@given(st.binary(max_size=200))
def test_any_bytes_are_answered(body: bytes) -> None:
    assert_answered(post(body))


@quick
@given(JSON_VALUES | st.fixed_dictionaries({"feedback": JSON_VALUES | st.lists(JSON_VALUES, max_size=3)}))
def test_any_feedback_is_answered(feedback: Any) -> None:
    response = post(json.dumps(feedback).encode(), FEEDBACK)
    assert response.status_code == 400
    OperationOutcome.model_validate(json.loads(response.data))


TEXT = FULL.read_text("utf-8")
DEEP = 200_000


def nested(opening: str, closing: str, depth: int = DEEP) -> str:
    return opening * depth + closing * depth


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(nested("[", "]"), 400, id="arrays-200000-deep"),
        pytest.param(nested('{"a":', "1}").replace(":1}", ":1}", 1), 400, id="objects-200000-deep"),
        pytest.param(TEXT.replace("{", '{"extension":' + nested("[", "]") + ",", 1), 400, id="deep-extension"),
        pytest.param(
            TEXT.replace('"prefetch": {', '"prefetch": {"x":' + nested("[", "]") + ",", 1), 400, id="deep-key"
        ),
        pytest.param(TEXT.replace("{", '{"hook":"patient-view",', 1), 400, id="a-member-twice"),
        pytest.param(TEXT.replace('"hookInstance"', '"x":NaN,"hookInstance"', 1), 400, id="NaN"),
        pytest.param(TEXT.replace('"hookInstance"', '"x":-Infinity,"hookInstance"', 1), 400, id="Infinity"),
        pytest.param(TEXT.replace('"hookInstance"', '"x":1e999,"hookInstance"', 1), 400, id="1e999"),
        pytest.param(TEXT.replace('"hookInstance"', f'"x":{"9" * 5000},"hookInstance"', 1), 400, id="5000-digits"),
        pytest.param(TEXT.replace('"hookInstance"', '"x":01,"hookInstance"', 1), 400, id="leading-zero"),
        pytest.param(TEXT.replace('"hookInstance"', '"x":"\\ud800","hookInstance"', 1), 400, id="lone-surrogate"),
        pytest.param(TEXT.replace('"hookInstance"', '"x":"\t","hookInstance"', 1), 400, id="bare-control-character"),
        pytest.param(TEXT + "{}", 400, id="two-objects"),
        pytest.param(TEXT + ",", 400, id="something-after-the-end"),
        pytest.param("/**/" + TEXT, 400, id="a-comment"),
        pytest.param("\ufeff" + TEXT, 400, id="a-byte-order-mark"),
        pytest.param(TEXT.encode("utf-16"), 400, id="utf-16"),
        pytest.param(TEXT.encode().replace(b"Practitioner", b"Practition\xe9r"), 400, id="latin-1"),
        pytest.param(TEXT.encode().replace(b"Practitioner", b"\xed\xa0\x80"), 400, id="an-encoded-surrogate"),
        pytest.param(TEXT.encode().replace(b"Practitioner", b"\xc0\xaf"), 400, id="overlong-utf-8"),
        pytest.param(b"\x1f\x8b" + bytes(100), 400, id="gzip-without-saying-so"),
        pytest.param("<html><body>Bad gateway</body></html>", 400, id="html"),
        pytest.param(b"", 400, id="nothing"),
        pytest.param(TEXT + " " * (10_000_001 - len(TEXT.encode())), 413, id="ten-megabytes-and-one-byte"),
        pytest.param(TEXT + "\n" * (10_000_000 - len(TEXT.encode())), 200, id="ten-megabytes"),
    ],
)
def test_a_body_that_is_no_sound_json_is_refused_soon(body: str | bytes, status: int) -> None:
    sent = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    with must_end():
        response = post(sent)
    assert response.status_code == status
    if status != 200:
        OperationOutcome.model_validate(json.loads(response.data))


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param('"valueBoolean":' + nested("[", "]"), id="nested-200000-deep"),
        pytest.param('"valueQuantity":{"value":1e999}', id="a-number-out-of-range"),
        pytest.param(f'"valueQuantity":{{"value":{"9" * 5000}}}', id="a-number-of-5000-digits"),
        pytest.param('"note":"\\ud800"', id="a-lone-surrogate"),
        pytest.param('"valueBoolean":NaN', id="NaN"),
        pytest.param('"code":7', id="a-code-that-is-a-number"),
        pytest.param('"subject":[]', id="a-subject-that-is-an-array"),
    ],
)
def test_a_resource_that_cannot_be_read_spoils_nothing_but_itself(spoilt: str) -> None:
    resource = f'{{"resource":{{"resourceType":"Observation","status":"final",{spoilt}}}}},'
    before = '"observations": {'
    at = TEXT.index('"entry": [', TEXT.index(before)) + len('"entry": [')
    sound, response = post(TEXT.encode()), post((TEXT[:at] + resource + TEXT[at:]).encode())
    assert_answered(response)
    if response.status_code == 200:
        told = [
            json.loads(each.data)["extension"]["org.sitbone.assessment"].get("redFlags") for each in (sound, response)
        ]
        assert told[0] == told[1] is not None


@pytest.mark.parametrize("key", ["conditions", "observations"])
@pytest.mark.parametrize(
    ("value", "state"),
    [
        (None, "null"),
        ("<html>", "failed"),
        ([], "failed"),
        ({"resourceType": "OperationOutcome"}, "failed"),
        ({"resourceType": "Bundle", "entry": 7}, "failed"),
        ({"resourceType": "Bundle", "entry": [{"resource": "x"}]}, "failed"),
        ({"resourceType": "Bundle", "link": [{"relation": "next", "url": "x"}]}, "incomplete"),
        ({"resourceType": "Bundle"}, "empty"),
    ],
)
def test_data_that_could_not_be_read_is_named_and_never_taken_for_a_clean_chart(
    key: str, value: object, state: str
) -> None:
    response = post(changed(TEXT, ("prefetch", key), value))
    if key == "observations" and state in ("failed", "incomplete"):
        # In which this chart has its complaint.
        assert response.status_code == 412
        assert f"observations: {state}" in json.loads(response.data)["issue"][0]["diagnostics"]
        return
    assert response.status_code == 200
    assert json.loads(response.data)["extension"]["org.sitbone.assessment"]["data"][key] == state


def test_a_bundle_of_a_hundred_thousand_empty_entries_is_answered_soon() -> None:
    entries: list[Any] = [{}] * 100_000
    with must_end():
        assert_answered(post(changed(TEXT, ("prefetch", "conditions"), {"resourceType": "Bundle", "entry": entries})))


def test_codes_and_texts_without_end_cost_no_more_than_their_length() -> None:
    """Long runs of what a regular expression may try in many ways."""
    for place, value in {
        ("hookInstance",): "-" * 256,
        ("hook",): "." * 200_000,
        ("fhirServer",): "http://" + "a" * 200_000 + " ",
        ("context", "patientId"): "Patient/" * 20_000,
        ("prefetch", "patient", "birthDate"): "1" * 200_000,
        ("prefetch", "observations", "entry", 0, "resource", "effectiveDateTime"): "2026-11-22T" + "0" * 200_000,
        ("prefetch", "observations", "entry", 0, "resource", "code", "text"): "left " * 40_000,
    }.items():
        with must_end():
            assert_answered(post(changed(TEXT, place, value)))
