"""`sitbone check`: the check of the protocol's package, of the service that runs here where no URL is given."""

import os
from inspect import cleandoc

import click

from cds_hooks.command_line import give_up
from cds_hooks.conformance import command
from service.commands.running import LOOKED, port_of, running_here
from service.settings import SettingsError


def _running_here() -> str:
    """The address of the service that runs on this machine."""
    try:
        running = running_here(port_of(os.environ))
    except SettingsError as problem:
        give_up(str(problem))
    if running is None:
        give_up(f"Name the URL of a service: none runs on this machine, looked for in {LOOKED}.")
    return running.url


check = click.Command(
    "check",
    callback=command.check.callback,
    params=[click.Argument(["url"], default=_running_here), *command.check.params[1:]],
    # Without its indentation, which click takes away only where every line has it.
    help=f"{cleandoc(command.check.help or '')}\n\nWithout URL it is the service that this user runs on this machine; "
    "of several, that at SITBONE_PORT.",
    short_help=command.check.short_help,
    epilog=str(command.check.epilog).replace(command.CALLED, "sitbone check"),
)
