"""Several check at once: beats that know nothing of each other, and checks that are slower than they are sent."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest
import redis

from tests.support.cluster import Cluster
from tests.support.programs import Program
from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessHandle
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Sending, StepKey
from trellis_celery.services.timeouts import CheckReport, TimeoutCheckerService
from trellis_celery.stores.redis import RedisStore
from trellis_celery.testing import RecordingRequeuer
from trellis_celery.testing.contract import builders

pytestmark = pytest.mark.integration


def started_and_gone(cluster: Cluster) -> ProcessHandle:
    """A step whose message was taken by a run that nobody hears of again."""
    process: ProcessHandle = cluster.trellis.start_process(
        cluster.module.Hasty, tenant_id="tests", aggregate_type="Check", aggregate_id=uuid4().hex
    )
    with process:
        cluster.module.hang.apply_async((0,), queue="nowhere")
    cluster.trellis.processes.start_step(process.process, "work")
    return process


def checks_by(*workers: Program) -> int:
    return sum(len(re.findall(r"Task trellis_celery.check_timeouts\S+ succeeded", each.output)) for each in workers)


#: Several batches of a check.
STEPS = 1_000


@pytest.mark.fault("C1")
def test_c1_two_beats_and_their_workers_send_each_attempt_once(start_cluster: Callable[..., Cluster]) -> None:
    cluster = start_cluster("tests.support.apps.checking")
    processes = [started_and_gone(cluster) for _ in range(STEPS)]
    beats = [cluster.beat(name=f"beat-{number}") for number in (1, 2)]
    workers = [cluster.worker("-Q", "checking", name=f"checker-{number}") for number in (1, 2)]

    eventually(
        lambda: all(each.refresh().steps["work"].attempt == 2 for each in processes), within_s=60, what="all sent again"
    )
    before = checks_by(*workers)
    eventually(lambda: checks_by(*workers) >= before + 4, what="some more checks")

    sent = [sum(event.kind is EventKind.STEP_REENQUEUED for event in each.history()) for each in processes]
    assert sent == [1] * len(processes)
    with cluster.broker() as broker:
        assert broker.llen("nowhere") == 2 * len(processes), "one message for each attempt"
    assert min(beat.output.count("Sending due task trellis-check-timeouts") for beat in beats) >= 3
    cluster.close()


BUDGET_MS, BATCH = 50, 20


class _Slow(RecordingRequeuer):
    """Takes longer for a batch than a whole check may last."""

    def requeue(self, sendings: Sequence[Sending]) -> list[Exception | None]:
        time.sleep(2 * BUDGET_MS / 1000)
        return super().requeue(sendings)


@pytest.mark.fault("C4")
def test_c4_checks_that_outlast_their_interval_overlap_without_harm_and_each_has_an_end(redis_url: str) -> None:
    checkers, due = 6, 600
    with redis.Redis.from_url(redis_url, max_connections=50) as client:
        store = RedisStore(client)
        for number in range(due):
            process = builders.created(
                store, ProcessStep("step", timeout_ms=1, retries_permitted=1), aggregate_id=str(number)
            )
            builders.apply(store, process, builders.queue(at_ms=store.now_ms()), message=b"message")
            builders.apply(store, process, builders.start(at_ms=store.now_ms() - 1_000, is_leased=False))
        requeuers = [_Slow() for _ in range(checkers)]
        gate = Barrier(checkers)

        def check_until_nothing_is_due(requeuer: _Slow) -> list[CheckReport]:
            checker = TimeoutCheckerService(store, requeuer=requeuer, batch_size=BATCH, budget_ms=BUDGET_MS)
            gate.wait()
            reports = [checker.check_for_timed_out_steps()]
            while store.due(now_ms=store.now_ms(), limit=1):
                reports.append(checker.check_for_timed_out_steps())
            return reports

        with ThreadPoolExecutor(checkers) as pool:
            reports = list(pool.map(check_until_nothing_is_due, requeuers))

        sent = Counter(sending.process_id for requeuer in requeuers for sending in requeuer.sent)
        assert (len(sent), set(sent.values())) == (due, {1})
        assert all(report.retried <= BATCH for of_one in reports for report in of_one), "a check went on after its time"
        assert sum(bool(requeuer.sent) for requeuer in requeuers) >= 2, "one did it all"
        records = store.load_steps([StepKey(process_id, "step") for process_id in sent])
        assert {record.attempt for record in records if isinstance(record, ProcessStep)} == {2}
