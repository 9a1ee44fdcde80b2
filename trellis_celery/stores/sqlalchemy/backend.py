"""`postgresql://`, `mysql://`, `mariadb://` and `sqlite://`."""

from __future__ import annotations

from collections.abc import Callable

from trellis_celery.settings import Settings
from trellis_celery.stores.sqlalchemy import schema as tables
from trellis_celery.stores.sqlalchemy.archive import SQLAlchemyArchive
from trellis_celery.stores.sqlalchemy.connect import engine_for
from trellis_celery.stores.sqlalchemy.processes import SQLAlchemyProcessRepository
from trellis_celery.stores.sqlalchemy.store import SQLAlchemyStore

#: The most that a statement may take which changes tables. Nobody waits for it.
_PATIENCE_MS = 600_000
#: The most that a call to the archive may take. Only the task that archives waits for it.
_ARCHIVE_MS = 5_000


def open_store(url: str, settings: Settings) -> SQLAlchemyStore:
    timeout_ms = settings.store_timeout_ms
    return SQLAlchemyStore(engine_for(url, timeout_ms=timeout_ms), timeout_ms=timeout_ms)


def open_processes(url: str, settings: Settings) -> SQLAlchemyProcessRepository:
    timeout_ms = settings.store_timeout_ms
    return SQLAlchemyProcessRepository(engine_for(url, timeout_ms=timeout_ms), timeout_ms=timeout_ms)


def open_archive(url: str, _settings: Settings) -> SQLAlchemyArchive:
    return SQLAlchemyArchive(engine_for(url, timeout_ms=_ARCHIVE_MS), timeout_ms=_ARCHIVE_MS)


class _Schema:
    def __init__(self, url: str) -> None:
        self._url = url

    def migrate(self, say: Callable[[str], None]) -> None:
        engine = engine_for(self._url, timeout_ms=_PATIENCE_MS)
        try:
            before = tables.current(engine)
            tables.migrate(engine)
            after = tables.current(engine)
        finally:
            engine.dispose()
        say(f"schema {after} is there" if before == after else f"schema {before or 'none'} → {after}")

    def text(self) -> str:
        return tables.sql(self._url)


def schema(url: str, _settings: Settings) -> _Schema:
    return _Schema(url)
