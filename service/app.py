"""Puts the parts together: knowledge, services, routes, log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import orjson
from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from cds_hooks import CdsService, HookRequest, ServiceCatalogue, ServiceUnavailable, create_blueprint
from cds_hooks.fhir_access import complete
from cds_hooks.trust import Gate
from service import knowledge_loader as knowledge
from service.capacity import Capacity
from service.catalogue import catalogue
from service.clients import Client, directory, fhir_policy, read_clients
from service.log import CallLog
from service.orders import check_templates
from service.settings import Settings, SettingsError, is_loopback

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
    """The WSGI application. Raises KnowledgeError when the knowledge cannot be used, SettingsError when a setting, the
    file of clients or the store cannot.

    `clock` gives the time of a call in UTC; tests and replays hold it still. `checks` say by name whether what else
    than the knowledge is needed is there; each is asked when somebody asks for readiness, and says so at once.
    """
    settings = settings or Settings()
    guideline = knowledge.load(settings.knowledge_dir, affiliate_snomed=settings.snomed_ct == "all")
    check_templates(guideline, clock())
    published = catalogue(guideline, clock)
    clients = _clients(settings, published)
    gate, checks = _guard(settings, clients, clock, checks)
    log = CallLog(settings, [code for code, _display in guideline.wording.override_reasons])
    app = Flask("service", static_folder=None)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        proxied = ProxyFix(app.wsgi_app, x_for=0, x_proto=hops, x_host=hops, x_prefix=hops)
        app.wsgi_app = proxied  # type: ignore[method-assign]
    _bound(app, Capacity(settings.threads, settings.max_in_flight))
    app.register_blueprint(
        create_blueprint(
            published,
            on_feedback=log.feedback,
            on_call=log.call,
            complete=_completing(settings, clients),
            allowed_origins=settings.allowed_origins,
            body_limit=settings.body_limit,
            gate=gate,
            base_url=settings.public_base_url,
        )
    )
    ready = orjson.dumps({"status": "ready", "knowledge": {"version": guideline.version, "status": guideline.status}})

    index = _PAGE.format(
        title=guideline.title,
        version=guideline.version,
        status=guideline.status,
        # A stranger learns no more here than discovery would tell.
        services=""
        if clients is not None
        else "".join(
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


def _clients(settings: Settings, published: ServiceCatalogue) -> Mapping[str, Client] | None:
    """The clients that may call, by name; None where everybody on this machine may."""
    if settings.clients is not None:
        return read_clients(settings.clients, [entry["id"] for entry in published.discovery()["services"]])
    if not is_loopback(settings.host):
        raise SettingsError(
            "SITBONE_HOST is no loopback address, and without a file of clients everybody there could call: "
            "set SITBONE_CLIENTS to such a file, as docs/trust.md shows, or listen on 127.0.0.1."
        )
    return None


def _guard(
    settings: Settings,
    clients: Mapping[str, Client] | None,
    clock: Callable[[], datetime],
    checks: Mapping[str, Callable[[], bool]],
) -> tuple[Gate | None, Mapping[str, Callable[[], bool]]]:
    """The gate for the clients, with what must be ready for it; none without clients."""
    if clients is None:
        return None, checks
    # A database is nothing that a service on a desk has to load.
    from service.store import open_store  # noqa: PLC0415

    store = open_store(settings)
    gate = Gate(directory(clients), store, store, clock=lambda: clock().timestamp())
    return gate, {**checks, "keys": lambda: gate.keys_ready() > 0, "store": store.is_ready}


def _completing(
    settings: Settings, clients: Mapping[str, Client] | None
) -> Callable[[HookRequest, CdsService], HookRequest] | None:
    """What fills the gaps of a prefetch; None when no outgoing call may ever be made."""
    if settings.fhir_access == "off":
        return None
    deadline = settings.fetch_milliseconds / 1000

    def fill(request: HookRequest, service: CdsService) -> HookRequest:
        client = clients[request.client] if clients and request.client else None
        return complete(request, service.prefetch, fhir_policy(client, request.fhir_server, deadline))

    return fill


def _bound(app: Flask, capacity: Capacity) -> None:
    """Let the application work on no more calls than it has capacity for."""

    @app.before_request
    def take() -> None:
        if request.path not in _PROBES:
            g.place = request.environ["wsgi.input"] = capacity.take(request.environ["wsgi.input"])

    @app.teardown_request
    def leave(_problem: BaseException | None) -> None:
        if place := g.pop("place", None):
            place.leave()
