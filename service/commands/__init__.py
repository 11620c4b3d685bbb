"""What `sitbone` does beside serving."""

import sys
from typing import NoReturn

import click


def give_up(why: str) -> NoReturn:
    """End the command with exit code 2 and this sentence."""
    click.echo(why, err=True)
    sys.exit(2)
