"""The bills of materials: CycloneDX 1.6, and what the lock says, with a licence for each."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from cyclonedx.schema import SchemaVersion, _res

from deploy import sbom
from deploy.sbom import KINDS, LOCK

_PACKAGE = re.compile(r"^([a-z0-9-]+)==([^ ]+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("sbom")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sbom", str(folder)])
        sbom.main()
    return {kind: json.loads((folder / f"sitbone-{kind}.cdx.json").read_bytes()) for kind in KINDS}


def schema() -> jsonschema_rs.Draft7Validator:
    """The strict schema that lies in cyclonedx, with its formats, as the validator of that has it."""
    others = (_res.SPDX_JSON, _res.JSF, _res.CRYPTOGRAPHY_DEFS)
    strict = _res.BOM_JSON_STRICT[SchemaVersion.V1_6]
    assert strict is not None
    by_name = [
        (f"http://cyclonedx.org/schema/{Path(file).name}", json.loads(Path(file).read_bytes())) for file in others
    ]
    registry = jsonschema_rs.Registry(by_name, draft=jsonschema_rs.Draft7)
    return jsonschema_rs.Draft7Validator(
        json.loads(Path(strict).read_bytes()), registry=registry, validate_formats=True
    )


def locked() -> dict[str, tuple[str, set[str]]]:
    """Of each package of the lock its version and the hashes of its files."""
    found = {
        name: (version, set(re.findall(r"sha256:([0-9a-f]{64})", hashes)))
        for name, version, hashes in _PACKAGE.findall(LOCK.read_text("utf-8"))
    }
    assert len(found) == LOCK.read_text("utf-8").count("==")
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_cyclonedx_as_the_schema_has_it(made: dict[str, dict[str, Any]], kind: str) -> None:
    assert made[kind]["specVersion"] == "1.6"
    schema().validate(made[kind])
    assert made[kind]["metadata"]["component"]["name"] == "sitbone"


@pytest.mark.parametrize("kind", KINDS)
def test_it_holds_what_the_lock_holds_with_all_hashes_and_a_licence_each(
    made: dict[str, dict[str, Any]], kind: str, repository: Path
) -> None:
    found = {}
    for component in made[kind]["components"]:
        files = [each for each in component["externalReferences"] if each["type"] == "distribution"]
        hashes = {each["content"] for file in files for each in file.get("hashes", ())}
        found[re.sub(r"[-_.]+", "-", component["name"].lower())] = component["version"], hashes
        assert component["licenses"], component["name"]
    expected = locked()
    # The image is built with it, and holds it no more; the wheel does not need it.
    assert re.search(r"pip uninstall --yes setuptools pip\n", (repository / "Dockerfile").read_text("utf-8"))
    del expected["setuptools"]
    assert found == expected


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_what_is_of_these_alone(made: dict[str, dict[str, Any]], kind: str) -> None:
    refs = {component["bom-ref"] for component in made[kind]["components"]} | {"root-component"}
    needs = {each["ref"]: set(each.get("dependsOn", ())) for each in made[kind]["dependencies"]}
    assert needs.keys() == refs
    assert set().union(*needs.values()) <= refs
    assert any(ref.startswith("Flask==") for ref in needs["root-component"])


def test_an_environment_that_is_not_that_of_the_lock_makes_none() -> None:
    flask = {"name": "Flask", "bom-ref": "f", "version": "3.1.3", "externalReferences": []}
    lock, environment = {"components": [{**flask, "version": "3.1.4"}]}, {"components": [flask]}
    with pytest.raises(ValueError, match="not installed as the lock says: flask"):
        sbom.sbom("image", lock, environment)
