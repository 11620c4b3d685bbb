"""The orders that suggestions propose: complete FHIR R4 ServiceRequests, made from templates of the knowledge.

A template is checked against the FHIR models at start, for every side; what is filled in for a call are references, a
date and words of the knowledge, which cannot make it invalid. Specification: CDS Service Response, Action; FHIR R4
ServiceRequest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any

from cds_hooks import HookRequest
from service.fhir_validation import violations
from service.knowledge_model.model import (
    ORDER_SYSTEM,
    Code,
    Knowledge,
    KnowledgeError,
    MedicineTemplate,
    MessageTemplate,
    OrderTemplate,
)
from service.knowledge_model.vocabulary import PRIORITIES

# What a ServiceRequest of R4 may give as its reason.
_REASONS = ("Condition/", "Observation/", "DiagnosticReport/", "DocumentReference/")
_REASONS_OF_MEDICINES = _REASONS[:2]


@dataclass(frozen=True, slots=True)
class Ordering:
    """For whom and why an order is proposed. `side` is left, right, bilateral or unspecified."""

    patient: str
    encounter: str
    side: str
    authored: datetime
    reasons: tuple[str, ...]
    references: tuple[str, ...]

    @classmethod
    def of(
        cls, request: HookRequest, side: str, authored: datetime, reason: str, resources: Iterable[str] = ()
    ) -> Ordering:
        """For the patient and the encounter of a call; `resources` are the ones that the reason stands on."""
        return cls(
            patient=request.patient_id,
            encounter=request.encounter_id,
            side=side,
            authored=authored,
            reasons=(reason,),
            references=tuple(dict.fromkeys(name for name in resources if name.startswith(_REASONS))),
        )


def _coding(code: Code) -> dict[str, str]:
    return {"system": code.system, "code": code.code, "display": code.display}


def _with_side(title: str, side: str, sides: Mapping[str, str]) -> str:
    return f"{title}, {sides[side]}" if side else title


def service_request(
    template: OrderTemplate, priority: str, ordering: Ordering, sides: Mapping[str, str]
) -> dict[str, Any]:
    """A ServiceRequest that proposes this order; `priority` is stat, urgent or routine, `sides` the words for sides."""
    side = ordering.side if template.sided else ""
    code = template.codes.get(ordering.side) or template.codes.get("")
    own = {"system": ORDER_SYSTEM, "code": template.key, "display": template.title}
    concept: dict[str, Any] = {
        "coding": [*([_coding(code)] if code else []), own],
        "text": _with_side(template.title, side, sides),
    }
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
    request |= _in_encounter(ordering)
    references = [{"reference": name} for name in ordering.references if name.startswith(_REASONS)]
    if references:
        request["reasonReference"] = references
    site = template.body_sites.get(ordering.side) or template.body_sites.get("")
    if site:
        request["bodySite"] = [
            {"coding": [_coding(site)], "text": _with_side(site.display, "" if site.side else ordering.side, sides)}
        ]
    return request


def medication_request(template: MedicineTemplate, ordering: Ordering) -> dict[str, Any]:
    """A MedicationRequest that proposes this medicine; the dose is left to the prescriber."""
    request: dict[str, Any] = {
        "resourceType": "MedicationRequest",
        "status": "draft",
        "intent": "proposal",
        "medicationCodeableConcept": {"coding": [_coding(template.code)], "text": template.code.display},
        "subject": {"reference": f"Patient/{ordering.patient}"},
        "authoredOn": ordering.authored.isoformat(timespec="seconds"),
        "reasonCode": [{"text": reason} for reason in ordering.reasons],
        "dosageInstruction": [{"text": template.dosage}],
    }
    references = [{"reference": name} for name in ordering.references if name.startswith(_REASONS_OF_MEDICINES)]
    return request | _in_encounter(ordering) | ({"reasonReference": references} if references else {})


def communication_request(template: MessageTemplate, lines: Iterable[str], ordering: Ordering) -> dict[str, Any]:
    """A CommunicationRequest that proposes to give the patient these words, one payload a line."""
    patient = {"reference": f"Patient/{ordering.patient}"}
    return {
        "resourceType": "CommunicationRequest",
        "status": "draft",
        "category": [{"text": template.title}],
        "priority": "routine",
        "subject": patient,
        "payload": [{"contentString": line} for line in lines],
        "authoredOn": ordering.authored.isoformat(timespec="seconds"),
        "recipient": [patient],
        "reasonCode": [{"text": reason} for reason in ordering.reasons],
    } | _in_encounter(ordering)


def question_task(question: str, ordering: Ordering) -> dict[str, Any]:
    """A Task that proposes to ask or examine this. FHIR R4 Task."""
    return {
        "resourceType": "Task",
        "status": "requested",
        "intent": "proposal",
        "description": question,
        "for": {"reference": f"Patient/{ordering.patient}"},
        "authoredOn": ordering.authored.isoformat(timespec="seconds"),
        "reasonCode": {"text": ", ".join(ordering.reasons)},
    } | _in_encounter(ordering)


def _in_encounter(ordering: Ordering) -> dict[str, Any]:
    return {"encounter": {"reference": f"Encounter/{ordering.encounter}"}} if ordering.encounter else {}


def check_templates(knowledge: Knowledge, now: datetime) -> None:
    """Every template makes a valid ServiceRequest on every side and at every priority. Raises KnowledgeError."""
    sides = knowledge.wording.sides
    # The priority changes nothing of a side.
    each = [*product(sides, PRIORITIES[:1]), *product([*sides][:1], PRIORITIES[1:])]
    for key, template in knowledge.orders.items():
        for side, priority in each:
            if wrong := _violations_of(template, side, priority, now, sides):
                raise KnowledgeError("orders.toml", key, f"does not make a valid ServiceRequest: {wrong}")
    ordering = Ordering("example", "example", "left", now, ("Reason",), ("Observation/example",))
    for key, medicine in knowledge.medicines.items():
        if wrong := violations(medication_request(medicine, ordering)):
            raise KnowledgeError("orders.toml", f"medicine.{key}", f"does not make a valid MedicationRequest: {wrong}")
    for question in knowledge.questions:
        if wrong := violations(question_task(question.ask, ordering)):
            raise KnowledgeError("questions.toml", question.findings[0], f"does not make a valid Task: {wrong}")
    lines = [knowledge.message.opening, *(line for r in knowledge.recommendations for line in r.say)]
    if wrong := violations(communication_request(knowledge.message, lines, ordering)):
        raise KnowledgeError("orders.toml", "message", f"does not make a valid CommunicationRequest: {wrong}")


def _violations_of(template: OrderTemplate, side: str, priority: str, now: datetime, sides: Mapping[str, str]) -> str:
    ordering = Ordering("example", "example", side, now, ("Reason",), ("Observation/example", "Patient/example"))
    return violations(service_request(template, priority, ordering, sides))
