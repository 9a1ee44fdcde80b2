"""Nobody can keep what tasks return."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from tests.support.cluster import Cluster
from tests.support.job import Job
from tests.support.waiting import stays

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    """A worker whose result backend is down."""
    cluster = start_cluster("tests.support.apps.hooks")
    worker = cluster.worker(env={"TRELLIS_TEST_RESULTS": "redis://127.0.0.1:1/0"}, wait=False)
    cluster.beat()
    cluster.wait_for_worker(worker)
    return cluster


@pytest.mark.fault("A21")
@pytest.mark.parametrize(
    ("what", "state", "runs"), [("succeed", "completed", 1), ("fail", "failed", 1), ("retry", "completed", 2)]
)
def test_a21_a_step_becomes_what_its_body_came_to_though_its_result_is_kept_nowhere(
    cluster: Cluster, what: str, state: str, runs: int
) -> None:
    job = Job(cluster, "Work", "plain", what)

    assert (*job.finish(), len(job.runs)) == (state, 1, runs), job.process.history()
    if what == "fail":
        assert job.step.last_error == "ValueError: no"


@pytest.mark.fault("A21")
def test_a21_a_link_goes_out_once(cluster: Cluster) -> None:
    page = f"tail {uuid4().hex}"

    job = Job(cluster, "Work", "plain", "succeed", link=cluster.module.tail.s(page))

    cluster.diary.wait_for(page)
    assert job.finish() == ("completed", 1)
    assert stays(lambda: len(cluster.diary.read(page)) == 1, for_s=0.5)
