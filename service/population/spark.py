"""The engine of a cluster: Spark brings the lines of a patient together, and runs the same two functions.

What no rule can use is dropped before anything is sent between machines. The files of the export have to lie where
driver and executors reach them under one path or address.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from service.population.export import size_of
from service.population.lines import Assessed, Population, assess_batches, sort_lines
from service.population.run import RunError

# Rows are kilobytes, and a batch of them is in memory as a whole. Bytes of an export for each task behind the shuffle:
# every task begins by reading the knowledge.
_BATCH, _OF_TASK = 2_000, 128_000_000
_SORTED = "key string, kind string, line binary"
_ASSESSED = "rows binary, tally string"


def run(population: Population, paths: Sequence[Path]) -> Iterator[Assessed]:
    """The rows of an export, in the order of no patient's. Raises RunError."""
    # Where spark-submit or a platform has made one, it is that.
    spark = SparkSession.builder.appName("sitbone population").getOrCreate()
    _require_one_python(spark)
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", _BATCH)
    shared = spark.sparkContext.broadcast(population)
    tasks = max(spark.sparkContext.defaultParallelism, -(-size_of(paths) // _OF_TASK))

    def sort(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            # As binary: a line need not be text.
            yield sort_lines(shared.value, batch.column(0).cast(pa.binary()).to_pylist())

    def assess(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows, tally in assess_batches(shared.value, batches):
            packed = b"" if rows is None else bytes(_packed(rows))
            yield pa.RecordBatch.from_pydict({"rows": [packed], "tally": [json.dumps(tally)]})

    try:
        assessed = (
            spark.read.text([path.absolute().as_uri() for path in paths], lineSep="\n")
            .mapInArrow(sort, _SORTED)
            .repartition(tasks, "key")
            .sortWithinPartitions("key", "kind", "line")
            .mapInArrow(assess, _ASSESSED)
            # Otherwise each partition that is fetched is a run of its own.
            .persist(StorageLevel.DISK_ONLY)
        )
        assessed.count()
        for row in assessed.toLocalIterator(prefetchPartitions=True):
            yield _unpacked(row["rows"]), json.loads(row["tally"])
    except PySparkException as problem:
        raise RunError(f"Spark ended the run: {problem.getCondition() or type(problem).__name__}.") from problem


def _require_one_python(spark: Any) -> None:
    """Driver and executors have to be of one minor version of Python, and the executors need this package."""
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"

    def look(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import service.population.lines  # noqa: F401, PLC0415 - this is what is looked for

        yield from batches

    try:
        spark.range(1).mapInArrow(look, "id long").collect()
    except PySparkException as problem:
        said = str(problem)
        if "PYTHON_VERSION_MISMATCH" in said:
            why = f"have another minor version of Python than the driver, which has {here}"
        elif "ModuleNotFoundError" in said:
            why = "have not all that Sitbone needs"
        else:
            raise RunError(
                f"The executors run no Python: {problem.getCondition() or 'see the log of Spark'}."
            ) from None
        raise RunError(
            f"The executors {why}: hand them the environment of the driver (spark-submit --archives, "
            "spark.pyspark.python)."
        ) from None


def _packed(rows: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return sink.getvalue()


def _unpacked(packed: bytes) -> pa.RecordBatch | None:
    if not packed:
        return None
    with pa.ipc.open_stream(packed) as stream:
        (batch,) = stream
        return batch
