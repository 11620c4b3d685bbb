"""The results of a check of a service for a person, for a program and for a build server.

Specification: the chapter that each check names; for the build server, JUnit's XML.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from xml.etree import ElementTree as ET

from cds_hooks.conformance.checks import Result, Status

_MARKS = {Status.PASSED: "ok", Status.FAILED: "WRONG", Status.WARNED: "should", Status.SKIPPED: "-"}
_AT_MOST = 5


def is_conformant(results: Sequence[Result]) -> bool:
    """Whether nothing that the specification requires is wrong, as far as it could be told."""
    return all(result.status is not Status.FAILED for result in results)


def as_text(results: Sequence[Result], style: Callable[[str, Status], str] = lambda text, _status: text) -> str:
    """The table; `style` may colour what a status says."""
    wide = max(len(result.check.name) for result in results)
    lines = []
    for result in results:
        mark = style(f"{_MARKS[result.status]:<7}", result.status)
        lines.append(f"{mark}{result.check.name:<{wide}}  {result.check.expects}")
        if result.status is not Status.PASSED:
            lines += [f"       {'':<{wide}}  {line}" for line in _shortened(result)]
    counted = Counter(result.status for result in results)
    lines.append(", ".join(f"{counted[status]} {status}" for status in Status))
    lines.append(style(*_verdict(results)))
    return "\n".join(lines)


def _verdict(results: Sequence[Result]) -> tuple[str, Status]:
    if is_conformant(results):
        return "Conformant.", Status.PASSED
    return "Not conformant.", Status.FAILED


def _shortened(result: Result) -> list[str]:
    lines = [*result.problems[:_AT_MOST]]
    if len(result.problems) > _AT_MOST:
        lines.append(f"and {len(result.problems) - _AT_MOST} more")
    return [*lines, f"({result.check.chapter})"] if result.status is not Status.SKIPPED else lines


def as_json(url: str, results: Sequence[Result]) -> str:
    """The same for programs, with every problem."""
    return json.dumps(
        {
            "url": url,
            "conformant": is_conformant(results),
            "checks": [
                {
                    "name": result.check.name,
                    "chapter": result.check.chapter,
                    "level": result.check.level,
                    "expects": result.check.expects,
                    "status": result.status,
                    "problems": list(result.problems),
                }
                for result in results
            ],
        },
        ensure_ascii=False,
        indent=2,
    )


def as_junit(url: str, results: Sequence[Result]) -> str:
    """The same as JUnit XML, a test case for each check; what should be otherwise is no failure there."""
    counted = Counter(result.status for result in results)
    suite = ET.Element(
        "testsuite",
        name=f"CDS Hooks conformance of {url}",
        tests=str(len(results)),
        failures=str(counted[Status.FAILED]),
        errors="0",
        skipped=str(counted[Status.SKIPPED]),
    )
    for result in results:
        case = ET.SubElement(suite, "testcase", classname=result.check.chapter, name=result.check.name)
        problems = "\n".join(result.problems)
        if result.status is Status.FAILED:
            ET.SubElement(case, "failure", message=result.check.expects).text = problems
        elif result.status is Status.SKIPPED:
            ET.SubElement(case, "skipped", message=problems)
        elif result.status is Status.WARNED:
            ET.SubElement(case, "system-out").text = f"{result.check.expects}\n{problems}"
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)
