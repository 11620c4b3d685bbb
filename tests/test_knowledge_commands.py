"""`sitbone knowledge lint | diff | export`: what whoever reviews the knowledge types."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.app import create_app
from service.cli import main
from service.commands.lint import lint
from service.knowledge_model.loader import load
from service.knowledge_model.model import PACKAGED

SUDDEN = "recommendations/rs01-sudden-tear.toml"


def sitbone(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["knowledge", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged knowledge, to be spoilt."""
    return Path(shutil.copytree(PACKAGED, tmp_path / "knowledge"))


def change(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")


def append(folder: Path, name: str, text: str) -> None:
    with (folder / name).open("a", encoding="utf-8") as file:
        file.write(text)


# ---------------------------------------------------------------------------------------------------------------------
# lint


def test_lint_reads_the_properties_that_the_knowledge_is_held_to(folder: Path) -> None:
    file = folder / "properties.toml"
    file.write_text(file.read_text(encoding="utf-8").replace('"nsaid-allergy"', '"nsaid-alergy"', 1), encoding="utf-8")
    linted = sitbone("lint", folder)
    assert linted.exit_code == 1
    assert "error: properties.toml: contraindications: there is no 'nsaid-alergy'" in linted.output


def test_the_packaged_knowledge_has_no_error() -> None:
    linted = sitbone("lint")
    assert linted.exit_code == 0
    assert "0 errors" in linted.stdout


def test_every_error_of_every_file_is_listed_with_file_key_and_reason(folder: Path) -> None:
    change(folder, SUDDEN, 'strength = "', 'strength = "very-')
    change(folder, SUDDEN, "version = ", 'version = "one" # ')
    change(folder, "recommendations/rs02-significant-bruising.toml", 'modality = "mri"', 'modality = "xray"')
    append(folder, "causes.toml", "\n[new-cause]\ntitle = 7\n")
    append(folder, "value_sets/findings.csv", "fever,nowhere,1,exact,,,open,Fever,\n")
    linted = sitbone("lint", folder, "--json")
    assert linted.exit_code == 1
    found = {(remark["file"], remark["key"]) for remark in json.loads(linted.stdout)}
    line = len((folder / "value_sets" / "findings.csv").read_text(encoding="utf-8").splitlines())
    assert found == {
        (SUDDEN, "strength"),
        (SUDDEN, "version"),
        ("recommendations/rs02-significant-bruising.toml", "imaging.[1].modality"),
        ("causes.toml", "new-cause.title"),
        ("causes.toml", "new-cause.statements"),
        ("causes.toml", "new-cause.tell_apart"),
        ("value_sets/findings.csv", f"line {line}.system"),
    }
    assert {remark["level"] for remark in json.loads(linted.stdout)} == {"error"}


def test_every_name_that_is_not_known_is_listed(folder: Path) -> None:
    change(folder, SUDDEN, "evidence = [", 'evidence = ["V:R998", ')
    change(folder, "recommendations/rs02-significant-bruising.toml", "evidence = [", 'evidence = ["V:R999", ')
    said = sitbone("lint", folder).stdout
    assert f"error: {SUDDEN}: evidence: 'R998' is not known here" in said
    assert "error: recommendations/rs02-significant-bruising.toml: evidence: 'R999' is not known here" in said


def test_what_would_stop_the_start_is_an_error(folder: Path) -> None:
    days = '\n[thresholds.seen-within-critical-mumps]\nvalue = 1\nunit = "d"\nsource = "[J]"\ndate = 2026-11-22\n'
    append(folder, "guideline.toml", days)
    linted = sitbone("lint", folder)
    assert linted.exit_code == 1
    assert "error: guideline.toml: thresholds.seen-within-critical-mumps: is of no indicator and red" in linted.stdout


def test_a_cause_of_which_nothing_reads_whether_it_is_considered_is_warned_of(folder: Path) -> None:
    assert {remark.key for remark in lint(folder) if remark.file == "causes.toml"} == {"outside"}
    append(folder, "causes.toml", '\n[new]\ntitle = "New"\nstatements = []\ntell_apart = "new"\n')
    head, _, rows = (folder / "weights.csv").read_text(encoding="utf-8").partition("\n")
    more = rows.replace("\n", ",\n")
    (folder / "weights.csv").write_text(f"{head},new\n{more}", encoding="utf-8")
    assert {remark.key for remark in lint(folder) if remark.file == "causes.toml"} == {"outside", "new"}


def test_what_is_of_no_use_is_warned_of_and_stops_nothing(folder: Path) -> None:
    before = set(lint(folder))
    append(folder, "findings.toml", '\n[unused-finding]\ntitle = "Unused"\nkind = "symptom"\nstatements = ["S1"]\n')
    append(folder, "definitions.toml", '\n[unused-criterion]\ntitle = "Unused"\nwhen = "fever"\n')
    append(folder, "sources.toml", '\n[R997]\ncitation = "Unused"\nkind = "primary"\n')
    change(
        folder,
        "guideline.toml",
        "[thresholds",
        '[thresholds.unused-threshold]\nvalue = 1\nunit = "d"\nsource = "[J]"\ndate = 2026-11-22\n\n[thresholds',
    )
    remarks = {(remark.file, remark.key) for remark in set(lint(folder)) - before}
    assert remarks == {
        ("findings.toml", "unused-finding"),
        ("definitions.toml", "unused-criterion"),
        ("sources.toml", "R997"),
        ("guideline.toml", "thresholds.unused-threshold"),
    }
    assert sitbone("lint", folder).exit_code == 0
    assert sitbone("lint", folder, "--strict").exit_code == 1


def test_a_recommendation_on_judgement_alone_is_warned_of(folder: Path) -> None:
    text = (folder / SUDDEN).read_text(encoding="utf-8").splitlines()
    lines = ['evidence = ["J"]' if line.startswith("evidence = ") else line for line in text]
    lines = ["statements = []" if line.startswith("statements = ") else line for line in lines]
    (folder / SUDDEN).write_text("\n".join(lines), encoding="utf-8")
    assert f"warning: {SUDDEN}: evidence: names no source" in sitbone("lint", folder).stdout


# ---------------------------------------------------------------------------------------------------------------------
# diff


def test_equal_folders_have_no_changes(folder: Path) -> None:
    compared = sitbone("diff", folder)
    assert (compared.exit_code, compared.stdout) == (0, "0 changes\n")


def test_what_changed_is_said_by_recommendation_finding_threshold_weight_and_code(folder: Path, tmp_path: Path) -> None:
    new = Path(shutil.copytree(folder, tmp_path / "new"))
    change(new, SUDDEN, "title = ", 'title = "Another title" # ')
    (new / "recommendations" / "rs02-significant-bruising.toml").unlink()
    append(new, "findings.toml", '\n[new-finding]\ntitle = "New"\n')
    change(new, "weights.csv", "gradual-onset,,,2,", "gradual-onset,,,5,")
    change(new, "value_sets/findings.csv", "Pain in buttock", "Pain in the buttock")
    change(new, "guideline.toml", "[thresholds.", '[thresholds.new-threshold]\nvalue = 3\nunit = "d"\n\n[thresholds.')
    compared = sitbone("diff", folder, new)
    assert compared.exit_code == 1
    said = compared.stdout
    assert "recommendation rs01-sudden-tear changed\n  title\n    - " in said
    assert "    + Another title\n" in said
    assert "recommendation rs02-significant-bruising removed\n" in said
    assert "finding new-finding added\n  title\n    + New\n" in said
    assert "threshold new-threshold added\n  value\n    + 3\n" in said
    weight = "weight points, proximal-hamstring-tendinopathy: gradual-onset changed"
    assert f"{weight}\n  points\n    - 2\n    + 5\n" in said
    assert "code buttock-pain sct 279043006 changed\n  display\n    - Pain in buttock\n" in said
    listed = {(each["kind"], each["change"]) for each in json.loads(sitbone("diff", folder, new, "--json").stdout)}
    assert listed == {
        ("recommendation", "changed"),
        ("recommendation", "removed"),
        ("finding", "added"),
        ("threshold", "added"),
        ("weight", "changed"),
        ("code", "changed"),
    }


def test_a_condition_is_compared_as_its_text_however_it_is_laid_out(folder: Path, tmp_path: Path) -> None:
    new = Path(shutil.copytree(folder, tmp_path / "new"))
    append(folder, "definitions.toml", '\n[x]\ntitle = "X"\nwhen = "fever and chills"\n')
    append(new, "definitions.toml", '\n[x]\ntitle = "X"\nwhen = """\nfever\n# A remark.\nand chills\n"""\n')
    assert sitbone("diff", folder, new).stdout == "0 changes\n"
    change(new, "definitions.toml", "and chills", "and not-absent(chills)")
    assert "    - fever and chills\n    + fever and not-absent(chills)\n" in sitbone("diff", folder, new).stdout


def test_conditions_in_the_form_of_version_0_3_0_are_compared_as_the_text_that_they_are(
    folder: Path, tmp_path: Path
) -> None:
    new = Path(shutil.copytree(folder, tmp_path / "new"))
    deficit = "recommendations/rf11-progressive-deficit.toml"
    text = 'when = "progressive-neurological-deficit"'
    change(folder, deficit, text, 'when = { finding = "progressive-neurological-deficit", is = "present" }')
    change(
        folder,
        "definitions.toml",
        'when = "not-present(severe-renal-impairment) and not-absent(severe-renal-impairment)"',
        'all = [\n  { finding = "severe-renal-impairment", is = "not-present" },\n'
        '  { finding = "severe-renal-impairment", is = "not-absent" },\n]',
    )
    assert sitbone("diff", folder, new).stdout == "0 changes\n"
    change(folder, deficit, 'is = "present"', 'is = "absent"')
    said = "    - absent(progressive-neurological-deficit)\n    + progressive-neurological-deficit\n"
    assert said in sitbone("diff", folder, new).stdout


def test_weights_in_the_form_of_version_0_3_0_are_compared_with_those_of_the_table(
    folder: Path, tmp_path: Path
) -> None:
    new = Path(shutil.copytree(folder, tmp_path / "new"))
    for row in (
        "runner,,,2,,,,,,,,[J] S2,\n",
        "active-piriformis,deep gluteal,,,,6 / -6,,,,,,LR 3.90 / 0.27 [V:R06],\n",
    ):
        change(folder, "weights.csv", row, "")
    append(
        folder,
        "differential.toml",
        '\n[[points]]\ncause = "proximal-hamstring-tendinopathy"\npoints = 2\n'
        'when = { finding = "runner", is = "present" }\nsource = "[J] S2"\n'
        '\n[[tests]]\nfamily = "deep gluteal"\ncause = "piriformis-syndrome"\nfinding = "active-piriformis"\n'
        'positive = 6\nnegative = -6\nsource = "LR 3.90 / 0.27 [V:R06]"\n',
    )
    assert sitbone("diff", folder, new).stdout == "0 changes\n"
    change(folder, "differential.toml", "positive = 6", "positive = 5")
    assert (
        "weight tests, piriformis-syndrome: deep gluteal, active-piriformis changed\n  positive\n    - 5\n    + 6\n"
        in sitbone("diff", folder, new).stdout
    )


def test_a_folder_that_would_not_load_can_be_compared_and_one_that_cannot_be_read_not(folder: Path) -> None:
    change(folder, SUDDEN, 'kind = "', 'kind = "earlier-')
    assert sitbone("diff", folder).exit_code == 1
    (folder / SUDDEN).write_text("= no TOML", encoding="utf-8")
    broken = sitbone("diff", folder)
    assert broken.exit_code == 2
    assert SUDDEN in broken.stderr


# ---------------------------------------------------------------------------------------------------------------------
# export


def test_the_export_is_what_the_service_publishes() -> None:
    published = create_app().test_client().get("/knowledge").data
    assert json.loads(sitbone("export").stdout) == json.loads(published)
    assert (
        sitbone("export", "--json").stdout == sitbone("export").stdout == sitbone("export", "--format", "json").stdout
    )


@pytest.mark.parametrize("form", ["csv", "markdown"])
def test_the_export_is_not_in_two_forms_at_once(form: str) -> None:
    refused = sitbone("export", "--json", "--format", form)
    assert refused.exit_code == 2
    assert refused.stderr == f"Either --json or --format {form}.\n"


def test_the_export_as_csv_has_a_row_for_each_recommendation() -> None:
    rows = list(csv.DictReader(io.StringIO(sitbone("export", "--format", "csv").stdout)))
    assert [row["id"] for row in rows] == [recommendation.id for recommendation in load().recommendations]
    assert all(row["condition"] and row["evidence"] for row in rows)


def test_the_export_as_markdown_has_a_heading_for_each_recommendation() -> None:
    text = sitbone("export", "--format", "markdown").stdout
    assert [line[3:].partition(":")[0] for line in text.splitlines() if line.startswith("## ")] == [
        recommendation.id for recommendation in load().recommendations
    ]


def test_knowledge_that_does_not_load_is_not_exported(folder: Path) -> None:
    (folder / "causes.toml").unlink()
    exported = sitbone("export", folder)
    assert exported.exit_code == 2
    assert exported.stderr == "causes.toml: file: cannot be read\n"
