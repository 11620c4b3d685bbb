"""The command that says beforehand what SIGHUP would do: ``sitbone reload --check``."""

import json
import os
from dataclasses import replace
from pathlib import Path

import click

from service.commands import give_up
from service.settings import Settings, SettingsError


@click.command(
    short_help="What would a running service take on SIGHUP?",
    epilog="\b\nExamples:\n"
    "  sitbone reload --check --against /etc/sitbone/knowledge-of-today\n"
    "  kill -HUP $(pgrep -o -f 'sitbone serve')",
)
@click.option("--check", is_flag=True, required=True, help="Say it, and change nothing.")
@click.option(
    "--against",
    "old",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="OLD",
    help="Say what of the knowledge changes from that in OLD.",
)
@click.option("--json", "machine", is_flag=True, help="Print it as JSON.")
def reload(*, check: bool, old: Path | None, machine: bool) -> None:  # noqa: ARG001 - it is asked for
    """Make of the settings, the knowledge, its signatures and the clients what SIGHUP would make of them, ask the audit
    trail whether other content has answered under its version, and say which version would answer. To have it taken,
    send SIGHUP to the process that was started: its workers end when they have answered what they have, and new ones
    begin with the new.

    Ends with 0 when it would be taken, and with 2 when it would be refused, with the reason.
    """
    from service.app import create_app  # noqa: PLC0415
    from service.audit.releases import must_be_possible  # noqa: PLC0415
    from service.knowledge_model.model import PACKAGED, KnowledgeError  # noqa: PLC0415
    from service.release.diff import as_text, diff  # noqa: PLC0415
    from service.release.suspension import open_suspensions  # noqa: PLC0415

    try:
        settings = Settings.from_environment(os.environ)
        # Pages and metrics are as they are; what is tried leaves no trace in the audit trail.
        app = create_app(replace(settings, log_level="error"), suspensions=open_suspensions(settings))
        release = app.extensions["release"]
        must_be_possible(settings, release)
        changes = diff(old, settings.knowledge_dir or PACKAGED) if old else ()
    except (SettingsError, KnowledgeError) as error:
        give_up(str(error))
    if machine:
        click.echo(json.dumps({"knowledge": release.digests.version, "changes": as_text(changes).splitlines()}))
        return
    if old:
        click.echo(as_text(changes))
    click.echo(f"It would be taken: knowledge {release.digests.version}.")
