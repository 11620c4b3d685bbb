"""What a service returns for a call: its cards, and the decision that they stand on.

The explanation, the audit trail and the suppression of cards take from here what was decided; nobody reads it back out
of the response. Specification: CDS Service Response, Extensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from cds_hooks import Card, HookResponse, SystemAction
from service.reasoning.assessment import Assessment, Judgement
from service.reasoning.evidence import Fired
from service.release.mode import LIVE, SILENT
from service.release.muting import NOTHING, Muted

ASSESSMENT_KEY = "org.sitbone.assessment"


class AdvisedCard(msgspec.Struct, frozen=True):
    """A card with the recommendations that it carries; the first is the one that it is about."""

    card: Card
    fired: tuple[Fired, ...] = ()

    def versions(self) -> tuple[tuple[str, int], ...]:
        """The recommendations by id, each with its version."""
        return tuple((each.recommendation.id, each.recommendation.version) for each in self.fired)

    def is_about_a_red_flag(self) -> bool:
        """Whether any of the recommendations is about a red flag."""
        return any(each.recommendation.red_flag for each in self.fired)


class Suppressed(msgspec.Struct, frozen=True):
    """A card that is not shown, because it was overridden at this time (UTC)."""

    advised: AdvisedCard
    since: datetime


class Answered(msgspec.Struct, frozen=True):
    """The response to a call, and the decision behind it.

    assessment: has no case where no chart had to be read; advised: the cards that are shown; extension: the assessment
    as the response has it; fired: what led to the response, whether or not a card carries it or it is muted.
    """

    assessment: Assessment
    advised: tuple[AdvisedCard, ...]
    extension: Mapping[str, Any]
    fired: tuple[Fired, ...] = ()
    system_actions: tuple[SystemAction, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()
    # Whether the assessment is sent.
    extensions: bool = True
    # What was muted when it was made.
    muted: Muted = NOTHING
    # Whether the whole service is suspended: nothing is said but that.
    service_suspended: bool = False
    # Whether nothing is sent: what would have been is recorded.
    silent: bool = False

    @property
    def mode(self) -> str:
        """Live or silent."""
        return SILENT if self.silent else LIVE

    @property
    def response(self) -> HookResponse:
        """What is sent."""
        if self.silent:
            return HookResponse(())
        cards = tuple(each.card for each in self.advised)
        return HookResponse(cards, self.system_actions, {ASSESSMENT_KEY: self.extension} if self.extensions else None)

    def has_cards(self) -> bool:
        """Whether there is any card, shown or not."""
        return bool(self.advised or self.suppressed)

    def recommendations(self) -> tuple[str, ...]:
        """The ids of the recommendations that led to the response."""
        return tuple(dict.fromkeys(each.recommendation.id for each in self.fired))
