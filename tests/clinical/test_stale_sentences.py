"""What the evidence of the first release said falsely or too strongly is said no more, and what it lacked is said."""

import re
from pathlib import Path

import pytest

from tests.charts import packaged

ROOT = Path(__file__).parents[2]
# What was false -> what no text of the knowledge may say again.
NEVER = {
    "the day of the injury decides on repair": r"hangs on it|window [a-z ]*repair|closing or past",
    "opioids are ruled out everywhere": r"opioids have no place",
    "adding acetaminophen is worth nothing anywhere": r"adding acetaminophen brings nothing",
    "ibuprofen has two lengths": r"one to two weeks of ibuprofen|ibuprofen for one to two weeks",
    "an early repair is needed": r"must be repaired|needs? (acute )?repair within",
}
# What was missing or stale -> the recommendation that says it, and how.
SAYS = {
    "acute repair is discussed within weeks": ("rl07d-after-four-weeks", r"usually discussed within four to six weeks"),
    "late repair remains": ("rl07d-after-four-weeks", r"[Ll]ate repair"),
    "the trial took two or more tendons": ("rs12b-trial-of-surgery", r"two or more (torn )?tendons"),
    "acetaminophen alone does not help the back": ("ap07-low-back-pain", r"low back pain"),
    "a residual of 200 mL": ("rl01-cauda-equina", r"200 mL"),
    "anal tone is no condition": ("rl01-cauda-equina", r"anal tone is no"),
    "the MRI within four hours": ("rl01-cauda-equina", r"four hours"),
    "an NSAID after 28 weeks": ("n12-pregnancy", r"28 weeks"),
    "brace and restriction after a repair": ("pt07-after-repair", r"[Bb]race and restricted weight"),
    "bone pain of the young within 48 hours": ("rl03c-bone-pain-in-the-young", r"48 hours"),
    "a slipped epiphysis": ("rl26-possible-slip", r"slip"),
    "a fracture without a fall": ("rl13-bone-stress", r"insufficiency"),
}
# And the source that stands behind it.
CITED = {
    "rs12b-trial-of-surgery": "R20",
    "pt07-after-repair": "R229",
    "n12-pregnancy": "R195",
    "rl26-possible-slip": "R185",
    "rl03c-bone-pain-in-the-young": "R210",
}


def _said() -> dict[str, str]:
    """Every text that a clinician or a patient may read, by what says it."""
    said = {
        r.id: "\n".join((r.when_then, r.title, *(_lines(ROOT / "service/knowledge/recommendations" / f"{r.id}.toml"))))
        for r in packaged().recommendations
    }
    return said | {"wording": (ROOT / "service/knowledge/wording.toml").read_text(encoding="utf-8")}


def _lines(path: Path) -> list[str]:
    """The card of a recommendation; its history says what was said before."""
    return [path.read_text(encoding="utf-8").partition("[[history]]")[0]]


@pytest.mark.parametrize("claim", NEVER)
def test_what_was_false_is_said_no_more(claim: str) -> None:
    assert [name for name, text in _said().items() if re.search(NEVER[claim], text, re.IGNORECASE)] == []


@pytest.mark.parametrize("claim", SAYS)
def test_what_was_missing_is_said(claim: str) -> None:
    name, words = SAYS[claim]
    assert re.search(words, _said()[name])


@pytest.mark.parametrize("name", CITED)
def test_its_source_stands_behind_it(name: str) -> None:
    [recommendation] = [r for r in packaged().recommendations if r.id == name]
    assert any(tag.endswith(f":{CITED[name]}") for tag in recommendation.evidence)


def test_the_pause_of_the_programme_stands_beside_its_rating() -> None:
    guide = (ROOT / "docs/guide-integrator.md").read_text(encoding="utf-8")
    assert "CMS paused" in guide[guide.index("appropriate-use program") - 400 :][:900]


def test_one_length_of_ibuprofen_stands_on_cards() -> None:
    course = re.compile(r"[Ii]buprofen[^.]*?for (?:at most )?(\{[a-z-]+\})")
    lengths = {length for text in _said().values() for length in course.findall(text)}
    assert lengths == {"{ibuprofen-course}"}
