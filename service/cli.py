"""What an integrator types: ``sitbone``."""

import json
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

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
        app = create_app(settings)
    except SettingsError as error:
        sys.exit(str(error))
    run(settings, app, example=example)


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


@main.group()
def keys() -> None:
    """Keys for a CDS client that is being tried."""


@keys.command()
@click.option("--alg", default="ES384", type=click.Choice(["ES384", "RS384"]), help="The algorithm; ES384 by default.")
@click.option("--kid", metavar="TEXT", help="The name of the key; a new one by default.")
@click.option("--out", default=".", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR")
def new(alg: str, kid: str | None, out: Path) -> None:
    """Make a key pair: DIR/private-key.json to sign with, DIR/jwks.json to give to the service."""
    from cds_hooks.trust.signing import key_set, new_key  # noqa: PLC0415

    key = new_key(alg, kid)
    files = {out / "private-key.json": (key, 0o600), out / "jwks.json": (key_set(key), 0o644)}
    for path in files:
        if path.exists():
            _give_up(f"{path}: is there already, and a key that is in use must not be lost.")
    for path, (members, mode) in files.items():
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
                json.dump(members, file, indent=2)
        except OSError as problem:
            _give_up(f"{path}: {problem.strerror}.")
        click.echo(str(path))


@main.command()
@click.option(
    "--key", "key_file", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A private JWK."
)
@click.option("--iss", required=True, metavar="URL", help="The issuer, as it is registered.")
@click.option("--aud", required=True, metavar="URL", help="The URL that will be called.")
@click.option("--jku", metavar="URL", help="Where the public keys are, as it is registered.")
@click.option("--tenant", metavar="TEXT")
@click.option("--lifetime", default=300, metavar="SECONDS", help="300 by default.")
def token(key_file: Path, *, iss: str, aud: str, jku: str | None, tenant: str | None, lifetime: int) -> None:
    """Print a signed token for one call."""
    from jwt import PyJWTError  # noqa: PLC0415

    from cds_hooks.trust.signing import claims_for, sign  # noqa: PLC0415

    claims = claims_for(iss, aud, time.time(), lifetime=lifetime, tenant=tenant)
    try:
        signed = sign(json.loads(key_file.read_text("utf-8")), claims, **({"jku": jku} if jku else {}))
    except OSError as problem:
        _give_up(f"{key_file}: {problem.strerror}.")
    except (ValueError, TypeError, AttributeError, PyJWTError):
        # What the reader of the key says may hold a part of it.
        _give_up(f"{key_file}: holds no private JWK, as `sitbone keys new` makes one.")
    click.echo(signed)


@main.command()
@click.argument("text", metavar="[TOKEN|-]", default="-")
@click.option("--clients", "file", type=click.Path(path_type=Path), metavar="FILE", help="By default, SITBONE_CLIENTS.")
@click.option("--aud", metavar="URL", help="The URL that was called; without it, the audience is not checked.")
@click.option("--json", "machine", is_flag=True, help="Print the checks as JSON.")
def verify_token(text: str, file: Path | None, aud: str | None, *, machine: bool) -> None:
    """Say what is right and what is wrong with a token, given as TOKEN or, with -, on the standard input.

    Whether it was used before is not looked up, and it is not used up. Ends with 0 when it would be accepted, with 1
    when not, and with 2 when that cannot be told.
    """
    from cds_hooks import CdsHooksError  # noqa: PLC0415
    from service.clients import read_clients  # noqa: PLC0415
    from service.verification import as_json, as_text, verify  # noqa: PLC0415

    try:
        file = file or Settings.from_environment(os.environ).clients
        if file is None:
            _give_up("Name the file of clients with --clients or in SITBONE_CLIENTS.")
        given = (sys.stdin.read() if text == "-" else text).strip().removeprefix("Bearer ").strip()
        verified = verify(given, read_clients(file), aud, time.time())
    except (SettingsError, CdsHooksError) as problem:
        _give_up(str(problem))
    click.echo(as_json(verified) if machine else as_text(verified))
    sys.exit(0 if verified.accepted else 1)


def _give_up(why: str) -> NoReturn:
    click.echo(why, err=True)
    sys.exit(2)
