"""The hazard log: what it refuses, how it is scored, and what it keeps from going live."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from cds_hooks.trust.signing import key_set, new_key
from service.app import create_app
from service.knowledge_model.model import KnowledgeError
from service.release.hazard_log import (
    LIKELIHOODS,
    MATRIX,
    SEVERITIES,
    Hazard,
    read_hazards,
    require_acceptable,
    score,
)
from service.settings import Settings, SettingsError
from tests.release.edits import written

ENTRY = {
    "hazard": "The wrong leg is imaged",
    "cause": "Two sides.",
    "effect": "The other leg is imaged.",
    "harm": "Delay.",
    "severity": "considerable",
    "likelihood": "medium",
    "residual_severity": "considerable",
    "residual_likelihood": "low",
    "owner": "site",
    "status": "controlled",
    "process": ["The side is read out."],
}
ACCEPTANCE = {"by": "A. Example", "role": "clinical safety officer", "date": date(2026, 11, 30)}


def _site(folder: Path, **entries: dict[str, Any]) -> Path:
    """The file of a site."""
    path = folder / "site.toml"
    path.write_text(written(entries), "utf-8")
    return path


def _of(hazards: tuple[Hazard, ...], id_: str) -> Hazard:
    return next(hazard for hazard in hazards if hazard.id == id_)


def test_more_severe_or_more_likely_never_lowers_the_score() -> None:
    for row, likelihood in enumerate(LIKELIHOODS):
        for column, severity in enumerate(SEVERITIES):
            assert score(severity, likelihood) == MATRIX[row][column]
            assert row == 0 or MATRIX[row][column] >= MATRIX[row - 1][column]
            assert column == 0 or MATRIX[row][column] >= MATRIX[row][column - 1]


@pytest.mark.parametrize(
    ("severity", "likelihood", "is_score"),
    [
        ("minor", "very-low", 1),
        ("major", "very-low", 2),
        ("major", "low", 3),
        ("major", "high", 4),
        ("minor", "high", 2),
    ],
)
def test_the_score_is_that_of_the_matrix(severity: str, likelihood: str, is_score: int) -> None:
    assert score(severity, likelihood) == is_score


def test_every_shipped_hazard_can_be_borne_and_is_accepted_by_nobody() -> None:
    hazards = read_hazards(None)
    assert len(hazards) > 30
    assert {hazard.id for hazard in hazards if hazard.keeps_from_going_live()} == set()
    assert {hazard.acceptance for hazard in hazards} == {None}


def test_every_shipped_hazard_has_a_test_of_a_control() -> None:
    assert [hazard.id for hazard in read_hazards(None) if not hazard.tests] == []


def test_a_folder_of_knowledge_without_a_log_has_no_hazards(tmp_path: Path) -> None:
    assert read_hazards(tmp_path) == ()


def test_a_site_scores_a_hazard_anew_and_adds_its_own(tmp_path: Path) -> None:
    own = _site(tmp_path, H02={"residual_likelihood": "very-low", "owner": "site"}, S01=ENTRY)
    hazards = read_hazards(None, own)
    made = _of(read_hazards(None), "H02")
    scored = _of(hazards, "H02")
    assert (made.residual_likelihood, scored.residual_likelihood) == ("low", "very-low")
    assert (made.site, scored.site) == (False, True)
    assert scored.controls == made.controls
    assert scored.digest != made.digest
    assert _of(hazards, "S01").residual == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"severity": "grave"}, "S01.severity: must be one of minor, significant, considerable, major, catastrophic"),
        ({"owner": "nobody"}, "S01.owner: must be one of developer, author, site"),
        ({"process": []}, "S01: has no control"),
        ({"residual_likelihood": "very-high"}, "S01: has a higher score with the controls than without them"),
        ({"residual_likelihood": "medium"}, "S01.reason: is required"),
        ({"status": "accepted"}, "S01.acceptance: belongs to the status accepted"),
        (
            {"acceptance": {**ACCEPTANCE, "digest": f"sha256:{'0' * 64}"}},
            "S01.acceptance: belongs to the status accepted",
        ),
        (
            {"status": "accepted", "acceptance": {**ACCEPTANCE, "digest": "old"}},
            "S01.acceptance.digest: must be a digest",
        ),
        ({"remarks": "none"}, "S01.remarks"),
    ],
)
def test_a_mistake_in_the_file_of_a_site_is_told_with_its_key(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    own = _site(tmp_path, S01={**ENTRY, **change})
    with pytest.raises(KnowledgeError, match=says.replace(".", r"\.")):
        read_hazards(None, own)


def test_a_file_of_a_site_that_is_no_toml_is_told(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text("[S01\n", "utf-8")
    with pytest.raises(KnowledgeError, match="is no TOML"):
        read_hazards(None, tmp_path / "site.toml")


def test_an_accepted_entry_that_is_edited_is_open_again(tmp_path: Path) -> None:
    digest = _of(read_hazards(None, _site(tmp_path, S01=ENTRY)), "S01").digest
    accepted = {**ENTRY, "status": "accepted", "acceptance": {**ACCEPTANCE, "digest": digest}}
    borne = _of(read_hazards(None, _site(tmp_path, S01=accepted)), "S01")
    assert (borne.status, borne.keeps_from_going_live()) == ("accepted", "")
    edited = _of(read_hazards(None, _site(tmp_path, S01={**accepted, "harm": "Delay, or worse."})), "S01")
    assert edited.status == "open"
    assert "edited after it was accepted" in edited.keeps_from_going_live()


@pytest.mark.parametrize(("likelihood", "ends"), [("medium", False), ("high", True)])
def test_a_risk_of_four_lets_no_live_service_start(tmp_path: Path, likelihood: str, *, ends: bool) -> None:
    graver = {
        **ENTRY,
        "severity": "major",
        "likelihood": "high",
        "residual_severity": "major",
        "reason": "None better.",
    }
    hazards = read_hazards(None, _site(tmp_path, S01={**graver, "residual_likelihood": likelihood}))
    if not ends:
        require_acceptable(hazards)
        return
    with pytest.raises(SettingsError, match="S01, The wrong leg is imaged: a residual risk of 4, where 3 is the most"):
        require_acceptable(hazards)


def test_only_a_live_service_of_clients_reads_the_log_before_it_starts(tmp_path: Path) -> None:
    graver = {"severity": "major", "likelihood": "high", "residual_severity": "major", "residual_likelihood": "high"}
    hazards = _site(tmp_path, H02={**graver, "reason": "None better."})
    (tmp_path / "keys.json").write_text(json.dumps(key_set(new_key())), "utf-8")
    (tmp_path / "clients.toml").write_text('[clients.ward]\nissuers = ["ward"]\njwks_file = "keys.json"\n', "utf-8")
    (tmp_path / "store").mkdir(mode=0o700)
    of_clients = Settings(draft="show", clients=tmp_path / "clients.toml", store=tmp_path / "store", hazards=hazards)
    with pytest.raises(SettingsError, match="The hazard log lets no live service start: H02"):
        create_app(of_clients)
    create_app(replace(of_clients, mode="silent"))
    create_app(Settings(hazards=hazards))
