"""A run over a population: rows as Parquet, what it was made of as run.json, and a report for people."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from service.population.export import Export
from service.population.lines import FEATURES, Assessed, Population
from service.population.summary import Summary

if TYPE_CHECKING:
    # It loads the settings, which are read by the command alone.
    from service.pseudonyms import Pseudonyms

ROWS_FILE, RUN_FILE, REPORT_FILE = "patients.parquet", "run.json", "report.html"
FEATURES_FILE = "features.ndjson.gz"
# What becomes of a line; each is one of them.
_LINES = ("torn", "of_nobody", "of_other_types", "deleted", "orphans", "resources")
# Bytes of the hash that stands for a patient: of a hundred million no two have one in common.
_SIZE = 16


class RunError(Exception):
    """What keeps a run from its end, in a sentence for whoever started it."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a run."""

    summary: Summary
    counts: Mapping[str, Any]

    @property
    def failed(self) -> float:
        """The share of patients that failed or, if that is larger, of lines that could not be read."""
        lost: float = self.counts["torn"] / max(self.counts["lines"], 1)
        return max(self.summary.failed.total() / max(self.summary.patients, 1), lost)


def write_rows(
    assessed: Iterable[Assessed],
    population: Population,
    folder: Path,
    *,
    pseudonyms: Pseudonyms | None,
    provenance: Mapping[str, Any],
) -> Run:
    """Writes the rows as they come, and counts them. Without `pseudonyms` patients stand there by their FHIR ids.

    Raises RunError where what went in is not what came out.
    """
    summary, tally = Summary(), Counter[str]()
    schema = population.schema.with_metadata({"sitbone": json.dumps(provenance)})
    names = (ROWS_FILE, FEATURES_FILE) if population.features else (ROWS_FILE,)
    # Under another name until the end: a part of the rows must not pass for all of them.
    unfinished = {name: folder / f".{name}" for name in names}
    try:
        with ExitStack() as stack:
            writer = stack.enter_context(pq.ParquetWriter(unfinished[ROWS_FILE], schema))
            lines = stack.enter_context(gzip.open(unfinished[FEATURES_FILE], "wb")) if population.features else None
            for assessed_batch, counted in assessed:
                tally.update(counted)
                if (batch := assessed_batch) is None:
                    continue
                if lines:
                    for of_patient in batch.column(FEATURES).to_pylist():
                        lines.writelines(feature + b"\n" for feature in of_patient)
                    batch = batch.drop_columns([FEATURES])
                summary.add(batch.to_pylist())
                writer.write_batch(_hashed(batch, pseudonyms) if pseudonyms else batch)
        counts = _counts(summary, tally)
        for name, path in unfinished.items():
            path.rename(folder / name)
    finally:
        for path in unfinished.values():
            path.unlink(missing_ok=True)
    return Run(summary, counts)


def _hashed(batch: pa.RecordBatch, pseudonyms: Pseudonyms) -> pa.RecordBatch:
    place = batch.schema.get_field_index("patient")
    hashes = [pseudonyms.of(f"population\0{patient}", size=_SIZE) for patient in batch.column(place).to_pylist()]
    return batch.set_column(place, batch.schema.field(place), pa.array(hashes))


def _counts(summary: Summary, tally: Counter[str]) -> dict[str, Any]:
    lines = {name: tally[name] for name in _LINES}
    if sum(lines.values()) != tally["lines"]:
        raise RunError(
            f"{tally['lines']} lines were read and {sum(lines.values())} accounted for; nothing was made of them."
        )
    failed = summary.failed
    return {
        "lines": tally["lines"],
        **lines,
        "orphaned_patients": tally["orphaned_patients"],
        "patients": summary.patients,
        "assessed": summary.patients - failed.total(),
        "failed": dict(failed),
    }


def write_run(
    folder: Path, provenance: Mapping[str, Any], export: Export, run: Run, *, as_of: datetime, seconds: float
) -> dict[str, Any]:
    """Writes run.json."""
    counts = dict(run.counts)
    if export.expected is not None:
        counts["announced"] = export.expected
    members = {
        **provenance,
        "asOf": as_of.isoformat(),
        "transactionTime": export.transaction_time.isoformat() if export.transaction_time else None,
        "types": {kind: str(state) for kind, state in export.states.items()},
        "notRead": [*export.not_read],
        "counts": counts,
        "seconds": round(seconds, 1),
    }
    (folder / RUN_FILE).write_text(json.dumps(members, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return members
