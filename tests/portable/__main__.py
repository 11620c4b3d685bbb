"""Whether other engines decide as this service does by the exported knowledge: ``make portable``.

    python -m tests.portable [--engine javascript|java ...] [--generated 1500] [--rows 24] [--processes 2]
    python -m tests.portable --install

Ends with 1 where a chart differs, a mutant is not noticed, the package is not valid, or an engine cannot be had.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from service.commands.portable import export_of, write
from service.portable.cql_text import text_of
from service.portable.elm import Elm
from service.portable.logic import Logic
from service.portable.package import LIBRARY
from tests.portable.charts import ROWS, Charts
from tests.portable.engines import Asked, Engine, InstallError, java, javascript, translated, validated
from tests.portable.mutants import KINDS, Mutant, mutants

ENGINES = {"javascript": javascript, "java": java}
_SHOWN = 10
# What the validator calls an error and is none, or comes of what it cannot have here; docs/portable.md says more.
_KNOWN = (
    "http://hl7.org/fhir/expression-language#text/cql-identifier",
    "Unable to resolve package id hl7.fhir.r4.core",
)


def compare(engine: Engine, library: Path, charts: Iterable[Asked], processes: int) -> tuple[int, int]:
    """How many charts there are, and how many differ; the first of these are printed."""
    count = differing = 0
    for name, found in engine.differences(library, charts, processes):
        count += 1
        differing += bool(found)
        if found and differing <= _SHOWN:
            print(f"  {name}: {dict(list(found.items())[:5])}")
    return count, differing


def noticed(engine: Engine, folder: Path, charts: Charts, made: Iterable[Mutant]) -> dict[str, bool]:
    """Kind of each mutant -> whether the charts of the condition that it is of tell it from the original."""

    def asked() -> Iterator[Asked]:
        for mutant in made:
            path = folder / f"mutant of {mutant.kind}.json"
            path.write_text(json.dumps(mutant.libraries), "utf-8")
            for chart in charts.tables(only=frozenset({mutant.condition})):
                yield chart._replace(name=mutant.kind, library=path)

    found: dict[str, bool] = {}
    for kind, differing in engine.differences(folder, asked()):
        found[kind] = found.get(kind, False) or bool(differing)
    return found


def texts_of(logic: Logic, libraries: dict[str, Elm]) -> list[str]:
    """The libraries as CQL text."""
    parts = logic.definitions.parts(LIBRARY)
    return [text_of(library, logic.remarks, parts[name]) for name, library in libraries.items()]


def is_valid(folder: Path) -> bool:
    """Whether the HL7 validator finds nothing wrong in the package but what is known; it is printed."""
    files = write(export_of(None, affiliate=False, now=datetime.now(UTC)), folder)
    name, errors = validated(folder / "package")
    found = [each for each in errors if not any(known in each for known in _KNOWN)]
    print(f"{name}: {files} files, {len(found)} errors, {len(errors) - len(found)} that are known")
    for each in found[:_SHOWN]:
        print(f"  {each}")
    return not found


def installed(names: Iterable[str]) -> Iterator[tuple[str, Engine]]:
    """Those of these engines that can be had, by name; why another cannot is printed."""
    for name in names:
        try:
            yield name, ENGINES[name]()
        except InstallError as problem:
            print(f"{name}: cannot be installed: {problem}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare other engines with this service by the exported knowledge.")
    parser.add_argument("--engine", action="append", choices=[*ENGINES], help="both where none is named")
    parser.add_argument("--generated", type=int, default=1500, metavar="N", help="how many whole charts are made up")
    parser.add_argument("--rows", type=int, default=ROWS, metavar="N", help="how many charts a condition has at most")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--install", action="store_true", help="install the engines, and compare nothing")
    options = parser.parse_args()
    names = options.engine or [*ENGINES]
    engines = dict(installed(names))
    failed = len(engines) < len(names)
    if options.install:
        sys.exit(failed)
    charts = Charts()
    logic = Logic(charts.knowledge)
    libraries = logic.definitions.libraries(LIBRARY, charts.knowledge.version)
    elm = [*libraries.values()]
    with tempfile.TemporaryDirectory() as folder:
        library, of_text = Path(folder) / "library.json", Path(folder) / "text.json"
        library.write_text(json.dumps(elm), "utf-8")
        if "java" in engines:
            of_text.write_text(json.dumps(translated(texts_of(logic, libraries))), "utf-8")
        for engine in engines.values():
            print(engine.name)
            groups = {
                "fixtures": (library, charts.whole(0, ("fixture",))),
                "named cases": (library, charts.whole(0, ("case",))),
                "generated charts": (library, charts.whole(options.generated, ("generated",))),
                "charts of conditions": (library, charts.tables(options.rows)),
            }
            if "java" in engines:
                groups["fixtures by the translated text"] = (of_text, charts.whole(0, ("fixture",)))
            for group, (path, asked) in groups.items():
                began = time.monotonic()
                count, differing = compare(engine, path, asked, options.processes)
                failed = failed or differing > 0
                print(f"  {count} {group}, {differing} with differences, {time.monotonic() - began:.0f} s", flush=True)
            told = noticed(engine, Path(folder), charts, mutants(logic, elm))
            missed = [kind for kind in KINDS if not told.get(kind)]
            print(f"  {len(KINDS) - len(missed)} of {len(KINDS)} mutants noticed", *missed, sep=", not ", flush=True)
            failed = failed or bool(missed)
        if "java" in engines:
            failed = not is_valid(Path(folder)) or failed
    sys.exit(failed)


if __name__ == "__main__":
    main()
