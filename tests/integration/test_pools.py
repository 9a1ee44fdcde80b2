"""The same verdicts in every pool, and nobody sees another task's step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tests.support.cluster import Cluster
from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessHandle

pytestmark = [pytest.mark.integration, pytest.mark.fault("W14")]

CONCURRENCY = {"prefork": 3, "threads": 3, "gevent": 20, "eventlet": 20, "solo": 1}


@pytest.fixture(scope="module", params=CONCURRENCY)
def cluster(request: pytest.FixtureRequest, start_cluster: Callable[..., Cluster]) -> Iterator[Cluster]:
    cluster = start_cluster("tests.support.apps.pools")
    cluster.worker(name=request.param, pool=request.param, concurrency=CONCURRENCY[request.param])
    cluster.beat()
    yield cluster
    cluster.close()


def send(cluster: Cluster, task: str, process_type: str = "Flow") -> ProcessHandle:
    process: ProcessHandle = cluster.trellis.start_process(
        getattr(cluster.module, process_type), tenant_id="tests", aggregate_type="Pool", aggregate_id=uuid4().hex
    )
    with process:
        getattr(cluster.module, task).delay()
    return process


def outcome(process: ProcessHandle, step: str = "work") -> tuple[str, int]:
    eventually(lambda: process.refresh().steps[step].state.is_terminal, what=f"{step} finished")
    return str(process.steps[step].state), process.steps[step].attempt


def test_a_step_completes(cluster: Cluster) -> None:
    assert outcome(send(cluster, "succeed")) == ("completed", 1)


def test_a_step_fails(cluster: Cluster) -> None:
    process = send(cluster, "fail")

    assert outcome(process) == ("failed", 1)
    assert process.steps["work"].last_error == "ValueError: no"


def test_a_step_that_hangs_is_sent_again_and_completes(cluster: Cluster) -> None:
    process = send(cluster, "hang", "Hasty")

    state, attempt = outcome(process)

    assert state == "completed"
    assert attempt == 2
    assert process.steps["work"].retry_count == 1


def test_a_body_that_outlasts_its_lease_is_not_taken_for_lost(cluster: Cluster) -> None:
    process = send(cluster, "outlast")

    assert outcome(process) == ("completed", 1)
    assert [event.kind for event in process.history() if event.step_name == "work"] == [
        EventKind.STEP_QUEUED,
        EventKind.STEP_STARTED,
        EventKind.STEP_COMPLETED,
    ]
    assert len(cluster.diary.read(f"ran {process.steps['work'].task_id}")) == 1


def test_a_task_called_directly_inside_a_task_sends_within_the_process(cluster: Cluster) -> None:
    process = send(cluster, "delegate")

    assert outcome(process, "spawned") == ("completed", 1)
    assert outcome(process) == ("completed", 1)


def test_no_task_sees_the_step_of_another(cluster: Cluster) -> None:
    processes = []
    for _ in range(20):
        processes.append(send(cluster, "spawn"))
        cluster.module.outsider.delay()

    assert {outcome(process, step) for process in processes for step in ("work", "spawned")} == {("completed", 1)}
    assert all(cluster.diary.read(f"steps {process.id}") == ["work"] * 3 for process in processes)
    cluster.diary.wait_for("outsiders", entries=20)
    assert cluster.diary.read("leaked") == []
