"""How a condition is written: read from the text of a knowledge file, and printed as the same text.

    sudden-onset and any of (palpable-gap, absent(fever) and age >= adult)

- a finding, a named criterion or a fact alone: it is present;
- `absent(x)`, `not-absent(x)`, `not-present(x)`, `unknown(x)`, `contradictory(x)`: see conditions;
- `x >= t`, `x <= t`, `x < t`, `x > t`: t is the name of a number in guideline.toml;
- `x in (a, b)`: its coded value is one of these;
- `and` joins what has to hold together; `any of (...)` and `none of (...)` hold a list, whose commas bind less than
  `and`. There is no `or`: beside `and` it would be read in two ways.

Spaces and line breaks mean nothing, and what follows a # on a line is a remark.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from math import nan
from typing import Any

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from service.knowledge_model.conditions import JOINTS, STATES, Condition, comparison, joint

_GRAMMAR = r"""
start: condition
?condition: part
    | part ("and" part)+            -> all
?part: "(" condition ")"
    | "any" "of" _list              -> any
    | "none" "of" _list             -> none
    | NAME                          -> present
    | NAME "(" NAME ")"             -> state
    | NAME BOUND NAME               -> bound
    | NAME "in" "(" NAME ("," NAME)* ","? ")" -> one_of
_list: "(" condition ("," condition)* ","? ")"
NAME: /[a-z0-9]+(-[a-z0-9]+)*/
BOUND: ">=" | "<=" | "<" | ">"
%ignore /\s+/
%ignore /#[^\n]*/
"""
# What the grammar calls its words -> how a person does, in the order in which they are said.
_CALLED = {
    "NAME": "a name",
    "AND": "'and'",
    "ANY": "'any of'",
    "NONE": "'none of'",
    "OF": "'of'",
    "IN": "'in'",
    "BOUND": "'>=', '<=', '<', '>'",
    "LPAR": "'('",
    "RPAR": "')'",
    "COMMA": "','",
    "$END": "the end",
}
# A bound as it is written -> the comparison, and whether that is to be false.
_BOUNDS = {
    ">=": ("at_least", False),
    "<=": ("at_most", False),
    "<": ("at_least", True),
    ">": ("at_most", True),
}
_WRITTEN = {bound: written for written, bound in _BOUNDS.items()}
_NAME = re.compile(r"(?!(?:and|any|none|of|in)\Z)[a-z0-9]+(-[a-z0-9]+)*")


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="basic")


def is_name(text: str) -> bool:
    """Whether a condition can name it so."""
    return _NAME.fullmatch(text) is not None


def parse(text: str, thresholds: Mapping[str, float] | None) -> Condition:
    """The condition that this text says; `thresholds` has the number of each name, None takes every name for one.

    Raises ValueError with a sentence that says line, column and what was expected.
    """
    try:
        tree = _parser().parse(text)
    except UnexpectedToken as error:
        raise ValueError(_place(error.token, text) + _expected(error)) from error
    except UnexpectedCharacters as error:
        problem = f"{error.char!r} is no part of a condition"
        raise ValueError(f"line {error.line}, column {error.column}: {problem}") from error
    (root,) = tree.children
    return _condition(root, text, thresholds)


def _place(token: Token, text: str) -> str:
    line, column = token.line, token.column
    if token.type == "$END":
        lines = text.rstrip().splitlines() or [""]
        line, column = len(lines), len(lines[-1]) + 1
    return f"line {line}, column {column}: "


def _expected(error: UnexpectedToken) -> str:
    found = str(error.token)
    if found == "or":
        return "there is no 'or': write any of (…, …)"
    found = _CALLED["$END"] if error.token.type == "$END" else repr(found)
    expected = ", ".join(words for name, words in _CALLED.items() if name in error.accepts)
    return f"expected {expected}; found {found}"


def _condition(tree: Any, text: str, thresholds: Mapping[str, float] | None) -> Condition:
    children = tree.children
    if tree.data in JOINTS:
        return joint(tree.data, tuple(_condition(child, text, thresholds) for child in children))
    if tree.data == "present":
        return comparison(str(children[0]), "is", "present")
    if tree.data == "one_of":
        finding, *codes = map(str, children)
        return comparison(finding, "one_of", frozenset(codes))
    if tree.data == "state":
        state, finding = children
        if state not in STATES:
            raise ValueError(f"{_place(state, text)}expected one of {', '.join(STATES)} before (, found {str(state)!r}")
        return comparison(str(finding), "is", str(state))
    finding, written, threshold = children
    if thresholds is not None and threshold not in thresholds:
        raise ValueError(
            f"{_place(threshold, text)}expected the name of a number in guideline.toml, found {str(threshold)!r}"
        )
    word, denied = _BOUNDS[written]
    number = nan if thresholds is None else thresholds[threshold]
    bound = comparison(str(finding), word, number, str(threshold))
    return joint("none", (bound,)) if denied else bound


def as_text(condition: Condition) -> str:
    """The text of a condition on one line; read again, it gives the same condition."""
    if condition.word == "is":
        return condition.finding if condition.operand == "present" else f"{condition.operand}({condition.finding})"
    if condition.word == "one_of":
        return f"{condition.finding} in ({', '.join(sorted(condition.operand))})"
    if condition.finding:
        return f"{condition.finding} {_WRITTEN[condition.word, False]} {condition.threshold}"
    if condition.word == "all":
        return " and ".join(f"({as_text(part)})" if part.word == "all" else as_text(part) for part in condition.parts)
    only = condition.parts[0]
    if condition.word == "none" and len(condition.parts) == 1 and (only.word, True) in _WRITTEN:
        return f"{only.finding} {_WRITTEN[only.word, True]} {only.threshold}"
    return f"{condition.word} of ({', '.join(map(as_text, condition.parts))})"


def from_table(table: object) -> str:
    """The text of a condition that is a table of TOML, as all of them were up to version 0.3.0 of the knowledge.

    Raises ValueError for what was no condition.
    """
    try:
        return as_text(_from_table(table))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError("is no condition") from error


def _from_table(table: Any) -> Condition:
    for word in JOINTS:
        if word in table:
            first, *others = map(_from_table, table[word])
            # A table with a title had no other way to hold one comparison.
            return joint(word, (first, *others)) if others or word == "none" else first
    (word,) = table.keys() - {"finding"}
    operand = frozenset(table[word]) if word == "one_of" else table[word]
    return comparison(table["finding"], word, operand, table[word] if word in ("at_least", "at_most") else "")
