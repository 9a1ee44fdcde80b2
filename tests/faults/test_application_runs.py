"""Runs that the process does not wait for any more, and runs that it does not know of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from tests.support.cluster import STORE_DB, Cluster
from tests.support.job import Job
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from trellis_celery import EventKind
from trellis_celery.domain.timeline import timeline_of

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    """A worker, and a beat."""
    cluster = start_cluster("tests.support.apps.hardship")
    worker = cluster.worker(wait=False, concurrency=4)
    cluster.beat()
    cluster.wait_for_worker(worker)
    return cluster


@pytest.mark.fault("A4")
def test_a4_a_body_is_told_that_the_next_attempt_runs_in_its_place(cluster: Cluster) -> None:
    job = Job(cluster, "Hasty", "asks")

    assert job.finish() == ("completed", 2)
    job.let_go()

    assert cluster.diary.wait_for(f"is current {job.name}", entries=3) == ["True", "True", "False"]
    job.wait_for_event(EventKind.RUN_REFUSED)
    assert job.times(EventKind.STEP_COMPLETED) == 1
    assert len(job.runs) == 2


@pytest.mark.fault("A5")
def test_a5_a_step_that_is_cancelled_while_it_runs_stays_so_when_its_body_returns(cluster: Cluster) -> None:
    job = Job(cluster, "Hasty", "held")
    job.wait_for_run()

    job.process.cancel(reason="not needed")
    job.let_go()

    cluster.diary.wait_for(f"ended {job.name}")
    job.wait_for_event(EventKind.OUTCOME_LATE)
    assert job.finish() == ("cancelled", 1)
    assert job.times(EventKind.STEP_COMPLETED) == 0


@pytest.mark.fault("A5", "A6")
@pytest.mark.parametrize("is_running", [True, False], ids=["running", "waiting"])
def test_a5_of_a_process_that_is_deleted_nothing_comes_back(cluster: Cluster, is_running: bool) -> None:
    job = Job(cluster, "Hasty", "held", queue="hardship" if is_running else "later")
    if is_running:
        job.wait_for_run()
    said_before = len(cluster.programs[0].output)

    assert cluster.trellis.store.delete(job.process.id)
    cluster.consume("later", by="worker")
    job.wait_for_run()
    job.let_go()

    cluster.diary.wait_for(f"ended {job.name}")
    other = Job(cluster, "Hasty", "work")
    assert other.finish() == ("completed", 1)
    with redis.Redis.from_url(f"{cluster.redis_url}/{STORE_DB}") as store:
        assert [key for key in store.scan_iter("*") if job.process.id.encode() in key] == []
    told = lambda: "not_tracked" in cluster.programs[0].output[said_before:]  # noqa: E731
    eventually(told, what="told in the worker's log")


@pytest.mark.fault("A3")
def test_a3_a_step_whose_start_the_store_never_heard_of_is_completed(cluster: Cluster, valkey_server: str) -> None:
    with Proxy(int(valkey_server.rpartition(":")[2])) as proxy:
        store_url = f"redis://127.0.0.1:{proxy.port}/{STORE_DB}"
        cluster.worker("-Q", "unheard", name="unheard", env={cluster.module.STORE_URL: store_url})
        proxy.is_blackhole = True

        job = Job(cluster, "Hasty", "held", queue="unheard")
        job.wait_for_run()
        proxy.is_blackhole = False
        job.let_go()

        assert job.finish() == ("completed", 1)
        assert job.times(EventKind.STEP_STARTED) == 0
        step = job.step
        assert step.started_at_ms is None, "nobody knows when"
        assert step.finished_at_ms is not None
        now_ms = cluster.trellis.store.now_ms()
        assert job.process.process.started_at_ms < step.finished_at_ms <= now_ms
        (row,) = timeline_of(job.process.process, job.process.history(), now_ms=now_ms).rows
        assert [span.end_ms for span in row.spans] == [step.finished_at_ms]
        assert row.spans[0].start_ms <= step.finished_at_ms
        cluster.programs[-1].kill()
