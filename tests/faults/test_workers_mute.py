"""The only worker there is lives, and neither hears nor says anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.cluster import BROKER_URL, Cluster
from tests.support.examining import seen
from tests.support.job import Job
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from trellis_celery.doctor import Level

pytestmark = pytest.mark.integration


@pytest.mark.fault("W15")
def test_w15_the_doctor_tells_that_no_worker_answers_and_that_steps_wait(
    start_cluster: Callable[..., Cluster], valkey_server: str
) -> None:
    with Proxy(int(valkey_server.rpartition(":")[2])) as proxy:
        cluster = start_cluster("tests.support.apps.hardship")
        cluster.worker(name="mute", env={BROKER_URL: f"redis://127.0.0.1:{proxy.port}/0"})

        store = cluster.trellis.store

        def said() -> dict[str, Level]:
            report = seen(cluster.trellis, cluster.module.Patient, patience_s=0.5)
            return {finding.check: finding.level for finding in report.findings}

        assert said()["workers-answer"] is Level.OK
        proxy.is_blackhole = True
        Job(cluster, "Patient", "work")
        eventually(lambda: store.due(now_ms=store.now_ms(), limit=1), what="the step late")

        levels = said()
        assert levels["workers-answer"] is Level.WARNING
        assert levels["check-due"] is not Level.OK
        cluster.close()
