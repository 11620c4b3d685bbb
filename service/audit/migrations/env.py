"""How alembic comes to the database: over the connection, and in the transaction, of service.audit.database."""

from alembic import context

from service.audit.schema import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, version_table=VERSION_TABLE
)
context.run_migrations()
