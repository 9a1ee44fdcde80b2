"""Pools whose children come and go while they work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.job import Job
from tests.support.waiting import eventually
from trellis_celery import EventKind

pytestmark = pytest.mark.integration

JOBS = 12


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    """Two workers with a new child for each task; one changes the number of its children, the other is told to."""
    cluster = start_cluster("tests.support.apps.hardship")
    once = ("--max-tasks-per-child", "1")
    cluster.worker("-Q", "autoscaled,hardship", *once, "--autoscale", "4,1", name="autoscaled", wait=False)
    cluster.worker("-Q", "told", *once, name="told", wait=False)
    cluster.beat()
    for worker in cluster.programs[:2]:
        cluster.wait_for_worker(worker)
    return cluster


@pytest.fixture(scope="module")
def jobs(cluster: Cluster) -> dict[str, list[Job]]:
    """For each of the workers."""
    jobs = {
        name: [Job(cluster, "Patient", "work", 0.05, queue=name) for _ in range(JOBS)]
        for name in ("autoscaled", "told")
    }
    for number, change in enumerate([cluster.app.control.pool_grow, cluster.app.control.pool_shrink]):
        jobs["told"][3 * number].wait_for_run()
        # Celery refuses to end a child while all of them are busy.
        eventually(partial(_has_done, change), what=change.__name__)
    return jobs


def _has_done(change: Callable[..., list[dict[str, Any]]]) -> bool:
    (answer,) = change(1, destination=["told@test"], reply=True, timeout=5)
    return "ok" in answer["told@test"]


@pytest.mark.fault("W13")
@pytest.mark.parametrize("name", ["autoscaled", "told"])
def test_w13_no_step_is_lost_or_run_twice_while_children_are_replaced_after_each_task(
    jobs: dict[str, list[Job]], name: str
) -> None:
    assert {job.finish() for job in jobs[name]} == {("completed", 1)}

    assert [len(job.runs) for job in jobs[name]] == [1] * JOBS
    assert len({job.wait_for_run() for job in jobs[name]}) == JOBS, "children were not replaced"
    assert sum(job.times(EventKind.RUN_LOST) for job in jobs[name]) == 0
