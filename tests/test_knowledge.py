"""The knowledge: it loads, each way in which it can be wrong stops the start, and its codes may be shipped."""

import csv
import filecmp
import re
import shutil
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cds_hooks import lint_template
from service.app import create_app
from service.chart.case import prefetch_templates
from service.knowledge_model import loader
from service.knowledge_model.model import PACKAGED, Knowledge, KnowledgeError, in_a_sentence
from service.knowledge_model.vocabulary import SYSTEMS
from service.prefetch_keys import kind_of
from service.settings import Settings
from tests.charts import CLOCK, SERVICE, build_request

VALUE_SETS = sorted(path.name for path in (PACKAGED / "value_sets").glob("*.csv"))
RECOMMENDATIONS = sorted(path.name for path in (PACKAGED / "recommendations").glob("*.toml"))


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    return loader.load()


def rows(name: str) -> list[dict[str, str]]:
    with (PACKAGED / "value_sets" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------------------------------------------------------------
# The packaged knowledge


def test_every_red_flag_of_the_contract_has_a_recommendation(knowledge: Knowledge) -> None:
    assert {r.red_flag.id for r in knowledge.recommendations if r.red_flag} == set(knowledge.engine.red_flags)


def test_every_statement_is_used_by_a_finding_a_cause_or_a_recommendation(knowledge: Knowledge) -> None:
    used = {statement for finding in knowledge.findings.values() for statement in finding.statements}
    used |= {statement for cause in knowledge.causes.values() for statement in cause.statements}
    used |= {statement for recommendation in knowledge.recommendations for statement in recommendation.statements}
    assert used == knowledge.statements.keys()


def test_a_recommendation_of_a_draft_guideline_is_a_draft(knowledge: Knowledge) -> None:
    assert sorted(r.id for r in knowledge.recommendations) == sorted(Path(name).stem for name in RECOMMENDATIONS)
    assert knowledge.status == "draft"
    assert [r.id for r in knowledge.recommendations if r.status != "draft"] == []


def test_no_two_recommendations_of_a_kind_have_one_place_in_the_order(knowledge: Knowledge) -> None:
    places = [(recommendation.kind, recommendation.order) for recommendation in knowledge.recommendations]
    assert len(places) == len(set(places))


@pytest.mark.parametrize(
    ("title", "within"),
    [
        ("Palpable mass", "palpable mass"),
        ("A gap", "a gap"),
        ("MRI of the thigh due", "MRI of the thigh due"),
        ("ACE inhibitor prescribed", "ACE inhibitor prescribed"),
        ("eGFR below 30", "eGFR below 30"),
        ("Hamstring tendon avulsion on MRI or ultrasound", "hamstring tendon avulsion on MRI or ultrasound"),
        ("Puranen-Orava test", "Puranen-Orava test"),
    ],
)
def test_within_a_sentence_a_title_begins_small_and_an_abbreviation_keeps_its_capitals(title: str, within: str) -> None:
    assert in_a_sentence(title) == within


def test_no_abbreviation_has_lost_its_capital_where_a_sentence_was_joined(knowledge: Knowledge) -> None:
    for each in knowledge.recommendations:
        words = " ".join((each.title, each.when_then, each.summary, *each.do, *each.say)).replace("eGFR", "")
        assert not re.findall(r"\b[a-z][A-Z]{2,}", words), each.id


def test_every_threshold_is_used(knowledge: Knowledge) -> None:
    used = {leaf.threshold for condition in knowledge.conditions() for leaf in condition.leaves()}
    used.update(
        name
        for path in PACKAGED.rglob("*.toml")
        for name in re.findall(r"\{([a-z0-9-]+)\}", path.read_text(encoding="utf-8"))
    )
    # The days that a red flag allows are found by its name; one that is of no red flag ends the start (visit_planning).
    of_flags = {name for name in knowledge.thresholds if name.startswith(("seen-within-", "seen-by-day-"))}
    assert knowledge.thresholds.keys() - of_flags <= used


def test_every_source_is_cited(knowledge: Knowledge) -> None:
    paths = [*PACKAGED.rglob("*.toml"), PACKAGED / "weights.csv"]
    cited = "".join(path.read_text(encoding="utf-8") for path in paths if path.name != "sources.toml")
    for name in knowledge.sources:
        assert re.search(rf":{name}\b", cited), name


def test_the_ages_stand_in_one_table_the_youngest_first(knowledge: Knowledge) -> None:
    of_age = [threshold["unit"] == "a" for threshold in knowledge.thresholds.values()]
    ages = [threshold["value"] for threshold in knowledge.thresholds.values() if threshold["unit"] == "a"]
    assert of_age[: len(ages)] == [True] * len(ages)
    assert ages == sorted(ages)


def test_a_result_that_a_diagnosis_can_state_has_a_suspicion_of_its_own(knowledge: Knowledge) -> None:
    # A Condition that is not confirmed is the question and no result.
    coded = {code.concept for code in knowledge.codes if code.system == SYSTEMS["icd10cm"]}
    results = [f for f in knowledge.findings.values() if f.kind == "result" and f.id in coded]
    assert [finding.id for finding in results if not finding.suspicion] == []
    assert all(not knowledge.findings[finding.suspicion].suspicion for finding in results)


def test_what_says_its_source_is_from_memory_ships_as_a_draft_only(knowledge: Knowledge) -> None:
    for recommendation in knowledge.recommendations:
        if "M" in recommendation.evidence:
            assert recommendation.status == "draft"


# ---------------------------------------------------------------------------------------------------------------------
# Mistakes: one wrong folder for each kind


def _put(file: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} no longer holds {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def _drop_lines(file: str, start: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(start)]
        assert len(kept) < len(lines), f"{file} no longer has a line that starts with {start!r}"
        path.write_text("".join(kept), encoding="utf-8")

    return change


def _drop_from(file: str, mark: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        kept, found, _dropped = path.read_text(encoding="utf-8").partition(mark)
        assert found, f"{file} no longer holds {mark!r}"
        path.write_text(kept, encoding="utf-8")

    return change


def _append(file: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")

    return change


def _rename(file: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / file).rename(folder / new)

    return change


def _remove(file: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def _bytes(file: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / file).write_bytes(content)

    return change


BRUISING = "recommendations/rs02-significant-bruising.toml"
WHEN_BRUISED = 'when = "significant-bruising and not-present(avulsion-on-mri)"'
CAUDA = "recommendations/rl01-cauda-equina.toml"
SEEK_HELP = "recommendations/rs05-seek-help.toml"
PHYSIOTHERAPY = "recommendations/rs08-physiotherapy.toml"
ROW = "fever,sct,386661006,exact,,,open,Fever"

MISTAKES: dict[str, tuple[Callable[[Path], None], str]] = {
    # files
    "a file is missing": (_remove("causes.toml"), r"causes\.toml: file: cannot be read"),
    "a value set is missing": (_remove("value_sets/safety.csv"), r"value_sets/safety\.csv: file: cannot be read"),
    "there is no recommendation": (_remove("recommendations"), r"recommendations: .*"),
    "a file is not TOML": (_append("causes.toml", "\n[broken\n"), r"causes\.toml: file: is not TOML"),
    "a file is not UTF-8": (_bytes("causes.toml", b"\xff\xfe"), r"causes\.toml: file: is not TOML"),
    "a value set is not UTF-8": (_bytes("value_sets/safety.csv", b"concept\n\xff\n"), r"value_sets/safety\.csv: file"),
    "a key twice": (_append("causes.toml", '\n[outside]\ntitle = "x"\n'), r"causes\.toml: file: is not TOML"),
    # guideline.toml
    "an unknown key of the guideline": (
        _put("guideline.toml", "id = ", 'colour = "red"\nid = '),
        r"guideline\.toml: colour: Unknown field",
    ),
    "an unknown status": (
        _put("guideline.toml", 'status = "draft"', 'status = "signed"'),
        r"guideline\.toml: status: Must be one of: draft, active",
    ),
    "a threshold without a unit": (
        _put("guideline.toml", 'unit = "{score}"\n', ""),
        r"guideline\.toml: thresholds\.severe-pain\.unit: Missing data",
    ),
    "a threshold that is no number": (
        _put("guideline.toml", "value = 7\n", 'value = "seven"\n'),
        r"guideline\.toml: thresholds\.severe-pain.*: Not a valid number",
    ),
    "a look-back of an unknown kind": (
        _put("guideline.toml", "symptom = 183", "rumour = 183\nsymptom = 183"),
        r"guideline\.toml: look_back_days\.rumour: Must be one of",
    ),
    "a kind without a look-back": (
        _drop_lines("guideline.toml", "measurement = "),
        r"guideline\.toml: look_back_days",
    ),
    # findings.toml
    "an unknown key of a finding": (
        _put("findings.toml", "[fever]\n", "[fever]\nlocate = true\n"),
        r"findings\.toml: fever\.locate: Unknown field",
    ),
    "a former key of a finding": (
        _put("findings.toml", "[fever]\n", "[fever]\nlocates = true\n"),
        r"findings\.toml: fever\.locates: is called defines_complaint now",
    ),
    "a finding of an unknown kind": (
        _put(
            "findings.toml", '[fever]\ntitle = "Fever"\nkind = "symptom"', '[fever]\ntitle = "Fever"\nkind = "rumour"'
        ),
        r"findings\.toml: fever\.kind: Must be one of",
    ),
    "a quantity without a unit": (
        _put("findings.toml", 'value = "quantity"\nunit = "{score}"', 'value = "quantity"'),
        r"findings\.toml: pain-severity\.unit: a quantity has a UCUM unit",
    ),
    "a unit that nothing can be converted to": (
        _put("findings.toml", 'unit = "mm"', 'unit = "furlong"'),
        r"findings\.toml: tendon-retraction\.unit: .*furlong",
    ),
    "a finding with a statement that does not exist": (
        _put("findings.toml", 'statements = ["S10"]', 'statements = ["S99"]'),
        r"findings\.toml: sharp-pain\.statements: 'S99' is not known here",
    ),
    # conditions
    "a condition with an unknown finding": (
        _put(BRUISING, WHEN_BRUISED, 'when = "significant-brusing"'),
        r"rs02-significant-bruising\.toml: when: 'significant-brusing' is not known here",
    ),
    "a condition of an effect with an unknown finding": (
        _put(BRUISING, '"radiograph-first"', '"radiograph-frist"'),
        r"rs02-significant-bruising\.toml: when: 'radiograph-frist' is not known here",
    ),
    "a condition with an unknown threshold": (
        _put(SEEK_HELP, ">= severe-pain", ">= sever-pain"),
        r"rs05-seek-help\.toml: when: line \d+, column \d+: expected the name of a number .*'sever-pain'",
    ),
    "a condition with a number in place of a threshold": (
        _put(SEEK_HELP, ">= severe-pain", ">= 7"),
        r"rs05-seek-help\.toml: when: line \d+, column \d+: expected the name of a number .*'7'",
    ),
    "a condition with an unknown state": (
        _put(BRUISING, WHEN_BRUISED, 'when = "probable(significant-bruising)"'),
        r"rs02-significant-bruising\.toml: when: line 1, column 1: expected one of present, .*, found 'probable'",
    ),
    "a condition with an unknown word": (
        _put(BRUISING, WHEN_BRUISED, 'when = "significant-bruising but absent(fever)"'),
        r"rs02-significant-bruising\.toml: when: line 1, column 22: expected 'and', .*; found 'but'",
    ),
    "a condition that ends too soon": (
        _put(BRUISING, WHEN_BRUISED, 'when = "any of (significant-bruising, fever"'),
        r"rs02-significant-bruising\.toml: when: line 1, column 36: expected .*'\)', ','; found the end",
    ),
    "a condition with 'or'": (
        _put(BRUISING, WHEN_BRUISED, 'when = "significant-bruising or palpable-gap"'),
        r"rs02-significant-bruising\.toml: when: line 1, column 22: there is no 'or': write any of",
    ),
    "a condition without any part": (
        _put(BRUISING, WHEN_BRUISED, 'when = "significant-bruising"\ncritical_when = ""'),
        r"rs02-significant-bruising\.toml: critical_when: line 1, column 1: expected a name, .*; found the end",
    ),
    "one of no codes": (
        _put("weights.csv", "sex in (female)", "sex in ()"),
        r"weights\.csv: line \d+\.when: line 1, column \d+: expected a name; found '\)'",
    ),
    "a condition in the form of version 0.3.0": (
        _put(BRUISING, WHEN_BRUISED, 'when = { any = [{ finding = "fever", is = "absent" }] }'),
        r'rs02-significant-bruising\.toml: when: a condition is a text, here "absent\(fever\)"',
    ),
    "a criterion in the form of version 0.3.0": (
        _put(
            "definitions.toml",
            'when = "any of (fever, body-temperature >= fever)"',
            'none = [{ finding = "body-temperature", at_least = "fever" }]',
        ),
        r'definitions\.toml: has-fever: a condition is a text, here "body-temperature < fever"',
    ),
    "a bound of what is present or absent": (
        _put("definitions.toml", "body-temperature >= fever", "chills >= fever"),
        r"definitions\.toml: has-fever: .*chills",
    ),
    "a date that is compared": (
        _put("definitions.toml", "body-temperature >= fever", "onset-date >= fever"),
        r"definitions\.toml: has-fever: onset-date is a date, read by the days since then",
    ),
    "a derived quantity that is to be present": (
        _put("definitions.toml", "body-temperature >= fever", "days-since-onset"),
        r"definitions\.toml: has-fever: days-since-onset is a quantity, compared by",
    ),
    "a sex that is compared with a number": (
        _put("definitions.toml", "body-temperature >= fever", "sex >= fever"),
        r"definitions\.toml: has-fever: sex has a coded value, compared by in",
    ),
    "a fact that is compared with a number": (
        _put("recommendations/vp01-do-not-wait.toml", "later-than-allowed\n", "later-than-allowed >= seen-again\n"),
        r"vp01-do-not-wait\.toml: when: later-than-allowed is present or absent, and compared with nothing",
    ),
    "a quantity that is to be present": (
        _put(SEEK_HELP, "pain-severity >= severe-pain", "pain-severity"),
        r"rs05-seek-help\.toml: when: .*pain-severity",
    ),
    "a threshold that no condition can name": (
        _append("guideline.toml", '\n[thresholds.any]\nvalue = 1\nunit = "d"\ndate = 2026-11-29\nsource = "[J]"\n'),
        r"guideline\.toml: thresholds\.any: is no name",
    ),
    "a finding that no condition can name": (
        _append("findings.toml", '\n[Fever_of_unknown_origin]\ntitle = "Fever"\nkind = "symptom"\nstatements = []\n'),
        r"findings\.toml: Fever_of_unknown_origin: is no name",
    ),
    # definitions.toml
    "a definition without a title": (
        _put("definitions.toml", 'title = "Fever"\n', ""),
        r"definitions\.toml: has-fever\.title: Missing data",
    ),
    "a definition without a condition": (
        _put("definitions.toml", 'when = "any of (fever, body-temperature >= fever)"\n', ""),
        r"definitions\.toml: has-fever\.when: Missing data",
    ),
    "an unknown key of a definition": (
        _put("definitions.toml", 'title = "Fever"\n', 'title = "Fever"\nurgent = true\n'),
        r"definitions\.toml: has-fever\.urgent: Unknown field",
    ),
    "a definition that is no table": (
        _put("definitions.toml", "[hip-region-complaint]", "stray = 5\n[hip-region-complaint]"),
        r"definitions\.toml: stray: ",
    ),
    "a definition with an unknown finding": (
        _put("definitions.toml", "any of (fever, body", "any of (feaver, body"),
        r"definitions\.toml: hip-region-complaint: 'feaver' is not known here",
    ),
    "a definition that is defined by itself": (
        _put("definitions.toml", "any of (fever, body", "any of (has-fever, body"),
        r"definitions\.toml: has-fever: is defined by itself",
    ),
    "two definitions that define each other": (
        _append(
            "definitions.toml",
            '\n[egg]\ntitle = "Egg"\nwhen = "hen"\n\n[hen]\ntitle = "Hen"\nwhen = "egg"\n',
        ),
        r"definitions\.toml: (egg|hen): is defined by itself",
    ),
    # recommendations
    "an unknown key of a recommendation": (
        _put(BRUISING, "version = 7\n", "version = 7\nurgent = true\n"),
        r"rs02-significant-bruising\.toml: urgent: Unknown field",
    ),
    "an id that is not the name of the file": (
        _rename(BRUISING, "recommendations/rs02-bruising.toml"),
        r"recommendations/rs02-bruising\.toml: id: is the name of its file",
    ),
    "no history": (
        _drop_from(BRUISING, "[[history]]"),
        r"rs02-significant-bruising\.toml: history: Missing data",
    ),
    "a history that ends with another version": (
        _put(BRUISING, "version = 7\n", "version = 8\n"),
        r"rs02-significant-bruising\.toml: history: ends with the present version",
    ),
    "a red flag in a file of another kind": (
        _put(BRUISING, 'kind = "red-flag"', 'kind = "plan"'),
        r"rs02-significant-bruising\.toml: red_flag: stands in files of kind red-flag, and in no other",
    ),
    "an unknown red flag": (
        _put(BRUISING, '[red_flag]\nid = "significant-bruising"', '[red_flag]\nid = "bruising"'),
        r"rs02-significant-bruising\.toml: red_flag\.id: 'bruising' is not known here",
    ),
    "a plan without an indicator": (
        _put(SEEK_HELP, 'indicator = "warning"\n', ""),
        r"rs05-seek-help\.toml: card\.indicator: is given unless the red flag gives it",
    ),
    "a summary that is too long for a card": (
        _put(BRUISING, 'summary = "', 'summary = "' + "x" * 130),
        r"rs02-significant-bruising\.toml: card\.summary: is longer than 100 characters, what is filled in apart",
    ),
    "a sentence that names an unknown threshold": (
        _put(BRUISING, "WHEN there is", "WHEN since {two-weeks} there is"),
        r"rs02-significant-bruising\.toml: when_then: 'two-weeks' is not known here",
    ),
    "a line that names an unknown threshold": (
        _put(PHYSIOTHERAPY, "review at 6 weeks", "review at {six-weeks}"),
        r"rs08-physiotherapy\.toml: card\.do: 'six-weeks' is not known here",
    ),
    "words without WHEN and THEN": (
        _put(BRUISING, "WHEN there is", "If there is"),
        r"rs02-significant-bruising\.toml: when_then: reads WHEN",
    ),
    "an unknown statement of a recommendation": (
        _put(BRUISING, 'statements = ["S23"]', 'statements = ["S37"]'),
        r"rs02-significant-bruising\.toml: statements: 'S37' is not known here",
    ),
    "a rule that does not exist": (
        _put(BRUISING, '"R-S02"', '"R-S99"'),
        r"rs02-significant-bruising\.toml: rules: 'R-S99' is not known here",
    ),
    "an attribute that is stated nowhere": (
        _drop_lines("guideline.toml", "funding = "),
        r"recommendations/\S+\.toml: attributes\.funding: is stated neither here nor in guideline\.toml",
    ),
    "an unknown attribute": (
        _append(BRUISING, '\n[attributes]\nsponsor = "x"\n'),
        r"rs02-significant-bruising\.toml: attributes\.sponsor: Must be one of: developer",
    ),
    "a status that is none": (
        _put(BRUISING, 'status = "draft"', 'status = "signed"'),
        r"rs02-significant-bruising\.toml: status: Must be one of: draft, active, retired",
    ),
    "a health status that is no finding": (
        _put("guideline.toml", 'health_status = ["pregnancy"', 'health_status = ["pregnant"'),
        r"guideline\.toml: health_status: 'pregnant' is not known here",
    ),
    "where no cause is ranked is no condition": (
        _put("differential.toml", 'unranked = "under-sixteen"', "unranked = 16"),
        r"differential\.toml: rules\.unranked: a condition is a text, as in",
    ),
    "a rule of the ranking that does not exist": (
        _put("weights.csv", ",R-S13", ",R-S99"),
        r"weights\.csv: \S+\.rules: 'R-S99' is not known here",
    ),
    "a row in two groups": (
        _put("rules.toml", "[groups.literature.rows]\n", '[groups.literature.rows]\nR-S01 = "x"\n'),
        r"rules\.toml: groups\.literature\.rows\.R-S01: stands in another group too",
    ),
    "an open row that is none": (
        _put("rules.toml", "[groups.literature.rows]\n", 'open = ["R-L99"]\n[groups.literature.rows]\n'),
        r"rules\.toml: groups\.literature\.open: 'R-L99' is not known here",
    ),
    "a conflict of an unknown statement": (
        _put("conflicts.toml", '"S35"', '"S99"'),
        r"conflicts\.toml: surgery\.statements: 'S99' is not known here",
    ),
    "a conflict of an unknown source": (
        _put("conflicts.toml", '"V:R20"', '"V:R999"'),
        r"conflicts\.toml: surgery\.evidence: 'R999' is not known here",
    ),
    "a decision that no recommendation carries": (
        _put("conflicts.toml", '"rs12-surgical-opinion"', '"rs12-surgery"'),
        r"conflicts\.toml: surgery\.recommendations: 'rs12-surgery' is not known here",
    ),
    "a debt of an unknown rule": (
        _put("debts.toml", '"R-L14"', '"R-L99"'),
        r"debts\.toml: accuracy-from-memory\.rules: 'R-L99' is not known here",
    ),
    "a name of a medicine of two words": (
        _put("medicine_names.toml", "[tylenol]", '["tylenol pm"]'),
        r"medicine_names\.toml: tylenol pm: is not one word of four small letters or more, or words with hyphens",
    ),
    "a name of a medicine whose code is in no value set": (
        _put("medicine_names.toml", 'of = "1191"', 'of = "9991191"'),
        r"medicine_names\.toml: acetylsalicylic\.of: '9991191' is not known here",
    ),
    "a name of a medicine without evidence": (
        _put("medicine_names.toml", 'evidence = ["V:R166"]\n', ""),
        r"medicine_names\.toml: paracetamol\.evidence: Missing data",
    ),
    "a name of a medicine of an unknown source": (
        _put("medicine_names.toml", '"V:R166"', '"V:R999"'),
        r"medicine_names\.toml: paracetamol\.evidence: 'R999' is not known here",
    ),
    "a synonym with a side": (
        _put("synonyms.toml", '["gluteal pain"]', '["left gluteal pain"]'),
        r"synonyms\.toml: left gluteal pain: is not in small letters, without punctuation, side and doubt",
    ),
    "a synonym that denies": (
        _put("synonyms.toml", '["gluteal pain"]', '["no gluteal pain"]'),
        r"synonyms\.toml: no gluteal pain: is not in small letters, without punctuation, side and doubt",
    ),
    "a synonym of a test": (
        _put("synonyms.toml", 'of = "buttock-pain"', 'of = "puranen-orava"'),
        r"synonyms\.toml: deep buttock pain\.of: 'puranen-orava' is not known here",
    ),
    "a synonym without evidence": (
        _put("synonyms.toml", 'evidence = ["S11"]\n', ""),
        r"synonyms\.toml: deep buttock pain\.evidence: Missing data",
    ),
    "a source whose address is no web address": (
        _put("sources.toml", 'url = "https://', 'url = "javascript:'),
        r"sources\.toml: R01\.url: ",
    ),
    "an unknown source": (
        _put(BRUISING, '"V2:R46"', '"V2:R999"'),
        r"rs02-significant-bruising\.toml: evidence: 'R999' is not known here",
    ),
    "an unknown provenance": (
        _put(BRUISING, '"V2:R46"', '"V9:R46"'),
        r"rs02-significant-bruising\.toml: evidence: 'V9' is not known here",
    ),
    "an unknown topic": (
        _put(BRUISING, 'topic = "immediate-evaluation"', 'topic = "immediate"'),
        r"rs02-significant-bruising\.toml: card\.topic: 'immediate' is not known here",
    ),
    "imaging of which there is no order": (
        _put(BRUISING, 'modality = "mri"\nregion = "pelvis"', 'modality = "ct"\nregion = "leg-veins"'),
        r"rs02-significant-bruising\.toml: imaging: 'ct-leg-veins' is not known here",
    ),
    "an unknown modality": (
        _put(BRUISING, 'modality = "mri"', 'modality = "xray"'),
        r"rs02-significant-bruising\.toml: imaging\.\[\d\]\.modality: Must be one of",
    ),
    "a referral to nobody": (
        _put(BRUISING, 'to = "orthopaedics"', 'to = "barber"'),
        r"rs02-significant-bruising\.toml: referrals: 'referral-barber' is not known here",
    ),
    "imaging of a region of which there is no order": (
        _put(BRUISING, 'modality = "mri"\nregion = "pelvis"', 'modality = "mri"\nregion = "knee"'),
        r"rs02-significant-bruising\.toml: imaging: 'mri-knee' is not known here",
    ),
    "a rating of a region of which there is no order": (
        _put("ratings.toml", 'regions = ["hip", "pelvis"]', 'regions = ["knee"]'),
        r"ratings\.toml: ACR-01\.ratings\.regions: 'knee' is not known here",
    ),
    "a treatment that does not exist": (
        _put(PHYSIOTHERAPY, 'id = "physiotherapy"\nstate', 'id = "leeches"\nstate'),
        r"rs08-physiotherapy\.toml: treatment: 'leeches' is not known here",
    ),
    "a red flag that reads what the red flags make": (
        _put(BRUISING, WHEN_BRUISED, 'when = "critical-red-flag"'),
        r"rs02-significant-bruising\.toml: when: 'critical-red-flag' is not known here",
    ),
    "a plan that reads what the plan makes": (
        _put(SEEK_HELP, "  worsening,", "  imaging-called-for,"),
        r"rs05-seek-help\.toml: when: 'imaging-called-for' is not known here",
    ),
    "a red flag that reads a later step through a definition": (
        _put("definitions.toml", "any of (fever, body", "any of (critical-red-flag, body"),
        r"rl02b-septic-hip-of-a-child\.toml: when: 'critical-red-flag' is not known here",
    ),
    # weights.csv, differential.toml
    "weights in the form of version 0.3.0": (
        _append("differential.toml", '\n[[points]]\ncause = "outside"\npoints = 2\n'),
        r"differential\.toml: points: stand in weights\.csv: a row for each condition or test, a column for each cause",
    ),
    "a test that weighs more than the clip": (
        _put("weights.csv", "7 / -7", "33 / -7"),
        r"weights\.csv: line \d+\.proximal-hamstring-tendinopathy: no test weighs more than 7 \(rules\.clip of",
    ),
    "a column of weights of an unknown cause": (
        _put("weights.csv", "ischial-bursitis", "bursitis"),
        r"weights\.csv: line 1: 'ischial-bursitis' is not known here",
    ),
    "a column of weights too many": (
        _put("weights.csv", ",source,", ",bursitis,source,"),
        r"weights\.csv: line \d+",
    ),
    "a weight that is no whole number": (
        _put("weights.csv", "runner,,,2,", "runner,,,2.5,"),
        r"weights\.csv: line \d+\.proximal-hamstring-tendinopathy: says what it counts, a whole number; this is '2\.5'",
    ),
    "a test without a weight of its negative": (
        _put("weights.csv", "6 / -5", "6"),
        r"weights\.csv: line \d+\.proximal-hamstring-tendinopathy: says what a positive and a negative test count",
    ),
    "a weight that stands twice": (
        _put("weights.csv", "runner,,,2,,,,,,,,[J] S2,\n", "runner,,,2,,,,,,,,[J] S2,\n" * 2),
        r"weights\.csv: line \d+\.proximal-hamstring-tendinopathy: stands on another line too",
    ),
    "a weight without a source": (
        _put("weights.csv", "runner,,,2,,,,,,,,[J] S2,", "runner,,,2,,,,,,,,,"),
        r"weights\.csv: line \d+\.source: ",
    ),
    "a line that weighs nothing": (
        _put("weights.csv", "runner,,,2,", "runner,,,,"),
        r"weights\.csv: line \d+: weighs for no cause",
    ),
    "a weight of no condition": (
        _put("weights.csv", "runner,,,2,", "runner or cyclist,,,2,"),
        r"weights\.csv: line \d+\.when: line 1, column 8: there is no 'or'",
    ),
    "a test that is a condition": (
        _put("weights.csv", "puranen-orava,", "absent(puranen-orava),"),
        r"weights\.csv: line \d+\.when: is the name of a test alone where there is a family",
    ),
    "a test that is no test": (
        _put("weights.csv", "puranen-orava,", "pain-severity,"),
        r"weights\.csv: proximal-hamstring-tendinopathy: pain-severity is no test",
    ),
    "a test that is negative by what is not known": (
        _put("weights.csv", "sacroiliac-tests-negative", "sacroiliac-negative"),
        r"weights\.csv: sacroiliac-joint-dysfunction: 'sacroiliac-negative' is not known here",
    ),
    "a condition of a negative that is of no test": (
        _put("weights.csv", "runner,,,2,", "runner,,fever,2,"),
        r"weights\.csv: line \d+\.negative: is said of a test, which has a family",
    ),
    "a test of an unknown finding": (
        _put("weights.csv", "puranen-orava,", "puranen,"),
        r"weights\.csv: proximal-hamstring-tendinopathy: 'puranen' is not known here",
    ),
    "an unknown place of tenderness": (
        _put("differential.toml", 'tenderness = ["ischial-tenderness"', 'tenderness = ["ischial"'),
        r"differential\.toml: rules\.tenderness: 'ischial' is not known here",
    ),
    "a cap of an unknown family": (
        _put("differential.toml", 'family = "hamstring stretch"\nat_most', 'family = "hamstring"\nat_most'),
        r"differential\.toml: caps.*hamstring",
    ),
    "a veto of an unknown cause": (
        _put("differential.toml", '[[vetoes]]\ncause = "gluteal-tendinopathy"', '[[vetoes]]\ncause = "gluteal"'),
        r"differential\.toml: vetoes\.cause: 'gluteal' is not known here",
    ),
    "a ranking that reads a later step": (
        _put("differential.toml", 'when = "slump"', 'when = "critical-red-flag"'),
        r"differential\.toml: caps\.\S+: 'critical-red-flag' is not known here",
    ),
    "a weight that reads a later step": (
        _put("weights.csv", "runner,,,2,", "critical-red-flag,,,2,"),
        r"weights\.csv: proximal-hamstring-tendinopathy: 'critical-red-flag' is not known here",
    ),
    "the table of weights is missing": (
        _remove("weights.csv"),
        r"weights\.csv: file: cannot be read",
    ),
    # questions.toml, wording.toml, orders.toml, sources.toml
    "a question for an unknown finding": (
        _put("questions.toml", '"saddle-numbness"', '"saddle"'),
        r"questions\.toml: findings: 'saddle' is not known here",
    ),
    "a question with an unknown condition": (
        _put("questions.toml", 'when = "onset-contradictory"', 'when = "onset-unclear"'),
        r"questions\.toml: when: 'onset-unclear' is not known here",
    ),
    "a question of unknown cost": (
        _put("questions.toml", 'cost = "history"', 'cost = "free"'),
        r"questions\.toml: questions\.\[0\]\.cost: Must be one of",
    ),
    "a sentence that cards need is missing": (
        _drop_lines("wording.toml", 'safety_net = "Go'),
        r"wording\.toml: sentences.*safety_net",
    ),
    "a sentence with a place that nothing fills": (
        _put("wording.toml", "{finding}: {details}", "{finding}: {detail}"),
        r"wording\.toml: sentences.*evidence",
    ),
    "a sentence with a brace too many": (
        _put("wording.toml", "{finding}: {details}", "{finding}: {details"),
        r"wording\.toml: sentences\.evidence: has a brace too many or too few",
    ),
    "a heading that cards need is missing": (_drop_lines("wording.toml", "why = "), r"wording\.toml: headings.*why"),
    "a strength without words": (
        _drop_lines("wording.toml", 'judgement = "design'),
        r"wording\.toml: strengths.*judgement",
    ),
    "a side without words": (_drop_lines("wording.toml", "bilateral = "), r"wording\.toml: sides.*bilateral"),
    # engine.toml
    "a role without a topic": (
        _put("engine.toml", 'warning = "assessment-due"\n', ""),
        r"engine\.toml: topics: has critical, warning, questions, .*, and nothing else",
    ),
    "a role of a topic that does not exist": (
        _put("engine.toml", 'critical = "immediate-evaluation"', 'critical = "at-once"'),
        r"engine\.toml: topics\.critical: 'at-once' is not known here",
    ),
    "a service without a description": (
        _drop_lines("engine.toml", 'description = "Judges draft orders of NSAIDs'),
        r"engine\.toml: services\.analgesic-safety\.description: Missing data",
    ),
    "a number with a role that does not exist": (
        _put("engine.toml", 'recent = "recent-imaging"', 'recent = "lately"'),
        r"engine\.toml: imaging\.recent: 'lately' is not known here",
    ),
    "a low dose that does not exist": (
        _put("engine.toml", 'low_dose = "aspirin-low-dose"', 'low_dose = "low"'),
        r"engine\.toml: medicines\.aspirin\.low_dose: 'low' is not known here",
    ),
    "a criterion with a role that does not exist": (
        _put("engine.toml", 'child = "under-sixteen"', 'child = "under-seventeen"'),
        r"engine\.toml: imaging\.child: 'under-seventeen' is not known here",
    ),
    "a region with a role of which there is no order": (
        _put("engine.toml", 'other_regions = ["lumbar-spine"]', 'other_regions = ["knee"]'),
        r"engine\.toml: imaging\.other_regions: 'knee' is not known here",
    ),
    "a result of imaging that is no finding": (
        _put("engine.toml", 'finding = "mri-hamstring-avulsion"', 'finding = "mri-knee"'),
        r"engine\.toml: imaging\.shown_by\.finding: 'mri-knee' is not known here",
    ),
    "a medicine that is judged and is none": (
        _put("engine.toml", 'finding = "aspirin-medicine"', 'finding = "nsaid-allergy"'),
        r"engine\.toml: medicines\.aspirin\.finding: 'nsaid-allergy' is not known here",
    ),
    "a medicine in place of another that is no order": (
        _put("engine.toml", 'order = "acetaminophen"', 'order = "paracetamol"'),
        r"engine\.toml: medicines\.acetaminophen\.order: 'paracetamol' is not known here",
    ),
    "a medicine that nothing judges": (
        _put("engine.toml", "[medicines.aspirin]", "[medicines.opioid]"),
        r"engine\.toml: medicines\.opioid: Must be one of: nsaid, aspirin, acetaminophen, corticosteroid-injection",
    ),
    "a medicine of a treatment that does not exist": (
        _put("engine.toml", 'treatment = "acetaminophen"', 'treatment = "paracetamol"'),
        r"engine\.toml: medicines\.acetaminophen\.treatment: 'paracetamol' is not known here",
    ),
    "a complaint that is no criterion": (
        _put("engine.toml", 'criterion = "hip-region-complaint"', 'criterion = "hip-pain"'),
        r"engine\.toml: complaint\.criterion: 'hip-pain' is not known here",
    ),
    "an onset that is no date": (
        _put("engine.toml", 'onset = "onset-date"', 'onset = "sudden-onset"'),
        r"engine\.toml: complaint\.onset: 'sudden-onset' is not known here",
    ),
    "days since what is no date": (
        _put("engine.toml", 'days-since-injection = "injection-date"', 'days-since-injection = "fever"'),
        r"engine\.toml: derived\.days_since\.days-since-injection: 'fever' is not known here",
    ),
    "a count of what does not exist": (
        _put("engine.toml", '"thigh-thrust"', '"thigh-trust"'),
        r"engine\.toml: derived\.count_of\.sacroiliac-tests-positive: 'thigh-trust' is not known here",
    ),
    "a count of nothing": (
        _put("engine.toml", "[derived.count_of]\n", "[derived.count_of]\nnone-counted = []\n"),
        r"engine\.toml: derived\.count_of\.none-counted: Shorter than minimum length 1",
    ),
    "on both sides by what does not exist": (
        _put("engine.toml", '"foot-drop"', '"foot-drip"'),
        r"engine\.toml: derived\.on_both_sides\.bilateral-leg-symptoms: 'foot-drip' is not known here",
    ),
    "on either side by what is no finding": (
        _put("engine.toml", '= "hip-prosthesis"', '= "prosthesis"'),
        r"engine\.toml: derived\.on_either_side\.hip-prosthesis-on-either-side: 'prosthesis' is not known here",
    ),
    "on the other side by what is no finding": (
        _put("engine.toml", 'pain-on-the-other-side = ["buttock-pain"', 'pain-on-the-other-side = ["pain"'),
        r"engine\.toml: derived\.on_the_other_side\.pain-on-the-other-side: 'pain' is not known here",
    ),
    "a result that may be history and is no finding": (
        _put("engine.toml", 'results = [\n  "radiograph-done"', 'results = [\n  "radiogram"'),
        r"engine\.toml: imaging\.results: 'radiogram' is not known here",
    ),
    "what imaging is asked for by that is no finding": (
        _put("engine.toml", '["sudden-onset", "pop-at-injury"', '["sudden-onset", "bang"'),
        r"engine\.toml: imaging\.asked_for_by: 'bang' is not known here",
    ),
    "a suspicion that is no finding": (
        _put("findings.toml", 'suspicion = "suspected-bony-avulsion"', 'suspicion = "hunch"'),
        r"findings\.toml: radiograph-avulsion-fracture\.suspicion: 'hunch' is not known here",
    ),
    "a fact of a red flag that does not exist": (
        _put("engine.toml", 'bone-stress-possible = "bone-stress"', 'bone-stress-possible = "stress"'),
        r"engine\.toml: red_flags\.at_discharge: 'stress' is not known here",
    ),
    "a red flag that is said to stay in an emergency": (
        _put(BRUISING, WHEN_BRUISED, 'when = "significant-bruising"\nin_emergency = true'),
        r"rs02-significant-bruising\.toml: in_emergency: is said of a plan",
    ),
    "a red flag that makes something unknown wait": (
        _put(BRUISING, 'blocks = ["exercise"', 'blocks = ["dancing"'),
        r"rs02-significant-bruising\.toml: red_flag\.blocks: 'dancing' is not known here",
    ),
    "an emergency that nobody sees": (
        _put("engine.toml", 'emergency = "emergency"', 'emergency = "ambulance"'),
        r"engine\.toml: referrals\.emergency: 'ambulance' is no referral of orders\.toml",
    ),
    "an order with a body site that has no code": (
        _put("orders.toml", 'body_site = "12921003"', 'body_site = "12921004"'),
        r"orders\.toml: .*12921004",
    ),
    "a medicine without a code of its value set": (
        _put("orders.toml", 'code = "161"', 'code = "162"'),
        r"orders\.toml: medicine\.acetaminophen\.code: is no RxNorm code of this concept",
    ),
    "a fact that is of no hook context": (
        _put("wording.toml", "nsaid-drafted = ", "nsaid-order = "),
        r"wording\.toml: facts: 'nsaid-order' is not known here",
    ),
    "a recommendation that reads a fact of another kind": (
        _put("recommendations/vp01-do-not-wait.toml", "later-than-allowed", "held-by-the-chart"),
        r"vp01-do-not-wait\.toml: when: 'held-by-the-chart' is not known here",
    ),
    "a change that is unknown": (
        _put("recommendations/as02-acetaminophen-held.toml", 'change = "remove"', 'change = "burn"'),
        r"as02-acetaminophen-held\.toml: change: Must be one of",
    ),
    "a source of unknown kind": (
        _put("sources.toml", 'kind = "primary"', 'kind = "hearsay"'),
        r"sources\.toml: R01\.kind: Must be one of",
    ),
    # value sets
    "a code of a finding that does not exist": (
        _put("value_sets/findings.csv", ROW, ROW.replace("fever,", "feaver,")),
        r"value_sets: concept: 'feaver' is not known here",
    ),
    "a code of an unknown system": (
        _put("value_sets/findings.csv", ROW, ROW.replace("sct", "cpt")),
        r"value_sets/findings\.csv: line \d+\.system: Must be one of",
    ),
    "a code that matches in an unknown way": (
        _put("value_sets/findings.csv", ROW, ROW.replace("exact", "prefix")),
        r"value_sets/findings\.csv: line \d+\.match: Must be one of",
    ),
    "a code of unknown licence": (
        _put("value_sets/findings.csv", ROW, ROW.replace("open", "free")),
        r"value_sets/findings\.csv: line \d+\.licence: Must be one of",
    ),
    "a row with a column too many": (
        _put("value_sets/findings.csv", ROW, f"{ROW},x"),
        r"value_sets/findings\.csv: line \d+",
    ),
    "a row with a column too few": (
        _put("value_sets/findings.csv", ROW, "fever,sct,386661006"),
        r"value_sets/findings\.csv: line \d+",
    ),
}


@pytest.fixture(scope="module")
def same_files_read_once() -> Iterator[None]:
    """What the loader makes of a file is made once for all folders in which it says the same: a mistake is in one."""
    made: dict[Hashable, Any] = {}

    def once(key: Hashable, make: Callable[[], Any]) -> Any:
        return made[key] if key in made else made.setdefault(key, make())

    def text(file: Path) -> bytes:
        return file.read_bytes() if file.is_file() else b""

    def recommendation(folder: Path, name: str, read: Any, inherited: dict[str, str], *, of: Any) -> Any:
        given = *read.values.items(), *read.words.items(), *inherited.items()
        return once((name, text(folder / name), given), lambda: of(folder, name, read, inherited))

    def codes(folder: Path, name: str, *, affiliate: bool, of: Any) -> Any:
        key = name, text(folder / "value_sets" / f"{name}.csv"), affiliate
        return once(key, lambda: of(folder, name, affiliate=affiliate))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "_recommendation", partial(recommendation, of=loader._recommendation))
        patch.setattr(loader, "_codes", partial(codes, of=loader._codes))
        yield


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(PACKAGED, tmp_path_factory.mktemp("copied") / "knowledge"))


@pytest.fixture
def folder(copied: Path) -> Iterator[Path]:
    """A copy of the knowledge, of which what was changed is put right afterwards: a mistake is in one file of 250."""
    yield copied
    for name in {path.relative_to(root) for root in (PACKAGED, copied) for path in root.rglob("*") if path.is_file()}:
        ours, packaged = copied / name, PACKAGED / name
        if not packaged.exists():
            ours.unlink()
        elif not ours.exists() or not filecmp.cmp(ours, packaged):
            ours.parent.mkdir(exist_ok=True)
            shutil.copy2(packaged, ours)


@pytest.mark.usefixtures("same_files_read_once")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_knowledge_stops_the_start_with_file_key_and_reason(folder: Path, mistake: str) -> None:
    change, said = MISTAKES[mistake]
    change(folder)
    with pytest.raises(KnowledgeError) as stopped:
        create_app(Settings(knowledge_dir=folder), clock=lambda: CLOCK)
    assert re.search(said, str(stopped.value)), str(stopped.value)
    assert str(folder) not in str(stopped.value)


def test_a_folder_of_knowledge_that_is_a_copy_starts(tmp_path: Path) -> None:
    shutil.copytree(PACKAGED, tmp_path / "knowledge")
    create_app(Settings(knowledge_dir=tmp_path / "knowledge"), clock=lambda: CLOCK)


# ---------------------------------------------------------------------------------------------------------------------
# Codes


def _within(code: str, known: dict[tuple[str, str], dict[str, str]]) -> bool:
    """Whether both ends of a range of ICD-10-CM categories are verified, alone or as ends of verified ranges."""
    ends = {end for system, value in known if system == SYSTEMS["icd10cm"] for end in value.split("-")}
    return "-" in code and set(code.split("-")) <= ends


@pytest.mark.parametrize("name", VALUE_SETS)
def test_no_value_set_holds_a_code_twice_for_one_concept(name: str) -> None:
    keys = [(row["concept"], row["system"], row["code"]) for row in rows(name)]
    assert len(keys) == len(set(keys))


def test_no_procedure_code_of_the_american_medical_association_is_anywhere() -> None:
    for path in PACKAGED.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert "ama-assn" not in text
            assert not re.search(r"\bCPT\b", text), path.name
    five_digits = [
        row["code"] for name in VALUE_SETS for row in rows(name) if re.fullmatch(r"\d{4}[\dTFU]", row["code"])
    ]
    assert all(row["system"] in SYSTEMS for name in VALUE_SETS for row in rows(name))
    assert set(five_digits) <= {row["code"] for name in VALUE_SETS for row in rows(name) if row["system"] == "rxnorm"}


def test_every_code_is_verified_and_carries_its_licence(shared: Path) -> None:
    known: dict[tuple[str, str], dict[str, str]] = {}
    with (shared / "clinical" / "codes.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["verified"] == "yes":
                known.setdefault((row["system_uri"], row["code"]), row)
    with (shared / "clinical" / "findings.csv").open(encoding="utf-8", newline="") as file:
        by_contract = {
            (SYSTEMS[system], code.rstrip("*"))
            for row in csv.DictReader(file)
            for system, _, code in (entry.partition("#") for entry in row["codes"].split() if "#" in entry)
        }
    wrong = []
    for name in VALUE_SETS:
        for row in rows(name):
            key = (SYSTEMS[row["system"]], row["code"])
            if key not in known:
                if not row.get("source") and key not in by_contract and not _within(row["code"], known):
                    wrong.append(f"{name}: {row['system']} {row['code']} is not verified")
            elif row["system"] == "sct":
                open_ = "GPS" in known[key]["evidence"]
                if open_ != (row["licence"] == "open"):
                    wrong.append(f"{name}: {row['code']} is marked {row['licence']}")
    assert wrong == []


def test_only_snomed_ct_has_codes_that_need_an_affiliate_licence() -> None:
    assert {row["system"] for name in VALUE_SETS for row in rows(name) if row["licence"] == "affiliate"} == {"sct"}


def test_the_licence_setting_leaves_out_affiliate_codes_and_the_service_starts() -> None:
    affiliate = {row["code"] for name in VALUE_SETS for row in rows(name) if row["licence"] == "affiliate"}
    small = loader.load(affiliate_snomed=False)
    held = {code.code for code in (*small.codes, *small.answers)}
    held |= {
        code.code for order in small.orders.values() for code in (*order.codes.values(), *order.body_sites.values())
    }
    assert affiliate
    assert not held & affiliate
    client = create_app(Settings(snomed_ct="global-patient-set"), clock=lambda: CLOCK).test_client()
    case = {"age": 40, "side": "left", "present": ["buttock-pain", "sudden-onset", "sharp-pain", "pop-at-injury"]}
    answer = client.post(SERVICE, json=build_request(case)).get_json()
    assert [card["indicator"] for card in answer["cards"]] == ["critical"]
    for card in answer["cards"]:
        for suggestion in card["suggestions"]:
            assert not {coding["code"] for coding in codings(suggestion["actions"][0]["resource"])} & affiliate


def codings(resource: dict[str, object]) -> list[dict[str, str]]:
    concepts = [resource["code"], *(resource.get("bodySite") or [])]  # type: ignore[misc]
    return [coding for concept in concepts for coding in concept.get("coding", ())]


# ---------------------------------------------------------------------------------------------------------------------
# Prefetch templates


def test_the_prefetch_templates_stay_within_the_restrictions_of_the_specification(knowledge: Knowledge) -> None:
    templates = prefetch_templates(knowledge)
    assert next(iter(templates)) == "patient"
    for template in templates.values():
        assert lint_template(template) == []
        assert len(re.sub(r"\{\{.*?\}\}", "x" * 64, template)) <= 1_500


def test_medicines_are_asked_for_whoever_tells_of_them(knowledge: Knowledge) -> None:
    templates = prefetch_templates(knowledge)
    # US Core has what a patient reports as an order of intent plan, others as a statement.
    assert templates["medications"].startswith("MedicationRequest?patient={{context.patientId}}")
    assert "intent" not in templates["medications"]
    assert templates["medicationStatements"].startswith("MedicationStatement?patient={{context.patientId}}")
    assert templates["allergies"] == "AllergyIntolerance?patient={{context.patientId}}"


def observations_asked_for(knowledge: Knowledge) -> set[str]:
    templates = prefetch_templates(knowledge)
    keys = [key for key in templates if kind_of(key) == "observations"]
    assert keys == ["observations", *(f"observations{number}" for number in range(2, len(keys) + 1))]
    asked = [code for key in keys for code in templates[key].partition("&code=")[2].split(",")]
    assert len(asked) == len(set(asked))
    return set(asked)


def test_the_observations_are_asked_for_by_every_code_that_a_rule_reads(knowledge: Knowledge) -> None:
    asked = observations_asked_for(knowledge)
    read = knowledge.base_findings(name for c in knowledge.recommendation_conditions() for name in c.findings())
    read |= knowledge.base_findings(knowledge.differential.findings())
    for finding in sorted(read):
        kind = knowledge.findings[finding].kind
        if kind in ("medication", "allergy"):
            continue
        assert finding in asked
        for code in knowledge.codes:
            if code.concept == finding and code.system == SYSTEMS["loinc"] and not code.code.startswith("LA"):
                assert code.code in asked
            if code.concept == finding and code.system == SYSTEMS["sct"]:
                assert code.code in asked


def test_what_no_rule_reads_is_not_asked_for(knowledge: Knowledge) -> None:
    asked = observations_asked_for(knowledge)
    read = knowledge.base_findings(
        name
        for names in (
            *(condition.findings() for condition in knowledge.recommendation_conditions()),
            knowledge.differential.findings(),
            [finding.id for finding in knowledge.findings.values() if finding.defines_complaint],
        )
        for name in names
    )
    # A date that states one of them in its place is asked for with it.
    stating = {finding.id for finding in knowledge.findings.values() if finding.due and finding.due.present in read}
    local = {name for name in asked if name in knowledge.findings}
    assert local <= read | stating
