"""Other services hear what happened from a topic exchange: all of it, in order, though workers die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from kombu import Queue

from tests.support.cluster import ROOT, Cluster
from tests.support.programs import free_port
from tests.support.waiting import eventually
from trellis_celery import ProcessHandle, ProcessState
from trellis_celery.plugin.exchange import ExchangeAnnouncer, topic
from trellis_celery.services.relay import RelayService

pytestmark = pytest.mark.integration

APP = "tests.support.apps.announcing"


@pytest.fixture(params=["valkey", "rabbitmq"])
def cluster(request: pytest.FixtureRequest, start_cluster: Callable[..., Cluster]) -> Iterator[Cluster]:
    options = {"broker_url": request.getfixturevalue("rabbitmq_url")} if request.param == "rabbitmq" else {}
    made = start_cluster(APP, **options)
    yield made
    made.close()


class Subscriber:
    """A queue of another service, and what it has heard."""

    def __init__(self, cluster: Cluster, binding: str) -> None:
        self._connection = cluster.app.connection_for_read()
        queue = Queue(f"subscriber-{uuid4().hex}", topic(cluster.module.EXCHANGE), routing_key=binding)
        self._queue = queue(self._connection.default_channel)
        self._queue.declare()
        self._heard: list[dict[str, Any]] = []

    def heard(self, process: ProcessHandle) -> list[dict[str, Any]]:
        while (message := self._queue.get(no_ack=True)) is not None:
            assert (
                message.properties.get("message_id") == f"{message.payload['process_id']}/{message.payload['number']}"
            )
            self._heard.append(message.payload)
        return [one for one in self._heard if one["process_id"] == process.id]

    def close(self) -> None:
        self._queue.delete()
        self._connection.close()


@pytest.fixture
def subscribe(cluster: Cluster) -> Iterator[Callable[[str], Subscriber]]:
    made: list[Subscriber] = []

    def make(binding: str) -> Subscriber:
        made.append(Subscriber(cluster, binding))
        return made[-1]

    yield make
    for one in made:
        one.close()


def start(cluster: Cluster, *, tenant_id: str = "shop") -> ProcessHandle:
    process: ProcessHandle = cluster.trellis.start_process(
        cluster.module.Order, tenant_id=tenant_id, aggregate_type="Order", aggregate_id=uuid4().hex
    )
    return process


def test_everything_is_heard_in_order_though_a_worker_dies(
    cluster: Cluster, subscribe: Callable[[str], Subscriber]
) -> None:
    subscriber = subscribe("#")
    cluster.worker()
    with start(cluster) as process:
        cluster.module.charge.delay(process.id)
        cluster.module.ship.delay(process.id)

    eventually(lambda: process.refresh().state is ProcessState.COMPLETED, within_s=30, what="completed")
    # The checker may say that it sent the message after the run that the message brought has ended the process.
    eventually(lambda: "step_reenqueued" in [event.kind for event in process.history()], what="logged")
    told = process.history()
    eventually(lambda: len(subscriber.heard(process)) >= len(told), within_s=15, what="heard")

    heard = subscriber.heard(process)
    assert [one["number"] for one in heard] == list(range(1, len(told) + 1))
    assert [(one["event"], one["step"], one["attempt"]) for one in heard] == [
        (event.kind, event.step_name, event.attempt) for event in told
    ]
    assert {"step_timed_out", "process_completed"} <= {one["event"] for one in heard}
    assert {one["tenant_id"] for one in heard} == {"shop"}


@pytest.mark.fault("X2")
def test_a_tenant_hears_its_own_events_only(cluster: Cluster, subscribe: Callable[[str], Subscriber]) -> None:
    of_shop, of_failures = subscribe("shop.*.*"), subscribe("*.Order.process_failed")
    mine, other = start(cluster), start(cluster, tenant_id="shop.two")
    other.fail_step("charge", "no money", by="ann")

    cluster.trellis.relay.relay()

    assert [one["event"] for one in of_shop.heard(mine)] == ["process_started"]
    assert of_shop.heard(other) == []
    assert [one["event"] for one in of_failures.heard(other)] == ["process_failed"]


def test_who_did_it_is_heard(cluster: Cluster, subscribe: Callable[[str], Subscriber]) -> None:
    subscriber = subscribe("#.step_failed")
    process = start(cluster)
    process.fail_step("charge", "no money", by="ann")

    cluster.trellis.relay.relay()

    (heard,) = subscriber.heard(process)
    assert (heard["by"], heard["detail"], heard["aggregate_id"]) == ("ann", "no money", process.process.aggregate_id)


def test_while_the_broker_is_away_everything_waits(cluster: Cluster, subscribe: Callable[[str], Subscriber]) -> None:
    subscriber = subscribe("#")
    process = start(cluster)
    closed = type(cluster.app)("away", broker=f"{cluster.broker_url.partition('://')[0]}://127.0.0.1:{free_port()}//")
    away = RelayService(cluster.trellis.store, ExchangeAnnouncer(closed, cluster.module.EXCHANGE))

    report = away.relay()

    assert (report.relayed, report.failed, report.waiting) == (0, 1, 1)
    assert subscriber.heard(process) == []
    assert cluster.trellis.store.unrelayed()[0] == 1


def test_a_queue_that_is_full_keeps_nobody_elses_events(
    cluster: Cluster, subscribe: Callable[[str], Subscriber]
) -> None:
    if not cluster.broker_url.startswith("amqp"):
        pytest.skip("queues of Redis have no end")
    with cluster.app.connection_for_write() as connection:
        arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
        full = Queue(f"full-{uuid4().hex}", topic(cluster.module.EXCHANGE), "full.#", queue_arguments=arguments)
        full = full(connection.default_channel)
        full.declare()
        subscriber = subscribe("shop.#")
        for _ in range(3):
            start(cluster, tenant_id="full")
        mine = start(cluster)

        report = cluster.trellis.relay.relay()

        assert report.failed >= 2
        assert [one["event"] for one in subscriber.heard(mine)] == ["process_started"]
        full.delete()


def shell(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "celery", "--quiet", "-A", APP, "trellis", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_the_shell_relays_and_discards(cluster: Cluster, subscribe: Callable[[str], Subscriber]) -> None:
    subscriber = subscribe("#")
    process = start(cluster)

    relayed = shell(cluster, "relay", "--json")
    process.complete_step("charge")
    discarded = shell(cluster, "relay", "--discard", "--json")
    nothing = shell(cluster, "relay")

    assert (relayed.returncode, json.loads(relayed.stdout)) == (0, {"relayed": 1, "failed": 0, "waiting": 0})
    assert (discarded.returncode, json.loads(discarded.stdout)) == (0, {"discarded": 1})
    assert (nothing.returncode, nothing.stdout.strip()) == (0, "relayed: 0, failed: 0, waiting: 0")
    assert [one["number"] for one in subscriber.heard(process)] == [1]
