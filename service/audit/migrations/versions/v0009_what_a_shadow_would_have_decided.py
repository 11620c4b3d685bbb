"""What a second knowledge would have decided of the same calls, and how many were looked at."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_shadow_calls",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False, index=True),
        sa.Column("correlation", sa.String(64), nullable=False),
        sa.Column("patient", sa.String(32)),
        sa.Column("client", sa.String(64), nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("live", sa.String(71), nullable=False),
        sa.Column("shadow", sa.String(71), nullable=False),
        sa.Column("differences", sa.Text, nullable=False),
    )
    op.create_table(
        "audit_shadow_counts",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False, index=True),
        sa.Column("client", sa.String(64), nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("live", sa.String(71), nullable=False),
        sa.Column("shadow", sa.String(71), nullable=False),
        sa.Column("compared", sa.Integer, nullable=False),
        sa.Column("complaint", sa.Integer, nullable=False),
        sa.Column("changed", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("skipped", sa.Integer, nullable=False),
    )
