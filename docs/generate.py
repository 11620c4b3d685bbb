"""Writes statements.md: what becomes of each statement of the source document, and which cases hold it.

    python docs/generate.py [--check]

With --check nothing is written; it ends with 1 when the file is not as it would be written. It refuses to write when a
statement has no knowledge or no case, or a rule has no case.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from service import knowledge_loader as knowledge
from service.guideline import Guideline, Recommendation

HERE = Path(__file__).parent
FILE = HERE / "statements.md"
CASES = HERE.parent / "fixtures" / "cases"

_HEAD = """\
# Statements, rules and the cases that hold them

Written by `python docs/generate.py`; the tests fail when it is stale. A statement is one of the source document, in
our own words; a rule is a line of the decision logic as the recommendations name it. A case is a chart with what is
expected of the answer (`fixtures/cases`), run by `tests/clinical`.
"""


class IncompleteError(Exception):
    """A statement or a rule that nothing implements or nothing tests."""


def cases_by(member: str) -> dict[str, list[tuple[str, str]]]:
    """statement or rule -> (file, name) of each case that names it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(CASES.glob("*.toml")):
        for name, case in tomllib.loads(path.read_text(encoding="utf-8")).items():
            for key in case.get(member, ()):
                found.setdefault(key, []).append((path.name, name))
    return found


def _in_order(key: str) -> tuple[str, int, str]:
    letters = key.rstrip("0123456789")
    return letters, int(key.removeprefix(letters) or 0), key


def _cases(cases: Iterable[tuple[str, str]]) -> Iterator[str]:
    files: dict[str, list[str]] = {}
    for file, name in cases:
        files.setdefault(file, []).append(name)
    for file, names in files.items():
        yield f"- [{file}](../fixtures/cases/{file}): {'; '.join(names)}"


def _links(recommendations: Iterable[Recommendation]) -> str:
    folder = "../service/knowledge/recommendations"
    return ", ".join(f"[{r.id}]({folder}/{r.id}.toml) {r.title}" for r in recommendations)


def _row(label: str, content: str) -> Iterator[str]:
    if content:
        yield f"- {label}: {content}"


def _statements(guideline: Guideline) -> Iterator[str]:
    tested = cases_by("statements")
    for statement, words in guideline.statements.items():
        findings = [finding.title for finding in guideline.findings.values() if statement in finding.statements]
        causes = [cause.title for cause in guideline.causes.values() if statement in cause.statements]
        recommendations = [r for r in guideline.recommendations if statement in r.statements]
        if not (findings or causes or recommendations):
            raise IncompleteError(f"{statement} is in no finding, cause or recommendation.")
        if statement not in tested:
            raise IncompleteError(f"{statement} has no case in fixtures/cases.")
        yield f"### {statement}\n"
        yield f"{words}\n"
        yield from _row("findings", ", ".join(findings))
        yield from _row("causes", ", ".join(causes))
        yield from _row("recommendations", _links(recommendations))
        yield f"\nCases ({len(tested[statement])}):\n"
        yield from _cases(tested[statement])
        yield ""


def _rules(guideline: Guideline) -> Iterator[str]:
    tested = cases_by("rules")
    rules = {rule for recommendation in guideline.recommendations for rule in recommendation.rules}
    for rule in sorted(rules, key=_in_order):
        if rule not in tested:
            raise IncompleteError(f"{rule} has no case in fixtures/cases.")
        yield f"### {rule}\n"
        yield f"{_links(r for r in guideline.recommendations if rule in r.rules)}\n"
        yield f"Cases ({len(tested[rule])}):\n"
        yield from _cases(tested[rule])
        yield ""


def table(guideline: Guideline) -> str:
    """The whole document. Raises IncompleteError."""
    parts = (_HEAD, "## Statements\n", *_statements(guideline), "## Rules\n", *_rules(guideline))
    return "\n".join(parts).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write docs/statements.md.")
    parser.add_argument("--check", action="store_true", help="write nothing, say whether it is up to date")
    check = parser.parse_args(arguments).check
    try:
        text = table(knowledge.load())
    except IncompleteError as error:
        sys.exit(str(error))
    if not check:
        FILE.write_text(text, encoding="utf-8")
    elif not FILE.is_file() or FILE.read_text(encoding="utf-8") != text:
        sys.exit("docs/statements.md is stale: run python docs/generate.py")


if __name__ == "__main__":
    main()
