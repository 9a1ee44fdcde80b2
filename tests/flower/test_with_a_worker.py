"""From the page of a failed process to a real worker, and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.flower.server import ANN, BASIC_AUTH, Visitor, flower
from tests.support.cluster import BROKER_URL, REDIS_URL, Cluster
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

APP = "tests.flower.apps.parcels"


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    cluster = start_cluster(APP)
    cluster.worker()
    return cluster


@pytest.fixture(scope="module")
def ann(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    env = {BROKER_URL: cluster.broker_url, REDIS_URL: cluster.redis_url}
    with flower(APP, BASIC_AUTH, directory=tmp_path_factory.mktemp("flower"), prefix="/ops", env=env) as server:
        yield server.visitor(ANN)


def test_a_step_that_failed_is_retried_by_a_click_and_its_task_runs_again(cluster: Cluster, ann: Visitor) -> None:
    eventually(lambda: "worker@test" in ann.get("/workers").text, what="the worker seen by Flower")
    parcels: Any = cluster.module
    with cluster.trellis.start_process(
        parcels.Parcel, tenant_id="acme", aggregate_type="Parcel", aggregate_id="parcel-1"
    ) as process:
        task_id = parcels.post.delay().id
    page, api = f"/trellis/process/{process.id}", f"/api/trellis/processes/{process.id}"
    eventually(lambda: ann.get(api).data["process"]["state"] == "failed", what="the step failed")

    assert "the post office is closed" in ann.get(page).text
    asked = ann.get(f"{page}/retry", step="post")
    done = ann.post_form(f"{page}/retry", {"_xsrf": asked.token(), "step": "post", "attempt": "1"})
    eventually(lambda: ann.get(api).data["process"]["state"] == "completed", what="the step completed")

    assert done.status == 303
    assert len(cluster.diary.read(f"ran {task_id}")) == 2
    told = [(event["kind"], event["by"]) for event in ann.get(api).data["history"]]
    assert ("step_reopened", "ann via Flower") in told

    links = re.findall(r'href="/ops(/(?:task|worker)/[^"]+)"', ann.get(page).text)
    assert links == [f"/task/{task_id}", "/worker/worker%40test"]
    assert [ann.get(link).status for link in links] == [200, 200]
    assert 'class="t-strip"' in ann.get(page).text, "workers check by themselves where there is no beat"
