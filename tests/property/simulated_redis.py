"""The Redis store with the time of a test: what the server and its clock say is what a key says."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import redis

from trellis_celery.stores.redis import RedisStore
from trellis_celery.stores.redis.steady import Steady
from trellis_celery.stores.redis.store import _script
from trellis_celery.stores.server_clock import ServerClock
from trellis_celery.testing import ManualClock

_TIME = "redis.call('TIME')"


class _SimulatedServerClock(ServerClock):
    """Always right, so the server is never asked."""

    is_set = True
    age_s = 0.0

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._manual = clock

    def now_ms(self) -> int:
        return self._manual.now_ms()

    def correct(self, server_ms: float, *, called_at_s: float) -> None:
        assert int(server_ms) == self.now_ms()


class SimulatedRedisStore(RedisStore):
    """A `RedisStore` under a prefix of its own. Everything but the time is the real thing."""

    def __init__(self, client: redis.Redis, clock: ManualClock) -> None:
        self.prefix = f"property-{uuid4().hex}"
        super().__init__(client, prefix=self.prefix)
        self._manual = clock
        self._told_ms = 0
        self._clock: Any = _SimulatedServerClock(clock)
        self._commit = self._telling_time(client, "commit.lua")
        self._create = self._telling_time(client, "create.lua")
        self._outbox._mark = self._telling_time(client, "relayed.lua")

    def _ask_time(self) -> None:
        """The clock is always right."""

    def _telling_time(self, client: redis.Redis, name: str) -> Any:
        time_key = f"{self.prefix}:time"
        parts = f"{{redis.call('HGET', '{time_key}', 's'), redis.call('HGET', '{time_key}', 'us')}}"
        source = _script(name)
        assert source.count(_TIME) == 1
        script = client.register_script(source.replace(_TIME, parts))

        def call(*args: Any, **kwargs: Any) -> Any:
            now_ms = self._manual.now_ms()
            if now_ms != self._told_ms:
                client.hset(time_key, mapping={"s": now_ms // 1000, "us": now_ms % 1000 * 1000})
                self._told_ms = now_ms
            return script(*args, **kwargs)

        return Steady(call)

    def forget(self) -> None:
        """Remove everything under the prefix."""
        keys = list(self._client.scan_iter(f"{self.prefix}:*", count=1000))
        if keys:
            self._client.delete(*keys)
