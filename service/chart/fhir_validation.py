"""What the FHIR R4B models say of a resource: they check what is sent, and remark on what was read.

A remark never decides what is read, and never holds up an answer: it stands in the explanation of a request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir.resources.R4B.allergyintolerance import AllergyIntolerance
from fhir.resources.R4B.communicationrequest import CommunicationRequest
from fhir.resources.R4B.condition import Condition
from fhir.resources.R4B.fhirresourcemodel import FHIRResourceModel
from fhir.resources.R4B.medicationrequest import MedicationRequest
from fhir.resources.R4B.medicationstatement import MedicationStatement
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.patient import Patient
from fhir.resources.R4B.questionnaireresponse import QuestionnaireResponse
from fhir.resources.R4B.servicerequest import ServiceRequest
from fhir.resources.R4B.task import Task
from pydantic import ValidationError

from cds_hooks import HookRequest
from service.chart.elements import decoded, reference_to

MODELS: dict[str, type[FHIRResourceModel]] = {
    "AllergyIntolerance": AllergyIntolerance,
    "CommunicationRequest": CommunicationRequest,
    "Condition": Condition,
    "MedicationRequest": MedicationRequest,
    "MedicationStatement": MedicationStatement,
    "Observation": Observation,
    "Patient": Patient,
    "QuestionnaireResponse": QuestionnaireResponse,
    "ServiceRequest": ServiceRequest,
    "Task": Task,
}


def remarks(request: HookRequest) -> Iterator[tuple[str, str]]:
    """Each resource of the prefetch that is no valid FHIR R4, as Type/id, and where it is not (paths, no values)."""
    for value in request.prefetch.values():
        for resource in map(decoded, value.resources):
            if str(resource.get("resourceType")) in MODELS and (wrong := violations(resource)):
                yield reference_to(resource), wrong


def violations(resource: dict[str, Any]) -> str:
    """Empty when the resource is valid FHIR R4 by the models, otherwise where it is not (paths, no values)."""
    kind = resource.get("resourceType")
    model = MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        return "resourceType: no model"
    try:
        model.model_validate(resource)
    except ValidationError as error:
        return "; ".join(".".join(map(str, item["loc"])) or "resource" for item in error.errors(include_input=False))
    return ""
