"""Two releases of one program work side by side, while one replaces the other."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from uuid import uuid4

import pytest

from tests.support.cluster import Cluster
from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessHandle

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def releases(start_cluster: Callable[..., Cluster]) -> dict[str, Cluster]:
    """Both on the same servers; of each there is a worker, and they share their queue."""
    first = start_cluster("tests.support.apps.releases", env={"TRELLIS_TEST_RELEASE": "1"})
    second = start_cluster("tests.support.apps.releases", env={"TRELLIS_TEST_RELEASE": "2"})
    workers = [
        (cluster, cluster.worker("-Q", f"releases,{name}", name=name, wait=False))
        for name, cluster in (("first", first), ("second", second))
    ]
    second.beat()
    for cluster, worker in workers:
        cluster.wait_for_worker(worker)
    return {"1": first, "2": second}


def start(module: ModuleType) -> ProcessHandle:
    process: ProcessHandle = module.trellis.start_process(
        module.Order, tenant_id="shop", aggregate_type="Order", aggregate_id=uuid4().hex
    )
    return process


def is_completed(process: ProcessHandle, step: str) -> bool:
    return process.refresh().steps[step].state == "completed"


@pytest.mark.fault("A7")
def test_a7_a_step_that_only_the_newer_release_knows_is_done_by_the_newer_worker(releases: dict[str, Cluster]) -> None:
    module = releases["2"].module
    processes = [start(module) for _ in range(6)]

    for process in processes:
        with process:
            module.insure.delay(process.id)

    older = releases["1"]
    eventually(lambda: "releases.insure" in older.programs[0].output, what="thrown away by the older worker")
    older.app.control.cancel_consumer(
        "releases", destination=["first@test"], reply=True, timeout=5
    )  # it goes, in the end
    for process in processes:
        eventually(lambda process=process: is_completed(process, "insure"), within_s=40, what="insured")  # type: ignore[misc]
        assert releases["2"].diary.read(f"insured {process.id}") == [""]
        assert process.steps["insure"].attempt == 1
    older.consume("releases", by="first")


@pytest.mark.fault("A7")
def test_a7_the_older_release_moves_its_own_step_of_a_newer_process_and_keeps_the_other(
    releases: dict[str, Cluster],
) -> None:
    newer = start(releases["2"].module)

    older = releases["1"].module.trellis.get_process(newer.id)
    with older:
        releases["1"].module.pack.apply_async((newer.id,), queue="first")

    eventually(lambda: is_completed(newer, "pack"), what="packed")
    assert releases["1"].diary.read(f"packed {newer.id}") == ["1"]
    assert newer.state == "in_progress"
    assert newer.steps["insure"].state == "pending"
    older.complete_step("insure", by="somebody")
    assert newer.refresh().state == older.refresh().state == "completed"


@pytest.mark.fault("A7")
def test_a7_a_process_without_the_newer_step_is_completed_by_the_newer_release(releases: dict[str, Cluster]) -> None:
    older = start(releases["1"].module)

    with older:
        releases["1"].module.pack.apply_async((older.id,), queue="second")

    eventually(lambda: older.refresh().state == "completed", what="completed")
    assert releases["2"].diary.wait_for(f"insured {older.id}") == [""]
    assert list(older.steps) == ["pack"]
    assert [event.kind for event in older.history()].count(EventKind.STEP_COMPLETED) == 1
