"""A further message of an attempt, wherever it comes from and whatever becomes of it, does no harm to its run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from celery import chain

from tests.support.cluster import Cluster
from tests.support.programs import Program
from tests.support.waiting import eventually, stays
from trellis_celery import EventKind, ProcessHandle

pytestmark = pytest.mark.integration


class Flow:
    """One process, and what the diary says of it."""

    def __init__(self, cluster: Cluster, process_type: str) -> None:
        self.name = uuid4().hex[:8]
        self._cluster = cluster
        self.process: ProcessHandle = cluster.trellis.start_process(
            getattr(cluster.module, process_type), tenant_id="tests", aggregate_type="Copies", aggregate_id=self.name
        )

    def send(self, task: str, **options: Any) -> str:
        with self.process:
            return str(getattr(self._cluster.module, task).apply_async((self.name,), **options).id)

    def read(self, page: str) -> int:
        """How often this was written of this flow."""
        return len(self._cluster.diary.read(f"{page} {self.name}"))

    def wait_for(self, page: str) -> None:
        self._cluster.diary.wait_for(f"{page} {self.name}")

    def let_go(self) -> None:
        self._cluster.diary.write(f"let go {self.name}")

    def times(self, kind: EventKind) -> int:
        return sum(event.kind is kind for event in self.process.history())

    def wait_for_event(self, kind: EventKind) -> None:
        eventually(lambda: self.times(kind), what=f"{kind} in the log")

    def state(self) -> str:
        return str(self.process.refresh().steps["work"].state)

    def finish(self) -> tuple[str, int]:
        """The state and the attempt of the step, once it is finished."""
        eventually(lambda: self.process.refresh().steps["work"].state.is_terminal, within_s=30, what="work finished")
        return self.state(), self.process.steps["work"].attempt


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    cluster = start_cluster("tests.support.apps.copies")
    cluster.worker(name="worker", concurrency=4, wait=False)
    cluster.worker("-Q", "odd", name="odd", concurrency=1, env={cluster.module.ODD: "1"}, wait=False)
    cluster.beat()
    for worker in cluster.programs[:2]:
        cluster.wait_for_worker(worker)
    return cluster


@pytest.fixture(scope="module")
def odd_worker(cluster: Cluster) -> Program:
    """Takes from the queue `odd`; lacks a task, and raises before another starts."""
    return next(program for program in cluster.programs if program.name == "odd")


def copy_of(cluster: Cluster, queue: str) -> bytes:
    """The one message that waits in a queue."""
    with cluster.broker() as broker:
        (message,) = broker.lrange(queue, 0, -1)
        return bytes(message)


def put(cluster: Cluster, message: bytes, queue: str) -> None:
    with cluster.broker() as broker:
        broker.lpush(queue, message)


@pytest.mark.fault("A1")
def test_a_form_submitted_twice_under_one_task_id_runs_once_and_sends_its_link_once(cluster: Cluster) -> None:
    flow = Flow(cluster, "Once")
    same: dict[str, Any] = {"task_id": f"form-{flow.name}", "link": cluster.module.tail.si(flow.name)}
    flow.send("work", **same)
    flow.wait_for("ran")

    flow.process = cluster.trellis.get_process(flow.process.id)
    flow.send("work", **same)

    flow.wait_for_event(EventKind.RUN_REFUSED)
    flow.let_go()
    assert flow.finish() == ("completed", 1)
    flow.wait_for("tail")
    assert stays(lambda: flow.read("ran") == flow.read("tail") == 1, for_s=1)


@pytest.mark.fault("A13")
def test_a_link_runs_once_though_the_task_before_it_died_after_sending_it_and_ran_again(cluster: Cluster) -> None:
    flow = Flow(cluster, "Flow")
    module = cluster.module

    with flow.process:
        chain(module.before.si(flow.name), module.work.si(flow.name), module.tail.si(flow.name))()

    eventually(lambda: flow.process.refresh().steps["before"].state == "completed", what="the task before completed")
    flow.wait_for_event(EventKind.RUN_REFUSED)
    flow.let_go()
    assert flow.finish() == ("completed", 1)
    assert flow.read("before") == flow.process.steps["before"].attempt == 2
    flow.wait_for("tail")
    assert stays(lambda: flow.read("ran") == flow.read("tail") == 1, for_s=1)


@pytest.mark.fault("A14")
def test_what_a_step_replaced_itself_by_runs_once_though_it_waited_long_in_its_queue(cluster: Cluster) -> None:
    flow = Flow(cluster, "Impatient")
    queue = f"substitutes {flow.name}"
    flow.send("replaces_itself", link=cluster.module.tail.si(flow.name))
    with cluster.broker() as broker:
        eventually(lambda: broker.llen(queue) >= 2, what="a copy in the queue")

    cluster.consume(queue, by="worker")

    assert flow.finish() == ("completed", 1)
    flow.wait_for_event(EventKind.RUN_REFUSED)
    flow.wait_for("tail")
    assert stays(lambda: flow.read("substitute") == flow.read("tail") == 1, for_s=1)


@pytest.mark.fault("A14")
def test_a_step_without_a_limit_that_replaced_itself_by_a_chain_still_has_a_clock(cluster: Cluster) -> None:
    flow = Flow(cluster, "Unlimited")

    flow.send("replaces_itself_by_chain")

    flow.wait_for_event(EventKind.STEP_HANDED_OVER)
    assert flow.process.refresh().steps["work"].deadline_ms is not None
    cluster.consume(f"substitutes {flow.name}", by="worker")
    assert flow.finish() == ("completed", 1)
    assert flow.read("substitute") == 2


def test_a_copy_that_expires_does_not_end_the_step_that_runs(cluster: Cluster) -> None:
    flow = Flow(cluster, "Once")
    worker = cluster.programs[0]
    task_id = flow.send("work", queue=f"expiring {flow.name}", expires=3)
    expires_at = time.monotonic() + 3
    message = copy_of(cluster, f"expiring {flow.name}")
    cluster.consume(f"expiring {flow.name}", by="worker")
    flow.wait_for("ran")
    eventually(lambda: time.monotonic() > expires_at, what="expired")

    put(cluster, message, "copies")

    eventually(lambda: f"Discarding revoked task: copies.work[{task_id}]" in worker.output, what="the copy thrown away")
    assert stays(lambda: flow.state() == "in_progress", for_s=1)
    flow.let_go()
    assert flow.finish() == ("completed", 1)


@pytest.mark.fault("A1")
def test_a_copy_that_reaches_a_worker_without_the_task_does_not_end_the_step_that_runs(
    cluster: Cluster, odd_worker: Program
) -> None:
    flow = Flow(cluster, "Once")
    flow.send("unknown_to_one", queue=f"known {flow.name}")
    message = copy_of(cluster, f"known {flow.name}")
    cluster.consume(f"known {flow.name}", by="worker")
    flow.wait_for("ran")

    put(cluster, message, "odd")

    eventually(lambda: "copies.unknown_to_one" in odd_worker.output, what="the copy thrown away")
    assert stays(lambda: flow.process.refresh().steps["work"].deadline_kind == "run", for_s=1)
    flow.let_go()
    assert flow.finish() == ("completed", 1)
    assert flow.read("ran") == 1


@pytest.mark.fault("A6")
def test_a_message_that_reaches_a_worker_without_the_task_is_sent_again_and_starts_elsewhere(
    cluster: Cluster, odd_worker: Program
) -> None:
    flow = Flow(cluster, "Once")
    queue = f"rolling {flow.name}"
    cluster.consume(queue, by="odd")
    flow.send("unknown_to_one", queue=queue)
    flow.wait_for_event(EventKind.STEP_RELEASED)
    cluster.app.control.cancel_consumer(queue, destination=["odd@test"], reply=True, timeout=5)

    cluster.consume(queue, by="worker")

    flow.wait_for("ran")
    flow.let_go()
    assert flow.finish() == ("completed", 1)
    assert (flow.times(EventKind.STEP_RESENT), flow.read("ran")) == (1, 1)


@pytest.mark.fault("A1")
def test_a_copy_whose_before_start_raises_does_not_fail_the_step_that_runs(
    cluster: Cluster, odd_worker: Program
) -> None:
    flow = Flow(cluster, "Once")
    flow.send("with_before_start")
    flow.wait_for("ran")

    other_id = flow.send("with_before_start", queue="odd")

    cluster.diary.wait_for(f"raised before {other_id}")
    flow.wait_for_event(EventKind.RUN_REFUSED)
    assert stays(lambda: flow.state() == "in_progress", for_s=1)
    flow.let_go()
    assert flow.finish() == ("completed", 1)
    assert flow.read("ran") == 1


@pytest.mark.fault("A1")
def test_a_copy_whose_child_is_killed_does_not_end_the_attempt_that_runs(cluster: Cluster, odd_worker: Program) -> None:
    flow = Flow(cluster, "Once")
    task_id = flow.send("with_killed_copy", queue=f"killed {flow.name}")
    message = copy_of(cluster, f"killed {flow.name}")
    cluster.consume(f"killed {flow.name}", by="worker")
    flow.wait_for("ran")

    put(cluster, message, "odd")

    cluster.diary.wait_for(f"killed before {task_id}")
    eventually(lambda: "WorkerLostError" in odd_worker.output, what="the child's end noticed")
    assert stays(lambda: flow.times(EventKind.RUN_LOST) == 0, for_s=2)
    flow.let_go()
    assert flow.finish() == ("completed", 1)


@pytest.mark.fault("A14")
def test_a_copy_from_before_a_celery_retry_does_not_run_during_its_countdown(cluster: Cluster) -> None:
    flow = Flow(cluster, "Once")
    flow.send("retries_later", queue=f"early {flow.name}")
    message = copy_of(cluster, f"early {flow.name}")
    cluster.consume(f"early {flow.name}", by="worker")
    flow.wait_for_event(EventKind.STEP_RETRYING)

    put(cluster, message, "copies")

    assert flow.finish() == ("completed", 1)
    starts = [event.occurred_at_ms for event in flow.process.history() if event.kind is EventKind.STEP_STARTED]
    assert flow.times(EventKind.RUN_REFUSED) == 1
    assert len(starts) == flow.read("ran") == 2
    assert starts[1] - starts[0] > 2_900


def test_a_celery_retry_runs_though_the_store_was_away_when_it_was_sent(cluster: Cluster) -> None:
    flow = Flow(cluster, "Once")

    flow.send("retries_while_the_store_is_away")

    assert flow.finish() == ("completed", 1)
    assert cluster.diary.read("store away") == [""]
    assert flow.read("ran") == 2
