"""Rows under the ids that services had before each entry of discovery got one of its own get the id of today."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Former id, hook, id.
_RENAMED = (
    ("gluteal-hamstring-pain", "encounter-start", "gluteal-hamstring-pain-encounter"),
    ("imaging-referral", "order-sign", "imaging-referral-sign"),
    ("analgesic-safety", "order-sign", "analgesic-safety-sign"),
    ("visit-planning", "appointment-book", "appointment-timing"),
    ("home-care", "encounter-discharge", "discharge-advice"),
)


def upgrade() -> None:
    for former, hook, current in _RENAMED:
        # A card has the hook of its call, and a report of feedback that of its card.
        renamed = f"service = '{former}' AND hook = '{hook}'"
        op.execute(
            f"UPDATE record_cards SET service = '{current}'"  # noqa: S608 - names of ours
            f" WHERE call IN (SELECT id FROM record_calls WHERE {renamed})"
        )
        op.execute(f"UPDATE record_calls SET service = '{current}' WHERE {renamed}")  # noqa: S608 - as above
        op.execute(
            f"UPDATE record_feedback SET service = '{current}' WHERE service = '{former}'"  # noqa: S608 - as above
            " AND EXISTS (SELECT 1 FROM record_cards WHERE record_cards.client = record_feedback.client"
            f" AND record_cards.uuid = record_feedback.card AND record_cards.service = '{current}')"
        )
