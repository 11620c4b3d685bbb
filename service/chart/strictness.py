"""What the FHIR R4B models say of a resource that was read: a remark on the card, never a gate.

A model costs a tenth of a millisecond and more, so its verdict is remembered for the shape of a resource: its bytes
with its id, references, dates and numbers replaced by marks where they are valid by their form. Two resources of one
shape differ in such values only, so the models say the same of both. What is remembered is a hash and a yes or no,
never content. Specification of the forms: FHIR R4 data types (id, Reference, date, dateTime, instant, decimal).
"""

from __future__ import annotations

import re
from functools import lru_cache
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
# What of a resource differs from chart to chart and is one JSON string. Whether a February has a 29th stays the models'
# business.
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_REFERENCE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}|urn:uuid:[0-9a-f\-]{36}")
_MONTH_AND_DAY = r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_DAY = r"(?:19|20)\d\d-" + _MONTH_AND_DAY
_DATE = re.compile(_DAY)
_INSTANT = re.compile(_DAY + r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)")
_REFERENCES = ("subject", "patient", "encounter")
_TIMES = ("effectiveDateTime", "issued", "onsetDateTime", "recordedDate", "authoredOn", "authored")
_NUMBER = re.compile(rb'("value"\s*:\s*)-?(?:0|[1-9]\d{0,8})(?:\.\d{1,9})?(?=[,\s}])')


# A chart repeats its times: what was done at one visit has the same.
@lru_cache(maxsize=4096)
def _time(written: str) -> tuple[bytes, bytes]:
    """A time as it stands in JSON, and its mark; that is empty where its form is not valid."""
    mark = b"~instant" if _INSTANT.fullmatch(written) else b"~date" if _DATE.fullmatch(written) else b""
    return f'"{written}"'.encode(), mark


def shape(raw: bytes, resource: dict[str, Any]) -> int:
    """A hash of the resource in which values that are valid by their form do not count."""
    # Strings with their quotes, so that only whole ones are replaced, and each once: where another member says the
    # same, one of them still counts.
    identifier = resource.get("id")
    if isinstance(identifier, str) and _ID.fullmatch(identifier):
        raw = raw.replace(f'"{identifier}"'.encode(), b"~id", 1)
    for member in _REFERENCES:
        if member in resource:
            to = resource[member]
            written = to.get("reference") if isinstance(to, dict) else to
            if isinstance(written, str) and _REFERENCE.fullmatch(written):
                raw = raw.replace(f'"{written}"'.encode(), b"~reference", 1)
    times = [resource[member] for member in _TIMES if member in resource]
    if isinstance(meta := resource.get("meta"), dict):
        times.append(meta.get("lastUpdated"))
    for time in times:
        if isinstance(time, str):
            quoted, mark = _time(time)
            if mark:
                raw = raw.replace(quoted, mark, 1)
    if b'"value"' in raw:
        raw = _NUMBER.sub(rb"\1~", raw)
    # Of 64 bits and keyed for each process: of a few thousand shapes no two will meet.
    return hash(raw)


def violations(resource: dict[str, Any]) -> str:
    """Empty when the resource is valid FHIR R4 by the models, otherwise where it is not (paths, no values)."""
    model = MODELS.get(str(resource.get("resourceType")))
    if model is None:
        return "resourceType: no model"
    try:
        model.model_validate(resource)
    except ValidationError as error:
        return "; ".join(".".join(map(str, item["loc"])) or "resource" for item in error.errors(include_input=False))
    return ""


class Judge:
    """Remembers verdicts by shape; one for each process."""

    def __init__(self, remember: int = 4096) -> None:
        self._remember = remember
        self._verdicts: dict[int, bool] = {}

    def is_valid(self, raw: bytes, resource: dict[str, Any]) -> bool:
        key = shape(raw, resource)
        verdict = self._verdicts.get(key)
        if verdict is None:
            if len(self._verdicts) >= self._remember:
                self._verdicts.clear()
            verdict = self._verdicts[key] = not violations(resource)
        return verdict
