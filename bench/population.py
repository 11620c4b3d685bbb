"""A population from a seed, and how fast it is assessed.

    python -m bench.population make FOLDER --patients 10000 --seed 17 [--charts FILE.ndjson.gz]
    python -m bench.population measure FOLDER/manifest.json [--spark-submit COMMAND]
    python -m bench.population stages FOLDER/manifest.json

A patient is a copy of one of the base charts under an id of its own: of the Bundles of `--charts`, one a line, or
without it of the requests of fixtures/. Every twentieth, by the seed, gets all that one request of fixtures/ has of
this pain besides: those charts are as people have it who come with it. References are relative, absolute, with a
version and urn:uuid in turn. With `--broken` there are also one patient whose only Observation is about somebody else,
one torn line, one resource of a patient that is not there, and one patient of 100,000 Observations.

`measure` prints, of reading every line as JSON and nothing else (orjson) and of `sitbone population`, the time, the
CPU, the patients for which a second of CPU is enough, and the memory of the largest process. `stages` prints the same
of the two stages of a run, each alone in one process: of charts with this pain, and of the others.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from service.knowledge_model.loader import load
from service.population.assessing import KEYS, PopulationAssessor
from service.population.export import opened, read_export
from service.population.lines import SORTED, Population, assess_batches, sort_lines
from service.server.memory import set_aside_what_is_loaded

REQUESTS = Path(__file__).parents[1] / "fixtures" / "requests"
AS_OF = "2026-11-22"
_SERVER = "https://ehr.example.org/fhir/r4"
# As a reference to a patient may be written, in turn.
_REFERENCES = ("Patient/{}", _SERVER + "/Patient/{}", "Patient/{}/_history/2", "urn:uuid:{}")
_OF_THIS_PAIN = 0.05
_HEAVY = 100_000
# What stands for the patient in the text of a resource.
_PATIENT = "@@patient@@"
_SUBJECTS = ("subject", "patient")

Resources = Sequence[dict[str, Any]]


def charts_of_requests(folder: Path = REQUESTS) -> list[Resources]:
    """The chart of each request that brings one: a Patient and what was prefetched of it."""
    charts: list[Resources] = []
    for path in sorted(folder.glob("*.json")):
        request = json.loads(path.read_bytes())
        found = [one for value in request.get("prefetch", {}).values() for one in _within(value)]
        patients = [one for one in found if one["resourceType"] == "Patient"]
        if len(patients) == 1:
            charts.append(found)
    return charts


def _within(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and value.get("resourceType") == "Bundle":
        for entry in value.get("entry", ()):
            yield from _within(entry.get("resource"))
    elif isinstance(value, dict) and "resourceType" in value:
        yield value


def charts_of_bundles(file: Path) -> list[Resources]:
    """The chart of each line, which is a Bundle."""
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        return [[*_within(json.loads(line))] for line in lines]


def _templates(chart: Resources) -> list[tuple[str, str]]:
    """Type and text of each resource that is read, with a mark for whoever it is about."""
    made = []
    for one in chart:
        kind = one["resourceType"]
        if kind not in KEYS:
            continue
        of = dict(one)
        if kind == "Patient":
            of["id"] = _PATIENT
        for name in _SUBJECTS:
            if isinstance(of.get(name), dict) and "reference" in of[name]:
                of[name] = {"reference": _PATIENT}
        made.append((kind, json.dumps(of, separators=(",", ":"), ensure_ascii=False)))
    return made


def population(patients: int, seed: int, base: Sequence[Resources]) -> Iterator[tuple[str, str]]:
    """Type and line of each resource."""
    chance = random.Random(seed)  # noqa: S311 - it is to be the same each time
    ordinary = [_templates(chart) for chart in base]
    painful = [
        [(kind, text) for kind, text in _templates(chart) if kind != "Patient"] for chart in charts_of_requests()
    ]
    for number in range(patients):
        id_ = f"p{number:07d}"
        chart = chance.choice(ordinary)
        if chance.random() < _OF_THIS_PAIN:
            chart = [*chart, *chance.choice(painful)]
        for place, (kind, text) in enumerate(chart):
            written = id_ if kind == "Patient" else _REFERENCES[(number + place) % len(_REFERENCES)].format(id_)
            yield kind, text.replace(_PATIENT, written)


def broken(heavy: int = _HEAVY) -> Iterator[tuple[str, str]]:
    """Type and line of what may go wrong with single patients; see above."""

    def line(kind: str, **members: Any) -> tuple[str, str]:
        return kind, json.dumps({"resourceType": kind, **members})

    yield line("Patient", id="about-another", birthDate="1980-01-01")
    # With a code that is none it is read as a whole, and then it is somebody else's: the hook would refuse that chart.
    yield line(
        "Observation",
        id="o1",
        code="text",
        subject={"reference": "Patient/about-another"},
        focus=[{"reference": "Patient/another"}],
    )
    yield "Observation", '{"resourceType":"Observation","id":"torn","subject":{"refer'
    yield line("Observation", id="o2", subject={"reference": "Patient/not-there"})
    yield line("Patient", id="heavy", birthDate="1950-01-01")
    for number in range(heavy):
        yield line(
            "Observation",
            id=f"h{number}",
            status="final",
            subject={"reference": "Patient/heavy"},
            code={"coding": [{"system": "http://loinc.org", "code": "8867-4" if number % 2 else "4548-4"}]},
            effectiveDateTime=f"20{number % 26:02d}-01-01",
            valueQuantity={"value": 5, "system": "http://unitsofmeasure.org", "code": "%"},
        )


def write(folder: Path, resources: Iterator[tuple[str, str]], types: Sequence[str] = tuple(KEYS)) -> Path:
    """The export of these resources, of the types that were exported; its manifest is given back."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {kind: (folder / f"{kind}.ndjson").open("w", encoding="utf-8") for kind in types}
    counts = dict.fromkeys(types, 0)
    for kind, line in resources:
        if kind in files:
            files[kind].write(f"{line}\n")
            counts[kind] += 1
    for file in files.values():
        file.close()
    manifest = {
        "transactionTime": f"{AS_OF}T12:00:00Z",
        "request": f"{_SERVER}/$export?_type={','.join(types)}",
        "requiresAccessToken": False,
        # A type of which there is nothing has no file.
        "output": [
            {"type": kind, "url": f"{_SERVER}/files/{kind}.ndjson", "count": count}
            for kind, count in counts.items()
            if count
        ],
        "error": [],
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    return path


def _measured(name: str, command: Sequence[str], patients: int, folder: Path) -> None:
    """Prints what a command took, with all processes that it waited for."""
    before = time.monotonic()
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _pid, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - before
    if status:
        sys.exit((folder / "output").read_text())
    _print(name, wall, used.ru_utime + used.ru_stime, patients, f"{used.ru_maxrss / 1024:7.0f} MB")


def _print(name: str, wall: float, of_processor: float, patients: int, more: str = "") -> None:
    print(f"{name:<22}{wall:8.1f} s{of_processor:8.1f} s of CPU{patients / of_processor:9.0f} patients/s of CPU{more}")


def measure(manifest: Path, spark: str) -> None:
    """Prints a line for each way."""
    with (manifest.parent / "Patient.ndjson").open("rb") as file:
        patients = sum(1 for _line in file)
    size = sum(path.stat().st_size for path in manifest.parent.glob("*.ndjson"))
    print(f"{patients} patients, {size / 1e6:.0f} MB")
    given = [str(manifest), "--max-failed", "1%"]
    bare = [sys.executable, "-m", "bench.population", "bare", str(manifest)]
    sitbone = [sys.executable, "-c", "from service.cli import main; main()", "population", *given]
    with tempfile.TemporaryDirectory() as between:
        folder = Path(between)
        _measured("bare JSON pass", bare, patients, folder)
        _measured("local, 1 process", [*sitbone, "--processes", "1", "--out", str(folder / "1")], patients, folder)
        _measured("local, 2 processes", [*sitbone, "--processes", "2", "--out", str(folder / "2")], patients, folder)
        if spark:
            submit = [*shlex.split(spark), *given, "--engine", "spark", "--out", str(folder / "s")]
            _measured("spark", submit, patients, folder)


def stages(manifest: Path) -> None:
    """Prints what sorting out lines and assessing charts take."""
    export = read_export(manifest, None)
    given = Population(PopulationAssessor(load()), export.states, export.transaction_time or datetime.now(UTC))
    batches = []
    set_aside_what_is_loaded()
    used = time.process_time()
    for path in export.of_patients:
        with opened(path) as file:
            while some := [*islice(file, 5_000)]:
                batches.append(sort_lines(given, some))
    sorting = time.process_time() - used
    ordered = pa.Table.from_batches(batches).sort_by([(name, "ascending") for name in SORTED.names]).to_batches()
    rows = [row for batch, _counts in assess_batches(given, ordered) if batch for row in batch.to_pylist()]
    _print("sort out lines", sorting, sorting, len(rows))
    with_pain = {row["patient"] for row in rows if row["complaint"] == "present"}
    whole = pa.Table.from_batches(ordered)
    for name, wanted in (("assess, with pain", True), ("assess, without", False)):
        keys = whole.column("key").to_pylist()
        of = whole.filter(pa.array([(key in with_pain) is wanted for key in keys])).to_batches()
        used = time.process_time()
        number = sum(batch.num_rows for batch, _counts in assess_batches(given, of) if batch)
        used = time.process_time() - used
        _print(name, used, used, number)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.population", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write a population")
    make.add_argument("folder", type=Path)
    make.add_argument("--patients", type=int, default=10_000)
    make.add_argument("--seed", type=int, default=17)
    make.add_argument("--charts", type=Path, help="base charts, a Bundle a line")
    make.add_argument("--broken", action="store_true", help="with what may go wrong")
    timed = commands.add_parser("measure", help="measure the engines")
    timed.add_argument("manifest", type=Path)
    timed.add_argument("--spark-submit", default="", help="how Spark is started, up to the arguments of the command")
    commands.add_parser("stages", help="measure the stages").add_argument("manifest", type=Path)
    commands.add_parser("bare", help="decode every line").add_argument("manifest", type=Path)
    given = parser.parse_args()
    if given.command == "make":
        base = charts_of_bundles(given.charts) if given.charts else charts_of_requests()
        made = population(given.patients, given.seed, base)
        print(write(given.folder, (one for each in ((made, broken()) if given.broken else (made,)) for one in each)))
    elif given.command == "measure":
        measure(given.manifest, given.spark_submit)
    elif given.command == "stages":
        stages(given.manifest)
    else:
        for path in sorted(given.manifest.parent.glob("*.ndjson")):
            with path.open("rb") as file:
                for line in file:
                    _decoded(line)


def _decoded(line: bytes) -> Mapping[str, Any] | None:
    try:
        return orjson.loads(line)  # type: ignore[no-any-return]
    except ValueError:
        return None


if __name__ == "__main__":
    main()
