"""Another server takes the place of the broker's, behind a Sentinel, under workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.breaking import APP, MASTER, STORE, send, wait_until_completed
from tests.support.cluster import Cluster
from tests.support.failover import Pair, watched_pair
from tests.support.redis_forms import MASTER_NAME

pytestmark = pytest.mark.integration


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with watched_pair(tmp_path) as pair:
        yield pair


@pytest.fixture
def cluster(start_cluster: Callable[..., Cluster], pair: Pair) -> Iterator[Cluster]:
    """Broker and store are behind the Sentinel."""
    env = {MASTER: MASTER_NAME, STORE: pair.url}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in env.items():
            environment.setenv(name, value)
        cluster = start_cluster(APP, broker_url=pair.url, env=env)
        cluster.worker("-B", "-s", "schedule", is_supervised=True)
        yield cluster
        cluster.close()


@pytest.mark.fault("B6")
def test_b6_steps_that_run_and_steps_that_wait_outlive_the_master_of_their_broker_and_store(
    cluster: Cluster, pair: Pair
) -> None:
    sent = [send(cluster, 4).wait_until_running(), *(send(cluster, 0.5) for _ in range(5))]

    pair.master.kill()
    pair.wait_for_promotion()

    wait_until_completed(*sent, within_s=40)
    assert {one.step.attempt for one in sent} == {1}
