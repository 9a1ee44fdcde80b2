"""The store's server stands still for seconds, and is replaced by another release."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import services
from tests.support.redis_server import DURABLE, RedisServer, store_of
from tests.support.waiting import eventually
from trellis_celery import EventKind, errors
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Committed, LastCheck
from trellis_celery.stores.redis import RedisStore
from trellis_celery.testing.contract import builders
from trellis_celery.testing.contract.audit import assert_consistent

pytestmark = pytest.mark.integration

TIMEOUT_MS = 600
#: What a busy machine may add to a time limit.
SLACK_MS = 500
TIMED = ProcessStep("step", timeout_ms=60_000, retries_permitted=2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, *DURABLE, "--enable-debug-command", "yes") as server:
        yield server


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    with store_of(server.url(), timeout_ms=TIMEOUT_MS) as store:
        yield store


@pytest.mark.fault("S6")
def test_s6_a_store_goes_on_over_a_server_of_another_release_that_takes_the_place_of_its_own(
    server: RedisServer, store: RedisStore
) -> None:
    processes = [builders.created(store, TIMED) for _ in range(20)]
    for process in processes:
        builders.apply(store, process, builders.queue(at_ms=store.now_ms()), message=b"message")
        builders.apply(store, process, builders.start(at_ms=store.now_ms()))
    before = [store.load(process.id) for process in processes]

    server.kill()
    server.binary = services.valkey_binary()
    server.start()

    assert [store.load(process.id) for process in processes] == before
    for process in processes[:10]:
        builders.apply(store, process, builders.complete(at_ms=store.now_ms()))
    builders.created(store)
    assert_consistent(store, [each.id for each in store.list_processes(limit=100)])


def seconds_of(act: Callable[[], object]) -> float:
    began_s = time.monotonic()
    act()
    return time.monotonic() - began_s


@pytest.mark.fault("S10")
def test_s10_while_the_server_stands_still_calls_end_in_time_and_count_once_when_they_are_repeated(
    server: RedisServer, store: RedisStore
) -> None:
    process = builders.created(store, TIMED)
    new = builders.new_process(store, TIMED)
    change = builders.change(process, builders.start(at_ms=store.now_ms(), is_leased=True), lease_ms=60_000)
    with ThreadPoolExecutor(1) as pool, server.client() as other:
        sleeping = pool.submit(other.execute_command, "DEBUG", "SLEEP", "3")
        is_asleep = lambda: not server.is_serving(within_s=0.1)  # noqa: E731
        eventually(is_asleep, what="the server standing still")

        def refused(act: Callable[[], object]) -> float:
            def call() -> None:
                with pytest.raises(errors.StoreUnavailable):
                    act()

            return seconds_of(call)

        outcomes: list[object] = []
        took_s = [
            refused(lambda: store.create(new)),
            refused(lambda: store.note_check(LastCheck(1, "us", 1))),
            seconds_of(lambda: outcomes.extend(store.commit([change]))),
        ]
        assert not sleeping.done(), "the server woke up too early for the test"
        assert [type(outcome) for outcome in outcomes] == [errors.StoreUnavailable]
        assert max(took_s) * 1000 < TIMEOUT_MS + SLACK_MS
        sleeping.result()

    assert store.create(new) == new.id
    (outcome,) = store.commit([change])
    assert isinstance(outcome, Committed)
    assert [event.kind for event in store.history(process.id)].count(EventKind.STEP_STARTED) == 1
    assert_consistent(store, [process.id, new.id])
