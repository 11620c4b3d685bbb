"""Rows tell whether they are of a check of the service."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("record_calls", "record_cards", "record_feedback"):
        op.add_column(table, sa.Column("is_check", sa.Boolean, nullable=False, server_default=sa.false()))
