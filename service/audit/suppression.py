"""Suppresses, for some days, a card that was overridden for the same patient: known alarms teach to look away.

Red flags are never suppressed. It needs one look into the audit trail within a call, which is given little time;
whatever goes wrong with it, nothing is suppressed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import orjson
from sqlalchemy import Engine, and_, select
from sqlalchemy.exc import SQLAlchemyError

from cds_hooks import HookRequest, Indicator
from service.answers.answered import AdvisedCard, Answered, Suppressed
from service.audit.database import reading
from service.audit.rows import CardKey, Rows, key_of, milliseconds
from service.audit.schema import CARDS, DAY, FEEDBACK, HAPPENED

_LOG = logging.getLogger("sitbone")
# In seconds: what a call waits for the audit trail, and how long it is not asked again after it did not answer.
LONGEST_LOOK = 0.1
_LEAVE_ALONE = 10.0
_READERS = 2


@dataclass(frozen=True, slots=True)
class Override:
    """When a card was overridden, in milliseconds, and the ids and versions of the recommendations that were on it."""

    at: int
    recommendations: frozenset[tuple[str, int]]


class Suppression:
    """Looks into the audit trail of a database; it has no thread before the first call."""

    def __init__(self, engine: Engine, entries: Rows, days: int, clock: Callable[[], datetime]) -> None:
        self._engine, self._rows, self._days, self._clock = engine, entries, days, clock
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="suppression")
        self._leave_alone_until = 0.0

    def revise(self, request: HookRequest, answered: Answered) -> Answered:
        """The same without the cards that are suppressed; its extension says which topics, and since when."""
        keys = [None if _is_always_shown(advised) else key_of(advised) for advised in answered.advised]
        overridden = self._overridden(request) if any(keys) else {}
        kept: list[AdvisedCard] = []
        suppressed: list[Suppressed] = []
        extension_entries: list[dict[str, str]] = []
        for key, advised in zip(keys, answered.advised, strict=True):
            override = overridden.get(key) if key else None
            # What has joined the card since then was never overridden.
            if key and override and override.recommendations.issuperset(advised.versions()):
                since = datetime.fromtimestamp(override.at // 1000, UTC)
                suppressed.append(Suppressed(advised, since))
                extension_entries.append({"topic": key.topic, "since": since.isoformat()})
            else:
                kept.append(advised)
        if not suppressed:
            return answered
        extension = {**answered.extension, "heldBack": extension_entries}
        return msgspec.structs.replace(answered, advised=tuple(kept), suppressed=tuple(suppressed), extension=extension)

    def _overridden(self, request: HookRequest) -> Mapping[CardKey, Override]:
        if time.monotonic() < self._leave_alone_until:
            return {}
        look: Future[Mapping[CardKey, Override]] = self._readers.submit(
            overridden_cards,
            self._engine,
            request.client or "",
            self._rows.patient(request.client, request.patient_id),
            milliseconds(self._clock()) - self._days * DAY,
        )
        try:
            return look.result(LONGEST_LOOK)
        except (SQLAlchemyError, TimeoutError) as problem:
            look.cancel()
            self._leave_alone_until = time.monotonic() + _LEAVE_ALONE
            _LOG.warning("audit: nothing is suppressed for a while, %s", type(problem).__name__)
            return {}


def _is_always_shown(advised: AdvisedCard) -> bool:
    return advised.card.indicator is Indicator.CRITICAL or advised.is_about_a_red_flag()


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
