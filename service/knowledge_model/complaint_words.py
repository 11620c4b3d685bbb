"""How words are compared that may name a complaint: whole, whatever their case, spaces and punctuation, the side apart.

Only what is the same as a listed name counts. Nothing is searched for within a text, so that "no buttock pain", "rule
out a hamstring tear" and "history of sciatica" are none; a question mark, which folding loses, is looked for first.
"""

from __future__ import annotations

import re
import unicodedata

_LONGEST = 200
_DOUBT = re.compile(
    r"[?\u00bf\u061f]|\b(?:no|not|non|nil|never|deny|denie[sd]|denying|without|negative|neg|absent|resolved|unlikely|rule[ds]?"
    r"|ruling|r\s*/\s*o|histor(?:y|ies)|hx|h\s*/\s*o|family|familial|fhx?|f\s*/\s*h)\b",
    re.IGNORECASE,
)
_BETWEEN_WORDS = re.compile(r"[\W_]+")
_SIDE = re.compile(r"\b(?:on )?(?:the )?(left|right|lt|rt|l|r|bilateral|both)(?: sides?| sided)?\b")


def in_doubt(text: str) -> bool:
    """Whether a text asks, denies, excludes or looks back, in any of its words."""
    return _DOUBT.search(unicodedata.normalize("NFKC", text)) is not None


def folded(text: str) -> str:
    """A text in small letters, one space between its words, without punctuation."""
    return _BETWEEN_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def without_side(text: str) -> tuple[str, str]:
    """A text, folded, without its side, and the word for that; with two sides or with none it is as it was."""
    whole = folded(text[: _LONGEST + 1])
    sides = _SIDE.findall(whole)
    if len(sides) != 1 or len(text) > _LONGEST:
        return ("" if len(text) > _LONGEST else whole), ""
    return " ".join(_SIDE.sub(" ", whole).split()), sides[0]
