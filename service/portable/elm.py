"""The part of ELM, the machine form of CQL, that the export uses, as functions that make JSON.

Engines differ in the rest: in what a partial date compares to, in whether a query without `return` keeps duplicates, in
an aggregate over null. So there is no date arithmetic, every query says `return all`, what is aggregated is never null,
and what is compared is of full precision. Specification: CQL 1.5, chapter ELM Reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

Elm: TypeAlias = dict[str, Any]
SYSTEM_TYPES, FHIR_TYPES = "urn:hl7-org:elm-types:r1", "http://hl7.org/fhir"
# The operators of ELM that an export may have: a test holds that it has no others.
OPERATORS = frozenset(
    {
        *("And", "Or", "Not", "IsTrue", "IsFalse", "IsNull", "If", "Null", "Literal"),
        *("Equal", "GreaterOrEqual", "LessOrEqual", "Less", "Greater", "Add", "Subtract"),
        *("First", "Min", "Max", "Exists", "In", "List", "Tuple", "Query", "AliasRef", "ExpressionRef"),
        *("Retrieve", "SingletonFrom", "Property", "As"),
    }
)
# The operators between two operands, as CQL writes them.
SIGNS = {
    "And": "and",
    "Or": "or",
    "Equal": "=",
    "GreaterOrEqual": ">=",
    "LessOrEqual": "<=",
    "Less": "<",
    "Greater": ">",
    "Add": "+",
    "Subtract": "-",
    "In": "in",
}


def literal(value: bool | int | float | str) -> Elm:
    """A boolean, an integer, a decimal or a string."""
    if isinstance(value, bool):
        kind, text = "Boolean", str(value).lower()
    elif isinstance(value, str):
        kind, text = "String", value
    else:
        kind, text = ("Integer", str(value)) if isinstance(value, int) else ("Decimal", f"{value!r}")
    return {"type": "Literal", "valueType": f"{{{SYSTEM_TYPES}}}{kind}", "value": text}


def unknown() -> Elm:
    """The boolean that is neither true nor false."""
    return {"type": "As", "operand": {"type": "Null"}, "asType": f"{{{SYSTEM_TYPES}}}Boolean"}


TRUE, FALSE = literal(value=True), literal(value=False)


def binary(operator: str, left: Elm, right: Elm) -> Elm:
    """An operator of SIGNS between two operands."""
    return {"type": operator, "operand": [left, right]}


def unary(operator: str, operand: Elm) -> Elm:
    return {"type": operator, "operand": operand}


def every(parts: Iterable[Elm]) -> Elm:
    """All of these, as Kleene has it; true where there is none."""
    return _joined("And", [part for part in parts if part != TRUE], TRUE)


def some(parts: Iterable[Elm]) -> Elm:
    """Any of these; false where there is none."""
    return _joined("Or", [part for part in parts if part != FALSE], FALSE)


def _joined(operator: str, parts: Sequence[Elm], nothing: Elm) -> Elm:
    # In halves: an engine calls itself once for each level.
    if len(parts) < 2:
        return parts[0] if parts else nothing
    middle = len(parts) // 2
    return binary(operator, _joined(operator, parts[:middle], nothing), _joined(operator, parts[middle:], nothing))


def no(operand: Elm) -> Elm:
    return unary("Not", operand)


def is_true(operand: Elm) -> Elm:
    return unary("IsTrue", operand)


def is_false(operand: Elm) -> Elm:
    return unary("IsFalse", operand)


def is_null(operand: Elm) -> Elm:
    return unary("IsNull", operand)


def equal(left: Elm, right: Elm) -> Elm:
    return binary("Equal", left, right)


def if_(condition: Elm, then: Elm, otherwise: Elm) -> Elm:
    return {"type": "If", "condition": condition, "then": then, "else": otherwise}


def total(parts: Sequence[Elm]) -> Elm:
    """The sum of these, of which there is one at least."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return binary("Add", total(parts[:middle]), total(parts[middle:]))


def ref(name: str) -> Elm:
    """What another definition is."""
    return {"type": "ExpressionRef", "name": name}


def alias(name: str) -> Elm:
    return {"type": "AliasRef", "name": name}


def member(of: Elm, *path: str) -> Elm:
    """A member of a member of something, one after the other."""
    for name in path:
        if of["type"] == "AliasRef":
            of = {"type": "Property", "path": name, "scope": of["name"]}
        else:
            of = {"type": "Property", "path": name, "source": of}
    return of


def as_fhir(operand: Elm, kind: str) -> Elm:
    """The operand where it is of this FHIR type, otherwise null."""
    return {"type": "As", "operand": operand, "asType": f"{{{FHIR_TYPES}}}{kind}", "strict": False}


def retrieve(kind: str) -> Elm:
    """The resources of a type."""
    return {
        "type": "Retrieve",
        "dataType": f"{{{FHIR_TYPES}}}{kind}",
        "templateId": f"http://hl7.org/fhir/StructureDefinition/{kind}",
    }


def query(source: Elm, name: str, where: Elm | None = None, returned: Elm | None = None) -> Elm:
    """Each of the source that fits, or something of it; never without duplicates."""
    made: Elm = {
        "type": "Query",
        "source": [{"alias": name, "expression": source}],
        "let": [],
        "relationship": [],
        "return": {"distinct": False, "expression": returned or alias(name)},
    }
    if where is not None:
        made["where"] = where
    return made


def tuple_(**members: Elm) -> Elm:
    return {"type": "Tuple", "element": [{"name": name, "value": value} for name, value in members.items()]}


def list_(items: Iterable[Elm]) -> Elm:
    return {"type": "List", "element": list(items)}


def first(source: Elm) -> Elm:
    return {"type": "First", "source": source}


def least(source: Elm) -> Elm:
    return {"type": "Min", "source": source}


def most(source: Elm) -> Elm:
    return {"type": "Max", "source": source}


def exists(source: Elm) -> Elm:
    return unary("Exists", source)


# How many definitions a library has at most: the Java engine keeps the results of the last 300 of each library, and
# evaluates all others anew wherever they are read.
MOST = 250


class Definitions:
    """The definitions of the logic, in the order in which they are made; each name once. entries: those to be read."""

    def __init__(self) -> None:
        self.made: dict[str, Elm] = {}
        self.entries: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.made

    def define(self, name: str, expression: Elm) -> Elm:
        """Makes a definition and refers to it. Raises ValueError where there is another one of this name."""
        if self.made.setdefault(name, expression) != expression:
            raise ValueError(f"{name}: is defined twice")
        return ref(name)

    def parts(self, name: str) -> dict[str, list[str]]:
        """The names of the libraries with those of their definitions: parts, which read earlier parts alone, and last
        the one of this name with what is meant to be read.
        """
        inner = [each for each in self.made if each not in self.entries]
        found = {
            f"{name}Part{number + 1:02}": inner[at : at + MOST] for number, at in enumerate(range(0, len(inner), MOST))
        }
        return {**found, name: [each for each in self.made if each in self.entries]}

    def libraries(self, name: str, version: str) -> dict[str, Elm]:
        """The libraries, as an engine reads them."""
        parts = self.parts(name)
        part_of = {each: part for part, names in parts.items() for each in names}
        found: dict[str, Elm] = {}
        for part, names in parts.items():
            expressions = {each: _placed(self.made[each], part, part_of) for each in names}
            found[part] = _library(part, version, [*found], expressions)
        return found


def _placed(expression: Any, part: str, part_of: Mapping[str, str]) -> Any:
    """An expression whose references say in which other library a definition is."""
    if isinstance(expression, list):
        return [_placed(each, part, part_of) for each in expression]
    if not isinstance(expression, dict):
        return expression
    if expression.get("type") == "ExpressionRef" and part_of[expression["name"]] != part:
        return {**expression, "libraryName": part_of[expression["name"]]}
    return {key: _placed(value, part, part_of) for key, value in expression.items()}


def _library(name: str, version: str, included: Iterable[str], expressions: Mapping[str, Elm]) -> Elm:
    patient = {"type": "SingletonFrom", "operand": retrieve("Patient")}
    includes = [{"localIdentifier": each, "path": each, "version": version} for each in included]
    return {
        "library": {
            "annotation": [],
            "identifier": {"id": name, "version": version},
            "schemaIdentifier": {"id": "urn:hl7-org:elm", "version": "r1"},
            "usings": {
                "def": [
                    {"localIdentifier": "System", "uri": SYSTEM_TYPES},
                    {"localIdentifier": "FHIR", "uri": FHIR_TYPES, "version": "4.0.1"},
                ]
            },
            **({"includes": {"def": includes}} if includes else {}),
            "contexts": {"def": [{"name": "Patient"}]},
            "statements": {
                # By name: the Java engine looks for a definition by halves.
                "def": [
                    {"name": each, "context": "Patient", "accessLevel": "Public", "expression": expression}
                    for each, expression in sorted([*expressions.items(), ("Patient", patient)], key=itemgetter(0))
                ]
            },
        }
    }
