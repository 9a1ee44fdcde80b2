"""Workers and their children that are gone before anybody expects it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.cluster import Cluster
from tests.support.job import Job
from tests.support.memory_limit import memory_limit
from trellis_celery import EventKind

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    """A worker that stays, and a beat."""
    cluster = start_cluster("tests.support.apps.hardship")
    survivor = cluster.worker(name="survivor", wait=False)
    cluster.beat()
    cluster.wait_for_worker(survivor)
    return cluster


@pytest.mark.fault("W1")
def test_w1_no_attempt_runs_twice_however_soon_its_child_dies(cluster: Cluster) -> None:
    """Celery gives a task to another child if the first one is gone before the worker has heard that it began."""
    cluster.worker("-Q", "dying", name="dying", concurrency=6)

    jobs = [Job(cluster, "Patient", "dies", queue="dying") for _ in range(12)]

    assert [job.finish() for job in jobs] == [("completed", 2)] * len(jobs)
    assert [len(job.runs) for job in jobs] == [2] * len(jobs)


@pytest.mark.fault("W4")
def test_w4_a_message_that_a_dying_worker_had_just_taken_is_sent_again(cluster: Cluster) -> None:
    doomed = cluster.worker("-Q", "taken", name="doomed", env={cluster.module.DIES_TAKING: "1"})

    job = Job(cluster, "Patient", "work", queue="taken")

    doomed.wait()
    with cluster.broker() as broker:
        assert broker.exists("taken", "unacked") == 0, "the broker still has the message"
    job.wait_for_event(EventKind.STEP_RESENT)
    cluster.consume("taken", by="survivor")
    assert job.finish() == ("completed", 1)
    assert len(job.runs) == 1


@pytest.mark.fault("W5")
@pytest.mark.timeout(60)
def test_w5_a_step_whose_every_run_is_killed_for_lack_of_memory_has_an_end(cluster: Cluster) -> None:
    hungry = cluster.worker("-Q", "hungry", name="hungry", concurrency=1)

    with memory_limit(250) as limit:
        limit.impose(hungry)
        job = Job(cluster, "Patient", "eats_memory", 1_000, queue="hungry")

        assert job.finish() == ("failed", 2)
        assert limit.kills == len(job.runs) == 2
        assert "gave up after attempt 2" in (job.step.last_error or "")
