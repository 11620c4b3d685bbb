"""Puts the parts together: knowledge, services, routes, log."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from flask import Blueprint, Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from cds_hooks import CallRecord, CdsService, HookRequest, ServiceRegistry, ServiceUnavailable, create_blueprint
from cds_hooks.blueprint import call_record
from cds_hooks.errors import Unauthorized
from cds_hooks.fhir_access import complete, has_gaps
from service.access.fhir_servers import fhir_policy
from service.answers.answered import Answered
from service.answers.orders import check_templates
from service.features import routes as feature_routes
from service.features.reading import FeatureReader
from service.knowledge_model.model import Knowledge
from service.knowledge_model.properties import read_properties
from service.pages import api_docs, demo_ehr, insights, why
from service.pages import knowledge as knowledge_pages
from service.pseudonyms import CardIds, Pseudonyms
from service.release.hazard_log import read_hazards, require_acceptable
from service.release.mode import RELEASE_KEY, SILENT, Modes, Muting
from service.release.muting import NOTHING, SERVICE, Muted
from service.release.since import since_signed
from service.release.states import Release, knowledge_of, release_of, signatures_of
from service.second_opinion import fhir_routes
from service.second_opinion.launching import Apps, apps_of, second_opinion
from service.second_opinion.next_question import NextQuestion
from service.server.canary import Canary
from service.server.capacity import PROBES, Capacity, Place
from service.server.log import CallLog
from service.server.metrics import CONTENT_TYPE, Metrics
from service.service_ids import DIAGNOSIS, EVERY_ID
from service.services.evaluation import Evaluator
from service.services.explanation import Explainer
from service.services.registry import services_by
from service.settings import Settings, SettingsError, Style, shown
from service.site_codes import read_preference_list, site_codes_of

if TYPE_CHECKING:
    from cds_hooks.trust import Call, Caller, Gate
    from service.access.clients import Client
    from service.access.store import Store
    from service.audit import AuditTrail, AuditWriter
    from service.release.suspension import Suspensions
    from service.server.shadow import Compared, Other
    from service.server.tracing import Tracing
    from service.server.watch import Watch

_LOG = logging.getLogger("sitbone")
_Event = TypeVar("_Event")
_Called = TypeVar("_Called", bound=Callable[..., object])
# Not for pages of other origins, whatever those may read of the protocol.
_OURS_ALONE = ("/metrics", "/insights", "/app/")
# How long a chart may take that a clinician waits for on a page; no EHR gives up meanwhile.
_PAGE_MILLISECONDS = 5_000
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sitbone</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem;
color-scheme:light dark}}
</style>
<h1>Sitbone</h1>
<p>A CDS Hooks service: {title}. Knowledge {version}, {status}.</p>
<ul>{services}</ul>
<p><a href="knowledge.html">Knowledge</a> · <a href="cds-services">Discovery</a> · <a href="readyz">Readiness</a></p>
</html>
"""


class _App(Flask):
    def ensure_sync(self, func: _Called) -> _Called:
        """As it is: nothing here is a coroutine, and Flask would look at every function at every call."""
        return func


def utc_now() -> datetime:
    """The clock of the running service."""
    return datetime.now(UTC)


def create_app(
    settings: Settings | None = None,
    clock: Callable[[], datetime] = utc_now,
    checks: Mapping[str, Callable[[], bool]] = MappingProxyType({}),
    audit: AuditWriter | None = None,
    tracing: Tracing | None = None,
    *,
    suspensions: Suspensions | None = None,
) -> Flask:
    """The WSGI application. Raises KnowledgeError when the knowledge cannot be used, SettingsError when a setting, the
    file of clients or the store cannot.

    `clock` gives the time of a call in UTC; tests and replays hold it still. `checks` say by name whether what else
    than the knowledge is needed is there; each is asked when somebody asks for readiness, and says so at once. Without
    an `audit`, calls and feedback are in the log only. `tracing` is told of each call. `suspensions` are what a
    site has switched off; without them nothing is.
    """
    settings = settings or Settings()
    knowledge = knowledge_of(settings)
    check_templates(knowledge, clock())
    site_codes = site_codes_of(settings, knowledge)
    release = _read_release(settings, knowledge)
    _must_be_known(settings)
    muted = Muting(settings, release, clock(), suspensions.muted if suspensions else lambda: NOTHING).at
    clients, store = _clients(settings), _store(settings, clock)
    styles, modes = _styles(settings, clients, knowledge), _modes(settings, clients)
    apps = apps_of(settings, clients, store)
    ids = CardIds(settings.card_key or (store.card_key if store else None))
    evaluator = Evaluator(
        knowledge,
        clock,
        site_codes,
        _never_sends(clients),
        ids,
        style_of=lambda name: styles[name if clients else None],
        address_of=why.address_maker(settings),
        app_at=apps.launched_at if apps else lambda _call: "",
        problems_at=settings.card_problems or "",
        is_silent=lambda name: modes.of(name) == SILENT,
        standings_at=release.at,
        muted=muted,
    )
    evaluator.assessor.kernel.prepare()
    published = services_by(
        evaluator, lambda name: clients[name].pama_rating if clients and name else settings.pama_rating == "on"
    )
    other = _other(settings, knowledge, clock, clients)
    gate, checks = _guard(store, clients, clock, checks)
    log = CallLog(settings, [code for code, _display in knowledge.wording.override_reasons], modes.of)
    audit_trail = _audit_trail(audit, knowledge, settings, clock, modes=modes, release=release)
    app = _App("service", static_folder=None)
    app.extensions |= {"release": release, "audit_trail": audit_trail, "card_ids": ids}
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        proxied = ProxyFix(app.wsgi_app, x_for=0, x_proto=hops, x_host=hops, x_prefix=hops)
        app.wsgi_app = proxied  # type: ignore[method-assign]
    metrics = Metrics(
        _key_ages(gate),
        audit.health if audit else None,
        mode_of=modes.of,
        suspended=lambda: muted(clock()).count,
        standings=evaluator.standings_now,
    )
    app.extensions |= {"metrics": metrics, "canary": _canary(evaluator, metrics, settings)}
    app.extensions["watch"] = _watching(audit, metrics, settings, clock)
    capacity = Capacity(
        settings.threads,
        settings.max_in_flight,
        # Four of the largest at a time: one of ten megabytes takes about twice that while it is worked on.
        large_bytes=4 * settings.body_limit,
        several_clients=clients is not None and len(clients) > 1,
    )
    _watch(app, metrics, capacity, settings)
    _compare(app, other, clock, settings=settings, capacity=capacity, metrics=metrics, audit_trail=audit_trail)
    app.register_blueprint(
        create_blueprint(
            published,
            # What cannot be kept is not acknowledged, and so it comes first.
            on_feedback=_each(audit_trail.feedback if audit_trail else None, log.feedback),
            on_call=_each(audit_trail.call if audit_trail else None, log.call, metrics.call, _traced(tracing)),
            revise=audit_trail.revise if audit_trail else None,
            complete=_completing(clients, settings.fetch_milliseconds, sends_all=apps.demo_iss if apps else "")
            if _reads_charts(settings)
            else None,
            allowed_origins=settings.allowed_origins,
            body_limit=settings.body_limit,
            gate=gate,
            base_url=settings.public_base_url,
            pseudonym=Pseudonyms(settings).of,
            announce=lambda name: {RELEASE_KEY: _release(modes.of(name), muted(clock()), other)},
        )
    )
    # Pages to try it with are opened by nobody who would keep hooks from work.
    app.extensions["has_pages"] = apps is not None and clients is not None
    if apps:
        completed = _completing(clients, _PAGE_MILLISECONDS)
        app.register_blueprint(
            second_opinion(apps, evaluator, published, completed, audit_trail, features=settings.features == "on")
        )
    # No gate: it holds nothing of a patient, and whoever has a card must be able to read what it stands on.
    app.register_blueprint(
        knowledge_pages.create_blueprint(
            knowledge,
            read_properties(knowledge, settings.knowledge_dir),
            evaluator.standings_now,
            lambda: since_signed(release, signatures_of(settings)),
        )
    )
    app.register_blueprint(why.create_blueprint(knowledge, evaluator.standings_now))
    _add_fhir(app, evaluator, published, settings, gate)

    if settings.shows_pages():
        # Where callers need a token, nobody gets a decision without one here either.
        explainer = Explainer(knowledge, clock, site_codes, release.at) if clients is None else None
        _add_pages(app, settings, evaluator, explainer, apps=apps, audit=audit)
    else:
        # A stranger learns no more here than discovery would tell.
        _add_index(app, evaluator, [] if clients is not None else published.discovery()["services"])

    _add_probes(app, checks, evaluator, lambda: _release(modes.overall(), muted(clock()), other), audit)
    return app


def _add_probes(
    app: Flask,
    checks: Mapping[str, Callable[[], bool]],
    evaluator: Evaluator,
    release: Callable[[], Mapping[str, Any]],
    audit: AuditWriter | None,
) -> None:
    """Let the application say whether it lives, and whether it can answer and by what."""

    @app.get("/healthz")
    def healthz() -> Response:
        return Response(b'{"status":"ok"}', mimetype="application/json")

    @app.get("/readyz")
    def readyz() -> Response:
        missing = [name for name, is_ready in checks.items() if not is_ready()]
        if missing:
            raise ServiceUnavailable(f"Not ready: {', '.join(missing)}. The log may say why.", retry_after=5)
        health = {"audit": audit.health().to_dict()} if audit else {}
        ready = {"status": "ready", "knowledge": evaluator.standings_now().described()}
        return Response(orjson.dumps({**ready, **release(), **health}), mimetype="application/json")


def _add_index(app: Flask, evaluator: Evaluator, listed: Iterable[Mapping[str, Any]]) -> None:
    """Let the application have a page at `/` that says what it is, and names these services."""
    services = "".join(f"<li><code>{entry['id']}</code> on <code>{entry['hook']}</code></li>" for entry in listed)

    @app.get("/")
    def page() -> Response:
        stands, title = evaluator.standings_now(), evaluator.knowledge.title
        text = _PAGE.format(title=title, version=stands.version, status=stands.status, services=services)
        return Response(text, mimetype="text/html")


def _modes(settings: Settings, clients: Mapping[str, Client] | None) -> Modes:
    """Who is answered. Raises SettingsError where anybody is and the hazard log does not allow it."""
    modes = Modes(settings.mode, {name: each.mode or settings.mode for name, each in (clients or {}).items()})
    if clients is not None and modes.overall() != SILENT:
        require_acceptable(read_hazards(settings.knowledge_dir, settings.hazards))
    return modes


def _release(mode: str, muted: Muted, other: Other | None) -> dict[str, Any]:
    """What readiness and discovery say of who is answered, of what is suspended, and of the knowledge beside it."""
    suspended = sorted((*muted.suspended, *(f"{SERVICE}{id_}" for id_ in muted.services)))
    return {
        "mode": mode if muted.answers else SILENT,
        **({"suspended": suspended} if suspended else {}),
        **({"shadow": other.digest} if other else {}),
    }


def _other(
    settings: Settings,
    knowledge: Knowledge,
    clock: Callable[[], datetime],
    clients: Mapping[str, Client] | None,
) -> Other | None:
    """The second knowledge, where the settings name one."""
    if settings.shadow_dir is None:
        return None
    from service.server.shadow import Other  # noqa: PLC0415

    return Other(settings, knowledge, clock(), _never_sends(clients))


def _canary(evaluator: Evaluator, metrics: Metrics, settings: Settings) -> Canary:
    """What looks whether published requests are still decided as before."""
    as_released = settings.knowledge_dir is None and settings.snomed_ct == "all" and settings.order_codes is None
    return Canary(lambda at: services_by(evaluator.standing_still(at)), metrics.canary, as_released=as_released)


def _watching(
    audit: AuditWriter | None, metrics: Metrics, settings: Settings, clock: Callable[[], datetime]
) -> Watch | None:
    """What reads the audit trail for what a site expects of its calls."""
    if audit is None:
        return None
    from service.audit.expectations import read_expectations  # noqa: PLC0415
    from service.server.watch import Watch  # noqa: PLC0415

    expected = read_expectations(settings.expectations) if settings.expectations else {}
    return Watch(audit.engine, expected, metrics.watched, clock)


def _compare(
    app: Flask,
    other: Other | None,
    clock: Callable[[], datetime],
    *,
    settings: Settings,
    capacity: Capacity,
    metrics: Metrics,
    audit_trail: AuditTrail | None,
) -> None:
    """Have the second knowledge, if there is one, look at each call once its answer was sent."""
    if other is None:
        return
    from service.server.shadow import Shadow  # noqa: PLC0415

    def told(call: CallRecord[Answered], compared: Compared) -> None:
        metrics.compared(compared.outcome)
        if audit_trail is not None:
            audit_trail.shadow(call, other.digest, compared.outcome, compared.differences, complaint=compared.complaint)

    app.extensions["shadow"] = shadow = Shadow(other, settings.shadow_share, capacity.in_use, told)

    @app.after_request
    def beside(response: Response) -> Response:
        call: CallRecord[Answered] | None = call_record()
        if call is not None and call.answered is not None:
            response.call_on_close(partial(shadow.take, call, clock()))
        return response


def _add_pages(
    app: Flask,
    settings: Settings,
    evaluator: Evaluator,
    explainer: Explainer | None,
    *,
    apps: Apps | None,
    audit: AuditWriter | None,
) -> None:
    """Let the application have the pages to try it in a browser."""
    app.register_blueprint(
        demo_ehr.create_blueprint(
            evaluator.knowledge,
            explainer,
            settings.body_limit,
            fetches=_reads_charts(settings),
            demo=settings.demo == "on",
            insights=settings.shows_metrics(),
            server=apps.demo_iss if apps else "",
            standings_now=evaluator.standings_now,
        )
    )
    if apps and apps.charts:
        from service.pages import demo_server  # noqa: PLC0415

        app.register_blueprint(demo_server.create_blueprint(apps.base_url, apps.charts))
    app.register_blueprint(api_docs.create_blueprint())
    if settings.shows_metrics():
        # It tells of a site what the metrics tell, so the same may read it.
        outcomes = insights.create_blueprint(evaluator.knowledge, audit, evaluator.clock)
        outcomes.before_request(_may_watch(settings.metrics_token))
        app.register_blueprint(outcomes)


def _reads_charts(settings: Settings) -> bool:
    """Whether the FHIR server of a call is read. In the demo it is not: every stranger may call."""
    return settings.fhir_access == "on" and settings.demo == "off"


def _add_fhir(
    app: Flask, evaluator: Evaluator, published: ServiceRegistry[Answered], settings: Settings, gate: Gate | None
) -> None:
    """Let the application have what it also gives as FHIR, where a setting switches it on."""
    if settings.adaptive_form == "on":
        app.register_blueprint(_adaptive_form(evaluator, published, settings, gate))
    if settings.features == "on":
        app.register_blueprint(
            feature_routes.create_blueprint(
                FeatureReader(evaluator, published),
                gate=gate,
                base_url=settings.public_base_url,
                body_limit=settings.body_limit,
                pseudonym=Pseudonyms(settings).of,
            )
        )


def _adaptive_form(
    evaluator: Evaluator, published: ServiceRegistry[Answered], settings: Settings, gate: Gate | None
) -> Blueprint:
    """The questions of the knowledge for any form filler."""
    diagnosis = published.find(DIAGNOSIS, "patient-view")
    return fhir_routes.create_blueprint(
        NextQuestion(evaluator, diagnosis),
        gate=gate,
        base_url=settings.public_base_url,
        body_limit=settings.body_limit,
        pseudonym=Pseudonyms(settings).of,
    )


def _read_release(settings: Settings, knowledge: Knowledge) -> Release:
    """The release of the knowledge. A signature that does not count is told in the log: what it covers is a draft."""
    release = release_of(settings, knowledge)
    for refusal in release.refused:
        _LOG.warning("knowledge: %s", refusal)
    return release


def _must_be_known(settings: Settings) -> None:
    """Raises SettingsError where somebody else than this machine could call without being known, unless it is the demo,
    in which nobody is."""
    if settings.demo == "on" and settings.clients is not None:
        raise SettingsError(
            f'SITBONE_DEMO is "on" and SITBONE_CLIENTS is {shown(settings.clients)}: the demo is for made-up patients '
            "and takes no clients. Unset SITBONE_DEMO to serve them."
        )
    if settings.clients is None and not settings.is_trial():
        raise SettingsError(
            f"SITBONE_HOST is {shown(settings.host)}, no loopback address, and without a file of clients everybody "
            "there could call: set SITBONE_CLIENTS to such a file, as docs/trust.md shows, or listen on 127.0.0.1."
        )


def _clients(settings: Settings) -> Mapping[str, Client] | None:
    """The clients that may call, by name; None where everybody on this machine may."""
    if settings.clients is not None:
        from service.access.clients import read_clients  # noqa: PLC0415

        return read_clients(settings.clients, EVERY_ID)
    return None


def _never_sends(clients: Mapping[str, Client] | None) -> Callable[[str | None], Collection[str]]:
    """The kinds of data that never come from a client, by its name."""
    return lambda name: clients[name].never_sends if clients and name else ()


def _styles(
    settings: Settings, clients: Mapping[str, Client] | None, knowledge: Knowledge
) -> Mapping[str | None, Style]:
    """How each client likes its answers, and under no name who needs no entry among them. Raises SettingsError."""
    if settings.preference_list and settings.ehr != "epic":
        raise SettingsError("SITBONE_PREFERENCE_LIST is of no use without SITBONE_EHR=epic.")
    orders = (*knowledge.orders, *knowledge.medicines)

    def of(style: Style, file: Path | None) -> Style:
        return replace(style, preference_list=read_preference_list(file, orders)) if file else style

    styles: dict[str | None, Style] = {None: of(settings.style, settings.preference_list)}
    return styles | {name: of(client.style, client.preference_list) for name, client in (clients or {}).items()}


def _store(settings: Settings, clock: Callable[[], datetime]) -> Store | None:
    """What is remembered of clients; nothing where there are none."""
    if settings.clients is None:
        return None
    # A database is nothing that a service on one machine has to load.
    from service.access.store import open_store  # noqa: PLC0415

    return open_store(settings, lambda: clock().timestamp())


def _guard(
    store: Store | None,
    clients: Mapping[str, Client] | None,
    clock: Callable[[], datetime],
    checks: Mapping[str, Callable[[], bool]],
) -> tuple[Gate | None, Mapping[str, Callable[[], bool]]]:
    """The gate for the clients, with what must be ready for it; none without clients."""
    if clients is None or store is None:
        return None, checks
    # What signatures need is a tenth of the memory, and nothing that a service on one machine has to load.
    from cds_hooks.trust import Gate  # noqa: PLC0415
    from service.access.clients import directory  # noqa: PLC0415

    class SharingGate(Gate):
        """Counts each call that it admits as one of its client."""

        def admit(self, authorization: str | None, call: Call) -> Caller:
            caller = super().admit(authorization, call)
            place: Place = g.place
            place.belongs_to(caller.client.name)
            return caller

    gate = SharingGate(directory(clients), store, store, clock=lambda: clock().timestamp())
    return gate, {**checks, "keys": lambda: gate.keys_ready() > 0, "store": store.is_ready}


def _audit_trail(
    audit: AuditWriter | None,
    knowledge: Knowledge,
    settings: Settings,
    clock: Callable[[], datetime],
    *,
    modes: Modes,
    release: Release,
) -> AuditTrail | None:
    if audit is None:
        return None
    from service.audit import AuditTrail  # noqa: PLC0415

    return AuditTrail(audit, knowledge, settings, clock, release=release, mode_of=modes.of)


def _each(*listeners: Callable[[_Event], None] | None) -> Callable[[_Event], None]:
    """One listener for several; a later one does not get what an earlier one refuses."""

    def notify(what: _Event) -> None:
        for each in listeners:
            if each is not None:
                each(what)

    return notify


def _completing(
    clients: Mapping[str, Client] | None, milliseconds: int, *, sends_all: str = ""
) -> Callable[[HookRequest, CdsService[Answered]], HookRequest]:
    """What fills the gaps of a prefetch. `sends_all` is a FHIR server of which nothing more is to be had."""
    deadline = milliseconds / 1000

    def fill(request: HookRequest, service: CdsService[Answered]) -> HookRequest:
        # Most have none, and need no policy.
        if not has_gaps(request) or (sends_all and request.fhir_server == sends_all):
            return request
        client = clients[request.client] if clients and request.client else None
        policy = fhir_policy(client, request.fhir_server, deadline)
        place: Place = g.place
        # Not the template of what this context has no id for.
        templates = {key: template for key, template in service.prefetch.items() if key in request.prefetch}
        return complete(request, templates, policy, waiting=place.elsewhere(), room=place.has_room)

    return fill


def _key_ages(gate: Gate | None) -> Mapping[str, Callable[[], float | None]]:
    return {} if gate is None else {each.client.name: each.keys.age for each in gate.directory.registrations}


def _traced(tracing: Tracing | None) -> Callable[[CallRecord[Answered]], None] | None:
    if tracing is None:
        return None
    return lambda call: tracing.call(call, {name.lower(): value for name, value in request.headers.items()})


def _may_watch(token: str | None) -> Callable[[], None]:
    """Refuses the current request unless it has this token, where there is one."""

    def check() -> None:
        given = request.headers.get("Authorization", "")
        if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise Unauthorized(
                "Authorization: expected Bearer and the token of SITBONE_METRICS_TOKEN, received another or none. "
                "Have the monitoring system, or the proxy in front of the page, send it."
            )

    return check


def _watch(app: Flask, metrics: Metrics, capacity: Capacity, settings: Settings) -> None:
    """Work on no more calls than there is capacity for, count every response, and let those read the metrics who may.
    What is registered first here ends last.
    """
    may_watch = _may_watch(settings.metrics_token)

    @app.before_request
    def begin() -> None:
        g.began = perf_counter()
        environ = request.environ
        if environ["PATH_INFO"] not in PROBES:
            g.place = environ["wsgi.input"] = capacity.take(environ["wsgi.input"])
            metrics.take(1)

    @app.teardown_request
    def leave(_problem: BaseException | None) -> None:
        if place := g.pop("place", None):
            place.leave()
            metrics.take(-1)

    @app.after_request
    def end(response: Response) -> Response:
        route = str(request.url_rule or "none")
        metrics.response(route, response.status_code, perf_counter() - g.began)
        if route.startswith(_OURS_ALONE):
            response.headers.pop("Access-Control-Allow-Origin", None)
        return response

    if settings.shows_metrics():

        @app.get("/metrics")
        def read_metrics() -> Response:
            may_watch()
            return Response(metrics.text(), content_type=CONTENT_TYPE)
