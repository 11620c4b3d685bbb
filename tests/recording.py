"""A service with an audit trail, and the EHR that calls it; audit_fixtures.py starts them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import Engine

from service.app import create_app
from service.audit import open_audit
from service.settings import Settings

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

PATH = "/cds-services/gluteal-hamstring-pain"
FIXTURES = Path(__file__).parents[1] / "fixtures" / "requests"
KEY = "0123456789abcdef"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


class Site:
    """A service with an audit trail, and the EHR that calls it."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        opened = open_audit(settings)
        assert opened is not None
        self.settings, self.clock, self.audit = settings, clock, opened
        self.client: FlaskClient = create_app(settings, clock, audit=opened).test_client()

    def call(self, fixture: str = "proximal-hamstring-tendinopathy", **members: Any) -> TestResponse:
        """Send a request of fixtures/ as a call of its own."""
        body = json.loads((FIXTURES / f"{fixture}.json").read_text("utf-8"))
        return self.client.post(PATH, json={**body, "hookInstance": str(uuid4()), **members})

    def report(self, *feedback: dict[str, Any]) -> int:
        """Send feedback; the status."""
        return self.client.post(f"{PATH}/feedback", json={"feedback": list(feedback)}).status_code

    def outcome(self, card: str, outcome: str = "overridden", **members: Any) -> dict[str, Any]:
        """Feedback on a card, by the clock of the service."""
        taken = {"acceptedSuggestions": [{"id": str(uuid4())}]} if outcome == "accepted" else {}
        return {"card": card, "outcome": outcome, "outcomeTimestamp": self.clock.now.isoformat(), **taken, **members}

    def rows(self, table: str) -> list[dict[str, Any]]:
        """What a table holds, once all that waits is written."""
        self.audit.close()
        return rows(self.audit.engine, table)


def rows(engine: Engine, table: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT * FROM {table}")  # noqa: S608 - a table of ours
        return [dict(row) for row in found.mappings()]


def environ(settings: Settings) -> dict[str, str]:
    """How a command is told of the audit trail."""
    if settings.audit_url:
        return {"SITBONE_AUDIT_URL": settings.audit_url}
    return {"SITBONE_AUDIT": str(settings.audit)}
