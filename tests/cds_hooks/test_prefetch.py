import json
import pickle
from typing import Any

import msgspec
import pytest

from cds_hooks import (
    BadRequest,
    Head,
    PrefetchState,
    PrefetchTokenError,
    PrefetchValue,
    Reads,
    full_urls,
    lint_template,
    read_prefetch,
    resolve_template,
)
from cds_hooks.body import Walks

PATIENT = {"resourceType": "Patient", "id": "p1"}
VISIT = {"resourceType": "Encounter", "id": "e1"}
OUTCOME = {"resourceType": "OperationOutcome", "issue": []}


def bundle(*resources: Any, **members: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in resources], **members}


class _Identified(Head):
    id: str | None = None


def read(value: Any) -> PrefetchValue:
    prefetch = {"key": value}
    plain = read_prefetch(msgspec.Raw(json.dumps(prefetch).encode()), ["key"])["key"]
    reads = Reads(_Identified, _Identified)
    is_bundle = isinstance(value, dict) and value.get("resourceType") == "Bundle"
    walks = Walks(reads, {"key": "Observation?patient={{context.patientId}}" if is_bundle else "Patient/x"})
    ahead: Any = walks.read_ahead(json.dumps({"prefetch": prefetch}).encode())
    typed = read_prefetch(ahead["prefetch"], ["key"])["key"] if ahead else plain
    # Whether the members that a service reads are decoded on the way changes nothing.
    assert (typed.state, typed.note, typed.next_page) == (plain.state, plain.note, plain.next_page)
    assert [bytes(each) for each in typed.resources] == [bytes(each) for each in plain.resources]
    for value_ in (typed, plain):
        # What another process gets of it.
        restored = pickle.loads(pickle.dumps(value_))  # noqa: S301 - made here
        assert [bytes(each) for each in restored.resources] == [bytes(each) for each in plain.resources]
        assert [*full_urls(restored)] == [*full_urls(value_)]
        known = ("key", "state", "note", "next_page")
        assert all(getattr(restored, name) == getattr(value_, name) for name in known)
    if typed.heads:
        assert [head.id for head in typed.heads] == [json.loads(bytes(each)).get("id") for each in plain.resources]
    return plain


def ids(value: PrefetchValue) -> list[Any]:
    return [json.loads(bytes(resource)).get("id") for resource in value.resources]


def test_neither_a_resource_nor_the_address_of_a_page_is_in_the_repr_of_a_value() -> None:
    value = read(bundle({"resourceType": "Patient", "id": "p1"}, link=[{"relation": "next", "url": "https://x/p1"}]))
    assert value.next_page == "https://x/p1"
    assert "p1" not in repr(value)
    assert "incomplete" in repr(value)


NEXT = [{"relation": "self", "url": "x"}, {"relation": "next", "url": "y"}]


@pytest.mark.parametrize(
    ("value", "state", "found", "note"),
    [
        (PATIENT, "supplied", ["p1"], ""),
        (bundle(PATIENT, VISIT), "supplied", ["p1", "e1"], ""),
        (bundle(), "empty", [], ""),
        ({"resourceType": "Bundle"}, "empty", [], ""),
        ({"resourceType": "Bundle", "entry": None}, "empty", [], ""),
        ({"resourceType": "Bundle", "entry": [{"fullUrl": "urn:x"}, {"resource": None}]}, "empty", [], ""),
        (None, "null", [], ""),
        (OUTCOME, "failed", [], "OperationOutcome"),
        ("<html>404</html>", "failed", [], "string"),
        (404, "failed", [], "number"),
        (True, "failed", [], "boolean"),
        ([PATIENT], "failed", [], "array"),
        ({"id": "p1"}, "failed", [], "resourceType"),
        ({}, "failed", [], "resourceType"),
        ({"resourceType": None}, "failed", [], "resourceType"),
        ({"resourceType": 5}, "failed", [], "resourceType"),
        (bundle(OUTCOME), "failed", [], "OperationOutcome"),
        (bundle(OUTCOME, OUTCOME), "failed", [], "OperationOutcome"),
        (bundle(OUTCOME, PATIENT), "incomplete", ["p1"], "OperationOutcome"),
        (bundle(PATIENT, link=NEXT), "incomplete", ["p1"], "further pages"),
        (bundle(link=NEXT), "incomplete", [], "further pages"),
        (bundle(PATIENT, link=NEXT[:1]), "supplied", ["p1"], ""),
        (bundle(bundle(PATIENT), VISIT), "supplied", ["p1", "e1"], ""),
        (bundle(bundle(bundle(PATIENT))), "supplied", ["p1"], ""),
        (bundle(bundle(bundle(bundle(PATIENT))), VISIT), "incomplete", ["e1"], "cannot be read"),
        (bundle(bundle(PATIENT, link=NEXT)), "incomplete", ["p1"], "further pages"),
        ({"response": {"status": "200"}, "resource": PATIENT}, "supplied", ["p1"], "1.0"),
        ({"response": {"status": "200"}, "resource": bundle(VISIT)}, "supplied", ["e1"], "1.0"),
        ({"response": {"status": "404"}, "resource": None}, "null", [], "1.0"),
        ({"response": {"status": "500"}, "resource": OUTCOME}, "failed", [], "1.0"),
        ({"response": {"status": "404"}}, "failed", [], "resourceType"),
        ({"response": {}, "resource": {"response": {}, "resource": PATIENT}}, "failed", [], "1.0"),
    ],
)
def test_each_shape_of_a_prefetch_value_has_its_state(value: Any, state: str, found: list[str], note: str) -> None:
    result = read(value)
    assert (result.state, ids(result)) == (state, found)
    assert note in result.note
    assert bool(result.note) == bool(note)


@pytest.mark.parametrize(
    ("value", "state", "found"),
    [
        ({"resourceType": "Bundle", "entry": {"resource": PATIENT}}, "failed", []),
        ({"resourceType": "Bundle", "entry": "none"}, "failed", []),
        ({"resourceType": "Bundle", "entry": ["text", {"resource": PATIENT}, 4]}, "incomplete", ["p1"]),
        ({"resourceType": "Bundle", "entry": [{"resource": "text"}, {"resource": PATIENT}]}, "incomplete", ["p1"]),
        ({"resourceType": "Bundle", "entry": [{"resource": [PATIENT]}]}, "failed", []),
        (
            {"resourceType": "Bundle", "entry": [{"resource": {"id": "untyped"}}, {"resource": VISIT}]},
            "incomplete",
            ["e1"],
        ),
        ({"resourceType": "Bundle", "entry": [None, {"resource": VISIT}]}, "incomplete", ["e1"]),
        (bundle(PATIENT, link={"relation": "next"}), "incomplete", ["p1"]),
        (bundle(PATIENT, link=["next"]), "incomplete", ["p1"]),
        (bundle(PATIENT, link=[{"relation": 5}]), "incomplete", ["p1"]),
        (bundle({"resourceType": "Bundle", "entry": "none"}, VISIT), "incomplete", ["e1"]),
        (bundle({"resourceType": ["Patient"], "id": "p1"}, VISIT), "incomplete", ["e1"]),
    ],
)
def test_a_broken_part_of_a_bundle_spoils_only_itself(value: Any, state: str, found: list[str]) -> None:
    result = read(value)
    assert (result.state, ids(result)) == (state, found)
    assert "cannot be read" in result.note


def issue(severity: object = "warning", code: object = "informational", *messages: str) -> dict[str, Any]:
    coding = [{"system": "urn:oid:1.2.840.114350.1.13.0.1.7.2.657369", "code": message} for message in messages]
    return {"severity": severity, "code": code, **({"details": {"coding": coding}} if messages else {})}


def outcome(*issues: Any) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": list(issues)}


@pytest.mark.parametrize(
    "remark",
    [
        outcome(issue()),
        outcome(issue("information")),
        outcome(issue(), issue("information")),
        outcome(issue("warning", "processing", "4101")),
        outcome(issue("warning", "processing", "4119")),
        outcome(issue("warning", "processing", "4101"), issue("warning", "processing", "4119")),
        outcome(issue("warning", "informational", "4101", "4119")),
    ],
)
def test_an_outcome_that_only_informs_is_noted_and_leaves_the_state_as_it_would_be(remark: dict[str, Any]) -> None:
    for found, state in ([], "empty"), ([PATIENT], "supplied"):
        result = read(bundle(*found, remark))
        assert (result.state, len(result.resources)) == (state, len(found))
        assert result.note == "OperationOutcome entries that only inform: 1"
    further = read(bundle(remark, link=NEXT))
    assert (further.state, further.next_page) == ("incomplete", "y")
    assert read(remark).state is PrefetchState.FAILED


# What servers say, and the documentation of Epic lists, of results that they leave out.
LOST = [
    *(issue(severity) for severity in ("error", "fatal", "", None, 5)),
    *(issue("warning", code) for code in (None, "", 5, ["informational"])),
    *(
        issue(severity, code)
        for severity in ("warning", "information")
        for code in (
            *("suppressed", "incomplete", "throttled", "too-costly", "security", "forbidden", "login", "expired"),
            *("unknown", "timeout", "not-supported", "exception", "transient", "lock-error", "no-store", "processing"),
            *("required", "value", "invalid", "structure", "invariant", "code-invalid", "not-found", "deleted"),
            *("business-rule", "conflict", "duplicate", "multiple-matches", "extension", "too-long", "no-such-code"),
        )
    ),
    issue("error", "processing", "4101"),
    issue("warning", "suppressed", "59204"),
    issue("information", "informational", "4134"),
    issue("warning", "processing", "4101", "59133"),
    {"severity": "warning", "code": "processing", "details": {"coding": [{"system": "urn:oid:1.2.3", "code": "4101"}]}},
    {"severity": "warning", "code": "processing", "details": {"text": "Resource request returns no results."}},
    {"severity": "warning", "code": "informational", "details": "none"},
    {},
    "warning",
]


@pytest.mark.parametrize("lost", LOST, ids=str)
def test_an_outcome_that_may_tell_of_lost_data_is_never_taken_for_a_remark(lost: Any) -> None:
    for telling in (outcome(lost), outcome(issue(), lost)):
        alone, beside = read(bundle(telling)), read(bundle(telling, PATIENT, outcome(issue())))
        assert (alone.state, alone.note) == ("failed", "OperationOutcome entries: 1")
        assert beside.state is PrefetchState.INCOMPLETE
        assert beside.note == "OperationOutcome entries: 1; OperationOutcome entries that only inform: 1"


FAILED = {"response": {"status": "404 Not Found"}}
TIMEOUT = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
REMARK = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "processing"}]}


@pytest.mark.parametrize("kind", ["batch-response", "transaction-response"])
@pytest.mark.parametrize(
    ("entries", "state"),
    [
        ([FAILED], "failed"),
        ([{"response": {"status": 500}}], "failed"),
        ([{"response": {"status": "200", "outcome": TIMEOUT}}], "failed"),
        ([{"response": 5}], "failed"),
        ([FAILED, {"resource": bundle(PATIENT), "response": {"status": "200 OK"}}], "incomplete"),
        ([{"resource": bundle(PATIENT), "response": {"status": "200 OK", "outcome": REMARK}}], "supplied"),
        ([{"resource": bundle(), "response": {"status": "200 OK"}}], "empty"),
        ([{"resource": bundle(), "response": None}], "empty"),
    ],
)
def test_a_failed_entry_of_a_batch_is_never_taken_for_an_empty_search(kind: str, entries: Any, state: str) -> None:
    assert read({"resourceType": "Bundle", "type": kind, "entry": entries}).state == state


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (bundle(PATIENT, total=1), "supplied"),
        (bundle(total=0), "empty"),
        (bundle(PATIENT, total=2), "incomplete"),
        (bundle(total=2), "incomplete"),
        (bundle(PATIENT, VISIT, total=1), "supplied"),
        (bundle(PATIENT, total="2"), "supplied"),
        (bundle(PATIENT, total=2, type="collection"), "supplied"),
    ],
)
def test_a_search_that_found_more_than_came_is_incomplete(value: Any, state: str) -> None:
    assert read(value).state == state


@pytest.mark.parametrize("issues", [[], None, "none", {}])
def test_an_outcome_without_an_issue_is_lost_data(issues: Any) -> None:
    assert read(bundle({"resourceType": "OperationOutcome", "issue": issues})).state is PrefetchState.FAILED
    assert read(bundle({"resourceType": "OperationOutcome"})).state is PrefetchState.FAILED


def test_the_content_of_a_resource_does_not_matter() -> None:
    odd = {"resourceType": "Observation", "id": 12, "status": ["x"], "code": "none", "subject": None}
    assert read(bundle(odd)).state is PrefetchState.SUPPLIED
    assert read(odd).state is PrefetchState.SUPPLIED


def test_a_resource_that_does_not_begin_with_its_type_is_read_all_the_same() -> None:
    late = [{"id": "a", "resourceType": "Patient"}, {"id": "b", "resourceType": "OperationOutcome"}]
    result = read(bundle(*late))
    assert (result.state, ids(result)) == (PrefetchState.INCOMPLETE, ["a"])


def test_a_type_that_only_begins_like_another_is_itself() -> None:
    result = read(bundle({"resourceType": "BundleOfJoy", "id": "a"}, {"resourceType": "OperationOutcomes", "id": "b"}))
    assert (result.state, ids(result)) == (PrefetchState.SUPPLIED, ["a", "b"])


@pytest.mark.parametrize("raw", [None, msgspec.Raw(b"null"), msgspec.Raw(b"{}"), {}])
def test_a_declared_key_that_did_not_come_is_missing(raw: Any) -> None:
    assert read_prefetch(raw, ["one", "two"]) == {
        key: PrefetchValue(key, PrefetchState.MISSING, (), "") for key in ("one", "two")
    }


def test_undeclared_keys_are_kept_after_the_declared_ones() -> None:
    raw = msgspec.Raw(json.dumps({"extra": PATIENT, "visits": None}).encode())
    result = read_prefetch(raw, ["patient", "visits"])
    assert [(key, value.state) for key, value in result.items()] == [
        ("patient", "missing"),
        ("visits", "null"),
        ("extra", "supplied"),
    ]


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"4", b"true", b'{"a":', b'{"\xff":1}'])
def test_a_prefetch_that_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        read_prefetch(msgspec.Raw(raw), ["patient"])
    assert refused.value.expression == "prefetch"


@pytest.mark.parametrize("depth", [300, 700, 5000])
def test_no_depth_of_nesting_makes_reading_fail(depth: int) -> None:
    for inner in ('{"resourceType":"Bundle","entry":[{"resource":', '{"response":{},"resource":', '{"a":', "["):
        closing = inner.replace('"', "").translate(str.maketrans("{[", "}]"))
        closing = "".join(reversed([sign for sign in closing if sign in "}]"][:2] if "entry" in inner else closing[:1]))
        text = inner * depth + "1" + closing * depth
        value = read_prefetch({"key": msgspec.Raw(text.encode())}, ["key"])["key"]
        assert value.state in PrefetchState


@pytest.mark.parametrize(
    "template",
    [
        "Patient/{{context.patientId}}",
        "{{context.userId}}",
        "Encounter/{{context.encounterId}}",
        "Condition?patient={{context.patientId}}",
        "Observation?patient={{context.patientId}}&code=http://loinc.org|4548-4,http://loinc.org|1988-5&_count=10&_sort=-date",
        "Condition?patient={{context.patientId}}&code:in=http://example.org/ValueSet/x",
        "Observation?patient={{context.patientId}}&date=ge2024-01-01&date=lt2025-01-01",
        "PractitionerRole?_id={{userPractitionerRoleId}}",
        "Observation?patient={{context.patientId}}&_lastUpdated=gt2024-01-01",
        "Observation?code=ne",
        "Condition?code=sap1234",
    ],
)
def test_a_template_within_the_restrictions_has_no_problems(template: str) -> None:
    assert lint_template(template) == []


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("Patient/{{Patient.id}}", "{{Patient.id}}"),
        ("Observation?date=gt{{today() - 90 days}}", "today()"),
        ("Condition?_id={{context.draftOrders.entry.resource.id}}", "context.draftOrders.entry"),
        ("Condition?_id={{%other.entry.resource.id}}", "%other"),
        ("Condition?code:below=x", ":below"),
        ("Condition?code:not=x", ":not"),
        ("Patient?name:exact=x", ":exact"),
        ("Patient?_has:Observation:patient:code=x", "_has"),
        ("PractitionerRole?_id={{userPractitionerRoleId}}&_include=PractitionerRole:practitioner", "_include"),
        ("Observation?patient=1&_revinclude=Provenance:target", "_revinclude"),
        ("Observation?patient=1&_summary=count", "_summary"),
        ("Observation?patient.name=x", "patient.name"),
        ("Observation?date=ne2024-01-01", "prefix ne"),
        ("Observation?date=sa2024", "prefix sa"),
        ("Observation?patient", "plain search parameter"),
        ("Observation?patient=", "plain search parameter"),
        ("Observation?", "neither"),
        ("Observation", "neither"),
        ("/Patient/1", "neither"),
        ("https://ehr.example.org/Patient/1", "neither"),
        ("Patient/1/_history/2", "neither"),
        ("Patient/1/Observation?code=x", "neither"),
        ("Patient/$everything", "neither"),
        ("patient/1", "neither"),
        ("", "neither"),
    ],
)
def test_a_template_beyond_the_restrictions_is_named(template: str, problem: str) -> None:
    assert problem in " ".join(lint_template(template))


@pytest.mark.parametrize(
    ("template", "context", "expected"),
    [
        ("Patient/{{context.patientId}}", {"patientId": "p1"}, "Patient/p1"),
        ("{{context.userId}}", {"userId": "Practitioner/7"}, "Practitioner/7"),
        ("A?x={{context.patientId}}&y={{context.patientId}}", {"patientId": "1"}, "A?x=1&y=1"),
        ("Practitioner?_id={{userPractitionerId}}", {"userId": "Practitioner/7"}, "Practitioner?_id=7"),
        ("A?_id={{context.selections}}", {"selections": ["Basic/1", "Basic/2"]}, "A?_id=Basic/1,Basic/2"),
        ("A?patient={{context.patientId}}", {"patientId": "1&_include=*"}, "A?patient=1%26_include%3D%2A"),
        ("Patient/{{context.patientId}}", {"patientId": "1?x#y%"}, "Patient/1%3Fx%23y%25"),
    ],
)
def test_tokens_are_replaced_by_what_the_context_holds(template: str, context: dict[str, Any], expected: str) -> None:
    assert resolve_template(template, context) == expected


@pytest.mark.parametrize(
    ("template", "context", "token"),
    [
        ("Patient/{{context.patientId}}", {}, "context.patientId"),
        ("Patient/{{context.patientId}}", {"patientId": None}, "context.patientId"),
        ("Patient/{{context.patientId}}", {"patientId": ""}, "context.patientId"),
        ("Patient/{{context.patientId}}", {"patientId": ".."}, "context.patientId"),
        ("Patient/{{context.patientId}}", {"patientId": "a/../../b"}, "context.patientId"),
        ("A?_id={{context.selections}}", {"selections": []}, "context.selections"),
        ("A?_id={{context.selections}}", {"selections": [{"id": 1}]}, "context.selections"),
        ("A?_id={{userPatientId}}", {"userId": "Practitioner/7"}, "userPatientId"),
        ("A?_id={{userPatientId}}", {}, "userPatientId"),
        ("A?date=gt{{today()}}", {"patientId": "p1"}, "today()"),
    ],
)
def test_a_token_without_a_usable_value_is_an_error_that_names_it(
    template: str, context: dict[str, Any], token: str
) -> None:
    with pytest.raises(PrefetchTokenError) as missing:
        resolve_template(template, context)
    assert missing.value.token == token
    assert f"{{{{{token}}}}}" in str(missing.value)


NEXT_LINK = {"relation": "next", "url": "https://ehr.example.org/fhir?page=2"}


@pytest.mark.parametrize(
    ("members", "next_page"),
    [
        ({"link": [NEXT_LINK]}, NEXT_LINK["url"]),
        ({"link": [{"relation": "self", "url": "https://ehr.example.org"}]}, ""),
        ({"link": [{"relation": "next"}]}, ""),
        ({"link": [NEXT_LINK], "entry": [{"resource": {"resourceType": "OperationOutcome"}}]}, ""),
        ({"entry": [{"resource": {"resourceType": "Bundle", "link": [NEXT_LINK]}}]}, ""),
    ],
)
def test_the_next_page_is_known_where_it_is_all_that_lacks(members: dict[str, object], next_page: str) -> None:
    raw = msgspec.Raw(json.dumps({"resourceType": "Bundle", **members}).encode())

    assert read_prefetch({"visits": raw}, ())["visits"].next_page == next_page


@pytest.mark.parametrize(
    ("note", "late"),
    [
        ("not in time", True),
        ("an OperationOutcome instead of data; not in time", True),
        ("the FHIR server did not answer the last calls and is not asked for some seconds", True),
        ("not fetched: connection", True),
        ("nothing is fetched in prefetch-only mode", False),
        ("outside of the granted scope", False),
        ("", False),
    ],
)
def test_a_key_is_late_when_the_server_that_has_it_did_not_answer(note: str, late: bool) -> None:
    assert PrefetchValue("key", PrefetchState.MISSING, (), note).is_late is late
    assert not PrefetchValue("key", PrefetchState.EMPTY, (), note).is_late
