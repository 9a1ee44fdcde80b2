"""`redis://` and its relatives."""

from __future__ import annotations

from trellis_celery.settings import Settings
from trellis_celery.stores.redis.connect import Client, connect
from trellis_celery.stores.redis.store import RedisStore
from trellis_celery.stores.redis.trackers import RedisStepTrackerRepository


def open_store(url: str, settings: Settings) -> RedisStore:
    return RedisStore(_client(url, settings), prefix=settings.key_prefix)


def open_trackers(url: str, settings: Settings) -> RedisStepTrackerRepository:
    return RedisStepTrackerRepository(_client(url, settings), prefix=settings.key_prefix)


def _client(url: str, settings: Settings) -> Client:
    return connect(url, timeout_ms=settings.store_timeout_ms, transport_options=settings.transport_options)
