"""Which content answered, and the content itself: so that every answer of any day can be shown again.

A start keeps the folder that it has loaded, once for each digest. It also refuses, where clients call, content that
goes by a version under which other content has answered: from then on nobody could say which of both a card meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from service.audit.database import address_of, form_of, is_there, make_engine, reading
from service.audit.rows import canonical, milliseconds
from service.audit.schema import HEAD, RELEASES
from service.database import refusing
from service.knowledge_model.model import PACKAGED
from service.release.archive import pack
from service.release.states import Release
from service.settings import Settings, SettingsError


@dataclass(frozen=True, slots=True)
class KeptRelease:
    """What answered: its digest, the version of the product, when it was first started (UTC), and the folder as
    archive.pack has made it."""

    digest: str
    version: str
    product: str
    first_seen: datetime
    folder: bytes


def keep_release(engine: Engine, release: Release, folder: Path | None, now: datetime, *, has_clients: bool) -> None:
    """Keep what this start has loaded from its folder (the packaged one when None).

    Raises SettingsError where clients may call and its version was that of other content.
    """
    digests, at = release.digests, milliseconds(now)
    counted = [(each.name, each.role, each.signer.name, each.signed.isoformat()) for each in release.signed.signatures]
    seen = {"last_seen": at, "signatures": canonical(counted)}
    with engine.begin() as connection:
        if has_clients:
            _must_be_new_or_known(connection, release)
        if connection.execute(update(RELEASES).where(RELEASES.c.digest == digests.release).values(**seen)).rowcount:
            return
    row = {
        "digest": digests.release,
        "version": digests.version,
        "knowledge": release.knowledge.id,
        "number": release.knowledge.version,
        "product": digests.product,
        "content": digests.content,
        "first_seen": at,
        **seen,
        "folder": pack(folder or PACKAGED),
    }
    try:
        with engine.begin() as connection:
            connection.execute(insert(RELEASES), row)
    except IntegrityError:
        # Another host has started with the same at the same time.
        return


def must_be_possible(settings: Settings, release: Release) -> None:
    """Ask the audit trail of these settings, if there is one, whether this content may answer, as a start does; nothing
    is kept or made. Raises SettingsError as keep_release does.
    """
    address = address_of(settings)
    if settings.clients is None or address is None or not is_there(address):
        return
    with refusing("SITBONE_AUDIT_URL" if settings.audit_url else "SITBONE_AUDIT", settings.audit_url):
        engine = make_engine(address)
        try:
            with reading(engine) as connection:
                # One of an older form knows of no content.
                if form_of(connection) == HEAD:
                    _must_be_new_or_known(connection, release)
        finally:
            engine.dispose()


def _must_be_new_or_known(connection: Connection, release: Release) -> None:
    of, table = release.knowledge, RELEASES.c
    same = (table.knowledge == of.id, table.number == of.version, table.content != release.digests.content)
    other = connection.execute(select(table.version, table.last_seen).where(*same)).first()
    if other is not None:
        raise SettingsError(
            f"The knowledge goes by version {of.version}, under which other content has answered ({other.version}, "
            f"last started on {_time(other.last_seen).date()}): content changed, version did not. Raise the version in "
            f"guideline.toml, or get that content back with `sitbone knowledge restore {other.version}`."
        )


def find_release(connection: Connection, named: str) -> KeptRelease | None:
    """What is kept under a digest, or under a version as the other tables have it."""
    table = RELEASES.c
    wanted = or_(table.digest == named, table.version == named)
    found = connection.execute(select(RELEASES).where(wanted).order_by(table.last_seen.desc())).first()
    if found is None:
        return None
    return KeptRelease(found.digest, found.version, found.product, _time(found.first_seen), found.folder)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def versions_kept(connection: Connection) -> list[str]:
    """The versions of all that is kept, the newest first."""
    return [*connection.scalars(select(RELEASES.c.version).order_by(RELEASES.c.last_seen.desc()))]
