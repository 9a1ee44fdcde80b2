"""Processes in Redis ≥ 6.2 or Valkey: one server, Sentinel or Cluster."""

from trellis_celery.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
