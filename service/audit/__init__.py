"""The audit trail: what was advised, on what evidence, and what became of it; see docs/audit.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from cds_hooks import CallRecord, FeedbackRecord
from service.answers.answered import Answered
from service.audit.releases import keep_release
from service.audit.rows import PageStep, Rows
from service.audit.suppression import Suppression
from service.audit.writer import AuditWriter, Health, open_audit
from service.database import refusing
from service.knowledge_model.model import Knowledge
from service.pseudonyms import Pseudonyms
from service.reasoning.differences import Difference
from service.release.mode import ALL_LIVE
from service.release.states import Release
from service.settings import Settings, SettingsError

__all__ = ["AuditTrail", "AuditWriter", "Health", "PageStep", "open_audit"]


class AuditTrail:
    """What the service tells the audit trail, by one body of knowledge; `revise` takes what is suppressed out of an
    answer, and is None where none ever is. `release` is the content that answers, which is kept once.

    Raises SettingsError where cards are to be suppressed and hashes do not outlive a start, and as keep_release does.
    """

    def __init__(
        self,
        audit: AuditWriter,
        knowledge: Knowledge,
        settings: Settings,
        clock: Callable[[], datetime],
        *,
        release: Release,
        mode_of: Callable[[str | None], str] = ALL_LIVE.of,
    ) -> None:
        self.audit, self._clock, self._digest = audit, clock, release.digests.release
        self.rows = Rows(knowledge, Pseudonyms(settings), release.digests.version, mode_of)
        if settings.suppression_days and settings.log_key is None:
            raise SettingsError("SITBONE_SUPPRESSION_DAYS needs SITBONE_LOG_KEY, by which a patient is known again.")
        with refusing("SITBONE_AUDIT_URL" if settings.audit_url else "SITBONE_AUDIT", settings.audit_url):
            has_clients = settings.clients is not None
            keep_release(audit.engine, release, settings.knowledge_dir, clock(), has_clients=has_clients)
        # No connection is handed on to the workers.
        audit.engine.dispose()
        days = settings.suppression_days
        self.revise = Suppression(audit.engine, self.rows, days, clock).revise if days else None

    def call(self, call: CallRecord[Answered]) -> None:
        """Keep a call; see AuditWriter.keep."""
        self.audit.keep(self.rows.call(call, self._clock()))

    def shadow(
        self,
        call: CallRecord[Answered],
        shadow: str,
        outcome: str,
        differences: Sequence[Difference],
        *,
        complaint: bool,
    ) -> None:
        """Keep what the knowledge with the digest `shadow` would have decided; see Rows.shadow and AuditWriter.keep."""
        digests = (self._digest, shadow)
        self.audit.keep(self.rows.shadow(call, self._clock(), digests, outcome, differences, complaint=complaint))

    def page(self, step: PageStep) -> None:
        """Keep a step of a page of the second opinion; see AuditWriter.keep."""
        self.audit.keep(self.rows.page(step, self._clock()))

    def feedback(self, feedback: FeedbackRecord) -> None:
        """Keep feedback; raises ServiceUnavailable as AuditWriter.keep_feedback does."""
        self.audit.keep_feedback(self.rows.feedback(feedback, self._clock()))
