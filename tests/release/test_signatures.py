"""Which files of signatures count, and why the others do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.knowledge_model.model import KnowledgeError
from service.release.signers import read_signers
from service.settings import SettingsError
from tests.release import keys
from tests.release.conftest import CLINICIAN, GOVERNOR, Site
from tests.release.keys import Json, Key, clinical, governance


def _refused(site: Site) -> list[str]:
    return [str(each) for each in site.release().refused]


def test_both_files_of_a_signed_folder_count(site: Site) -> None:
    assert _refused(site) == []


def test_a_clinical_signature_by_a_key_for_governance_alone_is_refused(site: Site) -> None:
    site.write("clinical", clinical(site.digests, GOVERNOR), site.governor)
    assert _refused(site) == [
        "signatures/clinical.json: B. Example may not sign as clinical: the signers say governance"
    ]


def test_one_person_in_both_roles_is_refused(site: Site) -> None:
    site.set_signers(clinician={"roles": ["clinical", "governance"]})
    site.write("governance", governance(site.digests, CLINICIAN), site.clinician)
    assert _refused(site) == [
        "signatures/governance.json: A. Example has signed this content as a clinician: nobody counts for both"
    ]
    assert site.at("2026-11-22").state == "draft"


def test_one_person_with_two_keys_is_one_person(site: Site) -> None:
    second = Key()
    site.set_signers({"name": CLINICIAN, "roles": ["governance"], "key": second.public})
    site.write("governance", governance(site.digests, CLINICIAN), second)
    assert "nobody counts for both" in _refused(site)[0]


def test_a_key_that_had_expired_on_the_day_of_the_signature_is_refused(site: Site) -> None:
    site.set_signers(clinician={"valid_until": "2026-10-31"})
    reason = "was signed on 2026-11-01, and the key of A. Example counts from 2026-01-01 to 2026-10-31"
    assert _refused(site) == [f"signatures/clinical.json: {reason}"]


@pytest.mark.parametrize("since", ["2026-10-01", "2026-12-01", "2030-01-01"])
def test_of_a_revoked_key_nothing_counts_whatever_day_stands_in_what_it_has_signed(site: Site, since: str) -> None:
    site.revoke({"key": site.clinician.public}, since=since)
    assert _refused(site) == ["signatures/clinical.json: is revoked by withdrawn: An error."]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"signer": GOVERNOR}, "names B. Example and is signed by the key of A. Example"),
        ({"knowledge": "knee"}, "is about other knowledge than toy-ankle"),
        ({"reviewBy": "2026-11-01"}, "reviewBy comes before effectiveFrom"),
        ({"covers": {"rf2-fever": "sha256:short"}}, "covers.rf2-fever: is no digest, as in sha256:…"),
        ({"covers": {}}, "covers: Shorter than minimum length 1."),
        ({"role": "author"}, "role: Must be one of: clinical, governance."),
        ({"signed": "yesterday"}, "signed: Not a valid date."),
        ({"more": 1}, "more: Unknown field."),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_its_reason(site: Site, members: Json, reason: str) -> None:
    site.write("clinical", clinical(site.digests, CLINICIAN, **members), site.clinician)
    found = _refused(site)[0]
    assert found.startswith("signatures/clinical.json: ")
    assert reason in found


def test_a_member_that_comes_twice_is_refused(site: Site) -> None:
    path = site.folder / "signatures" / "clinical.json"
    content = path.read_bytes()[:-1] + b', "role": "clinical"}'
    path.write_bytes(content)
    Path(f"{path}.minisig").write_bytes(site.clinician.sign(content))
    assert _refused(site) == ["signatures/clinical.json: is no JSON: a member comes twice"]


@pytest.mark.parametrize(
    ("content", "reason"), [(b"[]", "is no JSON object"), (b"{", "is no JSON: "), (b"\xff", "is no")]
)
def test_a_file_that_is_no_object_is_refused(site: Site, content: bytes, reason: str) -> None:
    (site.folder / "signatures" / "clinical.json").write_bytes(content)
    assert f"signatures/clinical.json: {reason}" in _refused(site)[0]


def test_a_changed_byte_is_refused(site: Site) -> None:
    path = site.folder / "signatures" / "clinical.json"
    path.write_bytes(path.read_bytes().replace(b"they are right", b"they are wrong"))
    assert _refused(site) == ["signatures/clinical.json: the signature is not over this content, or not by this key"]


def test_a_file_without_a_signature_and_a_signature_without_a_file_are_refused(site: Site) -> None:
    (site.folder / "signatures" / "clinical.json.minisig").unlink()
    (site.folder / "signatures" / "governance.json").unlink()
    assert _refused(site) == [
        "signatures/clinical.json: has no clinical.json.minisig beside it",
        "signatures/governance.json.minisig: has no file that it signs",
    ]


@pytest.mark.parametrize(
    ("revokes", "reason"),
    [
        ({"recommendation": "rf2-fever"}, "revokes names a signature, a key, or a recommendation with its digest"),
        ({"signature": "clinical", "more": "x"}, "revokes.more: Unknown field."),
    ],
)
def test_a_revocation_that_cannot_be_read_ends_the_start(site: Site, revokes: Json, reason: str) -> None:
    site.revoke(revokes)
    with pytest.raises(KnowledgeError, match=rf"^revocations/withdrawn\.json: revocation: {reason}"):
        site.release()


def test_a_revocation_by_a_key_that_is_not_among_the_signers_ends_the_start(site: Site) -> None:
    site.revoke({"signature": "clinical"}, key=Key())
    with pytest.raises(KnowledgeError, match="is signed by a key that is not among the signers"):
        site.release()


def test_a_signature_file_can_lie_apart_from_the_knowledge(site: Site, tmp_path: Path) -> None:
    apart = tmp_path / "apart"
    apart.mkdir()
    (site.folder / "signatures").rename(apart / "signatures")
    assert site.at("2026-11-22").state == "draft"
    assert site.at("2026-11-22", signatures=apart).state == "active"


WRONG: dict[str, tuple[Json, str]] = {
    "a role that is none": ({"roles": ["author"]}, r"signers\.\[0\]\.roles\.\[0\]: Must be one of"),
    "no role": ({"roles": []}, r"signers\.\[0\]\.roles: Shorter than minimum length 1\."),
    "a key that is none": ({"key": "RWQx"}, r"signers\.\[0\]\.public_key: is the second line of a minisign\.pub"),
    "an end before the beginning": ({"valid_until": "2025-01-01"}, r"valid_until: comes before valid_from"),
    "a time of day": ({"valid_from": "2026-01-01T10:00:00"}, r"valid_from: is a date"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_of_signers_that_is_wrong_is_told_with_its_place(site: Site, wrong: str) -> None:
    members, reason = WRONG[wrong]
    site.set_signers(clinician=members)
    with pytest.raises(SettingsError, match=rf"\(SITBONE_SIGNERS\).*{reason}"):
        read_signers(site.signers)


def test_a_key_that_two_persons_have_is_told(site: Site) -> None:
    site.set_signers(clinician={"key": site.governor.public})
    with pytest.raises(SettingsError, match=r"B\. Example has the key of A\. Example"):
        read_signers(site.signers)


@pytest.mark.parametrize("text", ["signers = 3", "[[signers]", "", '[[signers]]\nname = "x"\n'])
def test_a_file_that_has_no_signers_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "signers.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match="SITBONE_SIGNERS"):
        read_signers(path)


def test_what_is_signed_says_what_its_file_says(site: Site) -> None:
    found = next(each for each in site.release().signed.signatures if each.role == "clinical")
    stands = json.loads((site.folder / "signatures" / "clinical.json").read_bytes())
    assert (found.registration, found.statement, found.covers) == (
        stands["registration"],
        stands["statement"],
        stands["covers"],
    )
    assert keys.Key().public != site.clinician.public
