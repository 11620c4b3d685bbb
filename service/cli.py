"""What an integrator types: ``sitbone``."""

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from cds_hooks.command_line import give_up, progress, sign_with, token_in
from service.settings import Settings, SettingsError

# Groups and commands that have a module of their own, loaded when they are asked for.
_ELSEWHERE = {
    "check": "service.commands.check",
    "knowledge": "service.commands.knowledge",
    "db": "service.commands.audit",
    "report": "service.commands.audit",
    "shadow": "service.commands.audit",
    "expect": "service.commands.audit",
    "author-report": "service.commands.audit",
    "safety-case": "service.commands.safety_case",
    "suspend": "service.commands.suspension",
    "suspended": "service.commands.suspension",
    "resume": "service.commands.suspension",
    "reload": "service.commands.reload",
    "population": "service.commands.population",
}


class _Commands(click.Group):
    """The commands in the order in which one comes to need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        return [*self.commands, *(name for name in _ELSEWHERE if name not in self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            command: click.Command = getattr(importlib.import_module(_ELSEWHERE[cmd_name]), cmd_name.replace("-", "_"))
            return command
        return super().get_command(ctx, cmd_name)


@click.group(
    "sitbone",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n"
    "  sitbone serve                                  start the service on 127.0.0.1:8080\n"
    "  sitbone explain request.json                   why these cards, and why no others\n"
    "  sitbone check http://127.0.0.1:8080            is it a conformant CDS Hooks service\n"
    "  sitbone replay fixtures/                       does it still answer as before\n"
    "\n\b\n"
    "Every command ends with 0 when all is well, with 1 when it found what it looks for (a difference, an error, a\n"
    "refusal), and with 2 when it could not look. NO_COLOR=1 switches colours off; there are none in a file or pipe.",
)
@click.version_option(package_name="sitbone", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Sitbone, a CDS Hooks service for pain where the glute meets the hamstring."""
    if os.environ.get("NO_COLOR"):
        context.color = False


@main.command(short_help="Start the service.")
@click.option(
    "--try",
    "example",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Print the command that sends the request in FILE.",
)
def serve(example: Path | None) -> None:
    """Start the service and stay until it is told to stop. Its settings are environment variables.

    Ends with 0 when it was told to stop, and with 2 when a setting, the clients, the knowledge, a database or the
    address keeps it from starting.
    """
    # What is loaded stays, and the garbage collector would look through it again and again; serve.py lets it work.
    gc.disable()
    # Models and server are only loaded by the one command that needs them.
    from service.app import create_app  # noqa: PLC0415
    from service.audit import open_audit  # noqa: PLC0415
    from service.knowledge_model.model import KnowledgeError  # noqa: PLC0415
    from service.release.reload import renewed  # noqa: PLC0415
    from service.release.suspension import open_suspensions  # noqa: PLC0415
    from service.server import metrics, tracing  # noqa: PLC0415
    from service.server.serve import require_free_address  # noqa: PLC0415
    from service.server.serve import serve as run  # noqa: PLC0415

    try:
        settings = Settings.from_environment(os.environ)
        audit, traces = open_audit(settings), tracing.open_tracing(os.environ)
        suspensions = open_suspensions(settings)
        metrics.share()

        def make() -> Any:
            return create_app(settings, audit=audit, tracing=traces, suspensions=suspensions)

        app = make()
        require_free_address(settings)
    except (SettingsError, KnowledgeError) as error:
        gc.enable()
        give_up(str(error))

    def renew() -> Any:
        nonlocal app
        # The old one does not outlive its last worker, so that memory stays bounded.
        new = renewed(make, (KnowledgeError,))
        app = new or app
        app.extensions["metrics"].reloaded(refused=new is None)
        return new

    def at_the_beginning(answers_hooks: bool) -> None:
        # It forks a process, and so comes before whatever has a thread.
        if answers_hooks and (shadow := app.extensions.get("shadow")):
            shadow.start()
        suspensions.start()
        for part in (app.extensions["canary"], app.extensions["watch"]):
            if part is not None:
                part.start()

    def at_the_end() -> None:
        # The metrics come last: they say what the audit trail has lost.
        for part in (
            app.extensions["canary"],
            app.extensions["watch"],
            suspensions,
            app.extensions.get("shadow"),
            audit,
            traces,
            app.extensions["metrics"],
        ):
            if part is not None:
                part.close()

    run(
        settings,
        app,
        example=example,
        renew=renew,
        has_pages=lambda: app.extensions["has_pages"],
        at_the_beginning=at_the_beginning,
        at_the_end=at_the_end,
        at_death=metrics.forget,
    )


@main.command(
    short_help="Why a request gets the cards it gets.",
    epilog="\b\nExamples:\n"
    "  sitbone explain fixtures/requests/sudden-tear.json\n"
    "  sitbone explain --at 2026-11-22T12:00:00Z --json request.json | jq .recommendations\n"
    "  sitbone explain --service analgesic-safety-sign - < request.json",
)
@click.argument("file", type=click.File("rb"))
@click.option("--service", "service_id", metavar="ID", help="The CDS service; by default the first of the hook.")
@click.option("--at", metavar="TIME", help="The time of the call, as 2026-11-22T12:00:00Z; by default now.")
@click.option("--json", "machine", is_flag=True, help="Print the explanation as JSON.")
def explain(file: Any, service_id: str | None, at: str | None, *, machine: bool) -> None:
    """Show the whole decision about the request in FILE, or with - on the standard input.

    The complaint, each recommendation with its verdict (yes, no, cannot tell), its findings and what is unknown; the
    ranking of causes with each point; treatment and what holds it; what to ask next; and for orders, the facts that
    they are judged by. Nothing is fetched: the prefetch of the request is all that is looked at.

    Ends with 0, and with 2 when the service would refuse the request.
    """
    from cds_hooks import CdsHooksError  # noqa: PLC0415
    from service.knowledge_model.model import KnowledgeError  # noqa: PLC0415
    from service.release.states import knowledge_of, release_of  # noqa: PLC0415
    from service.services.explanation import Explainer, as_json, as_text  # noqa: PLC0415
    from service.site_codes import site_codes_of  # noqa: PLC0415

    now = _time(at)
    body = file.read()
    try:
        settings = Settings.from_environment(os.environ)
        knowledge = knowledge_of(settings)
        site_codes = site_codes_of(settings, knowledge)
        explainer = Explainer(knowledge, lambda: now, site_codes, release_of(settings, knowledge).at)
        explained = explainer.explain(service_id or _first_service(explainer.services_of, body), body)
    except (SettingsError, KnowledgeError, CdsHooksError) as problem:
        give_up(str(problem))
    click.echo(as_json(explained) if machine else as_text(explained, lambda text: click.style(text, bold=True)))


def _time(at: str | None) -> datetime:
    if at is None:
        return datetime.now(UTC)
    try:
        time_ = datetime.fromisoformat(at)
    except ValueError:
        give_up("--at takes a time like 2026-11-22T12:00:00Z.")
    # Beyond these years a day more or another zone has no date.
    if not 1900 <= time_.year <= 9000:
        give_up("--at takes a time of the years 1900 to 9000.")
    return time_ if time_.tzinfo else time_.replace(tzinfo=UTC)


def _first_service(services_of: Callable[[str], list[str]], body: bytes) -> str:
    from cds_hooks.request import read_envelope  # noqa: PLC0415

    services = services_of(str(read_envelope(body)["hook"]))
    if not services:
        give_up("hook: no CDS service is published for it.")
    return services[0]


@main.command(
    short_help="What is read from a chart, as FHIR.",
    epilog="\b\nExamples:\n"
    "  sitbone features fixtures/requests/sudden-tear.json\n"
    "  sitbone features --at 2026-11-22T12:00:00Z - < request.json | jq '.entry[].resource.code.coding[0].code'",
)
@click.argument("file", type=click.File("rb"))
@click.option("--at", metavar="TIME", help="The time of the reading, as 2026-11-22T12:00:00Z; by default now.")
def features(file: Any, at: str | None) -> None:
    """Print what is read from the chart of the request in FILE, or with - on the standard input, as a FHIR Bundle.

    An Observation for each statement about a finding: its value, its side, when it was stated, which resource it is
    from, and how it was read; before them the marker that says which Sitbone read them and when. They are what the
    exported knowledge decides by. Nothing is fetched, and nothing is logged.

    Ends with 0, and with 2 when the service would refuse the request.
    """
    from cds_hooks import CdsHooksError  # noqa: PLC0415
    from service.features.reading import FeatureReader  # noqa: PLC0415
    from service.knowledge_model.model import KnowledgeError  # noqa: PLC0415
    from service.release.states import knowledge_of  # noqa: PLC0415
    from service.services.evaluation import Evaluator  # noqa: PLC0415
    from service.services.registry import services_by  # noqa: PLC0415

    now = _time(at)
    try:
        settings = Settings.from_environment(os.environ)
        knowledge = knowledge_of(settings)
        evaluator = Evaluator(knowledge, lambda: now)
        found = FeatureReader(evaluator, services_by(evaluator)).read(file.read())
    except (SettingsError, KnowledgeError, CdsHooksError) as problem:
        give_up(str(problem))
    click.echo(json.dumps(found, ensure_ascii=False, indent=2))


@main.command(
    short_help="Do requests still get their answers?",
    epilog="\b\nExamples:\n"
    "  sitbone replay fixtures/\n"
    "  sitbone replay fixtures/ --url http://127.0.0.1:8080\n"
    "  sitbone replay fixtures/ --against ../old/service/knowledge",
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--url", metavar="URL", help="Call the service at this address, and not the one that is installed.")
@click.option(
    "--against",
    "old",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="OLD",
    help="Compare with what the folder of knowledge OLD would have answered, not with the responses of FOLDER.",
)
@click.option("--json", "machine", is_flag=True, help="Print the differences as JSON.")
def replay(folder: Path, url: str | None, old: Path | None, *, machine: bool) -> None:
    """Post the requests of FOLDER again and show where the answers differ from its responses.

    With --against, list instead whose advice changes from the knowledge in OLD to the present one, and how.

    Ends with 0 when nothing differs, with 1 when something does, and with 2 when FOLDER, the service or a folder of
    knowledge cannot be used.
    """
    from service.commands import comparison  # noqa: PLC0415
    from service.commands.replay import ReplayError, as_json, as_text  # noqa: PLC0415
    from service.commands.replay import replay as run  # noqa: PLC0415
    from service.knowledge_model.model import KnowledgeError  # noqa: PLC0415

    over = progress("Replaying")
    if url and old:
        give_up("--against compares in process; a service at a URL answers with knowledge of its own.")
    try:
        settings = Settings.from_environment(os.environ)
        if old:
            compared = comparison.compare(folder, settings, old, over)
            click.echo(comparison.as_json(compared) if machine else comparison.as_text(compared))
            sys.exit(1 if any(compared.values()) else 0)
        replayed = run(folder, settings, url, over)
    except (ReplayError, SettingsError, KnowledgeError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    click.echo(as_json(replayed) if machine else as_text(replayed))
    sys.exit(1 if any(replayed.values()) else 0)


@main.group(short_help="Keys of a CDS client.")
def keys() -> None:
    """Keys for a CDS client that is being tried."""


@keys.command()
@click.option("--alg", default="ES384", type=click.Choice(["ES384", "RS384"]), help="The algorithm; ES384 by default.")
@click.option("--kid", metavar="TEXT", help="The name of the key; a new one by default.")
@click.option(
    "--out",
    default=".",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="The folder of both files; the present one by default.",
)
@click.option("--json", "machine", is_flag=True, help="Print the paths of the files as JSON.")
def new(alg: str, kid: str | None, out: Path, *, machine: bool) -> None:
    """Make a key pair: DIR/private-key.json to sign with, DIR/jwks.json to give to the service.

    Ends with 0, and with 2 when a file is there already or cannot be written.
    """
    from cds_hooks.trust.signing import key_set, new_key  # noqa: PLC0415

    key = new_key(alg, kid)
    files = {out / "private-key.json": (key, 0o600), out / "jwks.json": (key_set(key), 0o644)}
    for path in files:
        if path.exists():
            give_up(f"{path}: is there already, and a key that is in use must not be lost.")
    for path, (members, mode) in files.items():
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
                json.dump(members, file, indent=2)
        except OSError as problem:
            give_up(f"{path}: {problem.strerror}.")
    private, public = map(str, files)
    click.echo(json.dumps({"private": private, "public": public}) if machine else f"{private}\n{public}")


@main.command(
    epilog="\b\nExample:\n"
    "  sitbone token --key private-key.json --iss https://ehr.example.org/ --aud https://cds.example.org/cds-services"
)
@click.option(
    "--key", "key_file", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A private JWK."
)
@click.option("--iss", required=True, metavar="URL", help="The issuer, as it is registered.")
@click.option("--aud", required=True, metavar="URL", help="The URL that will be called.")
@click.option("--jku", metavar="URL", help="Where the public keys are, as it is registered.")
@click.option("--tenant", metavar="TEXT", help="The tenant, where one issuer stands for several organisations.")
@click.option("--lifetime", default=300, metavar="SECONDS", help="300 by default.")
@click.option("--json", "machine", is_flag=True, help="Print an object with the token and its claims.")
def token(
    key_file: Path, *, iss: str, aud: str, jku: str | None, tenant: str | None, lifetime: int, machine: bool
) -> None:
    """Print a signed token for one call.

    Ends with 0, and with 2 when FILE holds no private key.
    """
    from cds_hooks.trust.signing import claims_for  # noqa: PLC0415

    claims = claims_for(iss, aud, time.time(), lifetime=lifetime, tenant=tenant)
    signed = sign_with(key_file, claims, jku)
    click.echo(json.dumps({"token": signed, "claims": claims}) if machine else signed)


@main.command(
    short_help="What is wrong with a token?",
    epilog="\b\nExample:\n  sitbone token … | sitbone verify-token --clients clients.toml",
)
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
    from service.access.clients import read_clients  # noqa: PLC0415
    from service.commands.verification import as_json, as_text, verify  # noqa: PLC0415

    try:
        file = file or Settings.from_environment(os.environ).clients
        if file is None:
            give_up("Name the file of clients with --clients or in SITBONE_CLIENTS.")
        verified = verify(token_in(text), read_clients(file), aud, time.time())
    except (SettingsError, CdsHooksError) as problem:
        give_up(str(problem))
    click.echo(as_json(verified) if machine else as_text(verified))
    sys.exit(0 if verified.accepted else 1)


@main.command(
    short_help="Let the shell complete commands.",
    epilog="\b\nExamples:\n"
    '  bash   eval "$(sitbone completion bash)"           in ~/.bashrc\n'
    '  zsh    eval "$(sitbone completion zsh)"            in ~/.zshrc\n'
    "  fish   sitbone completion fish > ~/.config/fish/completions/sitbone.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete the commands and options of sitbone.

    Ends with 0.
    """
    completing = get_completion_class(shell)
    if completing is None:
        give_up(f"There is no completion for {shell}.")
    click.echo(completing(main, {}, "sitbone", "_SITBONE_COMPLETE").source())
