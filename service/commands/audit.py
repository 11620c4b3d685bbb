"""The commands about the audit trail: ``sitbone db``, ``sitbone report`` and ``sitbone shadow``."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from service.commands import give_up
from service.commands.running import LOOKED, port_of, running_here
from service.settings import MODES, Settings, SettingsError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

_Found = TypeVar("_Found")
_DAY = 86_400
# As many days as SITBONE_AUDIT_DAYS may name, and the days for which a database has a number.
_MOST_DAYS = 36_500
# Later than any time that a row can have, in milliseconds; a host whose clock is ahead dates rows to come.
_FOR_EVER = 2**63 - 1
_FIRST, _LAST = date(1970, 1, 1), date(9000, 12, 31)
# A report may read for so many seconds.
_PATIENCE = 300.0
# What a database says of it may hold the address, with a password.
_FAULT = "the database did not answer, is busy or refused it."


@click.group(short_help="The database of the audit trail.")
def db() -> None:
    """The database of the audit trail: that of SITBONE_AUDIT, SITBONE_AUDIT_URL or SITBONE_STORE, and where none of
    them is set, of the service that this user runs on this machine."""


@db.command()
@click.option("--json", "machine", is_flag=True, help="Print the database and its form as JSON.")
def upgrade(*, machine: bool) -> None:
    """Bring the audit trail into the form that this version needs; one that has it already is left as it is.

    Ends with 2 when the database cannot be used or SITBONE_AUDIT is off.
    """
    from service.audit.database import named  # noqa: PLC0415
    from service.audit.schema import HEAD  # noqa: PLC0415

    settings = _settings()
    database = named(_address(settings))
    _engine(settings, upgrading=True)

    result = {"database": database, "form": HEAD}
    click.echo(json.dumps(result) if machine else f"The audit trail in {database} has form {HEAD}.")


class _Days(click.IntRange):
    """How many days to keep. 0 is refused, as it would say here the opposite of what it says in SITBONE_AUDIT_DAYS."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if click.INT.convert(value, param, ctx) == 0:
            self.fail(
                "0 days would keep nothing, where SITBONE_AUDIT_DAYS=0 keeps everything. "
                "Name 1 day or more, or remove everything with --all.",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


@db.command()
@click.option("--days", type=_Days(1, _MOST_DAYS), metavar="N", help="By default, SITBONE_AUDIT_DAYS.")
@click.option("--all", "everything", is_flag=True, help="Remove everything, however new it is.")
@click.option("--json", "machine", is_flag=True, help="Print the database and what was removed as JSON.")
def purge(days: int | None, *, everything: bool, machine: bool) -> None:
    """Remove what is older than N days from the audit trail, for good.

    Ends with 2 when it is not said what to remove, the database cannot be used or SITBONE_AUDIT is off.
    """
    settings = _settings()
    keep = days or settings.audit_days
    if days and everything:
        give_up("Name --days to keep some or --all to remove everything, not both.")
    if not keep and not everything:
        give_up("Say how many days to keep, with --days or in SITBONE_AUDIT_DAYS; --all keeps nothing.")
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from service.audit.database import named  # noqa: PLC0415
    from service.audit.writer import purge as run  # noqa: PLC0415

    database = named(_address(settings))
    engine = _engine(settings)
    try:
        removed = run(engine, _FOR_EVER if everything else int((time.time() - keep * _DAY) * 1000))
    except SQLAlchemyError:
        give_up(f"The audit trail cannot be purged: {_FAULT}")
    finally:
        engine.dispose()
    if machine:
        click.echo(json.dumps({"database": database, **asdict(removed)}))
    else:
        counts = f"{removed.calls} calls, {removed.cards} cards, {removed.feedback} reports of feedback"
        counts += f", {removed.pages} steps of pages and {removed.shadow_calls} differences of a second knowledge"
        click.echo(f"Removed {counts} from {database}.")


def _of_a_period(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which calls a report is about."""
    day = click.DateTime(["%Y-%m-%d"])
    options = (
        click.option("--since", type=day, metavar="DATE", help="By default, 28 days before --until."),
        click.option("--until", type=day, metavar="DATE", help="The last day, in UTC; by default today."),
        click.option("--client", metavar="NAME", help="Of this CDS client only."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_of_a_period
@click.option("--mode", type=click.Choice(MODES), default=MODES[0], help="Of which calls; by default the live ones.")
@click.option("--with-checks", is_flag=True, help="Count the calls of `sitbone check` too.")
@click.option("--json", "machine", is_flag=True, help="Print the report as JSON.")
def report(
    since: datetime | None, until: datetime | None, client: str | None, *, mode: str, with_checks: bool, machine: bool
) -> None:
    """Print what was advised and what became of it.

    Cards that were shown, accepted, overridden and ignored, by week, client and recommendation; reasons of overrides;
    times to action; calls without a card; data states; how often the same card came up again for a patient. Live calls
    and silent ones, whose cards nobody saw, are never counted together. The
    database that was read stands above it; where SITBONE_AUDIT, SITBONE_AUDIT_URL and SITBONE_STORE are not set, it is
    that of the service that this user runs on this machine. Calls that are marked as those of `sitbone check` are
    counted by themselves.

    Ends with 2 when the database cannot be used, is not there, or SITBONE_AUDIT is off.
    """
    first, last, today = _days(since, until)
    from service.audit.insights import Period  # noqa: PLC0415
    from service.audit.report import as_json, as_text  # noqa: PLC0415
    from service.audit.report import report as ask  # noqa: PLC0415

    period = Period.of_days(first, last, client, with_checks=with_checks, mode=mode)
    database, found = _asked(lambda connection: ask(connection, period, today))
    head = f"{database}\n{first} to {last}, {mode}"
    click.echo(as_json(found, database, mode) if machine else f"{head}\n\n{as_text(found)}")


@click.command()
@_of_a_period
@click.option("--from-silent/--from-live", "silent", default=True, help="Of which calls; by default the silent ones.")
@click.option("--json", "machine", is_flag=True, help="Print the file as JSON.")
def expect(since: datetime | None, until: datetime | None, client: str | None, *, silent: bool, machine: bool) -> None:
    """Propose what to expect of the calls of each client, as a file for SITBONE_EXPECTATIONS.

    Between which shares of the calls with the complaint each recommendation fires (the interval of 99 %, of 50 calls or
    more), after how many days without a red flag somebody has to look, and how often something cannot be read. A red
    flag that is so rare that its absence tells nothing stands in it as a sentence. Read it, edit it, and let those
    agree who answer for the service.

    Ends with 2 when there were no such calls, or the database cannot be used.
    """
    import tomllib  # noqa: PLC0415

    from service.audit.expectations import propose  # noqa: PLC0415
    from service.audit.insights import Period  # noqa: PLC0415
    from service.knowledge_model.loader import load  # noqa: PLC0415

    first, last, _today = _days(since, until)
    folder = _settings().knowledge_dir
    red_flags = frozenset(each.id for each in load(folder).recommendations if each.red_flag)
    period = Period.of_days(first, last, client, mode=MODES[1] if silent else MODES[0])
    _database, text = _asked(lambda connection: propose(connection, period, red_flags))
    if not text:
        give_up(f"There was no {period.mode} call from {first} to {last}.")
    click.echo(json.dumps(tomllib.loads(text)) if machine else text, nl=machine)


@click.command()
@click.option("--month", type=click.DateTime(["%Y-%m"]), metavar="MONTH", help="As 2026-11; by default the last one.")
@click.option("--json", "machine", is_flag=True, help="Print the report as JSON.")
def author_report(month: datetime | None, *, machine: bool) -> None:
    """Print what became of a month's advice, for those who write the knowledge.

    For each recommendation and its content, by digest: in how many calls it fired, on how many cards it stood, and how
    many of these were accepted, overridden for which reason, or not reported; in how many weeks it fired less or more
    often than SITBONE_EXPECTATIONS says. Then what was not seen, and what was suspended and why. Of live calls alone.
    There is nothing of a patient in it and no name of a client; read the reasons of suspensions before you send it.

    Ends with 2 when the database cannot be used, is not there, or SITBONE_AUDIT is off.
    """
    from service.audit.author_report import as_json, as_text  # noqa: PLC0415
    from service.audit.author_report import author_report as ask  # noqa: PLC0415
    from service.audit.expectations import read_expectations  # noqa: PLC0415
    from service.audit.insights import Period  # noqa: PLC0415
    from service.knowledge_model.loader import load  # noqa: PLC0415
    from service.release.suspension import open_suspensions  # noqa: PLC0415

    settings = _settings()
    _must_be_there(_address(settings))
    last = (month.date() + timedelta(days=31) if month else datetime.now(UTC).date()).replace(day=1) - timedelta(days=1)
    try:
        expectations = read_expectations(settings.expectations) if settings.expectations else {}
        suspensions = open_suspensions(settings).every()
    except SettingsError as problem:
        give_up(str(problem))
    _database, found = _asked(
        lambda connection: ask(
            connection,
            Period.of_days(last.replace(day=1), last),
            f"{last:%Y-%m}",
            known=[each.id for each in load(settings.knowledge_dir).recommendations],
            expectations=expectations,
            suspensions=suspensions,
        )
    )
    click.echo(as_json(found) if machine else as_text(found))


@click.group(short_help="A second knowledge beside the one that answers.")
def shadow() -> None:
    """What the knowledge of SITBONE_SHADOW_DIR would have decided of the calls that another one has answered."""


@shadow.command("report")
@_of_a_period
@click.option("--of", metavar="DIGEST", help="Of this second knowledge; by default of the latest.")
@click.option("--json", "machine", is_flag=True, help="Print the report as JSON.")
def shadow_report(
    since: datetime | None, until: datetime | None, client: str | None, *, of: str | None, machine: bool
) -> None:
    """Print what the second knowledge would have changed.

    How many calls were compared, how many are of this pain, and of these how many would have got something else: lost
    and new recommendations, other tiers, orders, treatments, first questions and leading causes. Then a line for each
    with its share of the calls with the complaint and the interval of 95 % (Wilson), and for each red flag that would
    have been lost the correlation ids of the calls.

    Ends with 1 when a red flag would have been lost, and with 2 when nothing was compared or the database cannot be
    used.
    """
    from service.audit.insights import Period  # noqa: PLC0415
    from service.audit.shadow_report import as_json, as_text  # noqa: PLC0415
    from service.audit.shadow_report import shadow_report as ask  # noqa: PLC0415

    first, last, _today = _days(since, until)
    database, found = _asked(lambda connection: ask(connection, Period.of_days(first, last, client), of))
    if found is None:
        give_up(f"No call was compared from {first} to {last}: SITBONE_SHADOW_DIR names what calls are compared with.")
    click.echo(as_json(found, database) if machine else f"{database}\n{first} to {last}\n\n{as_text(found)}")
    sys.exit(1 if found.lost else 0)


def _days(since: datetime | None, until: datetime | None) -> tuple[date, date, date]:
    """The first and the last day of a report, and today."""
    if any(day and not _FIRST <= day.date() <= _LAST for day in (since, until)):
        give_up(f"--since and --until take days from {_FIRST} to {_LAST}.")
    today = datetime.now(UTC).date()
    last = until.date() if until else today
    first = since.date() if since else last - timedelta(days=27)
    if first > last:
        give_up("--since is after --until.")
    return first, last, today


def _asked(ask: "Callable[[Connection], _Found]") -> "tuple[str, _Found]":
    """The name of the audit trail, and what is found in it."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from service.audit.database import named, reading  # noqa: PLC0415

    settings = _settings()
    address = _address(settings)
    _must_be_there(address)
    engine = _engine(settings)
    try:
        with reading(engine) as connection:
            return named(address), ask(connection)
    except SQLAlchemyError:
        give_up(f"The audit trail cannot be read: {_FAULT}")
    finally:
        engine.dispose()


@click.command(
    epilog="\b\nExample:\n  sitbone knowledge restore 0.6.0+7f3a9c1d --to as-of-that-day",
)
@click.argument("release")
@click.option("--to", "folder", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="A new folder.")
def restore(release: str, folder: Path) -> None:
    """Write the knowledge that answered under RELEASE, as the audit trail has kept it, to FOLDER.

    RELEASE is a version with its digest, as on a card or in `sitbone report`, or a whole digest. With
    SITBONE_KNOWLEDGE_DIR=FOLDER a call of that day is answered as it was, by the same version of the product.

    Ends with 1 when the content does not have that digest by this version of the product, and with 2 when nothing is
    kept under it.
    """
    from importlib.metadata import version  # noqa: PLC0415

    from service.audit.releases import find_release, versions_kept  # noqa: PLC0415
    from service.knowledge_model.loader import load  # noqa: PLC0415
    from service.release.archive import unpack  # noqa: PLC0415
    from service.release.digests import Digests  # noqa: PLC0415

    _database, (kept, others) = _asked(
        lambda connection: (find_release(connection, release), versions_kept(connection))
    )
    if kept is None:
        give_up(f"Nothing is kept under {release}. Kept are: {', '.join(others) or 'none'}.")
    try:
        folder.mkdir(parents=True)
        unpack(kept.folder, folder)
    except OSError as problem:
        give_up(f"{folder} must be a new folder: {problem.strerror}.")
    click.echo(f"{kept.version} ({kept.digest}) is in {folder}; it answered from {kept.first_seen:%Y-%m-%d}.")
    if Digests(load(folder), folder, kept.product).release != kept.digest:
        click.echo("Its digest is another one by this version of the product.", err=True)
        sys.exit(1)
    if kept.product != version("sitbone"):
        click.echo(f"It answered in version {kept.product} of the product; this is {version('sitbone')}.")


def _settings() -> Settings:
    """The settings of the environment; where they tell of no audit trail, of the service that runs here."""
    from service.audit.database import is_there, named  # noqa: PLC0415

    try:
        settings = Settings.from_environment(os.environ)
        if settings.audit or settings.audit_url or settings.store:
            return settings
        port = port_of(os.environ)
        if running := running_here(port):
            return running.settings
    except SettingsError as problem:
        give_up(str(problem))
    # It may have ended.
    address = _address(settings)
    if not is_there(address):
        which = "no service" if port is None else f"no service at port {port}"
        give_up(
            f"There is no audit trail at {named(address)}, which SITBONE_PORT leads to, and {which} runs on this "
            f"machine: looked for in {LOOKED}. Name the folder in SITBONE_AUDIT or SITBONE_STORE, or the database in "
            "SITBONE_AUDIT_URL, as it is set for the service."
        )
    return settings


def _address(settings: Settings) -> "URL":
    from service.audit.database import address_of  # noqa: PLC0415

    try:
        address = address_of(settings)
    except SettingsError as problem:
        give_up(str(problem))
    if address is None:
        give_up(
            "SITBONE_AUDIT is off, so there is no audit trail: let it name the folder of one, "
            "or SITBONE_AUDIT_URL a database."
        )
    return address


def _must_be_there(address: "URL") -> None:
    from service.audit.database import is_there, named  # noqa: PLC0415

    if not is_there(address):
        give_up(
            f"There is no audit trail at {named(address)}. The service makes one when it starts, where "
            "SITBONE_AUDIT_URL, SITBONE_AUDIT, SITBONE_STORE or, without them, SITBONE_PORT say: set them here as they "
            "are set for it."
        )


def _engine(settings: Settings, *, upgrading: bool = False) -> "Engine":
    # A database is nothing that the other commands have to load.
    from service.audit.database import open_database  # noqa: PLC0415

    try:
        return open_database(settings, upgrading=upgrading, patience=_PATIENCE)
    except SettingsError as problem:
        give_up(str(problem))
