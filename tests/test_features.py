"""Case features: what was read from a chart as FHIR Observations, statement by statement."""

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.codesystem import CodeSystem
from fhir.resources.R4B.structuredefinition import StructureDefinition
from pydantic import ValidationError

from cds_hooks import HookMismatch
from service.app import create_app
from service.features.profile import REMARKS, definitions
from service.features.reading import FeatureReader
from service.features.resources import PROFILE, REMARK, SIDE_SYSTEM, SOURCE, SYSTEM
from service.services.evaluation import Evaluator
from service.services.registry import services_by
from service.settings import Settings
from tests.charts import CLOCK, build_request, packaged

REQUESTS = sorted((Path(__file__).parents[1] / "fixtures" / "requests").rglob("*.json"))


@cache
def reader() -> FeatureReader:
    evaluator = Evaluator(packaged(), lambda: CLOCK)
    return FeatureReader(evaluator, services_by(evaluator))


def of(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The features of the chart of a compact case."""
    found = reader().read(json.dumps(build_request(case, "case")).encode())
    return [each["resource"] for each in found["entry"] if each["resource"]["resourceType"] == "Observation"]


def code(feature: dict[str, Any]) -> str:
    coding = feature["code"]["coding"][0]
    assert coding["system"] == SYSTEM
    return str(coding["code"])


def one(features: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    (found,) = (feature for feature in features if code(feature) == wanted)
    return found


def remarks_on(found: dict[str, Any]) -> str:
    """What the model of a Bundle says of it; nothing where it is valid."""
    try:
        Bundle.model_validate(found)
    except ValidationError as invalid:
        return str(invalid)
    return ""


def test_the_features_of_every_fixture_are_valid_fhir() -> None:
    for path in REQUESTS:
        found = reader().read(path.read_bytes())
        assert remarks_on(found) == "", path.stem
        ids = [each["resource"]["id"] for each in found["entry"]]
        assert len({*ids}) == len(ids), path.stem


def test_the_marker_comes_first_and_says_who_read_the_chart_and_when() -> None:
    marker = of({"present": ["buttock-pain"]})[0]
    assert code(marker) == "features-read"
    assert marker["valueString"] == f"features of Sitbone 0.1.0, knowledge {packaged().id} {packaged().version}"
    assert marker["effectivePeriod"]["start"] == CLOCK.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_present_absent_and_unknown_are_three_things() -> None:
    features = of({"present": ["buttock-pain"], "absent": ["fever"], "unknown": ["chills"]})
    assert one(features, "buttock-pain")["valueBoolean"] is True
    assert one(features, "fever")["valueBoolean"] is False
    unknown = one(features, "chills")
    assert not any(member.startswith("value") for member in unknown)
    assert unknown["dataAbsentReason"]["coding"][0]["code"] == "unknown"


def test_what_cannot_be_read_says_which_element_it_is() -> None:
    features = of({"present": ["buttock-pain"], "quantities": {"body-temperature": "38.5 parsecs"}})
    reason = one(features, "body-temperature")["dataAbsentReason"]
    assert (reason["coding"][0]["code"], reason["text"]) == ("error", "unit")


def test_a_partial_date_is_its_span() -> None:
    request = build_request({"present": ["buttock-pain"]}, "case")
    request["prefetch"]["observations"]["entry"][0]["resource"]["effectiveDateTime"] = "2026-10"
    found = reader().read(json.dumps(request).encode())
    pain = one([each["resource"] for each in found["entry"][1:]], "buttock-pain")
    assert pain["effectivePeriod"] == {"start": "2026-10-01T00:00:00.000Z", "end": "2026-10-31T23:59:59.000Z"}


def test_what_has_no_date_has_none() -> None:
    assert "effectivePeriod" not in one(of({"present": ["buttock-pain, undated"]}), "buttock-pain")


def test_a_date_tells_its_span_and_the_days_since() -> None:
    onset = one(of({"present": ["buttock-pain"], "onset_days_ago": 9}), "onset-date")
    assert onset["valuePeriod"]["start"].startswith("2026-11-13")
    days = onset["component"][0]["valueRange"]
    assert (days["low"]["value"], days["high"]["value"], days["low"]["code"]) == (9, 9, "d")


def test_a_number_that_is_only_known_from_below_has_one_end() -> None:
    request = build_request({"present": ["buttock-pain"], "quantities": {"egfr": "60"}}, "case")
    for entry in request["prefetch"]["observations"]["entry"]:
        if "valueQuantity" in entry["resource"]:
            entry["resource"]["valueQuantity"]["comparator"] = ">"
    found = reader().read(json.dumps(request).encode())
    egfr = one([each["resource"] for each in found["entry"][1:]], "egfr")
    assert "high" not in egfr["valueRange"]
    assert egfr["valueRange"]["low"]["value"] == pytest.approx(60)


def test_a_side_is_told_by_our_code_and_by_laterality() -> None:
    pain = one(of({"present": ["buttock-pain, left"]}), "buttock-pain")
    codings = [(coding["system"], coding["code"]) for coding in pain["bodySite"]["coding"]]
    assert codings == [(SIDE_SYSTEM, "left"), ("http://snomed.info/sct", "7771000")]


def test_the_source_is_told_where_fhir_has_a_place_for_it_and_in_an_extension_elsewhere() -> None:
    features = of({"present": ["buttock-pain"], "conditions": ["fever"]})
    assert one(features, "buttock-pain")["derivedFrom"][0]["reference"].startswith("Observation/")
    (extension,) = one(features, "fever")["extension"]
    assert extension["url"] == SOURCE
    assert extension["valueReference"]["reference"].startswith("Condition/")


def test_how_it_was_read_is_told() -> None:
    features = of({"present": ["buttock-pain"], "medications": ["words|Ibuprofen 400 mg"]})
    remarks = [each["valueCode"] for each in one(features, "nsaid-medicine")["extension"] if each["url"] == REMARK]
    assert "byName" in remarks
    assert {*remarks} <= {*REMARKS}


def test_statements_that_disagree_are_both_told() -> None:
    features = of({"present": ["buttock-pain", "fever"], "absent": ["fever"]})
    assert [each["valueBoolean"] for each in features if code(each) == "fever"] == [True, False]


def test_the_patient_is_told_by_the_id_alone() -> None:
    found = reader().read(REQUESTS[0].read_bytes())
    patient = found["entry"][0]["resource"]
    assert {*patient} == {"resourceType", "id"}


def test_the_same_chart_has_the_same_features() -> None:
    assert reader().read(REQUESTS[0].read_bytes()) == reader().read(REQUESTS[0].read_bytes())


def test_a_hook_that_nothing_answers_is_refused() -> None:
    body = {"hook": "order-dispatch", "hookInstance": "8f0d5a3e-6f0e-5c38-9a3f-2f1c7a1d9b64", "context": {}}
    with pytest.raises(HookMismatch):
        reader().read(json.dumps(body).encode())


def test_the_profile_its_extensions_and_its_codes_are_valid_fhir_and_have_every_finding() -> None:
    by_url = {each["url"]: each for each in definitions(packaged(), "draft")}
    for each in by_url.values():
        kind = StructureDefinition if each["resourceType"] == "StructureDefinition" else CodeSystem
        kind.model_validate(each)
    assert {PROFILE, SOURCE, REMARK} <= {*by_url}
    assert {*packaged().findings} < {concept["code"] for concept in by_url[SYSTEM]["concept"]}


def test_the_route_answers_with_the_same_and_logs_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body = next(path for path in REQUESTS if path.stem == "sudden-tear").read_bytes()
    client = create_app(Settings(features="on"), clock=lambda: CLOCK).test_client()
    answer = client.post("/features", data=body, content_type="application/json")
    assert answer.content_type == "application/fhir+json"
    assert answer.get_json() == reader().read(body)
    patient = json.loads(body)["context"]["patientId"]
    assert not any(word in caplog.text for word in (patient, "valueBoolean", "sudden-onset"))


def test_there_is_no_such_route_unless_it_is_switched_on() -> None:
    assert create_app(Settings(), clock=lambda: CLOCK).test_client().post("/features").status_code == 404
