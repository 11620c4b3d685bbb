"""JSON as a CDS client sends it: two levels are decoded, what lies deeper stays text until somebody needs it.

Specification: Use of JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import repeat
from operator import call
from threading import local
from typing import Any, TypeAlias

import msgspec

Scalar: TypeAlias = str | int | float | bool | None
Member: TypeAlias = dict[str, msgspec.Raw | Scalar] | list[msgspec.Raw] | Scalar

# A body can be broken below the level at which it was first read, and these are the ways in which that shows.
# RecursionError: the decoder stops at the interpreter's own depth limit.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_TYPE_BY_FIRST_BYTE = dict(zip(b'{["tfn', ("object", "array", "string", "boolean", "boolean", "null"), strict=True))


# How many members a body may have on the two levels that are decoded.
MOST_MEMBERS = 1_000


class _TooMany(Exception):  # noqa: N818 - it ends the reading of a body, and is no error of the program
    """A body has more members than MOST_MEMBERS."""


class _Left(local):
    """One for each member that the body that a thread reads may have still: taken while it is read, as each member
    takes memory.
    """

    ones: Iterator[object] = iter(())


_LEFT = _Left()


class _Name:
    """The name of a member. Two are never equal, so that a name sent twice gives two members, not one overwritten."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text
        if not next(_LEFT.ones, None):
            raise _TooMany


class _Array(msgspec.Struct, array_like=True, gc=False):
    """An array that nobody reads: none of its elements is decoded, so that it takes no memory."""


_BODY = msgspec.json.Decoder(dict[_Name, dict[_Name, msgspec.Raw] | _Array | Scalar], dec_hook=call)
_WITH_ARRAYS = msgspec.json.Decoder(dict[_Name, dict[_Name, msgspec.Raw] | list[msgspec.Raw] | Scalar], dec_hook=call)


def json_type(value: object) -> str:
    """The JSON name of a value's type: object, array, string, number, boolean or null. Takes raw JSON too."""
    if isinstance(value, msgspec.Raw):
        return _TYPE_BY_FIRST_BYTE.get(written[0], "number") if (written := memoryview(value)) else "number"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, Mapping):
        return "object"
    return "array" if isinstance(value, list | tuple) else "number"


# In bytes: decoded, an array of empty objects takes 24 times its length.
LONGEST_MEMBER = 500_000


def decode(raw: msgspec.Raw | Scalar) -> Any:
    """The Python value of one small member; raises what `UNREADABLE` lists, also for one over LONGEST_MEMBER."""
    if not isinstance(raw, msgspec.Raw):
        return raw
    if memoryview(raw).nbytes > LONGEST_MEMBER:
        raise msgspec.DecodeError("a member that is too long")
    return msgspec.json.decode(raw)


def typed_decoder(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    """For read_typed, with what an object on the second level is to be."""
    # The one array that hooks have in their context is of strings.
    inner: Any = dict[_Name, kind | list[str] | Scalar]  # type: ignore[valid-type]
    return msgspec.json.Decoder(dict[_Name, inner | _Array | Scalar], dec_hook=call)


def read_typed(body: bytes, decoder: msgspec.json.Decoder[Any]) -> dict[str, Any] | None:
    """The members of a JSON object; of the objects among them the members too, of which each object is decoded to the
    kind of the decoder. What is in an array among the members is left out.

    None for what read_members refuses, for an object that is not of the kind, and for a name that an object has twice.
    """
    try:
        named = _named(_decoded(body, decoder))
        for name, value in named.items():
            if isinstance(value, dict):
                named[name] = _named(value)
            elif isinstance(value, _Array):
                named[name] = []
    except (_TooMany, ValueError, *UNREADABLE):
        return None
    return named


def read_members(body: bytes, *, arrays: bool = False) -> dict[str, Member]:
    """The members of a JSON object; those of the objects among them are left as raw JSON. With `arrays`, so are the
    elements of arrays, of which there may then be any number; otherwise what is in arrays is left out.

    Raises ValueError, with a sentence for the caller, for a body that is no JSON object, names a member twice or has
    more than MOST_MEMBERS.
    """
    if body.startswith(b"\xef\xbb\xbf"):
        raise ValueError("expected JSON in UTF-8 without a byte order mark, received one. Leave it out.")
    try:
        members = _decoded(body, _WITH_ARRAYS if arrays else _BODY)
    except _TooMany:
        raise ValueError(
            f"expected at most {MOST_MEMBERS} members in all on its two outer levels, received more. "
            "Send only the prefetch keys that the service declares."
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"expected JSON in UTF-8, received another encoding (byte {error.start}).") from None
    except RecursionError:
        raise ValueError("expected JSON of an ordinary depth, received one nested too deeply to be read.") from None
    except msgspec.ValidationError as error:
        received = "a number that is out of range" if "range" in str(error) else f"{json_type(msgspec.Raw(body))}"
        raise ValueError(f"expected a JSON object, received {received}.") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"expected JSON, received something else: {error}.") from None
    return {name: _by_name(value) for name, value in _named(members).items()}


def _decoded(body: bytes, decoder: msgspec.json.Decoder[Any]) -> dict[_Name, Any]:
    # The decoder skips over what it leaves raw without looking at its encoding.
    body.isascii() or body.decode()
    _LEFT.ones = repeat(1, MOST_MEMBERS)
    members: dict[_Name, Any] = decoder.decode(body)
    return members


def _named(members: Mapping[_Name, Any]) -> dict[str, Any]:
    named = {name.text: value for name, value in members.items()}
    if len(named) != len(members):
        raise ValueError("expected each member once, received one of them twice. Which one is meant is not clear.")
    return named


def _by_name(member: Any) -> Any:
    if isinstance(member, dict):
        return {name.text: value for name, value in member.items()}
    # What nobody reads keeps its type alone.
    return [] if isinstance(member, _Array) else member
