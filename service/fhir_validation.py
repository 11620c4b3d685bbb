"""What the FHIR R4B models say of a resource: they check what is sent, and remark on what was read.

A remark never decides what is read, and never holds up an answer: it stands in the explanation of a request and, made
after the answer, in the audit trail. A model costs a tenth of a millisecond and more, so there its verdict is
remembered for the shape of a resource: its bytes with its id, references, dates and numbers replaced by marks where
they are valid by their form. Two resources of one shape differ in such values only, so the models say the same of both.
What is remembered is a hash and a yes or no, never content.
Specification of the forms: FHIR R4 data types (id, Reference, date, dateTime, instant, decimal).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
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
from pydantic import ValidationError

from cds_hooks.prefetch import PrefetchValue
from service.chart.elements import FHIR_ID, decoded, reference_to
from service.remembered import Remembered

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
}


# What of a resource differs from chart to chart and is one JSON string. Whether a February has a 29th stays the models'
# business.
_REFERENCE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}|urn:uuid:[0-9a-f\-]{36}")
_MONTH_AND_DAY = r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_DAY = r"(?:19|20)\d\d-" + _MONTH_AND_DAY
_DATE = re.compile(_DAY)
_INSTANT = re.compile(_DAY + r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)")
_REFERENCES = ("subject", "patient", "encounter")
_TIMES = ("effectiveDateTime", "issued", "onsetDateTime", "recordedDate", "authoredOn", "authored")
_NUMBER = re.compile(rb'("value"\s*:\s*)-?(?:0|[1-9]\d{0,8})(?:\.\d{1,9})?(?=[,\s}])')


# What was done at one visit has the same.
@Remembered
def _time(written: str) -> tuple[bytes, bytes]:
    """A time as it stands in JSON, and its mark; that is empty where its form is not valid."""
    mark = b"~instant" if _INSTANT.fullmatch(written) else b"~date" if _DATE.fullmatch(written) else b""
    return f'"{written}"'.encode(), mark


def shape(raw: bytes, resource: dict[str, Any]) -> int:
    """A hash of the resource in which values that are valid by their form do not count."""
    # Strings with their quotes, so that only whole ones are replaced, and each once: where another member says the
    # same, one of them still counts.
    identifier = resource.get("id")
    if isinstance(identifier, str) and FHIR_ID.fullmatch(identifier):
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


class Judge:
    """Remembers verdicts by shape; one for each process."""

    def __init__(self, remember: int = 4096) -> None:
        self._remember = remember
        self._verdicts: dict[int, bool] = {}

    def not_valid(self, resources: Iterable[bytes]) -> dict[str, int]:
        """How many of these resources are no valid FHIR R4, by their types."""
        return dict(Counter(kind for raw in resources if (kind := self._refused(raw))))

    def _refused(self, raw: bytes) -> str:
        """The type of a resource that the models refuse, empty for one that they take or do not know."""
        resource = decoded(msgspec.Raw(raw))
        kind = resource.get("resourceType")
        if not isinstance(kind, str) or kind not in MODELS:
            return ""
        key = shape(raw, resource)
        if key not in self._verdicts:
            if len(self._verdicts) >= self._remember:
                self._verdicts.clear()
            self._verdicts[key] = not violations(resource)
        return "" if self._verdicts[key] else kind


def remarks(prefetch: Mapping[str, PrefetchValue]) -> Iterator[tuple[str, str]]:
    """Each resource of the prefetch that is no valid FHIR R4, as Type/id, and where it is not (paths, no values)."""
    for value in prefetch.values():
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
    except (KeyError, TypeError):
        # So the models end at a resourceType that there is not, and at a url that is no text.
        return "resource"
    return ""
