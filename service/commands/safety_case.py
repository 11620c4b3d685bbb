"""`sitbone safety-case`: one file for one release, for a clinical safety officer (DCB0129 3.1, DCB0160 3.1)."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TextIO
from xml.etree import ElementTree as ET

import click

from service.commands import give_up, require
from service.knowledge_model.model import KnowledgeError
from service.release.hazard_log import (
    ACCEPTED,
    SEVERITIES,
    WITH_A_REASON,
    Hazard,
    described,
    matrix_rows,
    read_hazards,
)
from service.release.states import Standings, release_of
from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    # It needs z3, which is an extra.
    from service.commands.prove import Proof

# Where the named cases are asked, one test each.
_CASES = "clinical/test_cases.py"
FAILED, NOT_THERE = "failed", "not among the results"
PASSED = "passed"


@dataclass(frozen=True, slots=True)
class SafetyCase:
    """What a safety officer reads of one release.

    results: what became of each test that a hazard names; reports: the text of further reports, such as those of the
    silent weeks, by the name of their file.
    """

    product: str
    now: datetime
    standings: Standings
    hazards: Sequence[Hazard]
    proof: Proof
    results: Mapping[str, str]
    reports: Mapping[str, str]

    def open(self) -> Iterator[str]:
        """What keeps this release from going live, a sentence each."""
        if self.standings.governance is None:
            yield "No signature of governance releases this content."
        yield from (why for hazard in self.hazards if (why := hazard.keeps_from_going_live()))
        yield from (f"{each.property}, {each.of}: {each.state}." for each in self.proof.report.failures)
        yield from (f"{of}: the service does not show the counterexample." for _id, of in self.proof.not_replayed)
        untold = sum(result == NOT_THERE for result in self.results.values())
        if untold == len(self.results) > 0:
            yield f"Of the {untold} tests that hazards name no result was given (--tests)."
        else:
            yield from (f"{name}: {result}." for name, result in self.results.items() if result != PASSED)


def results_of(tests: Iterable[str], report: Path | None) -> dict[str, str]:
    """What became of each test in a JUnit report, by the names that hazards have for them.

    Raises OSError, and ET.ParseError where the file is none.
    """
    found: dict[tuple[str, str], list[bool]] = {}
    for case in ET.parse(report).iter("testcase") if report else ():  # noqa: S314 - a file of who runs this
        file = case.get("classname", "").removeprefix("tests.").replace(".", "/") + ".py"
        fine = not any(part.tag in ("failure", "error", "skipped") for part in case)
        name = case.get("name", "")
        for key in ((file, name.partition("[")[0]), (file, name.partition("[")[2].removesuffix("]")), (file, "")):
            found.setdefault(key, []).append(fine)
    return {test: _result(found.get(_key(test))) for test in tests}


def _key(test: str) -> tuple[str, str]:
    path, _, name = test.partition("::")
    if name:
        # What is no test by itself is asked of every case in its file.
        return path, name if name.startswith("test_") else ""
    return _CASES, test.partition(": ")[2]


def _result(fine: Sequence[bool] | None) -> str:
    return NOT_THERE if not fine else PASSED if all(fine) else FAILED


def as_markdown(case: SafetyCase) -> str:
    """The whole file."""
    return "\n".join(_lines(case)).rstrip() + "\n"


def as_json(case: SafetyCase) -> str:
    """The same for programs."""
    standings, released = case.standings, case.standings.governance
    hazards = [
        {
            "id": hazard.id,
            "hazard": hazard.hazard,
            "initial": hazard.initial,
            "residual": hazard.residual,
            "owner": hazard.owner,
            "status": hazard.status,
            "digest": hazard.digest,
            "tests": {test: case.results[test] for test in hazard.tests},
        }
        for hazard in case.hazards
    ]
    members = {
        "product": case.product,
        "at": case.now.isoformat(),
        "open": [*case.open()],
        "knowledge": {"version": standings.version, "digest": standings.digest, "states": standings.counts()},
        "governance": released.signer.name if released else None,
        "clinical": sorted(_clinicians(standings)),
        "hazards": hazards,
        "properties": {id_: case.proof.report.counts(id_) for id_ in case.proof.report.results},
        "reports": dict(case.reports),
    }
    return json.dumps(members, ensure_ascii=False, indent=2) + "\n"


def _lines(case: SafetyCase) -> Iterator[str]:
    standings = case.standings
    yield f"# Safety case of Sitbone {case.product}, knowledge {standings.version}\n"
    yield f"Printed {case.now:%Y-%m-%d %H:%M} UTC. What it is for, and what it cannot know: docs/intended-use.md.\n"
    yield "## What keeps it from going live\n"
    yield from ([f"- {sentence}" for sentence in case.open()] or ["Nothing of what is looked at here."])
    yield "\n## The release\n"
    yield f"- digest: `{standings.digest}`"
    counts = ", ".join(f"{count} {state}" for state, count in standings.counts().items())
    yield f"- recommendations: {counts}"
    released = standings.governance
    yield f"- released by governance: {f'{released.signer.name}, {released.signed}' if released else 'nobody'}"
    yield f"- clinical signatures: {'; '.join(sorted(_clinicians(standings))) or 'none'}"
    yield f"- to be read again by: {standings.earliest_review or 'no day, as nothing is in force'}"
    if standings.suspended:
        yield f"- suspended: {', '.join(standings.suspended)}"
    yield from _log(case)
    yield from _proved(case.proof)
    for name, text in case.reports.items():
        yield f"\n## {name}\n\n```text\n{text.rstrip()}\n```"


def _clinicians(standings: Standings) -> set[str]:
    signed = (each.clinical for each in standings.by_id.values())
    return {f"{each.signer.name}, {each.signed}" for each in signed if each}


def _log(case: SafetyCase) -> Iterator[str]:
    yield "\n## Hazards\n"
    yield f"1 and 2 are borne, {WITH_A_REASON} with a written reason; more lets no live service start.\n"
    yield f"| likelihood | {' | '.join(SEVERITIES)} |"
    yield "|---" * (len(SEVERITIES) + 1) + "|"
    yield from (f"| {' | '.join(row)} |" for row in matrix_rows())
    accepted = Counter(hazard.status == ACCEPTED for hazard in case.hazards)[True]
    yield f"\n{len(case.hazards)} hazards, {accepted} accepted. Residual risk:"
    counted = Counter(hazard.residual for hazard in case.hazards)
    yield from (f"- {score}: {counted[score]}" for score in sorted(counted, reverse=True))
    properties = case.proof.properties.properties.values()
    for hazard in case.hazards:
        yield f"\n### {hazard.id} {hazard.hazard}{' (as the site has it)' if hazard.site else ''}\n"
        yield from (f"- {label}: {words}" for label, words in described(hazard))
        yield from (f"- property: {each.title} (`{each.id}`)" for each in properties if hazard.id in each.controls)
        yield from (f"- test, {case.results[test]}: {test}" for test in hazard.tests)
        yield f"- digest: `{hazard.digest}`"


def _proved(proof: Proof) -> Iterator[str]:
    yield "\n## Properties, decided about all charts\n"
    for id_ in proof.report.results:
        yield f"- `{id_}`: {proof.report.in_words(id_)}. {proof.properties.properties[id_].title}"
    yield f"\n{proof.report.in_words()}; {len(proof.report.failures)} failures."
    for sampled in proof.properties.sampled:
        yield f"- sampled only: {sampled.what}. {sampled.why}"


@click.command(
    short_help="One file for the safety officer of a site.",
    epilog="\b\nExample:\n"
    "  pytest --junitxml=build/tests.xml\n"
    "  sitbone safety-case --tests build/tests.xml --report silent-weeks.txt > safety-case.md",
)
@click.option("--tests", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A JUnit report.")
@click.option(
    "--report",
    "reports",
    type=click.File(encoding="utf-8"),
    multiple=True,
    metavar="FILE",
    help="The text of another report that belongs to it, such as that of the silent weeks.",
)
@click.option("--json", "machine", is_flag=True, help="Print it as JSON, without the words of the log.")
def safety_case(tests: Path | None, reports: Sequence[TextIO], *, machine: bool) -> None:
    """Print the safety case of the release that the settings name, as Markdown.

    It says what stands in force and who signed it, the hazards with their scores and controls, what is proved, what
    became of each test that a hazard names, and what is still open. Needs z3: pip install 'sitbone[prove]'.

    Ends with 0, with 1 when something keeps the release from going live, and with 2 when it cannot be looked at.
    """
    require("z3", "prove")
    from service.commands.prove import prove_folder  # noqa: PLC0415

    now = datetime.now(UTC).replace(microsecond=0)
    try:
        settings = Settings.from_environment(os.environ)
        hazards = read_hazards(settings.knowledge_dir, settings.hazards)
        results = results_of([test for hazard in hazards for test in hazard.tests], tests)
        proof = prove_folder(settings.knowledge_dir, now)
        standings = release_of(settings, proof.knowledge).at(now)
    except (SettingsError, KnowledgeError) as error:
        give_up(str(error))
    except (OSError, ET.ParseError):
        give_up(f"{tests}: cannot be read as a JUnit report.")
    told = {each.name: each.read() for each in reports}
    case = SafetyCase(version("sitbone"), now, standings, hazards, proof, results, told)
    click.echo(as_json(case) if machine else as_markdown(case), nl=False)
    sys.exit(1 if any(True for _ in case.open()) else 0)
