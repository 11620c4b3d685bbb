"""Calls tell how many of the resources that were read for their cards are no valid FHIR."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("record_calls", sa.Column("not_valid", sa.Text))
