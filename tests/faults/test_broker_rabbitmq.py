"""RabbitMQ is killed while it is sent to, drops connections and queues, takes nothing, and loses patience."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from kombu import pools
from kombu.exceptions import OperationalError

from tests.support.breaking import APP, Sent, send, start, wait_until_completed
from tests.support.cluster import Cluster
from tests.support.programs import Program
from tests.support.services import RabbitMQNode
from tests.support.waiting import eventually
from trellis_celery import EventKind
from trellis_celery.domain.step import DeadlineKind

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def no_connections_left() -> Iterator[None]:
    """py-amqp does not close those that the broker has broken."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQNode]:
    with closing(RabbitMQNode(tmp_path_factory.mktemp("rabbitmq"))) as node:
        node.start()
        yield node


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster], node: RabbitMQNode) -> Iterator[Cluster]:
    cluster = start_cluster(APP, broker_url=node.url)
    yield cluster
    cluster.close()
    pools.reset()


@pytest.fixture(scope="module")
def worker(cluster: Cluster) -> Program:
    """It is started when it is needed first: after the node was killed."""
    return cluster.worker("-B", "-s", "schedule", "-Q", "breaking,doomed", name="worker")


@pytest.mark.fault("B14")
def test_b14_steps_that_are_sent_while_rabbitmq_is_killed_are_all_done(
    cluster: Cluster, node: RabbitMQNode, request: pytest.FixtureRequest
) -> None:
    sent: list[Sent] = []
    is_down = threading.Event()

    def send_until_it_fails() -> None:
        while not is_down.is_set():
            process = start(cluster)
            try:
                with process:
                    task = cluster.module.carry.apply_async(queue="doomed", retry=False)
                sent.append(Sent(cluster, process, task.id or ""))
            except (OperationalError, OSError):
                is_down.set()

    sender = threading.Thread(target=send_until_it_fails, daemon=True)
    sender.start()
    eventually(lambda: len(sent) > 100, what="many sent")
    node.kill()
    is_down.set()
    sender.join(30)
    node.start()

    request.getfixturevalue("worker")

    wait_until_completed(*sent, within_s=60)
    assert any(one.count(EventKind.STEP_RESENT) for one in sent), "RabbitMQ has lost nothing"
    assert {(one.step.attempt, one.runs()) for one in sent} == {(1, 1)}


@pytest.mark.fault("B15")
def test_b15_a_step_outlives_the_connections_that_rabbitmq_drops(
    cluster: Cluster, node: RabbitMQNode, worker: Program
) -> None:
    sent = [send(cluster, 1).wait_until_running(), *(send(cluster) for _ in range(5))]

    node.control("close_all_connections", "maintenance")
    eventually(lambda: "Connection to broker lost" in worker.output, what="the worker cut off")

    wait_until_completed(*sent, within_s=30)
    assert {(one.step.attempt, one.count(EventKind.STEP_COMPLETED)) for one in sent} == {(1, 1)}


@pytest.mark.fault("B15")
@pytest.mark.usefixtures("worker")
def test_b15_what_was_in_a_queue_that_is_deleted_is_sent_again(cluster: Cluster, node: RabbitMQNode) -> None:
    sent = send(cluster, queue="parked")

    node.control("delete_queue", "parked")
    eventually(lambda: sent.count(EventKind.STEP_RESENT) >= 1, what="sent again")
    cluster.consume("parked", by="worker")

    wait_until_completed(sent)
    assert (sent.step.attempt, sent.step.retry_count, sent.runs()) == (1, 0, 1)


@pytest.mark.fault("B15")
def test_b15_what_a_full_queue_does_not_take_is_told_and_stays_due_until_it_does(
    cluster: Cluster, node: RabbitMQNode, worker: Program
) -> None:
    """Only because a publisher confirm is asked for: else RabbitMQ throws the message away, and says nothing."""
    first = send(cluster, process_type="Letter", queue="full")
    limits = json.dumps({"max-length": 1, "overflow": "reject-publish"})
    node.control("set_policy", "--apply-to", "queues", "one", "^full$", limits)
    eventually(lambda: "full\tone" in node.control("list_queues", "name", "policy"), what="the policy in force")
    said_before = len(worker.output)
    try:
        refused = send(cluster, queue="full")  # Celery asks for no confirm

        eventually(lambda: "step_not_sent" in worker.output[said_before:], what="told in the log of the check")

        step = refused.step
        assert (step.state, step.attempt, step.deadline_kind) == ("pending", 1, DeadlineKind.HANDOFF)
        assert step.deadline_ms is not None
        assert refused.count(EventKind.STEP_RESENT) == 0
    finally:
        node.control("clear_policy", "one")
    cluster.consume("full", by="worker")
    wait_until_completed(first, refused, within_s=30)
    assert (refused.step.attempt, refused.step.retry_count, refused.runs()) == (1, 0, 1)


@pytest.mark.fault("B15")
@pytest.mark.usefixtures("worker")
def test_b15_while_rabbitmq_takes_nothing_the_check_goes_on_and_then_all_is_sent(
    cluster: Cluster, node: RabbitMQNode
) -> None:
    sent = send(cluster, queue="lost")
    node.control("delete_queue", "lost")
    node.control("set_vm_memory_high_watermark", "0.0000001")
    try:
        assert "memory" in node.control("eval", "rabbit_alarm:get_alarms().")
        before_ms = cluster.trellis.store.last_check().at_ms
        eventually(lambda: cluster.trellis.store.last_check().at_ms > before_ms + 3_000, what="checks go on")
    finally:
        node.control("set_vm_memory_high_watermark", "0.4")
    cluster.consume("lost", by="worker")

    wait_until_completed(sent, within_s=30)
    assert (sent.step.attempt, sent.runs()) == (1, 1)


@pytest.mark.fault("B16")
@pytest.mark.usefixtures("worker")
def test_b16_a_message_that_rabbitmq_gives_to_another_because_it_was_held_for_long_does_not_run_again(
    cluster: Cluster, node: RabbitMQNode
) -> None:
    for setting in ("consumer_timeout, 1000", "channel_tick_interval, 500"):
        node.control("eval", f"application:set_env(rabbit, {setting}).")
    holder = cluster.worker("-Q", "held", name="holder", concurrency=1)
    sent = send(cluster, 4, process_type="Letter", task="carry_late", queue="held").wait_until_running()
    cluster.consume("held", by="worker")

    eventually(lambda: sent.count(EventKind.RUN_REFUSED) >= 1, what="a copy refused")

    wait_until_completed(sent, within_s=30)
    assert (sent.step.attempt, sent.runs(), sent.count(EventKind.STEP_COMPLETED)) == (1, 1, 1)
    assert "PreconditionFailed" in holder.output
