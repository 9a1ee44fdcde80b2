"""However often a message is delivered, and however late an attempt ends: one run starts per attempt, one finishes the
step, and links and chain go out once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from celery import chain

from tests.support import logged
from tests.support.cluster import Cluster
from tests.support.programs import Program
from tests.support.waiting import eventually, stays
from trellis_celery import EventKind, ProcessHandle

pytestmark = pytest.mark.integration


class Servers(NamedTuple):
    one: Program
    other: Program


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    return start_cluster("tests.support.apps.fencing")


@pytest.fixture(scope="module")
def workers(cluster: Cluster) -> Servers:
    """Two workers and a beat; the first alone takes from the queue `one`."""
    one = cluster.worker("-Q", "one,both", name="one", concurrency=4, wait=False)
    other = cluster.worker("-Q", "both,fencing", name="other", concurrency=4, wait=False)
    cluster.beat()
    cluster.wait_for_worker(one)
    cluster.wait_for_worker(other)
    return Servers(one, other)


class Flow:
    """One process with a chain and a link behind its first step."""

    def __init__(self, cluster: Cluster, process_type: str) -> None:
        self.name = uuid4().hex[:8]
        self._cluster = cluster
        self.process: ProcessHandle = cluster.trellis.start_process(
            getattr(cluster.module, process_type), tenant_id="tests", aggregate_type="Flow", aggregate_id=self.name
        )

    def send(self, task: str, *seconds_by_run: float, queue: str) -> str:
        module = self._cluster.module
        first = getattr(module, task).s(*seconds_by_run).set(queue=queue)
        first.link(module.linked.s(self.name))
        with self.process:
            result = chain(first, module.after.s(self.name))()
        return str(result.parent.id)

    def finish(self) -> tuple[str, int]:
        """The state and the attempt of the first step when both steps are finished."""
        eventually(lambda: self.process.refresh().state.is_terminal, within_s=30, what="process finished")
        return str(self.process.steps["work"].state), self.process.steps["work"].attempt

    def count(self, kind: EventKind, step: str = "work") -> int:
        return sum(event.kind is kind and event.step_name == step for event in self.process.history())

    def sequels(self) -> tuple[list[str], list[str]]:
        """What the chain and the link were called with, each time."""
        diary = self._cluster.diary
        return diary.wait_for(f"after {self.name}"), diary.wait_for(f"linked {self.name}")


def runs(cluster: Cluster, task_id: str) -> int:
    return len(cluster.diary.read(f"ran {task_id}"))


@pytest.mark.fault("A1")
def test_a_message_that_is_there_three_times_runs_once(cluster: Cluster, workers: Servers) -> None:
    flow = Flow(cluster, "Patient")
    task_id = flow.send("work", 1, queue="copies")
    with cluster.broker() as broker:
        (message,) = broker.lrange("copies", 0, -1)
        broker.lpush("copies", message, message)

    for worker in ("one", "other"):
        cluster.consume("copies", by=worker)

    assert flow.finish() == ("completed", 1)
    eventually(lambda: flow.count(EventKind.RUN_REFUSED) == 2, what="both copies refused")
    assert runs(cluster, task_id) == 1
    assert flow.count(EventKind.STEP_COMPLETED) == 1
    assert flow.sequels() == (["1"], ["1"])


@pytest.mark.fault("B17")
def test_a_message_that_redis_delivers_again_does_not_run_again(cluster: Cluster, workers: Servers) -> None:
    flow = Flow(cluster, "Patient")

    task_id = flow.send("late", 6, queue="both")

    assert flow.finish() == ("completed", 1)
    assert flow.count(EventKind.RUN_REFUSED) >= 1, "Redis did not deliver it again"
    assert runs(cluster, task_id) == 1
    assert flow.sequels() == (["1"], ["1"])


def frozen(cluster: Cluster, worker: Program, flow: Flow, *seconds_by_run: float) -> str:
    """Send the first step to a worker and stop the worker while it runs."""
    task_id = flow.send("work", *seconds_by_run, queue="one")
    cluster.diary.wait_for(f"ran {task_id}")
    worker.signal_all(signal.SIGSTOP)
    cluster.consume("one", by="other")
    return task_id


def thawed(cluster: Cluster, worker: Program) -> None:
    cluster.app.control.cancel_consumer("one", destination=["other@test"], reply=True, timeout=5)
    worker.signal_all(signal.SIGCONT)


@pytest.mark.fault("W6", "A2")
def test_an_attempt_that_wakes_up_after_its_successor_is_done_changes_nothing(
    cluster: Cluster, workers: Servers
) -> None:
    flow = Flow(cluster, "Patient")
    task_id = frozen(cluster, workers.one, flow, 2, 0)

    done = flow.finish()
    thawed(cluster, workers.one)

    cluster.diary.wait_for(f"ended {task_id}", entries=2)
    eventually(lambda: flow.count(EventKind.RUN_REFUSED) == 1, what="the old run refused")
    assert done == flow.finish() == ("completed", 2)
    assert flow.count(EventKind.STEP_COMPLETED) == 1
    assert stays(lambda: flow.sequels() == (["2"], ["2"]), for_s=1)


@pytest.mark.fault("W6", "A2", "A4")
def test_an_attempt_that_wakes_up_first_finishes_the_step_and_its_successor_does_not(
    cluster: Cluster, workers: Servers
) -> None:
    flow = Flow(cluster, "Patient")
    task_id = frozen(cluster, workers.one, flow, 1, 6)
    cluster.diary.wait_for(f"ran {task_id}", entries=2)

    thawed(cluster, workers.one)

    assert flow.finish()[0] == "completed"
    cluster.diary.wait_for(f"ended {task_id}", entries=2)
    eventually(lambda: flow.count(EventKind.RUN_REFUSED) == 1, what="the second run refused")
    assert flow.count(EventKind.STEP_COMPLETED) == 1
    assert flow.sequels() == (["1"], ["1"])


@pytest.mark.fault("A14")
def test_a_replaced_attempt_that_asks_for_a_celery_retry_does_not_run_again(cluster: Cluster, workers: Servers) -> None:
    flow = Flow(cluster, "Hasty")

    task_id = flow.send("retrying", 4.5, 2, queue="both")

    assert flow.finish() == ("completed", 2)
    cluster.diary.wait_for(f"ended {task_id}", entries=2)
    eventually(lambda: flow.count(EventKind.RUN_REFUSED) >= 1, what="the retry refused")
    assert runs(cluster, task_id) == 2
    assert flow.sequels() == (["2"], ["2"])


@pytest.mark.fault("A4")
def test_a_replaced_attempt_that_fails_does_not_fail_the_step(cluster: Cluster, workers: Servers) -> None:
    flow = Flow(cluster, "Hasty")

    task_id = flow.send("failing", 4, 2, queue="both")

    assert flow.finish() == ("completed", 2)
    assert cluster.diary.wait_for(f"heartbeat {task_id}") == ["False"]
    assert flow.count(EventKind.STEP_FAILED) == 0
    assert flow.sequels() == (["2"], ["2"])


@pytest.mark.fault("A4")
def test_a_replaced_attempt_that_is_killed_at_its_time_limit_does_not_end_its_successor(
    cluster: Cluster, workers: Servers
) -> None:
    flow = Flow(cluster, "Hasty")

    task_id = flow.send("limited", 20, 2, queue="one")

    assert flow.finish() == ("completed", 2)
    assert runs(cluster, task_id) == 2
    assert flow.sequels() == (["2"], ["2"])


@pytest.mark.fault("A1")
def test_the_same_call_sent_twice_runs_once(cluster: Cluster, workers: Servers) -> None:
    flow = Flow(cluster, "Patient")

    ids = [flow.send("work", 0.5, queue="both") for _ in range(2)]

    assert flow.finish() == ("completed", 1)
    eventually(lambda: flow.count(EventKind.RUN_REFUSED) == 1, what="the second message refused")
    assert sum(runs(cluster, task_id) for task_id in ids) == 1
    assert flow.count(EventKind.STEP_COMPLETED) == 1
    assert flow.sequels() == (["1"], ["1"])


@pytest.mark.fault("A22")
def test_a_step_that_was_finished_before_it_was_sent_does_not_run(cluster: Cluster, workers: Servers) -> None:
    cancelled, completed = Flow(cluster, "Patient"), Flow(cluster, "Patient")
    cancelled.process.cancel()
    completed.process.complete_step("work")

    ids = [flow.send("work", 0.1, queue="both") for flow in (cancelled, completed)]

    for flow in (cancelled, completed):
        eventually(lambda flow=flow: flow.count(EventKind.RUN_REFUSED) == 1, what="the message refused")
    assert [runs(cluster, task_id) for task_id in ids] == [0, 0]


def test_another_call_for_a_step_that_was_sent_runs_untracked_and_is_warned_about(
    cluster: Cluster, workers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    flow = Flow(cluster, "Patient")

    tracked = flow.send("work", 0.5, queue="both")
    with flow.process:
        other: Any = cluster.module.work.apply_async((0.1,), queue="both")

    assert flow.finish() == ("completed", 1)
    cluster.diary.wait_for(f"ended {other.id}")
    assert "step_already_sent" in logged.events(caplog)
    assert flow.process.steps["work"].task_id == tracked
    assert flow.count(EventKind.STEP_COMPLETED) == 1
