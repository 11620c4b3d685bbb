"""The commands that switch off and on: ``sitbone suspend``, ``suspended`` and ``resume``."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.commands import give_up
from service.commands.running import port_of, running_here
from service.service_ids import EVERY_ID
from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from service.knowledge_model.model import Knowledge
    from service.release.suspension import Suspension, Suspensions

_AWAY = "The database does not answer: other hosts learn of it once a service on this host reaches it."
_BY = click.option("--by", required=True, metavar="NAME", help="Who does it.")
_REASON = click.option("--reason", required=True, metavar="TEXT", help="Why; nothing of a patient.")


@click.command(
    short_help="Let a recommendation, a service or everything say nothing.",
    epilog="\b\nExamples:\n"
    '  sitbone suspend rl11-no-imaging-yet --by "A. Example" --reason "asks for too much"\n'
    '  sitbone suspend --service analgesic-safety --by "A. Example" --reason "wrong doses"\n'
    '  sitbone suspend --all --by "A. Example" --reason "cards of last night"',
)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--service", "services", multiple=True, metavar="ID", help="A service, by the id of discovery.")
@click.option("--all", "everything", is_flag=True, help="Everything: the service is silent.")
@_REASON
@_BY
@click.option("--json", "machine", is_flag=True, help="Print what was suspended as JSON.")
def suspend(
    ids: tuple[str, ...], services: tuple[str, ...], *, everything: bool, reason: str, by: str, machine: bool
) -> None:
    """Suspend recommendations by their ids: their words and orders go, from the next call on, in every worker, and on
    other hosts within a second. What they block or hold stays so.

    It outlives every start. `sitbone resume` ends it.

    Ends with 0, and with 2 when there is no such recommendation or service, or the file cannot be written.
    """
    from service.release.muting import SERVICE  # noqa: PLC0415
    from service.release.suspension import EVERYTHING  # noqa: PLC0415

    settings, suspensions = _opened()
    known = {each.id for each in _knowledge(settings).every_recommendation()}
    for id_ in ids:
        if id_ not in known:
            give_up(f"{id_} is no recommendation of this knowledge.")
    for id_ in services:
        if id_ not in EVERY_ID:
            give_up(f"{id_} is no service: name one of {', '.join(EVERY_ID)}.")
    what = [*ids, *(f"{SERVICE}{id_}" for id_ in services), *([EVERYTHING] if everything else [])]
    if not what:
        give_up("Say what: ids of recommendations, --service or --all.")
    try:
        told = suspensions.suspend(what, by, reason, datetime.now(UTC))
    except OSError as problem:
        give_up(f"{suspensions.file}: {problem.strerror}.")
    finally:
        suspensions.close()
    click.echo(json.dumps({"suspended": what}) if machine else f"Suspended: {', '.join(what)}.")
    if not told:
        click.echo(_AWAY, err=True)


@click.command(short_help="What is suspended?")
@click.option("--json", "machine", is_flag=True, help="Print it as JSON.")
def suspended(*, machine: bool) -> None:
    """Print what is suspended, since when, by whom and why.

    Ends with 0 when nothing is, with 1 when something is, and with 2 when that cannot be told.
    """
    _settings, suspensions = _opened()
    suspensions.close()
    active = suspensions.active()
    if machine:
        rows = [
            {"id": one.id, "what": one.what, "at": one.at.isoformat(), "by": one.by, "reason": one.reason}
            for one in active
        ]
        click.echo(json.dumps(rows))
    else:
        for one in active:
            click.echo(f"{one.id}  {one.what}  {one.at.isoformat(timespec='seconds')}  {one.by}: {one.reason}")
    raise SystemExit(1 if active else 0)


@click.command(
    short_help="End a suspension, with a signature of governance.",
    epilog="\b\nExamples:\n"
    '  sitbone resume --prepare rl11-no-imaging-yet --by "B. Governor" --reason "read again" > resume.json\n'
    "  minisign -S -m resume.json\n"
    "  sitbone resume resume.json",
)
@click.argument("what", nargs=-1, required=True, metavar="FILE | ID...")
@click.option("--prepare", is_flag=True, help="Print the file to sign, for what is suspended under these names.")
@click.option("--by", metavar="NAME", help="With --prepare: who will sign, as in the file of signers.")
@click.option("--reason", metavar="TEXT", help="With --prepare: why it may speak again; nothing of a patient.")
@click.option(
    "--signers", type=click.Path(path_type=Path), metavar="FILE", help="Who may sign; by default SITBONE_SIGNERS."
)
@click.option("--json", "machine", is_flag=True, help="Print what was resumed as JSON.")
def resume(
    what: tuple[str, ...],
    *,
    prepare: bool,
    by: str | None,
    reason: str | None,
    signers: Path | None,
    machine: bool,
) -> None:
    """Let speak again what FILE names, which somebody has signed who may sign for governance (FILE.minisig beside it).

    With --prepare, print such a file for what is suspended: ids of recommendations, service:ID or everything.

    Ends with 0, with 1 when the file does not entitle to it, and with 2 when that cannot be told.
    """
    from service.knowledge_model.model import KnowledgeError  # noqa: PLC0415
    from service.release.signatures import not_revoked  # noqa: PLC0415
    from service.release.signers import read_signers  # noqa: PLC0415
    from service.release.states import signatures_of  # noqa: PLC0415
    from service.release.suspension import ResumptionError, to_be_signed  # noqa: PLC0415

    settings, suspensions = _opened()
    knowledge, now = _knowledge(settings).id, datetime.now(UTC)
    if prepare:
        if not by or not reason:
            give_up("--prepare needs --by and --reason.")
        click.echo(to_be_signed(_named(suspensions, what), knowledge, by, reason, now.date()), nl=False)
        suspensions.close()
        return
    trusted = signers or settings.signers
    if trusted is None:
        give_up("Name the file of signers with --signers or in SITBONE_SIGNERS: without it nobody may resume anything.")
    if len(what) > 1:
        give_up("Name one FILE.")
    try:
        # The key of somebody else's hands must not let anything loose.
        entitled = not_revoked(read_signers(trusted), signatures_of(settings), knowledge)
        ended, told = suspensions.resume(Path(what[0]), knowledge, entitled, now)
    except ResumptionError as refused:
        click.echo(str(refused), err=True)
        raise SystemExit(1) from None
    except (SettingsError, KnowledgeError) as problem:
        give_up(str(problem))
    finally:
        suspensions.close()
    click.echo(json.dumps({"resumed": ended}) if machine else f"Resumed: {', '.join(ended)}.")
    if not told:
        click.echo(_AWAY, err=True)


def _named(suspensions: "Suspensions", names: tuple[str, ...]) -> Iterator["Suspension"]:
    active = suspensions.active()
    for name in names:
        if name not in {each.what for each in active}:
            give_up(f"{name} is not suspended.")
    return (each for each in active if each.what in names)


def _opened() -> tuple[Settings, "Suspensions"]:
    from service.release.suspension import open_suspensions  # noqa: PLC0415

    try:
        settings = Settings.from_environment(os.environ)
        if not (settings.store or settings.store_url):
            # What is suspended must be so where it is answered.
            running = running_here(port_of(os.environ))
            settings = running.settings if running else settings
        return settings, open_suspensions(settings)
    except SettingsError as problem:
        give_up(str(problem))


def _knowledge(settings: Settings) -> "Knowledge":
    from service.knowledge_model.model import KnowledgeError  # noqa: PLC0415
    from service.release.states import knowledge_of  # noqa: PLC0415

    try:
        return knowledge_of(settings)
    except KnowledgeError as problem:
        give_up(str(problem))
