"""The first form: calls, cards, feedback."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "record_calls",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("correlation", sa.String(64), nullable=False),
        sa.Column("hook_instance", sa.String(16)),
        sa.Column("patient", sa.String(32)),
        sa.Column("client", sa.String(64), nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("hook", sa.Text),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("knowledge", sa.Text, nullable=False),
        sa.Column("states", sa.Text, nullable=False),
        sa.Column("fired", sa.Text, nullable=False),
        sa.Column("took", sa.Text, nullable=False),
        sa.Column("cards", sa.Integer, nullable=False),
    )
    op.create_index("ix_record_calls_at", "record_calls", ["at"])
    op.create_table(
        "record_cards",
        sa.Column("call", sa.String(32), primary_key=True),
        sa.Column("uuid", sa.String(36), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("client", sa.String(64), nullable=False),
        sa.Column("patient", sa.String(32), nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("knowledge", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("indicator", sa.String(8), nullable=False),
        sa.Column("red_flag", sa.Boolean, nullable=False),
        sa.Column("recommendation", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("recommendations", sa.Text, nullable=False),
        sa.Column("suggestions", sa.Text, nullable=False),
        sa.Column("held_since", sa.BigInteger),
    )
    op.create_index("ix_record_cards_at", "record_cards", ["at"])
    op.create_index("ix_record_cards_client_uuid", "record_cards", ["client", "uuid"])
    op.create_index("ix_record_cards_client_patient", "record_cards", ["client", "patient"])
    op.create_table(
        "record_feedback",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("correlation", sa.String(64), nullable=False),
        sa.Column("client", sa.String(64), nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("card", sa.String(36), nullable=False),
        sa.Column("outcome", sa.String(10), nullable=False),
        sa.Column("outcome_at", sa.BigInteger, nullable=False),
        sa.Column("suggestions", sa.Text, nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("commented", sa.Boolean, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
    )
    op.create_index("ix_record_feedback_at", "record_feedback", ["at"])
    op.create_index("ix_record_feedback_client_card", "record_feedback", ["client", "card"])
