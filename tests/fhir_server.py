"""The FHIR server of the tests: an R4 engine with real search, whose faults can be chosen (`ehr/server.js`).

A test module that names this one in `pytest_plugins` can ask for `fhir_server`; it imports the type for its annotations
only under TYPE_CHECKING, as pytest must be the first to load a plugin.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.request import Request, urlopen

import pytest

FOLDER = Path(__file__).parent / "ehr"


@dataclass(frozen=True, slots=True)
class FhirServer:
    """A running server, empty at the beginning of each test."""

    origin: str

    @property
    def base_url(self) -> str:
        return f"{self.origin}/fhir"

    def seed(self, *resources: dict[str, Any]) -> None:
        self._call("POST", "/__seed", list(resources))

    def empty(self) -> None:
        self._call("DELETE", "/__seed")

    def fault(self, fault: str, match: str = "/fhir/") -> None:
        """From now on, requests whose path and query hold `match` meet this fault too."""
        self._call("POST", "/__fault", {"match": match, "fault": fault})

    def forget(self) -> None:
        """Ends all faults and starts to count anew."""
        self._call("DELETE", "/__fault")

    def counts(self) -> dict[str, int]:
        """The requests for each resource type or instance since `forget`, in the order of the first of each."""
        return {path.removeprefix("/fhir/"): n for path, n in self._call("GET", "/__count")["paths"].items()}

    def connections(self) -> int:
        """How many connections those requests came over."""
        connections: int = self._call("GET", "/__count")["connections"]
        return connections

    def unanswered(self) -> int:
        """How many of those requests have not had their whole answer yet, or will never have it."""
        unanswered: int = self._call("GET", "/__count")["unanswered"]
        return unanswered

    def longest_url(self) -> int:
        longest: int = self._call("GET", "/__count")["longest"]
        return longest

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.origin + path, data, method=method), timeout=5) as response:
            return json.load(response)


@pytest.fixture(scope="session")
def fhir_engine() -> Iterator[FhirServer | str]:
    """The server, started once, or why there is none; its packages are installed on first use."""
    if not (FOLDER / "node_modules" / ".package-lock.json").is_file():
        installed = subprocess.run(["npm", "ci"], cwd=FOLDER, capture_output=True, text=True, check=False)
        if installed.returncode:
            yield f"npm ci in tests/ehr failed: {installed.stderr[-300:]}"
            return
    # It ends when its standard input does: with this process, however that ends.
    with subprocess.Popen(
        ["node", FOLDER / "server.js"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        port = process.stdout.readline().strip()
        assert port, "the FHIR server did not start"
        yield FhirServer(f"http://127.0.0.1:{port}")


@pytest.fixture
def fhir_server(fhir_engine: FhirServer | str, leave_out: Callable[[str], NoReturn]) -> FhirServer:
    """The server without faults and without resources."""
    if isinstance(fhir_engine, str):
        leave_out(fhir_engine)
    fhir_engine.forget()
    fhir_engine.empty()
    return fhir_engine
