"""What signers and governance type: ``sitbone knowledge sign``, ``revoke``, ``verify``, ``status`` and ``closure``."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.commands import give_up, require

if TYPE_CHECKING:
    from service.release.signers import Signers
    from service.release.states import Release

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_DAY = click.DateTime(["%Y-%m-%d"])
_REQUESTS = click.option(
    "--requests",
    type=_FOLDER,
    metavar="FOLDER",
    help="The published requests, such as fixtures, whose answers are the behaviour that governance signs.",
)


def _release(folder: Path | None) -> Release:
    from service.commands.release import release_in  # noqa: PLC0415
    from service.knowledge_model.model import KnowledgeError  # noqa: PLC0415
    from service.settings import SettingsError  # noqa: PLC0415

    try:
        return release_in(folder)
    except (KnowledgeError, SettingsError) as problem:
        give_up(str(problem))


def _behaviour(folder: Path | None, requests: Path) -> str:
    from service.commands.release import behaviour  # noqa: PLC0415
    from service.commands.replay import ReplayError  # noqa: PLC0415

    try:
        return behaviour(folder, requests)
    except ReplayError as problem:
        give_up(str(problem))


def _where(folder: Path | None) -> Path:
    """Where the signatures of a folder lie."""
    from service.commands.release import settings_in  # noqa: PLC0415
    from service.release.states import signatures_of  # noqa: PLC0415

    return signatures_of(settings_in(folder))


@click.command(
    epilog="\b\nExamples:\n"
    '  sitbone knowledge sign ours --role clinical --signer "A. Example" --registration "GMC 1234567"\n'
    '  sitbone knowledge sign ours --role governance --signer "B. Example" --requests fixtures',
)
@click.argument("folder", type=_FOLDER, required=False)
@click.option(
    "--role",
    type=click.Choice(["clinical", "governance"]),
    required=True,
    help="As what: a clinician signs recommendations, governance the release.",
)
@click.option("--signer", required=True, metavar="NAME", help="Who signs, as SITBONE_SIGNERS calls them.")
@click.option("--registration", default="", metavar="TEXT", help="Under which number a clinician is registered.")
@click.option("--organisation", default="", metavar="TEXT", help="For whom, or as what, they sign; cards show it.")
@click.option("--effective-from", type=_DAY, metavar="DAY", help="From when it holds; by default from today.")
@click.option("--review-by", type=_DAY, metavar="DAY", help="By when it is to be read again; by default in a year.")
@click.option("--statement", default="", metavar="TEXT", help="What is stated.")
@click.option("--only", multiple=True, metavar="ID", help="This recommendation alone; may be given several times.")
@click.option("--secret-key", type=click.Path(path_type=Path), metavar="FILE", help="The key file, as minisign has it.")
@_REQUESTS
@click.option("--changes", "only_changes", is_flag=True, help="Say what changed since this person signed, and stop.")
def sign(
    folder: Path | None,
    *,
    role: str,
    signer: str,
    registration: str,
    organisation: str,
    effective_from: datetime | None,
    review_by: datetime | None,
    statement: str,
    only: tuple[str, ...],
    secret_key: Path | None,
    requests: Path | None,
    only_changes: bool,
) -> None:
    """Say what changed since this person signed, write what is to be signed now, and let minisign sign it.

    A clinician signs recommendations, each with all that it reaches; governance signs the whole, which asks first that
    every safety property is proved (`sitbone knowledge prove`) and answers the published requests. minisign asks for
    the password of the key; where it is not installed, its command is printed. No key passes through here.

    Ends with 0 when it is signed or the command is printed, with 1 when a property is not proved or minisign did not
    sign, and with 2 when the knowledge cannot be loaded.
    """
    from service.commands import release as of  # noqa: PLC0415
    from service.release.archive import SUFFIX  # noqa: PLC0415

    release, where = _release(folder), _where(folder)
    click.echo(of.changes_in_words(release, folder, where, signer))
    if only_changes:
        return
    digest = ""
    if role == "governance":
        if requests is None:
            give_up("Governance signs what the service answers too: name the published requests with --requests.")
        _must_be_proved(folder)
        digest = _behaviour(folder, requests)
    try:
        members = of.draft_signature(
            release,
            role,
            signer,
            registration=registration,
            organisation=organisation,
            today=datetime.now(UTC).astimezone(release.zone).date(),
            effective_from=_date(effective_from),
            review_by=_date(review_by),
            statement=statement,
            only=only,
            behaviour_digest=digest,
        )
        path = of.write_draft(members, folder, where)
    except of.NotSignedError as problem:
        give_up(str(problem))
    covered = f"{len(members['covers'])} recommendations" if role == "clinical" else f"release {members['release']}"
    click.echo(f"To be signed: {path}, {covered}.")
    command = of.minisign_command(path, secret_key)
    signed = of.run_minisign(command)
    if signed is None:
        click.echo(f"minisign is not installed here. Sign where it is: {shlex.join(command)}")
    elif not signed:
        path.unlink()
        path.with_suffix(SUFFIX).unlink()
        click.echo("minisign did not sign; nothing is left of it.", err=True)
        sys.exit(1)


@click.command(
    epilog="\b\nExamples:\n"
    '  sitbone knowledge revoke ours --signature 2026-12-01-clinical-a-example --signer "B. Example" --why "wrong"\n'
    '  sitbone knowledge revoke ours --recommendation rl11-no-imaging-yet --signer "B. Example" --why "wrong"\n'
    '  sitbone knowledge revoke ours --key-of "A. Example" --signer "B. Example" --why "the key was stolen"',
)
@click.argument("folder", type=_FOLDER, required=False)
@click.option("--signature", default="", metavar="NAME", help="A signature, by the name of its file without .json.")
@click.option("--recommendation", default="", metavar="ID", help="A recommendation with the content that it has.")
@click.option("--digest", default="", metavar="DIGEST", help="With --recommendation: with this content instead.")
@click.option("--key-of", default="", metavar="NAME", help="The key of this signer, with all it ever signed.")
@click.option("--signer", required=True, metavar="NAME", help="Who takes it back, as SITBONE_SIGNERS calls them.")
@click.option("--why", required=True, metavar="TEXT", help="Why; whoever verifies is told.")
@click.option("--from", "since", type=_DAY, metavar="DAY", help="From when a recommendation is; by default from today.")
@click.option("--secret-key", type=click.Path(path_type=Path), metavar="FILE", help="The key file, as minisign has it.")
def revoke(
    folder: Path | None,
    *,
    signature: str,
    recommendation: str,
    digest: str,
    key_of: str,
    signer: str,
    why: str,
    since: datetime | None,
    secret_key: Path | None,
) -> None:
    """Take back a signature, a recommendation with its content, or a key, by a file that minisign signs.

    Any signer may, for it only ever makes drafts. The file lies in the folder `revocations` beside the signatures once
    it is signed and counts by the keys of SITBONE_SIGNERS, and is never removed. Where minisign is not installed it is
    written here, and the rest is said. It holds from the next start or SIGHUP on; `sitbone suspend` holds at once.

    Ends with 0 when it is signed or the command is printed, with 1 when minisign did not sign or what it signed does
    not count, and with 2 when there is nothing of that name, or the knowledge or the signers cannot be loaded.
    """
    from service.commands import release as of  # noqa: PLC0415

    release, where, signers = _release(folder), _where(folder), _signers(folder)
    today = datetime.now(UTC).astimezone(release.zone).date()
    try:
        members = of.draft_revocation(
            release,
            where,
            signers,
            signer,
            why,
            signature=signature,
            recommendation=recommendation,
            digest=digest,
            key_of=key_of,
            since=_date(since) or today,
        )
        about = signature or recommendation or f"key of {key_of}"
        path, command = of.sign_revocation(members, about, where, signers=signers, today=today, secret_key=secret_key)
    except of.NotSignedError as problem:
        give_up(str(problem))
    except of.NotCountedError as problem:
        click.echo(str(problem), err=True)
        sys.exit(1)
    if command:
        click.echo(
            f"To be signed: {path}. minisign is not installed here. Sign where it is: {shlex.join(command)}\n"
            f"Then lay it with its signature into {where / 'revocations'}: one without would end the start."
        )
        return
    click.echo(f"Revoked: {path}. It holds from the next start or SIGHUP on.")


def _signers(folder: Path | None) -> Signers:
    from service.commands.release import settings_in  # noqa: PLC0415
    from service.release.signers import read_signers  # noqa: PLC0415
    from service.settings import SettingsError  # noqa: PLC0415

    file = settings_in(folder).signers
    if file is None:
        give_up("Name the file of signers in SITBONE_SIGNERS: without it no revocation counts.")
    try:
        return read_signers(file)
    except SettingsError as problem:
        give_up(str(problem))


def _date(given: datetime | None) -> date | None:
    return given.date() if given else None


def _must_be_proved(folder: Path | None) -> None:
    """Governance signs nothing of which a safety property is refuted."""
    require("z3", "prove", "Governance signs what is proved, and ")
    from service.commands.prove import as_text, prove_folder  # noqa: PLC0415

    proof = prove_folder(folder, datetime.now(UTC).replace(microsecond=0))
    if not proof.holds:
        click.echo(as_text(proof))
        click.echo("Not every safety property is proved: nothing is signed.", err=True)
        sys.exit(1)
    click.echo("Every safety property is proved.")


@click.command()
@click.argument("folder", type=_FOLDER, required=False)
@_REQUESTS
@click.option("--json", "machine", is_flag=True, help="Print each file with what became of it as JSON.")
def verify(folder: Path | None, requests: Path | None, *, machine: bool) -> None:
    """Verify each file of signatures and revocations in FOLDER by the keys of SITBONE_SIGNERS.

    With --requests, also that the answers to them are those that governance signed.

    Ends with 0 when each file counts, with 1 when one does not, which is named with its reason, and with 2 when the
    knowledge or the signers cannot be loaded.
    """
    from service.commands.release import verified  # noqa: PLC0415

    found = [*verified(_release(folder), _behaviour(folder, requests) if requests else "")]
    if machine:
        click.echo(json.dumps([each._asdict() for each in found], ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(map(str, found)) or "There is no signature here.")
    sys.exit(0 if all(each.counts for each in found) else 1)


@click.command()
@click.argument("folder", type=_FOLDER, required=False)
@click.option("--json", "machine", is_flag=True, help="Print it as JSON.")
def status(folder: Path | None, *, machine: bool) -> None:
    """Say of each recommendation whether it is in force today, by whom, and what a draft lacks.

    Ends with 0, and with 2 when the knowledge or the signers cannot be loaded.
    """
    from service.commands.release import status_as_json, status_as_text  # noqa: PLC0415

    release = _release(folder)
    standings = release.at(datetime.now(UTC))
    click.echo(json.dumps(status_as_json(standings), indent=2) if machine else status_as_text(release, standings))


@click.command()
@click.argument("id_", metavar="ID")
@click.argument("folder", type=_FOLDER, required=False)
@click.option("--json", "machine", is_flag=True, help="Print each part with its content, as JSON.")
def closure(id_: str, folder: Path | None, *, machine: bool) -> None:
    """Say what a signature of the recommendation ID covers: everything that it reaches, part by part.

    Ends with 0, and with 2 when the knowledge cannot be loaded or has no such recommendation.
    """
    from service.commands.release import NotSignedError, closure_as_text, closure_of  # noqa: PLC0415

    try:
        found = closure_of(_release(folder), id_)
    except NotSignedError as problem:
        give_up(str(problem))
    click.echo(json.dumps(found, ensure_ascii=False, indent=2) if machine else closure_as_text(found))
