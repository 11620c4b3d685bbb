"""What an integrator types: ``sitbone``."""

import os
import sys
from pathlib import Path

import click

from service.settings import Settings, SettingsError


@click.group()
def main() -> None:
    """Sitbone, a CDS Hooks service for pain where the glute meets the hamstring."""


@main.command()
@click.option(
    "--try",
    "example",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Print the command that sends the request in FILE.",
)
def serve(example: Path | None) -> None:
    """Start the service and stay until it is told to stop. Its settings are environment variables."""
    # Models and server are only loaded by the one command that needs them.
    from service.app import create_app  # noqa: PLC0415
    from service.serve import serve as run  # noqa: PLC0415

    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
    run(settings, create_app(settings), example=example)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--url", metavar="URL", help="Call the service at this address, and not the one that is installed.")
@click.option("--json", "machine", is_flag=True, help="Print the differences as JSON.")
def replay(folder: Path, url: str | None, *, machine: bool) -> None:
    """Post the requests of FOLDER again and show where the answers differ from its responses.

    Ends with 0 when nothing differs, with 1 when something does, and with 2 when FOLDER or the service cannot be used.
    """
    from service.guideline import KnowledgeError  # noqa: PLC0415
    from service.replay import ReplayError, as_json, as_text  # noqa: PLC0415
    from service.replay import replay as run  # noqa: PLC0415

    try:
        replayed = run(folder, Settings.from_environment(os.environ), url)
    except (ReplayError, SettingsError, KnowledgeError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    click.echo(as_json(replayed) if machine else as_text(replayed))
    sys.exit(1 if any(replayed.values()) else 0)
