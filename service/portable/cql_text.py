"""ELM of the part that is exported -> the CQL text that means the same, for people and for translators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from service.portable.elm import SIGNS, Elm

_POSTFIX = {"IsTrue": "is true", "IsFalse": "is false", "IsNull": "is null"}


def text_of(library: Elm, remarks: Mapping[str, str], order: Iterable[str]) -> str:
    """The text of a library; `remarks`: what stands above a definition; `order`: in which they come."""
    inner = library["library"]
    version = inner["identifier"]["version"]
    expressions = {each["name"]: each["expression"] for each in inner["statements"]["def"]}
    lines = [f"library {inner['identifier']['id']} version '{version}'", "", "using FHIR version '4.0.1'", ""]
    included = inner.get("includes", {}).get("def", ())
    lines += [f"include {each['path']} version '{each['version']}' called {each['path']}" for each in included]
    lines += ["", "context Patient"]
    for each in order:
        lines.append("")
        lines += [f"// {line}" for line in remarks.get(each, "").splitlines()]
        lines += [f"define {_quoted(each)}:", f"  {written(expressions[each])}"]
    return "\n".join([*lines, ""])


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def written(expression: Elm) -> str:
    """One expression as text, with parentheses wherever something stands within something."""
    kind = expression["type"]
    if kind in ("And", "Or", "Add"):
        return "(" + f" {SIGNS[kind]} ".join(map(written, _flat(kind, expression))) + ")"
    if kind in SIGNS:
        left, right = map(written, expression["operand"])
        return f"({left} {SIGNS[kind]} {right})"
    if kind in _POSTFIX:
        return f"({written(expression['operand'])} {_POSTFIX[kind]})"
    return _OTHERS[str(kind)](expression)


def _flat(kind: str, expression: Elm) -> list[Elm]:
    found: list[Elm] = []
    for operand in expression["operand"]:
        found += _flat(kind, operand) if operand["type"] == kind else [operand]
    return found


def _type(name: str) -> str:
    namespace, _, of = name[1:].partition("}")
    return f"FHIR.{of}" if namespace.endswith("fhir") else of


def _literal(of: Elm) -> str:
    if not of["valueType"].endswith("String"):
        return str(of["value"])
    return "'" + str(of["value"]).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _property(of: Elm) -> str:
    return f"{of['scope'] if 'scope' in of else written(of['source'])}.{of['path']}"


def _reference(of: Elm) -> str:
    name = _quoted(of["name"])
    return f"{of['libraryName']}.{name}" if "libraryName" in of else name


def _query(of: Elm) -> str:
    (source,) = of["source"]
    where = f" where {written(of['where'])}" if "where" in of else ""
    return (
        f"({written(source['expression'])} {source['alias']}{where} return all {written(of['return']['expression'])})"
    )


_OTHERS: Mapping[str, Callable[[Elm], str]] = {
    "Literal": _literal,
    "Null": lambda _of: "null",
    "Not": lambda of: f"(not {written(of['operand'])})",
    "Exists": lambda of: f"exists {written(of['operand'])}",
    "SingletonFrom": lambda of: f"singleton from ({written(of['operand'])})",
    "First": lambda of: f"First({written(of['source'])})",
    "Min": lambda of: f"Min({written(of['source'])})",
    "Max": lambda of: f"Max({written(of['source'])})",
    "List": lambda of: "{" + ", ".join(map(written, of["element"])) + "}",
    "Tuple": lambda of: (
        "Tuple {" + ", ".join(f"{each['name']}: {written(each['value'])}" for each in of["element"]) + "}"
    ),
    "If": lambda of: f"(if {written(of['condition'])} then {written(of['then'])} else {written(of['else'])})",
    "As": lambda of: f"({written(of['operand'])} as {_type(of['asType'])})",
    "Retrieve": lambda of: f"[{_type(of['dataType']).removeprefix('FHIR.')}]",
    "ExpressionRef": _reference,
    "AliasRef": lambda of: str(of["name"]),
    "Property": _property,
    "Query": _query,
}
