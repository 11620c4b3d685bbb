"""The calls of the bench: a patient-view call of the fixtures, with a chart of a chosen length.

A chart is ordinary conditions and laboratory values. One with the complaint has twenty findings of this pain in place
of twenty laboratory values, and is therefore no longer than one without.
"""

import itertools
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

CALL = Path(__file__).parents[1] / "fixtures" / "requests" / "sudden-pop-with-bruising.json"
PATH = "/cds-services/gluteal-hamstring-pain"
FINDINGS = "https://sitbone.example.org/fhir/CodeSystem/findings"

# Stands for six digits that no two fresh calls share: in every id, and as the fraction of a second in every time.
_DIGITS = "@@@@@@"

_CONDITIONS = [
    ("59621000", "I10", "Essential hypertension"),
    ("44054006", "E11.9", "Type 2 diabetes mellitus without complication"),
    ("55822004", "E78.5", "Hyperlipidaemia"),
    ("195967001", "J45.909", "Asthma"),
    ("40930008", "E03.9", "Hypothyroidism"),
]
_LABORATORY = [
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", 70, 99),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 1, 2),
    ("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", 135, 145),
    ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", 3, 5),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 12, 17),
    ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 4, 6),
    ("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", "mg/dL", 120, 200),
    ("3016-3", "Thyrotropin [Units/volume] in Serum or Plasma", "m[IU]/L", 1, 4),
]
_PRESENT = [
    "buttock-pain",
    "sharp-pain",
    "gradual-onset",
    "pain-with-sitting",
    "pain-on-hard-surface",
    "pain-running-fast-or-uphill",
    "pain-lunging-or-squatting",
    "pain-stretching-or-bending-forward",
    "runner",
    "recent-training-increase",
    "ischial-tenderness",
    "puranen-orava",
    "bent-knee-stretch",
    "modified-bent-knee-stretch",
]
_ABSENT = [
    "sudden-onset",
    "pop-at-injury",
    "leg-weakness",
    "radiating-numbness-or-tingling",
    "fever",
    "straight-leg-raise",
]


@dataclass(frozen=True, slots=True)
class Chart:
    """How long a chart is, in resources beside the patient, and whether it has this pain in it."""

    name: str
    conditions: int
    observations: int
    complaint: bool


SIZES = {"small": (5, 20), "medium": (30, 300), "long": (100, 3000)}


def requests(chart: Chart, *, fresh: bool, tokens: Iterable[str] | None = None) -> Iterator[bytes]:
    """HTTP requests with ``chart``: each with ids and times of its own, or all of them alike.

    Each carries one of the ``tokens``, and they end with these; without any they have no end.
    """
    first, *pieces = _body(chart).split(_DIGITS.encode())
    length = len(first) + sum(map(len, pieces)) + len(_DIGITS) * len(pieces)
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    authorizations = (
        itertools.repeat("") if tokens is None else (f"Authorization: Bearer {each}\r\n" for each in tokens)
    )
    numbers = itertools.count(1) if fresh else itertools.repeat(1)
    for number, authorization in zip(numbers, authorizations, strict=False):
        yield (b"%06d" % (number % 1_000_000)).join([f"{head}{authorization}\r\n".encode() + first, *pieces])


def _body(chart: Chart) -> bytes:
    call: dict[str, Any] = json.loads(CALL.read_text())
    call["hookInstance"] = f"d1577c69-dfbe-44ad-ba6d-000000{_DIGITS}"
    patient = call["prefetch"]["patient"]
    reference = {"reference": f"Patient/{patient['id']}"}
    now = datetime.now(tz=UTC)
    conditions = [
        _condition(number, reference, now - timedelta(days=200 + number)) for number in range(chart.conditions)
    ]
    answers = [(name, True) for name in _PRESENT] + [(name, False) for name in _ABSENT] if chart.complaint else []
    observations = [
        _observation(number, reference, now - timedelta(days=1), _finding(name, present=present))
        for number, (name, present) in enumerate(answers)
    ] + [
        _observation(number, reference, now - timedelta(days=number % 700), _laboratory(number))
        for number in range(len(answers), chart.observations)
    ]
    call["prefetch"] = {
        **{key: _bundle([]) for key in call["prefetch"]},
        "encounter": call["prefetch"]["encounter"],
        "patient": patient,
        "conditions": _bundle(conditions),
        "observations": _bundle(observations),
        "medications": _bundle([]),
        "allergies": _bundle([]),
    }
    return json.dumps(call, separators=(",", ":")).encode()


def _bundle(resources: list[dict[str, Any]]) -> dict[str, Any]:
    entries = [
        {
            "fullUrl": f"urn:uuid:{uuid.uuid4()}",
            "resource": each,
            "search": {"mode": "match"},
        }
        for each in resources
    ]
    return {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{_DIGITS}Z"


def _condition(number: int, patient: dict[str, str], moment: datetime) -> dict[str, Any]:
    snomed_ct, icd_10_cm, display = _CONDITIONS[number % len(_CONDITIONS)]
    status = "http://terminology.hl7.org/CodeSystem/condition"
    return {
        "resourceType": "Condition",
        "id": f"condition-{number}-{_DIGITS}",
        "meta": {"versionId": "1", "lastUpdated": f"{moment:%Y-%m-%dT%H:%M:%SZ}"},
        "clinicalStatus": {"coding": [{"system": f"{status}-clinical", "code": "active", "display": "Active"}]},
        "verificationStatus": {
            "coding": [{"system": f"{status}-ver-status", "code": "confirmed", "display": "Confirmed"}]
        },
        "category": [{"coding": [{"system": f"{status}-category", "code": "problem-list-item"}]}],
        "code": {
            "coding": [
                {"system": "http://snomed.info/sct", "code": snomed_ct, "display": display},
                {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": icd_10_cm, "display": display},
            ],
            "text": display,
        },
        "subject": patient,
        "onsetDateTime": _time(moment),
        "recordedDate": f"{moment:%Y-%m-%d}",
    }


def _observation(number: int, patient: dict[str, str], moment: datetime, says: dict[str, Any]) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"observation-{number}-{_DIGITS}",
        "meta": {"versionId": "1", "lastUpdated": f"{moment:%Y-%m-%dT%H:%M:%SZ}"},
        "status": "final",
        "subject": patient,
        "encounter": {"reference": f"Encounter/encounter-{number % 40}"},
        "effectiveDateTime": _time(moment),
        "issued": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "performer": [{"reference": "Practitioner/practitioner-1"}],
        **says,
    }


def _finding(name: str, *, present: bool) -> dict[str, Any]:
    return {
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "exam"}]}
        ],
        "code": {"coding": [{"system": FINDINGS, "code": name}], "text": name.replace("-", " ")},
        "bodySite": {"coding": [{"system": "http://snomed.info/sct", "code": "7771000", "display": "Left"}]},
        "valueBoolean": present,
    }


def _laboratory(number: int) -> dict[str, Any]:
    code, display, unit, low, high = _LABORATORY[number % len(_LABORATORY)]
    return {
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}
        ],
        "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": display}], "text": display},
        "valueQuantity": {
            "value": round(low + (high - low) * (number % 97) / 97, 1),
            "unit": unit,
            "system": "http://unitsofmeasure.org",
            "code": unit,
        },
        "referenceRange": [{"low": {"value": low, "unit": unit}, "high": {"value": high, "unit": unit}}],
    }
