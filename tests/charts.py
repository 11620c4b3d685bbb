"""Whole CDS Hooks requests from compact cases.

A case lists what is documented as a clinician would. An entry is a code and what is special about it, with commas:
``slump``, ``sct|279043006, left``, ``significant-bruising, 12 days ago``, ``icd10cm|S76.312A, resolved``. A code
without a system is the id of a finding; ``words|Ibuprofen`` is words alone, ``site|4711`` a code of the site. The
members of a case:

    age or birth_date   whole years on the day of the clock, or a FHIR date
    sex                 female or male
    side                left, right or bilateral: of every entry that has a side by its nature and names none itself
    present absent unknown   entries, each an Observation
    quantities          finding or code = number, or "38.5 Cel, 2 days ago"
    onset_days_ago      the onset, as a date
    dates               finding or code = in how many days it is; a day gone by is negative
    conditions          entries: active, confirmed and recorded on the day of the clock unless they say otherwise
    medications allergies   entries
    answers             linkId = value: a QuestionnaireResponse; a table is a group with that title
    coded_answers       code = value, or a table as above: the same, where only the Questionnaire that it contains has
                        the codes
    encounter           the Encounter of the context, a table: reasons (entries), and any of in_words (reasons without a
                        code), status, days_ago, id and, where true, other_patient
    undated = true      no entry has a date
    withheld            prefetch keys that are not sent
    null                prefetch keys that are sent as null
    service             the CDS service that is called; the one about the whole chart when left out
    hook                the first hook of that service when left out
    drafts              draft MedicationRequests, each a table: id, medicine (an entry), and any of text, dose
                        ("2 {tbl}"), times_a_day, most (in 24 hours), route, status, and, where true, beside (its
                        Medication lies beside it), other_patient, broken
                        or draft ServiceRequests: id, order (an entry, or words alone), and any of side, site (a code),
                        status, text (the words beside the code)
    selections          the ids of the drafts that are selected; all when left out and the hook has none
    orders imaging      what was ordered and what imaging was done, each a table: order, days_ago, and any of side,
                        site, status, kind (ServiceRequest, DiagnosticReport), and, where true, other_patient
    appointments        proposed Appointments, each a table: in_days and at ("09:00+02:00"), or start as it is written;
                        id, status, and, where true, other_patient
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias
from uuid import NAMESPACE_URL, uuid5

import orjson

from cds_hooks import ServiceRegistry, read_request
from service.answers.answered import Answered
from service.chart.case import Case as ReadCase
from service.chart.case import CaseReader, prefetch_templates
from service.chart.codes import CodeIndex
from service.chart.orders import NO_SITE_CODES, OrderReader
from service.knowledge_model import loader
from service.knowledge_model.model import Knowledge
from service.prefetch_keys import kind_of
from service.reasoning.assessment import Assessment, Assessor
from service.service_ids import (
    ANALGESIC_SAFETY,
    ANALGESIC_SAFETY_SIGN,
    APPOINTMENT_TIMING,
    DIAGNOSIS,
    DIAGNOSIS_ENCOUNTER,
    DISCHARGE_ADVICE,
    IMAGING_REFERRAL,
    IMAGING_REFERRAL_SIGN,
)
from service.services.evaluation import chart_of
from service.services.registry import service_registry

Case: TypeAlias = Mapping[str, Any]
Json: TypeAlias = dict[str, Any]

CASES = Path(__file__).parents[1] / "fixtures" / "cases"
CLOCK = datetime(2026, 11, 22, 12, tzinfo=UTC)
SERVICE = "/cds-services/gluteal-hamstring-pain"
WORDS = "words"
LOCAL = "https://sitbone.example.org/fhir/CodeSystem/findings"
SYSTEMS = {
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
    "icd10cm": "http://hl7.org/fhir/sid/icd-10-cm",
    "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "orders": "https://sitbone.example.org/fhir/CodeSystem/orders",
    "site": "urn:example:site-codes",
    # Words alone, without any code.
    "words": WORDS,
}
SIDES = {"left": ("7771000", "Left"), "right": ("24028007", "Right"), "bilateral": ("51440002", "Right and left")}
PATIENT = "1032702"
ANOTHER = "7770123"
ENCOUNTER = "89284"
FHIR_SERVER = "https://ehr.example.org/fhir/r4"
_CONDITION = "http://terminology.hl7.org/CodeSystem/condition"
_ALLERGY = "http://terminology.hl7.org/CodeSystem/allergyintolerance"
_CLINICAL_STATUS = ("active", "recurrence", "inactive", "remission", "resolved")
_VERIFICATION_STATUS = ("confirmed", "unconfirmed", "provisional", "differential", "refuted", "entered-in-error")
_AGO = re.compile(r"(?:(onset) )?(\d+) days? ago")
_QUANTITY = re.compile(r"(?P<comparator><=|>=|<|>)?\s*(?P<value>-?\d+(?:\.\d+)?)(?:\s+(?P<unit>\S+))?")
MEMBERS = frozenset(
    {
        "age",
        "birth_date",
        "sex",
        "side",
        "present",
        "absent",
        "unknown",
        "quantities",
        "onset_days_ago",
        "dates",
        "conditions",
        "medications",
        "allergies",
        "answers",
        "coded_answers",
        "encounter",
        "undated",
        "withheld",
        "null",
        "service",
        "drafts",
        "selections",
        "appointments",
        "orders",
        "imaging",
    }
)
HOOKS = {
    DIAGNOSIS: "patient-view",
    DIAGNOSIS_ENCOUNTER: "encounter-start",
    IMAGING_REFERRAL: "order-select",
    IMAGING_REFERRAL_SIGN: "order-sign",
    ANALGESIC_SAFETY: "order-select",
    ANALGESIC_SAFETY_SIGN: "order-sign",
    APPOINTMENT_TIMING: "appointment-book",
    DISCHARGE_ADVICE: "encounter-discharge",
}


def sentence(name: str, **values: object) -> str:
    """A sentence of the packaged knowledge as cards have it."""
    return packaged().wording.sentences[name].format(**values)


@cache
def packaged() -> Knowledge:
    """The knowledge that the service comes with: its titles and displays make a request readable."""
    return loader.load()


@cache
def services() -> ServiceRegistry[Answered]:
    """The services by the packaged knowledge, as they answer on the day of the clock."""
    return service_registry(packaged(), lambda: CLOCK)


@cache
def case_reader() -> CaseReader:
    """What reads charts by the packaged knowledge."""
    return CaseReader(packaged())


@cache
def assessor() -> Assessor:
    """What assesses charts by the packaged knowledge."""
    return Assessor(packaged())


def case_of(request: Json) -> ReadCase:
    """The chart of this request, as it is read on the day of the clock."""
    service = services().find(DIAGNOSIS, HOOKS[DIAGNOSIS])
    body = orjson.dumps({**request, "hook": HOOKS[DIAGNOSIS]})
    return case_reader().read(chart_of(read_request(body, service, correlation_id="")), CLOCK)


def assessed(request: Json) -> Assessment:
    """What is decided of the chart of this request, without a call and without cards."""
    return assessor().assess(case_of(request))


@cache
def _displays() -> dict[tuple[str, str], str]:
    knowledge = packaged()
    # The code of a chart's problem that has nothing to do with this pain; the knowledge has it in a range alone.
    return {(SYSTEMS["icd10cm"], "I10"): "Essential (primary) hypertension"} | {
        (row.system, row.code): row.display for row in (*knowledge.codes, *knowledge.answers)
    }


def days_ago(days: int) -> date:
    """The day of the clock or one before it."""
    return CLOCK.date() - timedelta(days=days)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a case, taken apart."""

    system: str
    code: str
    side: str = ""
    age: int | None = 0
    onset: int | None = None
    statuses: tuple[str, ...] = ()

    def status(self, among: tuple[str, ...], otherwise: str) -> str:
        return next((status for status in self.statuses if status in among), otherwise)

    def concept(self) -> Json:
        if self.system == WORDS:
            return {"text": self.code}
        if self.system == LOCAL:
            title = packaged().findings[self.code].title
            return {"coding": [{"system": LOCAL, "code": self.code, "display": title}], "text": title}
        display = _displays().get((self.system, self.code), "")
        coding = {"system": self.system, "code": self.code, **({"display": display} if display else {})}
        return {"coding": [coding], **({"text": display} if display else {})}


@cache
def _index() -> CodeIndex:
    return CodeIndex(packaged())


def _has_side(system: str, code: str) -> bool:
    return any(not packaged().findings[row.concept].whole_patient for row in _index().lookup(system, code))


def _entry(text: str, case: Case) -> _Entry:
    code, *marks = (part.strip() for part in text.split(","))
    prefix, bar, rest = code.partition("|")
    system, code = (SYSTEMS[prefix], rest) if bar else (LOCAL, code)
    side = str(case.get("side", "")) if _has_side(system, code) else ""
    age: int | None = None if case.get("undated") else 0
    onset, statuses = None, []
    for mark in marks:
        if mark in SIDES or mark == "no side":
            side = mark if mark in SIDES else ""
        elif mark == "undated":
            age = None
        elif ago := _AGO.fullmatch(mark):
            if ago[1]:
                onset = int(ago[2])
            else:
                age = int(ago[2])
        else:
            statuses.append(mark)
    return _Entry(system, code, side, age, onset, tuple(statuses))


def _site(side: str) -> Json:
    code, display = SIDES[side]
    return {"coding": [{"system": SYSTEMS["sct"], "code": code, "display": display}]}


def _moment(days: int) -> str:
    return f"{days_ago(days).isoformat()}T09:30:00Z"


def _subject(entry: _Entry | None = None) -> Json:
    other = entry is not None and "other patient" in entry.statuses
    return {"reference": f"Patient/{ANOTHER if other else PATIENT}"}


def _observation(entry: _Entry, value: Json) -> Json:
    finding = packaged().findings.get(entry.code)
    category = "exam" if finding and finding.kind in ("exam", "test", "result") else "survey"
    return {
        "resourceType": "Observation",
        "status": entry.status(("preliminary", "amended", "cancelled", "entered-in-error", "registered"), "final"),
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category}]}
        ],
        "code": entry.concept(),
        "subject": _subject(entry),
        **({"effectiveDateTime": _moment(entry.age)} if entry.age is not None else {}),
        **({"bodySite": _site(entry.side)} if entry.side else {}),
        **value,
    }


_YES = {
    SYSTEMS["sct"]: {"system": SYSTEMS["sct"], "code": "373066001", "display": "Yes"},
    SYSTEMS["loinc"]: {"system": SYSTEMS["loinc"], "code": "LA33-6", "display": "Yes"},
}
_NO = {
    SYSTEMS["sct"]: {"system": SYSTEMS["sct"], "code": "373067005", "display": "No"},
    SYSTEMS["loinc"]: {"system": SYSTEMS["loinc"], "code": "LA32-8", "display": "No"},
}


def _said(entry: _Entry, state: str) -> Json:
    """The value of an Observation that says present, absent or unknown, as senders of that code system write it."""
    if state == "unknown":
        system = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
        return {"dataAbsentReason": {"coding": [{"system": system, "code": "unknown"}]}}
    coding = (_YES if state == "present" else _NO).get(entry.system)
    return {"valueCodeableConcept": {"coding": [coding]}} if coding else {"valueBoolean": state == "present"}


def _measured(key: str, said: object, case: Case) -> Json:
    written, *marks = (part.strip() for part in str(said).split(","))
    entry = _entry(", ".join((key, *marks)), case)
    form = _QUANTITY.fullmatch(written)
    if form is None:
        raise ValueError(f"{key}: {written!r} is no quantity")
    finding = packaged().findings.get(entry.code)
    unit = form["unit"] or (finding.unit if finding else "")
    number = float(form["value"])
    quantity = {
        "value": int(number) if number.is_integer() and "." not in form["value"] else number,
        **({"comparator": form["comparator"]} if form["comparator"] else {}),
        "unit": unit,
        "system": "http://unitsofmeasure.org",
        "code": unit,
    }
    return _observation(entry, {"valueQuantity": quantity})


def _observations(case: Case) -> Iterator[Json]:
    for state in ("present", "absent", "unknown"):
        for text in case.get(state, ()):
            entry = _entry(text, case)
            yield _observation(entry, _said(entry, state))
    for key, said in case.get("quantities", {}).items():
        yield _measured(key, said, case)
    for key, ahead in case.get("dates", {}).items():
        yield _observation(_entry(key, case), {"valueDateTime": days_ago(-ahead).isoformat()})
    if "onset_days_ago" in case:
        onset = {"valueDateTime": days_ago(case["onset_days_ago"]).isoformat()}
        yield _observation(_entry("loinc|38201-0, no side", case), onset)


def _coded(system: str, code: str) -> Json:
    return {"coding": [{"system": system, "code": code}]}


def _clinical_status(system: str, verification: str, clinical: str) -> Json:
    """FHIR forbids a clinical status of what was entered in error."""
    return {} if verification == "entered-in-error" else {"clinicalStatus": _coded(f"{system}-clinical", clinical)}


def _condition(entry: _Entry) -> Json:
    verification = entry.status(_VERIFICATION_STATUS, "confirmed")
    clinical = entry.status(_CLINICAL_STATUS, "active")
    return {
        "resourceType": "Condition",
        **(
            {} if verification == "entered-in-error" else {"clinicalStatus": _coded(f"{_CONDITION}-clinical", clinical)}
        ),
        "verificationStatus": _coded(f"{_CONDITION}-ver-status", verification),
        "category": [_coded(f"{_CONDITION}-category", "problem-list-item")],
        "code": entry.concept(),
        "subject": _subject(entry),
        **({"bodySite": [_site(entry.side)]} if entry.side else {}),
        **({"onsetDateTime": days_ago(entry.onset).isoformat()} if entry.onset is not None else {}),
        **({"recordedDate": days_ago(entry.age).isoformat()} if entry.age is not None else {}),
    }


def _medication(entry: _Entry) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "status": entry.status(("on-hold", "stopped", "completed", "cancelled", "entered-in-error", "draft"), "active"),
        "intent": entry.status(("proposal", "plan"), "order"),
        "medicationCodeableConcept": entry.concept(),
        "subject": _subject(entry),
        **({"authoredOn": days_ago(entry.age).isoformat()} if entry.age is not None else {}),
    }


def _ordered(table: Case, kind: str, status: str) -> Json:
    """A ServiceRequest, or the report of what was done."""
    prefix, _, code = table["order"].partition("|")
    concept: Json = {"coding": [{"system": SYSTEMS[prefix], "code": code}]} if code else {"text": table["order"]}
    concept |= {"text": table["text"]} if "text" in table else {}
    site = {"coding": [{"system": SYSTEMS["sct"], "code": table["site"]}]} if "site" in table else None
    place = site or (_site(table["side"]) if "side" in table else None)
    when = _moment(table["days_ago"]) if "days_ago" in table else None
    dated = {"authoredOn" if kind == "ServiceRequest" else "effectiveDateTime": when} if when else {}
    return {
        "resourceType": kind,
        **({"id": table["id"]} if "id" in table else {}),
        "status": table.get("status", status),
        **({"intent": "order"} if kind == "ServiceRequest" else {}),
        "code": concept,
        "subject": ["broken"] if table.get("broken") else _patient_or_another(table),
        **dated,
        **({"bodySite": [place]} if place and kind == "ServiceRequest" else {}),
    }


def _draft(draft: Case) -> Iterator[Json]:
    """A draft MedicationRequest, after its Medication where that lies beside it; or a draft ServiceRequest."""
    if "order" in draft:
        yield _ordered(draft, "ServiceRequest", "draft")
        return
    medicine = _entry(draft["medicine"], {}).concept() if "medicine" in draft else {}
    medicine |= {"text": draft["text"]} if "text" in draft else {}
    code: Json = {"medicationCodeableConcept": medicine}
    if draft.get("beside"):
        code = {"medicationReference": {"reference": f"Medication/{draft['id']}-medicine"}}
        yield {"resourceType": "Medication", "id": f"{draft['id']}-medicine", "code": medicine}
    dosage: Json = {}
    if "dose" in draft:
        dosage["doseAndRate"] = [{"doseQuantity": _quantity(draft["dose"])}]
    if "times_a_day" in draft:
        dosage["timing"] = {"repeat": {"frequency": draft["times_a_day"], "period": 1, "periodUnit": "d"}}
    if "most" in draft:
        day = {"value": 24, "system": "http://unitsofmeasure.org", "code": "h"}
        dosage["maxDosePerPeriod"] = {"numerator": _quantity(draft["most"]), "denominator": day}
    if "route" in draft:
        dosage["route"] = {"text": draft["route"]}
    yield {
        "resourceType": "MedicationRequest",
        "id": draft["id"],
        "status": draft.get("status", "draft"),
        "intent": "order",
        **code,
        "subject": ["broken"] if draft.get("broken") else _patient_or_another(draft),
        **({"dosageInstruction": [dosage]} if dosage else {}),
    }


def _quantity(text: str) -> Json:
    value, _, unit = text.partition(" ")
    return {"value": float(value), "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}


def _patient_or_another(table: Case) -> Json:
    return {"reference": f"Patient/{ANOTHER if table.get('other_patient') else PATIENT}"}


def _appointment(table: Case) -> Json:
    start = table.get("start")
    if "in_days" in table:
        start = f"{days_ago(-table['in_days']).isoformat()}T{table.get('at', '09:00Z').replace('Z', ':00Z', 1)}"
        start = re.sub(r"T(\d\d:\d\d)([+-])", r"T\1:00\2", start)
    return {
        "resourceType": "Appointment",
        "id": table.get("id", "a1"),
        "status": table.get("status", "proposed"),
        **({"start": start} if start else {}),
        **({"requestedPeriod": [table["period"]]} if "period" in table else {}),
        "participant": [{"actor": _patient_or_another(table), "status": "accepted"}],
    }


def collection(resources: list[Json]) -> Json:
    """The Bundle in which a context holds resources."""
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": resource} for resource in resources]}


def _in_hand(case: Case) -> Json:
    """The members of the context that hold resources."""
    members: Json = {}
    if "drafts" in case:
        members["draftOrders"] = collection([resource for draft in case["drafts"] for resource in _draft(draft)])
    if "selections" in case:
        kinds = {draft["id"]: "ServiceRequest" if "order" in draft else "MedicationRequest" for draft in case["drafts"]}
        members["selections"] = [f"{kinds[id_]}/{id_}" for id_ in case["selections"]]
    if "appointments" in case:
        members["appointments"] = collection([_appointment(table) for table in case["appointments"]])
    return members


def _allergy(entry: _Entry) -> Json:
    verification = entry.status(_VERIFICATION_STATUS, "confirmed")
    clinical = entry.status(_CLINICAL_STATUS, "active")
    return {
        "resourceType": "AllergyIntolerance",
        **_clinical_status(_ALLERGY, verification, clinical),
        "verificationStatus": _coded(f"{_ALLERGY}-verification", verification),
        "code": entry.concept(),
        "patient": _subject(entry),
        **({"recordedDate": days_ago(entry.age).isoformat()} if entry.age is not None else {}),
    }


def _answer(value: object) -> Json:
    if isinstance(value, bool):
        return {"valueBoolean": value}
    if isinstance(value, int):
        return {"valueInteger": value}
    if isinstance(value, str) and "|" in value:
        prefix, _, code = value.partition("|")
        return {"valueCoding": {"system": SYSTEMS[prefix], "code": code}}
    return {"valueString": value}


def _questionnaire_response(case: Case) -> Json:
    return {
        "resourceType": "QuestionnaireResponse",
        "status": "completed",
        "subject": _subject(),
        **({} if case.get("undated") else {"authored": _moment(0)}),
        "item": [_item(link, value) for link, value in case["answers"].items()],
    }


def _item(link: str, value: object) -> Json:
    if isinstance(value, Mapping):
        return {"linkId": link, "text": link, "item": [_item(*of) for of in value.items()]}
    return {"linkId": link, "answer": [_answer(value)]}


def _coded_questionnaire_response(case: Case) -> Json:
    """A form whose items have numbers, and the Questionnaire within it that tells what they ask."""
    defined: list[Json] = []

    def numbered(table: Mapping[str, Any]) -> Json:
        found: Json = {}
        for key, value in table.items():
            if isinstance(value, Mapping):
                found[key] = numbered(value)
                continue
            number, entry = str(len(defined) + 1), _entry(key, {}).concept()
            defined.append({"linkId": number, "type": "boolean", "code": entry["coding"], "text": entry["text"]})
            found[number] = value
        return found

    response = _questionnaire_response({**case, "answers": numbered(case["coded_answers"])})
    questionnaire = {"resourceType": "Questionnaire", "id": "form", "status": "active", "item": defined}
    return {**response, "contained": [questionnaire], "questionnaire": "#form"}


_FORMS = {"answers": _questionnaire_response, "coded_answers": _coded_questionnaire_response}


def _encounter(table: Case) -> Json:
    """The visit, as it is read by its id."""
    reasons = [_entry(text, {}) for text in table.get("reasons", ())]
    coded = [{**entry.concept(), **({"text": entry.side} if entry.side else {})} for entry in reasons]
    return {
        "resourceType": "Encounter",
        "id": table.get("id", ENCOUNTER),
        "status": table.get("status", "in-progress"),
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": _patient_or_another(table),
        "period": {"start": _moment(table.get("days_ago", 0))},
        "reasonCode": [*coded, *({"text": words} for words in table.get("in_words", ()))],
    }


def bundle(resources: list[Json]) -> Json:
    """A searchset Bundle of these resources, each with an id that tells its place."""
    entries = []
    for number, resource in enumerate(resources, start=1):
        kind = resource["resourceType"]
        identified = {"resourceType": kind, "id": f"{kind.lower()}-{number}", **resource}
        entries.append(
            {"fullUrl": f"{FHIR_SERVER}/{kind}/{identified['id']}", "resource": identified, "search": {"mode": "match"}}
        )
    return {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}


def patient(case: Case) -> Json:
    """The Patient of a case; without age and sex when the case gives none."""
    born = case.get("birth_date")
    if born is None and "age" in case:
        # The last birthday was a month before the clock: far enough from it for every limit of age.
        born = f"{CLOCK.year - case['age']}-10-20"
    return {
        "resourceType": "Patient",
        "id": PATIENT,
        "active": True,
        **({"gender": case["sex"]} if "sex" in case else {}),
        **({"birthDate": born} if born else {}),
    }


@cache
def _keys() -> tuple[str, ...]:
    knowledge = packaged()
    orders = OrderReader(knowledge, _index(), NO_SITE_CODES)
    return (*prefetch_templates(knowledge), *orders.templates())


def build_request(case: Case, name: str = "case") -> Json:
    """The whole request of a case. `name` decides the hookInstance. Raises ValueError for a member it does not know."""
    if unknown := case.keys() - MEMBERS:
        raise ValueError(f"{name}: {', '.join(sorted(unknown))} is no member of a case")
    hook = HOOKS[case.get("service", DIAGNOSIS)]
    prefetch: Json = {
        "patient": patient(case),
        "conditions": bundle([_condition(_entry(text, case)) for text in case.get("conditions", ())]),
        "observations": bundle(list(_observations(case))),
        "questionnaireResponses": bundle([form(case) for member, form in _FORMS.items() if member in case]),
        "medications": bundle([_medication(_entry(text, case)) for text in case.get("medications", ())]),
        "encounter": _encounter(case["encounter"])
        if "encounter" in case
        else {"resourceType": "Encounter", "id": ENCOUNTER, "status": "in-progress"},
        "allergies": bundle([_allergy(_entry(text, case)) for text in case.get("allergies", ())]),
    }
    for key, kind, status in (("orders", "ServiceRequest", "active"), ("imaging", "DiagnosticReport", "final")):
        prefetch[key] = bundle([_ordered(table, table.get("kind", kind), status) for table in case.get(key, ())])
    # A client fills every key; here all that is of one kind lies under the first of its keys.
    prefetch = {key: prefetch[key] if key in prefetch else bundle([]) for key in _keys()}
    prefetch |= {key: None for key in prefetch if kind_of(key) in case.get("null", ())}
    request: Json = {
        "hook": hook,
        "hookInstance": str(uuid5(NAMESPACE_URL, name)),
        "fhirServer": FHIR_SERVER,
        "context": {
            "userId": "Practitioner/4451",
            "patientId": PATIENT,
            "encounterId": ENCOUNTER,
            **_in_hand(case),
        },
        "prefetch": {key: value for key, value in prefetch.items() if kind_of(key) not in case.get("withheld", ())},
    }
    # Parts of it are those of the case, and a test may spell its request otherwise; copy.deepcopy is far slower.
    copied: Json = orjson.loads(orjson.dumps(request))
    return copied


def mixed_cases(count: int, seed: int = 5) -> Iterator[Json]:
    """Patients with any findings, present and absent, as no case would put them together."""
    generator = random.Random(seed)  # noqa: S311 - the same charts each time
    findings = [
        id_
        for id_, finding in packaged().findings.items()
        if finding.value == "boolean" and finding.kind in ("symptom", "history", "exam", "test", "result")
    ]
    for _ in range(count):
        chosen = generator.sample(findings, generator.randrange(3, 14))
        cut = generator.randrange(1, len(chosen))
        yield {
            "age": generator.choice((10, 15, 17, 19, 28, 45, 62, 81)),
            "sex": generator.choice(("female", "male")),
            "side": generator.choice(("left", "right")),
            "present": ["buttock-pain", *(name for name in chosen[:cut] if name != "buttock-pain")],
            "absent": [name for name in chosen[cut:] if name != "buttock-pain"],
            "onset_days_ago": generator.choice((1, 10, 30, 60, 120)),
        }


@dataclass(frozen=True, slots=True)
class NamedCase:
    """One case of fixtures/cases: its sentence, its chart, what it is about and what is expected of it."""

    name: str
    file: str
    chart: Case
    statements: tuple[str, ...]
    rules: tuple[str, ...]
    fixture: str
    expect: Mapping[str, Any]
    # The EHRs in whose dialects the answer is kept as well.
    dialects: tuple[str, ...] = ()

    @property
    def service(self) -> str:
        """The id of the CDS service that is called."""
        return str(self.chart.get("service", DIAGNOSIS))

    @property
    def path(self) -> str:
        """Where its request and response lie among the fixtures."""
        return self.fixture if self.service == DIAGNOSIS else f"{self.service}/{self.fixture}"

    def request(self) -> Json:
        """The whole request of this case."""
        return build_request(self.chart, self.name)


@cache
def named_cases() -> tuple[NamedCase, ...]:
    """Every case of fixtures/cases, file by file. Raises ValueError when two have one name."""
    cases = {}
    for path in sorted(CASES.glob("*.toml")):
        for name, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
            if name in cases:
                raise ValueError(f"{path.name}: there are two cases {name!r}")
            about = {key: table.pop(key, ()) for key in ("statements", "rules")}
            cases[name] = NamedCase(
                name=name,
                file=path.name,
                statements=tuple(about["statements"]),
                rules=tuple(about["rules"]),
                fixture=table.pop("fixture", ""),
                dialects=tuple(table.pop("dialects", ())),
                expect=table.pop("expect"),
                chart=table,
            )
    return tuple(cases.values())


def assessment_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The assessment of an answer, with an empty array for each list that is left out because it has no entries."""
    lists = ("redFlags", "causes", "imaging", "referrals", "treatment", "ask")
    return {**{name: [] for name in lists}, **answer["extension"]["org.sitbone.assessment"]}
