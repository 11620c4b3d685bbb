import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cds_hooks import HOOKS, BadRequest, CdsService, HookRequest, HookResponse, read_request
from cds_hooks.hooks import is_hook_name

Text = Callable[..., bytes]
BUNDLE = {"resourceType": "Bundle", "entry": []}
BASE = {"userId": "Practitioner/7", "patientId": "p1"}
CONTEXTS: dict[str, dict[str, Any]] = {
    "patient-view": BASE,
    "encounter-start": {**BASE, "encounterId": "e1"},
    "encounter-discharge": {**BASE, "encounterId": "e1"},
    "order-select": {**BASE, "selections": ["ServiceRequest/1"], "draftOrders": BUNDLE},
    "order-sign": {**BASE, "draftOrders": BUNDLE},
    "order-dispatch": {"patientId": "p1", "dispatchedOrders": ["ServiceRequest/1"], "performer": "Organization/1"},
    "appointment-book": {**BASE, "appointments": BUNDLE},
    "allergyintolerance-create": {**BASE, "allergyIntolerance": {"resourceType": "AllergyIntolerance"}},
    "medication-refill": {"patientId": "p1", "medications": BUNDLE},
    "problem-list-item-create": {**BASE, "conditions": BUNDLE},
    "medication-prescribe": {**BASE, "medications": BUNDLE},
    "order-review": {**BASE, "orders": BUNDLE},
}


def read(text: Text, hook: str, context: dict[str, Any]) -> HookRequest:
    service = CdsService("any", hook, "Any", "Any", {}, lambda _: HookResponse(()))
    return read_request(text(hook=hook, context=context), service, correlation_id="c")


def test_every_hook_of_the_library_is_there() -> None:
    assert set(HOOKS) == set(CONTEXTS)
    assert {name for name, hook in HOOKS.items() if hook.deprecated} == {"medication-prescribe", "order-review"}


@pytest.mark.parametrize("hook", CONTEXTS)
def test_a_context_as_the_library_describes_it_is_read_without_notes(hook: str, text: Text) -> None:
    request = read(text, hook, CONTEXTS[hook])
    assert request.notes == ()
    assert request.patient_id == "p1"


@pytest.mark.parametrize(
    ("hook", "member"),
    [(hook, member) for hook, context in CONTEXTS.items() for member in context if member != "userId"],
)
@pytest.mark.parametrize("instead", [..., None])
def test_a_required_member_of_a_context_is_required(hook: str, member: str, instead: Any, text: Text) -> None:
    context = {**CONTEXTS[hook], member: instead}
    if instead is ...:
        del context[member]
    with pytest.raises(BadRequest) as refused:
        read(text, hook, context)
    assert refused.value.expression == f"context.{member}"


@pytest.mark.parametrize("hook", CONTEXTS)
def test_a_user_who_is_not_named_is_noted_only_where_the_hook_wants_one(hook: str, text: Text) -> None:
    context = {name: value for name, value in CONTEXTS[hook].items() if name != "userId"}
    wanted = hook not in ("order-dispatch", "medication-refill")
    assert ("context.userId is missing" in read(text, hook, context).notes) is wanted


@pytest.mark.parametrize(
    ("hook", "member"),
    [(hook, member) for hook, definition in HOOKS.items() for member in definition.resources],
)
def test_members_that_hold_resources_stay_raw_and_are_checked_for_their_type(
    hook: str, member: str, text: Text
) -> None:
    sent: Any = [{}] if member == "fulfillmentTasks" else {"resourceType": "Bundle", "entry": "broken"}
    raw = read(text, hook, {**CONTEXTS[hook], member: sent}).context[member]
    assert isinstance(raw, msgspec.Raw)
    assert json.loads(bytes(raw)) == sent
    with pytest.raises(BadRequest) as refused:
        read(text, hook, {**CONTEXTS[hook], member: "text"})
    assert refused.value.expression == f"context.{member}"


def test_appointments_may_be_an_array_as_in_the_examples_of_the_library(text: Text) -> None:
    request = read(text, "appointment-book", {**BASE, "appointments": [{"resourceType": "Appointment"}]})
    assert isinstance(request.context["appointments"], msgspec.Raw)


@pytest.mark.parametrize(
    ("hook", "old", "value", "new", "expected"),
    [
        ("order-dispatch", "dispatched-orders", ["A/1"], "dispatchedOrders", ["A/1"]),
        ("order-dispatch", "order", "A/1", "dispatchedOrders", ["A/1"]),
        ("order-dispatch", "fulfillment-tasks", [{}], "fulfillmentTasks", [{}]),
        ("order-dispatch", "task", {}, "fulfillmentTasks", [{}]),
        ("allergyintolerance-create", "allergyIntolerances", BUNDLE, "allergyIntolerance", BUNDLE),
    ],
)
def test_earlier_names_of_members_are_understood_with_a_note(
    *, hook: str, old: str, value: Any, new: str, expected: Any, text: Text
) -> None:
    context = {name: member for name, member in CONTEXTS[hook].items() if name != new}
    request = read(text, hook, {**context, old: value})
    found = request.context[new]
    assert (json.loads(bytes(found)) if isinstance(found, msgspec.Raw) else found) == expected
    assert request.notes == (f"context.{old} is an earlier name of {new}",)


def test_an_earlier_name_beside_the_current_one_changes_nothing(text: Text) -> None:
    request = read(text, "order-dispatch", {**CONTEXTS["order-dispatch"], "order": "Other/2"})
    assert request.context["dispatchedOrders"] == ["ServiceRequest/1"]


def test_the_path_of_a_wrong_element_has_its_place(text: Text) -> None:
    with pytest.raises(BadRequest) as refused:
        read(text, "order-select", {**CONTEXTS["order-select"], "selections": ["A/1", 5]})
    assert refused.value.expression == "context.selections[1]"
    assert "received number" in refused.value.diagnostics


def test_members_that_the_hook_does_not_define_are_kept_and_large_ones_stay_raw(text: Text) -> None:
    request = read(
        text, "patient-view", {**BASE, "flag": True, "number": 4, "gone": None, "tree": {"a": 1}, "list": [1]}
    )
    assert request.context["flag"] is True
    assert request.context["number"] == 4
    assert "gone" not in request.context
    assert bytes(request.context["tree"]) == b'{"a": 1}'
    assert bytes(request.context["list"]) == b"[1]"
    assert request.notes == ()


@pytest.mark.parametrize("name", ["patientId", "other"])
def test_a_value_that_cannot_be_decoded_is_refused(name: str, text: Text) -> None:
    service = CdsService("any", "patient-view", "Any", "Any", {}, lambda _: HookResponse(()))
    body = text(context={**BASE, name: "HUGE"}).replace(b'"HUGE"', b"9" * 5_000)
    with pytest.raises(BadRequest) as refused:
        read_request(body, service, correlation_id="c")
    assert refused.value.expression == ("context.patientId" if name == "patientId" else "context")


def test_a_hook_of_ones_own_takes_any_context(text: Text) -> None:
    request = read(text, "org.example.patient-transmogrify", {"color": "green"})
    assert request.context == {"color": "green"}
    with pytest.raises(BadRequest) as refused:
        request.patient_id  # noqa: B018
    assert refused.value.expression == "context.patientId"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("patient-view", True),
        ("order-review", True),
        ("org.example.patient-transmogrify", True),
        ("fancy-structure", False),
        ("Patient-View", False),
        ("example.x", True),
        ("org.example.", False),
        ("", False),
    ],
)
def test_a_hook_is_in_the_library_or_named_by_reverse_domain(name: str, known: bool) -> None:
    assert is_hook_name(name) is known
