"""Every operation is killed before and after every command it sends, and each reply is lost; then all recover.

Nothing may be lost: what was sent comes to its end, and an operation that is repeated succeeds. Nothing may count
twice: an attempt is started once, a step completed once, an event counted once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kombu.exceptions import OperationalError

from tests.faults.crash_points import MOST_COMMANDS, Moment, reaches
from tests.support.apps.making import WORKER_LOST_MS
from tests.support.cluster import Cluster
from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessFilter, ProcessHandle, errors
from trellis_celery.plugin.headers import of_step
from trellis_celery.plugin.run import Run
from trellis_celery.stores.sqlalchemy import schema
from trellis_celery.stores.sqlalchemy.connect import engine_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

APP = "tests.support.apps.crashing"


@pytest.fixture
def cluster(
    start_cluster: Callable[..., Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    url = f"sqlite:///{tmp_path / 'history.db'}"
    monkeypatch.setenv("CRASHING_HISTORY", url)
    engine = engine_for(url, timeout_ms=20_000)
    schema.migrate(engine)
    engine.dispose()
    made = start_cluster(APP)
    yield made
    made.close()


@dataclass
class Bench:
    """What the operations work on."""

    cluster: Cluster
    #: Every business key that there is something about.
    keys: list[tuple[str, str]] = field(default_factory=list)

    @property
    def trellis(self) -> Any:
        return self.cluster.trellis

    def key(self, process_type: str) -> str:
        self.keys.append((process_type, uuid4().hex))
        return self.keys[-1][1]

    def start(self, process_type: str, aggregate_id: str) -> ProcessHandle:
        handle: ProcessHandle = self.trellis.start_process(
            getattr(self.cluster.module, process_type),
            tenant_id="crash",
            aggregate_type="Job",
            aggregate_id=aggregate_id,
        )
        return handle

    def sent(self, step: str) -> ProcessHandle:
        """A job whose task for this step is on its way, and lost there."""
        handle = self.start("Job", self.key("Job"))
        with handle:
            getattr(self.cluster.module, step).delay()
        self.cluster.app.control.purge()
        return handle.refresh()

    def running(self, step: str) -> ProcessHandle:
        """A job of which a run of this step has begun, and will not be heard of again."""
        handle = self.sent(step)
        self.run_of(handle, step).start()
        return handle.refresh()

    def run_of(self, handle: ProcessHandle, step: str) -> Run:
        header = of_step(handle.id, handle.process.process_type, handle.steps[step])
        return Run(self.trellis.recorder, header, celery_retries=0, lease_ms=WORKER_LOST_MS, worker="bench")

    def given_up(self) -> ProcessHandle:
        handle = self.running("try_once")
        eventually(lambda: self.check() and handle.refresh().process.has_incident, within_s=20, what="given up")
        return handle

    def check(self) -> bool:
        self.trellis.timeouts.check_for_timed_out_steps(by="bench")
        return True


Operation = Callable[[], object]


def send(bench: Bench) -> Operation:
    aggregate_id = bench.key("Errand")

    def do() -> None:
        with bench.start("Errand", aggregate_id):
            try:
                bench.cluster.module.run.delay()
            except AttributeError as error:  # what kombu makes of a reply that is lost as it connects
                raise OperationalError(str(error)) from error

    return do


def do_run(bench: Bench) -> Operation:
    handle = bench.sent("wait")
    run = bench.run_of(handle, "wait")

    def do() -> None:
        run.start()
        run.claim_finish()
        run.complete()

    return do


def check_late(bench: Bench) -> Operation:
    bench.running("work")
    return bench.check


def check_unread(bench: Bench) -> Operation:
    bench.sent("wait")
    return bench.check


def check_given_up(bench: Bench) -> Operation:
    bench.running("try_once")
    return bench.check


def by_hand(action: str, prepare: Callable[[Bench], ProcessHandle], *arguments: str) -> Callable[[Bench], Operation]:
    def operation(bench: Bench) -> Operation:
        handle = prepare(bench)
        return partial(getattr(bench.trellis.get_process(handle.id), action), *arguments)

    return operation


def new_job(bench: Bench) -> ProcessHandle:
    return bench.start("Job", bench.key("Job"))


def relay(bench: Bench) -> Operation:
    bench.trellis.relay.relay()  # of all that was there before
    new_job(bench)
    return bench.trellis.relay.relay


def archive(bench: Bench) -> Operation:
    bench.trellis.history.archive_and_remove()  # of all that was there before
    new_job(bench).cancel()
    return bench.trellis.history.archive_and_remove


OPERATIONS: dict[str, Callable[[Bench], Operation]] = {
    "start a process and send a task": send,
    "run a step": do_run,
    "check: the next attempt": check_late,
    "check: a copy of an unread message": check_unread,
    "check: give up": check_given_up,
    "complete by hand": by_hand("complete_step", new_job, "sign"),
    "fail by hand": by_hand("fail_step", new_job, "sign", "no"),
    "retry": by_hand("retry_step", Bench.given_up, "try_once"),
    "close an incident": by_hand("close_incident", Bench.given_up, "try_once"),
    "cancel": by_hand("cancel", new_job),
    "relay events": relay,
    "archive": archive,
}


@pytest.mark.fault("C3", "C5", "B11")
def test_no_crash_point_loses_a_step_or_counts_one_twice(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(cluster)
    points: Counter[str] = Counter()
    for name, operation in OPERATIONS.items():
        for moment in Moment:
            for point in range(1, MOST_COMMANDS):
                do = operation(bench)
                if not reaches(cluster.app, do, point=point, moment=moment):
                    break
                points[name] += 1
                if "by hand" in name or name in ("cancel", "retry", "close an incident"):
                    _repeat(do)
            else:
                pytest.fail(f"{name} never ends")
        assert points[name] >= 3, f"{name} sends nothing"

    report = _recovered(bench)

    with capsys.disabled():
        print(f"\n{points.total()} crash points: {dict(points)}")
        print(f"{report.processes} processes, {report.events} events; lost: {report.lost}, twice: {report.twice}")
    assert (report.lost, report.twice) == ([], [])


def _repeat(do: Operation) -> None:
    """Whoever is not answered asks again, and is told that it is done if it is."""
    with suppress(errors.InvalidTransition):
        do()


@dataclass
class Report:
    processes: int = 0
    events: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)


def _recovered(bench: Bench) -> Report:
    """Everybody is there again: workers, checks, relays and archivers."""
    bench.cluster.worker("-B", "-s", str(Path(bench.cluster._directory) / "schedule"))
    report = Report()
    handles = [handle for key in bench.keys if (handle := _find(bench, *key)) is not None]
    report.processes = len(handles)
    open_steps = partial(_open_steps, handles)
    with suppress(TimeoutError, AssertionError):
        eventually(lambda: not open_steps(), within_s=90, what="all steps that were sent have ended")
    report.lost += [f"step {each}" for each in open_steps()]
    with suppress(TimeoutError, AssertionError):
        eventually(lambda: bench.trellis.store.unrelayed()[0] == 0, within_s=60, what="all is relayed")
    if (unrelayed := bench.trellis.store.unrelayed()[0]) > 0:
        report.lost.append(f"{unrelayed} processes with events that are not relayed")
    with suppress(TimeoutError, AssertionError):
        eventually(lambda: bench.trellis.store.count_finished(is_archived=False) == 0, within_s=30, what="archived")
    if (waiting := bench.trellis.store.count_finished(is_archived=False)) > 0:
        report.lost.append(f"{waiting} finished processes are not archived")
    logged: Counter[EventKind] = Counter()
    for handle in handles:
        history = handle.history()
        logged.update(event.kind for event in history)
        report.twice += _twice(handle, history)
    report.events = logged.total()
    counted: Counter[EventKind] = Counter()
    for group, count in bench.trellis.processes.stats().events.items():
        counted[group.kind] += count
    report.twice += [f"{kind} is counted {counted[kind]}, logged {logged[kind]}" for kind in counted | logged
                     if counted[kind] != logged[kind]]  # fmt: skip
    return report


def _find(bench: Bench, process_type: str, aggregate_id: str) -> ProcessHandle | None:
    """None if the process was never stored: whoever wanted it was killed before."""
    listed = bench.trellis.list_processes(ProcessFilter(aggregate_id=aggregate_id))
    assert len(listed) <= 1, "a business key has two processes"
    return bench.trellis.get_process(listed[0].id) if listed else None


def _open_steps(handles: list[ProcessHandle]) -> list[str]:
    """Steps that were sent, in processes that nobody has cancelled, and have not ended."""
    return [
        f"{handle.id} {step.name} {step.state}"
        for handle in handles
        for step in handle.refresh().steps.values()
        if step.task_id is not None and not step.state.is_terminal
    ]


def _twice(handle: ProcessHandle, history: list[Any]) -> list[str]:
    """What must happen once: the start and the giving up of an attempt, and the completion of a step."""
    once = (EventKind.STEP_STARTED, EventKind.STEP_GAVE_UP, EventKind.STEP_COMPLETED)
    seen = Counter(
        (event.kind, event.step_name, 0 if event.kind is EventKind.STEP_COMPLETED else event.attempt)
        for event in history
        if event.kind in once
    )
    return [f"{handle.id} {kind} {step} {count} times" for (kind, step, _), count in seen.items() if count > 1]
