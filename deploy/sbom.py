"""What the wheel and the image are made of, as CycloneDX 1.6: ``python deploy/sbom.py FOLDER``.

The lock says which packages there are, with the hashes of their files; the environment that was made of it has their
licences and what needs what. Each of both documents is what the other lacks, put together; of an environment that holds
more, as that of the tests does, the rest is left out. What the system of the base image holds is not in it.
Specification: CycloneDX 1.6, JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK = REPOSITORY / "requirements.lock"
# What is described, by the name of its file: its type, as CycloneDX has it.
KINDS: Mapping[str, str] = {"wheel": "library", "image": "container"}
_ROOT = "root-component"


def sbom(kind: str, of_lock: Mapping[str, Any], of_environment: Mapping[str, Any]) -> dict[str, Any]:
    """The document about the wheel or the image, from those of the lock and of the environment. Raises ValueError where
    these have other versions.
    """
    taken_out = _uninstalled()
    locked = {_name(each): each for each in of_lock["components"] if _name(each) not in taken_out}
    components = [dict(each) for each in of_environment["components"] if _name(each) in locked]
    installed = {_name(each): each["version"] for each in components}
    if other := {name for name, of in locked.items() if installed.get(name) != of["version"]}:
        raise ValueError(f"not installed as the lock says: {', '.join(sorted(other))}")
    for each in components:
        each["externalReferences"] = [*each.get("externalReferences", ()), *_files(locked[_name(each)])]
    kept = {_ROOT, *(each["bom-ref"] for each in components)}
    metadata = of_environment["metadata"]
    return {
        **of_environment,
        "metadata": {**metadata, "component": {**metadata["component"], "type": KINDS[kind]}},
        "components": components,
        "dependencies": [
            {"ref": each["ref"], **({"dependsOn": needed} if needed else {})}
            for each in of_environment["dependencies"]
            if each["ref"] in kept
            for needed in [[ref for ref in each.get("dependsOn", ()) if ref in kept]]
        ],
    }


def documents() -> tuple[dict[str, Any], dict[str, Any]]:
    """What cyclonedx-py makes of the lock, and of this environment."""
    project = ("--pyproject", str(REPOSITORY / "pyproject.toml"))
    return _made("requirements", str(LOCK), *project), _made("environment", sys.executable, *project)


def _made(of: str, *arguments: str) -> dict[str, Any]:
    """A document of cyclonedx-py without times or serial numbers, so that the same content makes the same bytes."""
    how = ("--sv", "1.6", "--output-reproducible", "--no-validate")
    command = [sys.executable, "-m", "cyclonedx_py", of, *how, *arguments]
    made: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return made


def _name(component: Mapping[str, Any]) -> str:
    """The name of a package, in the one form that PyPI has for it."""
    return re.sub(r"[-_.]+", "-", str(component["name"])).lower()


def _files(locked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The hashes of the files of a package, each of which is one that it may have been installed from."""
    return [each for each in locked["externalReferences"] if each["type"] == "distribution"]


def _uninstalled() -> set[str]:
    """What of the lock is there to build with, and taken out again by the Dockerfile."""
    text = (REPOSITORY / "Dockerfile").read_text("utf-8")
    named = re.findall(r"pip uninstall --yes (.+)", text)
    return {name for names in named for name in names.split()} - {"pip"}


def main() -> None:
    """Write both documents."""
    parser = argparse.ArgumentParser(prog="python deploy/sbom.py", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where they go; it is made")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    made = documents()
    for kind in KINDS:
        (folder / f"sitbone-{kind}.cdx.json").write_text(json.dumps(sbom(kind, *made), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
