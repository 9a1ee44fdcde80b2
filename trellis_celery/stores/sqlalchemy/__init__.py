"""Processes in a SQL database: PostgreSQL, MySQL or MariaDB, and SQLite."""

from trellis_celery.stores.sqlalchemy.archive import SQLAlchemyArchive
from trellis_celery.stores.sqlalchemy.processes import SQLAlchemyProcessRepository
from trellis_celery.stores.sqlalchemy.store import SQLAlchemyStore

__all__ = ["SQLAlchemyArchive", "SQLAlchemyProcessRepository", "SQLAlchemyStore"]
