"""The knowledge as a FHIR package: Library, PlanDefinitions, orders, codes, the form, and charts with their results.

The same knowledge in the same state makes the same bytes. Specifications: FHIR R4 Clinical Reasoning; CRMI and CPG for
the profiles that are named; FHIR NPM packages.
"""

from __future__ import annotations

import base64
import gzip
import io
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from typing import Any, TypeAlias

import orjson

from service.answers.orders import Ordering, service_request
from service.chart.case import Case
from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT
from service.features.profile import definitions
from service.features.resources import BASE, SYSTEM, bundle, reader_of
from service.knowledge_model.model import ORDER_SYSTEM, Code, Knowledge, Recommendation
from service.knowledge_model.vocabulary import SYSTEMS
from service.pages.knowledge import evidence_of
from service.portable.cql_text import text_of
from service.portable.elm import MOST, Elm
from service.portable.expected import Value, expected
from service.portable.logic import Logic, NotExported, side_name
from service.reasoning.assessment import Assessor
from service.release.states import SUSPENDED, Standing, Standings
from service.second_opinion.form import Form

Json: TypeAlias = dict[str, Any]
NAME, LIBRARY = "org.example.sitbone.knowledge", "SitboneKnowledge"
STATE = f"{BASE}/StructureDefinition/knowledge-state"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_OPTIONS = "http://hl7.org/fhir/StructureDefinition/cqf-cqlOptions"
_CRMI = "http://hl7.org/fhir/uv/crmi/StructureDefinition/crmi-"
_RECOMMENDATION = "http://hl7.org/fhir/uv/cpg/StructureDefinition/cpg-recommendationdefinition"
_STRATEGY = "http://hl7.org/fhir/uv/cpg/StructureDefinition/cpg-strategydefinition"
_ACTIVITY = "http://hl7.org/fhir/uv/cpg/StructureDefinition/cpg-computableactivity"
_PROCESS = "http://hl7.org/fhir/uv/cpg/CodeSystem/cpg-common-process-cs"
# Where the export was compared, and what engines differ in; docs/portable.md has the figures.
ENGINES = ("cql-execution 3.3.2", "cql-exec-fhir 2.2.0", "CQL framework 4.4.0", "HAPI FHIR 8.8.0")
_USAGE = (
    f"Decides as this service does on {', '.join(ENGINES)}. Give it one Bundle of case features, in the order in which "
    "they were read, and an engine that has evaluated no other chart. The engine has to keep the results of the "
    f"{MOST} definitions of a part, otherwise a chart takes many times as long; for cql-execution join the parts to "
    "one library first. Times are in UTC, to the millisecond. Of what is null nothing is aggregated, of dates nothing "
    "is counted, every query returns all. The charts in the folder tests tell what is expected of them."
)
# What the holders of the rights want said wherever their codes stand; see NOTICE.
NOTICES: Mapping[str, str] = {
    SYSTEMS["sct"]: (
        "This includes SNOMED CT codes (c) SNOMED International, of the Global Patient Set under the Creative Commons "
        "Attribution 4.0 International licence unless they were asked for under an affiliate licence. SNOMED CT is a "
        "registered trademark of SNOMED International, which has neither reviewed nor endorsed this."
    ),
    SYSTEMS["loinc"]: (
        "This material contains content from LOINC (http://loinc.org). LOINC is copyright (c) 1995-2026, Regenstrief "
        "Institute, Inc. and the Logical Observation Identifiers Names and Codes (LOINC) Committee and is available at "
        "no cost under the license at http://loinc.org/license. LOINC is a registered United States trademark of "
        "Regenstrief Institute, Inc."
    ),
    SYSTEMS["rxnorm"]: (
        "This product uses publicly available data courtesy of the U.S. National Library of Medicine (NLM), National "
        "Institutes of Health, Department of Health and Human Services; NLM is not responsible for the product and "
        "does not endorse or recommend this or any other product."
    ),
    SYSTEMS["icd10cm"]: (
        "ICD-10-CM is published by the U.S. National Center for Health Statistics and the Centers for Medicare & "
        "Medicaid Services; the World Health Organization holds the rights in ICD-10, on which it is based."
    ),
}


@dataclass(frozen=True, slots=True)
class Charted:
    """A chart with which an engine can be tried: its name, and the case that it makes."""

    name: str
    case: Case

    @property
    def id(self) -> str:
        """The name as an id of FHIR."""
        return self.name.replace("/", "-")


@dataclass
class Export:
    """What one body of knowledge is for other engines. `standings`: what of it is in force."""

    knowledge: Knowledge
    standings: Standings
    charts: tuple[Charted, ...] = ()
    logic: Logic = field(init=False)

    def __post_init__(self) -> None:
        self.logic = Logic(self.knowledge)
        self.assessor = Assessor(self.knowledge)
        self._common = {
            "version": self.knowledge.version,
            "experimental": True,
            "date": self.knowledge.date.isoformat(),
            "publisher": "Sitbone",
        }

    def not_exported(self) -> list[NotExported]:
        """What another engine does not get, and why."""
        prefixes = [code for code in self.knowledge.codes if code.match != "exact"]
        of_codes = [
            NotExported(f"code {code.system}|{code.code}", "a range or the beginning of codes: no expansion lists them")
            for code in prefixes
        ]
        return [*self.logic.not_exported, *of_codes]

    @cached_property
    def libraries(self) -> Mapping[str, Elm]:
        """The libraries as ELM; the last is the one to be read."""
        return self.logic.definitions.libraries(LIBRARY, self.knowledge.version)

    def cql(self, name: str) -> str:
        """A library as CQL."""
        order = self.logic.definitions.parts(LIBRARY)[name]
        return text_of(self.libraries[name], self.logic.remarks, order)

    # -- resources ----------------------------------------------------------------------------------------------------

    def resources(self) -> list[Json]:
        """Every resource of the package but the charts."""
        status = self.standings.status
        made = [
            *(self._library(each, status) for each in self.libraries),
            self._strategy(status),
            *(self._plan(each) for each in self.logic.exported),
            *self._activities(status),
            *definitions(self.knowledge, status),
            self._state_extension(status),
            self._order_codes(status),
            *self._value_sets(status),
            self._concept_map(status),
            self._questionnaire(status),
        ]
        return [_shareable(each) for each in made]

    def _head(self, kind: str, id_: str, title: str, status: str) -> Json:
        name = "".join(part.capitalize() for part in re.split(r"[^A-Za-z0-9]+", id_))
        return {
            "resourceType": kind,
            "id": id_,
            "url": f"{BASE}/{kind}/{id_}",
            "name": name,
            "title": title,
            "status": status,
            **self._common,
        }

    def _canonical(self, kind: str, id_: str) -> str:
        return f"{BASE}/{kind}/{id_}|{self.knowledge.version}"

    def _library(self, name: str, status: str) -> Json:
        approved = self.standings.governance
        included = self.libraries[name]["library"].get("includes", {}).get("def", ())
        related = [{"type": "depends-on", "resource": self._canonical("Library", each["path"])} for each in included]
        options = {
            "resourceType": "Parameters",
            "id": "options",
            "parameter": [
                {"name": "translatorVersion", "valueString": f"none: ELM is written by Sitbone {version('sitbone')}"},
                {"name": "compatibilityLevel", "valueString": "1.5"},
                {"name": "format", "valueString": "JSON"},
            ],
        }
        return {
            **self._head("Library", name, f"{self.knowledge.title}: the logic", status),
            "name": name,
            "meta": {"profile": [f"{_CRMI}computablelibrary", f"{_CRMI}executablelibrary"]},
            "contained": [options],
            "extension": [{"url": _OPTIONS, "valueReference": {"reference": "#options"}}],
            "type": {"coding": [{"system": f"{_TERMINOLOGY}/library-type", "code": "logic-library"}]},
            "description": (
                "Decides by case features, and by nothing else: without the marker "
                f"'{reader_of(self.knowledge)}' every verdict is null and 'Not read' is true."
            ),
            "usage": _USAGE,
            **({"approvalDate": approved.signed.isoformat()} if approved else {}),
            **({"relatedArtifact": related} if related else {}),
            "content": [
                {"contentType": "text/cql", "data": base64.b64encode(self.cql(name).encode()).decode()},
                {
                    "contentType": "application/elm+json",
                    "data": base64.b64encode(orjson.dumps(self.libraries[name])).decode(),
                },
            ],
        }

    def _strategy(self, status: str) -> Json:
        return {
            **self._head("PlanDefinition", "strategy", self.knowledge.title, status),
            "meta": {"profile": [_STRATEGY]},
            "type": {"coding": [{"system": f"{_TERMINOLOGY}/plan-definition-type", "code": "workflow-definition"}]},
            "description": "Every recommendation about a chart, in the order in which they are evaluated.",
            "library": [self._canonical("Library", LIBRARY)],
            "action": [
                {
                    "title": r.title,
                    "description": r.when_then,
                    "code": [_process(r)],
                    **_applies(f"Said {r.id}"),
                    "definitionCanonical": self._canonical("PlanDefinition", r.id),
                }
                for r in self.logic.exported
            ],
        }

    def _plan(self, r: Recommendation) -> Json:
        stands = self.standings.by_id[r.id]
        calls = [
            *((f"imaging {n}", f"{c.modality}-{c.region}", c.priority) for n, c in enumerate(r.imaging, start=1)),
            *((f"referral {n}", f"referral-{c.to}", c.priority) for n, c in enumerate(r.referrals, start=1)),
        ]
        actions = [self._call(r, name, key, priority) for name, key, priority in calls]
        actions += [
            {"title": f"{treatment.state}: {treatment.id}", **_applies(f"Said {r.id}")} for treatment in r.treatment
        ]
        return {
            **self._head("PlanDefinition", r.id, r.title, stands.status),
            "meta": {"profile": [_RECOMMENDATION]},
            **_state(stands),
            "type": {"coding": [{"system": f"{_TERMINOLOGY}/plan-definition-type", "code": "eca-rule"}]},
            "description": r.when_then,
            **_approval(stands),
            "relatedArtifact": [*_citations(self.knowledge, r)],
            "library": [self._canonical("Library", LIBRARY)],
            "action": [
                {
                    "title": r.title,
                    "description": r.when_then,
                    **_applies(f"Said {r.id}"),
                    **({"action": actions} if actions else {}),
                }
            ],
        }

    def _call(self, r: Recommendation, name: str, key: str, priority: str) -> Json:
        template = self.knowledge.orders.get(key)
        title = template.title if template else "No imaging for now"
        action = {"title": title, "priority": priority, **_applies(f"Calls {r.id} {name}")}
        if template is None:
            return action
        if not template.sided:
            return {**action, "definitionCanonical": self._canonical("ActivityDefinition", _activity(key, priority))}
        of_sides = [
            {
                "title": title,
                "priority": priority,
                **_applies(side_name(side)),
                "definitionCanonical": self._canonical("ActivityDefinition", _activity(key, priority, side)),
            }
            for side in (LEFT, RIGHT, BILATERAL, NO_SIDE)
        ]
        return {**action, "action": of_sides}

    def _activities(self, status: str) -> Iterator[Json]:
        """What is ordered, for each priority and side: an engine may lose either on its way to the order."""
        called = {(f"{c.modality}-{c.region}", c.priority): None for r in self.logic.exported for c in r.imaging} | {
            (f"referral-{c.to}", c.priority): None for r in self.logic.exported for c in r.referrals
        }
        midnight = datetime(self.knowledge.date.year, self.knowledge.date.month, self.knowledge.date.day)  # noqa: DTZ001
        for key, priority in sorted(called):
            template = self.knowledge.orders.get(key)
            if template is None:
                continue
            for side in (LEFT, RIGHT, BILATERAL, NO_SIDE) if template.sided else (NO_SIDE,):
                ordering = Ordering("example", "", side or "unspecified", midnight, (), ())
                order = service_request(template, priority, ordering, self.knowledge.wording.sides)
                yield {
                    **self._head("ActivityDefinition", _activity(key, priority, side), order["code"]["text"], status),
                    "meta": {"profile": [_ACTIVITY]},
                    "description": "What a recommendation orders where it calls for it, on this side, so urgently.",
                    "kind": "ServiceRequest",
                    "intent": order["intent"],
                    "priority": order["priority"],
                    # HAPI copies no priority to the order that it makes of this, but what is computed.
                    "dynamicValue": [
                        {
                            "path": "priority",
                            "expression": {"language": "text/fhirpath", "expression": f"'{order['priority']}'"},
                        }
                    ],
                    "code": order["code"],
                    **({"bodySite": order["bodySite"]} if "bodySite" in order else {}),
                    "copyright": _notices(coding["system"] for coding in order["code"]["coding"]),
                }

    def _state_extension(self, status: str) -> Json:
        return {
            **self._head("StructureDefinition", STATE.rpartition("/")[2], "State of a recommendation", status),
            "description": "That a site has suspended a recommendation, which no status of FHIR says.",
            "fhirVersion": "4.0.1",
            "kind": "complex-type",
            "abstract": False,
            "context": [{"type": "element", "expression": "PlanDefinition"}],
            "type": "Extension",
            "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Extension",
            "derivation": "constraint",
            "differential": {
                "element": [
                    {"id": "Extension", "path": "Extension"},
                    {"id": "Extension.url", "path": "Extension.url", "fixedUri": STATE},
                    {"id": "Extension.value[x]", "path": "Extension.value[x]", "min": 1, "type": [{"code": "code"}]},
                ]
            },
        }

    def _order_codes(self, status: str) -> Json:
        codes = [{"code": key, "display": template.title} for key, template in self.knowledge.orders.items()]
        return {
            **self._head("CodeSystem", "orders", "Orders that are proposed", status),
            "description": "What recommendations order, beside a standard code where there is one.",
            "url": ORDER_SYSTEM,
            "caseSensitive": True,
            "content": "complete",
            "count": len(codes),
            "concept": codes,
        }

    def _exact(self) -> dict[str, list[Code]]:
        found: dict[str, list[Code]] = {}
        for code in self.knowledge.codes:
            if code.match == "exact" and code.concept in self.knowledge.findings:
                found.setdefault(code.concept, []).append(code)
        return found

    def _value_sets(self, status: str) -> Iterator[Json]:
        """The codes of each finding, with the expansion stored: no terminology server is needed."""
        for finding, codes in sorted(self._exact().items()):
            systems = sorted({code.system for code in codes})
            contained = [
                {"system": system, "code": code, "display": display}
                for system, code, display in sorted({(code.system, code.code, code.display) for code in codes})
            ]
            yield {
                **self._head("ValueSet", f"codes-of-{finding}"[:64], self.knowledge.findings[finding].title, status),
                "description": "The standard codes that are read as this finding.",
                "copyright": _notices(systems),
                "compose": {
                    "include": [
                        {
                            "system": system,
                            "concept": [
                                {"code": each["code"], "display": each["display"]}
                                for each in contained
                                if each["system"] == system
                            ],
                        }
                        for system in systems
                    ]
                },
                "expansion": {
                    "timestamp": self.knowledge.date.isoformat(),
                    "total": len(contained),
                    "contains": contained,
                },
            }

    def _concept_map(self, status: str) -> Json:
        """From standard codes to findings. One with a side or a site of its own says more than the finding."""
        groups: dict[str, dict[str, Json]] = {}
        for finding, codes in sorted(self._exact().items()):
            for code in codes:
                element = groups.setdefault(code.system, {}).setdefault(
                    code.code, {"code": code.code, "display": code.display, "target": []}
                )
                relation = "wider" if code.side or code.site else "equivalent"
                target = {"code": finding, "display": self.knowledge.findings[finding].title, "equivalence": relation}
                if target not in element["target"]:
                    element["target"].append(target)
        return {
            **self._head("ConceptMap", "findings-from-standard-codes", "Findings by standard codes", status),
            "description": "Standard codes, and the case feature as which each is read.",
            "copyright": _notices(groups),
            "group": [
                {"source": system, "target": SYSTEM, "element": [elements[code] for code in sorted(elements)]}
                for system, elements in sorted(groups.items())
            ],
        }

    def _questionnaire(self, status: str) -> Json:
        """Every question, for a form filler without an adaptive form; each finding is asked for once."""
        form, asked = Form(self.assessor), set[str]()
        items = []
        for group in dict.fromkeys([form.where, *filter(None, map(form.group_of, form.link_ids()))]):
            findings = tuple(each for each in group.findings if each not in asked)
            asked |= {*findings}
            if findings:
                items.append(form.item_of_group(group._replace(findings=findings)))
        return {
            **self._head("Questionnaire", "questions", f"{self.knowledge.title}: every question", status),
            "description": "Every question that may be asked; each finding is asked for once.",
            "subjectType": ["Patient"],
            "item": items,
        }

    # -- charts -------------------------------------------------------------------------------------------------------

    def chart(self, charted: Charted) -> Json:
        """A Bundle of the features of a chart, with what is expected of it as Parameters."""
        made = bundle(charted.case, charted.id, reader_of(self.knowledge))
        told = [_parameter(name, value) for name, value in sorted(expected(self.assessor, charted.case).items())]
        result = {"resourceType": "Parameters", "id": f"expected-{charted.id}"[:64], "parameter": told}
        made["entry"].append({"fullUrl": f"{BASE}/Parameters/{result['id']}", "resource": result})
        return {"resourceType": "Bundle", "id": f"chart-{charted.id}"[:64], **made}

    def manifest(self) -> Json:
        """package.json of the package."""
        return {
            "name": NAME,
            "version": self.knowledge.version,
            "canonical": BASE,
            "url": BASE,
            "title": self.knowledge.title,
            "description": f"{self.knowledge.title}: the knowledge of Sitbone as FHIR clinical reasoning",
            "fhirVersions": ["4.0.1"],
            "dependencies": {"hl7.fhir.r4.core": "4.0.1"},
            "type": "fhir.ig",
            "license": "Apache-2.0",
            "date": f"{self.knowledge.date:%Y%m%d}000000",
        }

    def files(self) -> dict[str, bytes]:
        """Path within the package -> content."""
        made = self.resources()
        found = {f"package/{each['resourceType']}-{each['id']}.json": _json(each) for each in made}
        index = [
            {
                "filename": f"{each['resourceType']}-{each['id']}.json",
                "resourceType": each["resourceType"],
                "id": each["id"],
                **{name: each[name] for name in ("url", "version", "kind", "type") if isinstance(each.get(name), str)},
            }
            for each in made
        ]
        found["package/package.json"] = _json(self.manifest())
        found["package/.index.json"] = _json({"index-version": 2, "files": index})
        found |= {f"package/tests/{each.id}.json": _json(self.chart(each)) for each in self.charts}
        return found


def packed(files: Mapping[str, bytes]) -> bytes:
    """These files as a package."""
    text = io.BytesIO()
    with tarfile.open(fileobj=text, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            tar.addfile(entry, io.BytesIO(files[name]))
    return gzip.compress(text.getvalue(), mtime=0)


def _json(value: Json) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _applies(definition: str) -> Json:
    expression = {"language": "text/cql-identifier", "expression": definition}
    return {"condition": [{"kind": "applicability", "expression": expression}]}


def _shareable(resource: Json) -> Json:
    """With the profile of CRMI for what is shared: all have a version, a title and a description."""
    profiles = [*resource.get("meta", {}).get("profile", ()), f"{_CRMI}shareable{resource['resourceType'].lower()}"]
    return {**resource, "meta": {"profile": profiles}}


def _process(r: Recommendation) -> Json:
    return {"coding": [{"system": _PROCESS, "code": "triage" if r.kind == "red-flag" else "guideline-based-care"}]}


def _activity(key: str, priority: str, side: str = NO_SIDE) -> str:
    return "-".join(filter(None, (key, priority, side)))


def _state(stands: Standing) -> Json:
    """That the site has suspended it, which no status of FHIR says."""
    return {"extension": [{"url": STATE, "valueCode": SUSPENDED}]} if stands.state == SUSPENDED else {}


def _approval(stands: Standing) -> Json:
    """When it was signed: nothing else makes an approval."""
    return {"approvalDate": max(each.signed for each in stands.signatures).isoformat()} if stands.signatures else {}


def _citations(knowledge: Knowledge, r: Recommendation) -> Iterator[Json]:
    for each in evidence_of(knowledge, r.evidence):
        if "citation" in each:
            yield {
                "type": "citation",
                "label": each["tag"],
                "citation": each["citation"],
                **({"url": each["url"]} if "url" in each else {}),
            }
    yield {"type": "depends-on", "resource": f"{BASE}/Library/{LIBRARY}|{knowledge.version}"}


def _notices(systems: Iterable[str]) -> str:
    return "\n".join(NOTICES[system] for system in sorted({*systems}) if system in NOTICES) or "Apache-2.0"


def _parameter(name: str, value: Value) -> Json:
    if isinstance(value, bool):
        return {"name": name, "valueBoolean": value}
    return {"name": name, "valueInteger": value} if value is not None else {"name": name, "valueCode": "unknown"}
