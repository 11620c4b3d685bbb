"""Lines of Bulk Data -> the resources of each patient -> rows, in batches of Arrow. What both engines run.

First `sort_lines`, wherever a line lies: whose it is, and whether a rule can use it. Then, where the lines of a patient
have come together, `assess_batches`. Between the two stands a table with the columns of SORTED.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa

from cds_hooks.json_text import UNREADABLE
from cds_hooks.prefetch import PrefetchState
from service.chart.case import Reference, ResourceHead
from service.chart.patient import patient_named
from service.population.assessing import (
    DATA_TYPES,
    KEYS,
    LEFT_OUT,
    MEDICATION,
    MOST_RESOURCES,
    Dropped,
    PopulationAssessor,
    Row,
    total,
)

# Whose a line is, its type (or DROPPED, TALLY), and the line.
SORTED = pa.schema([("key", pa.string()), ("kind", pa.string()), ("line", pa.binary())])
DROPPED, TALLY = "dropped", "tally"
# Lines of nobody: what was counted of a batch.
NOBODY = ""
# So many rows to a batch.
_ROWS = 2_000
_FIRED = pa.list_(pa.struct([("id", pa.string()), ("tier", pa.string())]))
_CALLS = pa.list_(pa.struct([("key", pa.string()), ("priority", pa.string())]))
# The columns of a row; `lost` and `new` follow where two bodies of knowledge are compared.
ROWS = pa.schema(
    [
        ("patient", pa.string()),
        ("as_of", pa.timestamp("s", "UTC")),
        ("age_band", pa.string()),
        ("sex", pa.string()),
        ("deceased", pa.bool_()),
        ("complaint", pa.string()),
        ("fired", _FIRED),
        ("imaging", _CALLS),
        ("referrals", _CALLS),
        ("treatment", pa.list_(pa.struct([("id", pa.string()), ("state", pa.string())]))),
        ("lead", pa.list_(pa.string())),
        ("data", pa.struct([(kind, pa.string()) for kind in DATA_TYPES])),
        ("left_out", pa.struct([(name, pa.int32()) for name in LEFT_OUT])),
        ("resources", pa.int32()),
        ("failed", pa.string()),
    ]
)
COMPARED = [("lost", _FIRED), ("new", _FIRED)]
# A column of the rows on their way, which is written to a file of its own.
FEATURES = "features"


class _Head(ResourceHead, gc=False):
    """As much of a line as tells whose it is, which resource, and whether a rule can use it."""

    id: str | None = None
    source: Reference | None = None


class _Medicine(msgspec.Struct, gc=False):
    reference: Reference | None = msgspec.field(default=None, name="medicationReference")


_HEAD = msgspec.json.Decoder(_Head)
_MEDICINE = msgspec.json.Decoder(_Medicine)
_DROPPED = msgspec.json.Decoder(Dropped)
_TALLY = msgspec.json.Decoder(dict[str, int])


@dataclass(frozen=True, slots=True)
class Population:
    """What is the same for every chart of a run.

    states: see PopulationAssessor.assess_chart; medications: the Medications by id; deleted: the resources, as Type/id,
    that the export says are no more; compared, features: what the assessor was made for.
    """

    assessor: PopulationAssessor
    states: Mapping[str, PrefetchState]
    as_of: datetime
    medications: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    deleted: frozenset[str] = frozenset()
    compared: bool = False
    features: bool = False

    @property
    def schema(self) -> pa.Schema:
        """The columns of the rows, without FEATURES."""
        return pa.schema([*ROWS, *(COMPARED if self.compared else [])])

    @property
    def on_their_way(self) -> pa.Schema:
        """The columns that the engines hand on."""
        return pa.schema([*self.schema, *([(FEATURES, pa.list_(pa.binary()))] if self.features else [])])


class Line(msgspec.Struct, gc=False):
    """What a line holds: type and id of its resource, whose it is (empty: nobody's), and its head, if it has one."""

    kind: str
    id: str
    patient: str
    head: ResourceHead | None


def read_line(text: bytes) -> Line | None:
    """What a line holds; None where it is no JSON object, as where it was torn."""
    try:
        head = _HEAD.decode(text)
    except UNREADABLE:
        return _read_whole(text)
    patient = (head.id or "") if head.kind == "Patient" else patient_named(_reference(head))
    return Line(head.kind, head.id or "", patient, head)


def _reference(head: _Head) -> str:
    """Who a resource is about, as it is written."""
    owner = head.subject or head.patient or (head.source if head.kind == "QuestionnaireResponse" else None)
    return (owner and owner.reference) or ""


def _read_whole(text: bytes) -> Line | None:
    """The same of a resource with an element of the wrong type."""
    try:
        resource = msgspec.json.decode(text)
    except UNREADABLE:
        return None
    if not isinstance(resource, dict):
        return None
    kind, identifier = (each if isinstance(each := resource.get(name), str) else "" for name in ("resourceType", "id"))
    if kind == "Patient":
        return Line(kind, identifier, identifier, None)
    owners = (resource.get(name) for name in ("subject", "patient", "source"))
    references = [owner.get("reference") for owner in owners if isinstance(owner, dict)]
    return Line(kind, identifier, patient_named(next((each for each in references if isinstance(each, str)), "")), None)


def sort_lines(population: Population, lines: Iterable[bytes]) -> pa.RecordBatch:
    """What of these lines is needed, by patient; a row for what is dropped of each, and one for what was counted."""
    tally: Counter[str] = Counter()
    rows: list[tuple[str, str, bytes]] = []
    of_patients: dict[str, tuple[list[msgspec.Raw], list[ResourceHead]]] = {}
    decode, deleted, count = _HEAD.decode, population.deleted, 0
    # An export repeats the patient from line to line.
    before, patient = None, ""
    for given in lines:
        if not (text := given.strip()):
            continue
        count += 1
        try:
            head = decode(text)
        except UNREADABLE:
            line = _read_whole(text)
            if line is None:
                tally["torn"] += 1
            elif why := _left_behind(line.kind, line.id, line.patient, deleted):
                tally[why] += 1
            else:
                rows.append((line.patient, line.kind, text))
            continue
        kind, identifier = head.kind, head.id or ""
        if kind == "Patient":
            before, patient = None, identifier
        elif (reference := _reference(head)) != before:
            before, patient = reference, patient_named(reference)
        if (deleted or not patient or kind not in KEYS) and (why := _left_behind(kind, identifier, patient, deleted)):
            tally[why] += 1
            continue
        if (found := of_patients.get(patient)) is None:
            found = of_patients[patient] = ([], [])
        found[0].append(msgspec.Raw(text))
        found[1].append(head)
    tally["lines"] += count
    for patient, (resources, heads) in of_patients.items():
        kept, dropped = population.assessor.sort_out(patient, resources, heads, population.as_of)
        rows += [(patient, heads[place].kind, bytes(resources[place])) for place in kept]
        if dropped.count:
            rows.append((patient, DROPPED, msgspec.json.encode(dropped)))
    rows.append((NOBODY, TALLY, msgspec.json.encode(tally)))
    columns = [*zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(
        [pa.array(column, of.type) for column, of in zip(columns, SORTED, strict=True)], schema=SORTED
    )


def _left_behind(kind: str, identifier: str, patient: str, deleted: frozenset[str]) -> str:
    """Why a line belongs to no chart; empty where it does."""
    if kind not in KEYS:
        return "of_other_types"
    if deleted and f"{kind}/{identifier}" in deleted:
        return "deleted"
    return "" if patient else "of_nobody"


# A batch of rows, if any came, and what was counted.
Assessed = tuple[pa.RecordBatch | None, Mapping[str, int]]


def assess_batches(population: Population, batches: Iterable[pa.RecordBatch]) -> Iterator[Assessed]:
    """The rows of what was sorted out, in which the lines of a patient stand together; a batch may end among them."""
    rows: list[Row] = []
    tally: Counter[str] = Counter()
    for patient, by_kind in _by_patient(batches):
        if patient == NOBODY:
            for line in by_kind[TALLY]:
                tally.update(_TALLY.decode(line))
            continue
        dropped = total(map(_DROPPED.decode, by_kind.pop(DROPPED, ())))
        if "Patient" not in by_kind:
            tally["orphans"] += dropped.count + sum(map(len, by_kind.values()))
            tally["orphaned_patients"] += 1
            continue
        by_kind[MEDICATION] = _medications(population.medications, by_kind)
        row = population.assessor.assess_chart(patient, by_kind, population.states, population.as_of, dropped)
        tally["resources"] += row.resources
        rows.append(row)
        if len(rows) >= _ROWS:
            yield as_batch(rows, population.on_their_way), tally
            rows, tally = [], Counter()
    yield as_batch(rows, population.on_their_way) if rows else None, tally


def _by_patient(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, dict[str, list[bytes]]]]:
    """The lines of each patient by their type; no more of one patient than may be read, and one."""
    now, found, number = NOBODY, dict[str, list[bytes]](), 0
    for batch in batches:
        for key, kind, line in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if key != now:
                if found:
                    yield now, found
                now, found, number = key, {}, 0
            number += 1
            lines = found.setdefault(kind, [])
            if number > MOST_RESOURCES + 1 and kind not in (DROPPED, TALLY, "Patient"):
                # It is counted, and not kept.
                lines.append(b"")
            else:
                lines.append(line)
    if found:
        yield now, found


def _medications(known: Mapping[str, bytes], by_kind: Mapping[str, Sequence[bytes]]) -> list[bytes]:
    """What the medicines of a patient refer to."""
    named: dict[str, bytes] = {}
    for line in (*by_kind.get("MedicationRequest", ()), *by_kind.get("MedicationStatement", ())) if known else ():
        try:
            medicine = _MEDICINE.decode(line).reference
        except UNREADABLE:
            continue
        reference = (medicine and medicine.reference) or ""
        identifier = reference.partition("/_history/")[0].rpartition("/")[2].removeprefix("urn:uuid:")
        if identifier in known:
            named[identifier] = known[identifier]
    return [*named.values()]


def as_batch(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    """Rows as columns of Arrow."""
    return pa.RecordBatch.from_pylist([_columns(row) for row in rows], schema=schema)


def _columns(row: Row) -> dict[str, Any]:
    columns = {name: getattr(row, name) for name in (*ROWS.names, *(name for name, _kind in COMPARED), FEATURES)}
    for name in ("fired", "imaging", "referrals", "treatment", "lost", "new"):
        columns[name] = [each._asdict() for each in columns[name]]
    columns["lead"] = [*row.lead]
    columns["data"] = dict(zip(DATA_TYPES, row.data, strict=True)) if row.data else None
    columns["left_out"] = None if row.failed else {name: getattr(row.left_out, name) for name in LEFT_OUT}
    return columns
