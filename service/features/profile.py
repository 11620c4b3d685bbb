"""What a case feature looks like, as FHIR definitions: a profile of Observation, its two extensions, its codes.

After the idea of the CPG profile cpg-casefeaturedefinition (HL7 FHIR Clinical Practice Guidelines, case features): the
elements of the decision as instances of profiles of their own, whatever a chart has them as.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.chart.assertions import BY_NAME, BY_TEXT, PROVISIONAL, REPORTED, SIDE_UNREADABLE
from service.chart.elements import BILATERAL, LEFT, RIGHT
from service.features.resources import BASE, DAYS, OTHER_CODES, PROFILE, REMARK, SIDE_SYSTEM, SOURCE, SYSTEM
from service.knowledge_model.model import Knowledge

_STRUCTURE = "http://hl7.org/fhir/StructureDefinition"
REMARKS = {
    PROVISIONAL: "The chart itself says that it is provisional",
    BY_NAME: "Recognised by its name, not by a code",
    REPORTED: "A medicine that is said to be taken, or planned, and is no order",
    BY_TEXT: "Recognised by its words, not by a code",
    SIDE_UNREADABLE: "It has a side that could not be read, and so counts without one",
}
_VALUES = ("boolean", "Range", "Period", "CodeableConcept", "string")
_DESCRIPTION = (
    "What one resource of a chart states about one finding, as the service has read it. The value is a boolean "
    "(present or absent), a range (a number by its two ends, which are the same where it is known exactly; an open end "
    "is left away), or a period (a date by its span, with the days from it to the day of reading as a component). What "
    "was asked and is not known, or is recorded and cannot be read, has a dataAbsentReason and no value. "
    "effectivePeriod is when it was stated, a partial date as its span; without one it has no date. bodySite is its "
    "side. The features of a chart begin with a marker of the code features-read: its value says who read them, and "
    "its time when."
)


def definitions(knowledge: Knowledge, status: str) -> list[dict[str, Any]]:
    """The profile, the extensions and the code systems of the features that this knowledge reads."""
    common = {
        "version": knowledge.version,
        "status": status,
        "experimental": True,
        "date": knowledge.date.isoformat(),
        "publisher": "Sitbone",
    }
    codes = {**OTHER_CODES, **{finding.id: finding.title for finding in knowledge.findings.values()}}
    return [
        _profile(common),
        _extension(common, SOURCE, "Source of a feature that derivedFrom may not refer to", {"code": "Reference"}),
        _extension(common, REMARK, "How a feature was read", {"code": "code"}),
        _code_system(common, SYSTEM, "Case features: findings, age, sex and the marker", codes),
        _code_system(
            common, SIDE_SYSTEM, "Sides", {LEFT: "Left", RIGHT: "Right", BILATERAL: "Both sides, said of them at once"}
        ),
        _code_system(common, f"{BASE}/CodeSystem/feature-remarks", "How a feature was read", REMARKS),
    ]


def _named(url: str) -> dict[str, str]:
    id_ = url.rpartition("/")[2]
    return {"id": id_, "url": url, "name": "".join(word.capitalize() for word in id_.split("-"))}


def _profile(common: Mapping[str, Any]) -> dict[str, Any]:
    def element(path: str, **members: Any) -> dict[str, Any]:
        return {"id": path, "path": path, **members}

    return {
        "resourceType": "StructureDefinition",
        **_named(PROFILE),
        "title": "Case feature",
        **common,
        "description": _DESCRIPTION,
        "fhirVersion": "4.0.1",
        "kind": "resource",
        "abstract": False,
        "type": "Observation",
        "baseDefinition": f"{_STRUCTURE}/Observation",
        "derivation": "constraint",
        "differential": {
            "element": [
                element("Observation"),
                element(
                    "Observation.extension",
                    slicing={"discriminator": [{"type": "value", "path": "url"}], "rules": "open"},
                ),
                {
                    "id": "Observation.extension:source",
                    "path": "Observation.extension",
                    "sliceName": "source",
                    "max": "1",
                    "type": [{"code": "Extension", "profile": [SOURCE]}],
                },
                {
                    "id": "Observation.extension:remark",
                    "path": "Observation.extension",
                    "sliceName": "remark",
                    "max": "*",
                    "type": [{"code": "Extension", "profile": [REMARK]}],
                },
                element("Observation.code.coding", min=1, max="1"),
                element("Observation.code.coding.system", min=1, fixedUri=SYSTEM),
                element("Observation.code.coding.code", min=1),
                element("Observation.subject", min=1),
                element("Observation.effective[x]", type=[{"code": "Period"}]),
                element("Observation.value[x]", type=[{"code": code} for code in _VALUES]),
                element("Observation.bodySite", short=f"The side, by {SIDE_SYSTEM}"),
                element("Observation.component", short=f"Of a date: {DAYS}"),
            ]
        },
    }


def _extension(common: Mapping[str, Any], url: str, title: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "resourceType": "StructureDefinition",
        **_named(url),
        "title": title,
        "description": f"{title}.",
        **common,
        "fhirVersion": "4.0.1",
        "kind": "complex-type",
        "abstract": False,
        "context": [{"type": "element", "expression": "Observation"}],
        "type": "Extension",
        "baseDefinition": f"{_STRUCTURE}/Extension",
        "derivation": "constraint",
        "differential": {
            "element": [
                {"id": "Extension", "path": "Extension"},
                {"id": "Extension.url", "path": "Extension.url", "fixedUri": url},
                {"id": "Extension.value[x]", "path": "Extension.value[x]", "min": 1, "type": [dict(value)]},
            ]
        },
    }


def _code_system(common: Mapping[str, Any], url: str, title: str, codes: Mapping[str, str]) -> dict[str, Any]:
    return {
        "resourceType": "CodeSystem",
        **_named(url),
        "title": title,
        "description": f"{title}.",
        **common,
        "caseSensitive": True,
        "content": "complete",
        "count": len(codes),
        "concept": [{"code": code, "display": display} for code, display in codes.items()],
    }
