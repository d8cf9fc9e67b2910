"""Runs inside alembic: migrations on the connection that the caller opened, in the caller's transaction."""

from alembic import context

from hydro.coordinator.storage.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
