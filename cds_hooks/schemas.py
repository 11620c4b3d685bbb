"""The schemas that every call passes: loaded in half of the time of marshmallow's Schema.load, and how one refuses.

Specification: Calling a CDS Service; CDS Service Response.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, INCLUDE, Schema, ValidationError, fields

from cds_hooks.errors import BadRequest
from cds_hooks.json_text import json_type

_ABSENT = object()
_TAKEN_AS_THEY_ARE: Mapping[type[fields.Field[Any]], type] = {fields.String: str, fields.Dict: dict}
_EXPECTED: tuple[tuple[type[fields.Field[Any]], str], ...] = (
    (fields.String, "a string"),
    (fields.Integer, "a number without a fraction"),
    (fields.Boolean, "a boolean"),
    (fields.List, "an array"),
)


def load(schema: Schema, members: Mapping[str, Any]) -> dict[str, Any]:
    """As `schema.load(members)`, for a schema without methods, defaults, other names of its members and forms of what
    is in a Dict.

    Most of what Schema.load does is about what such a schema does not have. Whatever is refused is left to it, for the
    whole of what it says: raises ValidationError.
    """
    loaded: dict[str, Any] = {}
    try:
        for name, field in schema.load_fields.items():
            if name in members:
                loaded[name] = _deserialized(field, members[name], name, members)
            elif field.required:
                return _left_to(schema, members)
    except ValidationError:
        return _left_to(schema, members)
    if len(loaded) == len(members) or schema.unknown == EXCLUDE:
        return loaded
    return {**members, **loaded} if schema.unknown == INCLUDE else _left_to(schema, members)


def _deserialized(field: fields.Field[Any], value: Any, name: str, members: Mapping[str, Any]) -> Any:
    """As `field.deserialize`, which makes the chain of checks of a field anew each time."""
    kind = _TAKEN_AS_THEY_ARE.get(type(field))
    if kind is None or not isinstance(value, kind):
        return field.deserialize(value, name, members)
    for check in field.validators:
        check(value)
    for change in field.post_load:
        value = change(value)
    return value


def _left_to(schema: Schema, members: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema.load(members)
    return found


def refusal(problem: ValidationError, schema: Schema, data: Any, at: str = "") -> BadRequest:
    """Turns the first problem that `schema` found in `data` into a BadRequest that names its JSON path below `at`.

    What marshmallow says is left out: the field tells what was expected, `data` what type was received.
    """
    path, value, messages = at, data, problem.messages
    owner: Schema = schema
    field: fields.Field[Any] | None = None
    while isinstance(messages, dict):
        key, messages = next(iter(messages.items()))
        if key == "_schema":
            break
        if isinstance(key, int):
            path = f"{path}[{key}]"
            value = value[key]
            field = field.inner if isinstance(field, fields.List) else field
        else:
            path = f"{path}.{key}" if path else key
            value = value.get(key, _ABSENT) if isinstance(value, Mapping) else _ABSENT
            field = owner.fields[key]
        inner = field.inner if isinstance(field, fields.List) else field
        if isinstance(inner, fields.Nested):
            owner = inner.schema
    expected = _expected(field)
    if value is _ABSENT:
        return BadRequest(
            f"{path}: expected {expected}, received nothing. The specification requires this member: send it.",
            expression=path,
            code="required",
        )
    received = json_type(value)
    code = "value" if received in expected.replace(",", " ").split()[:2] else "structure"
    return BadRequest(
        f"{path}: expected {expected}, received {received}. Correct this member and send the request again.",
        expression=path,
        code=code,
    )


def _expected(field: fields.Field[Any] | None) -> str:
    """What a caller should have sent: the field's own words where it has some, else the name of its JSON type."""
    if field is None:
        return "an object"
    if "expected" in field.metadata:
        return str(field.metadata["expected"])
    return next((words for kind, words in _EXPECTED if isinstance(field, kind)), "an object")
