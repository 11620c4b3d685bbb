"""Who launches the page of the second opinion: the EHRs of clients with an app, or the page at `/` as an EHR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Blueprint, g

from cds_hooks import CdsService, HookRequest, ServiceRegistry
from cds_hooks.blueprint import correlation_id
from cds_hooks.text_forms import is_loopback
from service.answers.answered import Answered
from service.server.capacity import Place
from service.service_ids import DIAGNOSIS
from service.services.evaluation import Evaluator
from service.settings import Settings, SettingsError, shown
from service.why_address import LAUNCH_PATH

if TYPE_CHECKING:
    from service.access.clients import Client
    from service.access.store import Store
    from service.audit import AuditTrail
    from service.pages import demo_server
    from service.second_opinion.routes import FirstUse


@dataclass(frozen=True, slots=True)
class Apps:
    """The clients whose EHRs launch the page of the second opinion, by name, and what the page needs.

    demo_iss: without a file of clients, the FHIR server of the EHR that is the page at `/`, by which its calls are
    known; charts: those that are open there.
    """

    clients: Mapping[str, Client]
    base_url: str
    keys: tuple[str, ...]
    first_use: FirstUse
    demo_iss: str = ""
    charts: demo_server.Charts | None = None

    def launched_at(self, call: HookRequest) -> str:
        """Where the EHR that makes this call launches the page; empty where it does not."""
        launches = call.fhir_server == self.demo_iss if self.demo_iss else call.client in self.clients
        return self.base_url + LAUNCH_PATH if launches else ""


def apps_of(settings: Settings, clients: Mapping[str, Client] | None, store: Store | None) -> Apps | None:
    """Who launches the page of the second opinion; None where nobody does. Raises SettingsError where a setting is
    missing that it needs.
    """
    if clients is None or store is None:
        if not (settings.shows_pages() and settings.fhir_access == "on" and settings.public_base_url is None):
            return None
        return _demo(settings)
    with_app = {name: client for name, client in clients.items() if client.app}
    if not with_app:
        return None
    base_url = settings.public_base_url or ""
    if not base_url.startswith("https:"):
        raise SettingsError(
            f"SITBONE_PUBLIC_BASE_URL is {shown(base_url)} and must be an https address where a client has an "
            "app: the EHR sends browsers there."
        )
    if not settings.app_keys:
        raise SettingsError("SITBONE_APP_KEYS must be set where a client has an app: its pages are sealed with them.")
    if settings.fhir_access == "off":
        raise SettingsError("SITBONE_FHIR_ACCESS must be on where a client has an app: its page reads the chart.")
    return Apps(with_app, base_url, settings.app_keys, store.first_use)


def _demo(settings: Settings) -> Apps:
    """The EHR of the page at `/`."""
    # What seals and signs is a tenth of the memory, and there only where the page is.
    from cryptography.fernet import Fernet  # noqa: PLC0415

    from service.database import folder_of  # noqa: PLC0415
    from service.pages import demo_server  # noqa: PLC0415

    # The demo listens to the network, and is tried in a browser of the machine that it runs on.
    listens = settings.host if is_loopback(settings.host) else "127.0.0.1"
    host = f"[{listens}]" if ":" in listens else listens
    base_url = f"http://{host}:{settings.port}"
    demo, charts = demo_server.client(base_url), demo_server.Charts(folder_of(settings.store, settings.port))
    keys = (Fernet.generate_key().decode(),)
    return Apps({demo_server.CLIENT_ID: demo}, base_url, keys, charts.first_use, demo.fhir_servers[0], charts)


def second_opinion(
    apps: Apps,
    evaluator: Evaluator,
    published: ServiceRegistry[Answered],
    complete: Callable[[HookRequest, CdsService[Answered]], HookRequest],
    audit_trail: AuditTrail | None,
    *,
    features: bool,
) -> Blueprint:
    """The pages of the second opinion, which say what patient-view says; `complete` fills the gaps of a prefetch, and
    with `features` they hand on what was read, as FHIR."""
    # Most sites have no app.
    from service.second_opinion.opinion import Opinions  # noqa: PLC0415
    from service.second_opinion.routes import Setting, create_blueprint  # noqa: PLC0415

    def now() -> float:
        return evaluator.clock().timestamp()

    def belongs_to(client: str) -> None:
        place: Place = g.place
        place.belongs_to(client)

    diagnosis = published.find(DIAGNOSIS, "patient-view")
    opinions = Opinions(evaluator, diagnosis, complete, audit_trail.revise if audit_trail else None)
    keep = audit_trail.page if audit_trail else None
    setting = Setting(apps.base_url, apps.keys, now, apps.first_use, belongs_to, correlation_id, keep, features)
    return create_blueprint(apps.clients, opinions, setting)
