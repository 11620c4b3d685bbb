"""JSON as a CDS client sends it: two levels are decoded, what lies deeper stays text until somebody needs it.

Specification: Use of JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

Member: TypeAlias = dict[str, msgspec.Raw] | list[msgspec.Raw] | str | int | float | bool | None

# A body can be broken below the level at which it was first read, and these are the ways in which that shows.
# RecursionError: the decoder stops at the interpreter's own depth limit.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_TYPE_BY_FIRST_BYTE = {b"{": "object", b"[": "array", b'"': "string", b"t": "boolean", b"f": "boolean", b"n": "null"}


class _Name:
    """The name of a member. Two are never equal, so that a name sent twice gives two members, not one overwritten."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


_BODY = msgspec.json.Decoder(dict[_Name, Member], dec_hook=lambda kind, text: kind(text))


def json_type(value: object) -> str:
    """The JSON name of a value's type: object, array, string, number, boolean or null. Takes raw JSON too."""
    if isinstance(value, msgspec.Raw):
        return _TYPE_BY_FIRST_BYTE.get(bytes(memoryview(value)[:1]), "number")
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, Mapping):
        return "object"
    return "array" if isinstance(value, list | tuple) else "number"


def decode(raw: msgspec.Raw) -> Any:
    """The Python value of one small member; raises what `UNREADABLE` lists."""
    return msgspec.json.decode(raw)


def read_members(body: bytes) -> dict[str, Member]:
    """The members of a JSON object; those of the objects among them are left as raw JSON.

    Raises ValueError, with a sentence for the caller, for a body that is no JSON object or names a member twice.
    """
    if body.startswith(b"\xef\xbb\xbf"):
        raise ValueError("expected JSON in UTF-8 without a byte order mark, received one. Leave it out.")
    try:
        # The decoder skips over what it leaves raw without looking at its encoding.
        body.isascii() or body.decode()
        members = _BODY.decode(body)
    except UnicodeDecodeError as error:
        raise ValueError(f"expected JSON in UTF-8, received another encoding (byte {error.start}).") from None
    except RecursionError:
        raise ValueError("expected JSON of an ordinary depth, received one nested too deeply to be read.") from None
    except msgspec.ValidationError as error:
        received = "a number that is out of range" if "range" in str(error) else f"{json_type(msgspec.Raw(body))}"
        raise ValueError(f"expected a JSON object, received {received}.") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"expected JSON, received something else: {error}.") from None
    named = {name.text: value for name, value in members.items()}
    if len(named) != len(members):
        raise ValueError("expected each member once, received one of them twice. Which one is meant is not clear.")
    return named
