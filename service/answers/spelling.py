"""The words of a card as its readers write them: the knowledge is in US English, and its word list says what readers in
the United Kingdom write instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from cds_hooks import Card

# The members of a FHIR resource that are read by people; codes and the displays of code systems stay.
_TEXTS = frozenset({"text", "title", "description", "contentString"})


class Spelling:
    """Writes cards with other words; made once. `words`: what stands in a text, in small letters, and what in its
    place."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words
        longest_first = sorted(words, key=len, reverse=True)
        self._found = re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first)) or '(?!)'})\b", re.IGNORECASE)

    def text(self, text: str) -> str:
        """The text with the words replaced; a capital letter stays one."""
        return self._found.sub(self._replaced, text)

    def card(self, card: Card) -> Card:
        """The card, with its suggestions and what they order."""
        suggestions = tuple(
            replace(
                suggestion,
                label=self.text(suggestion.label),
                actions=tuple(
                    replace(action, description=self.text(action.description), resource=self._resource(action.resource))
                    for action in suggestion.actions
                ),
            )
            for suggestion in card.suggestions
        )
        detail = None if card.detail is None else self.text(card.detail)
        return replace(card, summary=self.text(card.summary), detail=detail, suggestions=suggestions)

    def _resource(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                name: self.text(inner) if name in _TEXTS and isinstance(inner, str) else self._resource(inner)
                for name, inner in value.items()
            }
        return list(map(self._resource, value)) if isinstance(value, list) else value

    def _replaced(self, found: re.Match[str]) -> str:
        word = self._words[found[0].lower()]
        return word.capitalize() if found[0][0].isupper() else word
