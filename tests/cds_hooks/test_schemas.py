"""What the short way through a marshmallow schema gives is what the schema itself gives."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import EXCLUDE, INCLUDE, RAISE, Schema, ValidationError, fields, validate

from cds_hooks import RESPONSE_SCHEMA
from cds_hooks.hooks import HOOKS
from cds_hooks.schemas import load

OWN = {
    "name": fields.String(required=True, validate=validate.Length(min=1)),
    "id": fields.String(post_load=lambda value: value.removeprefix("Patient/")),
    "nested": fields.Nested(Schema.from_dict({"count": fields.Integer(required=True)}), allow_none=True),
    "many": fields.List(fields.String()),
}
SCHEMAS = {
    **{f"own, {unknown}": Schema.from_dict(OWN)(unknown=unknown) for unknown in (EXCLUDE, INCLUDE, RAISE)},
    **{name: hook.schema for name, hook in HOOKS.items()},
    "response": RESPONSE_SCHEMA,
}
VALUES = st.one_of(
    st.none(),
    st.sampled_from(["", "Patient/p1", "Patient/", "p1", 7, True, ["a"], [7], [], {"count": 1}, {"count": "x"}, {}]),
    st.builds(msgspec.Raw, st.sampled_from([b"{}", b"[]", b"7"])),
)


def outcome(way: Any, *given_: Any) -> object:
    try:
        return way(*given_)
    except ValidationError as refused:
        return refused.messages


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_loaded_and_what_is_refused_is_the_same(name: str) -> None:
    schema = SCHEMAS[name]

    @given(st.dictionaries(st.sampled_from([*schema.load_fields, "another"]), VALUES, max_size=4))
    def same(members: dict[str, Any]) -> None:
        assert outcome(load, schema, members) == outcome(schema.load, members)

    same()
