"""The engine of one machine: lines are sorted out into files by patient, and each file is then assessed by itself.

No more than one such file is in memory of a process, however large the export: they are made so small. What lies in
them for the time of a run are lines of charts; the folder belongs to the user alone, and is removed.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from service.population.export import opened, size_of
from service.population.lines import SORTED, Assessed, Population, assess_batches, sort_lines
from service.population.run import RunError
from service.server.memory import set_aside_what_is_loaded

# Bytes of a file that are one task. Lines go through the reader so many at a time.
_PIECE, _LINES = 64_000_000, 5_000
# Bytes of an export for each file in between, of which a part is needed; no more files than a process may have open.
_OF_PART, _MOST_PARTS = 128_000_000, 512
_T = TypeVar("_T")
_R = TypeVar("_R")


class _Piece(NamedTuple):
    """The lines of a file that begin between two of its bytes; of a packed one all."""

    number: int
    path: Path
    start: int
    end: int | None
    into: Path
    parts: int


def run(population: Population, paths: Sequence[Path], folder: Path, processes: int) -> Iterator[Assessed]:
    """The rows of an export, in the order of no patient's; `folder` is where files in between may lie."""
    parts = min(max(processes, -(-size_of(paths) // _OF_PART)), _MOST_PARTS)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".parts-") as between:
        into = Path(between)
        pieces = [
            _Piece(number, path, start, end, into, parts) for number, (path, start, end) in enumerate(_pieces(paths))
        ]
        with _Workers(population, processes, into / "population") as workers:
            for _done in workers.each(_sort_piece, pieces):
                pass
            for assessed in workers.each(_assess_part, [into / str(part) for part in range(parts)]):
                yield from assessed


def _pieces(paths: Iterable[Path]) -> Iterator[tuple[Path, int, int | None]]:
    for path in paths:
        if path.suffix == ".gz":
            yield path, 0, None
        else:
            yield from ((path, start, start + _PIECE) for start in range(0, max(path.stat().st_size, 1), _PIECE))


class _Workers:
    """Processes that have what is the same for every chart; with one, this process."""

    def __init__(self, population: Population, processes: int, file: Path) -> None:
        self._pool = None
        if processes > 1:
            # In a file: what is more than a pipe holds would wait for ever for a process that died as it began.
            file.write_bytes(pickle.dumps(population))
            # A process that is forked would take the threads of Arrow with it, half.
            self._pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin, (file,))
        else:
            _THIS[:] = [population]
            set_aside_what_is_loaded()

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_why: object) -> None:
        _THIS.clear()
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def each(self, work: Callable[[_T], _R], on: Iterable[_T]) -> Iterator[_R]:
        """What comes of each, in their order. Raises RunError where a process was ended from outside."""
        try:
            yield from self._pool.map(work, on) if self._pool else map(work, on)
        except BrokenProcessPool:
            raise RunError(
                "A process of the run was ended, as systems do where memory is short: fewer (--processes) need less."
            ) from None


_THIS: list[Population] = []


def _begin(file: Path) -> None:
    _THIS[:] = [pickle.loads(file.read_bytes())]  # noqa: S301 - made by the process that started this one
    set_aside_what_is_loaded()


def _sort_piece(piece: _Piece) -> None:
    writers: dict[int, tuple[Any, Any]] = {}
    try:
        with opened(piece.path) as file:
            lines = _of_piece(file, piece)
            while some := [*islice(lines, _LINES)]:
                for part, batch in _parted(sort_lines(_THIS[0], some), piece.parts):
                    if part not in writers:
                        writers[part] = _writer(piece, part)
                    writers[part][1].write_batch(batch)
    finally:
        for file, writer in writers.values():
            writer.close()
            file.close()


def _writer(piece: _Piece, part: int) -> tuple[Any, Any]:
    folder = piece.into / str(part)
    folder.mkdir(exist_ok=True)
    file = pa.OSFile(os.fspath(folder / str(piece.number)), "wb")
    return file, pa.ipc.new_stream(file, SORTED, options=pa.ipc.IpcWriteOptions(compression="lz4"))


def _of_piece(file: Any, piece: _Piece) -> Iterator[bytes]:
    """The lines that begin in a piece."""
    if piece.end is None:
        yield from file
        return
    place = max(piece.start - 1, 0)
    file.seek(place)
    if piece.start:
        # What begins before it is of the piece before.
        place += len(file.readline())
    while place < piece.end and (line := file.readline()):
        place += len(line)
        yield line


def _parted(batch: pa.RecordBatch, parts: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of a batch by the part that holds all of a patient."""
    places: dict[int, list[int]] = {}
    for place, key in enumerate(batch.column("key").to_pylist()):
        places.setdefault(zlib.crc32(key.encode("utf-8", "surrogatepass")) % parts, []).append(place)
    for part, of in places.items():
        yield part, batch.take(pa.array(of, pa.int32()))


def _assess_part(folder: Path) -> list[Assessed]:
    """The rows of the patients of one part."""
    tables = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with pa.OSFile(os.fspath(path)) as file, pa.ipc.open_stream(file) as stream:
            tables.append(stream.read_all())
        path.unlink()
    if not tables:
        return []
    together = pa.concat_tables(tables)
    # By all columns, so that it is the same in whatever order the lines were found.
    ordered = together.sort_by([(name, "ascending") for name in SORTED.names])
    return [*assess_batches(_THIS[0], ordered.to_batches(max_chunksize=10_000))]
