"""`sitbone knowledge sign`, `verify`, `status` and `closure`, with keys made in the test."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from service.cli import main
from service.release.archive import pack, unpack
from service.release.canonical_json import canonical_json
from tests.release.conftest import CLINICIAN, GOVERNOR, Site
from tests.release.keys import signers_file
from tests.toy import request

FEVER = "rf2-fever"


class Desk:
    """A site whose two signers have keys of minisign itself, and a shell."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.folder = site, folder
        tables = []
        for name, role in ((CLINICIAN, "clinical"), (GOVERNOR, "governance")):
            files = ["-p", f"{role}.pub", "-s", f"{role}.key"]
            subprocess.run(["minisign", "-G", "-W", *files], cwd=folder, capture_output=True, check=True)
            key = (folder / f"{role}.pub").read_text().splitlines()[1]
            tables.append({"name": name, "roles": [role], "key": key})
        signers_file(site.signers, *tables)
        requests = folder / "published" / "requests"
        requests.mkdir(parents=True)
        (requests.parent / "clock.txt").write_text("2026-11-22T12:00:00Z\n")
        (requests / "fever.json").write_text(json.dumps(request(present=["ankle-pain", "fever"])))

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["knowledge", *arguments])

    def sign(self, role: str, *more: str) -> Result:
        name = {"clinical": CLINICIAN, "governance": GOVERNOR}[role]
        key = str(self.folder / f"{role}.key")
        asked = ("--requests", str(self.folder / "published")) if role == "governance" else ()
        arguments = ("--role", role, "--signer", name, "--secret-key", key, *asked, *more)
        return self.run("sign", str(self.site.folder), *arguments)

    def revoke(self, *more: str) -> Result:
        key = ("--secret-key", str(self.folder / "governance.key"))
        return self.run("revoke", str(self.site.folder), "--signer", GOVERNOR, "--why", "a wrong dose", *key, *more)

    def signed(self, role: str) -> Path:
        return next((self.site.folder / "signatures").glob(f"*-{role}-*.json"))


@pytest.fixture
def desk(new_site: Callable[[], Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    site = new_site()
    monkeypatch.setenv("SITBONE_SIGNERS", str(site.signers))
    return Desk(site, tmp_path)


needs_minisign = pytest.mark.needs_system("minisign", "signers sign with it")


def _edit(desk: Desk, old: str, new: str) -> None:
    path = desk.site.folder / "recommendations" / f"{FEVER}.toml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


@needs_minisign
def test_a_clinician_and_governance_sign_and_it_is_in_force(desk: Desk) -> None:
    clinical = desk.sign("clinical", "--organisation", "sports physician", "--registration", "GMC 1234567")
    assert clinical.exit_code == 0, clinical.output
    assert "has signed nothing here that counts, so everything is new" in clinical.output
    governance = desk.sign("governance")
    assert governance.exit_code == 0, governance.output
    assert "Every safety property is proved." in governance.output
    content = desk.signed("clinical").read_text("utf-8")
    assert content == canonical_json(json.loads(content))
    verified = desk.run("verify", str(desk.site.folder), "--requests", str(desk.folder / "published"))
    assert verified.exit_code == 0, verified.output
    assert verified.output.count("ok  ") == 3
    status = desk.run("status", str(desk.site.folder))
    count = len(list((desk.site.folder / "recommendations").glob("*.toml")))
    assert f": {count} active" in status.output.splitlines()[0]
    assert "clinical A. Example (sports physician)" in status.output
    assert json.loads(desk.run("status", str(desk.site.folder), "--json").output)["states"] == {"active": count}


@needs_minisign
def test_what_changed_since_i_signed_is_told_in_words(desk: Desk) -> None:
    desk.sign("clinical")
    path = desk.signed("clinical")
    _edit(desk, 'title = "', 'title = "New: ')
    told = desk.run("sign", str(desk.site.folder), "--role", "clinical", "--signer", CLINICIAN, "--changes")
    assert told.exit_code == 0
    assert f"  {FEVER}: the recommendation itself" in told.output.splitlines()
    assert "New: " in told.output
    again = desk.sign("clinical")
    assert again.exit_code == 2
    assert f"{path.name} is there already: signatures are only added." in again.output


@needs_minisign
def test_one_recommendation_can_be_signed_alone(desk: Desk) -> None:
    assert desk.sign("clinical", "--only", FEVER).exit_code == 0
    assert [*json.loads(desk.signed("clinical").read_bytes())["covers"]] == [FEVER]
    unknown = desk.sign("clinical", "--only", "none-of-these")
    assert unknown.exit_code == 2
    assert "There is no recommendation none-of-these." in unknown.output


@needs_minisign
def test_verify_ends_with_1_and_names_file_and_reason(desk: Desk) -> None:
    desk.sign("clinical")
    path = desk.signed("clinical")
    path.write_bytes(path.read_bytes().replace(b"right", b"wrong"))
    refused = desk.run("verify", str(desk.site.folder))
    assert refused.exit_code == 1
    assert f"refused  signatures/{path.name}: the signature is not over this content" in refused.output


@needs_minisign
@pytest.mark.parametrize(
    ("what", "left"),
    [
        (("--signature", "{signature}"), {}),
        (("--key-of", CLINICIAN), {}),
        (("--recommendation", FEVER), {FEVER: "draft"}),
    ],
    ids=["signature", "key", "recommendation"],
)
def test_what_is_revoked_is_a_draft_and_the_file_verifies(
    desk: Desk, what: tuple[str, str], left: dict[str, str]
) -> None:
    desk.sign("clinical")
    desk.sign("governance")
    option, name = what[0], what[1].format(signature=desk.signed("clinical").stem)
    done = desk.revoke(option, name)
    assert done.exit_code == 0, done.output
    (path,) = (desk.site.folder / "revocations").glob("*.json")
    assert f"Revoked: {path}. It holds from the next start or SIGHUP on." in done.output
    assert (
        f"ok       revocations/{path.name}: {GOVERNOR}, a wrong dose"
        in desk.run("verify", str(desk.site.folder)).output
    )
    status = json.loads(desk.run("status", str(desk.site.folder), "--json").output)
    drafts = {each["id"]: each["state"] for each in status["recommendations"] if each["state"] == "draft"}
    assert drafts == (left or {each["id"]: "draft" for each in status["recommendations"]})
    again = desk.revoke(option, name)
    assert (again.exit_code, "is there already: revocations are only added." in again.output) == (2, True)


@needs_minisign
def test_a_revocation_that_would_not_count_leaves_nothing(desk: Desk) -> None:
    desk.sign("clinical")
    other = desk.revoke("--key-of", CLINICIAN, "--secret-key", str(desk.folder / "clinical.key"))
    assert other.exit_code == 1
    assert f"it names {GOVERNOR} and is signed by the key of {CLINICIAN}; nothing is left of it." in other.output
    (desk.folder / "governance.key").write_text("no key\n")
    assert desk.revoke("--key-of", CLINICIAN).exit_code == 1
    assert not (desk.site.folder / "revocations").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "Name one thing to take back: --signature, --recommendation or --key-of."),
        (("--key-of", CLINICIAN, "--recommendation", FEVER), "Name one thing to take back"),
        (("--key-of", "Nobody"), f"Nobody is no signer: {CLINICIAN}, {GOVERNOR} are."),
        (("--signature", "none"), "There is no signature none here. There are: clinical, governance."),
        (("--recommendation", "none"), "There is no recommendation none."),
        (("--signature", "clinical", "--digest", "sha256:1"), "--digest goes with --recommendation."),
    ],
)
def test_what_is_not_there_is_not_revoked(
    site: Site, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], why: str
) -> None:
    monkeypatch.setenv("SITBONE_SIGNERS", str(site.signers))
    command = ["knowledge", "revoke", str(site.folder), "--signer", GOVERNOR, "--why", "a wrong dose", *arguments]
    told = CliRunner().invoke(main, command)
    assert (told.exit_code, why in told.output) == (2, True), told.output
    monkeypatch.delenv("SITBONE_SIGNERS")
    assert "SITBONE_SIGNERS" in CliRunner().invoke(main, [*command[:7], "--key-of", CLINICIAN]).output
    assert not (site.folder / "revocations").exists()


def test_where_minisign_is_not_installed_the_revocation_is_no_part_of_the_folder_yet(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SITBONE_SIGNERS", str(site.signers))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    arguments = ["--signer", GOVERNOR, "--why", "withdrawn", "--recommendation", FEVER, "--from", "2026-12-24"]
    told = CliRunner().invoke(main, ["knowledge", "revoke", str(site.folder), *arguments])
    assert told.exit_code == 0, told.output
    (path,) = tmp_path.glob(f"*-{FEVER}.json")
    assert f"minisign -S -m {path.name}" in told.output
    assert json.loads(path.read_bytes()) == {
        "from": "2026-12-24",
        "knowledge": "toy-ankle",
        "revokes": {"digest": site.digests.recommendations[FEVER], "recommendation": FEVER},
        "signer": GOVERNOR,
        "why": "withdrawn",
    }
    assert not (site.folder / "revocations").exists()


@needs_minisign
def test_verify_tells_answers_that_governance_has_not_signed(desk: Desk) -> None:
    desk.sign("clinical")
    desk.sign("governance")
    (desk.folder / "published" / "requests" / "crack.json").write_text(
        json.dumps(request(present=["ankle-pain", "loud-crack"]))
    )
    refused = desk.run("verify", str(desk.site.folder), "--requests", str(desk.folder / "published"))
    assert refused.exit_code == 1
    assert "refused  behaviour of" in refused.output


@needs_minisign
def test_governance_signs_nothing_of_which_a_property_is_refuted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.commands import prove  # noqa: PLC0415

    class Refuted:
        holds = False

    monkeypatch.setattr(prove, "prove_folder", lambda _folder, _now: Refuted())
    monkeypatch.setattr(prove, "as_text", lambda _proof: "P01 is refuted.")
    refused = desk.sign("governance")
    assert refused.exit_code == 1
    assert "P01 is refuted." in refused.output
    assert not (desk.site.folder / "signatures").exists()


@needs_minisign
def test_governance_needs_the_published_requests(desk: Desk) -> None:
    refused = desk.run("sign", str(desk.site.folder), "--role", "governance", "--signer", GOVERNOR)
    assert refused.exit_code == 2
    assert "name the published requests with --requests" in refused.output


@needs_minisign
def test_where_minisign_does_not_sign_nothing_is_left(desk: Desk) -> None:
    (desk.folder / "clinical.key").write_text("no key\n")
    failed = desk.sign("clinical")
    assert failed.exit_code == 1
    assert list((desk.site.folder / "signatures").iterdir()) == []


def test_where_minisign_is_not_installed_its_command_is_printed(
    new_site: Callable[[], Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = new_site()
    monkeypatch.setenv("SITBONE_SIGNERS", str(site.signers))
    monkeypatch.setenv("PATH", "/nowhere")
    arguments = ["sign", str(site.folder), "--role", "clinical", "--signer", CLINICIAN, "--secret-key", "/x/my key"]
    told = CliRunner().invoke(main, ["knowledge", *arguments])
    assert told.exit_code == 0, told.output
    path = next((site.folder / "signatures").glob("*.json"))
    assert f"Sign where it is: minisign -S -s '/x/my key' -m {path}" in told.output


def test_the_closure_of_a_recommendation_is_what_a_signature_covers(site: Site) -> None:
    told = CliRunner().invoke(main, ["knowledge", "closure", FEVER, str(site.folder)])
    assert told.exit_code == 0, told.output
    assert "the recommendation itself" in told.output
    assert f"{len(told.output.splitlines()) - 4} parts" in told.output
    found: dict[str, Any] = json.loads(
        CliRunner().invoke(main, ["knowledge", "closure", FEVER, str(site.folder), "--json"]).output
    )
    assert found["digest"] == site.digests.recommendations[FEVER]
    assert found["parts"]["recommendation"]["content"]["id"] == FEVER
    missing = CliRunner().invoke(main, ["knowledge", "closure", "none", str(site.folder)])
    assert missing.exit_code == 2
    assert "There is no recommendation none." in missing.output


def test_a_packed_folder_is_the_same_bytes_each_time_and_has_the_same_digests(site: Site, tmp_path: Path) -> None:
    packed = pack(site.folder)
    assert packed == pack(site.folder)
    (tmp_path / "again").mkdir()
    unpack(packed, tmp_path / "again")
    assert not (tmp_path / "again" / "signatures").exists()
    before = site.digests
    site.folder = tmp_path / "again"
    assert site.digests.release == before.release
