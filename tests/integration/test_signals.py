"""Receivers of trellis's signals in a real worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tests.support.cluster import Cluster
from tests.support.waiting import eventually
from trellis_celery import ProcessHandle

pytestmark = pytest.mark.integration


@pytest.fixture
def cluster(start_cluster: Callable[..., Cluster]) -> Iterator[Cluster]:
    cluster = start_cluster("tests.support.apps.telling")
    yield cluster
    cluster.close()


def send(cluster: Cluster, process_type: str, task: str) -> ProcessHandle:
    process: ProcessHandle = cluster.trellis.start_process(
        getattr(cluster.module, process_type), tenant_id="tests", aggregate_type="Told", aggregate_id=uuid4().hex
    )
    with process:
        getattr(cluster.module, task).delay()
    return process


def test_receivers_run_in_the_process_that_wrote_the_event_and_once(cluster: Cluster) -> None:
    worker = cluster.worker()

    packed, given_up = send(cluster, "Parcel", "pack"), send(cluster, "Hasty", "hang")

    assert [int(pid) in worker.child_pids() for pid in cluster.diary.wait_for(f"step_completed {packed.id}")] == [True]
    # Nobody else checks here, so the worker's main process does.
    assert cluster.diary.wait_for(f"step_gave_up {given_up.id}") == [str(worker.pid)]


@pytest.mark.fault("W16")
def test_a_receiver_that_raises_stops_neither_the_task_nor_the_check(cluster: Cluster) -> None:
    worker = cluster.worker()

    packed, given_up = send(cluster, "Parcel", "pack"), send(cluster, "Hasty", "hang")

    eventually(lambda: packed.refresh().state == "completed", what="the parcel packed")
    eventually(lambda: given_up.refresh().state == "failed", what="the hasty one given up")
    assert "no pager" in worker.output
