"""Workers on machines whose wall clock is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from tests.support.apps.making import WORKER_LOST_MS
from tests.support.cluster import Cluster
from tests.support.job import Job
from tests.support.wall_clock import WallClock
from trellis_celery import EventKind

pytestmark = pytest.mark.integration

#: How far ahead they are.
OFF_S = {"ahead": 3_600, "behind": -3_600}


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster], tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Two workers with such a clock, and a beat without."""
    cluster = start_cluster("tests.support.apps.hardship")
    for name, seconds in OFF_S.items():
        clock = WallClock(tmp_path_factory.mktemp(name))
        clock.set_off(seconds)
        cluster.worker("-Q", f"{name},hardship", name=name, concurrency=3, env=clock.env, wait=False)
    cluster.beat()
    for worker in cluster.programs[:2]:
        cluster.wait_for_worker(worker)
        assert _off_s(worker.output) == pytest.approx(OFF_S[worker.name], abs=60), "the shim does not work"
    return cluster


class Jobs(NamedTuple):
    #: Its time runs out.
    late: Job
    #: It takes three leases.
    long: Job


@pytest.fixture(scope="module")
def jobs(cluster: Cluster) -> dict[str, Jobs]:
    """For each of the workers."""
    return {
        name: Jobs(
            Job(cluster, "Hasty", "held", queue=name),
            Job(cluster, "Patient", "work", 3 * WORKER_LOST_MS / 1000, queue=name),
        )
        for name in OFF_S
    }


@pytest.mark.fault("W11")
@pytest.mark.parametrize("name", OFF_S)
def test_w11_a_worker_whose_clock_is_an_hour_off_keeps_its_steps_as_long_as_any_other(
    jobs: dict[str, Jobs], name: str
) -> None:
    late, long = jobs[name]

    assert late.finish() == ("completed", 2)
    assert long.finish() == ("completed", 1)

    late.let_go()
    at_ms = {event.kind: event.occurred_at_ms for event in late.process.history() if event.attempt == 1}
    assert 1_500 <= at_ms[EventKind.STEP_TIMED_OUT] - at_ms[EventKind.STEP_STARTED] < 10_000
    assert long.times(EventKind.RUN_LOST) == 0


def _off_s(output: str) -> float:
    """How far ahead a program is that has just written its first line with a time."""
    (first,) = re.findall(r"^\[(\S+ \S+),\d+: ", output, re.MULTILINE)[:1]
    return (datetime.fromisoformat(first).astimezone(UTC) - datetime.now(UTC)).total_seconds()
