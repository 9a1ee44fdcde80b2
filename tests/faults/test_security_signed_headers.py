"""With a key of signatures, a header that somebody forged changes nothing, and everything of ours is tracked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord

from tests.support.broker_access import Taken, put, take
from tests.support.cluster import Cluster
from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessHandle
from trellis_celery.plugin.signing import Signer

pytestmark = [pytest.mark.integration, pytest.mark.fault("X6")]

APP = "tests.support.apps.signed"
KEY = "TRELLIS_TEST_SIGNING_KEY"
SECRET = "a key for tests, long enough"


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def cluster(request: pytest.FixtureRequest, start_cluster: Callable[..., Cluster]) -> Iterator[Cluster]:
    broker_url = request.getfixturevalue("rabbitmq_url") if request.param == "rabbitmq" else ""
    cluster = start_cluster(APP, broker_url=broker_url, env={KEY: SECRET})
    cluster.worker("-B", "-s", str(cluster._directory / "schedule"))
    yield cluster
    cluster.close()


def start(cluster: Cluster, process_type: str) -> ProcessHandle:
    process: ProcessHandle = cluster.trellis.start_process(
        getattr(cluster.module, process_type), tenant_id="tests", aggregate_type="Order", aggregate_id=uuid4().hex
    )
    return process


def untracked(cluster: Cluster) -> int:
    """How many headers the worker has told the store of that it did not trust."""
    return int(cluster.trellis.store.stats().untracked.get("signature", 0))


def send_order(cluster: Cluster) -> ProcessHandle:
    """A chord with a chain and with a task that Celery retries, a task that is killed, and one that another sends."""
    tasks, process = cluster.module, start(cluster, "Order")
    with process:
        chord([chain(tasks.check.s("1"), tasks.pack.s()), tasks.ship.s("2")], tasks.thank.s()).apply_async()
        tasks.bill.delay(process.id)
    return process


def test_x6_whatever_way_celery_sends_a_task_its_step_is_tracked(cluster: Cluster) -> None:
    process = send_order(cluster)

    eventually(lambda: process.refresh().state == "completed", what="completed")

    assert {name: step.attempt for name, step in process.steps.items()} == {
        "check": 1,
        "pack": 1,
        "ship": 1,
        "bill": 2,
        "thank": 1,
        "ask": 1,
    }
    kinds = [event.kind for event in process.history()]
    assert kinds.count(EventKind.STEP_RETRYING) == 1
    assert kinds.count(EventKind.STEP_COMPLETED) == 6
    assert not {"received", "signature"} & cluster.trellis.store.stats().untracked.keys()


def of_another_process(message: Taken, victim: ProcessHandle) -> Taken:
    return message.with_trellis(process=victim.id)


def of_another_process_with_no_signature(message: Taken, victim: ProcessHandle) -> Taken:
    return message.with_trellis(process=victim.id, sig=None)


def of_another_process_with_a_key_of_its_own(message: Taken, victim: ProcessHandle) -> Taken:
    forged = message.with_trellis(process=victim.id)
    Signer(["the key of somebody else"]).sign(forged.headers["trellis"], forged.headers)
    return forged


def for_another_step(message: Taken, victim: ProcessHandle) -> Taken:
    return message.with_trellis(step="tell")


def for_a_later_attempt(message: Taken, victim: ProcessHandle) -> Taken:
    return message.with_trellis(attempt=7)


def with_another_record(message: Taken, victim: ProcessHandle) -> Taken:
    record = message.headers["trellis"]["record"]
    return message.with_trellis(record=record.replace("30000,1,", "30000,999,"))


def with_the_task_of_another_step(message: Taken, victim: ProcessHandle) -> Taken:
    return message.with_headers(task="signed.tell")


def with_a_count_of_retries(message: Taken, victim: ProcessHandle) -> Taken:
    return message.with_headers(retries=3)


def as_another_message(message: Taken, victim: ProcessHandle) -> Taken:
    return message.with_headers(id=f"{message.task_id[:-4]}-fff").with_trellis(task=f"{message.task_id[:-4]}-fff")


def as_a_task_that_claims_a_step(message: Taken, victim: ProcessHandle) -> Taken:
    nothing: dict[str, Any] = dict.fromkeys(("step", "task", "attempt", "version", "record"))
    return message.with_headers(id="claiming").with_trellis(process=victim.id, claim=1, **nothing)


def in_a_nested_dict(message: Taken, victim: ProcessHandle) -> Taken:
    forged = message.with_trellis(process=victim.id).headers["trellis"]
    return message.with_headers(trellis=None, headers={"trellis": forged})


FORGERIES = [
    of_another_process,
    of_another_process_with_no_signature,
    of_another_process_with_a_key_of_its_own,
    for_another_step,
    for_a_later_attempt,
    with_another_record,
    with_the_task_of_another_step,
    with_a_count_of_retries,
    as_another_message,
    as_a_task_that_claims_a_step,
    in_a_nested_dict,
]


def test_x6_a_task_with_a_forged_header_runs_and_changes_no_step(cluster: Cluster) -> None:
    process, victim = start(cluster, "Payment"), start(cluster, "Payment")
    with process:
        cluster.module.pay.apply_async(queue="nobody")
    message, before = take(cluster, "nobody"), (process.refresh().steps, victim.refresh().steps)
    counted = untracked(cluster)

    for forge in FORGERIES:
        forged = forge(message, victim)
        assert forged != message, forge.__name__
        ran = f"{forged.headers['task'].removeprefix('signed.')} {forged.task_id}"
        runs = len(cluster.diary.read(ran))
        put(cluster, "signed", forged)
        cluster.diary.wait_for(ran, entries=runs + 1)
        assert (process.refresh().steps, victim.refresh().steps) == before, forge.__name__

    eventually(lambda: untracked(cluster) - counted == len(FORGERIES), what="each counted")
    assert "header_not_signed" in cluster.programs[-1].output
    put(cluster, "signed", message)
    eventually(lambda: process.refresh().steps["pay"].state == "completed", what="the true message does the step")


def test_x6_a_message_with_a_forged_header_that_is_thrown_away_ends_no_step(cluster: Cluster) -> None:
    process, victim = start(cluster, "Payment"), start(cluster, "Payment")
    with process:
        cluster.module.pay.apply_async(queue="nobody")
    with victim:
        cluster.module.pay.apply_async(queue="nobody")
    message, of_victim = take(cluster, "nobody"), take(cluster, "nobody")
    before = victim.refresh().steps
    forged = of_victim.with_trellis(sig=message.headers["trellis"]["sig"])
    revoked = forged.with_headers(id="revoked").with_trellis(task="revoked")
    cluster.app.control.revoke("revoked", destination=["worker@test"], reply=True, timeout=5)
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    put(cluster, "signed", forged.with_headers(task="signed.nobody_knows"))
    put(cluster, "signed", forged.with_headers(expires=past))
    put(cluster, "signed", revoked)
    put(cluster, "signed", message)

    eventually(lambda: process.refresh().steps["pay"].state == "completed", what="the message behind them is through")
    assert victim.refresh().steps == before
    output = cluster.programs[-1].output
    assert "signed.nobody_knows" in output
    assert output.count("Discarding revoked task") >= 2


def test_x6_a_message_with_a_true_header_that_is_thrown_away_ends_its_step(cluster: Cluster) -> None:
    revoked, unknown = start(cluster, "Payment"), start(cluster, "Payment")
    for process in (revoked, unknown):
        with process:
            cluster.module.pay.apply_async(queue="nobody")
    message, renamed = take(cluster, "nobody"), take(cluster, "nobody").with_headers(task="signed.nobody_knows")
    Signer([SECRET]).sign(renamed.headers["trellis"], renamed.headers)
    cluster.app.control.revoke(message.task_id, destination=["worker@test"], reply=True, timeout=5)

    put(cluster, "signed", message)
    put(cluster, "signed", renamed)

    eventually(lambda: revoked.refresh().steps["pay"].state == "cancelled", what="cancelled")
    eventually(lambda: "signed.nobody_knows" in str(unknown.history()), what="said of the step")


def test_x6_a_worker_signs_nothing_that_a_callback_of_a_forged_body_asks_for(cluster: Cluster) -> None:
    victim = start(cluster, "Payment")
    with victim:
        cluster.module.pay.apply_async(queue="nobody")
    message, before = take(cluster, "nobody"), victim.refresh().steps
    wire = message.headers["trellis"] | {"attempt": 9, "sig": None}
    link = cluster.module.pay.si().set(task_id=message.task_id, retries=4, headers={"trellis": wire})

    cluster.module.tell.apply_async(task_id=uuid4().hex, link=link)  # outside of any process

    cluster.diary.wait_for(f"pay {message.task_id}")
    assert victim.refresh().steps == before
