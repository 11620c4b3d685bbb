"""Calls and cards tell whether they were live or silent."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("audit_calls", "audit_cards"):
        op.add_column(table, sa.Column("mode", sa.String(8), nullable=False, server_default="live"))
