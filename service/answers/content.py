"""What one card has to say, before it is put into words."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from service.reasoning.evidence import Evidence, Fired
from service.reasoning.questions import Asked


class Content(msgspec.Struct, frozen=True):
    """Of one card: its topic, the recommendations that it carries, the most important first, and what they stand on.

    lacking: findings that are not documented and would change it; notes: what was found out beside the
    recommendations, such as an order that is placed already; orders: what is left to be ordered, in short words; about:
    the draft that the card is about, in words; checks: what could not be read or is missing, a sentence each; beyond:
    those of the orders that have no suggestion, for a card has few; asks: what to ask next, the weightiest first;
    causes: whether the differential diagnosis stands on it.
    """

    topic: str
    fired: Sequence[Fired]
    evidence: Sequence[Evidence]
    lacking: Sequence[str]
    notes: Sequence[str]
    orders: Sequence[str]
    about: str
    checks: Sequence[str]
    beyond: Sequence[str]
    asks: Sequence[Asked]
    causes: bool
