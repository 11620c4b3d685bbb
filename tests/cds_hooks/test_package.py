"""What holds for the package as a whole."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cds_hooks
from cds_hooks import api

SOURCES = sorted(Path(cds_hooks.__file__).parent.rglob("*.py"))


def test_the_package_knows_no_medicine() -> None:
    anatomy = re.compile(r"hamstring|glute|ischi|piriform|buttock|thigh|\bpain\b|\bhip\b|tend[io]n", re.IGNORECASE)
    for file in [*SOURCES, SOURCES[0].parent / "README.md"]:
        assert not anatomy.search(file.read_text("utf-8")), file.name


def test_the_package_imports_nothing_of_the_product() -> None:
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "service" for name in names), file.name


def test_only_the_blueprint_uses_flask() -> None:
    users = [
        file.name for file in SOURCES if re.search(r"^(from|import) (flask|werkzeug)", file.read_text("utf-8"), re.M)
    ]
    assert users == ["blueprint.py"]


def test_each_module_names_the_chapter_of_the_specification_that_it_implements() -> None:
    for file in SOURCES:
        if file.name not in ("__init__.py", "api.py"):
            assert "Specification:" in (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""), file.name


def test_no_message_names_a_class_of_python() -> None:
    product = SOURCES[0].parents[1] / "service"
    messages = [*SOURCES, product / "cli.py", product / "database.py", *sorted((product / "commands").glob("*.py"))]
    users = {file.name for file in messages if re.search(r"type\(\w+\)\.__name__", file.read_text("utf-8"))}
    # In the log, where a fault has its kind and its place for whoever mends it.
    assert users == {"blueprint.py"}


def test_the_check_of_a_service_needs_neither_the_product_nor_the_models_of_fhir() -> None:
    said = "import sys; sys.modules['fhir'] = sys.modules['service'] = None; import cds_hooks.conformance"
    subprocess.run([sys.executable, "-c", said], check=True, timeout=60)


def test_the_exported_names_are_exactly_those_that_the_package_imports() -> None:
    tree = ast.parse(Path(api.__file__).read_text("utf-8"))
    imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(api.__all__) == imported
    assert sorted(api.__all__) == sorted(set(api.__all__))
    assert all(getattr(cds_hooks, name) is getattr(api, name) for name in api.__all__)


def test_a_name_that_the_package_does_not_have_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'cds_hooks' has no attribute 'Flask'"):
        cds_hooks.__getattr__("Flask")


def test_prefetch_and_errors_are_loaded_without_flask_and_marshmallow() -> None:
    said = "import sys; sys.modules['flask'] = sys.modules['marshmallow'] = None; import cds_hooks.prefetch"
    subprocess.run([sys.executable, "-c", said], check=True, timeout=60)


def test_the_example_of_the_readme_works() -> None:
    readme = (SOURCES[0].parent / "README.md").read_text("utf-8")
    [example] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)  # noqa: S102 - the example is a file of this repository
    client = names["app"].test_client()  # type: ignore[attr-defined]
    body = {"hook": "patient-view", "hookInstance": "1", "context": {"patientId": "p1"}}
    assert client.post("/cds-services/greeter", json=body).get_json()["cards"][0]["summary"] == "Hello"
