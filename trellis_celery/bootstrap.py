"""The only wiring: from settings to a store and services."""

from __future__ import annotations

from trellis_celery import errors
from trellis_celery.ports import ProcessStore
from trellis_celery.settings import Settings
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.stores.redis import RedisStore
from trellis_celery.stores.redis.connect import SCHEMES, connect


def open_store(settings: Settings) -> ProcessStore:
    """The store that `trellis_url` names. Nothing is sent yet. Raises ConfigurationError."""
    scheme, separator, _ = settings.url.partition("://")
    if not settings.url:
        raise errors.ConfigurationError(
            'trellis_url is not set: write app.conf.trellis_url = "redis://localhost:6379/1" '
            "(or CELERY_TRELLIS_URL in Django settings)"
        )
    if scheme == "memory":
        return MemoryStore()
    if not separator or scheme not in SCHEMES:
        raise errors.ConfigurationError(
            f"trellis_url must start with {', '.join(f'{one}://' for one in (*SCHEMES, 'memory'))}; "
            f"it starts with {scheme[:40]!r}"
        )
    client = connect(settings.url, timeout_ms=settings.store_timeout_ms, transport_options=settings.transport_options)
    return RedisStore(client, prefix=settings.key_prefix)
