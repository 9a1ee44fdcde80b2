"""A user of the store who may not do one of the commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.redis_server import RedisServer, store_of
from trellis_celery import errors
from trellis_celery.doctor.asking import redis_rights
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.stores.redis import RedisStore
from trellis_celery.testing.contract import builders

pytestmark = pytest.mark.integration

TIMED = ProcessStep("step", timeout_ms=60_000, retries_permitted=2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("rights")) as server:
        yield server


@pytest.fixture
def admin(server: RedisServer) -> Iterator[Any]:
    with server.client() as client:
        client.flushall()
        yield client


def contents(admin: Any) -> dict[bytes, Any]:
    return {key: admin.dump(key) for key in admin.scan_iter("*")}


@pytest.mark.fault("S7")
@pytest.mark.parametrize("command", redis_rights.COMMANDS)
def test_s7_a_command_that_is_denied_leaves_nothing_half_written(server: RedisServer, admin: Any, command: str) -> None:
    rights = ["+" + name.lower().replace(" ", "|") for name in redis_rights.COMMANDS]
    denied = "-" + command.lower().replace(" ", "|")
    admin.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">secret", "~*", *rights, denied)
    url = server.url().replace("redis://", "redis://shop:secret@")
    with store_of(server.url()) as helper, store_of(url) as store:
        for act in ACTS:
            process = builders.created(helper, TIMED)
            builders.apply(helper, process, builders.queue(at_ms=helper.now_ms()), message=b"message")
            before = contents(admin)

            error = tried(act, store, process)

            assert error is None or contents(admin) == before, f"{act.__name__} was half done: {error}"


def tried(act: Callable[[RedisStore, Process], object], store: RedisStore, process: Process) -> Exception | None:
    """What was refused."""
    try:
        outcome = act(store, process)
    except errors.StoreError as error:
        return error
    return outcome if isinstance(outcome, Exception) else None


def create(store: RedisStore, process: Process) -> object:
    new = Process.start(
        tenant_id="tenant",
        process_type="Type",
        aggregate_type="Aggregate",
        aggregate_id=f"after {process.id}",
        steps=[TIMED],
        now_ms=process.started_at_ms,
    )
    return store.create(new, is_announced=True)


def begin(store: RedisStore, process: Process) -> object:
    rule = builders.start(at_ms=process.started_at_ms, is_leased=True)
    return store.commit([builders.change(process, rule, lease_ms=60_000, is_announced=True)])[0]


def end(store: RedisStore, process: Process) -> object:
    rule = builders.complete(at_ms=process.started_at_ms)
    return store.commit([builders.change(process, rule, is_announced=True)])[0]


def delete(store: RedisStore, process: Process) -> object:
    return store.delete(process.id)


ACTS = (create, begin, end, delete)
