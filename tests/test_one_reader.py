"""There is one reader of codings and of what changes a meaning: service/chart/elements.py. Others ask it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# The members that only that module reads. A `code` alone may be anything, and is given to it.
_MEMBERS = frozenset({"coding", "system", "modifierExtension", "implicitRules", "dataAbsentReason"})
# What reads one of them, and is no second reader of a chart.
_REASONS = {
    ("service/site_codes.py", "system"): "a column of the codes of a site",
    ("service/knowledge_model/loader.py", "system"): "a column of the value sets",
    ("service/chart/questionnaires.py", "coding"): "hands on the codes of an item, which is no concept itself",
    ("service/chart/questionnaires.py", "valueCoding"): "the same",
    ("service/chart/questionnaires.py", "valueCodeableConcept"): "the same",
    **{
        ("service/answers/orders.py", name): "looks for what this service has ordered itself"
        for name in ("coding", "system")
    },
    **{("service/answers/profiles.py", name): "puts what it has ordered in a dialect" for name in ("coding", "system")},
    **{
        ("service/portable/package.py", name): "writes the codes of the knowledge into a package"
        for name in ("coding", "system")
    },
    ("service/portable/cql_text.py", "valueType"): "the type of a literal of ELM",
    **{
        (
            "service/second_opinion/next_question.py",
            name,
        ): "hands an answer on to the reader of forms"
        for name in ("valueBoolean", "valueCoding", "valueDate", "valueQuantity")
    },
}


def _is_read_here(name: str) -> bool:
    return isinstance(name, str) and (
        name in _MEMBERS or (name.lstrip("_").removeprefix("value")[:1].isupper() and "value" in name)
    )


def _reads(tree: ast.AST) -> Iterator[str]:
    """The members that are read: by a subscript, by get, by `in`."""
    for node in ast.walk(tree):
        found: list[ast.expr] = []
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            found = [node.slice]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop"):
            found = node.args[:1]
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            found = [node.left]
        for one in found:
            if isinstance(one, ast.Constant) and isinstance(one.value, str) and _is_read_here(one.value):
                yield one.value


def test_no_other_module_reads_a_coding_or_what_changes_a_meaning(repository: Path) -> None:
    found = set[tuple[str, str]]()
    for path in sorted((repository / "service").rglob("*.py")):
        name = path.relative_to(repository).as_posix()
        if name != "service/chart/elements.py":
            found.update((name, member) for member in _reads(ast.parse(path.read_text(encoding="utf-8"))))
    assert found - _REASONS.keys() == set()


@pytest.mark.parametrize(
    "code",
    [
        'x["coding"]',
        'x.get("coding", [])',
        '"modifierExtension" in x',
        'x.get("valueCodeableConcept")',
        'x["_valueCode"]',
    ],
)
def test_a_second_reader_would_be_found(code: str) -> None:
    assert list(_reads(ast.parse(code)))


def test_what_builds_a_resource_is_no_reader() -> None:
    assert not list(
        _reads(ast.parse('{"coding": [{"system": a, "code": b}], "valueCodeableConcept": c}; x["coding"] = d'))
    )
