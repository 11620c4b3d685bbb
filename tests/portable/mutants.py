"""The exported library with one operator changed, for each kind of operator."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

from service.portable.elm import Elm
from service.portable.logic import Logic

# Kind -> the operator that is changed, and what it is changed to; "" takes it away.
KINDS = {
    "and": ("And", "Or"),
    "or": ("Or", "And"),
    "not": ("Not", ""),
    "is not false": ("IsFalse", "IsTrue"),
    "is not true": ("IsTrue", "IsFalse"),
    "low bound": ("GreaterOrEqual", "Greater"),
    "high bound": ("LessOrEqual", "Less"),
}


class Mutant(NamedTuple):
    """A library with one operator changed, in the condition of this name."""

    kind: str
    condition: str
    library: Elm


def mutants(logic: Logic, library: Elm) -> Iterator[Mutant]:
    """One of each kind, in a condition whose verdict the change can be seen in."""
    for kind, (operator, to) in KINDS.items():
        for name in logic.definitions.made:
            condition = name.partition(": when (")[0]
            if condition == name or not name.endswith((": when (A)", ": when (A+)")):
                continue
            changed = copy.deepcopy(library)
            (definition,) = (each for each in changed["library"]["statements"]["def"] if each["name"] == name)
            if _changed(definition, "expression", kind, operator, to):
                yield Mutant(kind, condition, changed)
                break


def _changed(holder: Any, key: Any, kind: str, operator: str, to: str, *, within_not: bool = False) -> bool:
    """Whether an operator of this kind was found in a part, and changed."""
    part = holder[key]
    if isinstance(part, dict):
        # What is `is not true` is a `not` around `is true`.
        fits = part.get("type") == operator and (within_not or not kind.startswith("is not"))
        if fits and not (kind == "not" and part["operand"].get("type") in ("IsTrue", "IsFalse")):
            if to:
                part["type"] = to
            else:
                holder[key] = part["operand"]
            return True
        within_not = part.get("type") == "Not"
    if isinstance(part, dict | list):
        keys = part if isinstance(part, dict) else range(len(part))
        return any(_changed(part, each, kind, operator, to, within_not=within_not) for each in [*keys])
    return False
