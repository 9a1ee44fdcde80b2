"""A broker that swallows what it is sent and never answers."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from tests.support.apps.making import WORKER_LOST_MS
from tests.support.cluster import Cluster
from tests.support.proxy import Proxy
from tests.support.waiting import eventually, stays
from trellis_celery import EventKind, ProcessHandle
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.testing import RecordingRequeuer

pytestmark = pytest.mark.integration


def start(cluster: Cluster, process_type: str) -> ProcessHandle:
    process: ProcessHandle = cluster.trellis.start_process(
        getattr(cluster.module, process_type), tenant_id="tests", aggregate_type="Hung", aggregate_id=uuid4().hex
    )
    with process:
        sent = cluster.module.hang.delay()
    cluster.diary.wait_for(f"ran {sent.id}")
    return process


@pytest.mark.fault("B12")
def test_a_long_step_is_not_taken_for_lost_while_its_workers_own_check_hangs_on_the_broker(
    start_cluster: Callable[..., Cluster], valkey_server: str
) -> None:
    with Proxy(int(valkey_server.rpartition(":")[2])) as proxy:
        cluster = start_cluster("tests.support.apps.checking", broker_url=f"redis://127.0.0.1:{proxy.port}/0")
        cluster.worker(name="behind-the-proxy")
        elsewhere = TimeoutCheckerService(
            cluster.trellis.store, requeuer=RecordingRequeuer(), worker_lost_ms=WORKER_LOST_MS, check_interval_ms=1_000
        )
        healthy, late = start(cluster, "Patient"), start(cluster, "Hasty")

        proxy.is_blackhole = True

        def is_hanging() -> bool:
            return late.refresh().steps["work"].deadline_kind == "handoff"

        def is_held() -> bool:
            elsewhere.check_for_timed_out_steps(by="elsewhere")
            return healthy.refresh().steps["work"].attempt == 1

        eventually(is_hanging, what="the late step claimed by the worker")
        assert stays(is_held, for_s=WORKER_LOST_MS / 1000 * 2)
        assert is_hanging(), "the worker's check did not hang for long enough"
        assert EventKind.STEP_TIMED_OUT not in [event.kind for event in healthy.history()]
        cluster.close()
