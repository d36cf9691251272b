"""Run by alembic: migrate through the connection, and in the transaction, that the store hands over."""

from alembic import context

from closeout.service.store.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
