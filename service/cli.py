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
