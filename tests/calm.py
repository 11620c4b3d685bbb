"""Calm stays calm: how many ordinary patients are alarmed.

    python -m tests.calm

calls the service in process with 100 generated benign presentations and, where the folder of SITBONE_SHARED has whole
charts of people without this complaint, with each of them. It ends with 1 where a chart without the complaint gets a
card, a benign presentation gets a critical one, or more than 3 of 100 get a warning.
"""

from __future__ import annotations

import gzip
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from flask.testing import FlaskClient

from service.app import create_app
from service.chart.case import prefetch_templates
from tests.charts import CLOCK, SERVICE, Json, build_request, packaged

GENERATED = 100
SEED = 7
# Of so many benign presentations at most so many with a warning.
WARNINGS_ALLOWED = 0.03
# What people have who are well: their problems and their medicines, by code and by name.
_PROBLEMS = ("icd10cm|I10", "sct|38341003", "sct|195967001", "icd10cm|M54.50", "icd10cm|C44.311", "icd10cm|Z85.828")
_MEDICINES = ("rxnorm|29046", "words|Atorvastatin 20 mg", "words|Levothyroxine 50 mcg", "rxnorm|7646")
_PLACES = ("buttock-pain", "posterior-thigh-pain", "lateral-hip-pain")
_EXAMINATIONS = (
    "ischial-tenderness",
    "sciatic-notch-tenderness",
    "trochanteric-tenderness",
    "modified-bent-knee-stretch",
)
_RESOURCES = {
    "Condition": "conditions",
    "Observation": "observations",
    "MedicationRequest": "medications",
    "AllergyIntolerance": "allergies",
}


class Calm(NamedTuple):
    """The answer to one ordinary chart: whether it is of this complaint, and the indicators of its cards."""

    name: str
    complaint: bool
    cards: tuple[str, ...]


def benign_cases(count: int = GENERATED, seed: int = SEED) -> Iterator[Json]:
    """Patients of 20 to 64 with benign findings of this pain, of one day to twelve weeks, and with what people have."""
    generator = random.Random(seed)  # noqa: S311 - the same patients each time
    benign = [
        id_
        for id_, finding in packaged().findings.items()
        if finding.direction == "benign" and finding.kind in ("symptom", "history")
    ]
    for _ in range(count):
        case: dict[str, Any] = {
            "age": generator.randrange(20, 65),
            "sex": generator.choice(("female", "male")),
            "side": generator.choice(("left", "right")),
            "present": [
                generator.choice(_PLACES),
                "gradual-onset",
                *generator.sample(benign, generator.randrange(1, 5)),
            ],
            "onset_days_ago": generator.randrange(1, 85),
            "conditions": generator.sample(_PROBLEMS, generator.randrange(3)),
            "medications": generator.sample(_MEDICINES, generator.randrange(3)),
        }
        if generator.random() < 0.5:
            case["present"].append(generator.choice(_EXAMINATIONS))
        yield case


def whole_charts(folder: Path) -> Iterator[Json]:
    """The request of each chart of a folder: data/*.ndjson.gz, a Bundle of a patient a line."""
    keys = [key for key in prefetch_templates(packaged()) if key != "patient"]
    for path in sorted((folder / "data").glob("*.ndjson.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                resources = [entry["resource"] for entry in orjson.loads(line)["entry"]]
                (patient,) = (resource for resource in resources if resource["resourceType"] == "Patient")
                prefetch: Json = {**dict.fromkeys(keys), "patient": patient}
                for kind, key in _RESOURCES.items():
                    entries = [{"resource": each} for each in resources if each["resourceType"] == kind]
                    prefetch[key] = {"resourceType": "Bundle", "type": "searchset", "entry": entries}
                yield {
                    "hook": "patient-view",
                    "hookInstance": "8a7a2b1e-1f0c-4d3a-9f2b-6f1b6a3a9d10",
                    "context": {"userId": "Practitioner/1", "patientId": patient["id"]},
                    "prefetch": prefetch,
                }


def answered(client: FlaskClient, name: str, request: Json) -> Calm:
    """Call the service with it."""
    answer = client.post(SERVICE, json=request).get_json()
    complaint = answer["extension"]["org.sitbone.assessment"]["complaint"] != "absent"
    return Calm(name, complaint, tuple(card["indicator"] for card in answer["cards"]))


def alarms(charts: list[Calm]) -> list[str]:
    """What is not calm, in words; empty where all is."""
    of_complaint = [chart for chart in charts if chart.complaint]
    found = [f"{chart.name}: a card without the complaint" for chart in charts if chart.cards and not chart.complaint]
    found += [f"{chart.name}: critical" for chart in of_complaint if "critical" in chart.cards]
    warned = [chart.name for chart in of_complaint if "warning" in chart.cards]
    if len(warned) > WARNINGS_ALLOWED * len(of_complaint):
        found.append(f"{len(warned)} of {len(of_complaint)} with a warning: {', '.join(warned)}")
    return found


def main() -> None:
    client = create_app(clock=lambda: CLOCK).test_client()
    charts = [answered(client, f"benign {number}", build_request(case)) for number, case in enumerate(benign_cases())]
    if folder := os.environ.get("SITBONE_SHARED"):
        charts += [
            answered(client, f"chart {number}", chart) for number, chart in enumerate(whole_charts(Path(folder)))
        ]
    warned = sum("warning" in chart.cards for chart in charts)
    print(
        f"{len(charts)} charts, {sum(chart.complaint for chart in charts)} of this complaint, {warned} with a warning"
    )
    for alarm in (found := alarms(charts)):
        print(alarm)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
