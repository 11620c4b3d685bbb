"""The orders that suggestions propose: complete FHIR R4 ServiceRequests, made from templates of the knowledge.

A template is checked against the FHIR models at start, for every side; what is filled in for a call are references, a
date and words of the knowledge, which cannot make it invalid. Specification: CDS Service Response, Action; FHIR R4
ServiceRequest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.guideline import Code, Guideline, KnowledgeError, OrderTemplate
from service.strictness import violations

# What a ServiceRequest of R4 may give as its reason.
_REASONS = ("Condition/", "Observation/", "DiagnosticReport/", "DocumentReference/")


@dataclass(frozen=True, slots=True)
class Ordering:
    """For whom and why an order is proposed. `side` is left, right, bilateral or unspecified."""

    patient: str
    encounter: str | None
    side: str
    authored: datetime
    reasons: tuple[str, ...]
    references: tuple[str, ...]


def _coding(code: Code) -> dict[str, str]:
    return {"system": code.system, "code": code.code, "display": code.display}


def _with_side(title: str, side: str, sides: Mapping[str, str]) -> str:
    return f"{title}, {sides[side]}" if side else title


def service_request(
    template: OrderTemplate, priority: str, ordering: Ordering, sides: Mapping[str, str]
) -> dict[str, Any]:
    """A ServiceRequest that proposes this order; `priority` is stat, urgent or routine, `sides` the words for sides."""
    side = ordering.side if template.sided else ""
    concept: dict[str, Any] = {"text": _with_side(template.title, side, sides)}
    code = template.codes.get(ordering.side) or template.codes.get("")
    if code:
        concept["coding"] = [_coding(code)]
    request: dict[str, Any] = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "proposal",
        "priority": priority,
        "code": concept,
        "subject": {"reference": f"Patient/{ordering.patient}"},
        "authoredOn": ordering.authored.isoformat(timespec="seconds"),
        "reasonCode": [{"text": reason} for reason in ordering.reasons],
    }
    if ordering.encounter:
        request["encounter"] = {"reference": f"Encounter/{ordering.encounter}"}
    references = [{"reference": name} for name in ordering.references if name.startswith(_REASONS)]
    if references:
        request["reasonReference"] = references
    site = template.body_sites.get(ordering.side) or template.body_sites.get("")
    if site:
        request["bodySite"] = [
            {"coding": [_coding(site)], "text": _with_side(site.display, "" if site.side else ordering.side, sides)}
        ]
    return request


def check_templates(guideline: Guideline, now: datetime) -> None:
    """Every template makes a valid ServiceRequest on every side. Raises KnowledgeError."""
    for key, template in guideline.orders.items():
        for side in guideline.wording.sides:
            for priority in ("stat", "urgent", "routine"):
                wrong = _violations_of(template, side, priority, now, guideline.wording.sides)
                if wrong:
                    raise KnowledgeError("orders.toml", key, f"does not make a valid ServiceRequest: {wrong}")


def _violations_of(template: OrderTemplate, side: str, priority: str, now: datetime, sides: Mapping[str, str]) -> str:
    ordering = Ordering("example", "example", side, now, ("Reason",), ("Observation/example", "Patient/example"))
    return violations(service_request(template, priority, ordering, sides))


def reason_references(resources: Iterable[str]) -> tuple[str, ...]:
    """Those of the used resources that a ServiceRequest may name as its reason, once each."""
    return tuple(dict.fromkeys(name for name in resources if name.startswith(_REASONS)))
