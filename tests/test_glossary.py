"""GLOSSARY.md has each term once, in order, and each is in use: in a name, a docstring or on the wire."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
TERMS = re.findall(r"^\*\*(.+?)\*\*: \S", (REPOSITORY / "GLOSSARY.md").read_text("utf-8"), re.MULTILINE)
LONGEST = 420


def words_of(text: str) -> str:
    """The words of a text, also those within names: SideChart, side_chart and side-chart are "side chart"."""
    return re.sub(r"[\s_-]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)).lower()


@pytest.fixture(scope="module")
def in_use() -> str:
    """All that is said in the Python of the product and in the description of its wire."""
    files = [*(REPOSITORY / "cds_hooks").rglob("*.py"), *(REPOSITORY / "service").rglob("*.py")]
    return words_of("\n".join(file.read_text("utf-8") for file in [*files, REPOSITORY / "openapi.yaml"]))


@pytest.mark.parametrize("term", TERMS)
def test_each_term_of_the_glossary_is_in_use(term: str, in_use: str) -> None:
    assert re.search(rf"\b{re.escape(words_of(term))}(?:s|es)?\b", in_use)


def test_the_terms_stand_once_each_in_the_order_of_the_alphabet() -> None:
    assert len(TERMS) >= 60
    assert sorted(set(TERMS), key=words_of) == TERMS


def test_a_term_has_one_short_paragraph() -> None:
    paragraphs = (REPOSITORY / "GLOSSARY.md").read_text("utf-8").strip().split("\n\n")[2:]
    assert len(paragraphs) == len(TERMS)
    assert [text for text in paragraphs if len(text) > LONGEST or not text.startswith("**")] == []


def test_a_newcomer_is_sent_to_the_glossary() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        assert "](GLOSSARY.md)" in (REPOSITORY / page).read_text("utf-8"), page
