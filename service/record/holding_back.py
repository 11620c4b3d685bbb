"""Holds back, for some days, a card that was overridden for the same patient: known alarms teach to look away.

Red flags are never held back. It needs one look into the record within a call, which is given little time; whatever
goes wrong with it, nothing is held back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import orjson
from sqlalchemy import Engine, and_, select
from sqlalchemy.exc import SQLAlchemyError

from cds_hooks import Card, HookRequest, HookResponse, Indicator
from service.answers.cards import ASSESSMENT_KEY
from service.record.entries import HELD_BACK, CardKey, Entries, key_of, milliseconds, versions_of
from service.record.opening import reading
from service.record.schema import CARDS, FEEDBACK, HAPPENED

_LOG = logging.getLogger("sitbone")
# In seconds: what a call waits for the record, and how long it is not asked again after it did not answer.
LONGEST_LOOK = 0.1
_LEAVE_ALONE = 10.0
_READERS = 2
_DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class Override:
    """When a card was overridden, in milliseconds, and the ids and versions of the recommendations that were on it."""

    at: int
    recommendations: frozenset[tuple[str, int]]


class HoldingBack:
    """Looks into the record of a database; it has no thread before the first call."""

    def __init__(self, engine: Engine, entries: Entries, days: int, clock: Callable[[], datetime]) -> None:
        self._engine, self._entries, self._days, self._clock = engine, entries, days, clock
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="holding-back")
        self._leave_alone_until = 0.0

    def revise(self, request: HookRequest, response: HookResponse) -> HookResponse:
        """The response without the cards that are held back; its extension says which topics, and since when."""
        candidates = {card.uuid: key for card in response.cards if (key := self._key(card)) is not None}
        overridden = self._overridden(request) if candidates else {}
        kept, held = [], []
        for card in response.cards:
            key = candidates.get(card.uuid)
            override = overridden.get(key) if key else None
            # What has joined the card since then was never overridden.
            if key and override and override.recommendations.issuperset(versions_of(card)):
                since = datetime.fromtimestamp(override.at / 1000, UTC).isoformat(timespec="seconds")
                held.append({"topic": key.topic, "since": since})
            else:
                kept.append(card)
        if not held:
            return response
        extension = dict(response.extension or {})
        extension[ASSESSMENT_KEY] = {**extension.get(ASSESSMENT_KEY, {}), HELD_BACK: held}
        return replace(response, cards=tuple(kept), extension=extension)

    def _key(self, card: Card) -> CardKey | None:
        """None for a card that may not be held back."""
        if card.indicator is Indicator.CRITICAL or self._entries.is_red_flag(card):
            return None
        return key_of(card)

    def _overridden(self, request: HookRequest) -> Mapping[CardKey, Override]:
        if time.monotonic() < self._leave_alone_until:
            return {}
        look: Future[Mapping[CardKey, Override]] = self._readers.submit(
            overridden_cards,
            self._engine,
            request.client or "",
            self._entries.patient(request.client, request.patient_id),
            milliseconds(self._clock()) - self._days * _DAY,
        )
        try:
            return look.result(LONGEST_LOOK)
        except (SQLAlchemyError, TimeoutError) as problem:
            look.cancel()
            self._leave_alone_until = time.monotonic() + _LEAVE_ALONE
            _LOG.warning("record: nothing is held back for a while, %s", type(problem).__name__)
            return {}


def overridden_cards(engine: Engine, client: str, patient: str, since: int) -> dict[CardKey, Override]:
    """The cards of a patient whose latest outcome is an override that came after `since`, in milliseconds."""
    of_the_card = and_(FEEDBACK.c.client == CARDS.c.client, FEEDBACK.c.card == CARDS.c.uuid)
    outcomes = (
        select(
            CARDS.c.topic,
            CARDS.c.recommendation,
            CARDS.c.version,
            FEEDBACK.c.outcome,
            FEEDBACK.c.at,
            CARDS.c.recommendations,
        )
        .join(FEEDBACK, of_the_card)
        .where(CARDS.c.client == client, CARDS.c.patient == patient, FEEDBACK.c.at > since)
        .where(~CARDS.c.is_check, ~FEEDBACK.c.is_check)
        .order_by(HAPPENED, FEEDBACK.c.at, FEEDBACK.c.outcome_at, FEEDBACK.c.place)
    )
    latest: dict[CardKey, Override] = {}
    with reading(engine) as connection:
        for *key, outcome, at, recommendations in connection.execute(outcomes):
            if outcome == "overridden":
                latest[CardKey(*key)] = Override(at, frozenset(map(tuple, orjson.loads(recommendations))))
            else:
                latest.pop(CardKey(*key), None)
    return latest
