"""A node of the cluster is lost, and the step goes on."""

from __future__ import annotations

from uuid import uuid4

import pytest
from pytest_celery import CeleryTestSetup

from tests.support.apps.parcels import Parcel
from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessHandle

pytestmark = pytest.mark.integration


def send(setup: CeleryTestSetup, task: str) -> ProcessHandle:
    process: ProcessHandle = setup.app.trellis.start_process(
        Parcel, tenant_id="tests", aggregate_type="Parcel", aggregate_id=uuid4().hex
    )
    with process:
        setup.app.send_task(task, queue=setup.worker.worker_queue)
    return process


def test_a_worker_is_killed_and_the_other_takes_its_step_over(celery_setup: CeleryTestSetup) -> None:
    process = send(celery_setup, "parcels.carry")
    eventually(lambda: process.refresh().steps["carry"].state == "in_progress", what="running")
    by_name = {worker.hostname(): worker for worker in celery_setup.worker_cluster}
    victim = by_name.pop(process.steps["carry"].worker)

    victim.kill()

    eventually(lambda: process.refresh().steps["carry"].state == "completed", what="completed")
    assert process.steps["carry"].attempt == 2
    assert process.steps["carry"].worker in by_name
    assert victim.container.status == "exited"


@pytest.mark.fault("B2")
def test_a_broker_comes_back_empty_and_the_step_it_forgot_is_sent_again(celery_setup: CeleryTestSetup) -> None:
    for worker in celery_setup.worker_cluster:
        worker.kill()
    process = send(celery_setup, "parcels.pack")

    celery_setup.broker.restart(force=True)
    celery_setup.worker.restart()

    eventually(lambda: process.refresh().steps["pack"].state == "completed", what="completed")
    assert process.steps["pack"].attempt == 1
    assert EventKind.STEP_RESENT in [event.kind for event in process.history()]
