"""Tables and a column get the names of the audit trail: "the record" is the chart in medicine."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_INDEXES = {
    "calls": {"at": ["at"]},
    "cards": {"at": ["at"], "client_uuid": ["client", "uuid"], "client_patient": ["client", "patient"]},
    "feedback": {"at": ["at"], "client_card": ["client", "card"]},
}


def upgrade() -> None:
    for table, indexes in _INDEXES.items():
        # SQLite cannot rename an index.
        for name in indexes:
            op.drop_index(f"ix_record_{table}_{name}", f"record_{table}")
        op.rename_table(f"record_{table}", f"audit_{table}")
        for name, columns in indexes.items():
            op.create_index(f"ix_audit_{table}_{name}", f"audit_{table}", columns)
    op.execute("ALTER TABLE audit_cards RENAME COLUMN held_since TO suppressed_since")
