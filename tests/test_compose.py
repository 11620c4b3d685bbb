"""compose.yaml: by the schema of compose files, by what we hold it to, and its three processes put together."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml
from sqlalchemy import make_url

from cds_hooks.trust.signing import claims_for, key_set, new_key, sign
from tests.proxies import EACH, NAME, proxying
from tests.serving import PATH, SERVE, running

if TYPE_CHECKING:
    from tests.postgresql import Postgresql

pytest_plugins = ["tests.postgresql"]
REPOSITORY = Path(__file__).parents[1]
FILE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = FILE["services"]
PUBLIC = f"https://{NAME}"
# What compose asks whoever starts it for.
ASKED_FOR = {"SITBONE_PUBLIC_BASE_URL": PUBLIC, "SITBONE_DRAFT": "show"}
CALL = (REPOSITORY / "fixtures" / "requests" / "sudden-pop-with-bruising.json").read_bytes()


def test_the_file_is_one_by_the_schema_of_compose() -> None:
    import jsonschema  # noqa: PLC0415 - almost a second, for each process that collects tests

    schema = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    check = jsonschema.validators.validator_for(read := json.loads(schema.read_text("utf-8")))(read)

    assert [error.message for error in check.iter_errors(FILE)] == []
    assert list(check.iter_errors(FILE | {"services": {"proxy": {"image": 7}}}))


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_has_a_read_only_root_a_fixed_image_and_tells_whether_it_is_well(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert "no-new-privileges:true" in service["security_opt"]
    assert re.fullmatch(r"[a-z]+:[0-9][0-9.]*", service["image"])
    # The service brings its check with its image; what ends by itself is asked by how it ended.
    assert "healthcheck" in service or "HEALTHCHECK" in (REPOSITORY / "Dockerfile").read_text()
    assert service["restart"] == ("no" if name == "upgrade" else "unless-stopped")


def test_only_the_proxy_can_be_reached_and_the_database_reaches_nobody() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert SERVICES["database"]["networks"] == ["back"]
    assert "back" not in SERVICES["proxy"]["networks"]
    assert FILE["networks"]["back"] == {"internal": True}


def test_what_is_secret_comes_from_files_alone_and_has_no_default() -> None:
    declared = FILE["secrets"]
    assert all(set(secret) == {"file"} for secret in declared.values())
    for service in SERVICES.values():
        used = {secret["source"] if isinstance(secret, dict) else secret for secret in service.get("secrets", ())}
        assert used <= set(declared)
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|KEY|TOKEN|URL", variable) and variable != "SITBONE_PUBLIC_BASE_URL":
                assert variable.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in used
    for variable in ASKED_FOR:
        assert SERVICES["service"]["environment"][variable].startswith(f"${{{variable}:?")


def test_the_image_and_the_files_that_it_names_are_those_of_the_repository() -> None:
    version = re.search(r'^version = "(.+)"', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert {service["image"] for service in SERVICES.values() if "build" in service} == {f"sitbone:{version[1]}"}
    ours = [volume.partition(":")[0] for volume in SERVICES["proxy"]["volumes"]]
    assert [(REPOSITORY / path).is_file() for path in ours] == [True]
    ignored = (REPOSITORY / ".gitignore").read_text().splitlines()
    assert {"/secrets/", "/sitbone/"} <= set(ignored)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The folder of secrets, made by the commands of the guide."""
    guide = (REPOSITORY / "docs" / "guide-operator.md").read_text("utf-8")
    part = guide.partition("## Proxy, service and database together")[2].partition("\n## ")[0]
    commands = "\n".join(re.findall(r"^(?:mkdir|openssl|printf) .*$", part, re.MULTILINE))
    subprocess.run(["bash", "-ec", commands], cwd=tmp_path, check=True)
    return tmp_path / "secrets"


@pytest.mark.needs_system("bash", "the commands are for a shell")
@pytest.mark.needs_system("openssl", "the guide makes secrets with it")
@pytest.mark.parametrize("kind", EACH)
def test_a_call_goes_through_proxy_service_and_database_as_the_file_puts_them_together(
    kind: str, secrets: Path, tmp_path: Path, postgresql: Postgresql
) -> None:
    address = make_url((secrets / "database_url").read_text())
    assert (address.username, address.host, address.database) == ("sitbone", "database", "sitbone")
    assert address.password == (secrets / "database_password").read_text().strip()
    assert secrets.stat().st_mode & 0o777 == 0o700
    # The database of these tests has another address, and asks for no password.
    (secrets / "database_url").write_text(postgresql.url)
    (tmp_path / "proxy").mkdir()
    (tmp_path / "data").mkdir(mode=0o700)
    key = new_key("ES384", "mine")
    (tmp_path / "sitbone" / "jwks.json").write_text(json.dumps(key_set(key)))
    (tmp_path / "sitbone" / "clients.toml").write_text(
        '[clients.ehr]\nissuers = ["https://ehr.example.org/"]\njwks_file = "jwks.json"\n'
    )

    upgraded = subprocess.run(
        [*SERVE[:-1], *SERVICES["upgrade"]["entrypoint"][1:]],
        env=os.environ | environment("upgrade", tmp_path),
        cwd=REPOSITORY,
        check=False,
    )
    assert upgraded.returncode == 0
    with (
        running(REPOSITORY, True, **environment("service", tmp_path)) as (base, _stop),
        proxying(kind, tmp_path / "proxy", urlsplit(base).port or 0) as proxy,
    ):
        token = sign(key, claims_for("https://ehr.example.org/", PUBLIC + PATH, time.time()))
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        code, body, _ = proxy.call("POST", PATH, CALL, headers)
        assert code == 200
        cards = json.loads(body)["cards"]
        assert f"{PUBLIC}/why/" in json.dumps(cards)
        assert proxy.call("POST", PATH, CALL, headers)[0] == 401
        assert proxy.call("POST", PATH, CALL, {"Content-Type": "application/json"})[0] == 401
    # The service has ended, and has written what waited.
    assert postgresql.execute("SELECT client, status FROM audit_calls WHERE cards > 0") == [("ehr", 200)]
    assert postgresql.execute("SELECT count(*) FROM seen_tokens") == [(1,)]
    assert not list((tmp_path / "data").glob("*.sqlite"))


def environment(service: str, folder: Path) -> dict[str, str]:
    """What a container of this service is told, with its folders below this one."""
    places = {
        "/run/secrets": str(folder / "secrets"),
        "/etc/sitbone": str(folder / "sitbone"),
        "/data": str(folder / "data"),
    }
    read = {}
    for variable, value in SERVICES[service]["environment"].items():
        place = next((each for each in places if f"{value}/".startswith(f"{each}/")), "")
        read[variable] = ASKED_FOR.get(variable, f"{places.get(place, place)}{value.removeprefix(place)}")
    return read
