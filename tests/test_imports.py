"""What chart, knowledge and reasoning need to be loaded: no web framework, no schemas and no FHIR models."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import service
from service.reasoning.assessment import Assessor
from service.services.explanation import Explainer
from tests.charts import CLOCK, packaged

ROOMS = ("chart", "knowledge_model", "reasoning")
# They read and check the files of the knowledge, once, at start.
LOADING = {"service.knowledge_model.loader", "service.knowledge_model.forms", "service.knowledge_model.properties"}
NOT_NEEDED = {"fhir", "flask", "gunicorn", "jwt", "marshmallow", "pydantic", "requests", "sqlalchemy", "werkzeug"}
LIST_WHAT_IS_LOADED = (
    "import importlib, sys; [*map(importlib.import_module, sys.argv[1:])]; print(*sorted(sys.modules))"
)


def modules_of(*rooms: str) -> set[str]:
    folder = Path(service.__file__).parent
    return {f"service.{room}.{file.stem}" for room in rooms for file in (folder / room).glob("[a-z]*.py")} - LOADING


def test_chart_knowledge_and_reasoning_load_no_web_framework_no_schemas_and_no_fhir_models() -> None:
    named = modules_of(*ROOMS)
    assert {"service.chart.case", "service.knowledge_model.model", "service.reasoning.assessment"} <= named
    # A fresh interpreter, because the tests have loaded all of the product.
    asked = [sys.executable, "-c", LIST_WHAT_IS_LOADED, *sorted(named)]
    loaded = set(subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.split())
    assert named <= loaded
    assert not NOT_NEEDED & {name.partition(".")[0] for name in loaded}
    ours = {name for name in loaded if name.startswith(("service.", "cds_hooks."))}
    assert ours - named == {
        *(f"service.{room}" for room in ROOMS),
        "cds_hooks.body",
        "cds_hooks.errors",
        "cds_hooks.json_text",
        "cds_hooks.prefetch",
        "service.prefetch_keys",
        "service.remembered",
    }


def test_a_service_without_clients_and_pages_loads_nothing_of_signatures_and_databases() -> None:
    said = (
        "import sys; from service.app import create_app; from service.settings import Settings; "
        "create_app(Settings(pages='off')); print(*sorted(sys.modules))"
    )
    asked = [sys.executable, "-c", said]
    loaded = set(subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.split())
    assert "service.app" in loaded
    assert not {"cryptography", "jwt", "sqlalchemy"} & loaded


# Pickled knowledge and a chart in JSON -> the ids of what is called for, decided in a process of its own.
DECIDE = """
import json, pickle, sys
from datetime import datetime
sys.modules |= dict.fromkeys(("flask", "marshmallow", "pydantic", "fhir"))
import msgspec
from cds_hooks.prefetch import read_prefetch
from service.chart.case import CaseReader
from service.chart.patient import ReceivedChart
from service.reasoning.assessment import Assessor
knowledge, assessor = pickle.loads(sys.stdin.buffer.read())
request, now = json.loads(open(sys.argv[1]).read()), datetime.fromisoformat(sys.argv[2])
prefetch = read_prefetch(msgspec.Raw(json.dumps(request["prefetch"]).encode()), [])
case = CaseReader(knowledge).read(ReceivedChart(request["context"]["patientId"], prefetch), now)
print(json.dumps([fired.recommendation.id for fired in assessor.assess(case).fired]))
"""


def test_a_process_without_the_web_decides_a_chart_by_pickled_knowledge(repository: Path) -> None:
    file = repository / "fixtures" / "requests" / "sudden-tear.json"
    knowledge = packaged()
    explained = Explainer(knowledge, lambda: CLOCK).explain("gluteal-hamstring-pain", file.read_bytes())
    decided = subprocess.run(
        [sys.executable, "-c", DECIDE, str(file), CLOCK.isoformat()],
        input=pickle.dumps((knowledge, Assessor(knowledge))),
        capture_output=True,
        check=True,
        timeout=60,
    )
    expected = [fired.recommendation.id for fired in explained.assessment.fired]
    assert expected
    assert json.loads(decided.stdout) == expected
