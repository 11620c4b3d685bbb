"""The record: what was advised, on what grounds, and what became of it; see docs/audit.md."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cds_hooks import CallRecord, FeedbackRecord
from service.answers.answered import Answered
from service.audit.rows import Rows
from service.audit.suppression import Suppression
from service.audit.writer import AuditWriter, Health, open_audit
from service.knowledge_model.model import Guideline
from service.pseudonyms import Pseudonyms
from service.settings import Settings, SettingsError

__all__ = ["AuditTrail", "AuditWriter", "Health", "open_audit"]


class AuditTrail:
    """What the service tells the record, by one guideline; `revise` takes what is held back out of an answer, and
    is None where none ever is.

    Raises SettingsError where cards are to be held back and hashes do not outlive a start.
    """

    def __init__(
        self, record: AuditWriter, guideline: Guideline, settings: Settings, clock: Callable[[], datetime]
    ) -> None:
        self.record, self._clock = record, clock
        self.rows = Rows(guideline, Pseudonyms(settings))
        if settings.hold_back_days and settings.log_key is None:
            raise SettingsError("SITBONE_HOLD_BACK_DAYS needs SITBONE_LOG_KEY, by which a patient is known again.")
        days = settings.hold_back_days
        self.revise = Suppression(record.engine, self.rows, days, clock).revise if days else None

    def call(self, call: CallRecord[Answered]) -> None:
        """Keep a call; see AuditWriter.keep."""
        self.record.keep(self.rows.call(call, self._clock()))

    def feedback(self, feedback: FeedbackRecord) -> None:
        """Keep feedback; raises ServiceUnavailable as AuditWriter.keep_feedback does."""
        self.record.keep_feedback(self.rows.feedback(feedback, self._clock()))
