"""The store is away, empty, slow or full while tasks are sent and run."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tests.support import logged
from tests.support.apps.making import WORKER_LOST_MS
from tests.support.breaking import APP, STORE, send, start, wait_until_completed
from tests.support.cluster import Cluster
from tests.support.programs import Program
from tests.support.redis_server import DURABLE, RedisServer
from tests.support.waiting import eventually, stays
from trellis_celery import EventKind, errors

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("store"), *DURABLE) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster], store: RedisServer) -> Iterator[Cluster]:
    """With a store of its own, apart from the broker."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(STORE, store.url())
        cluster = start_cluster(APP, env={STORE: store.url()})
        cluster.worker("-B", "-s", "schedule")
        yield cluster
        cluster.close()


def worker_of(cluster: Cluster) -> Program:
    return cluster.programs[0]


@pytest.mark.fault("S1")
def test_s1_a_task_that_is_sent_while_the_store_is_down_goes_out_and_is_counted(
    cluster: Cluster, store: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    process = start(cluster)
    counted = cluster.trellis.untracked.get("publish", 0)
    store.kill()
    try:
        with caplog.at_level(logging.ERROR), process:
            sent = cluster.module.carry.delay()

        assert sent.get(timeout=20) == "carried"
    finally:
        store.start()
    assert cluster.trellis.untracked["publish"] == counted + 1
    assert "not_tracked" in logged.events(caplog)


@pytest.mark.fault("S1")
def test_s1_what_was_sent_while_the_store_was_down_is_sent_again_when_the_broker_loses_it(
    cluster: Cluster, store: RedisServer
) -> None:
    process = start(cluster)
    store.kill()
    try:
        with process:
            cluster.module.carry.apply_async(queue="forgetful")
    finally:
        store.start()
    with cluster.broker() as broker:
        eventually(lambda: broker.delete("forgetful"), what="the message lost")

        eventually(lambda: broker.llen("forgetful"), what="the message sent again")

    cluster.consume("forgetful", by="worker")
    eventually(lambda: process.refresh().state == "completed", what="completed")


@pytest.mark.fault("S1")
def test_s1_another_call_of_a_task_that_is_sent_while_the_store_is_down_runs_as_well(
    cluster: Cluster, store: RedisServer
) -> None:
    process = start(cluster)
    seen_before = cluster.trellis.get_process(process.id)
    first, other, again = uuid4().hex, uuid4().hex, uuid4().hex
    with process:
        cluster.module.carry.apply_async((0,), queue="others", task_id=first)
    store.kill()
    try:
        with seen_before:
            cluster.module.carry.apply_async((0.1,), queue="others", task_id=other)
            cluster.module.carry.apply_async((0,), queue="others", task_id=again)
    finally:
        store.start()

    cluster.consume("others", by="worker")

    cluster.diary.wait_for(f"ended {other}")
    eventually(lambda: process.refresh().state == "completed", what="completed")
    assert stays(lambda: not cluster.diary.read(f"ran {again}"), for_s=0.5)
    assert process.steps["carry"].task_id == first


@pytest.mark.fault("S1")
def test_s1_where_tracking_is_a_must_the_caller_is_told_and_nothing_is_sent(
    cluster: Cluster, store: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(cluster)
    strict = dataclasses.replace(cluster.trellis.settings, strict=True)
    monkeypatch.setitem(vars(cluster.trellis), "settings", strict)
    store.kill()
    try:
        with pytest.raises(errors.StoreUnavailable), process:
            cluster.module.carry.apply_async(queue="nobody")
        with pytest.raises(errors.StoreUnavailable):
            start(cluster)
    finally:
        store.start()

    with cluster.broker() as broker:
        assert broker.llen("nobody") == 0
    assert process.refresh().steps["carry"].state == "pending"


@pytest.mark.fault("S2")
def test_s2_a_task_that_ends_while_the_store_is_down_is_not_failed_and_its_outcome_is_written_later(
    cluster: Cluster, store: RedisServer
) -> None:
    sent = send(cluster, 0.5).wait_until_running()
    store.kill()
    try:
        assert cluster.app.AsyncResult(sent.task_id).get(timeout=20) == "carried"
    finally:
        store.start()

    wait_until_completed(sent)
    assert (sent.step.attempt, sent.runs()) == (1, 1)


@pytest.mark.fault("S2")
def test_s2_a_task_that_starts_while_the_store_is_down_is_not_failed_and_completes_its_step(
    cluster: Cluster, store: RedisServer
) -> None:
    sent = send(cluster, 1, process_type="Letter", queue="later")
    store.kill()
    try:
        cluster.consume("later", by="worker")
        assert cluster.app.AsyncResult(sent.task_id).get(timeout=20) == "carried"
    finally:
        store.start()

    wait_until_completed(sent)
    assert sent.runs() == 1


@pytest.mark.fault("S3")
def test_s3_a_store_that_comes_back_empty_fails_no_task_and_says_so(cluster: Cluster, store: RedisServer) -> None:
    worker = worker_of(cluster)
    sent = send(cluster, 1).wait_until_running()
    said_before = len(worker.output)
    with store.client() as client:
        client.flushall()

    assert cluster.app.AsyncResult(sent.task_id).get(timeout=20) == "carried"

    eventually(lambda: "not_tracked" in worker.output[said_before:], what="told in the worker's log")

    def is_counted() -> bool:
        """What a child has counted the store is told with its next write."""
        wait_until_completed(send(cluster))
        return bool((cluster.trellis.store.stats().untracked or {}).get("success"))

    eventually(is_counted, what="counted in the store")


def _leases_count(cluster: Cluster) -> bool:
    check = cluster.trellis.store.last_check()
    return check.leases_count_from_ms <= check.at_ms


@pytest.mark.fault("S10")
def test_s10_no_worker_is_taken_for_lost_because_the_store_stood_still_for_longer_than_a_lease(
    cluster: Cluster, store: RedisServer
) -> None:
    eventually(lambda: _leases_count(cluster), what="the workers had their time after the last standstill")
    sent = [send(cluster, 4, process_type="Letter").wait_until_running() for _ in range(2)]
    checked_ms = cluster.trellis.store.last_check().at_ms
    store.freeze()
    froze_s = time.monotonic()
    try:
        eventually(lambda: time.monotonic() - froze_s > 2 * WORKER_LOST_MS / 1000, what="two leases long")
    finally:
        store.thaw()

    wait_until_completed(*sent)
    assert cluster.trellis.store.last_check().at_ms > checked_ms + 2 * WORKER_LOST_MS
    assert {(one.step.attempt, one.runs(), one.count(EventKind.RUN_LOST)) for one in sent} == {(1, 1, 0)}
