"""The toy pack: knowledge of another body region, in a folder, and requests about its charts.

An entry of a chart is the id of a finding with, after commas, what is special about it: `cold-foot, right`,
`loud-crack, 12 days ago`. The side is left where none is named; `no side` has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from cds_hooks import HookRequest, ServiceRegistry, read_request
from service.answers.answered import Answered
from service.chart.case import Case
from service.knowledge_model import loader
from service.knowledge_model.model import LOCAL_SYSTEM, ORDER_SYSTEM, Knowledge
from service.reasoning.assessment import Assessment, Assessor
from service.service_ids import (
    ANALGESIC_SAFETY,
    APPOINTMENT_TIMING,
    DIAGNOSIS,
    DISCHARGE_ADVICE,
    IMAGING_REFERRAL,
)
from service.services.evaluation import Evaluator, chart_of
from service.services.registry import services_by

Json = dict[str, Any]

PACK = Path(__file__).parent / "toy_pack"
CLOCK = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOOKS = {
    DIAGNOSIS: "patient-view",
    IMAGING_REFERRAL: "order-select",
    ANALGESIC_SAFETY: "order-select",
    APPOINTMENT_TIMING: "appointment-book",
    DISCHARGE_ADVICE: "encounter-discharge",
}
_SIDES = {"left": "7771000", "right": "24028007"}
_SCT = "http://snomed.info/sct"
_SUBJECT = {"reference": "Patient/1"}
_FAILED = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}


@cache
def toy() -> Knowledge:
    """The knowledge of the toy; what the reasoning makes of it is made anew for each run of tests."""
    return loader.load(PACK)


def day(days: int) -> str:
    """The day so many days before the clock."""
    return (CLOCK.date() - timedelta(days=days)).isoformat()


def coded(system: str, code: str) -> Json:
    return {"coding": [{"system": system, "code": code}]}


def _side(side: str) -> Json:
    return coded(_SCT, _SIDES[side])


def _stated(entry: str, value: Json) -> Json:
    """An Observation of a finding; value: what it is besides."""
    finding, *marks = entry.split(", ")
    ago = next((int(mark.split()[0]) for mark in marks if mark.endswith(" ago")), 0)
    side = next((mark for mark in marks if mark in ("right", "no side")), "left")
    sided = not toy().findings[finding].whole_patient and side != "no side"
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": coded(LOCAL_SYSTEM, finding),
        "subject": _SUBJECT,
        **({} if "undated" in marks else {"effectiveDateTime": f"{day(ago)}T09:00:00Z"}),
        **({"bodySite": _side(side)} if sided else {}),
        **value,
    }


def order(key: str, side: str = "", **members: Any) -> Json:
    """An order of this key of orders.toml."""
    return {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "order",
        "code": coded(ORDER_SYSTEM, key),
        "subject": _SUBJECT,
        **({"bodySite": [_side(side)]} if side else {}),
        **members,
    }


def done(key: str, days_ago: int, side: str = "left") -> Json:
    """Imaging that was done so many days before the clock."""
    return order(key, side, status="completed", authoredOn=day(days_ago))


def bundle(resources: Iterable[Json]) -> Json:
    entries = [{"resource": {"id": f"r{number}", **each}} for number, each in enumerate(resources, start=1)]
    return {"resourceType": "Bundle", "type": "searchset", "entry": entries}


def request(
    service: str = DIAGNOSIS,
    *,
    age: int | None = 40,
    present: Iterable[str] = (),
    absent: Iterable[str] = (),
    asked: Iterable[str] = (),
    numbers: Mapping[str, float] | None = None,
    dates: Mapping[str, str] | None = None,
    diagnoses: Iterable[str] = (),
    orders: Iterable[Json] = (),
    drafts: Iterable[Json] = (),
    beside: Iterable[Json] = (),
    appointment: str = "",
    withheld: Iterable[str] = (),
    failed: Iterable[str] = (),
) -> Json:
    """A whole request about a chart; `asked`: without an answer; `dates`: an entry and its date as it is written;
    `beside`: drafts that are not selected; `withheld`, `failed`: keys of the prefetch.
    """
    drafted = [{"id": f"draft{number}", **each} for number, each in enumerate(drafts, start=1)]
    visit = {"resourceType": "Appointment", "id": "visit", "status": "proposed", "start": appointment}
    observations = [
        *(_stated(entry, {"valueBoolean": True}) for entry in present),
        *(_stated(entry, {"valueBoolean": False}) for entry in absent),
        *(_stated(entry, {"dataAbsentReason": coded("x", "unknown")}) for entry in asked),
        *(
            _stated(entry, {"valueQuantity": {"value": value, "code": "{score}"}})
            for entry, value in (numbers or {}).items()
        ),
        *(_stated(entry, {"valueDateTime": written}) for entry, written in (dates or {}).items()),
    ]
    conditions = [
        {
            "resourceType": "Condition",
            "verificationStatus": coded("http://terminology.hl7.org/CodeSystem/condition-ver-status", "confirmed"),
            "clinicalStatus": coded("http://terminology.hl7.org/CodeSystem/condition-clinical", "active"),
            "code": coded(LOCAL_SYSTEM, entry.split(", ")[0]),
            "subject": _SUBJECT,
            "bodySite": [_side("right" if entry.endswith("right") else "left")],
            "recordedDate": day(0),
        }
        for entry in diagnoses
    ]
    born = {} if age is None else {"birthDate": f"{CLOCK.year - age}-01-01"}
    prefetch = {
        "patient": {"resourceType": "Patient", "id": "1", **born},
        "conditions": bundle(conditions),
        "observations": bundle(observations),
        "questionnaireResponses": bundle(()),
        "medications": bundle(()),
        "allergies": bundle(()),
        "encounter": {"resourceType": "Encounter", "id": "1", "status": "in-progress"},
        "orders": bundle(orders),
    }
    context: dict[str, Json] = {
        "order-select": {
            "selections": [f"{each['resourceType']}/{each['id']}" for each in drafted],
            "draftOrders": bundle([*({"id": f"beside{n}", **each} for n, each in enumerate(beside)), *drafted]),
        },
        "appointment-book": {"appointments": bundle([visit])},
    }
    keys = _published()[1]
    return {
        "hook": HOOKS[service],
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "fhirServer": "https://ehr.example.org/fhir",
        "context": {
            "userId": "Practitioner/1",
            "patientId": "1",
            "encounterId": "1",
            **context.get(HOOKS[service], {}),
        },
        "prefetch": {
            key: _FAILED if key in failed else prefetch.get(key, bundle(())) for key in keys if key not in withheld
        },
    }


@cache
def _published() -> tuple[Any, tuple[str, ...]]:
    """The services, to read requests by, and the keys of their prefetch. Nothing is decided by them."""
    registry = services_by(Evaluator(toy(), lambda: CLOCK))
    return registry, tuple(registry.find(DIAGNOSIS, "patient-view").prefetch)


class Engine:
    """Reads, assesses and answers by the toy; made anew for each run of tests, so that nothing outlives a change."""

    def __init__(self, knowledge: Knowledge | None = None) -> None:
        self.evaluator = Evaluator(knowledge or toy(), lambda: CLOCK)

    @cached_property
    def services(self) -> ServiceRegistry[Answered]:
        return services_by(self.evaluator)

    @property
    def assessor(self) -> Assessor:
        return self.evaluator.assessor

    def call(self, service: str = DIAGNOSIS, **chart: Any) -> HookRequest:
        """The request about this chart as a service takes it."""
        found = _published()[0].find(service, HOOKS[service])
        return read_request(json.dumps(request(service, **chart)).encode(), found, correlation_id="")

    def answered(self, service: str = DIAGNOSIS, **chart: Any) -> Answered:
        """What a service answers to this chart."""
        answered: Answered = self.services.find(service, HOOKS[service]).answer(self.call(service, **chart))
        return answered

    def case(self, **chart: Any) -> Case:
        """The chart as it is read."""
        # Read alone: to evaluate it would assess it as well.
        return self.evaluator._reader.read(chart_of(self.call(**chart)), CLOCK)

    def assess(self, **chart: Any) -> Assessment:
        """What is made of this chart."""
        return self.assessor.assess(self.case(**chart))


def fired(assessment: Assessment) -> set[str]:
    """The ids of what is said."""
    return {each.recommendation.id for each in assessment.fired}
