"""A broker in Redis is killed, full, slow and out of reach, and brings messages twice and too late."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from kombu.exceptions import OperationalError

from tests.support.breaking import APP, FAR, STORE, Sent, send, start, wait_until_completed
from tests.support.cluster import BROKER_URL, STORE_DB, Cluster
from tests.support.proxy import Loss, Proxy
from tests.support.redis_server import DURABLE, RedisServer
from tests.support.waiting import eventually
from trellis_celery import EventKind
from trellis_celery.doctor.asking import broker as asking_broker

pytestmark = pytest.mark.integration

#: What a busy machine may add to a time limit.
SLACK_MS = 1_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("broker"), *DURABLE) as server:
        yield server


@pytest.fixture(scope="module")
def to_broker(broker: RedisServer) -> Iterator[Proxy]:
    with Proxy(broker.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def to_store(valkey_server: str) -> Iterator[Proxy]:
    with Proxy(urlsplit(valkey_server).port or 0) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def cluster(
    start_cluster: Callable[..., Cluster], broker: RedisServer, to_broker: Proxy, to_store: Proxy
) -> Iterator[Cluster]:
    """Two workers and a beat; between one of the workers and its servers there are proxies."""
    cluster = start_cluster(APP, broker_url=broker.url())
    behind = {
        BROKER_URL: f"redis://127.0.0.1:{to_broker.port}/0",
        STORE: f"redis://127.0.0.1:{to_store.port}/{STORE_DB}",
        FAR: "1",
    }
    near = cluster.worker("-B", "-s", "schedule", name="near", concurrency=1, wait=False, is_supervised=True)
    far = cluster.worker("-Q", "far", name="far", concurrency=1, env=behind, wait=False, is_supervised=True)
    for worker in (near, far):
        cluster.wait_for_worker(worker)
    yield cluster
    cluster.close()


@pytest.mark.fault("B1")
@pytest.mark.parametrize(
    ("options", "process_type"), [(DURABLE, "Letter"), ((), "Parcel")], ids=["with a file", "without"]
)
def test_b1_what_waited_in_a_broker_that_was_killed_is_done_by_its_file_or_by_copies(
    cluster: Cluster, broker: RedisServer, options: tuple[str, ...], process_type: str
) -> None:
    broker.kill()
    broker.options = options
    broker.start()
    sent = [send(cluster, 1, process_type=process_type).wait_until_running()]
    sent += [send(cluster, process_type=process_type) for _ in range(5)]

    broker.kill()
    broker.start()

    wait_until_completed(*sent)
    assert {(one.step.attempt, one.step.retry_count, one.runs()) for one in sent} == {(1, 0, 1)}
    resent = sum(one.count(EventKind.STEP_RESENT) for one in sent)
    assert resent == 0 if options else resent >= 4


@pytest.mark.fault("B2")
def test_b2_what_waited_in_a_broker_that_was_emptied_under_its_workers_is_sent_again(
    cluster: Cluster, broker: RedisServer
) -> None:
    sent = [send(cluster, 1).wait_until_running(), *(send(cluster) for _ in range(5))]

    with broker.client() as client:
        client.flushall()

    wait_until_completed(*sent)
    assert {(one.step.attempt, one.step.retry_count, one.runs()) for one in sent} == {(1, 0, 1)}
    assert sum(one.count(EventKind.STEP_RESENT) for one in sent) >= 4


@pytest.mark.fault("B9")
def test_b9_a_worker_that_does_not_hear_the_broker_for_a_while_completes_its_step_once(
    cluster: Cluster, to_broker: Proxy
) -> None:
    sent = send(cluster, 4, process_type="Letter", task="carry_late", queue="far").wait_until_running()
    to_broker.is_held = True
    cluster.consume("far", by="near")  # which is brought the message when its visibility timeout is over
    eventually(lambda: sent.count(EventKind.RUN_REFUSED) >= 1, what="a copy refused")
    cluster.app.control.cancel_consumer("far", destination=["near@test"], reply=True, timeout=5)
    sent.wait_until_ended()

    to_broker.is_held = False

    wait_until_completed(sent)
    wait_until_completed(send(cluster, process_type="Letter", queue="far"))  # it goes on taking messages
    assert (sent.step.attempt, sent.runs(), sent.count(EventKind.STEP_COMPLETED)) == (1, 1, 1)


@pytest.mark.fault("B10")
def test_b10_no_step_is_taken_for_lost_though_everything_takes_half_a_second_longer(
    cluster: Cluster, to_broker: Proxy, to_store: Proxy
) -> None:
    wait_until_completed(send(cluster, process_type="Letter", queue="far"))  # everything is connected
    to_broker.delay_s = to_store.delay_s = 0.25  # there, and back
    try:
        sent = send(cluster, 8, process_type="Letter", queue="far")
        wait_until_completed(sent)
    finally:
        to_broker.delay_s = to_store.delay_s = 0

    assert (sent.step.attempt, sent.runs(), sent.count(EventKind.RUN_LOST)) == (1, 1, 0)


@pytest.mark.fault("B13")
def test_b13_a_message_that_celery_sends_twice_because_a_reply_was_lost_runs_once(
    cluster: Cluster, to_broker: Proxy, broker: RedisServer
) -> None:
    process = start(cluster, "Letter")
    with cluster.app.connection_for_write(f"redis://127.0.0.1:{to_broker.port}/0") as connection:
        cluster.module.untracked.apply_async(queue="twice", connection=connection)
        with broker.client() as client:
            assert client.lpop("twice") is not None
            to_broker.lose(Loss.RESET)
            with process:
                task = cluster.module.carry.apply_async(queue="twice", connection=connection)
            assert client.llen("twice") == 2
    sent = Sent(cluster, process, task.id or "")

    cluster.consume("twice", by="near")

    wait_until_completed(sent)
    eventually(lambda: sent.count(EventKind.RUN_REFUSED) == 1, what="the copy refused")
    assert sent.runs() == 1


@pytest.mark.fault("B18")
def test_b18_a_message_that_arrives_after_its_step_has_ended_runs_no_body(
    cluster: Cluster, broker: RedisServer
) -> None:
    sent = send(cluster, process_type="Letter", queue="late")
    sent.process.complete_step("carry", by="ann")

    cluster.consume("late", by="near")

    eventually(lambda: sent.count(EventKind.RUN_REFUSED) == 1, what="the message refused")
    assert sent.runs() == 0
    assert sent.count(EventKind.STEP_COMPLETED) == 1


@pytest.mark.fault("B3")
def test_b3_a_broker_without_memory_tells_the_sender_who_sends_again_when_there_is_some(
    cluster: Cluster, broker: RedisServer
) -> None:
    process = start(cluster)
    with broker.client() as client:
        client.config_set("maxmemory", 1)
        try:
            with process, pytest.raises(OperationalError, match="maxmemory"):
                cluster.module.carry.delay()
            step = process.refresh().steps["carry"]
            assert (step.state, step.task_id, step.deadline_ms) == ("pending", None, None)
            assert "maxmemory" in (step.last_error or "")
        finally:
            client.config_set("maxmemory", 0)

    with process:
        again = cluster.module.carry.delay()
    sent = Sent(cluster, process, again.id)
    wait_until_completed(sent)
    assert (sent.step.attempt, sent.count(EventKind.STEP_WITHDRAWN), sent.runs()) == (1, 1, 1)


@pytest.mark.fault("B19")
def test_b19_what_a_killed_worker_had_fetched_is_back_when_the_doctor_says(
    cluster: Cluster, broker: RedisServer
) -> None:
    victim = cluster.worker("-Q", "victim", name="victim", concurrency=1)
    send(cluster, 30, process_type="Letter", queue="victim").wait_until_running()
    fetched = send(cluster, process_type="Letter", queue="victim")
    with broker.client() as client:
        eventually(lambda: client.hlen("unacked") == 1 and not client.exists("victim"), what="a second message fetched")
    told = asking_broker.ask(cluster.trellis, ())

    victim.kill()
    killed_s = time.monotonic()
    cluster.consume("victim", by="near")

    fetched.wait_until_running()
    took_ms = (time.monotonic() - killed_s) * 1000
    assert 500 < took_ms < told.visibility_timeout_ms + told.restore_period_ms + SLACK_MS
    wait_until_completed(fetched)
