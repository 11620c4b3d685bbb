"""One decision, however the chart is written: each element of whole requests in another spelling, the same answer.

Every reader of a service meets every spelling here: findings, forms, orders, drafts, medicines, allergies and studies.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from msgspec import Raw

from service.app import create_app
from service.chart.assertions import READERS, Reading, plain_observation, read_plain
from service.chart.codes import CodeIndex
from tests.charts import CLOCK, FHIR_SERVER, PATIENT, SYSTEMS, Json, NamedCase, named_cases, packaged
from tests.once import decided_once

SCT, LOINC, ICD, RXNORM = (SYSTEMS[name] for name in ("sct", "loinc", "icd10cm", "rxnorm"))
OWN = f"Patient/{PATIENT}"
# Of each service and each spelling, so many requests that the spelling changes.
AT_MOST = 3


@pytest.fixture(scope="module")
def client() -> Iterator[FlaskClient]:
    """The service, which decides once what is read as the same."""
    with decided_once():
        yield create_app(clock=lambda: CLOCK).test_client()


def objects(node: Any) -> Iterator[Json]:
    """Every JSON object of a tree; what a caller changes in one is gone through as it is then."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for inner in node if isinstance(node, list) else ():
        yield from objects(inner)


def sent(request: Json) -> Iterator[Json]:
    """Every object of what is FHIR in a request."""
    for part in (*request["prefetch"].values(), *request["context"].values()):
        yield from objects(part)


def resources(request: Json, *kinds: str) -> Iterator[Json]:
    for one in sent(request):
        if one.get("resourceType") in kinds:
            yield one


def bundles(request: Json) -> Iterator[Json]:
    return (value for value in request["prefetch"].values() if isinstance(value, dict) and "entry" in value)


# ---------------------------------------------------------------------------------------------------------------------
# Code systems and codings

_OIDS = {
    SCT: "2.16.840.1.113883.6.96",
    LOINC: "2.16.840.1.113883.6.1",
    ICD: "2.16.840.1.113883.6.90",
    RXNORM: "2.16.840.1.113883.6.88",
}
_NAMES = {SCT: "SNOMED-CT", LOINC: "LN", ICD: "ICD-10-CM", RXNORM: "RxNorm"}


def systems(change: Callable[[str], str]) -> Callable[[Json], None]:
    def respell(request: Json) -> None:
        for one in sent(request):
            if isinstance(one.get("system"), str) and "code" in one:
                one["system"] = change(one["system"])

    return respell


def codes(change: Callable[[Json], Any]) -> Callable[[Json], None]:
    """Every coding of the systems of findings with another code."""

    def respell(request: Json) -> None:
        for one in sent(request):
            if one.get("system") in _OIDS and isinstance(one.get("code"), str):
                one["code"] = change(one)

    return respell


def with_coding(change: Callable[[list[Any]], Any]) -> Callable[[Json], None]:
    def respell(request: Json) -> None:
        for one in sent(request):
            if isinstance(one.get("coding"), list):
                one["coding"] = change(one["coding"])

    return respell


_ELSEWHERE = {"system": "http://hospital.example.org", "code": "X-1", "display": "As we call it"}
_SPELLINGS: dict[str, Callable[[Json], None]] = {
    "system: urn:oid": systems(lambda system: f"urn:oid:{_OIDS[system]}" if system in _OIDS else system),
    "system: bare object identifier": systems(lambda system: _OIDS.get(system, system)),
    "system: name": systems(lambda system: _NAMES.get(system, system)),
    "system: trailing slash": systems(lambda system: f"{system}/"),
    "system: https": systems(lambda system: re.sub(r"^http://", "https://", system)),
    "system: version": systems(lambda system: f"{system}|2026-03"),
    "system: edition": systems(lambda system: f"{SCT}/731000124108/version/20260301" if system == SCT else system),
    "system: blanks and capitals": systems(lambda system: f" {system.upper() if system in _OIDS else system} "),
    "code: blanks": codes(lambda coding: f" {coding['code']} "),
    "code: a number": codes(lambda coding: int(code) if (code := coding["code"]).isdigit() else code),
    "code: with its term": codes(
        lambda coding: f"{coding['code']} | any term |" if coding["system"] == SCT else coding["code"]
    ),
    "code: with a refinement": codes(
        lambda coding: f"{coding['code']}:{{246112005=255604002}}" if coding["system"] == SCT else coding["code"]
    ),
    "coding: a local one first": with_coding(lambda given: [_ELSEWHERE, *given]),
    "coding: a local one last": with_coding(lambda given: [*given, _ELSEWHERE]),
    "coding: one object": with_coding(lambda given: given[0] if len(given) == 1 else given),
    "coding: what is no coding beside it": with_coding(lambda given: [None, 7, {"code": 5}, *given]),
}

# ---------------------------------------------------------------------------------------------------------------------
# Status

_SNOMED_STATUS = {
    "active": "55561003",
    "inactive": "73425007",
    "resolved": "413322009",
    "remission": "277022003",
    "confirmed": "410605003",
    "unconfirmed": "415684004",
    "refuted": "410516002",
}


def statuses(change: Callable[[str], Any]) -> Callable[[Json], None]:
    """Clinical and verification status as another CodeableConcept, or whatever the change makes of the code."""

    def respell(request: Json) -> None:
        for one in resources(request, "Condition", "AllergyIntolerance"):
            for member in {"clinicalStatus", "verificationStatus"} & one.keys():
                one[member] = change(one[member]["coding"][0]["code"])

    return respell


def _capitals(request: Json) -> None:
    for one in sent(request):
        if "resourceType" in one and isinstance(one.get("status"), str):
            one["status"] = one["status"].upper()


def _in_snomed(code: str) -> Json:
    known = _SNOMED_STATUS.get(code)
    return {"coding": [_ELSEWHERE, {"system": SCT, "code": known} if known else {"code": code}]}


_SPELLINGS |= {
    "status: capitals": _capitals,
    "status: concepts in capitals": statuses(lambda code: {"coding": [{"code": code.title()}]}),
    "status: text": statuses(lambda code: {"text": code.replace("-", " ").capitalize()}),
    "status: display": statuses(lambda code: {"coding": [{"system": "urn:x", "code": "7", "display": code}]}),
    "status: a code as in STU3": statuses(lambda code: code),
    "status: SNOMED CT": statuses(_in_snomed),
}

# ---------------------------------------------------------------------------------------------------------------------
# Whose it is


def subjects(change: Callable[[Json], Json]) -> Callable[[Json], None]:
    def respell(request: Json) -> None:
        for one in sent(request):
            for member in {"subject", "patient", "actor"} & one.keys():
                if isinstance(one[member], dict) and one[member].get("reference") == OWN:
                    one[member] = change(one[member])

    return respell


_RECORD = {"system": "urn:oid:1.2.36.146.595.217.0.1", "value": "MRN-100"}
_FULL_URL = "urn:uuid:7b0f2a6e-0c55-4a7e-8a25-0f5f0a7b1c11"


def _by_full_url(request: Json) -> None:
    subjects(lambda _reference: {"reference": _FULL_URL})(request)
    patient = {"fullUrl": _FULL_URL, "resource": request["prefetch"]["patient"]}
    request["prefetch"]["patient"] = {"resourceType": "Bundle", "type": "collection", "entry": [patient]}


def _by_identifier(request: Json) -> None:
    if isinstance(request["prefetch"].get("patient"), dict):
        request["prefetch"]["patient"]["identifier"] = [_RECORD]
        subjects(lambda _reference: {"identifier": _RECORD})(request)


def _focus(request: Json) -> None:
    for one in resources(request, "Observation"):
        one["focus"] = [{"reference": one["subject"]["reference"]}, {"reference": "Condition/c"}]


_SPELLINGS |= {
    "subject: absolute": subjects(lambda _reference: {"reference": f"{FHIR_SERVER}/{OWN}"}),
    "subject: a version": subjects(lambda _reference: {"reference": f"{OWN}/_history/3"}),
    "subject: named beside it": subjects(lambda reference: {**reference, "type": "Patient", "identifier": _RECORD}),
    "subject: full URL": _by_full_url,
    "subject: logical reference": _by_identifier,
    "focus: the patient, a condition": _focus,
}

# ---------------------------------------------------------------------------------------------------------------------
# Values


def _concept(system: str, code: str) -> Json:
    return {"valueCodeableConcept": {"coding": [{"system": system, "code": code}]}}


_HL7 = "http://terminology.hl7.org/CodeSystem/"
_POSITIVE = f"{_HL7}v3-ObservationInterpretation"


def _interpreted(code: str) -> Json:
    return {"interpretation": [{"coding": [{"system": _POSITIVE, "code": code}]}]}


_YES_AND_NO: dict[str, tuple[Json, Json]] = {
    "SNOMED CT yes, no": (_concept(SCT, "373066001"), _concept(SCT, "373067005")),
    "SNOMED CT present, absent": (_concept(SCT, "52101004"), _concept(SCT, "2667000")),
    "SNOMED CT positive, negative": (_concept(SCT, "10828004"), _concept(SCT, "260385009")),
    "SNOMED CT known present, known absent": (_concept(SCT, "410515003"), _concept(SCT, "410516002")),
    "LOINC yes, no": (_concept(LOINC, "LA33-6"), _concept(LOINC, "LA32-8")),
    "LOINC present, absent": (_concept(LOINC, "LA9633-4"), _concept(LOINC, "LA9634-2")),
    "LOINC positive, negative": (_concept(LOINC, "LA6576-8"), _concept(LOINC, "LA6577-6")),
    "table 0136": (_concept(f"{_HL7}v2-0136", "Y"), _concept(f"{_HL7}v2-0136", "N")),
    "table 0136 of STU3": (_concept("http://hl7.org/fhir/v2/0136", "Y"), _concept("http://hl7.org/fhir/v2/0136", "N")),
    "table 0532": (_concept("urn:oid:2.16.840.1.113883.12.532", "Y"), _concept(f"{_HL7}v2-0532", "N")),
    "text": ({"valueCodeableConcept": {"text": "Yes"}}, {"valueCodeableConcept": {"text": "No"}}),
    "display": (
        {"valueCodeableConcept": {"coding": [{**_ELSEWHERE, "display": "Present"}]}},
        {"valueCodeableConcept": {"coding": [{**_ELSEWHERE, "display": "Absent"}]}},
    ),
    "string": ({"valueString": "Y"}, {"valueString": "denies"}),
    "integer": ({"valueInteger": 1}, {"valueInteger": 0}),
    "interpretation": (_interpreted("POS"), _interpreted("NEG")),
    "detected": (_interpreted("DET"), _interpreted("ND")),
}


def answered(yes: Json, no: Json) -> Callable[[Json], None]:
    def respell(request: Json) -> None:
        for one in resources(request, "Observation"):
            if (said := one.pop("valueBoolean", None)) is not None:
                one.update(yes if said else no)

    return respell


_ABSENT = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}
_REASONS: dict[str, Json] = {
    "null": {"valueBoolean": None},
    "extension": {"_valueBoolean": _ABSENT},
    "extension of a concept": {"valueCodeableConcept": _ABSENT},
    "concept": _concept(f"{_HL7}data-absent-reason", "asked-unknown"),
    "null flavor": _concept(f"{_HL7}v3-NullFlavor", "UNK"),
    "answer": _concept(SCT, "261665006"),
    "text": {"dataAbsentReason": {"text": "not asked"}},
}


def absent(reason: Json) -> Callable[[Json], None]:
    def respell(request: Json) -> None:
        for one in resources(request, "Observation"):
            if one.pop("dataAbsentReason", None):
                one.update(reason)

    return respell


def _as_components(request: Json) -> None:
    for one in resources(request, "Observation"):
        members = [name for name in one if name.startswith("value") or name in ("code", "dataAbsentReason")]
        one["component"] = [{name: one.pop(name) for name in members}]
        one["code"] = {"text": "Examination of today"}


_UNITS = {"Cel": "°C", "mL/min/{1.73_m2}": "mL/min/1.73m2", "d": "days", "wk": "weeks", "{score}": "/10"}


def _units(request: Json) -> None:
    for one in sent(request):
        if one.get("system") == "http://unitsofmeasure.org" and one.get("code") in _UNITS and "value" in one:
            one["unit"] = _UNITS[one.pop("code")]


def _forms_by_coding(request: Json) -> None:
    for form in resources(request, "QuestionnaireResponse"):
        for one in objects(form):
            if (said := one.pop("valueBoolean", None)) is not None:
                one["valueCoding"] = {"system": f"{SCT}/", "code": "373066001" if said else "373067005"}


_SPELLINGS |= {f"value: {name}": answered(*both) for name, both in _YES_AND_NO.items()}
_SPELLINGS |= {f"no value: {name}": absent(reason) for name, reason in _REASONS.items()}
_SPELLINGS |= {"value: in a component": _as_components, "unit: text": _units, "answer: coding": _forms_by_coding}

# ---------------------------------------------------------------------------------------------------------------------
# Sides

_LATERALITY = "http://hl7.org/fhir/us/mcode/StructureDefinition/mcode-laterality-qualifier"
_SIDES = {"7771000": "Left", "24028007": "Right", "51440002": "Bilateral"}
_SHORT = {"Left": "L", "Right": "R", "Bilateral": "both"}


def sites(change: Callable[[Json, str], Json], *, of: tuple[str, ...] = ()) -> Callable[[Json], None]:
    """Each body site that is a side alone, as something else."""

    def changed(site: Json) -> Json:
        coding = site["coding"][0]
        return change(coding, _SIDES[coding["code"]]) if coding["code"] in _SIDES else site

    def respell(request: Json) -> None:
        for one in resources(request, *(of or ("Observation", "Condition", "ServiceRequest"))):
            given = one.get("bodySite")
            if given:
                one["bodySite"] = [changed(it) for it in given] if isinstance(given, list) else changed(given)

    return respell


def _postcoordinated(request: Json) -> None:
    for one in resources(request, "Observation", "Condition"):
        site, coding = one.get("bodySite"), one["code"].get("coding", [{}])[0]
        side = (site[0] if isinstance(site, list) else site or {}).get("coding", [{}])[0].get("code")
        if side in _SIDES and coding.get("system") == SCT:
            del one["bodySite"]
            coding["code"] = f"{coding['code']} : {{ 272741003 |Laterality| = {side} }}"


def _in_the_text(request: Json) -> None:
    for one in resources(request, "Observation", "Condition"):
        site = one.get("bodySite")
        side = _SIDES.get((site[0] if isinstance(site, list) else site or {}).get("coding", [{}])[0].get("code"))
        if side:
            del one["bodySite"]
            one["code"]["text"] = f"As documented ({_SHORT[side]})" if side != "Bilateral" else "As documented, both"


_SPELLINGS |= {
    "side: extension": sites(
        lambda coding, _side: {
            "coding": [_ELSEWHERE],
            "extension": [{"url": _LATERALITY, "valueCodeableConcept": {"coding": [coding]}}],
        }
    ),
    "side: extension in words": sites(
        lambda _coding, side: {"extension": [{"url": _LATERALITY, "valueCodeableConcept": {"text": side}}]}
    ),
    "side: text": sites(lambda _coding, side: {"text": f"{side} buttock"}),
    "side: display": sites(lambda _coding, side: {"coding": [{**_ELSEWHERE, "display": f"buttock, {_SHORT[side]}"}]}),
    "side: refinement of a site": sites(
        lambda coding, _side: {"coding": [{"system": SCT, "code": f"46862004:272741003={coding['code']}"}]},
        of=("Observation", "Condition"),
    ),
    "side: refinement of the code": _postcoordinated,
    "side: text of the code": _in_the_text,
}

# ---------------------------------------------------------------------------------------------------------------------
# Dates


def effective(change: Callable[[str], Json]) -> Callable[[Json], None]:
    def respell(request: Json) -> None:
        for one in resources(request, "Observation", "DiagnosticReport"):
            if (when := one.pop("effectiveDateTime", None)) is not None:
                one.update(change(when))

    return respell


def renamed(kind: str, names: Mapping[str, str]) -> Callable[[Json], None]:
    def respell(request: Json) -> None:
        for one in resources(request, kind):
            one.update({names[name]: one.pop(name) for name in names.keys() & one.keys()})

    return respell


def _onset_periods(request: Json) -> None:
    for one in resources(request, "Condition"):
        if (when := one.pop("onsetDateTime", None)) is not None:
            one["onsetPeriod"] = {"start": when}


_SPELLINGS |= {
    "date: Period": effective(lambda when: {"effectivePeriod": {"start": "2001", "end": when}}),
    "date: Instant": effective(lambda when: {"effectiveInstant": when}),
    "date: Timing": effective(lambda when: {"effectiveTiming": {"event": ["2001-01-01", when]}}),
    "date: bounds": effective(lambda when: {"effectiveTiming": {"repeat": {"boundsPeriod": {"end": when}}}}),
    "date: another zone": effective(
        lambda when: {"effectiveDateTime": when.replace("T09:30:00Z", "T11:30:00.000000001+02:00")}
    ),
    "date: as RFC 3339": effective(lambda when: {"effectiveDateTime": when.replace("T", " ").replace("Z", "z")}),
    "date: second 60": effective(lambda when: {"effectiveDateTime": when.replace("T09:30:00Z", "T09:29:60Z")}),
    "date: of STU3": renamed("Condition", {"recordedDate": "assertedDate"}),
    "date: of DSTU2": renamed("Condition", {"recordedDate": "dateRecorded"}),
    "date: of a period that began": _onset_periods,
}

# ---------------------------------------------------------------------------------------------------------------------
# Versions


def _older(resource: Json) -> Json:
    """The same with the opposite of what it says now."""
    before: Json = copy.deepcopy(resource)
    for member, opposite in (("valueBoolean", lambda value: not value), ("status", lambda _value: "entered-in-error")):
        if member in before:
            before[member] = opposite(before[member])
    if "verificationStatus" in before:
        before["verificationStatus"] = {"coding": [{"code": "entered-in-error"}]}
    return before


def versions(older: Json, newer: Json) -> Callable[[Json], None]:
    def respell(request: Json) -> None:
        for found in bundles(request):
            for entry in list(found["entry"]):
                before = _older(entry["resource"])
                entry["resource"]["meta"], before["meta"] = newer, older
                found["entry"].append({**entry, "resource": before})

    return respell


_SPELLINGS |= {
    "version: by number": versions({"versionId": "9"}, {"versionId": "10"}),
    "version: by time": versions(
        {"versionId": "a", "lastUpdated": "2026-11-21T23:00:00Z"},
        {"versionId": "b", "lastUpdated": "2026-11-22T00:30:00+01:00"},
    ),
}

# ---------------------------------------------------------------------------------------------------------------------
# The answer stays


@cache
def _requests() -> dict[str, list[NamedCase]]:
    """The fixtures of each service, in an order that is drawn once."""
    found = defaultdict(list)
    for case in named_cases():
        if case.fixture:
            found[case.service].append(case)
    for cases in found.values():
        random.Random(11).shuffle(cases)  # noqa: S311 - the same each time is what is wanted
    return found


def _answer(client: FlaskClient, service: str, request: Json) -> tuple[int, Any]:
    response = client.post(f"/cds-services/{service}", json=request)
    answer = json.loads(re.sub(r'"uuid":\s*"[^"]*"', '"uuid": ""', response.get_data(as_text=True)))
    # An order is sent back as it came: what was added to it is compared.
    for action in answer.get("systemActions", ()):
        action["resource"] = [
            inner
            for inner in action["resource"]["extension"]
            if inner["url"] != _LATERALITY and "valueUri" not in inner
        ]
    return response.status_code, answer


@cache
def _as_it_is(client: FlaskClient, service: str, number: int) -> tuple[int, Any]:
    return _answer(client, service, _requests()[service][number].request())


@cache
def _written(service: str, number: int) -> bytes:
    return orjson.dumps(_requests()[service][number].request())


def _changed(service: str, respell: Callable[[Json], None]) -> Iterator[tuple[int, str, Json]]:
    """The first requests of a service that a spelling changes."""
    found = 0
    for number, case in enumerate(_requests()[service]):
        before = _written(service, number)
        request = orjson.loads(before)
        respell(request)
        if orjson.dumps(request) != before:
            yield number, case.name, request
            found += 1
        if found == AT_MOST:
            return


@pytest.mark.parametrize("spelling", _SPELLINGS)
def test_the_answer_stays_however_the_chart_is_written(client: FlaskClient, spelling: str) -> None:
    for service in sorted(_requests()):
        for number, name, request in _changed(service, _SPELLINGS[spelling]):
            status, answer = _answer(client, service, request)
            assert (status, answer) == _as_it_is(client, service, number), (service, name)


def test_every_spelling_is_tried_on_a_request() -> None:
    assert [
        spelling
        for spelling, respell in _SPELLINGS.items()
        if not any(next(_changed(service, respell), None) for service in _requests())
    ] == []


def test_a_plain_observation_asserts_what_it_does_when_it_is_read_whole() -> None:
    reading, plain = Reading(CodeIndex(packaged()), None, CLOCK, {}), 0
    for case in named_cases():
        for observation in resources(case.request(), "Observation"):
            if found := plain_observation(Raw(json.dumps(observation).encode())):
                plain += 1
                assert list(read_plain(found, reading)) == list(READERS["Observation"](observation, reading))
    assert plain > 1_000


@pytest.mark.parametrize(
    "change",
    [
        {"component": []},
        {"valueString": "yes"},
        {"modifierExtension": [{"url": "https://example.org/negated", "valueBoolean": True}]},
        {"focus": [{"reference": "Patient/another"}]},
        {"dataAbsentReason": {"text": "unknown"}},
        {"effectiveDateTime": None},
        {"subject": {"identifier": {"system": "urn:example", "value": "1"}}},
        {"_status": {"id": "1"}},
    ],
)
def test_an_observation_with_any_unusual_member_is_read_whole(change: Json) -> None:
    plain = {
        "resourceType": "Observation",
        "id": "one",
        "status": "final",
        "subject": {"reference": "Patient/1"},
        "effectiveDateTime": "2026-11-28",
        "code": {"text": "sharp pain"},
        "valueBoolean": True,
    }
    assert plain_observation(Raw(json.dumps(plain).encode()))
    assert plain_observation(Raw(json.dumps({**plain, **change}).encode())) is None
