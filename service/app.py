"""Puts the parts together: knowledge, services, routes, log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import orjson
from flask import Flask, Response, g, request

from cds_hooks import ServiceUnavailable, create_blueprint
from service import guideline as knowledge
from service.capacity import Capacity
from service.catalogue import catalogue
from service.log import CallLog
from service.orders import check_templates
from service.settings import Settings

# Those who ask whether the process lives must hear it also when it has its hands full.
_PROBES = ("/healthz", "/readyz")
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


def create_app(
    settings: Settings | None = None,
    clock: Callable[[], datetime] = utc_now,
    checks: Mapping[str, Callable[[], bool]] = MappingProxyType({}),
) -> Flask:
    """The WSGI application. Raises KnowledgeError when the knowledge cannot be used.

    `clock` gives the time of a call in UTC; tests and replays hold it still. `checks` say by name what else than the
    knowledge must be there for calls to be answered; each is asked when somebody asks for readiness, and gives an answer
    at once.
    """
    settings = settings or Settings()
    guideline = knowledge.load(settings.knowledge_dir, affiliate_snomed=settings.snomed_ct == "all")
    check_templates(guideline, clock())
    published = catalogue(guideline, clock)
    log = CallLog(settings, [code for code, _display in guideline.wording.override_reasons])
    app = Flask("service", static_folder=None)
    _bound(app, Capacity(settings.threads, settings.max_in_flight))
    app.register_blueprint(
        create_blueprint(
            published,
            on_feedback=log.feedback,
            on_call=log.call,
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
        missing = [name for name, is_ready in checks.items() if not is_ready()]
        if missing:
            raise ServiceUnavailable(f"Not ready: {', '.join(missing)}. The log may say why.", retry_after=5)
        return Response(ready, mimetype="application/json")

    return app


def _bound(app: Flask, capacity: Capacity) -> None:
    """Let the application work on no more calls than it has capacity for."""

    @app.before_request
    def take() -> None:
        if request.path not in _PROBES:
            capacity.take()
            g.has_place = True

    @app.teardown_request
    def leave(_problem: BaseException | None) -> None:
        if g.pop("has_place", False):
            capacity.leave()
