"""What commands share: how they end, the tokens that they send, and their progress.

Specification: Trusting CDS Clients, for the tokens.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

_T = TypeVar("_T")


def give_up(why: str) -> NoReturn:
    """End the command with exit code 2 and this sentence."""
    click.echo(why, err=True)
    sys.exit(2)


def sign_with(key_file: Path, claims: Mapping[str, Any], jku: str | None) -> str:
    """A token with these claims, signed with the private JWK in a file; without one there it ends the command."""
    from jwt import PyJWTError  # noqa: PLC0415

    from cds_hooks.trust.signing import sign  # noqa: PLC0415

    try:
        return sign(json.loads(key_file.read_text("utf-8")), claims, **({"jku": jku} if jku else {}))
    except OSError as problem:
        give_up(f"{key_file}: {problem.strerror}.")
    except (ValueError, TypeError, AttributeError, PyJWTError):
        # What the reader of the key says may hold a part of it.
        give_up(f"{key_file}: holds no private JWK, as `sitbone keys new` makes one.")


def token_in(text: str) -> str:
    """The token of an argument, read from the standard input where that is `-`."""
    return (sys.stdin.read() if text == "-" else text).strip().removeprefix("Bearer ").strip()


def progress(label: str) -> Callable[[Sequence[_T]], Iterator[_T]]:
    """A bar on the error output, where that is a terminal."""

    def over(items: Sequence[_T]) -> Iterator[_T]:
        with click.progressbar(items, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
            yield from bar

    return over
