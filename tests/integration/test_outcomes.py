"""Every way in which a Celery task can end, and what its step becomes.

One prefork worker and one beat serve all the rows; a row that needs a worker to die has one of its own, and the shared
worker takes over its queue afterwards. All rows are started together and then looked at one by one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from tests.support.cluster import Cluster
from tests.support.programs import Program
from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessHandle, process_step

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Row:
    """One outcome of a task, and what is expected of the step."""

    task: str
    #: How the step ends, after how many attempts, and how often a body was run.
    state: str = "completed"
    attempts: int | tuple[int, ...] = 1
    runs: int = 1
    #: Part of the step's last error.
    error: str | None = None
    process_type: str = "Work"
    options: dict[str, Any] = field(default_factory=dict)
    #: Done to the task once its body runs.
    then: Callable[[Cluster, str], object] | None = None
    #: The row of the fault catalogue that this proves.
    fault: str = ""


def revoke(signal_name: str | None) -> Callable[[Cluster, str], object]:
    def then(cluster: Cluster, task_id: str) -> None:
        cluster.diary.wait_for(f"ran {task_id}")
        cluster.app.control.revoke(task_id, terminate=True, signal=signal_name)

    return then


def revoke_before_start(cluster: Cluster, task_id: str) -> None:
    worker = cluster.programs[0]
    eventually(lambda: f"[{task_id}] received" in worker.output, what="task received")
    cluster.app.control.revoke(task_id)


ROWS = {
    "success": Row("succeed"),
    "exception": Row("explode", "failed", error="ValueError: no such referral"),
    "exception without a text": Row("explode_unspeakably", "failed", error="Unspeakable, whose text cannot be had"),
    "self.retry": Row("retry", runs=2, fault="A14"),
    "self.retry that does not raise": Row("retry_and_return", runs=2, fault="A14"),
    "self.retry that does not raise, and the body does": Row("retry_and_explode", runs=2, fault="A14"),
    "autoretry_for": Row("autoretry", runs=2, fault="A14"),
    "retry exhausted": Row("retry_in_vain", "failed", runs=2, error="never", fault="A14"),
    "Ignore": Row("ignore", "cancelled", error="raised Ignore", fault="A14"),
    "Reject, early ack": Row("reject", "failed", error="bad message", fault="A14"),
    "Reject, late ack": Row("reject_late", "failed", error="bad message", fault="A14"),
    "Reject with requeue, early ack": Row("reject_requeue", runs=2, fault="A14"),
    "Reject with requeue, late ack": Row("reject_requeue_late", runs=2, fault="A14"),
    "replace": Row("replace", runs=2, fault="A14"),
    "replace by a chain": Row("replace_by_chain", runs=3, fault="A14"),
    "soft time limit": Row("soft_limit", "failed", error="SoftTimeLimitExceeded", fault="W7"),
    "soft time limit swallowed until the hard one": Row("swallows_soft_limit", attempts=2, runs=2, fault="W7"),
    "hard time limit": Row("hard_limit", attempts=2, runs=2, fault="W7"),
    "hard time limit, no retries permitted": Row(
        "hard_limit", "failed", error="TimeLimitExceeded", process_type="Once", fault="W7"
    ),
    "hard time limit, late ack, requeued": Row("hard_limit_late", attempts=2, runs=2, fault="W7"),
    "child killed, early ack": Row("killed", attempts=2, runs=2, fault="W1"),
    "child killed, late ack": Row("killed_late", attempts=2, runs=2, fault="W1"),
    "child killed, reject_on_worker_lost": Row("killed_reject", attempts=2, runs=2, fault="W2"),
    # Celery notices a lost child at once or seconds later; its retry is of the same attempt, ours is the next.
    "child killed, retry_on_worker_lost": Row("killed_retry", attempts=(1, 2), runs=2, fault="W1"),
    "child killed every time": Row(
        "killed_always", "failed", attempts=2, runs=2, error="gave up after attempt 2", fault="W1"
    ),
    "child killed every time, reject_on_worker_lost": Row(
        "killed_always_reject", "failed", attempts=2, runs=2, error="gave up after attempt 2", fault="W2"
    ),
    "sys.exit": Row("exits", attempts=2, runs=2, fault="W9"),
    "KeyboardInterrupt": Row("interrupts", attempts=2, runs=2, fault="W9"),
    "os._exit": Row("exits_at_once", attempts=2, runs=2, fault="W9"),
    "interpreter crashed": Row("crashes", attempts=2, runs=2, fault="W9"),
    "result not serialisable": Row("unserialisable", "failed", error="EncodeError"),
    "revoked before the start": Row(
        "succeed",
        "cancelled",
        runs=0,
        error="revoked",
        options={"countdown": 4},
        then=revoke_before_start,
        fault="A15",
    ),
    "revoked and terminated": Row("sleeps", "cancelled", error="revoked", then=revoke("SIGTERM"), fault="A15"),
    "revoked and killed": Row("sleeps", "cancelled", error="revoked", then=revoke("SIGKILL"), fault="A15"),
    "expired": Row("succeed", "failed", runs=0, error="expired", options={"expires": -1}),
}


class Started(NamedTuple):
    process: ProcessHandle
    task_id: str


def start(cluster: Cluster, name: str, task: str, *, process_type: str = "Work", **options: Any) -> Started:
    process = cluster.trellis.start_process(
        getattr(cluster.module, process_type), tenant_id="tests", aggregate_type="Row", aggregate_id=name
    )
    with process:
        sent = getattr(cluster.module, task).apply_async(**options)
    return Started(process, sent.id)


def finished(started: Started) -> ProcessHandle:
    eventually(lambda: started.process.refresh().state.is_terminal, within_s=40, what="finished")
    return started.process


def times(process: ProcessHandle, kind: EventKind) -> int:
    return sum(event.kind is kind for event in process.history())


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    cluster = start_cluster("tests.support.apps.outcomes")
    cluster.worker(concurrency=8, wait=False)
    cluster.beat()
    cluster.wait_for_worker(cluster.programs[0])
    return cluster


@pytest.fixture(scope="module")
def started(cluster: Cluster, request: pytest.FixtureRequest) -> dict[str, Started]:
    """All rows that this run of pytest has selected, on their way."""
    wanted = [item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")]
    chosen = {name: row for name, row in ROWS.items() if name in wanted}
    started = {
        name: start(cluster, name, row.task, process_type=row.process_type, **row.options)
        for name, row in chosen.items()
    }
    for name, row in chosen.items():
        if row.then is not None:
            row.then(cluster, started[name].task_id)
    return started


def of_catalogue(rows: Mapping[str, Row | Death]) -> list[Any]:
    """The names of the rows, each with what it proves."""
    return [
        pytest.param(name, id=name, marks=pytest.mark.fault(row.fault) if row.fault else ())
        for name, row in rows.items()
    ]


@pytest.mark.parametrize("name", of_catalogue(ROWS))
def test_a_step_becomes_what_its_task_came_to(cluster: Cluster, started: dict[str, Started], name: str) -> None:
    row = ROWS[name]

    process = finished(started[name])

    step = process.steps["work"]
    runs = len(cluster.diary.read(f"ran {started[name].task_id}"))
    attempts = row.attempts if isinstance(row.attempts, tuple) else (row.attempts,)
    assert (step.state, runs) == (row.state, row.runs), process.history()
    assert step.attempt in attempts
    assert (row.error or "") in (step.last_error or "")
    assert times(process, EventKind.STEP_COMPLETED) == (row.state == "completed")


@pytest.mark.parametrize("becomes", ["revoked", "expired"])
def test_what_becomes_of_a_second_message_for_the_same_call_is_not_what_becomes_of_the_step(
    cluster: Cluster, becomes: str
) -> None:
    first = start(cluster, f"twice, {becomes}", "succeed", countdown=6)
    with first.process:
        second = cluster.module.succeed.apply_async(**{"expires": -1} if becomes == "expired" else {"countdown": 2})
    if becomes == "revoked":
        revoke_before_start(cluster, second.id)

    assert finished(first).steps["work"].state == "completed"
    assert len(cluster.diary.read(f"ran {first.task_id}")) == 1


@pytest.mark.fault("A6")
def test_a_step_whose_task_no_worker_knows_waits_for_one_and_says_which_task(cluster: Cluster) -> None:
    process = cluster.trellis.start_process(
        cluster.module.Work, tenant_id="tests", aggregate_type="Row", aggregate_id="unknown task"
    )

    @process_step(cluster.module.Work.work)
    @cluster.app.task(name="outcomes.only_here")
    def only_here() -> None: ...

    with process:
        only_here.delay()

    eventually(lambda: EventKind.STEP_RELEASED in [event.kind for event in process.history()], what="thrown away")
    work = process.refresh().steps["work"]
    assert (work.state, work.attempt, work.deadline_kind) == ("pending", 1, "queue")
    assert "does not know the task outcomes.only_here" in (work.last_error or "")
    process.cancel()


# A worker of its own, and what is done to it


@dataclass(frozen=True)
class Death:
    task: str
    #: Done to the worker once the body runs.
    blow: Callable[[Program], object]
    state: str = "completed"
    attempts: int = 1
    runs: int = 1
    error: str = ""
    #: Of the worker.
    options: tuple[str, ...] = ()
    #: As of `Row`.
    fault: str = ""


def kill_main_only(worker: Program) -> None:
    os.kill(worker.pid, signal.SIGKILL)


def asked(number: int) -> Callable[[Program], object]:
    return lambda worker: worker.signal(number)


DEATHS = {
    "warm shutdown": Death("naps", asked(signal.SIGTERM), fault="W12"),
    "cold shutdown, early ack": Death("sleeps", asked(signal.SIGQUIT), attempts=2, runs=2, fault="W12"),
    "cold shutdown, late ack": Death("sleeps_late", asked(signal.SIGQUIT), attempts=2, runs=2, fault="W12"),
    "soft shutdown, long enough": Death(
        "naps", asked(signal.SIGQUIT), options=("--", "worker.soft_shutdown_timeout=10"), fault="W12"
    ),
    "soft shutdown, not long enough": Death(
        "sleeps",
        asked(signal.SIGQUIT),
        attempts=2,
        runs=2,
        options=("--", "worker.soft_shutdown_timeout=1"),
        fault="W12",
    ),
    "whole worker killed, early ack": Death("sleeps", Program.kill, attempts=2, runs=2, fault="W3"),
    "whole worker killed, late ack": Death("sleeps_late", Program.kill, attempts=2, runs=2, fault="W3"),
    "main process killed": Death("sleeps", kill_main_only, attempts=2, runs=2, fault="W3"),
    "MemoryError": Death("out_of_memory", lambda worker: None, "failed", error="MemoryError"),
}


class Killed(NamedTuple):
    started: Started
    worker: Program


@pytest.fixture(scope="module")
def killed(cluster: Cluster, request: pytest.FixtureRequest) -> dict[str, Killed]:
    """For each row a worker of its own with the row's task, and the blow dealt."""
    wanted = {item.callspec.params.get("death") for item in request.session.items if hasattr(item, "callspec")}
    queues = {name: f"dying-{number}" for number, name in enumerate(DEATHS) if name in wanted}
    workers = {
        name: cluster.worker("-Q", queue, *DEATHS[name].options, name=queue, concurrency=1, wait=False)
        for name, queue in queues.items()
    }
    killed = {}
    for name, worker in workers.items():
        cluster.wait_for_worker(worker)
        killed[name] = Killed(start(cluster, name, DEATHS[name].task, queue=queues[name]), worker)
    for name, (started, worker) in killed.items():
        cluster.diary.wait_for(f"ran {started.task_id}")
        DEATHS[name].blow(worker)
    for name, (_, worker) in killed.items():
        worker.wait()
        cluster.consume(queues[name], by="worker")
    return killed


@pytest.mark.parametrize("death", of_catalogue(DEATHS))
def test_a_step_outlives_its_worker(cluster: Cluster, killed: dict[str, Killed], death: str) -> None:
    row = DEATHS[death]

    process = finished(killed[death].started)

    step = process.steps["work"]
    runs = len(cluster.diary.read(f"ran {step.task_id}"))
    assert (step.state, step.attempt, runs) == (row.state, row.attempts, row.runs), process.history()
    assert row.error in (step.last_error or "")
