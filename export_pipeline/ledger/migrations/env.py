"""Alembic's entry point; the connection comes from ``ledger.engine``."""

from alembic import context

from export_pipeline.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
