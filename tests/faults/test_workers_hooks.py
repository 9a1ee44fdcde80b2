"""Hooks of the application that raise, wherever Celery calls them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.cluster import Cluster
from tests.support.job import Job

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    cluster = start_cluster("tests.support.apps.hooks")
    worker = cluster.worker(wait=False)
    cluster.beat()
    cluster.wait_for_worker(worker)
    return cluster


@pytest.mark.fault("W16")
@pytest.mark.parametrize(
    ("task", "what", "state", "runs"),
    [
        ("before_start", "succeed", "failed", 0),
        ("on_success", "succeed", "completed", 1),
        ("on_failure", "fail", "failed", 1),
        ("on_retry", "retry", "completed", 2),
        ("after_return", "succeed", "completed", 1),
        ("after_return", "fail", "failed", 1),
        ("with_signals", "succeed", "completed", 1),
        ("with_signals", "fail", "failed", 1),
        ("with_signals", "retry", "completed", 2),
    ],
)
def test_w16_a_step_is_what_its_body_came_to_although_a_hook_raises(
    cluster: Cluster, task: str, what: str, state: str, runs: int
) -> None:
    job = Job(cluster, "Work", task, what)

    assert (*job.finish(), len(job.runs)) == (state, 1, runs)
    if what == "fail":
        assert job.step.last_error == "ValueError: no"


@pytest.mark.fault("W16")
@pytest.mark.parametrize(
    ("arguments", "queue", "error"), [(("page",), "no list", "WRONGTYPE"), ((), "hooks", "TypeError: ")]
)
def test_w16_a_link_that_cannot_be_sent_fails_the_step_and_says_why(
    cluster: Cluster, arguments: tuple[str, ...], queue: str, error: str
) -> None:
    with cluster.broker() as broker:
        broker.set("no list", "foreign")

    job = Job(cluster, "Work", "plain", "succeed", link=cluster.module.tail.s(*arguments).set(queue=queue))

    assert job.finish() == ("failed", 1)
    assert error in (job.step.last_error or "")
