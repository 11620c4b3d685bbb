"""Which FHIR servers may be read for a client."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cds_hooks.fhir_access import FhirPolicy

if TYPE_CHECKING:
    from service.access.clients import Client

# What a decision cannot do without: asked for before medicines, orders and reports.
_FIRST = ("Patient", "Condition", "Observation", "Encounter", "QuestionnaireResponse")


def fhir_policy(client: Client | None, fhir_server: str | None, deadline: float) -> FhirPolicy:
    """Which FHIR servers may be read for this client; without one, loopback ones alone."""
    if client is None:
        return FhirPolicy((), internal=False, loopback_only=True, deadline=deadline, first=_FIRST)
    internal = host_of(fhir_server or "") in client.internal_hosts
    return FhirPolicy(client.fhir_servers, internal=internal, loopback_only=False, deadline=deadline, first=_FIRST)


def host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
