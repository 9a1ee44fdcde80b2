"""A store of every form that there is, and what it makes its server do: to tell code from data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import redis
from sqlalchemy import Engine, event

from tests.support.databases import emptied
from trellis_celery.ports import ProcessStore
from trellis_celery.repositories import RepositoryStore
from trellis_celery.stores.dynamodb import DynamoDBStore
from trellis_celery.stores.dynamodb.connect import connect as connect_dynamodb
from trellis_celery.stores.dynamodb.tables import create_tables
from trellis_celery.stores.memory import InMemoryProcessRepository, InMemoryStepTrackerRepository, MemoryStore
from trellis_celery.stores.redis import RedisStore
from trellis_celery.stores.redis.trackers import RedisStepTrackerRepository
from trellis_celery.stores.sqlalchemy import SQLAlchemyProcessRepository, SQLAlchemyStore
from trellis_celery.stores.sqlalchemy.connect import engine_for
from trellis_celery.stores.sqlalchemy.schema import migrate

TIMEOUT_MS = 20_000


class Opened(NamedTuple):
    store: ProcessStore
    #: All that was sent and means something to the server: SQL, expressions, names of keys.
    code: Callable[[], str]


def in_memory(stack: ExitStack, request: pytest.FixtureRequest) -> Opened:
    return Opened(MemoryStore(), str)


def in_a_pair(stack: ExitStack, request: pytest.FixtureRequest) -> Opened:
    return Opened(RepositoryStore(InMemoryProcessRepository(), InMemoryStepTrackerRepository()), str)


def redis_at(stack: ExitStack, request: pytest.FixtureRequest) -> redis.Redis:
    client = redis.Redis.from_url(f"{request.getfixturevalue('valkey_server')}/0")
    client.flushall()
    return stack.enter_context(client)


def keys_of(client: redis.Redis) -> str:
    return "\n".join(key.decode() for key in client.scan_iter(count=1_000))


def in_redis(stack: ExitStack, request: pytest.FixtureRequest) -> Opened:
    client = redis_at(stack, request)
    return Opened(RedisStore(client), lambda: keys_of(client))


def database_at(stack: ExitStack, url: str) -> tuple[Engine, Callable[[], str]]:
    engine, said = engine_for(url, timeout_ms=TIMEOUT_MS), list[str]()
    stack.callback(engine.dispose)
    migrate(engine)
    emptied(engine)
    event.listen(engine, "before_cursor_execute", lambda *called: said.append(called[2]))
    return engine, lambda: "\n".join(said)


def in_sql(stack: ExitStack, url: str) -> Opened:
    engine, said = database_at(stack, url)
    return Opened(SQLAlchemyStore(engine, timeout_ms=TIMEOUT_MS), said)


def in_sqlite(stack: ExitStack, request: pytest.FixtureRequest) -> Opened:
    return in_sql(stack, f"sqlite:///{request.getfixturevalue('tmp_path_factory').mktemp('ids')}/trellis.db")


def in_postgresql(stack: ExitStack, request: pytest.FixtureRequest) -> Opened:
    return in_sql(stack, request.getfixturevalue("postgresql_url"))


def in_mariadb(stack: ExitStack, request: pytest.FixtureRequest) -> Opened:
    return in_sql(stack, request.getfixturevalue("mariadb_url"))


def in_sql_and_redis(stack: ExitStack, request: pytest.FixtureRequest) -> Opened:
    engine, said = database_at(stack, "sqlite://")
    client = redis_at(stack, request)
    processes = SQLAlchemyProcessRepository(engine, timeout_ms=TIMEOUT_MS)
    return Opened(RepositoryStore(processes, RedisStepTrackerRepository(client)), lambda: said() + keys_of(client))


def in_dynamodb(stack: ExitStack, request: pytest.FixtureRequest) -> Opened:
    url = f"dynamodb:///ids-{uuid4().hex}?endpoint={request.getfixturevalue('dynamodb_endpoint')}"
    client, table = connect_dynamodb(url, timeout_ms=TIMEOUT_MS)
    stack.enter_context(closing(client))
    create_tables(client, table)
    stack.callback(lambda: client.delete_table(TableName=table))
    said: list[str] = []
    client.meta.events.register("before-parameter-build.dynamodb", lambda params, **_: said.extend(expressions(params)))
    return Opened(DynamoDBStore(client, table=table, timeout_ms=TIMEOUT_MS), lambda: "\n".join(said))


def expressions(parameters: Any) -> Iterator[str]:
    """What DynamoDB reads as code, in whatever depth: expressions and the names of attributes."""
    if isinstance(parameters, dict):
        for name, value in parameters.items():
            if name.endswith("Expression") or name in ("ExpressionAttributeNames", "TableName", "IndexName"):
                yield repr(value)
            else:
                yield from expressions(value)
    elif isinstance(parameters, list):
        for value in parameters:
            yield from expressions(value)


FORMS = [in_memory, in_a_pair, in_redis, in_sqlite, in_postgresql, in_mariadb, in_sql_and_redis, in_dynamodb]
