"""The store contract over real servers, in each form in which people run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support import redis_forms
from tests.support.redis_forms import Place
from trellis_celery.stores.redis import RedisStore
from trellis_celery.stores.redis.connect import connect
from trellis_celery.testing import StoreContract


class _OverRedis(StoreContract):
    @pytest.fixture
    def store(self, place: Place) -> Iterator[RedisStore]:
        client = connect(place.url, timeout_ms=10_000, transport_options=place.transport_options)
        yield RedisStore(client, prefix=f"test-{uuid4().hex}")
        client.close()


class TestValkey(_OverRedis):
    @pytest.fixture
    def place(self, valkey_server: str) -> Place:
        return Place(f"{valkey_server}/0")


class TestRedisServer(_OverRedis):
    @pytest.fixture
    def place(self, redis_server: str) -> Place:
        return Place(f"{redis_server}/1")


class _OverOwnServers(_OverRedis):
    form: Callable[[Path], AbstractContextManager[Place]]

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
        with cls.form(tmp_path_factory.mktemp("redis")) as place:
            yield place


class TestUnixSocket(_OverOwnServers):
    form = redis_forms.over_unix_socket


class TestTls(_OverOwnServers):
    form = redis_forms.over_tls


class TestSentinel(_OverOwnServers):
    form = redis_forms.with_sentinel


class TestCluster(_OverOwnServers):
    form = redis_forms.as_cluster
