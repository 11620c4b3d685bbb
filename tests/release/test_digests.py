"""What an edit of the knowledge un-signs, and what it does not."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import pytest

from service.knowledge_model.loader import load
from service.knowledge_model.model import PACKAGED
from service.release.digests import OWN, Digests
from tests.charts import packaged
from tests.release import edits
from tests.release.edits import PRODUCT
from tests.toy import PACK


@pytest.fixture(scope="module")
def digests() -> Digests:
    return Digests(packaged(), None, PRODUCT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged knowledge, to edit."""
    return Path(shutil.copytree(PACKAGED, tmp_path / "knowledge"))


def _edit(folder: Path, file: str, old: str, new: str, *, regex: bool = False) -> None:
    path = folder / file
    text = path.read_text(encoding="utf-8")
    changed = re.sub(old, new, text, count=1, flags=re.S) if regex else text.replace(old, new, 1)
    assert changed != text
    path.write_text(changed, encoding="utf-8")


def _of(folder: Path) -> Digests:
    return Digests(load(folder), folder, PRODUCT)


def _whose_closure_has(digests: Digests, part: str) -> set[str]:
    found = {r.id for r in digests.knowledge.recommendations if part in dict(digests.closure(r))}
    assert 0 < len(found) < len(digests.knowledge.recommendations)
    return found


EDITS = {
    "threshold:severe-renal-impairment": (
        "guideline.toml",
        r"(\[thresholds\.severe-renal-impairment\]\nvalue = )30",
        r"\g<1>29",
    ),
    "criterion:kidney-stop": ("definitions.toml", r"(\[kidney-stop\]\ntitle = \"[^\"]+)", r"\1 today"),
    "finding:saddle-numbness": ("value_sets/findings.csv", r"(\nsaddle-numbness,.*?,exact,.*?,.*?,\w+,)", r"\1New "),
    "ranking": ("weights.csv", r"\b6 / -5\b", "7 / -5"),
    "wording:red-flag": ("wording.toml", r'(\ntoday = ")', r"\1just "),
    "wording:imaging-order": ("wording.toml", r'(\nanother_region = ")', r"\1Look: "),
    "order:referral-emergency": ("orders.toml", r'(\[referral\.emergency\]\ntitle = ")', r"\1The "),
    "question:1": ("questions.toml", r'(\[\[questions\]\].*?\[\[questions\]\].*?ask = ")', r"\1Please: "),
    "medicine:acetaminophen": ("orders.toml", r'(\[medicine\.acetaminophen\]\ntitle = ")', r"\1The "),
    "source:R133": ("sources.toml", r'(\[R133\]\n\w+ = ")', r"\1A. "),
}


@pytest.mark.parametrize("part", EDITS)
def test_an_edit_unsigns_exactly_the_recommendations_whose_closure_has_it(
    part: str, digests: Digests, folder: Path
) -> None:
    file, old, new = EDITS[part]
    _edit(folder, file, old, new, regex=True)
    edited = _of(folder)
    unsigned = {id_ for id_, digest in digests.recommendations.items() if edited.recommendations[id_] != digest}
    if part == "wording:red-flag":
        # A sentence that any card can say.
        assert unsigned == digests.recommendations.keys()
    else:
        assert unsigned == _whose_closure_has(digests, part)
    assert edited.release != digests.release


def test_what_stands_in_the_file_of_a_recommendation_unsigns_it_alone(digests: Digests, folder: Path) -> None:
    _edit(folder, "recommendations/rl11-no-imaging-yet.toml", "Image if six weeks", "Image when six weeks")
    edited = _of(folder)
    assert [id_ for id_, was in digests.recommendations.items() if edited.recommendations[id_] != was] == [
        "rl11-no-imaging-yet"
    ]


def test_a_text_that_ends_like_a_mark_of_evidence_opens_nothing(folder: Path) -> None:
    _edit(
        folder,
        "guideline.toml",
        r'(\[thresholds\.severe-renal-impairment\].*?source = ")',
        r"\1after [V2:R83",
        regex=True,
    )
    path = folder / "guideline.toml"
    path.write_text(re.sub(r"(after \[V2:R83)[^\"]*", r"\1", path.read_text(encoding="utf-8")), encoding="utf-8")
    assert _of(folder).recommendations


def test_comments_order_of_tables_and_of_rows_of_codes_and_layout_change_no_digest(
    digests: Digests, folder: Path
) -> None:
    for name in ("orders.toml", "definitions.toml", "sources.toml"):
        text = (folder / name).read_text(encoding="utf-8")
        head, *tables = re.split(r"(?m)^(?=\[)", text)
        tables.reverse()
        (folder / name).write_text("# Another comment.\n" + head + "\n\n".join(tables), encoding="utf-8")
    for name in ("findings.csv", "orders.csv"):
        header, *rows = (folder / "value_sets" / name).read_text(encoding="utf-8").splitlines()
        (folder / "value_sets" / name).write_text("\n".join([header, *reversed(rows)]) + "\n", encoding="utf-8")
    path = folder / "recommendations" / "rl11-no-imaging-yet.toml"
    id_, *rest = path.read_text(encoding="utf-8").splitlines()
    version, title, kind, *others = rest
    path.write_text("\n".join([title, "", kind, "# why", id_, version, *others]) + "\n", encoding="utf-8")
    edited = _of(folder)
    assert edited.recommendations == digests.recommendations
    assert edited.release == digests.release


def test_the_state_and_the_history_of_a_file_are_no_content_of_it_but_of_the_release(
    digests: Digests, folder: Path
) -> None:
    _edit(folder, "recommendations/rl11-no-imaging-yet.toml", 'status = "draft"', 'status = "active"')
    edited = _of(folder)
    assert edited.recommendations == digests.recommendations
    assert edited.release != digests.release


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("properties.toml", '"warning"', '"info"'),
        ("hazards.toml", '"medium"', '"high"'),
        ("value_sets/findings.csv", ",open,", ",affiliate,"),
        ("wording.toml", "[topics.care-plan]", "[topics.care-plan]  "),
        ("guideline.toml", 'version = "0', 'version = "10'),
        ("conflicts.toml", 'title = "', 'title = "A '),
    ],
)
def test_what_no_closure_holds_is_in_the_digest_of_the_release(
    file: str, old: str, new: str, digests: Digests, folder: Path
) -> None:
    _edit(folder, file, old, new)
    assert (_of(folder).release != digests.release) == (new.strip() != old)


@pytest.mark.parametrize("file", ["causes.toml", "findings.toml"])
def test_an_order_of_tables_that_is_read_is_content_of_the_release(file: str, digests: Digests, folder: Path) -> None:
    text = (folder / file).read_text(encoding="utf-8")
    head, *tables = re.split(r"(?m)^(?=\[)", text)
    (folder / file).write_text(head + "\n\n".join(reversed(tables)), encoding="utf-8")
    edited = _of(folder)
    assert edited.release != digests.release
    # The ranking of causes is read by recommendations.
    assert (edited.recommendations == digests.recommendations) == (file == "findings.toml")


def test_another_product_is_another_release_of_the_same_recommendations(digests: Digests) -> None:
    other = Digests(packaged(), None, "1")
    assert other.release != digests.release
    assert other.recommendations == digests.recommendations


def test_the_version_has_the_beginning_of_the_release_digest(digests: Digests) -> None:
    assert digests.version == f"{packaged().version}+{digests.release[len('sha256:') :][:8]}"


def test_the_own_part_comes_first_and_every_part_can_be_read(digests: Digests) -> None:
    recommendation = next(each for each in packaged().recommendations if each.red_flag)
    parts = digests.content_of(recommendation)
    assert next(iter(parts)) == OWN
    assert "status" not in parts[OWN]
    assert [*parts] == [name for name, _digest in digests.closure(recommendation)]


@pytest.mark.parametrize(("folder_of", "count"), [(PACKAGED, 4), (PACK, 80)])
def test_of_random_edits_none_changes_the_knowledge_and_no_digest(folder_of: Path, count: int, tmp_path: Path) -> None:
    on, at = edits.bench(folder_of, tmp_path / "knowledge"), random.Random(1)  # noqa: S311 - no secret
    before, outcomes = edits.state_of(on.folder), []
    for place in at.choices(on.places, k=count):
        with on.with_edit(place, at):
            outcomes.append(edits.what_is_missed(before, on.folder))
    assert not [outcome for outcome in outcomes if outcome.startswith("missed")]
    assert "noticed" in outcomes
