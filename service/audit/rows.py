"""One call, one report of feedback -> the rows that are kept of it.

No clinical value, no word that a user typed and no id of a patient gets further than this: what would tell them is left
out, or stands as a keyed hash.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from os import urandom
from typing import Any, TypeAlias

import msgspec
import orjson

from cds_hooks import CallRecord, Feedback, FeedbackRecord
from cds_hooks.text_forms import UUID
from service.answers.answered import AdvisedCard, Answered
from service.audit.days import signs
from service.knowledge_model.model import Knowledge
from service.pseudonyms import Pseudonyms
from service.reasoning.differences import Difference
from service.release.mode import ALL_LIVE

Row: TypeAlias = dict[str, Any]
OTHER = "other"
# Of a chart of many findings the first tell how well a client's FHIR is made.
_REMARKED_ON = 64


class CallRows(msgspec.Struct, frozen=True):
    """A row of audit_calls with its rows of audit_cards."""

    call: Row
    cards: tuple[Row, ...] = ()
    # What was read for the cards, until the models have said what they think of it; nothing of it is kept.
    resources: tuple[bytes, ...] = ()
    # What is counted of it for its day.
    signs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PageRow:
    """A row of audit_pages."""

    page: Row


@dataclass(frozen=True, slots=True)
class ShadowRows:
    """A call that was looked at by a second knowledge, as a row of audit_shadow_counts that may be summed up, and where
    something differs one of audit_shadow_calls."""

    count: Row
    call: Row | None = None


@dataclass(frozen=True, slots=True)
class PageStep:
    """A step of a page of the second opinion: `step` is shown, answered, saved, drafted, or features where it handed on
    what was read; `page` is the id of the page, `answers` how many it has; `written_as` and `written` what was written
    to the chart, and how many are there."""

    step: str
    correlation_id: str
    client: str
    patient_id: str
    page: str
    answered: Answered
    answers: int
    written_as: str = ""
    written: int = 0


@dataclass(frozen=True, slots=True)
class CardKey:
    """What makes a card the same from call to call: its topic, and its first recommendation in this version."""

    topic: str
    recommendation: str
    version: int


def key_of(advised: AdvisedCard) -> CardKey | None:
    """None for a card that stands on no recommendation."""
    versions, topic = advised.versions(), advised.card.source.topic
    return CardKey(topic.code, *versions[0]) if versions and topic else None


class Rows:
    """Makes the rows by one body of knowledge and one key; `version` is that of the knowledge with its digest, and
    `mode_of` says by the client's name whether it is live or silent.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        pseudonyms: Pseudonyms,
        version: str,
        mode_of: Callable[[str | None], str] = ALL_LIVE.of,
    ) -> None:
        self._knowledge = version
        self._reasons = {code for code, _display in knowledge.wording.override_reasons}
        self._pseudonyms, self._mode_of = pseudonyms, mode_of

    def patient(self, client: str | None, patient_id: str) -> str:
        """The hash that stands for a patient of a client."""
        return self._pseudonyms.of(f"patient\0{client or ''}\0{patient_id}", size=16)

    def call(self, call: CallRecord[Answered], now: datetime) -> CallRows:
        """The rows of a call, also of one that was refused or failed: that one has no cards."""
        at, client = milliseconds(now), call.client or ""
        answered = call.answered
        row: Row = {
            "id": _new_id(at),
            "at": at,
            "correlation": call.correlation_id,
            "hook_instance": None if call.hook_instance is None else self._pseudonyms.of(call.hook_instance),
            "patient": None if call.patient_id is None else self.patient(call.client, call.patient_id),
            "client": client,
            "service": call.service_id,
            "hook": call.hook,
            "status": call.status,
            "knowledge": self._knowledge,
            "states": _states(tuple(call.states), tuple(call.states.values())),
            "fired": _fired(answered) if answered else "{}",
            "took": canonical({stage: round(1e6 * seconds) for stage, seconds in call.seconds.items()}),
            "cards": 0,
            # A number, as of each bool the driver of SQLite looks for how it is to be adapted.
            "is_check": int(call.is_check),
            "not_valid": None,
            "mode": answered.mode if answered else self._mode_of(call.client),
        }
        counted = signs(answered, call.service_id) if answered else ()
        # Of most calls that is all.
        if answered is None or not answered.has_cards():
            return CallRows(row, signs=counted)
        cards = tuple(_cards(answered))
        row["cards"] = sum(card["suppressed_since"] is None for card in cards)
        shared = {name: row[name] for name in ("at", "client", "patient", "service", "knowledge", "is_check", "mode")}
        case = answered.assessment.case
        read = case.resources[:_REMARKED_ON] if case else ()
        of_cards = tuple({"call": row["id"], **shared, **card} for card in cards)
        return CallRows(row, of_cards, tuple(map(bytes, read)), counted)

    def page(self, step: PageStep, now: datetime) -> PageRow:
        """The row of a step: no answer, and nothing of the chart."""
        at = milliseconds(now)
        row: Row = {
            "id": _new_id(at),
            "at": at,
            "correlation": self._uuid(step.correlation_id),
            "page": self._pseudonyms.of(step.page, size=16),
            "patient": self.patient(step.client, step.patient_id),
            "client": step.client,
            "step": step.step,
            "knowledge": self._knowledge,
            "fired": _fired(step.answered),
            "answers": step.answers,
            "written_as": step.written_as,
            "written": step.written,
        }
        return PageRow(row)

    def shadow(
        self,
        call: CallRecord[Answered],
        now: datetime,
        digests: tuple[str, str],
        outcome: str,
        differences: Sequence[Difference],
        *,
        complaint: bool,
    ) -> ShadowRows:
        """The rows of a call of which a second knowledge decides so; `digests` are those of the release that answered
        and of the other, `outcome` is same, changed, failed or skipped."""
        at, client = milliseconds(now), call.client or ""
        row: Row = {
            "id": _new_id(at),
            "at": at,
            "client": client,
            "service": call.service_id,
            **dict(zip(("live", "shadow"), digests, strict=True)),
        }
        compared = outcome in ("same", "changed")
        counts = {"compared": compared, "complaint": compared and complaint}
        counts |= {name: outcome == name for name in ("changed", "failed", "skipped")}
        count = row | {name: int(value) for name, value in counts.items()}
        if not differences:
            return ShadowRows(count)
        patient = None if call.patient_id is None else self.patient(call.client, call.patient_id)
        members = {
            "correlation": call.correlation_id,
            "patient": patient,
            "differences": canonical([*map(list, differences)]),
        }
        return ShadowRows(count, row | members)

    def feedback(self, record: FeedbackRecord, now: datetime) -> tuple[Row, ...]:
        """A row for each card that was reported on. Of a reason only a code that cards offer is kept, of a comment
        that there was one, of what should be a uuid and is none a keyed hash."""
        return tuple(self._feedback(record, now))

    def _feedback(self, record: FeedbackRecord, now: datetime) -> Iterator[Row]:
        for place, item in enumerate(record.feedback):
            reported: Row = {
                "client": record.client or "",
                "card": self._uuid(item.card),
                "outcome": item.outcome,
                "outcome_at": milliseconds(item.outcome_timestamp),
                "suggestions": canonical(sorted(map(self._uuid, item.accepted_suggestions))),
                "reasons": canonical(sorted(_codes(item, self._reasons))),
            }
            # A marked report must not stand for the same one that comes without the mark.
            digested = {**reported, "is_check": True} if record.is_check else reported
            yield {
                # No key: after a new start, too, what is reported again must be known again.
                "id": blake2b(orjson.dumps(digested, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest(),
                "at": milliseconds(now),
                "place": place,
                "correlation": record.correlation_id,
                "service": record.service_id,
                **reported,
                "commented": any(given.user_comment for given in item.override_reasons),
                "times": 1,
                "is_check": record.is_check,
            }

    def _uuid(self, text: str) -> str:
        return text.lower() if UUID.fullmatch(text) else self._pseudonyms.of(text, size=16)


def _new_id(at: int) -> str:
    """An id that begins with its time: such ids lie side by side in an index, without which a database that has grown
    writes as many pages as rows."""
    return f"{at:012x}{urandom(10).hex()}"


def milliseconds(time: datetime) -> int:
    """A time in UTC as the audit trail keeps it."""
    return int(time.timestamp() * 1000)


def _cards(answered: Answered) -> Iterator[Row]:
    """A row for each card, those that are not shown last."""
    shown = ((advised, None) for advised in answered.advised)
    suppressed = ((each.advised, milliseconds(each.since)) for each in answered.suppressed)
    for advised, since in (*shown, *suppressed):
        key, card = key_of(advised), advised.card
        if key is not None:
            yield {
                "uuid": card.uuid,
                "topic": key.topic,
                "indicator": card.indicator.value,
                "red_flag": int(advised.is_about_a_red_flag()),
                "recommendation": key.recommendation,
                "version": key.version,
                "recommendations": canonical(advised.versions()),
                "suggestions": canonical([suggestion.uuid for suggestion in card.suggestions]),
                "suppressed_since": since,
            }


def _fired(answered: Answered) -> str:
    """What fired: with the indicator of its card, suspended or silent where it was not said, "" where it is on none."""
    if not (answered.fired or answered.has_cards()):
        return "{}"
    cards = (*answered.advised, *(each.advised for each in answered.suppressed))
    carried = {fired.recommendation.id: fired.indicator for advised in cards for fired in advised.fired}
    fired = answered.recommendations()
    muted = {id_: "suspended" if id_ in answered.muted.suspended else "silent" for id_ in answered.muted.ids}
    unsaid = {id_: muted[id_] for id_ in fired if id_ in muted}
    return canonical({**dict.fromkeys(fired, ""), **carried, **unsaid})


def _codes(item: Feedback, known: Collection[str]) -> set[str]:
    return {
        given.reason.code if given.reason.code in known else OTHER
        for given in item.override_reasons
        if given.reason is not None
    }


@lru_cache(256)
def _states(keys: tuple[str, ...], states: tuple[str, ...]) -> str:
    """The states of the prefetch keys: there are few different ones, and calls that wait to be written share a text."""
    return canonical(dict(zip(keys, states, strict=True)))


def canonical(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
