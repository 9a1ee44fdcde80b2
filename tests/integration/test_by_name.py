"""A task sent by name from a program that does not import it is the step, and is watched like any other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple
from uuid import uuid4

import pytest
from celery import Celery

from tests.support import logged
from tests.support.apps.making import WORKER_LOST_MS
from tests.support.cluster import Cluster
from tests.support.waiting import eventually, stays
from trellis_celery import EventKind, ProcessHandle, Trellis
from trellis_celery.services.timeouts import CheckReport

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    return start_cluster("tests.support.apps.by_name")


class Web(NamedTuple):
    """A program with the process types and without the tasks."""

    app: Celery
    cluster: Cluster

    def send(self, process_type: str, name: str, *, queue: str) -> ProcessHandle:
        process: ProcessHandle = self.app.trellis.start_process(
            getattr(self.cluster.module, process_type), tenant_id="tests", aggregate_type="Name", aggregate_id=name
        )
        with process:
            self.app.send_task("by_name.work", (name,), queue=queue)
        return process


@pytest.fixture
def web(cluster: Cluster) -> Iterator[Web]:
    app = Celery("web", broker=cluster.broker_url, set_as_current=False)
    app.conf.trellis_url = cluster.app.conf.trellis_url
    Trellis(app)
    yield Web(app, cluster)
    app.close()


def check(cluster: Cluster) -> CheckReport:
    report: CheckReport = cluster.trellis.timeouts.check_for_timed_out_steps(by="test")
    return report


def test_a_lost_message_of_a_declared_task_is_sent_again(cluster: Cluster, web: Web) -> None:
    name = uuid4().hex[:8]
    process = web.send("Declared", name, queue="purged")
    with cluster.broker() as broker:
        assert broker.delete("purged") == 1

    eventually(lambda: check(cluster).resent, what="sent again")

    cluster.diary.write(f"let go {name}")
    worker = cluster.worker("-Q", "purged", name="declared")
    eventually(lambda: process.refresh().state == "completed", what="completed")
    assert process.steps["work"].attempt == 1
    assert cluster.diary.read(f"ran {name}") == [""]
    worker.kill()


@pytest.mark.fault("A6")
def test_an_undeclared_task_is_warned_about_and_claimed_by_the_worker_that_knows_it(
    cluster: Cluster, web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    name = uuid4().hex[:8]
    victim = cluster.worker("-Q", "victim", name="undeclared")

    with caplog.at_level(logging.WARNING):
        process = web.send("Undeclared", name, queue="victim")

    assert "task_unknown_to_sender" in logged.events(caplog)
    cluster.diary.wait_for(f"ran {name}")

    def is_held() -> bool:
        check(cluster)
        return process.refresh().steps["work"].state == "in_progress"

    assert stays(is_held, for_s=WORKER_LOST_MS / 1000 * 2 + 0.5)
    assert EventKind.STEP_TIMED_OUT not in [event.kind for event in process.history()]

    victim.kill()

    eventually(lambda: not is_held(), what="the lost worker noticed")
    assert process.steps["work"].state == "failed"
    assert "worker lost" in (process.steps["work"].last_error or "")


def test_another_call_of_an_undeclared_task_runs_and_is_not_the_step(cluster: Cluster, web: Web) -> None:
    first, second = uuid4().hex[:8], uuid4().hex[:8]
    cluster.worker("-Q", "calls", "-c", "1", name="calls")
    process = web.send("Undeclared", first, queue="calls")
    with process:
        for name in (second, first):
            web.app.send_task("by_name.work", (name,), queue="calls")

    cluster.diary.wait_for(f"ran {first}")
    cluster.diary.write(f"let go {first}")
    cluster.diary.wait_for(f"ran {second}")
    assert process.refresh().state == "completed"

    cluster.diary.write(f"let go {second}")
    eventually(
        lambda: EventKind.RUN_REFUSED in [event.kind for event in process.history()], what="the same call refused"
    )
    assert cluster.diary.read(f"ran {first}") == [""]


def test_a_further_attempt_of_an_undeclared_task_is_held_by_its_worker_as_the_first_is(
    cluster: Cluster, web: Web
) -> None:
    name = uuid4().hex[:8]
    process = web.app.trellis.start_process(
        cluster.module.Undeclared, tenant_id="tests", aggregate_type="Name", aggregate_id=name
    )
    process.fail_step("work", "by hand")
    process.retry_step("work")
    cluster.worker("-Q", "again", name="again")
    with process:
        web.app.send_task("by_name.work", (name,), queue="again")
    cluster.diary.wait_for(f"ran {name}")

    def is_held() -> bool:
        check(cluster)
        return process.refresh().steps["work"].state == "in_progress"

    assert process.refresh().steps["work"].attempt == 2
    assert stays(is_held, for_s=WORKER_LOST_MS / 1000 * 2 + 0.5)

    cluster.diary.write(f"let go {name}")
    eventually(lambda: process.refresh().state == "completed", what="completed")


def test_the_worker_of_another_call_does_not_keep_the_step_alive(cluster: Cluster, web: Web) -> None:
    first, second = uuid4().hex[:8], uuid4().hex[:8]
    worker = cluster.worker("-Q", f"now-{first}", name="of-the-step")
    cluster.worker("-Q", f"now-{second}", name="of-another")
    process = web.send("Undeclared", first, queue=f"now-{first}")
    cluster.diary.wait_for(f"ran {first}")
    with process:
        web.app.send_task("by_name.work", (second,), queue=f"now-{second}")
    cluster.diary.wait_for(f"ran {second}")

    worker.kill()

    def is_noticed() -> bool:
        check(cluster)
        return EventKind.RUN_LOST in [event.kind for event in process.history()]

    eventually(is_noticed, within_s=20, what="the loss is noticed while the other call still runs")
    cluster.diary.write(f"let go {second}")


@pytest.mark.parametrize(("step", "runs"), [("fragile", 1), ("resent", 2)])
def test_the_death_of_another_call_is_nothing_to_the_step(cluster: Cluster, web: Web, step: str, runs: int) -> None:
    name = uuid4().hex[:8]
    cluster.worker("-Q", f"now-{name}", "-c", "1", name="dying")
    process = web.app.trellis.start_process(
        cluster.module.Fragile, tenant_id="tests", aggregate_type="Name", aggregate_id=name
    )

    with process:
        web.app.send_task(f"by_name.{step}", (name, "wait"), queue=f"now-{name}")
        eventually(lambda: EventKind.STEP_RETRYING in kinds(process), what="waiting")
        web.app.send_task(f"by_name.{step}", (name, "die"), queue=f"now-{name}")
    cluster.diary.wait_for(f"die {name}", entries=runs, within_s=40)
    if runs == 1:
        cluster.diary.wait_for(f"lost {name}", within_s=40)
    check(cluster)

    assert kinds(process) == [
        EventKind.PROCESS_STARTED, EventKind.STEP_STARTED, EventKind.STEP_RETRYING,
    ]  # fmt: skip
    cluster.worker("-Q", f"later-{name}", name="later")
    eventually(lambda: process.refresh().steps[step].state == "completed", what="completed by its own call")
    assert (len(cluster.diary.read(f"wait {name}")), len(cluster.diary.read(f"die {name}"))) == (2, runs)


def kinds(process: ProcessHandle) -> list[EventKind]:
    return [event.kind for event in process.history()]
