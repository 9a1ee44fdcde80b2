"""Workers and children that live and do not get anywhere."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cluster import BROKER_URL, Cluster
from tests.support.job import Job
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from trellis_celery import EventKind

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    """A worker that is well, and a beat."""
    cluster = start_cluster("tests.support.apps.hardship")
    well = cluster.worker(name="well", wait=False, concurrency=3)
    cluster.beat()
    cluster.wait_for_worker(well)
    return cluster


@pytest.mark.fault("W6")
def test_w6_a_child_that_wakes_up_after_another_has_done_its_step_changes_nothing(cluster: Cluster) -> None:
    job = Job(cluster, "Hasty", "held")
    child = int(job.wait_for_run())

    os.kill(child, signal.SIGSTOP)
    done = job.finish()
    job.let_go()
    os.kill(child, signal.SIGCONT)

    cluster.diary.wait_for(f"ended {job.name}", entries=2)
    job.wait_for_event(EventKind.RUN_REFUSED)
    assert done == job.finish() == ("completed", 2)
    assert int(job.wait_for_run(2)) != child
    assert job.times(EventKind.STEP_COMPLETED) == 1


@pytest.mark.fault("W6")
def test_w6_a_worker_of_which_only_the_children_go_on_is_overtaken_and_works_when_it_wakes_up(cluster: Cluster) -> None:
    frozen = cluster.worker("-Q", "frozen", name="frozen", concurrency=1)
    job = Job(cluster, "Patient", "held", queue="frozen")
    job.wait_for_run()

    frozen.signal(signal.SIGSTOP)
    cluster.consume("frozen", by="well")
    done = job.finish()
    job.let_go()
    cluster.diary.wait_for(f"ended {job.name}", entries=2)
    cluster.app.control.cancel_consumer("frozen", destination=["well@test"], reply=True, timeout=5)
    frozen.signal(signal.SIGCONT)

    assert Job(cluster, "Patient", "work", queue="frozen").finish() == ("completed", 1)
    assert done == job.finish() == ("completed", 2)
    assert job.times(EventKind.STEP_COMPLETED) == job.times(EventKind.RUN_REFUSED) == 1
    frozen.kill()


@pytest.mark.fault("W8")
@pytest.mark.parametrize("body", ["deadlocks", "spins"])
def test_w8_a_body_that_never_ends_is_overtaken_when_the_time_of_its_step_is_over(cluster: Cluster, body: str) -> None:
    job = Job(cluster, "Hasty", body)
    child = int(job.wait_for_run())

    assert job.finish() == ("completed", 2)

    assert job.step.retry_count == 1
    assert Path(f"/proc/{child}").exists(), "the body has ended"
    os.kill(child, signal.SIGKILL)


@pytest.mark.fault("W10")
def test_w10_a_body_that_keeps_its_worker_from_saying_that_it_lives_counts_once_when_it_ends(cluster: Cluster) -> None:
    cluster.worker("-Q", "still", name="still", pool="threads", concurrency=1)

    job = Job(cluster, "Patient", "stands_still", 4, queue="still")

    job.wait_for_event(EventKind.RUN_LOST)
    assert job.finish()[0] == "completed"
    job.wait_for_event(EventKind.RUN_REFUSED)
    assert job.times(EventKind.STEP_TIMED_OUT) == job.times(EventKind.STEP_COMPLETED) == len(job.runs) == 1


@pytest.mark.fault("W15")
def test_w15_what_a_worker_has_taken_and_does_not_get_to_is_done_by_another(
    cluster: Cluster, valkey_server: str
) -> None:
    with Proxy(int(valkey_server.rpartition(":")[2])) as proxy:
        broker_url = f"redis://127.0.0.1:{proxy.port}/0"
        silent = cluster.worker("-Q", "silent", name="silent", concurrency=1, env={BROKER_URL: broker_url})
        held, taken = Job(cluster, "Patient", "held", queue="silent"), Job(cluster, "Patient", "work", queue="silent")
        held.wait_for_run()
        eventually(lambda: silent.output.count(" received") == 2, what="both messages taken")

        proxy.is_blackhole = True
        waiting = Job(cluster, "Patient", "work", queue="silent")
        cluster.consume("silent", by="well")

        assert taken.finish() == waiting.finish() == ("completed", 1)
        assert taken.times(EventKind.STEP_RESENT) >= 1
        held.let_go()
        assert held.finish() == ("completed", 1)
        assert len(taken.runs) == len(waiting.runs) == len(held.runs) == 1
        silent.kill()
