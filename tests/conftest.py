"""Servers for the tests that need real ones, and the output of what a failed test had started."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, settings

from tests.support import databases, services
from tests.support.cluster import Cluster

pytest_plugins = ["tests.faults.plugin"]
pytest.register_assert_rewrite("trellis_celery.testing.contract")

# A machine that is busy is no failure of what is tested.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server without a database number: an embedded Valkey, or the one that the environment names."""
    given = os.environ.get(services.REDIS_URL)
    directory = tmp_path_factory.mktemp("valkey")
    with services.given_redis(given) if given else services.valkey(directory) as url:
        yield url


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a `redis-server` without a database number."""
    with services.redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis_url(valkey_server: str) -> str:
    """Database 0 of an empty server."""
    return _emptied(valkey_server)


@pytest.fixture(params=["valkey", "redis"])
def each_redis_url(request: pytest.FixtureRequest) -> str:
    """Database 0 of an empty server: the test runs on Valkey and on Redis."""
    return _emptied(request.getfixturevalue(f"{request.param}_server"))


def _emptied(server_url: str) -> str:
    with redis.Redis.from_url(server_url) as client:
        client.flushall()
    return f"{server_url}/0"


@pytest.fixture(scope="session")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A RabbitMQ node of our own."""
    with services.rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database of a PostgreSQL server of our own. What is in it is the tests' before."""
    with databases.postgresql(tmp_path_factory.mktemp("postgresql")) as server:
        yield server.url


@pytest.fixture(scope="session")
def mariadb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database of a MariaDB server of our own. What is in it is the tests' before."""
    with databases.mariadb(tmp_path_factory.mktemp("mariadb")) as server:
        yield server.url


@pytest.fixture(scope="session")
def dynamodb_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A DynamoDB of our own, without tables."""
    with services.dynamodb(tmp_path_factory.mktemp("dynamodb")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def dynamodb_client(dynamodb_endpoint: str) -> Iterator[Any]:
    """One client for all tests: it takes a second to make."""
    from trellis_celery.stores.dynamodb.connect import connect

    client, _ = connect(f"dynamodb:///any?endpoint={dynamodb_endpoint}", timeout_ms=60_000)
    with closing(client):
        yield client


@pytest.fixture
def dynamodb_table(dynamodb_client: Any) -> Iterator[str]:
    """The name of an empty table of the test's own."""
    from trellis_celery.stores.dynamodb.tables import create_tables

    table = f"test-{uuid4().hex}"
    create_tables(dynamodb_client, table)
    yield table
    dynamodb_client.delete_table(TableName=table)


@pytest.fixture(scope="module")
def start_cluster(
    valkey_server: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Cluster]]:
    """Make a `Cluster` for an app module; it is closed at the end of the test module, or sooner by the test."""
    with ExitStack() as stack:

        def start(app_module: str, **options: Any) -> Cluster:
            directory: Path = tmp_path_factory.mktemp(app_module.rpartition(".")[2])
            cluster = Cluster(app_module, redis_url=valkey_server, directory=directory, **options)
            stack.callback(cluster.close)
            return cluster

        yield start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Cluster):
                report.sections.extend((f"output of {name}", text) for name, text in value.report())
    return report
