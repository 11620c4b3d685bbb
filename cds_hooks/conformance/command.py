"""The check as a command. It needs click, marshmallow, msgspec and requests alone; to sign tokens also PyJWT and
cryptography, and to judge resources fhir.resources.

Specification: as the table of checks has it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from cds_hooks.check_mark import AGENT
from cds_hooks.command_line import give_up, progress, sign_with, token_in
from cds_hooks.conformance.checks import judge
from cds_hooks.conformance.observing import NoneSent, Unreachable, observe, over_http
from cds_hooks.conformance.report import as_json, as_junit, as_text, is_conformant

CALLED = "python -m cds_hooks.conformance"


@click.command(
    short_help="Is a service a conformant one?",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n"
    f"  {CALLED} http://127.0.0.1:8080 --requests fixtures/requests\n"
    f"  {CALLED} https://cds.example.org --key private-key.json --iss https://ehr.example.org/\n"
    f"  {CALLED} https://cds.example.org --junit report.xml",
)
@click.argument("url")
@click.option(
    "--requests",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="FOLDER",
    help="Also send the requests in FOLDER, one a file, each to the services of its hook.",
)
@click.option("--token", "given", metavar="TOKEN|-", help="The bearer token of every call; - reads it.")
@click.option("--key", "key_file", type=click.Path(path_type=Path), metavar="FILE", help="A private JWK to sign with.")
@click.option("--iss", metavar="URL", help="With --key: the issuer, as it is registered.")
@click.option("--jku", metavar="URL", help="With --key: where the public keys are, as it is registered.")
@click.option("--tenant", metavar="TEXT", help="With --key: the tenant.")
@click.option("--no-feedback", is_flag=True, help="Send no feedback.")
@click.option(
    "--timeout",
    default=5.0,
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long to wait for an answer, and six times that for all slow ones; 5 by default.",
)
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write JUnit XML too.")
@click.option("--json", "machine", is_flag=True, help="Print the checks as JSON.")
def check(
    url: str,
    *,
    folder: Path | None,
    given: str | None,
    key_file: Path | None,
    iss: str | None,
    jku: str | None,
    tenant: str | None,
    no_feedback: bool,
    timeout: float,
    junit: Path | None,
    machine: bool,
) -> None:
    """Say whether the service at URL, anybody's, is a conformant CDS Hooks service.

    URL is the address without /cds-services; where it has no https:// or http://, the one that answers is taken.
    Discovery, calls, errors, cards, feedback and CORS are held to what the specification requires (WRONG where it is
    not so) and to what it recommends (should). What is sent changes nothing: calls about a patient that does not exist,
    requests that are to be refused, and feedback on the cards of these calls. It is marked, by its User-Agent and in
    an extension, and Sitbone leaves it out of its reports. Cards are only judged where some come: name a FOLDER with
    requests that bring them. Where a service hangs, two calls of a URL are waited for, and the table says which.

    Ends with 0 when nothing that is required is wrong, with 1 when something is, and with 2 when nothing answers or
    FOLDER holds no request, or none for a hook that the service has. Where it has some of them, the table names the
    requests that were not sent.
    """
    if (key_file is None) != (iss is None) or (given and key_file):
        give_up("A token is given with --token, or signed with --key and --iss together.")
    fixed = token_in(given) if given else None
    given_requests = tuple(_requests(folder)) if folder else ()
    if folder and not given_requests:
        give_up(f"{folder}: holds no request, which is a JSON object with a hook in a file *.json.")

    def token(audience: str) -> str:
        from cds_hooks.trust.signing import claims_for  # noqa: PLC0415

        if key_file and iss:
            return sign_with(key_file, claims_for(iss, audience, time.time(), tenant=tenant), jku)
        return fixed or ""

    try:
        seen = observe(
            url,
            over_http(timeout),
            token=token if fixed or key_file else None,
            given=given_requests,
            feedback=not no_feedback,
            over=progress("Checking"),
            agent=f"{AGENT}/{version('sitbone')}",
            patience=6 * timeout,
        )
    except Unreachable as problem:
        give_up(str(problem))
    except NoneSent as problem:
        give_up(f"{folder}: {problem}")
    results = judge(seen)
    if junit:
        try:
            junit.write_text(as_junit(seen.url, results), encoding="utf-8")
        except OSError as problem:
            give_up(f"{junit}: {problem.strerror}.")
    click.echo(as_json(seen.url, results) if machine else as_text(results, _coloured))
    sys.exit(0 if is_conformant(results) else 1)


def _coloured(text: str, status: str) -> str:
    return click.style(text, fg={"passed": "green", "failed": "red", "warned": "yellow"}.get(status))


def _requests(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        try:
            request = json.loads(path.read_bytes())
        except (OSError, ValueError):
            give_up(f"{name}.json is not JSON.")
        if isinstance(request, dict) and "hook" in request:
            yield name, request
