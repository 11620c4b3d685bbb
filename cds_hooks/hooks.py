"""The hooks of the CDS Hooks Library and what the context of each holds.

As tolerant as the field: members that are not known are accepted, an id may come with its resource type, an optional
member may be null or empty. Members that hold resources stay raw JSON.
Specification: Hooks; CDS Hooks Library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec
from marshmallow import INCLUDE, Schema, ValidationError, fields, validate

from cds_hooks.errors import BadRequest
from cds_hooks.json_text import LONGEST_MEMBER, UNREADABLE, Scalar, decode, json_type
from cds_hooks.schemas import load, refusal

Members: TypeAlias = Mapping[str, msgspec.Raw | Scalar]
_REVERSE_DOMAIN = re.compile(r"[a-z][a-z0-9-]*(?:\.[A-Za-z0-9-]+)+")


def _bare_id(kind: str, *, required: bool) -> fields.Field[Any]:
    """A FHIR id, which may come with its resource type before it and is handed on without."""
    prefix = f"{kind}/"
    sound = rf"^(?!{prefix}\s*$).*\S"
    return fields.String(
        required=required,
        allow_none=not required,
        validate=validate.Regexp(sound if required else f"{sound}|^$"),
        post_load=lambda value: value and value.removeprefix(prefix),
        metadata={
            "expected": f"a string, the id of the {kind}",
            "description": f"The id of the {kind}, bare or as {prefix}id.",
        },
    )


def _raw(*types: str, holds: str, required: bool = True) -> fields.Field[Any]:
    """A member that holds resources: checked for its JSON type, never decoded."""

    def of_type(value: object) -> object:
        if json_type(value) not in types:
            raise ValidationError("another JSON type")
        return value

    return fields.Function(
        deserialize=of_type,
        required=required,
        metadata={
            "expected": f"an {' or '.join(types)}",
            "type": types[0] if len(types) == 1 else list(types),
            "description": holds,
        },
    )


@dataclass(frozen=True, slots=True)
class HookDefinition:
    """A hook by name; `schema` checks its context, `resources` are the members that stay raw JSON."""

    name: str
    schema: Schema
    resources: frozenset[str]
    asks_for_user: bool
    deprecated: bool = False


def _define(
    name: str,
    *,
    encounter: bool = False,
    user: bool = True,
    patient: bool = True,
    deprecated: bool = False,
    **members: fields.Field[Any],
) -> HookDefinition:
    """`encounter`, `user` and `patient` say whether the hook requires them; a missing user is accepted all the same."""
    schema = Schema.from_dict(
        {
            "userId": fields.String(
                allow_none=True,
                metadata={
                    "expected": "a string, the reference of the current user",
                    "description": "The reference of the current user.",
                },
            ),
            "patientId": _bare_id("Patient", required=patient),
            "encounterId": _bare_id("Encounter", required=encounter),
            **members,
        },
        name="".join(word.capitalize() for word in name.split("-")) + "Context",
    )
    resources = frozenset(member for member, field in members.items() if isinstance(field, fields.Function))
    return HookDefinition(name, schema(unknown=INCLUDE), resources, user, deprecated)


def _references(of: str) -> fields.Field[Any]:
    return fields.List(
        fields.String(),
        required=True,
        metadata={"expected": "an array of references", "description": f"The references of {of}."},
    )


_DRAFTS = "A Bundle of the draft orders."
_DEFINITIONS = (
    _define("patient-view"),
    _define("encounter-start", encounter=True),
    _define("encounter-discharge", encounter=True),
    _define(
        "order-select",
        selections=_references("the drafts that are judged; the others count as ordered"),
        draftOrders=_raw("object", holds=_DRAFTS),
    ),
    _define("order-sign", draftOrders=_raw("object", holds=_DRAFTS)),
    _define(
        "order-dispatch",
        user=False,
        dispatchedOrders=_references("the orders that are dispatched"),
        performer=fields.String(required=True, metadata={"expected": "a string, the reference of the performer"}),
        fulfillmentTasks=_raw("array", holds="The Tasks of who is to fulfil them.", required=False),
    ),
    # The library's text says Bundle, its examples are arrays; clients follow either.
    _define(
        "appointment-book",
        appointments=_raw("object", "array", holds="A Bundle or an array of the proposed Appointments."),
    ),
    _define("allergyintolerance-create", allergyIntolerance=_raw("object", holds="The AllergyIntolerance.")),
    _define("medication-refill", user=False, medications=_raw("object", holds="A Bundle of MedicationRequests.")),
    _define("problem-list-item-create", conditions=_raw("object", holds="A Bundle of Conditions.")),
    _define(
        "medication-prescribe", medications=_raw("object", holds="A Bundle of MedicationRequests."), deprecated=True
    ),
    _define("order-review", orders=_raw("object", holds="A Bundle of orders."), deprecated=True),
)
HOOKS: Mapping[str, HookDefinition] = MappingProxyType({definition.name: definition for definition in _DEFINITIONS})
_CUSTOM = _define("custom", patient=False, user=False)

# Earlier versions of the hooks; the second value says that one element stood where an array stands now.
_EARLIER_NAMES: Mapping[str, Mapping[str, tuple[str, bool]]] = {
    "order-dispatch": {
        "dispatched-orders": ("dispatchedOrders", False),
        "fulfillment-tasks": ("fulfillmentTasks", False),
        "order": ("dispatchedOrders", True),
        "task": ("fulfillmentTasks", True),
    },
    "allergyintolerance-create": {"allergyIntolerances": ("allergyIntolerance", False)},
}


def is_hook_name(name: str) -> bool:
    """Whether a service may be published for this hook: one of the library, or an own one by reverse domain name."""
    return name in HOOKS or _REVERSE_DOMAIN.fullmatch(name) is not None


def read_context(hook: str, members: Members) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The checked context of a hook and notes on what was odd about it.

    Ids are bare; resources, and objects and arrays that the hook does not define, are raw JSON. Raises BadRequest.
    """
    definition = HOOKS.get(hook, _CUSTOM)
    notes: list[str] = []
    members = _with_current_names(hook, members, notes)
    values: dict[str, Any] = {}
    for name, raw in members.items():
        defined = name in definition.schema.fields
        kind = json_type(raw)
        if kind == "null" or raw in _EMPTY_TEXTS:
            if defined:
                notes.append(f"context.{name} is {'null' if kind == 'null' else 'empty'}")
        elif name in definition.resources or (not defined and kind in ("object", "array")):
            values[name] = raw
        else:
            try:
                values[name] = decode(raw)
            except UNREADABLE:
                at = f"context.{name}" if defined else "context"
                raise BadRequest(
                    f"{at}: expected a value of at most {LONGEST_MEMBER} bytes that can be read, received {kind}.",
                    expression=at,
                ) from None
    try:
        context = load(definition.schema, values)
    except ValidationError as problem:
        raise refusal(problem, definition.schema, {**members, **values}, "context") from None
    if definition.asks_for_user and "userId" not in context:
        notes.append("context.userId is missing")
    notes += [
        f"context.{name} came with its resource type"
        for name in ("patientId", "encounterId")
        if context.get(name) != values.get(name)
    ]
    return context, tuple(notes)


def lacking_members(hook: str, context: Mapping[str, Any]) -> frozenset[str]:
    """The members that this hook allows in a context, and that are not in this one."""
    return frozenset(HOOKS.get(hook, _CUSTOM).schema.fields) - context.keys()


_EMPTY_TEXTS = ("", msgspec.Raw(b'""'))


def _with_current_names(hook: str, members: Members, notes: list[str]) -> Members:
    earlier = _EARLIER_NAMES.get(hook, {})
    renamed = dict(members)
    for old in [name for name in members if name in earlier and earlier[name][0] not in members]:
        raw = renamed.pop(old)
        name, single = earlier[old]
        renamed[name] = msgspec.Raw(msgspec.json.encode([raw])) if single and json_type(raw) != "null" else raw
        notes.append(f"context.{old} is an earlier name of {name}")
    return renamed
