"""An audit trail of the tests' own, in SQLite and on PostgreSQL, for modules that name this one in `pytest_plugins`,
beside tests.postgresql."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine

from service.audit import AuditWriter, database, open_audit
from service.audit.database import open_database
from service.settings import Settings
from tests.recording import KEY, Clock, Site

if TYPE_CHECKING:
    from tests.postgresql import Postgresql


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """The settings of a service with an empty audit trail of each kind."""
    if request.param == "sqlite":
        tmp_path.chmod(0o700)
        return Settings(audit=tmp_path, log_key=KEY)
    server: Postgresql = request.getfixturevalue("postgresql")
    settings = Settings(audit_url=server.url, log_key=KEY)
    open_database(settings, upgrading=True)
    return settings


@pytest.fixture(autouse=True)
def nothing_stays_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made: list[Engine] = []
    make = database.make_engine

    def recorded(*given: Any) -> Engine:
        made.append(make(*given))
        return made[-1]

    monkeypatch.setattr(database, "make_engine", recorded)
    yield
    for engine in made:
        engine.dispose()


@pytest.fixture
def new_site(settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Site]]:
    """Starts services on the same audit trail, with other settings where they are given; they are patient with it."""
    monkeypatch.setattr("service.audit.suppression.LONGEST_LOOK", 5.0)
    sites: list[Site] = []

    def start(**members: Any) -> Site:
        sites.append(Site(replace(settings, **members), clock))
        return sites[-1]

    yield start
    for site in sites:
        site.audit.close()


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    return new_site()


@pytest.fixture
def audit(settings: Settings) -> Iterator[AuditWriter]:
    """An audit trail without a service."""
    opened = open_audit(settings)
    assert opened is not None
    yield opened
    opened.close()
