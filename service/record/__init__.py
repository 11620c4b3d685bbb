"""The record: what was advised, on what grounds, and what became of it; see docs/record.md."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cds_hooks import CallRecord, FeedbackRecord
from service.answers.answered import Answered
from service.guideline.model import Guideline
from service.pseudonyms import Pseudonyms
from service.record.entries import Entries
from service.record.holding_back import HoldingBack
from service.record.keeping import Health, Record, open_record
from service.settings import Settings, SettingsError

__all__ = ["Health", "Record", "Recorder", "open_record"]


class Recorder:
    """What the service tells the record, by one guideline; `revise` takes what is held back out of an answer, and
    is None where none ever is.

    Raises SettingsError where cards are to be held back and hashes do not outlive a start.
    """

    def __init__(self, record: Record, guideline: Guideline, settings: Settings, clock: Callable[[], datetime]) -> None:
        self.record, self._clock = record, clock
        self.entries = Entries(guideline, Pseudonyms(settings))
        if settings.hold_back_days and settings.log_key is None:
            raise SettingsError("SITBONE_HOLD_BACK_DAYS needs SITBONE_LOG_KEY, by which a patient is known again.")
        days = settings.hold_back_days
        self.revise = HoldingBack(record.engine, self.entries, days, clock).revise if days else None

    def call(self, call: CallRecord[Answered]) -> None:
        """Keep a call; see Record.keep."""
        self.record.keep(self.entries.call(call, self._clock()))

    def feedback(self, feedback: FeedbackRecord) -> None:
        """Keep feedback; raises ServiceUnavailable as Record.keep_feedback does."""
        self.record.keep_feedback(self.entries.feedback(feedback, self._clock()))
