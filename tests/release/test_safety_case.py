"""`sitbone safety-case`: one file that says what keeps a release from going live."""

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import main
from service.knowledge_model.loader import load
from service.release.digests import Digests
from tests.release import keys
from tests.release.conftest import CLINICIAN, GOVERNOR, Site

HAZARD = """
[T01]
hazard = "The toe is taken for the foot"
cause = "Both hurt."
effect = "The foot is imaged."
harm = "Delay."
severity = "minor"
likelihood = "low"
residual_severity = "minor"
residual_likelihood = "low"
owner = "author"
status = "controlled"
design = ["The toe is asked for."]
tests = ["toes.toml: A toe hurts", "test_toes.py::test_a_toe_is_no_foot", "clinical/test_cases.py::every_card_is_fine"]
"""
PASSED = {
    "tests.clinical.test_cases": ["test_a_named_case[A toe hurts]", "test_a_named_case[A foot hurts]"],
    "tests.test_toes": ["test_a_toe_is_no_foot[left]", "test_a_toe_is_no_foot[right]"],
}
Run = Callable[..., Result]


def _junit(path: Path, passed: Mapping[str, list[str]], failed: str = "") -> Path:
    """A report of pytest."""
    cases = [(of, name) for of, names in passed.items() for name in names]
    parts = (f'<testcase classname="{o}" name="{n}">{"<failure/>" if n == failed else ""}</testcase>' for o, n in cases)
    path.write_text(f"<testsuites><testsuite>{''.join(parts)}</testsuite></testsuites>", "utf-8")
    return path


@pytest.fixture
def signed(new_site: Callable[[], Site]) -> Site:
    """The toy pack with a hazard log, signed as this product reads it."""
    site = new_site()
    (site.folder / "hazards.toml").write_text(HAZARD, "utf-8")
    digests = Digests(load(site.folder), site.folder, version("sitbone"))
    site.write("clinical", keys.clinical(digests, CLINICIAN), site.clinician)
    site.write("governance", keys.governance(digests, GOVERNOR), site.governor)
    return site


@pytest.fixture
def run(signed: Site) -> Run:
    settings = {"SITBONE_KNOWLEDGE_DIR": str(signed.folder), "SITBONE_SIGNERS": str(signed.signers)}
    return lambda *options, **more: CliRunner().invoke(main, ["safety-case", *map(str, options)], env=settings | more)


def test_a_release_that_nothing_keeps_from_going_live_ends_with_zero(run: Run, tmp_path: Path) -> None:
    (tmp_path / "silent-weeks.txt").write_text("12 calls, 2 cards", "utf-8")
    result = run("--tests", _junit(tmp_path / "tests.xml", PASSED), "--report", tmp_path / "silent-weeks.txt")
    assert result.exit_code == 0, result.output
    said = result.stdout
    for part in (
        "Nothing of what is looked at here.",
        f"released by governance: {GOVERNOR}",
        f"clinical signatures: {CLINICIAN}",
        "### T01 The toe is taken for the foot",
        "- with them: minor, low: 1",
        "- control (design): The toe is asked for.",
        "- test, passed: toes.toml: A toe hurts",
        "- test, passed: test_toes.py::test_a_toe_is_no_foot",
        "- test, passed: clinical/test_cases.py::every_card_is_fine",
        "- `urgency-kept`: ",
        "12 calls, 2 cards",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("failed", "sentence"),
    [
        ("test_a_named_case[A toe hurts]", "toes.toml: A toe hurts: failed."),
        ("test_a_toe_is_no_foot[right]", "test_toes.py::test_a_toe_is_no_foot: failed."),
        # What is no test by itself is asked of every case.
        ("test_a_named_case[A foot hurts]", "clinical/test_cases.py::every_card_is_fine: failed."),
    ],
)
def test_a_failed_test_that_a_hazard_names_keeps_it(run: Run, tmp_path: Path, failed: str, sentence: str) -> None:
    result = run("--tests", _junit(tmp_path / "tests.xml", PASSED, failed))
    assert (result.exit_code, f"- {sentence}" in result.stdout) == (1, True)


def test_a_named_test_that_is_not_among_the_results_keeps_it(run: Run, tmp_path: Path) -> None:
    without = _junit(tmp_path / "tests.xml", {"tests.test_toes": PASSED["tests.test_toes"]})
    result = run("--tests", without)
    assert (result.exit_code, "- toes.toml: A toe hurts: not among the results." in result.stdout) == (1, True)
    result = run()
    assert result.exit_code == 1
    assert "- Of the 3 tests that hazards name no result was given (--tests)." in result.stdout


def test_what_governance_has_not_released_keeps_it(run: Run, signed: Site, tmp_path: Path) -> None:
    for path in (signed.folder / "signatures").glob("governance*"):
        path.unlink()
    result = run("--tests", _junit(tmp_path / "tests.xml", PASSED))
    assert result.exit_code == 1
    assert "- No signature of governance releases this content." in result.stdout


def test_a_risk_that_no_live_service_bears_keeps_it(run: Run, tmp_path: Path) -> None:
    graver = 'severity = "major"\nlikelihood = "high"\nresidual_severity = "major"\nresidual_likelihood = "high"\n'
    (tmp_path / "site.toml").write_text(f'[T01]\n{graver}reason = "No better."\n', "utf-8")
    tests = _junit(tmp_path / "tests.xml", PASSED)
    result = run("--tests", tests, SITBONE_HAZARDS=str(tmp_path / "site.toml"))
    assert result.exit_code == 1
    assert "- T01, The toe is taken for the foot: a residual risk of 4, where 3 is the most." in result.stdout
    assert "### T01 The toe is taken for the foot (as the site has it)" in result.stdout


def test_a_program_has_it_as_json(run: Run, tmp_path: Path) -> None:
    said = json.loads(run("--json", "--tests", _junit(tmp_path / "tests.xml", PASSED)).stdout)
    assert said["open"] == []
    assert (said["governance"], said["knowledge"]["states"].keys()) == (GOVERNOR, {"active"})
    (hazard,) = said["hazards"]
    assert (hazard["id"], hazard["residual"], {*hazard["tests"].values()}) == ("T01", 1, {"passed"})
    assert said["properties"]["urgency-kept"]["proved"] > 0


@pytest.mark.parametrize("content", [None, "no XML"])
def test_a_report_of_tests_that_cannot_be_read_is_told(run: Run, tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "tests.xml").write_text(content, "utf-8")
    result = run("--tests", tmp_path / "tests.xml")
    assert (result.exit_code, "cannot be read as a JUnit report" in result.output) == (2, True)
