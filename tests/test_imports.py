"""What chart, knowledge and reasoning need to be loaded: no web framework, no schemas and no FHIR models."""

import subprocess
import sys
from pathlib import Path

import service

ROOMS = ("chart", "guideline", "reasoning")
# They read and check the files of the knowledge, once, at start.
LOADING = {"service.guideline.loader", "service.guideline.forms"}
NOT_NEEDED = {"fhir", "flask", "gunicorn", "jwt", "marshmallow", "pydantic", "requests", "sqlalchemy", "werkzeug"}
LIST_WHAT_IS_LOADED = (
    "import importlib, sys; [*map(importlib.import_module, sys.argv[1:])]; print(*sorted(sys.modules))"
)


def modules_of(*rooms: str) -> set[str]:
    folder = Path(service.__file__).parent
    return {f"service.{room}.{file.stem}" for room in rooms for file in (folder / room).glob("[a-z]*.py")} - LOADING


def test_chart_knowledge_and_reasoning_load_no_web_framework_no_schemas_and_no_fhir_models() -> None:
    named = modules_of(*ROOMS)
    assert {"service.chart.case", "service.guideline.model", "service.reasoning.assessment"} <= named
    # A fresh interpreter, because the tests have loaded all of the product.
    asked = [sys.executable, "-c", LIST_WHAT_IS_LOADED, *sorted(named)]
    loaded = set(subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.split())
    assert named <= loaded
    assert not NOT_NEEDED & {name.partition(".")[0] for name in loaded}
    ours = {name for name in loaded if name.startswith(("service.", "cds_hooks."))}
    assert ours - named == {
        *(f"service.{room}" for room in ROOMS),
        "cds_hooks.errors",
        "cds_hooks.json_text",
        "cds_hooks.prefetch",
        "service.prefetch_keys",
    }
