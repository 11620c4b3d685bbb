"""`sitbone population`: rows, states, failures, what is written down of a run, and that both engines agree."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from bench.population import broken, charts_of_requests, population, write
from cds_hooks.prefetch import PrefetchState, PrefetchValue
from service.chart.case import CaseReader
from service.chart.patient import ReceivedChart
from service.cli import main
from service.knowledge_model.conditions import Interval
from service.population import assessing, lines, local
from service.population.assessing import DATA_TYPES, KEYS, PopulationAssessor, age_band
from service.population.lines import Population, assess_batches, sort_lines
from service.population.report import write_report
from service.population.run import RunError
from service.population.summary import Summary, shown
from tests.charts import CLOCK, packaged
from tests.test_imports import LIST_WHAT_IS_LOADED, NOT_NEEDED

EXPORTED = dict.fromkeys(DATA_TYPES, PrefetchState.SUPPLIED)
KEY = {"SITBONE_LOG_KEY": "kR4vQm9ZtW2xLb7nHc5jPd8s"}
SERVER = "https://ehr.example.org/fhir/r4"


@cache
def assessor() -> PopulationAssessor:
    return PopulationAssessor(packaged())


def of(**members: Any) -> Population:
    return Population(assessor(), EXPORTED, CLOCK, **members)


def rows_of(given: Population, *pieces: Sequence[bytes]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The rows of these lines, sorted out piece by piece, and what was counted."""
    table = pa.Table.from_batches([sort_lines(given, piece) for piece in pieces])
    ordered = table.sort_by([(name, "ascending") for name in table.column_names])
    rows: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    for batch, counted in assess_batches(given, ordered.to_batches(max_chunksize=3)):
        rows += batch.to_pylist() if batch else []
        counts.update({name: counts.get(name, 0) + number for name, number in counted.items()})
    return rows, counts


def line(kind: str, **members: Any) -> bytes:
    return json.dumps({"resourceType": kind, **members}).encode()


def pain(reference: str, id_: str = "o1") -> bytes:
    return line(
        "Observation",
        id=id_,
        status="final",
        subject={"reference": reference},
        code={"coding": [{"system": "https://sitbone.example.org/fhir/CodeSystem/findings", "code": "buttock-pain"}]},
        valueBoolean=True,
    )


def command(*words: str | Path, env: Mapping[str, str] = KEY) -> Result:
    return CliRunner().invoke(main, ["population", *map(str, words)], env=env, catch_exceptions=False)


def read(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "patients.parquet").sort_by("patient").to_pylist()
    return rows


def run_of(folder: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((folder / "run.json").read_text("utf-8"))
    return made


def everything(patients: int = 40, heavy: int = 100_000) -> Iterator[tuple[str, str]]:
    yield from population(patients, 17, charts_of_requests())
    yield from broken(heavy)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a small population, with what may go wrong in it."""
    return write(tmp_path_factory.mktemp("export"), everything())


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without many resources of one patient."""
    return write(tmp_path_factory.mktemp("light"), everything(heavy=10))


@pytest.fixture(scope="module")
def ran(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run over it wrote."""
    out = tmp_path_factory.mktemp("out")
    done = command(exported, "--out", out, "--max-failed", "5%", "--processes", "1", "--ids", "plain")
    assert done.exit_code == 0, done.output
    return out


def test_what_is_wrong_with_single_patients_is_counted_and_ends_nothing(ran: Path) -> None:
    counts = run_of(ran)["counts"]
    assert counts["patients"] == 42
    assert counts["failed"] == {"PreconditionFailed": 1}
    assert (counts["torn"], counts["orphans"], counts["orphaned_patients"]) == (1, 1, 1)
    rows = {row["patient"]: row for row in read(ran)}
    assert rows["about-another"]["failed"] == "PreconditionFailed"
    assert rows["about-another"]["left_out"] is None
    assert rows["heavy"]["resources"] == 100_001
    assert rows["heavy"]["failed"] is None
    assert "not-there" not in rows


def test_what_went_in_came_out(exported: Path, ran: Path) -> None:
    said = run_of(ran)
    counts, whole = said["counts"], sum(path.read_bytes().count(b"\n") for path in exported.parent.glob("*.ndjson"))
    assert counts["lines"] == counts["announced"] == whole
    parts = ("torn", "of_nobody", "of_other_types", "deleted", "orphans", "resources")
    assert sum(counts[name] for name in parts) == whole
    assert counts["assessed"] + sum(counts["failed"].values()) == counts["patients"] == len(read(ran))
    assert sum(row["resources"] for row in read(ran)) == counts["resources"]


def test_a_run_says_what_it_was_made_of(exported: Path, ran: Path) -> None:
    said = run_of(ran)
    assert said["knowledge"]["digest"].startswith("sha256:")
    assert all(set(each) == {"digest", "state"} for each in said["knowledge"]["recommendations"].values())
    assert len(said["knowledge"]["recommendations"]) == sum(said["knowledge"]["states"].values()) > 200
    assert said["transactionTime"] == said["asOf"] == "2026-11-22T12:00:00+00:00"
    by_name = {each["file"]: each for each in said["inputs"]}
    assert by_name["Patient.ndjson"]["bytes"] == (exported.parent / "Patient.ndjson").stat().st_size
    assert all(len(each["sha256"]) == 64 for each in said["inputs"])
    assert said["command"].startswith("sitbone")
    metadata = json.loads(pq.read_schema(ran / "patients.parquet").metadata[b"sitbone"])
    assert metadata["knowledge"] == said["knowledge"]
    assert metadata["inputs"] == said["inputs"]


def test_more_failures_than_are_allowed_end_with_one(light: Path, tmp_path: Path) -> None:
    done = command(light, "--out", tmp_path / "out", "--max-failed", "1%", "--processes", "1")
    assert done.exit_code == 1
    assert "More failed than" in done.output
    assert len(read(tmp_path / "out")) == 42


def test_a_torn_file_counts_as_failed_lines(tmp_path: Path) -> None:
    (tmp_path / "Patient.ndjson").write_bytes(line("Patient", id="a") + b"\n{\n{\n")
    done = command(tmp_path, "--types", "Patient", "--out", tmp_path / "out", "--processes", "1")
    assert done.exit_code == 1


def test_each_chart_is_decided_as_the_hook_decides_it() -> None:
    reader, number, with_pain = CaseReader(packaged()), 0, 0
    own = PopulationAssessor(packaged())._by[0][1]
    for chart in charts_of_requests():
        patient = next(one for one in chart if one["resourceType"] == "Patient")["id"]
        by_kind: dict[str, list[bytes]] = {kind: [] for kind in KEYS}
        for one in chart:
            if one["resourceType"] in KEYS:
                by_kind[one["resourceType"]].append(json.dumps(one).encode())
        prefetch = {
            KEYS[kind]: PrefetchValue(
                KEYS[kind], PrefetchState.SUPPLIED if found else PrefetchState.EMPTY, tuple(map(msgspec.Raw, found))
            )
            for kind, found in by_kind.items()
        }
        case = reader.read(ReceivedChart(patient, prefetch), CLOCK)
        assessment = own.assess(case)
        texts = [text for found in by_kind.values() for text in found]
        # In two pieces, as the lines of a patient may lie in several files.
        (row,), _counts = rows_of(of(), texts[::2], texts[1::2])
        assert row["complaint"] == assessment.complaint
        fired = {(each.recommendation.id, each.indicator) for each in assessment.fired}
        assert {(each["id"], each["tier"]) for each in row["fired"]} == fired
        assert {each["key"] for each in row["imaging"]} == {call.key for call in assessment.imaging}
        assert {each["key"] for each in row["referrals"]} == {call.key for call in assessment.referrals}
        assert {(each["id"], each["state"]) for each in row["treatment"]} == {
            (call.id, call.state) for call in assessment.treatment
        }
        # What is of another patient is not among the lines of this one.
        for name in {*assessing.LEFT_OUT} - {"other_patient"}:
            assert row["left_out"][name] == getattr(case.left_out, name)
        assert row["data"] == {kind: str(prefetch[KEYS[kind]].state) for kind in DATA_TYPES}
        number, with_pain = number + 1, with_pain + (assessment.complaint == "present")
    assert number > 80
    assert with_pain > 60


def test_codes_of_systems_that_nobody_knows_are_unreadable_wherever_they_are_dropped() -> None:
    foreign = [
        line(
            "Observation",
            id=f"f{n}",
            subject={"reference": "Patient/a"},
            code={"coding": [{"system": "urn:x", "code": "1"}]},
        )
        for n in range(3)
    ]
    (row,), _counts = rows_of(of(), [line("Patient", id="a"), foreign[0]], foreign[1:])
    assert row["left_out"]["unreadable"] == 3
    assert row["complaint"] == "unknown"
    assert row["data"]["Observation"] == "supplied"
    known = line(
        "Observation",
        id="k",
        subject={"reference": "Patient/a"},
        code={"coding": [{"system": "http://loinc.org", "code": "1-8"}]},
    )
    (row,), _counts = rows_of(of(), [line("Patient", id="a"), foreign[0]], [*foreign[1:], known])
    assert row["left_out"]["unreadable"] == 0
    assert row["complaint"] == "absent"


@pytest.mark.parametrize("reference", ["Patient/a", f"{SERVER}/Patient/a", "Patient/a/_history/3", "urn:uuid:a", "a"])
def test_a_patient_is_one_row_however_it_is_referred_to(reference: str) -> None:
    rows, counts = rows_of(of(), [pain("Patient/a", "o1"), line("Patient", id="a")], [pain(reference, "o2")])
    assert [(row["patient"], row["resources"]) for row in rows] == [("a", 3)]
    assert counts["lines"] == counts["resources"] == 3


@pytest.mark.parametrize("reference", ["Group/a", "", f"{SERVER}/Device/a"])
def test_what_names_no_patient_is_of_nobody(reference: str) -> None:
    rows, counts = rows_of(of(), [line("Patient", id="a"), pain(reference)])
    assert rows[0]["resources"] == 1
    assert counts["of_nobody"] == 1


def test_a_form_without_a_subject_is_of_the_patient_who_filled_it_in() -> None:
    form = line("QuestionnaireResponse", id="q", status="completed", source={"reference": "Patient/a"})
    (row,), _counts = rows_of(of(), [line("Patient", id="a"), form])
    assert row["data"]["QuestionnaireResponse"] == "supplied"


def test_a_line_with_an_element_of_the_wrong_type_is_still_of_its_patient() -> None:
    odd = line("Observation", id="o", code=7, patient={"reference": "Patient/a"})
    (row,), counts = rows_of(of(), [line("Patient", id="a"), odd])
    assert row["resources"] == 2
    assert row["left_out"]["unreadable"] == 1
    assert "torn" not in counts


@pytest.mark.parametrize("torn", [b"{", b'{"resourceType":"Pat', b"[]", b"7", b'{"a":"\xff"', b"[" * 5000])
def test_a_torn_line_is_counted_and_the_next_is_read(torn: bytes) -> None:
    rows, counts = rows_of(of(), [torn, b"", b"  ", line("Patient", id="a")])
    assert [row["patient"] for row in rows] == ["a"]
    assert (counts["lines"], counts["torn"]) == (2, 1)


@pytest.mark.parametrize("step", ["needed", "read"])
def test_whatever_a_chart_makes_the_reader_raise_fails_that_patient_alone(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    sound = getattr(CaseReader, step)

    def breaks(reader: CaseReader, chart: Any, *more: Any) -> Any:
        if "bad" in (chart, getattr(chart, "patient_id", "")):
            raise KeyError
        return sound(reader, chart, *more)

    monkeypatch.setattr(CaseReader, step, breaks)
    of_both = [line("Patient", id="bad"), pain("Patient/bad"), line("Patient", id="good"), pain("Patient/good")]
    rows, counts = rows_of(of(), of_both)
    failed = "KeyError" if step == "read" else None
    assert [(row["patient"], row["failed"], row["resources"]) for row in rows] == [
        ("bad", failed, 2),
        ("good", None, 2),
    ]
    assert rows[1]["complaint"] == "present"
    assert counts["resources"] == counts["lines"] == 4


def test_what_the_export_says_is_deleted_is_no_more(tmp_path: Path) -> None:
    export = write(
        tmp_path / "export",
        iter([("Patient", '{"resourceType":"Patient","id":"a"}'), ("Observation", pain("Patient/a").decode())]),
    )
    manifest = json.loads(export.read_text())
    (tmp_path / "export" / "gone.ndjson").write_text(
        json.dumps({"resourceType": "Bundle", "entry": [{"request": {"method": "DELETE", "url": "Observation/o1"}}]})
    )
    export.write_text(json.dumps({**manifest, "deleted": [{"type": "Bundle", "url": "gone.ndjson"}]}))
    assert command(export, "--out", tmp_path / "out", "--processes", "1").exit_code == 0
    assert run_of(tmp_path / "out")["counts"]["deleted"] == 1
    assert read(tmp_path / "out")[0]["complaint"] == "absent"


def test_a_medicine_that_is_a_reference_is_known_by_what_it_refers_to() -> None:
    apixaban = line("Medication", id="m1", code={"text": "Apixaban 5 mg"})
    order = line(
        "MedicationRequest",
        id="r1",
        status="active",
        intent="order",
        subject={"reference": "Patient/a"},
        medicationReference={"reference": "Medication/m1"},
    )
    (without,), _counts = rows_of(of(), [line("Patient", id="a"), order])
    (with_it,), _counts = rows_of(of(medications={"m1": apixaban}), [line("Patient", id="a"), order])
    assert without["left_out"]["unreadable"] == 1
    assert with_it["left_out"]["unreadable"] == 0
    assert with_it["resources"] == 2


def test_a_patient_with_more_resources_than_are_read_fails_as_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assessing, "MOST_RESOURCES", 5)
    monkeypatch.setattr(lines, "MOST_RESOURCES", 5)
    many = [pain("Patient/a", f"o{number}") for number in range(20)]
    rows, counts = rows_of(of(), [line("Patient", id="a"), *many, line("Patient", id="b")])
    assert [(row["patient"], row["failed"], row["resources"]) for row in rows] == [
        ("a", "too-large", 21),
        ("b", None, 1),
    ]
    assert counts["resources"] == 22


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with one patient with this pain, and no manifest."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "Patient.ndjson").write_bytes(line("Patient", id="a", birthDate="1980-05-01", gender="female"))
    with gzip.open(folder / "Observation.000.ndjson.gz", "wb") as file:
        file.write(pain("Patient/a"))
    return folder


def states(folder: Path) -> dict[str, str]:
    (row,) = read(folder)
    found: dict[str, str] = row["data"]
    return found


def test_a_type_that_was_not_exported_is_missing_and_not_empty(small: Path, tmp_path: Path) -> None:
    types = "Patient,Observation,AllergyIntolerance"
    assert command(small, "--types", types, "--out", tmp_path / "out", "--processes", "1").exit_code == 0
    found = states(tmp_path / "out")
    assert (found["Observation"], found["AllergyIntolerance"], found["Condition"]) == ("supplied", "empty", "missing")
    (row,) = read(tmp_path / "out")
    assert (row["complaint"], row["age_band"], row["sex"]) == ("present", "40-49", "female")


def test_without_a_manifest_the_types_have_to_be_said(small: Path, tmp_path: Path) -> None:
    done = command(small, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "--types Observation,Patient" in done.output
    left = command(small, "--types", "Patient", "--out", tmp_path / "out")
    assert left.exit_code == 2
    assert "files of Observation" in left.output


def manifest(small: Path, **members: Any) -> Path:
    output = [
        {"type": "Patient", "url": f"{SERVER}/files/Patient.ndjson"},
        {"type": "Observation", "url": "Observation.000.ndjson.gz"},
    ]
    path = small / "manifest.json"
    path.write_text(json.dumps({"transactionTime": "2026-11-22T00:00:00Z", "output": output, **members}))
    return path


@pytest.mark.parametrize(
    ("issue", "incomplete"),
    [
        ({"severity": "error", "diagnostics": "Condition could not be read"}, {"Condition"}),
        ({"severity": "error", "diagnostics": "no more time"}, set(DATA_TYPES)),
        ({"severity": "information", "diagnostics": "Condition was slow"}, set()),
    ],
)
def test_a_type_among_the_errors_of_an_export_is_incomplete(
    small: Path, tmp_path: Path, issue: Any, incomplete: set[str]
) -> None:
    (small / "errors.ndjson").write_text(json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}))
    given = manifest(
        small,
        request=f"{SERVER}/$export?_type=Patient,Observation,Condition",
        error=[{"type": "OperationOutcome", "url": f"{SERVER}/files/errors.ndjson"}],
    )
    assert command(given, "--out", tmp_path / "out", "--processes", "1").exit_code == 0
    found = states(tmp_path / "out")
    assert {kind for kind, state in found.items() if state == "incomplete"} == incomplete
    if not incomplete:
        # It was asked for, and there is nothing of it.
        assert (found["Condition"], found["AllergyIntolerance"]) == ("empty", "missing")


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"request": f"{SERVER}/$export?_since=2026-01-01T00:00:00Z"}, "Export without _since"),
        ({"output": [{"type": "Patient", "url": "elsewhere.ndjson"}]}, "elsewhere.ndjson, which is not beside it"),
        ({"output": []}, "has no Patient file"),
    ],
)
def test_an_export_that_is_none_of_whole_charts_is_refused(
    small: Path, tmp_path: Path, members: dict[str, Any], says: str
) -> None:
    done = command(manifest(small, **members), "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert says in done.output


def test_a_file_that_cannot_be_unpacked_ends_the_run_with_its_name(small: Path, tmp_path: Path) -> None:
    packed = small / "Observation.000.ndjson.gz"
    packed.write_bytes(packed.read_bytes()[:-12])
    words = (manifest(small), "--out", tmp_path / "out", "--processes", "1", "--features", "--ids", "plain")
    done = command(*words)
    assert done.exit_code == 2
    assert "Observation.000.ndjson.gz is torn" in done.output
    # No part of the rows passes for all of them.
    assert [*(tmp_path / "out").iterdir()] == []


def test_a_folder_with_something_in_it_is_not_written_to(small: Path, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("")
    done = command(manifest(small), "--out", tmp_path)
    assert done.exit_code == 2
    assert "is not empty" in done.output


@pytest.mark.parametrize("given", ["0.1", "101%", "some"])
def test_a_share_is_given_in_percent(small: Path, tmp_path: Path, given: str) -> None:
    done = command(small, "--types", "Patient", "--out", tmp_path / "out", "--max-failed", given)
    assert done.exit_code == 2
    assert "as 0.1%" in done.output


def test_what_happens_after_the_day_is_not_there_yet(small: Path, tmp_path: Path) -> None:
    later = line(
        "Observation",
        id="o9",
        status="final",
        subject={"reference": "Patient/a"},
        code={"coding": [{"system": "https://sitbone.example.org/fhir/CodeSystem/findings", "code": "buttock-pain"}]},
        effectiveDateTime="2026-11-20",
        valueBoolean=True,
    )
    (small / "Observation.000.ndjson.gz").unlink()
    (small / "Observation.ndjson").write_bytes(later)
    for day, expected in (("2026-11-10", "unknown"), ("2026-11-21", "present")):
        out = tmp_path / day
        words = (small, "--types", ",".join(KEYS), "--out", out, "--as-of", day, "--processes", "1")
        assert command(*words).exit_code == 0
        (row,) = read(out)
        assert row["as_of"] == datetime.fromisoformat(f"{day}T23:59:59+00:00")
        assert (row["complaint"], row["left_out"]["future"]) == (expected, int(expected == "unknown"))


def test_patients_are_hashes_by_the_key_of_the_site(light: Path, ran: Path, tmp_path: Path) -> None:
    plain = {row["patient"] for row in read(ran)}
    found = []
    for name, env in (
        ("one", KEY),
        ("same", KEY),
        ("other", {"SITBONE_LOG_KEY": "Tz6yGf3wNa1uVe0oXi9qBr4m"}),
    ):
        out = tmp_path / name
        command(light, "--out", out, "--max-failed", "5%", "--processes", "1", env=env)
        found.append({row["patient"] for row in read(out)})
        for file in out.iterdir():
            assert not [id_ for id_ in plain - {"heavy"} if id_.encode() in file.read_bytes()]
    one, same, other = found
    assert one == same
    assert one.isdisjoint(other | plain)
    assert all(len(each) == 32 for each in one)


def test_nothing_of_a_chart_is_in_what_is_written(small: Path, tmp_path: Path) -> None:
    (small / "Patient.ndjson").write_bytes(
        line("Patient", id="a", birthDate="1980-05-01", name=[{"family": "Quastenflosser"}], gender="female")
    )
    (small / "Condition.ndjson").write_bytes(
        line(
            "Condition",
            id="c",
            subject={"reference": "Patient/a"},
            code={"coding": [{"code": "I10"}], "text": "Zirbeldruse"},
        )
    )
    out = tmp_path / "out"
    assert command(small, "--types", ",".join(KEYS), "--out", out, "--processes", "1").exit_code == 0
    written = b"".join(path.read_bytes() for path in out.iterdir())
    assert {path.name for path in out.iterdir()} == {"patients.parquet", "run.json", "report.html"}
    for word in (b"Quastenflosser", b"Zirbeldruse", b"1980-05-01", b"buttock-pain"):
        assert word not in written


def test_what_was_read_of_each_chart_can_be_had_as_features(small: Path, tmp_path: Path) -> None:
    words = (manifest(small), "--out", tmp_path / "out", "--processes", "1", "--features")
    refused = command(*words)
    assert refused.exit_code == 2
    assert "goes with --ids plain alone" in refused.output
    assert command(*words, "--ids", "plain").exit_code == 0
    with gzip.open(tmp_path / "out" / "features.ndjson.gz") as file:
        found = [json.loads(each) for each in file]
    assert {each["subject"]["reference"] for each in found} == {"Patient/a"}
    assert [each["code"]["coding"][0]["code"] for each in found] == ["features-read", "age", "sex", "buttock-pain"]
    assert "features" not in read(tmp_path / "out")[0]


def test_knowledge_beside_itself_differs_nowhere(light: Path, repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    own = repository / "service" / "knowledge"
    words = (light, "--out", out, "--max-failed", "5%", "--processes", "1", "--compare", own)
    assert command(*words).exit_code == 0
    assert [row for row in read(out) if row["lost"] or row["new"]] == []
    assert run_of(out)["compared"]["digest"] == run_of(out)["knowledge"]["digest"]


def test_a_recommendation_that_is_gone_is_lost_for_whom_it_fired(light: Path, repository: Path, tmp_path: Path) -> None:
    own, without = repository / "service" / "knowledge", tmp_path / "knowledge"
    words = ("--out", tmp_path / "own", "--max-failed", "5%", "--processes", "1", "--ids", "plain")
    assert command(light, *words).exit_code == 0
    of_patients = {row["patient"]: {each["id"] for each in row["fired"] or ()} for row in read(tmp_path / "own")}
    counted = Counter(id_ for ids in of_patients.values() for id_ in ids)
    # One that nothing else depends on.
    gone = next(id_ for id_, _count in counted.most_common() if id_.startswith("rs"))
    shutil.copytree(own, without)
    file = without / "recommendations" / f"{gone}.toml"
    file.write_text(file.read_text("utf-8").replace('status = "draft"', 'status = "retired"', 1), "utf-8")
    out = tmp_path / "out"
    words = ("--out", out, "--max-failed", "5%", "--processes", "1", "--ids", "plain")
    assert command(light, *words, "--knowledge", without, "--compare", own).exit_code == 0
    lost = {row["patient"] for row in read(out) if gone in [each["id"] for each in row["lost"] or ()]}
    assert lost == {patient for patient, ids in of_patients.items() if gone in ids} != set()
    assert all(gone not in [each["id"] for each in row["new"] or ()] for row in read(out))
    assert "What differs from the other knowledge" in (out / "report.html").read_text("utf-8")


def test_processes_and_pieces_of_files_change_no_row(
    exported: Path, ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_PIECE", 100_000)
    monkeypatch.setattr(local, "_OF_PART", 1_000_000)
    out = tmp_path / "out"
    words = (exported, "--out", out, "--max-failed", "5%", "--processes", "2", "--ids", "plain")
    assert command(*words).exit_code == 0
    assert read(out) == read(ran)
    assert [*out.glob(".parts*")] == []


def test_a_process_that_the_system_ends_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    workers = local._Workers(of(), 2, tmp_path / "population")
    with workers, pytest.raises(RunError, match="fewer \\(--processes\\) need less"):
        list(workers.each(os._exit, [1]))


def test_processes_that_end_as_they_begin_end_the_run_too(small: Path, repository: Path, tmp_path: Path) -> None:
    # Each process runs such a file anew, and this one then ends with what is there already.
    start = tmp_path / "start.py"
    start.write_text("from service.cli import main\nmain()\n")
    words = (small, "--types", "Patient,Observation", "--out", tmp_path / "out", "--processes", "2")
    done = subprocess.run(
        [sys.executable, start, "population", *words],
        env={**os.environ, **KEY, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert "A process of the run was ended" in done.stderr


@pytest.mark.needs_system("java", "Spark runs on it")
@pytest.mark.needs_system("spark-submit", "the other engine (`make spark`)")
def test_spark_gives_the_same_rows(exported: Path, ran: Path, repository: Path, tmp_path: Path) -> None:
    submit = Path(shutil.which("spark-submit") or "")
    start = tmp_path / "population.py"
    start.write_text("import sys\nfrom service.cli import main\nsys.argv[0] = 'sitbone'\nmain()\n")
    out = tmp_path / "out"
    words = (exported, "--out", out, "--max-failed", "5%", "--ids", "plain", "--engine", "spark")
    done = subprocess.run(
        [submit, "--master", "local[2]", "--conf", "spark.ui.enabled=false", start, "population", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(repository), "PYSPARK_PYTHON": str(submit.with_name("python"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert read(out) == read(ran)
    assert {**run_of(out)["counts"]} == {**run_of(ran)["counts"]}


def test_the_core_loads_no_web_framework_no_schemas_and_no_settings() -> None:
    core = [f"service.population.{name}" for name in ("assessing", "lines", "export", "local", "summary", "run")]
    asked = [sys.executable, "-c", LIST_WHAT_IS_LOADED, *core]
    loaded = set(subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.split())
    assert set(core) <= loaded
    assert not NOT_NEEDED & {name.partition(".")[0] for name in loaded}
    assert "service.settings" not in loaded
    assert not {"duckdb", "pandas", "pyspark"} & loaded


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (None, "unknown"),
        (Interval(0, 0), "0-11"),
        (Interval(12, 12), "12-17"),
        (Interval(29, 30), "unknown"),
        (Interval(104, 104), "90+"),
    ],
)
def test_an_age_is_in_the_band_that_it_is_surely_in(age: Interval | None, band: str) -> None:
    assert age_band(age) == band


def test_a_small_number_is_not_shown_nor_what_it_can_be_worked_out_from() -> None:
    assert shown([100, 20, 3], 11) == [100, None, None]
    assert shown([100, 4, 3], 11) == [100, None, None]
    assert shown([100, 20, 0], 11) == [100, 20, 0]
    assert shown([5, 0, 0], 11) == [None, 0, 0]


def test_neither_the_order_nor_the_bars_of_the_report_tell_a_small_number(ran: Path, tmp_path: Path) -> None:
    summary = Summary(patients=100)
    # With what is not shown, the second would be before the first.
    for found in (summary.fired, summary.lost):
        found["rs01-sudden-tear"].update({"critical": 12})
        found["rl03-malignancy"].update({"critical": 11, "info": 7})
    summary.calls.update({"b": 7, "a": 3, "c": 20})
    said = run_of(ran)
    write_report(tmp_path, packaged(), summary, {**said, "compared": said["knowledge"]}, 11)
    page = (tmp_path / "report.html").read_text("utf-8")
    places = [page.index(f"{id_}<") for id_ in ("rs01-sudden-tear", "rl03-malignancy")]
    assert places == sorted(places)
    assert re.search(r">\s*12\s*<", page)
    assert not re.search(r">\s*18\s*<", page)


def test_the_report_shows_no_small_number_and_has_no_script(ran: Path) -> None:
    page = (ran / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "fewer than 11" in page
    assert "no list of patients to call in" in page
