"""What a Bulk Data export holds: its files by type, and what became of each type.

Specification: FHIR Bulk Data Access, Response - Complete Status (the manifest). A type that was not exported, one that
was exported and of which there is nothing, and one that failed are three different things.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from cds_hooks.json_text import UNREADABLE
from cds_hooks.prefetch import PrefetchState
from service.chart.fhir_time import read_when
from service.population.assessing import DATA_TYPES, KEYS, MEDICATION
from service.population.lines import read_line

MANIFEST = "manifest.json"
# Observation.ndjson, Observation.000.ndjson.gz, Observation-2.ndjson, 1.Observation.ndjson
_FILE = re.compile(r"(?:\d+[._-])?([A-Z][A-Za-z]+)(?:[^A-Za-z/][^/]*)?\.ndjson(?:\.gz)?")
_READ = frozenset({*KEYS, MEDICATION})
# How much larger resources are than they are packed.
_PACKED = 12
_GRAVE = frozenset({"error", "fatal", None})


class ExportError(Exception):
    """An export that cannot be read, in a sentence for whoever named it."""


@dataclass(frozen=True, slots=True)
class Export:
    """The files of an export, and what it says of itself.

    files: those of the types that are read, with their type; states: of each of DATA_TYPES; not_read: the files of
    other types; expected: how many lines the manifest announces in `files`, where it says so of each.
    """

    files: Sequence[tuple[str, Path]]
    states: Mapping[str, PrefetchState]
    transaction_time: datetime | None = None
    deleted: Sequence[Path] = ()
    errors: Sequence[Path] = ()
    not_read: Sequence[str] = ()
    expected: int | None = None

    @property
    def of_patients(self) -> list[Path]:
        """The files in which every line is somebody's."""
        return [path for kind, path in self.files if kind != MEDICATION]

    @property
    def inputs(self) -> list[Path]:
        """Every file that is read."""
        return [*(path for _kind, path in self.files), *self.deleted, *self.errors]

    def medications(self) -> dict[str, bytes]:
        """The Medications by id, of which orders of medicines may say no more than a reference."""
        found = {}
        for text in _lines([path for kind, path in self.files if kind == MEDICATION]):
            line = read_line(text)
            if line and line.kind == MEDICATION and line.id:
                found[line.id] = text
        return found

    def deletions(self) -> frozenset[str]:
        """The resources that are no more, as Type/id. Specification: Bulk Data Access, `deleted`."""
        found = set()
        for text in _lines(self.deleted):
            bundle = _json(text)
            for entry in bundle.get("entry") or ():
                request = entry.get("request") or {}
                if str(request.get("method")).upper() == "DELETE":
                    found.add("/".join(str(request.get("url")).partition("?")[0].rsplit("/", 2)[-2:]))
        return frozenset(found)


def read_export(given: Path, types: Iterable[str] | None) -> Export:
    """The export that a folder or a manifest names; `types` are those that were exported, where there is no manifest.

    Raises ExportError.
    """
    manifest = given / MANIFEST if given.is_dir() else given
    if manifest.is_file() and manifest.suffix == ".json":
        if types is not None:
            raise ExportError(f"--types is for folders without a manifest; {manifest.name} says which types there are.")
        export = _of_manifest(manifest)
    elif given.is_dir():
        export = _of_folder(given, types)
    else:
        raise ExportError(f"{given} is neither a folder nor a manifest (a file *.json).")
    if not any(kind == "Patient" for kind, _path in export.files):
        raise ExportError(f"{given} has no Patient file: whose the other resources are nobody can tell.")
    return export


def _of_folder(folder: Path, types: Iterable[str] | None) -> Export:
    named = [(match[1], path) for path in sorted(folder.iterdir()) if (match := _FILE.fullmatch(path.name))]
    found = sorted({kind for kind, _path in named} & _READ)
    if types is None:
        raise ExportError(
            f"{folder} has no {MANIFEST}, so that a type without a file may not have been exported, or have nothing. "
            f"Say with --types which were exported, as in --types {','.join(found) or 'Patient,Condition'}."
        )
    exported = {*types}
    if left := [kind for kind in found if kind not in exported]:
        raise ExportError(f"{folder} has files of {', '.join(left)}, which --types does not name.")
    states = {kind: PrefetchState.SUPPLIED if kind in exported else PrefetchState.MISSING for kind in DATA_TYPES}
    return Export(*_split(named, states))


def _split(
    named: Iterable[tuple[str, Path]], states: Mapping[str, PrefetchState]
) -> tuple[list[tuple[str, Path]], Mapping[str, PrefetchState]]:
    return [(kind, path) for kind, path in named if kind in _READ], states


def _of_manifest(path: Path) -> Export:
    manifest = _json(path.read_bytes(), path.name)
    if "_since" in parse_qs(urlsplit(str(manifest.get("request", ""))).query):
        raise ExportError(
            f"{path.name} is of an export with _since: it holds what has changed, and no whole chart. "
            "Export without _since."
        )
    output = _files(path, manifest, "output")
    named = [(str(each.get("type")), file) for each, file in output]
    errors = [file for _each, file in _files(path, manifest, "error")]
    exported = {kind for kind, _file in named} | _asked_for(manifest)
    incomplete = _incomplete(errors)
    states = {
        kind: PrefetchState.INCOMPLETE
        if kind in incomplete
        else PrefetchState.SUPPLIED
        if kind in exported
        else PrefetchState.MISSING
        for kind in DATA_TYPES
    }
    when = read_when(manifest.get("transactionTime"))
    counts = [each.get("count") for each, _file in output if each.get("type") in KEYS]
    announced = [count for count in counts if isinstance(count, int)]
    return Export(
        [(kind, file) for kind, file in named if kind in _READ],
        states,
        when.low if when else None,
        [file for _each, file in _files(path, manifest, "deleted")],
        errors,
        [file.name for kind, file in named if kind not in _READ],
        sum(announced) if len(announced) == len(counts) > 0 else None,
    )


def _asked_for(manifest: Mapping[str, Any]) -> set[str]:
    """The types that the request named: those have been exported, be there anything of them or not."""
    query = parse_qs(urlsplit(str(manifest.get("request", ""))).query)
    return {kind.strip() for each in query.get("_type", ()) for kind in each.split(",")}


def _files(manifest: Path, of: Mapping[str, Any], member: str) -> list[tuple[Mapping[str, Any], Path]]:
    """The entries of a member of the manifest, each with its file: where its URL leads, or beside the manifest."""
    found = []
    for each in of.get(member) or ():
        url = urlsplit(str(each.get("url", "")))
        local = Path(unquote(url.path)) if url.scheme in ("", "file") else Path(unquote(url.path)).name
        # A path is taken as it is; of an address, the file that was fetched from there.
        file = manifest.parent / local
        if not file.is_file():
            beside = [path for path in manifest.parent.glob(f"{file.name}*") if path.name.startswith(file.name)]
            if len(beside) != 1:
                raise ExportError(f"{manifest.name} names {file.name}, which is not beside it.")
            file = beside[0]
        found.append((each, file))
    return found


def _incomplete(errors: Iterable[Path]) -> frozenset[str]:
    """The types of which not all was exported, by the OperationOutcomes of the export; all where that does not say."""
    found: set[str] = set()
    for text in _lines(errors):
        issues: Sequence[Any] = _json(text).get("issue") or ({},)
        for issue in issues:
            if issue.get("severity") in _GRAVE:
                words = json.dumps(issue)
                found |= {kind for kind in DATA_TYPES if re.search(rf"\b{kind}\b", words)} or {*DATA_TYPES}
    return frozenset(found)


def _json(text: bytes, name: str = "a file that the manifest names") -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except UNREADABLE:
        value = None
    if not isinstance(value, dict):
        raise ExportError(f"{name} is not what a Bulk Data server sends: expected a JSON object.")
    return value


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file of lines, unpacked on the way. Raises ExportError where it cannot be."""
    try:
        with cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise ExportError(f"{path.name} is torn: it cannot be unpacked to its end.") from None


def size_of(paths: Iterable[Path]) -> int:
    """About how many bytes these files have, unpacked."""
    return sum(path.stat().st_size * (_PACKED if path.suffix == ".gz" else 1) for path in paths)


def _lines(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        with opened(path) as file:
            yield from (text for line in file if (text := line.strip()))


def described(path: Path) -> dict[str, Any]:
    """A file as run.json names it: by size and digest, so that it can be found out later what was read."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}
