"""What somebody with access to the broker can do by headers where there is no key of signatures, and what not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.support.broker_access import Taken, put, take
from tests.support.cluster import Cluster
from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessHandle, errors
from trellis_celery.domain.identity import new_process_id
from trellis_celery.domain.queries import ProcessFilter

pytestmark = [pytest.mark.integration, pytest.mark.fault("X6")]


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    cluster = start_cluster("tests.support.apps.signed", env={"TRELLIS_TEST_SIGNING_KEY": ""})
    cluster.worker(concurrency=1)
    return cluster


def send_payment(cluster: Cluster) -> tuple[ProcessHandle, Taken]:
    """A process whose message was taken out of its queue."""
    process = cluster.trellis.start_process(
        cluster.module.Payment, tenant_id="tests", aggregate_type="Order", aggregate_id=uuid4().hex
    )
    with process:
        cluster.module.pay.apply_async(queue="nobody")
    return process.refresh(), take(cluster, "nobody")


def put_and_wait(cluster: Cluster, message: Taken) -> None:
    """Until a message that was put in behind it is through: the worker runs one at a time."""
    process, behind = send_payment(cluster)
    put(cluster, "signed", message)
    put(cluster, "signed", behind)
    eventually(lambda: process.refresh().steps["pay"].state == "completed", what="the message behind it is through")


def with_record(message: Taken, place: int, value: Any, **changed: Any) -> Taken:
    """The message with one field of the step's record changed."""
    record = json.loads(message.headers["trellis"]["record"])
    record[place] = value
    return message.with_trellis(record=json.dumps(record), **changed)


RETRIES_PERMITTED = 2


def test_x6_without_a_key_a_forged_header_makes_a_task_of_the_app_do_a_step_and_says_how_often_it_is_tried(
    cluster: Cluster,
) -> None:
    victim, message = send_payment(cluster)
    forged = with_record(message, RETRIES_PERMITTED, 999).with_headers(task="signed.tell")

    put(cluster, "signed", forged)

    eventually(lambda: victim.refresh().steps["pay"].state == "completed", what="completed by another task")
    assert cluster.diary.read(f"tell {message.task_id}")
    assert victim.steps["pay"].retries_permitted == 999


def test_x6_a_record_of_another_version_than_the_stores_is_not_believed(cluster: Cluster) -> None:
    victim, message = send_payment(cluster)

    put(cluster, "signed", with_record(message, RETRIES_PERMITTED, 999, version=7))

    eventually(lambda: victim.refresh().steps["pay"].state == "completed", what="completed")
    assert victim.steps["pay"].retries_permitted == 1


@pytest.mark.parametrize("attempt", [1, 50])
def test_x6_no_header_brings_a_finished_step_back(cluster: Cluster, attempt: int) -> None:
    victim, message = send_payment(cluster)
    victim.complete_step("pay")
    before = victim.refresh().steps["pay"]

    put_and_wait(cluster, message.with_trellis(attempt=attempt))

    assert victim.refresh().steps["pay"].stored_as(before.version) == before  # each refusal is logged, and a version
    assert cluster.diary.read(f"pay {message.task_id}") == []
    assert victim.history()[-1].kind is EventKind.RUN_REFUSED


def test_x6_no_header_makes_a_process_or_a_step_that_does_not_exist(cluster: Cluster) -> None:
    victim, message = send_payment(cluster)
    nowhere = new_process_id(victim.process.key)

    put_and_wait(cluster, message.with_trellis(process=nowhere))
    put_and_wait(cluster, message.with_trellis(step="steal"))

    with pytest.raises(errors.ProcessNotFound):
        cluster.trellis.get_process(nowhere)
    assert list(victim.refresh().steps) == ["pay", "tell"]
    found = cluster.trellis.list_processes(ProcessFilter(process_type="Payment"), limit=100)
    assert nowhere not in {summary.id for summary in found}
