"""The commands about the record: ``sitbone db`` and ``sitbone report``."""

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

import click

from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from sqlalchemy import Engine

_DAY = 86_400
# A report may read for so many seconds.
_PATIENCE = 300.0


@click.group()
def db() -> None:
    """The database of the record, which SITBONE_RECORD or SITBONE_RECORD_URL names."""


@db.command()
def upgrade() -> None:
    """Bring the record into the form that this version needs; one that has it already is left as it is.

    Ends with 2 when the database cannot be used.
    """
    _engine(_settings(), upgrading=True)
    from service.record.schema import HEAD  # noqa: PLC0415

    click.echo(f"The record has form {HEAD}.")


@db.command()
@click.option("--days", type=click.IntRange(0), metavar="N", help="By default, SITBONE_RECORD_DAYS.")
def purge(days: int | None) -> None:
    """Remove what is older than N days from the record, for good.

    Ends with 2 when no number of days is given or the database cannot be used.
    """
    settings = _settings()
    keep = days if days is not None else settings.record_days
    if days is None and not keep:
        _give_up("Say how many days to keep, with --days or in SITBONE_RECORD_DAYS.")
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from service.record.keeping import purge as run  # noqa: PLC0415

    engine = _engine(settings)
    try:
        removed = run(engine, int((time.time() - keep * _DAY) * 1000))
    except SQLAlchemyError as problem:
        _give_up(f"The record cannot be purged: {type(problem).__name__}.")
    finally:
        engine.dispose()
    click.echo(f"Removed {removed.calls} calls, {removed.cards} cards and {removed.feedback} reports of feedback.")


@click.command()
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="By default, 28 days before --until.")
@click.option(
    "--until", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="The last day, in UTC; by default today."
)
@click.option("--client", metavar="NAME", help="Of this CDS client only.")
@click.option("--json", "machine", is_flag=True, help="Print the report as JSON.")
def report(since: datetime | None, until: datetime | None, client: str | None, *, machine: bool) -> None:
    """Print what was advised and what became of it.

    Cards that were shown, accepted, overridden and ignored, by week, client and recommendation; reasons of overrides;
    times to action; calls without a card; data states; how often the same card came up again for a patient.

    Ends with 2 when the database cannot be used.
    """
    last = (until or datetime.now(UTC)).date()
    first = since.date() if since else last - timedelta(days=27)
    if first > last:
        _give_up("--since is after --until.")
    engine = _engine(_settings())
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from service.record.insights import Period  # noqa: PLC0415
    from service.record.opening import reading  # noqa: PLC0415
    from service.record.report import as_json, as_text  # noqa: PLC0415
    from service.record.report import report as ask  # noqa: PLC0415

    try:
        with reading(engine) as connection:
            made = ask(connection, Period.of_days(first, last, client))
    except SQLAlchemyError as problem:
        _give_up(f"The record cannot be read: {type(problem).__name__}.")
    finally:
        engine.dispose()
    click.echo(as_json(made) if machine else f"{first} to {last}\n\n{as_text(made)}")


def _settings() -> Settings:
    try:
        return Settings.from_environment(os.environ)
    except SettingsError as problem:
        _give_up(str(problem))


def _engine(settings: Settings, *, upgrading: bool = False) -> "Engine":
    # A database is nothing that the other commands have to load.
    from service.record.opening import open_database  # noqa: PLC0415

    try:
        return open_database(settings, upgrading=upgrading, patience=_PATIENCE)
    except SettingsError as problem:
        _give_up(str(problem))


def _give_up(why: str) -> NoReturn:
    click.echo(why, err=True)
    sys.exit(2)
