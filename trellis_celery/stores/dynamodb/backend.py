"""`dynamodb://`."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing

from trellis_celery.settings import Settings
from trellis_celery.stores.dynamodb import tables
from trellis_celery.stores.dynamodb.connect import connect
from trellis_celery.stores.dynamodb.repositories import DynamoDBProcessRepository, DynamoDBStepTrackerRepository
from trellis_celery.stores.dynamodb.store import DynamoDBStore

#: The most that a call may take while a table is made.
_PATIENCE_MS = 20_000


def open_store(url: str, settings: Settings) -> DynamoDBStore:
    client, table = connect(url, timeout_ms=settings.store_timeout_ms)
    return DynamoDBStore(client, table=table, timeout_ms=settings.store_timeout_ms)


def open_processes(url: str, settings: Settings) -> DynamoDBProcessRepository:
    client, table = connect(url, timeout_ms=settings.store_timeout_ms)
    return DynamoDBProcessRepository(client, table=table, timeout_ms=settings.store_timeout_ms)


def open_trackers(url: str, settings: Settings) -> DynamoDBStepTrackerRepository:
    client, table = connect(url, timeout_ms=settings.store_timeout_ms)
    return DynamoDBStepTrackerRepository(client, table=table, timeout_ms=settings.store_timeout_ms)


class _Schema:
    def __init__(self, url: str) -> None:
        self._url = url

    def migrate(self, say: Callable[[str], None]) -> None:
        client, table = connect(self._url, timeout_ms=_PATIENCE_MS)
        with closing(client):
            tables.create_tables(client, table, progress=say)

    def text(self) -> str:
        client, table = connect(self._url, timeout_ms=_PATIENCE_MS)
        client.close()
        return json.dumps(tables.describe(table), indent=2)


def schema(url: str, _settings: Settings) -> _Schema:
    return _Schema(url)
