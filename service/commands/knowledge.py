"""What whoever writes or reviews the knowledge types: ``sitbone knowledge``."""

import csv
import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from service.commands import audit, give_up, require, signing

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_COLUMNS = ("id", "version", "kind", "status", "indicator", "title", "summary", "whenThen", "asEvaluated", "condition")


@click.group(
    short_help="Check, prove, compare, export the knowledge.",
    epilog="\b\nExamples:\n"
    "  sitbone knowledge lint\n"
    "  sitbone knowledge diff ../old/service/knowledge\n"
    "  sitbone knowledge export --format csv > recommendations.csv",
)
def knowledge() -> None:
    """Check, prove, compare and export the knowledge: the folder that is packaged, or one of yours."""


for command in (signing.sign, signing.revoke, signing.verify, signing.status, signing.closure, audit.restore):
    knowledge.add_command(command)


@knowledge.command()
@click.argument("folder", type=_FOLDER, required=False)
@click.option("--strict", is_flag=True, help="Let a warning count as an error.")
@click.option("--json", "machine", is_flag=True, help="Print the remarks as JSON.")
def lint(folder: Path | None, *, strict: bool, machine: bool) -> None:
    """Say everything that is wrong with the knowledge in FOLDER, and what in it is of no use.

    An error stops the start of the service. A warning does not: a threshold, a finding, a criterion or a source that
    nothing reads, a recommendation without a source. Without FOLDER, the packaged knowledge is looked at.

    Ends with 0 when there is no error, and with 1 when there is one.
    """
    from service.commands.lint import as_json, as_text  # noqa: PLC0415
    from service.commands.lint import lint as run  # noqa: PLC0415

    remarks = run(folder)
    click.echo(as_json(remarks) if machine else as_text(remarks))
    sys.exit(1 if any(strict or remark.level == "error" for remark in remarks) else 0)


@knowledge.command("diff")
@click.argument("old", type=_FOLDER)
@click.argument("new", type=_FOLDER, required=False)
@click.option("--json", "machine", is_flag=True, help="Print the changes as JSON.")
def compare(old: Path, new: Path | None, *, machine: bool) -> None:
    """Say what changed from the knowledge in OLD to that in NEW, or to the packaged knowledge.

    The files are compared by recommendation, finding, threshold, weight and code. What a change does to the advice
    is what `sitbone replay --against OLD` shows.

    Ends with 0 when nothing changed, with 1 when something did, and with 2 when a file cannot be read.
    """
    from service.knowledge_model.model import PACKAGED, KnowledgeError  # noqa: PLC0415
    from service.release.diff import as_json, as_text, diff  # noqa: PLC0415

    try:
        changes = diff(old, new or PACKAGED)
    except KnowledgeError as error:
        give_up(str(error))
    click.echo(as_json(changes) if machine else as_text(changes))
    sys.exit(1 if changes else 0)


@knowledge.command(
    epilog="\b\nExamples:\n"
    "  sitbone knowledge export --format csv > recommendations.csv\n"
    "  sitbone knowledge export --format fhir exported\n"
    "  sitbone knowledge export --check"
)
@click.argument("into", type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]", required=False)
@click.option("--folder", type=_FOLDER, metavar="FOLDER", help="The knowledge; by default the packaged one.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "markdown", "csv", "fhir"]),
    help="json, the default: all of it; markdown: the recommendations to read; csv: a row for each of them; fhir: a "
    "FHIR package, written to DIR.",
)
@click.option("--json", "machine", is_flag=True, help="The same as --format json; with --check, its result as JSON.")
@click.option("--check", is_flag=True, help="Say what a FHIR package leaves out, and why, and write nothing.")
@click.option("--affiliate", is_flag=True, help="With fhir, also SNOMED CT codes that need an affiliate licence.")
def export(
    into: Path | None, folder: Path | None, form: str | None, *, machine: bool, check: bool, affiliate: bool
) -> None:
    """Print the whole knowledge in FOLDER, or the packaged one; as JSON it is what GET /knowledge answers.

    Without --format fhir, DIR is the folder of the knowledge. With it, DIR becomes a FHIR package with which another
    engine decides the same by case features (`sitbone features`): the logic as CQL and ELM, a PlanDefinition for each
    recommendation, orders, codes, the questions, and charts with their results.

    Ends with 0, and with 2 when the knowledge cannot be loaded or DIR cannot be written.
    """
    if machine and form not in (None, "json"):
        give_up(f"Either --json or --format {form}.")
    if form == "fhir" and into is None:
        give_up("--format fhir writes files: name the DIR to write them to.")
    if form != "fhir" and into is not None:
        if not into.is_dir():
            give_up(f"{into}: is no folder.")
        folder = folder or into
    from service.knowledge_model.model import KnowledgeError  # noqa: PLC0415

    try:
        if form == "fhir" or check:
            _export_fhir(into if form == "fhir" and not check else None, folder, machine=machine, affiliate=affiliate)
            return
        described = _described(folder)
    except KnowledgeError as error:
        give_up(str(error))
    writers = {"json": _as_json, "markdown": _as_markdown, "csv": _as_csv}
    click.echo(writers[form or "json"](described), nl=form != "csv")


def _described(folder: Path | None) -> dict[str, Any]:
    from service.commands.release import release_in  # noqa: PLC0415
    from service.knowledge_model.loader import load  # noqa: PLC0415
    from service.knowledge_model.properties import read_properties  # noqa: PLC0415
    from service.pages.knowledge import document  # noqa: PLC0415

    loaded = load(folder)
    return document(loaded, read_properties(loaded, folder), release_in(folder, loaded).at(datetime.now(UTC)))


def _export_fhir(into: Path | None, folder: Path | None, *, machine: bool, affiliate: bool) -> None:
    """Writes the package; without a folder to write to, says what it leaves out."""
    from service.commands.portable import as_json, as_text, export_of, write  # noqa: PLC0415

    exported = export_of(folder, affiliate=affiliate, now=datetime.now(UTC))
    if into is None:
        click.echo(as_json(exported.not_exported()) if machine else as_text(exported))
        return
    try:
        count = write(exported, into)
    except OSError as problem:
        give_up(f"{into}: {problem.strerror}.")
    click.echo(f"{into}: {count} files, and package.tgz of them")


@knowledge.command(
    epilog="\b\nExamples:\n"
    "  sitbone knowledge prove\n"
    "  sitbone knowledge prove --folder ../ours --requests counterexamples\n",
)
@click.option("--folder", type=_FOLDER, metavar="FOLDER", help="The knowledge; by default the packaged one.")
@click.option(
    "--requests",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write each counterexample as requests that `sitbone explain` takes.",
)
@click.option("--json", "machine", is_flag=True, help="Print the results as JSON.")
def prove(folder: Path | None, requests: Path | None, *, machine: bool) -> None:
    """Decide the safety properties of the knowledge about all charts that there can be, and not only about some.

    The properties stand in properties.toml, with their exceptions and with what is known to fail. What is refuted is
    shown with the smallest chart that was found, in words, and sent through the service. What cannot be decided in
    time is a failure. Needs z3: pip install 'sitbone[prove]'.

    Ends with 0 when every property holds but for its exceptions and known failures, with 1 when something else fails
    or a known failure does so no longer, and with 2 when the knowledge cannot be loaded or z3 is not installed.
    """
    require("z3", "prove")
    from service.commands.prove import as_json, as_text, prove_folder, write_requests  # noqa: PLC0415
    from service.knowledge_model.model import KnowledgeError  # noqa: PLC0415

    try:
        proof = prove_folder(folder, datetime.now(UTC).replace(microsecond=0))
    except KnowledgeError as error:
        give_up(str(error))
    if requests:
        try:
            write_requests(proof, requests)
        except OSError as problem:
            give_up(f"{requests}: {problem.strerror}.")
    click.echo(as_json(proof) if machine else as_text(proof))
    sys.exit(0 if proof.holds else 1)


def _as_json(described: dict[str, Any]) -> str:
    return json.dumps(described, ensure_ascii=False, indent=2)


def _as_markdown(described: dict[str, Any]) -> str:
    lines = [f"# {described['title']}", "", f"Version {described['version']}, {described['status']}.", ""]
    for each in described["recommendations"]:
        lines += [f"## {each['id']}: {each['title']}", "", *each["whenThen"].splitlines(), ""]
        lines += ["As it is evaluated:", "", *each["asEvaluated"].splitlines(), ""]
        lines += [f"- indicator: {each['indicator']}; status: {each['status']}, version {each['version']}"]
        lines += [f"- condition: `{each['condition']}`", *(f"- do: {line}" for line in each["do"])]
        lines += [f"- evidence: {_cited(evidence)}" for evidence in each["evidence"]]
        lines += [""]
    return "\n".join(lines).rstrip()


def _cited(evidence: dict[str, Any]) -> str:
    return " ".join(filter(None, (f"[{evidence['tag']}]", evidence.get("citation"), evidence.get("url"))))


def _as_csv(described: dict[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*_COLUMNS, "strength", "evidence", "statements", "rules"))
    for each in described["recommendations"]:
        writer.writerow(
            (
                *(each[column] for column in _COLUMNS),
                each["strength"]["id"],
                " ".join(evidence["tag"] for evidence in each["evidence"]),
                " ".join(statement["id"] for statement in each["statements"]),
                " ".join(rule["id"] for rule in each["rules"]),
            )
        )
    return text.getvalue()
