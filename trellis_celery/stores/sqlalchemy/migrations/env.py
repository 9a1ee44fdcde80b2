"""Run by Alembic: on the connection that `schema` hands over, or for SQL text without one."""

from alembic import context

from trellis_celery.stores.sqlalchemy.archive_models import ArchivedProcessRow
from trellis_celery.stores.sqlalchemy.schema import VERSION_TABLE

#: Of the store and of the archive.
TABLES = ArchivedProcessRow.metadata

if context.is_offline_mode():
    context.configure(
        dialect_name=context.config.attributes["dialect_name"],
        target_metadata=TABLES,
        version_table=VERSION_TABLE,
        literal_binds=True,
    )
else:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=TABLES,
        version_table=VERSION_TABLE,
    )

with context.begin_transaction():
    context.run_migrations()
