"""`sitbone check`: the check of the protocol's package, of the service that runs here where no URL is given."""

import click

from cds_hooks.command_line import give_up
from cds_hooks.conformance import command
from service.commands.running import LOOKED, services


def _running_here() -> str:
    """The address of the service that runs on this machine."""
    found = services()
    if not found:
        give_up(f"Name the URL of a service: none runs on this machine, looked for in {LOOKED}.")
    if len(found) > 1:
        give_up(f"Several services run on this machine: name the URL of one, {', '.join(each.url for each in found)}.")
    return found[0].url


check = click.Command(
    "check",
    callback=command.check.callback,
    params=[click.Argument(["url"], default=_running_here), *command.check.params[1:]],
    help=f"{command.check.help}\n\nWithout URL it is the service that this user runs on this machine.",
    short_help=command.check.short_help,
    epilog=str(command.check.epilog).replace(command.CALLED, "sitbone check"),
)
