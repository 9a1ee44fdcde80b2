"""The store contract for a user of Redis who has no other rights than those that the documentation lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from trellis_celery.repositories import RepositoryStore
from trellis_celery.stores.memory import InMemoryProcessRepository
from trellis_celery.stores.redis import RedisStore
from trellis_celery.stores.redis.connect import connect
from trellis_celery.stores.redis.trackers import RedisStepTrackerRepository
from trellis_celery.testing.contract.clocks import ClockPromises
from trellis_celery.testing.contract.ends import EndPromises
from trellis_celery.testing.contract.finished import FinishedPromises
from trellis_celery.testing.contract.incidents import IncidentPromises
from trellis_celery.testing.contract.lists import ListPromises
from trellis_celery.testing.contract.outbox import OutboxPromises
from trellis_celery.testing.contract.processes import ProcessPromises
from trellis_celery.testing.contract.stats import StatsPromises, TotalPromises
from trellis_celery.testing.contract.steps import StepPromises

PAGE = Path(__file__).parents[2] / "docs/reference/doctor.md"


@pytest.fixture(scope="module")
def limited_url(valkey_server: str) -> Iterator[str]:
    """Database 1, as the user of the page."""
    (rights,) = re.findall(r"```text\nACL SETUSER shop (.*?)```", PAGE.read_text(), re.DOTALL)
    with redis.Redis.from_url(valkey_server) as admin:
        admin.flushall()
        admin.execute_command("ACL", "SETUSER", "shop", "reset", *rights.split())
        yield valkey_server.replace("redis://", "redis://shop:password@") + "/1"
        admin.execute_command("ACL", "DELUSER", "shop")


class _AllCommands(
    ProcessPromises,
    StepPromises,
    ClockPromises,
    ListPromises,
    FinishedPromises,
    IncidentPromises,
    EndPromises,
    StatsPromises,
):
    """Promises that make a store use every command it has; races and sizes need no further rights."""


class TestStoreOfLimitedUser(_AllCommands, TotalPromises, OutboxPromises):
    @pytest.fixture
    def store(self, limited_url: str, valkey_server: str) -> Iterator[RedisStore]:
        with redis.Redis.from_url(valkey_server) as admin:
            admin.flushall()
        client = connect(limited_url, timeout_ms=10_000)
        yield RedisStore(client)
        client.close()


class TestTrackersOfLimitedUser(_AllCommands):
    @pytest.fixture
    def store(self, limited_url: str, valkey_server: str) -> Iterator[RepositoryStore]:
        with redis.Redis.from_url(valkey_server) as admin:
            admin.flushall()
        client = connect(limited_url, timeout_ms=10_000)
        yield RepositoryStore(InMemoryProcessRepository(), RedisStepTrackerRepository(client))
        client.close()
