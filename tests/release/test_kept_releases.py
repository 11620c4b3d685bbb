"""What answered on a day is kept, can be restored, and answers again to the letter; other content needs a version."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from sqlalchemy import select

from service.app import create_app
from service.audit import open_audit
from service.audit.schema import RELEASES
from service.cli import main
from service.service_ids import DIAGNOSIS
from service.settings import Settings, SettingsError
from tests.release.conftest import Site
from tests.toy import CLOCK, request

FEVER = "rf2-fever"
BODY = json.dumps(request(present=["ankle-pain", "fever"]))
CARD_KEY = "0123456789abcdef"


class Running:
    """One start of the service on a folder, with an audit trail."""

    def __init__(self, folder: Path, audit: Path, clients: Path | None = None) -> None:
        audit.mkdir(mode=0o700, exist_ok=True)
        settings = Settings(
            knowledge_dir=folder,
            audit=audit,
            card_key=CARD_KEY,
            clients=clients,
            store=audit,
            pages="off",
            draft="show",
        )
        opened = open_audit(settings)
        assert opened is not None
        self.audit = opened
        self.client = create_app(settings, clock=lambda: CLOCK, audit=opened).test_client()

    def answer(self) -> bytes:
        headers = {"X-Correlation-Id": "same"}
        answer = self.client.post(
            f"/cds-services/{DIAGNOSIS}", data=BODY, content_type="application/json", headers=headers
        )
        assert answer.status_code == 200
        return answer.get_data()

    def version(self) -> str:
        version: str = self.client.get("/readyz").get_json()["knowledge"]["version"]
        return version


def _edit(folder: Path, version: str = "") -> None:
    path = folder / "recommendations" / f"{FEVER}.toml"
    path.write_text(path.read_text("utf-8").replace('summary = "', 'summary = "Now: ', 1), "utf-8")
    if version:
        guideline = folder / "guideline.toml"
        guideline.write_text(
            guideline.read_text("utf-8").replace('version = "1"', f'version = "{version}"', 1), "utf-8"
        )


@pytest.fixture
def folder(new_site: Callable[[], Site]) -> Path:
    return new_site().folder


@pytest.fixture
def clients(tmp_path: Path) -> Path:
    """A file of clients with one that has a key."""
    public = ec.generate_private_key(ec.SECP384R1()).public_key()
    key = {**ECAlgorithm.to_jwk(public, as_dict=True), "kid": "a", "use": "sig"}
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [key]}))
    path = tmp_path / "clients.toml"
    path.write_text('[clients.ehr]\nissuers = ["https://ehr.example.org"]\njwks_file = "keys.json"\n')
    return path


def test_what_answered_on_a_day_is_restored_and_answers_to_the_letter(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Running(folder, tmp_path / "audit")
    then, version = first.answer(), first.version()
    first.audit.close()
    with first.audit.engine.connect() as connection:
        [(kept,)] = connection.exec_driver_sql("SELECT knowledge FROM audit_calls").all()
    assert kept == version
    _edit(folder, "2")
    assert Running(folder, tmp_path / "audit").answer() != then
    monkeypatch.setenv("SITBONE_AUDIT", str(tmp_path / "audit"))
    restored = CliRunner().invoke(main, ["knowledge", "restore", kept, "--to", str(tmp_path / "then")])
    assert restored.exit_code == 0, restored.output
    assert restored.output.startswith(f"{version} (sha256:")
    again = Running(tmp_path / "then", tmp_path / "other")
    assert again.version() == version
    assert again.answer() == then


def test_what_is_not_kept_is_told_with_what_is(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = Running(folder, tmp_path / "audit").version()
    monkeypatch.setenv("SITBONE_AUDIT", str(tmp_path / "audit"))
    missing = CliRunner().invoke(main, ["knowledge", "restore", "9+00000000", "--to", str(tmp_path / "then")])
    assert missing.exit_code == 2
    assert f"Nothing is kept under 9+00000000. Kept are: {version}." in missing.output
    taken = CliRunner().invoke(main, ["knowledge", "restore", version, "--to", str(tmp_path)])
    assert taken.exit_code == 2
    assert "must be a new folder" in taken.output


def test_a_second_start_keeps_nothing_twice(folder: Path, tmp_path: Path) -> None:
    Running(folder, tmp_path / "audit")
    second = Running(folder, tmp_path / "audit")
    with second.audit.engine.connect() as connection:
        assert len(connection.execute(select(RELEASES.c.digest)).all()) == 1


def test_other_content_under_the_same_version_ends_the_start_where_clients_call(
    folder: Path, tmp_path: Path, clients: Path
) -> None:
    version = Running(folder, tmp_path / "audit", clients).version()
    Running(folder, tmp_path / "audit", clients)
    _edit(folder)
    with pytest.raises(SettingsError, match=r"content changed, version did not") as refused:
        Running(folder, tmp_path / "audit", clients)
    assert f"other content has answered ({version}, last started on 2026-11-22)" in str(refused.value)
    _edit(folder, "2")
    Running(folder, tmp_path / "audit", clients)


def test_what_would_be_taken_is_asked_of_the_audit_trail_too_and_nothing_is_kept(
    folder: Path, tmp_path: Path, clients: Path
) -> None:
    audit = tmp_path / "audit"
    settings = {
        "SITBONE_KNOWLEDGE_DIR": str(folder),
        "SITBONE_AUDIT": str(audit),
        "SITBONE_STORE": str(audit),
        "SITBONE_CLIENTS": str(clients),
        "SITBONE_DRAFT": "show",
        "SITBONE_PUBLIC_BASE_URL": "https://cds.example.org",
    }
    audit.mkdir(mode=0o700)

    def check() -> tuple[int, str]:
        done = CliRunner().invoke(main, ["reload", "--check"], env=settings)
        return done.exit_code, done.output

    # Before the first start there is nothing to ask.
    assert check()[0] == 0
    assert not (audit / "record.sqlite").exists()
    running = Running(folder, audit, clients)
    assert check()[0] == 0
    _edit(folder)
    code, said = check()
    assert (code, "content changed, version did not" in said) == (2, True)
    _edit(folder, "2")
    assert check()[0] == 0
    with running.audit.engine.connect() as connection:
        assert len(connection.execute(select(RELEASES.c.digest)).all()) == 1


def test_without_clients_whoever_writes_knowledge_need_not_raise_its_version(folder: Path, tmp_path: Path) -> None:
    before = Running(folder, tmp_path / "audit").version()
    _edit(folder)
    assert Running(folder, tmp_path / "audit").version() != before
