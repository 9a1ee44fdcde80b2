"""Processes in Redis ≥ 6.2 or Valkey: one server, Sentinel or Cluster."""

from trellis_celery.stores.redis.store import RedisStore
from trellis_celery.stores.redis.trackers import RedisStepTrackerRepository

__all__ = ["RedisStepTrackerRepository", "RedisStore"]
