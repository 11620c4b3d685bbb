"""What pip installs: with every page, its files and the made-up patients, and nothing of this folder beside it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ASKED = """
import sys
from service.app import create_app
import service
assert service.__file__.startswith(sys.argv[1]), service.__file__
client = create_app().test_client()
listed = client.get("/demo/patients").get_json()["patients"]
paths = ["/", "/docs", "/docs/files/swagger-ui-bundle.js", "/openapi.yaml", "/insights", "/knowledge.html"]
paths += ["/knowledge/whole.html", "/why/rs01-sudden-tear", "/demo/files/demo_ehr.js"]
paths += [f"/demo/patients/{each['name']}" for each in listed]
assert len(paths) > 50
for path in paths:
    assert client.get(path).status_code == 200, path
body = client.get("/demo/patients/cauda-equina").data
called = client.post("/cds-services/gluteal-hamstring-pain", data=body, content_type="application/json")
assert called.get_json()["cards"]
"""


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds what the wheel holds."""
    root = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "LICENSE", "NOTICE"):
        shutil.copy(repository / name, root)
    for name in ("cds_hooks", "service"):
        shutil.copytree(repository / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "."]
    subprocess.run([*build, "."], cwd=root, check=True, timeout=120)
    [wheel] = root.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(root / "site")
    return root / "site"


def test_an_installed_service_has_its_pages_and_patients(installed: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SITBONE_")}
    environ["PYTHONPATH"] = str(installed)
    subprocess.run([sys.executable, "-c", ASKED, str(installed)], cwd=installed, env=environ, check=True)
