import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from cds_hooks import BadRequest, CdsService, Head, HookMismatch, HookRequest, PrefetchState, Reads, read_request
from cds_hooks.body import Walks
from cds_hooks.request import read_envelope
from tests.unending import must_end

Text = Callable[..., bytes]


def read(text: bytes, service: CdsService[Any]) -> HookRequest:
    return read_request(text, service, correlation_id="c-1")


def refused(text: bytes, service: CdsService[Any]) -> BadRequest:
    with pytest.raises(BadRequest) as problem:
        read(text, service)
    return problem.value


def test_a_request_as_the_specification_wishes_it_is_read_without_notes(text: Text, greeter: CdsService[Any]) -> None:
    request = read(text(), greeter)
    assert request.hook == "patient-view"
    assert request.hook_instance == "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
    assert request.context == {"userId": "Practitioner/7", "patientId": "p1", "encounterId": "e1"}
    assert request.patient_id == "p1"
    assert request.fhir_server == "https://ehr.example.org/fhir"
    assert request.fhir_authorization is not None
    assert request.fhir_authorization.access_token == "very-secret"  # noqa: S105
    assert request.fhir_authorization.expires_in == 300
    assert [value.state for value in request.prefetch.values()] == [PrefetchState.SUPPLIED, PrefetchState.NULL]
    assert request.extension == {}
    assert request.notes == ()
    assert request.correlation_id == "c-1"
    assert request.client is None


def test_neither_token_nor_chart_is_in_the_repr_of_a_request(text: Text, greeter: CdsService[Any]) -> None:
    shown = repr(read(text(), greeter))
    assert "very-secret" not in shown
    assert "p1" not in shown


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "received array"),
        (b'"text"', "received string"),
        (b"4", "received number"),
        (b"true", "received boolean"),
        (b"null", "received null"),
        (b"not json", "something else"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"hook":"pati\u00e9nt-view"}'.encode("latin-1"), "UTF-8"),
        (b'{"prefetch":{"patient":{"a":"\xff"}}}', "UTF-8"),
        ('{"hook":"x"}'.encode("utf-16"), "UTF-8"),
        (b'{"hook":NaN}', "something else"),
        (b'{"hook":"x"} trailing', "trailing"),
        (b'{"hook":"x",}', "trailing comma"),
        (b'{"hook":"a","hook":"b"}', "twice"),
        (b'{"prefetch":{},"\\u0070refetch":{}}', "twice"),
        (b'{"hook":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"prefetch":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "nested too deeply"),
        (b'{"hook":' + b"9" * 5_000 + b"}", "out of range"),
        (b'{"hook":1e999}', "out of range"),
    ],
)
def test_a_body_that_is_no_sound_json_object_is_refused(body: bytes, said: str, greeter: CdsService[Any]) -> None:
    problem = refused(body, greeter)
    assert problem.status == 400
    assert problem.diagnostics.startswith("body: expected")
    assert said in problem.diagnostics


@pytest.mark.parametrize(
    ("members", "path", "code", "received"),
    [
        ({"hook": ...}, "hook", "required", "nothing"),
        ({"hook": 5}, "hook", "structure", "number"),
        ({"hook": ""}, "hook", "value", "string"),
        ({"hook": None}, "hook", "structure", "null"),
        ({"hook": ["patient-view"]}, "hook", "structure", "array"),
        ({"hookInstance": ...}, "hookInstance", "required", "nothing"),
        ({"hookInstance": None}, "hookInstance", "structure", "null"),
        ({"hookInstance": 7}, "hookInstance", "structure", "number"),
        ({"hookInstance": ""}, "hookInstance", "value", "string"),
        ({"hookInstance": "x" * 257}, "hookInstance", "value", "string"),
        ({"context": ...}, "context", "required", "nothing"),
        ({"context": None}, "context", "structure", "null"),
        ({"context": []}, "context", "structure", "array"),
        ({"context": "p1"}, "context", "structure", "string"),
        ({"context": {}}, "context.patientId", "required", "nothing"),
        ({"context": {"patientId": None}}, "context.patientId", "structure", "null"),
        ({"context": {"patientId": ""}}, "context.patientId", "value", "string"),
        ({"context": {"patientId": "Patient/"}}, "context.patientId", "value", "string"),
        ({"context": {"patientId": 12}}, "context.patientId", "structure", "number"),
        ({"context": {"patientId": {"id": "p1"}}}, "context.patientId", "structure", "object"),
        ({"context": {"patientId": "p1", "encounterId": 4}}, "context.encounterId", "structure", "number"),
        ({"context": {"patientId": "p1", "userId": []}}, "context.userId", "structure", "array"),
        ({"prefetch": []}, "prefetch", "structure", "array"),
        ({"prefetch": "none"}, "prefetch", "structure", "string"),
        ({"fhirServer": 5}, "fhirServer", "structure", "number"),
        ({"fhirAuthorization": "token"}, "fhirAuthorization", "structure", "string"),
        ({"fhirAuthorization": {}}, "fhirAuthorization.access_token", "required", "nothing"),
        ({"fhirAuthorization": {"access_token": ""}}, "fhirAuthorization.access_token", "value", "string"),
        (
            {"fhirAuthorization": {"access_token": "t", "expires_in": "soon"}},
            "fhirAuthorization.expires_in",
            "structure",
            "string",
        ),
    ],
)
def test_a_member_that_is_missing_or_wrong_is_refused_with_its_path(
    *, members: dict[str, Any], path: str, code: str, received: str, text: Text, greeter: CdsService[Any]
) -> None:
    problem = refused(text(**members), greeter)
    assert (problem.expression, problem.issue_code) == (path, code)
    assert problem.diagnostics.startswith(f"{path}: expected ")
    assert f"received {received}." in problem.diagnostics


def test_a_refusal_does_not_repeat_what_was_sent(text: Text, greeter: CdsService[Any]) -> None:
    name = "Jane-Doe-1970"
    for members in (
        {"hookInstance": name * 30},
        {"context": {"patientId": [name]}},
        {"context": {"patientId": {name: 1}}},
        {"context": {"patientId": "p1", "encounterId": [name]}},
        {"fhirAuthorization": {"access_token": [name]}},
        {"hook": f"{name} has a fever"},
    ):
        assert name not in refused(text(**members), greeter).diagnostics


@pytest.mark.parametrize(
    ("members", "note"),
    [
        ({"hookInstance": "test-instance-123"}, "hookInstance is not a UUID"),
        ({"fhirServer": None, "fhirAuthorization": ...}, "fhirServer is null"),
        ({"fhirAuthorization": None}, "fhirAuthorization is null"),
        ({"prefetch": None}, "prefetch is null"),
        ({"extension": None}, "extension is null"),
        ({"extension": []}, "extension is not an object and is ignored"),
        ({"fhirServer": "http://ehr.example.org"}, "fhirServer does not use https"),
        ({"fhirServer": "the usual one"}, "fhirServer is not an absolute http URL and is ignored"),
        ({"fhirServer": ...}, "fhirAuthorization came without fhirServer"),
        (
            {"fhirAuthorization": {"access_token": "t"}},
            "fhirAuthorization lacks token_type, expires_in, scope, subject",
        ),
        ({"user": "Practitioner/1"}, "user is a member from before release 1.0 and is ignored"),
        ({"patient": "1"}, "patient is a member from before release 1.0 and is ignored"),
        ({"context": {"patientId": "p1"}}, "context.userId is missing"),
        ({"context": {"patientId": "p1", "userId": None}}, "context.userId is null"),
        ({"context": {"patientId": "p1", "userId": "U/1", "encounterId": None}}, "context.encounterId is null"),
        ({"context": {"patientId": "p1", "userId": "U/1", "encounterId": ""}}, "context.encounterId is empty"),
        ({"context": {"patientId": "Patient/p1", "userId": "U/1"}}, "context.patientId came with its resource type"),
        (
            {"context": {"patientId": "p1", "userId": "U/1", "encounterId": "Encounter/e1"}},
            "context.encounterId came with its resource type",
        ),
    ],
)
def test_what_is_odd_but_harmless_is_accepted_with_a_note(
    members: dict[str, Any], note: str, text: Text, greeter: CdsService[Any]
) -> None:
    request = read(text(**members), greeter)
    assert note in request.notes
    assert request.patient_id == "p1"


def test_a_token_may_come_with_nothing_beside_it(text: Text, greeter: CdsService[Any]) -> None:
    sent = {
        "access_token": "t",
        "token_type": None,
        "expires_in": None,
        "scope": None,
        "subject": None,
        "patient": None,
    }
    authorization = read(text(fhirAuthorization=sent), greeter).fhir_authorization
    assert authorization is not None
    assert (authorization.token_type, authorization.expires_in, authorization.scope) == ("Bearer", None, "")


def test_members_that_no_specification_names_are_accepted_and_not_repeated(
    text: Text, greeter: CdsService[Any]
) -> None:
    request = read(text(**{"Jane Doe": {"deep": [1, {"a": None}]}, "list": [1]}), greeter)
    assert request.notes == ()


@pytest.mark.parametrize("extension", [{}, {"com.example.a": {"b": [1, None]}}, {"": "x"}])
def test_an_extension_may_be_any_object(extension: Any, text: Text, greeter: CdsService[Any]) -> None:
    assert read(text(extension=extension), greeter).extension == extension


def test_an_extension_that_cannot_be_decoded_is_refused(text: Text, greeter: CdsService[Any]) -> None:
    body = text(extension={"a": "HUGE"}).replace(b'"HUGE"', b"9" * 5_000)
    assert refused(body, greeter).expression == "extension"


def test_a_trailing_slash_of_the_server_is_left_out(text: Text, greeter: CdsService[Any]) -> None:
    assert read(text(fhirServer="https://ehr.example.org/fhir/"), greeter).fhir_server == "https://ehr.example.org/fhir"


def test_another_hook_than_the_service_has_is_refused_and_both_are_named(text: Text, greeter: CdsService[Any]) -> None:
    problem = refused(text(hook="order-sign"), greeter)
    assert isinstance(problem, HookMismatch)
    assert problem.expression == "hook"
    assert "patient-view" in problem.diagnostics
    assert "order-sign" in problem.diagnostics


def test_the_prefetch_is_not_decoded(text: Text, greeter: CdsService[Any]) -> None:
    patient = {"resourceType": "Patient", "id": "p1", "n": 1.0}
    request = read(text(prefetch={"patient": patient}), greeter)
    assert bytes(request.prefetch["patient"].resources[0]) == json.dumps(patient).encode()
    assert request.prefetch["visits"].state is PrefetchState.MISSING


@pytest.mark.parametrize(("sent", "seconds"), [(300, 300), (300.0, 300), ("300", 300), (None, None), (-1, -1)])
def test_the_seconds_of_a_token_are_a_number_or_one_as_text(
    sent: object, seconds: int | None, text: Text, greeter: CdsService[Any]
) -> None:
    request = read(text(fhirAuthorization={"access_token": "t", "expires_in": sent}), greeter)
    assert request.fhir_authorization is not None
    assert request.fhir_authorization.expires_in == seconds


@pytest.mark.parametrize("sent", [True, "5 minutes", "-1", "", 1e300, [], "9" * 5000])
def test_seconds_that_are_no_number_are_refused(sent: object, text: Text, greeter: CdsService[Any]) -> None:
    problem = refused(text(fhirAuthorization={"access_token": "t", "expires_in": sent}), greeter)
    assert "expected a number of seconds" in problem.diagnostics


def test_an_address_without_end_costs_no_more_than_its_length(text: Text, greeter: CdsService[Any]) -> None:
    with must_end():
        assert read(text(fhirServer="http://" + "a" * 500_000 + " "), greeter).fhir_server is None


@pytest.mark.parametrize(
    "members",
    [
        {"prefetch": {str(number): {} for number in range(1_001)}},
        {"context": {str(number): None for number in range(1_001)}},
        {"anything": [[], *range(1_001)], "more": {str(number): None for number in range(1_001)}},
        {str(number): {} for number in range(1_001)},
        {name: {str(number): {} for number in range(400)} for name in ("prefetch", "context", "extension")},
    ],
)
def test_a_body_with_members_without_end_is_refused_before_they_are_kept(members: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="expected at most 1000 members"):
        read_envelope(json.dumps({"hook": "patient-view", **members}).encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"anything": [@], "hook": "a", "hookInstance": "a", "context": {}}',
        '{"anything": [[@]], "hook": "a", "hookInstance": "a", "context": {}}',
        '{"hook": "a", "hookInstance": "a", "context": {"anything": [[@]]}}',
        '{"hook": "a", "hookInstance": "a", "context": {"anything": {"type": [@]}}}',
    ],
    ids=["in the body", "in an array of it", "in the context", "in an object of it"],
)
def test_an_array_that_nobody_reads_is_not_decoded(text: str, greeter: CdsService[Any]) -> None:
    body = text.replace("@", "{}," * 100_000 + "{}").encode()
    walks = Walks(Reads(Head, Head), greeter.prefetch)
    for read_with in (None, walks):
        tracemalloc.start()
        try:
            assert read_envelope(body, read_with)["hook"] == "a"
            # Decoded they would take eight times their length, as dicts more than twenty times.
            assert tracemalloc.get_traced_memory()[1] < 2 * len(body)
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("member", ["extension", "fhirAuthorization", "context"])
def test_a_member_that_is_too_long_to_be_decoded_is_refused(member: str, text: Text, greeter: CdsService[Any]) -> None:
    kept = {"anything": [{}] * 100_000, "patientId": "p1", "access_token": "t"}
    assert read(text(extension=kept), greeter).extension == kept
    long = {**kept, "userId": [{}] * 200_000}
    problem = refused(text(**{member: long}), greeter)
    assert "at most 500000 bytes" in problem.diagnostics
    assert (problem.expression or "").startswith(member)


def test_a_body_with_as_many_members_as_it_may_have_is_read_each_time() -> None:
    body = {"hook": "a", "hookInstance": "a", "context": {}, "prefetch": {str(number): {} for number in range(996)}}
    for _ in range(3):
        assert len(read_envelope(json.dumps(body).encode())["prefetch"]) == 996  # type: ignore[arg-type]
