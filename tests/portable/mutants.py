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
    """The libraries with one operator changed, in the condition of this name."""

    kind: str
    condition: str
    libraries: list[Elm]


def mutants(logic: Logic, libraries: list[Elm]) -> Iterator[Mutant]:
    """One of each kind, in a condition whose verdict the change can be seen in."""
    knowledge = logic.knowledge
    named = {*knowledge.definitions, *(r.id for r in logic.exported)}
    for kind, (operator, to) in KINDS.items():
        # The shortest first: in it the change cannot hide behind the rest.
        for name in sorted(logic.definitions.made, key=lambda each: len(str(logic.definitions.made[each]))):
            condition = name.removesuffix(" (A)").removesuffix(" (A+)")
            if condition == name or (condition := condition.removesuffix(": when")) not in named:
                continue
            definition = {"name": name, "expression": copy.deepcopy(_placed_in(libraries, name))}
            if _changed(definition, "expression", kind, operator, to):
                changed = [_with(library, definition) for library in libraries]
                yield Mutant(kind, condition, changed)
                break


def _placed_in(libraries: list[Elm], name: str) -> Elm:
    made = (each for library in libraries for each in library["library"]["statements"]["def"])
    found: Elm = next(each["expression"] for each in made if each["name"] == name)
    return found


def _with(library: Elm, changed: Elm) -> Elm:
    """A library with another expression of the definition of this name, where it has one."""
    made = library["library"]["statements"]["def"]
    statements = {"def": [{**each, **changed} if each["name"] == changed["name"] else each for each in made]}
    return {"library": {**library["library"], "statements": statements}}


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
