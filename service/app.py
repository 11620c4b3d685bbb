"""Puts the parts together: knowledge, services, routes, log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

import orjson
from flask import Flask, Response

from cds_hooks import CallRecord, Feedback, create_blueprint
from service import guideline as knowledge
from service.catalogue import catalogue
from service.orders import check_templates
from service.settings import Settings

_LOG = logging.getLogger("sitbone")
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sitbone</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem;
color-scheme:light dark}}
</style>
<h1>Sitbone</h1>
<p>A CDS Hooks service: {title}. Knowledge {version}, {status}.</p>
<ul>{services}</ul>
<p><a href="cds-services">Discovery</a> · <a href="readyz">Readiness</a></p>
</html>
"""


def utc_now() -> datetime:
    """The clock of the running service."""
    return datetime.now(UTC)


def create_app(settings: Settings | None = None, clock: Callable[[], datetime] = utc_now) -> Flask:
    """The WSGI application. Raises KnowledgeError when the knowledge cannot be used.

    `clock` gives the time of a call in UTC; tests and replays hold it still.
    """
    settings = settings or Settings()
    guideline = knowledge.load(settings.knowledge_dir, affiliate_snomed=settings.snomed_ct == "all")
    check_templates(guideline, clock())
    published = catalogue(guideline, clock)
    app = Flask("service", static_folder=None)
    app.register_blueprint(
        create_blueprint(
            published,
            on_feedback=log_feedback,
            on_call=log_call,
            allowed_origins=settings.allowed_origins,
            body_limit=settings.body_limit,
        )
    )
    ready = orjson.dumps({"status": "ready", "knowledge": {"version": guideline.version, "status": guideline.status}})

    index = _PAGE.format(
        title=guideline.title,
        version=guideline.version,
        status=guideline.status,
        services="".join(
            f"<li><code>{entry['id']}</code> on <code>{entry['hook']}</code></li>"
            for entry in published.discovery()["services"]
        ),
    ).encode()

    @app.get("/")
    def page() -> Response:
        return Response(index, mimetype="text/html")

    @app.get("/healthz")
    def healthz() -> Response:
        return Response(b'{"status":"ok"}', mimetype="application/json")

    @app.get("/readyz")
    def readyz() -> Response:
        return Response(ready, mimetype="application/json")

    return app


def log_call(call: CallRecord) -> None:
    """One line of JSON about a call. It holds no clinical value, no patient id and no token."""
    if _LOG.isEnabledFor(logging.INFO):
        _LOG.info(
            orjson.dumps(
                {
                    "event": "call",
                    "correlationId": call.correlation_id,
                    "service": call.service_id,
                    "hook": call.hook,
                    "status": call.status,
                    "states": dict(call.states),
                    "notes": list(call.notes),
                    "milliseconds": {stage: round(1000 * seconds, 3) for stage, seconds in call.seconds.items()},
                    "cards": call.cards,
                }
            ).decode()
        )


def log_feedback(service_id: str, feedback: tuple[Feedback, ...]) -> None:
    """One line of JSON for each card that feedback came for. A clinician's comment is not written down."""
    for item in feedback:
        _LOG.info(
            orjson.dumps(
                {
                    "event": "feedback",
                    "service": service_id,
                    "card": item.card,
                    "outcome": item.outcome,
                    "acceptedSuggestions": list(item.accepted_suggestions),
                    "overrideReasons": [o.reason.code for o in item.override_reasons if o.reason],
                    "outcomeTimestamp": item.outcome_timestamp.isoformat(),
                }
            ).decode()
        )
