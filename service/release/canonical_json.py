"""JSON in the one form that can be signed. Specification: RFC 8785 (JSON Canonicalization Scheme)."""

from __future__ import annotations

import json
from hashlib import sha256
from math import isfinite
from typing import Any

_text = json.encoder.encode_basestring


def canonical_json(value: Any) -> str:
    """The text of a JSON value: members sorted by UTF-16 code units, numbers as ECMAScript writes them.

    Raises ValueError for what RFC 8785 has no form for: a number that is not finite, a lone surrogate, another type.
    """
    written: list[str] = []
    _write(value, written)
    text = "".join(written)
    # A lone surrogate has no UTF-8.
    text.encode()
    return text


def digest_of(value: Any) -> str:
    """The SHA-256 of the canonical JSON, as in ``sha256:…``."""
    return f"sha256:{sha256(canonical_json(value).encode()).hexdigest()}"


def _write(value: Any, written: list[str]) -> None:
    # Whole knowledge goes through here at each start: what is most frequent comes first.
    kind = type(value)
    if kind is str:
        written.append(_text(value))
    elif kind is dict:
        lead = "{"
        for name in sorted(value) if all(map(str.isascii, value)) else sorted(value, key=_utf_16):
            written.append(f"{lead}{_text(name)}:")
            _write(value[name], written)
            lead = ","
        written.append("}" if value else "{}")
    elif kind is list:
        lead = "["
        for each in value:
            written.append(lead)
            _write(each, written)
            lead = ","
        written.append("]" if value else "[]")
    elif value is None or kind is bool:
        written.append({None: "null", True: "true", False: "false"}[value])
    elif kind is int or kind is float:
        if float(value) != value:
            raise ValueError("a whole number that no double holds has no JSON")
        written.append(_number(float(value)))
    else:
        raise ValueError(f"{kind.__name__} is no JSON")


def _utf_16(name: str) -> bytes:
    return name.encode("utf-16-be", "surrogatepass")


def _number(value: float) -> str:
    """As ECMAScript writes a number (ECMA-262, Number::toString): the fewest digits that give it back."""
    if not isfinite(value):
        raise ValueError("a number that is not finite has no JSON")
    if value == 0:
        return "0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    # Where the point is, counted from the first digit that is not zero.
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        text = digits.ljust(point, "0")
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        text = f"{digits[0]}{'.' if count > 1 else ''}{digits[1:]}e{point - 1:+d}"
    return text if value > 0 else f"-{text}"
