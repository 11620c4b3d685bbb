"""The content that answered, by its digest, with the folder itself."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_releases",
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("knowledge", sa.Text, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("content", sa.String(71), nullable=False),
        sa.Column("first_seen", sa.BigInteger, nullable=False),
        sa.Column("last_seen", sa.BigInteger, nullable=False),
        sa.Column("signatures", sa.Text, nullable=False),
        sa.Column("folder", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_audit_releases_version", "audit_releases", ["version"])
