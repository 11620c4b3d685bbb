"""A case as FHIR R4 Observations under a code system of our own: what each resource of the chart states of a finding.

They are what the logic of the exported knowledge reads (service/portable): sides, dates and units are settled in them,
and so is nothing of medicine. A raw chart has other codes, and so nobody can take one for the other. The first of them
is the marker: who read the chart, and when; without it that logic decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from math import isinf
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from service.chart.assertions import PROVISIONAL, Assertion
from service.chart.case import Case
from service.chart.elements import BILATERAL, LEFT, RIGHT
from service.chart.fhir_time import When, days_before
from service.knowledge_model.conditions import Interval
from service.knowledge_model.model import Knowledge
from service.knowledge_model.quantity import UCUM
from service.knowledge_model.vocabulary import SYSTEMS

BASE = "https://sitbone.example.org/fhir"
SYSTEM = f"{BASE}/CodeSystem/features"
SIDE_SYSTEM = f"{BASE}/CodeSystem/sides"
PROFILE = f"{BASE}/StructureDefinition/case-feature"
SOURCE, REMARK = f"{BASE}/StructureDefinition/feature-source", f"{BASE}/StructureDefinition/feature-remark"
_GENDER = "http://hl7.org/fhir/administrative-gender"
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
# The codes that are no finding: the marker, what the Patient tells, and a part of a date.
READ, AGE, SEX, DAYS = "features-read", "age", "sex", "days-before-reading"
OTHER_CODES = {
    READ: "Features read: by which reader, and when",
    AGE: "Age in completed years on the day of reading",
    SEX: "Administrative gender, where it is female or male",
    DAYS: "Days from this date to the day of reading",
}
# Laterality as SNOMED CT has it, beside our own code of a side.
_LATERALITY = {LEFT: ("7771000", "Left"), RIGHT: ("24028007", "Right"), BILATERAL: ("51440002", "Right and left")}
# What Observation.derivedFrom of R4 may refer to, of what findings are read from; all else stands in an extension.
_DERIVED_FROM = ("Observation/", "QuestionnaireResponse/")


def reader_of(knowledge: Knowledge) -> str:
    """How the marker calls who read a chart. Features of another reader are not those that an export is about."""
    return f"features of Sitbone {version('sitbone')}, knowledge {knowledge.id} {knowledge.version}"


def features(case: Case, patient: str, reader: str) -> list[dict[str, Any]]:
    """The Observations of one chart: the marker, age and sex where they are known, and one for each statement.

    `patient` is the id of the Patient, `reader` as reader_of gives it. In the order in which the chart was read: of two
    statements of one time the earlier comes first.
    """
    made = [_marker(case.now, reader), *_of_patient(case)]
    made += [_statement(case, each) for found in case.assertions.values() for each in found]
    return [
        {
            "resourceType": "Observation",
            "id": str(uuid5(NAMESPACE_URL, f"{SYSTEM}|{patient}|{case.now.isoformat()}|{number}")),
            "meta": {"profile": [PROFILE]},
            "subject": {"reference": f"Patient/{patient}"},
            **resource,
        }
        for number, resource in enumerate(made)
    ]


def bundle(case: Case, patient: str, reader: str) -> dict[str, Any]:
    """A collection of the features of one chart, as of features, with a Patient of which nothing but the id is told."""
    entries = [{"resourceType": "Patient", "id": patient}, *features(case, patient, reader)]
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": f"{BASE}/{each['resourceType']}/{each['id']}", "resource": each} for each in entries],
    }


def _coded(code: str, title: str) -> Mapping[str, Any]:
    return {"coding": [{"system": SYSTEM, "code": code, "display": title}]}


def _instant(moment: datetime) -> str:
    # Always to the millisecond: an engine cannot tell which of two times of unequal precision is later.
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _period(when: When) -> dict[str, str]:
    return {"start": _instant(when.low), "end": _instant(when.high)}


def _range(interval: Interval, unit: str) -> dict[str, Any]:
    """A number by its ends, which are the same where it is known exactly; an end that is open is left away."""
    return {
        end: {"value": value, "unit": unit, "system": UCUM, "code": unit}
        for end, value in zip(("low", "high"), interval, strict=True)
        if not isinf(value)
    }


def _marker(now: datetime, reader: str) -> dict[str, Any]:
    return {
        "status": "final",
        "code": _coded(READ, OTHER_CODES[READ]),
        "effectivePeriod": _period(When(now, now, "")),
        "valueString": reader,
    }


def _of_patient(case: Case) -> Iterator[dict[str, Any]]:
    if case.patient.age is not None:
        yield {
            "status": "final",
            "code": _coded(AGE, OTHER_CODES[AGE]),
            "valueRange": _range(case.patient.age, "a"),
        }
    if case.patient.sex is not None:
        yield {
            "status": "final",
            "code": _coded(SEX, OTHER_CODES[SEX]),
            "valueCodeableConcept": {"coding": [{"system": _GENDER, "code": case.patient.sex}]},
        }


def _statement(case: Case, stated: Assertion) -> dict[str, Any]:
    finding = case.findings[stated.finding]
    extensions: list[dict[str, Any]] = [{"url": REMARK, "valueCode": remark} for remark in stated.remarks]
    source: dict[str, Any] = {}
    if stated.resource.startswith(_DERIVED_FROM):
        source = {"derivedFrom": [{"reference": stated.resource}]}
    elif "/" in stated.resource:
        extensions.append({"url": SOURCE, "valueReference": {"reference": stated.resource}})
    return {
        **({"extension": extensions} if extensions else {}),
        **source,
        "status": "preliminary" if PROVISIONAL in stated.remarks else "final",
        "code": _coded(finding.id, finding.title),
        **({"effectivePeriod": _period(stated.when)} if stated.when else {}),
        **({"bodySite": _site(stated.side)} if stated.side else {}),
        **_value(case, stated, finding.unit),
    }


def _site(side: str) -> dict[str, Any]:
    code, display = _LATERALITY[side]
    return {
        "coding": [
            {"system": SIDE_SYSTEM, "code": side},
            {"system": SYSTEMS["sct"], "code": code, "display": display},
        ]
    }


def _value(case: Case, stated: Assertion, unit: str) -> Mapping[str, Any]:
    value = stated.value
    if isinstance(value, bool):
        return {"valueBoolean": value}
    if isinstance(value, Interval):
        return {"valueRange": _range(value, unit)}
    if isinstance(value, When):
        least, most = days_before(value, case.now)
        days = {"code": _coded(DAYS, OTHER_CODES[DAYS]), "valueRange": _range(Interval(least, most), "d")}
        return {"valuePeriod": _period(value), "component": [days]}
    # What is recorded and cannot be read says in words which element it is that cannot be.
    reason: dict[str, Any] = {"coding": [{"system": _ABSENT, "code": "error" if stated.unreadable else "unknown"}]}
    if stated.unreadable:
        reason["text"] = stated.unreadable
    return {"dataAbsentReason": reason}
