"""The store contract over real servers, in each form in which people run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support import redis_forms
from tests.support.redis_forms import Place
from trellis_celery import errors
from trellis_celery.stores.redis import RedisStore
from trellis_celery.stores.redis.connect import Client, connect
from trellis_celery.testing import CountingStoreContract


def _connect(place: Place) -> Client:
    return connect(place.url, timeout_ms=10_000, transport_options=place.transport_options)


def _open(place: Place, prefix: str) -> RedisStore:
    return RedisStore(_connect(place), prefix=prefix)


class _OverRedis(CountingStoreContract):
    @pytest.fixture
    def prefix(self) -> str:
        return f"test-{uuid4().hex}"

    @pytest.fixture
    def store(self, place: Place, prefix: str) -> Iterator[RedisStore]:
        client = _connect(place)
        yield RedisStore(client, prefix=prefix)
        client.close()

    @pytest.fixture
    def open_again(self, place: Place, prefix: str) -> Callable[[], RedisStore]:
        return partial(_open, place, prefix)


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


class _ToTheSameServer(_OverOwnServers):
    """Only the way there is another: what is slow, and a matter of keys alone, is shown over the plain one."""

    test_names_that_mean_something_to_a_database_are_only_names = None
    test_a_process_may_have_ten_thousand_steps = None
    test_thousands_of_finished_processes_are_read_page_by_page_while_they_change = None
    test_thousands_of_processes_are_listed_page_by_page_while_they_change = None
    crashes = 4


class TestUnixSocket(_ToTheSameServer):
    form = redis_forms.over_unix_socket


class TestTls(_ToTheSameServer):
    form = redis_forms.over_tls


class TestSentinel(_ToTheSameServer):
    form = redis_forms.with_sentinel


class TestCluster(_OverOwnServers):
    crashes = 10
    form = redis_forms.as_cluster

    def test_a_server_that_is_in_no_cluster_is_told_from_one_that_is(self, valkey_server: str) -> None:
        store = _open(Place(valkey_server.replace("redis://", "redis+cluster://")), "test")

        with pytest.raises(errors.StoreUnavailable, match=r"[Cc]luster"):
            store.now_ms()
