"""What the knowledge would say of a population: ``sitbone population``."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands import give_up, require
from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from service.knowledge_model.model import Knowledge
    from service.population.export import Export
    from service.population.lines import Assessed, Population

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def _share(_context: click.Context, _option: click.Parameter, given: str) -> float:
    """A share that is given in percent."""
    if (match := _PERCENT.fullmatch(given)) and float(match[1]) <= 100:
        return float(match[1]) / 100
    raise click.BadParameter("it takes a share of at most 100 %, as 0.1%.")


@click.command(
    short_help="What would be said of a whole population?",
    epilog="\b\nExamples:\n"
    "  sitbone population export/ --types Patient,Condition,Observation --out report/\n"
    "  sitbone population export/manifest.json --out report/ --as-of 2026-11-22\n"
    "  sitbone population export/manifest.json --out report/ --compare knowledge-of-last-month/\n"
    "  sitbone population export/manifest.json --out report/ --engine spark",
)
@click.argument("input", type=click.Path(path_type=Path, exists=True), metavar="INPUT")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="FOLDER",
    help="Where rows, run.json and report.html are written; a folder that is new or empty.",
)
@click.option(
    "--knowledge",
    "knowledge_dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="The knowledge to assess by; by default that of the settings.",
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Say also what fires by this knowledge and not by the other (lost), and the reverse (new).",
)
@click.option(
    "--as-of",
    metavar="DATE",
    help="The day at whose end each patient is looked at, in UTC; by default that of the export, or today.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "spark"]),
    default="local",
    show_default=True,
    help="This machine, or Spark: `spark-submit` says where.",
)
@click.option(
    "--ids",
    type=click.Choice(["hashed", "plain"]),
    default="hashed",
    show_default=True,
    help="How patients are named in the rows: by keyed hashes (SITBONE_LOG_KEY), or by their FHIR ids.",
)
@click.option("--types", metavar="TYPES", help="The types that were exported, with commas; where there is no manifest.")
@click.option(
    "--max-failed",
    callback=_share,
    default="0.1%",
    show_default=True,
    metavar="PERCENT",
    help="Up to which share of patients may fail, and of lines be torn.",
)
@click.option(
    "--small-cells",
    type=click.IntRange(min=1),
    default=11,
    show_default=True,
    metavar="PATIENTS",
    help="The report shows no number of patients from 1 to below this one.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="With the local engine: how many; by default one a processor.",
)
@click.option(
    "--features",
    "with_features",
    is_flag=True,
    help="Write also what was read of each chart, as case features of FHIR; with --ids plain.",
)
@click.option("--json", "machine", is_flag=True, help="Print run.json.")
def population(
    input: Path,  # noqa: A002 - it is what the command calls it
    *,
    out: Path,
    knowledge_dir: Path | None,
    compare: Path | None,
    as_of: str | None,
    engine: str,
    ids: str,
    types: str | None,
    max_failed: float,
    small_cells: int,
    processes: int | None,
    with_features: bool,
    machine: bool,
) -> None:
    """Assess every chart of a Bulk Data export, and write a row for each patient: what would be said, and what of the
    data was missing. INPUT is a folder of Type.ndjson or Type.ndjson.gz, or the manifest of the export.

    FOLDER then has patients.parquet, run.json (what it was made of) and report.html. One patient whose chart cannot be
    assessed is a row that says so. Rows and report are for those who decide about the knowledge; they are no list of
    patients to call in.

    Ends with 0, with 1 when more failed than --max-failed, and with 2 when the export, the knowledge, a setting or
    FOLDER cannot be used.
    """
    if with_features and ids != "plain":
        give_up("--features names resources of the charts, and holds what they say: it goes with --ids plain alone.")
    require("pyarrow", "population")
    # Nothing of this is needed to say what the command does.
    from service.knowledge_model.model import KnowledgeError  # noqa: PLC0415
    from service.population.assessing import PopulationAssessor  # noqa: PLC0415
    from service.population.export import ExportError, described, read_export  # noqa: PLC0415
    from service.population.lines import Population  # noqa: PLC0415
    from service.population.report import write_report  # noqa: PLC0415
    from service.population.run import REPORT_FILE, RunError, write_rows, write_run  # noqa: PLC0415
    from service.pseudonyms import Pseudonyms  # noqa: PLC0415
    from service.release.states import knowledge_of  # noqa: PLC0415

    began = time.monotonic()
    processes = processes or len(os.sched_getaffinity(0))
    try:
        settings = Settings.from_environment(os.environ)
        settings = replace(settings, knowledge_dir=knowledge_dir or settings.knowledge_dir)
        bodies = [
            knowledge_of(one) for one in (settings, *([replace(settings, knowledge_dir=compare)] if compare else []))
        ]
        export = read_export(input, [kind.strip() for kind in types.split(",")] if types is not None else None)
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(out.iterdir()):
            give_up(f"{out} is not empty: name a new folder.")
        given = Population(
            PopulationAssessor(*bodies, features=with_features),
            export.states,
            _end_of(as_of, export),
            export.medications(),
            export.deletions(),
            compared=compare is not None,
            features=with_features,
        )
        provenance = {
            "product": {"name": "sitbone", "version": _version()},
            "engine": {
                "name": engine,
                "python": platform.python_version(),
                **({"processes": processes} if engine == "local" else {}),
            },
            "command": shlex.join(["sitbone", *sys.argv[1:]]),
            "ids": ids,
            "knowledge": _described(settings, bodies[0]),
            "compared": _described(replace(settings, knowledge_dir=compare), bodies[1]) if compare else None,
            "inputs": [described(path) for path in export.inputs],
        }
        run = write_rows(
            _assessed(engine, given, export, out, processes),
            given,
            out,
            pseudonyms=Pseudonyms(settings) if ids == "hashed" else None,
            provenance=provenance,
        )
        said = write_run(out, provenance, export, run, as_of=given.as_of, seconds=time.monotonic() - began)
        write_report(out, bodies[0], run.summary, said, small_cells)
    except (SettingsError, KnowledgeError, ExportError, RunError) as problem:
        give_up(str(problem))
    except OSError as problem:
        give_up(f"{problem.filename or out}: {problem.strerror}.")
    if machine:
        click.echo(json.dumps(said, indent=2, ensure_ascii=False))
    else:
        _say(run.counts, out / REPORT_FILE)
    if run.failed > max_failed:
        click.echo(f"More failed than {100 * max_failed:.3g} % (--max-failed).", err=True)
        sys.exit(1)


def _say(counts: Mapping[str, Any], report: Path) -> None:
    failed = sum(counts["failed"].values())
    click.echo(
        f"{counts['patients']} patients, {failed} failed; of {counts['lines']} lines {counts['torn']} torn, "
        f"{counts['of_nobody']} of nobody, {counts['orphans']} of patients that are not there."
    )
    click.echo(str(report))


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415

    return version("sitbone")


def _described(settings: Settings, knowledge: Knowledge) -> dict[str, Any]:
    """What answered: the knowledge with its digest, how it stands, and each recommendation's digest and state."""
    from service.release.states import release_of  # noqa: PLC0415

    standings = release_of(settings, knowledge).at(datetime.now(UTC))
    return {
        "id": knowledge.id,
        **standings.described(),
        "recommendations": {each.id: {"digest": each.digest, "state": each.state} for each in standings.by_id.values()},
    }


def _end_of(as_of: str | None, export: Export) -> datetime:
    """The time at which each patient is looked at."""
    if as_of is None:
        return export.transaction_time or datetime.now(UTC).replace(microsecond=0)
    try:
        day = date.fromisoformat(as_of)
    except ValueError:
        give_up("--as-of takes a day like 2026-11-22.")
    # Beyond these years a day more or another zone has no date.
    if not 1900 <= day.year <= 9000:
        give_up("--as-of takes a day of the years 1900 to 9000.")
    return datetime.combine(day, time_of_day(23, 59, 59), UTC)


def _assessed(engine: str, given: Population, export: Export, out: Path, processes: int) -> Iterator[Assessed]:
    if engine == "local":
        from service.population import local  # noqa: PLC0415

        return local.run(given, export.of_patients, out, processes)
    require("pyspark", "spark")
    from service.population import spark  # noqa: PLC0415

    return spark.run(given, export.of_patients)
