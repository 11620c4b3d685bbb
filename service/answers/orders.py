"""The orders that suggestions propose: complete FHIR R4 ServiceRequests, made from templates of the knowledge.

A template is checked against the FHIR models at start, for every side; what is filled in for a call are references, a
date and words of the knowledge, which cannot make it invalid. Specification: CDS Service Response, Action; FHIR R4
ServiceRequest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import product
from typing import Any

import msgspec

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
    in_a_sentence,
)
from service.knowledge_model.vocabulary import PRIORITIES, SYSTEMS
from service.reasoning.assessment import Assessment
from service.reasoning.evidence import Fired

# What a ServiceRequest of R4 may give as its reason.
_REASONS = ("Condition/", "Observation/", "DiagnosticReport/", "DocumentReference/")
_REASONS_OF_MEDICINES = _REASONS[:2]
# What the user of a hook may be: CDS Hooks Library, context.userId.
_USER = re.compile(r"(?:Practitioner|PractitionerRole|Patient|RelatedPerson)/[A-Za-z0-9.-]{1,64}")
_EXAMPLE, _REFERRED = "Practitioner/example", ("Observation/example", "Patient/example")


class Ordering(msgspec.Struct, frozen=True):
    """For whom and why an order is proposed. `side` is left, right, bilateral or unspecified."""

    patient: str
    encounter: str
    side: str
    authored: datetime
    # CodeableConcepts.
    reasons: tuple[Mapping[str, Any], ...]
    references: tuple[str, ...]
    # Who would sign it, where the hook says who that is.
    requester: str = ""

    @classmethod
    def of(
        cls,
        request: HookRequest,
        side: str,
        authored: datetime,
        reasons: Iterable[Mapping[str, Any]],
        resources: Iterable[str] = (),
    ) -> Ordering:
        """For the patient and the encounter of a call, by its user; `reasons`: see Indications; `resources` are the
        ones that they stand on.
        """
        return cls(
            patient=request.patient_id,
            encounter=request.encounter_id,
            side=side,
            authored=authored,
            reasons=tuple(reasons),
            requester=_requester(request),
            references=tuple(dict.fromkeys(resources)),
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
        "category": [template.category],
        "priority": priority,
        "code": concept,
        "subject": {"reference": f"Patient/{ordering.patient}"},
        "authoredOn": ordering.authored.isoformat(timespec="seconds"),
        "reasonCode": list(ordering.reasons),
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


def order_of(request: Mapping[str, Any], knowledge: Knowledge) -> tuple[str, str]:
    """Of a ServiceRequest that was made here: the key of its template, and the side in its words ("" for none)."""
    key = next((coding["code"] for coding in request["code"]["coding"] if coding["system"] == ORDER_SYSTEM), "")
    template, text = knowledge.orders.get(key), request["code"]["text"]
    sides = knowledge.wording.sides
    said = (side for side in sides if template and side and text == _with_side(template.title, side, sides))
    return key, next(said, "")


def medicine_of(request: Mapping[str, Any], knowledge: Knowledge) -> str:
    """Of a MedicationRequest that was made here: the key of its template; "" for another."""
    codings = request["medicationCodeableConcept"]["coding"]
    found = (key for key, medicine in knowledge.medicines.items() if _coding(medicine.code) in codings)
    return next(found, "")


def medication_request(template: MedicineTemplate, ordering: Ordering) -> dict[str, Any]:
    """A MedicationRequest that proposes this medicine; the dose is left to the prescriber."""
    request: dict[str, Any] = {
        "resourceType": "MedicationRequest",
        "status": "draft",
        "intent": "proposal",
        "medicationCodeableConcept": {"coding": [_coding(template.code)], "text": template.code.display},
        "subject": {"reference": f"Patient/{ordering.patient}"},
        "authoredOn": ordering.authored.isoformat(timespec="seconds"),
        "reasonCode": list(ordering.reasons),
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
        "reasonCode": list(ordering.reasons),
    } | _in_encounter(ordering)


def _in_encounter(ordering: Ordering) -> dict[str, Any]:
    """Who asks for it, and in which encounter."""
    encounter = {"encounter": {"reference": f"Encounter/{ordering.encounter}"}} if ordering.encounter else {}
    return encounter | ({"requester": {"reference": ordering.requester}} if ordering.requester else {})


def _requester(request: HookRequest) -> str:
    user = request.context.get("userId")
    return user if isinstance(user, str) and _USER.fullmatch(user) else ""


class Indications:
    """Why something is ordered: the complaint, coded where it has a code, and what is suspected. Made once."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self._names = [id_ for id_, finding in knowledge.findings.items() if finding.defines_complaint]
        self._complaints = {
            (id_, side): _complaint(
                knowledge.findings[id_].title, [code for code in knowledge.codes if code.concept == id_], side
            )
            for id_ in self._names
            for side in knowledge.wording.sides
        }

    def of(self, assessment: Assessment, fired: Fired | None = None) -> tuple[Mapping[str, Any], ...]:
        """The CodeableConcepts of an order that `fired` calls for; the title of the knowledge without a complaint."""
        located = {item.finding for item in assessment.located_by}
        # The first by the knowledge: the order of the resources says nothing.
        name = next((name for name in self._names if name in located), "")
        found = (self._complaints[name, assessment.side],) if name else ()
        suspected = self._suspected(assessment, fired)
        return (*found, *([{"text": suspected}] if suspected else ())) or ({"text": self._knowledge.title},)

    def _suspected(self, assessment: Assessment, fired: Fired | None) -> str:
        words, flag = self._knowledge.wording, fired.recommendation.red_flag if fired else None
        if flag:
            return words.suspicions[flag.id]
        leaders = [ranking.leader.id for ranking in assessment.rankings if ranking.leader]
        named = dict.fromkeys(in_a_sentence(self._knowledge.causes[leader].title) for leader in leaders)
        return words.say("suspected", first=", ".join(named)) if named else ""


def _complaint(title: str, codes: Sequence[Code], side: str) -> dict[str, Any]:
    """With the first code that has no side, for that stands in the body site, and that of ICD-10-CM, which claims go by
    and which names the side."""
    plain = (code for code in codes if code.match == "exact" and not code.side)
    of_claims = (code for code in codes if code.system == SYSTEMS["icd10cm"] and code.side == side)
    coded = [_coding(code) for code in (next(plain, None), next(of_claims, None)) if code]
    return {"coding": coded, "text": title} if coded else {"text": title}


def check_templates(knowledge: Knowledge, now: datetime) -> None:
    """Every template makes a valid ServiceRequest on every side and at every priority. Raises KnowledgeError."""
    sides = knowledge.wording.sides
    # The priority changes nothing of a side.
    each = [*product(sides, PRIORITIES[:1]), *product([*sides][:1], PRIORITIES[1:])]
    for key, template in knowledge.orders.items():
        for side, priority in each:
            if wrong := _violations_of(template, side, priority, now, sides):
                raise KnowledgeError("orders.toml", key, f"does not make a valid ServiceRequest: {wrong}")
    ordering = Ordering("example", "example", "left", now, ({"text": "Reason"},), ("Observation/example",), _EXAMPLE)
    for key, medicine in knowledge.medicines.items():
        if wrong := violations(medication_request(medicine, ordering)):
            raise KnowledgeError("orders.toml", f"medicine.{key}", f"does not make a valid MedicationRequest: {wrong}")
    lines = [knowledge.message.opening, *(line for r in knowledge.recommendations for line in r.say)]
    if wrong := violations(communication_request(knowledge.message, lines, ordering)):
        raise KnowledgeError("orders.toml", "message", f"does not make a valid CommunicationRequest: {wrong}")


def _violations_of(template: OrderTemplate, side: str, priority: str, now: datetime, sides: Mapping[str, str]) -> str:
    ordering = Ordering("example", "example", side, now, ({"text": "Reason"},), _REFERRED, _EXAMPLE)
    return violations(service_request(template, priority, ordering, sides))
