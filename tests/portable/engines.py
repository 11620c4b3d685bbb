"""Engines of CQL that are not ours, each a process that evaluates a chart a line; see engine.js and Engine.java."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from service.portable.elm import Elm

FOLDER = Path(__file__).parent
BUILD = FOLDER / "target"
_SOURCES = ("Engine.java", "Translate.java", "Validate.java")


class Asked(NamedTuple):
    """A chart, and what is expected of which definitions; `library`: where it is not the one of the others."""

    name: str
    bundle: Mapping[str, Any]
    expected: Mapping[str, Any]
    library: Path | None = None


class InstallError(Exception):
    """An engine cannot be had here, and why."""


class Engine(NamedTuple):
    """An engine: its name with its version, and the command that runs it."""

    name: str
    command: Sequence[str | Path]

    def differences(self, library: Path, charts: Iterable[Asked], processes: int = 1) -> Iterator[tuple[str, Any]]:
        """The name of each chart, with what differs: name of a definition -> what was expected, and received."""
        with ExitStack() as stack:
            running = [
                stack.enter_context(
                    subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=FOLDER)
                )
                for _ in range(processes)
            ]
            waiting: list[Asked | None] = [None] * processes
            # One chart is with each process, and the next is made meanwhile.
            for number, chart in enumerate(charts):
                turn = number % processes
                if (before := waiting[turn]) is not None:
                    yield before.name, _compared(before, _answer(running[turn]))
                line = {"library": str(chart.library or library), "names": list(chart.expected), "bundle": chart.bundle}
                stdin = running[turn].stdin
                assert stdin is not None
                stdin.write(json.dumps(line).encode() + b"\n")
                stdin.flush()
                waiting[turn] = chart
            for turn, last in enumerate(waiting):
                if last is not None:
                    yield last.name, _compared(last, _answer(running[turn]))
            for process in running:
                assert process.stdin is not None
                process.stdin.close()


def _answer(process: subprocess.Popen[bytes]) -> Mapping[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the engine ended with {process.wait()}")
    answer: Mapping[str, Any] = json.loads(line)
    return answer


def _compared(chart: Asked, received: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (value, received[name])
        for name, value in chart.expected.items()
        if value != received[name] or type(value) is not type(received[name])
    }


def javascript() -> Engine:
    """cql-execution, installed on first use. Raises InstallError."""
    if not (FOLDER / "node_modules" / ".package-lock.json").is_file():
        _run("npm", "ci")
    lock = json.loads((FOLDER / "package-lock.json").read_text("utf-8"))["packages"]
    versions = [f"{name} {lock[f'node_modules/{name}']['version']}" for name in ("cql-execution", "cql-exec-fhir")]
    return Engine(" with ".join(versions), ("node", "engine.js"))


def java() -> Engine:
    """The engine of the CQL framework, which HAPI has as well, compiled on first use. Raises InstallError."""
    return Engine(f"CQL framework {_version('engine-fhir')}", ("java", "-cp", _classpath(), "Engine"))


def translated(texts: Sequence[str]) -> list[Elm]:
    """The ELM that the translator of the CQL framework makes of the texts of libraries, those included first.

    Raises InstallError, ValueError with what it says where a text is not CQL.
    """
    command = ("java", "-Xss16m", "-cp", _classpath(), "Translate")
    ended = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ValueError(f"the text is not understood: {ended.stderr[-2000:]}")
    libraries: list[Elm] = json.loads(ended.stdout)
    for each in libraries:
        # The Java engine looks for a definition by halves.
        each["library"]["statements"]["def"].sort(key=itemgetter("name"))
    return libraries


def validated(package: Path) -> tuple[str, list[str]]:
    """The name of the HL7 validator with its version, and what it calls an error of a package.

    Raises InstallError, CalledProcessError where it fails itself.
    """
    command = ("java", "-cp", _classpath(), "Validate", package)
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return f"HL7 validator {_version('org.hl7.fhir.validation')}", ended.stdout.splitlines()


def _classpath() -> str:
    """Where the classes are that are tried here, compiled anew where their sources have changed."""
    classpath, made = BUILD / "classpath", BUILD / "Validate.class"
    sources = [FOLDER / each for each in ("pom.xml", *_SOURCES)]
    if not made.is_file() or made.stat().st_mtime < max(each.stat().st_mtime for each in sources):
        BUILD.mkdir(exist_ok=True)
        _run("mvn", "-q", "-B", "dependency:build-classpath", f"-Dmdep.outputFile={classpath}")
        _run("javac", "-cp", classpath.read_text("utf-8").strip(), "-d", str(BUILD), *_SOURCES)
    return f"{BUILD}{os.pathsep}{classpath.read_text('utf-8').strip()}"


def _version(artifact: str) -> str:
    """The version of a jar that is used."""
    jars = (Path(path).stem for path in _classpath().split(os.pathsep))
    (version,) = (jar.removeprefix(f"{artifact}-") for jar in jars if jar.startswith(f"{artifact}-"))
    return version


def _run(*command: str) -> None:
    try:
        ended = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise InstallError(f"there is no {command[0]} here") from error
    if ended.returncode:
        raise InstallError(f"{' '.join(command[:2])} failed: {(ended.stderr or ended.stdout)[-400:]}")
