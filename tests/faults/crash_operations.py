"""The operations that are killed at every command they send: what each does, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from kombu.exceptions import OperationalError

from tests.faults.crash_bench import TENANT, Bench, is_logged
from tests.support.apps.making import WORKER_LOST_MS
from tests.support.waiting import eventually
from trellis_celery import (
    EventKind,
    Process,
    ProcessFilter,
    ProcessHandle,
    ProcessService,
    ProcessStep,
    StepState,
    errors,
)
from trellis_celery.ports import LeaseKey
from trellis_celery.services.history import HistoryService
from trellis_celery.services.relay import RelayService


def _always() -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One call, made ready. Truths are asked of the store, in a program that is unharmed."""

    do: Callable[[], object]
    #: True as soon as the caller was told that it was done, and from then on.
    has_happened: Callable[[], object] = _always
    #: True in the end, whatever the caller was told, if that was anything.
    comes_to: Callable[[], object] = _always
    #: Whoever is not answered calls again; else nobody does, and trellis itself has to go on.
    is_repeated: bool = False

    def repeat(self) -> None:
        """Do it again, unharmed; it may say that it is done already, if it is."""
        try:
            self.do()
        except errors.InvalidTransition:
            if not self.has_happened():
                raise


DONE, FAILED, CANCELLED = StepState.COMPLETED, StepState.FAILED, StepState.CANCELLED

Prepare = Callable[[Bench], Operation]
Truth = Callable[[ProcessHandle], object]


def is_in(step: str, *states: StepState) -> Truth:
    return lambda handle: handle.refresh().steps[step].state in states


def has_logged(kind: EventKind) -> Truth:
    return lambda handle: is_logged(handle, kind)


def has_incident(handle: ProcessHandle) -> bool:
    return handle.refresh().process.has_incident


def send(bench: Bench) -> Operation:
    aggregate_id = bench.key()

    def do() -> None:
        with bench.start("Errand", aggregate_id):
            try:
                bench.cluster.module.run.delay()
            except AttributeError as error:  # what kombu makes of a reply that is lost as it connects
                raise OperationalError(str(error)) from error

    def sent() -> ProcessHandle | None:
        """None if the store does not know that anything was sent."""
        for summary in bench.trellis.list_processes(ProcessFilter(aggregate_id=aggregate_id)):
            handle: ProcessHandle = bench.trellis.get_process(summary.id)
            return handle if handle.steps["run"].task_id else None
        return None

    def has_run() -> bool:
        handle = sent()
        if handle is None:
            return True
        task_id = handle.steps["run"].task_id
        return handle.steps["run"].state is DONE and bool(bench.cluster.diary.read(f"ran {task_id}"))

    return Operation(do=do, has_happened=sent, comes_to=has_run)


def check(prepare: Callable[[Bench], ProcessHandle], comes_to: Truth, *, logs: EventKind | None = None) -> Prepare:
    def prepared(bench: Bench) -> Operation:
        bench.check()  # of all that was there before
        handle = prepare(bench)
        has_happened = partial(has_logged(logs), handle) if logs else _always
        return Operation(do=bench.check, has_happened=has_happened, comes_to=partial(comes_to, handle))

    return prepared


def by_hand(
    do: Callable[[Bench, ProcessHandle], object],
    prepare: Callable[[Bench], ProcessHandle],
    has_happened: Truth,
    comes_to: Truth | None = None,
) -> Prepare:
    def prepared(bench: Bench) -> Operation:
        handle = prepare(bench)
        return Operation(
            do=partial(do, bench, handle),
            has_happened=partial(has_happened, handle),
            comes_to=partial(comes_to or has_happened, handle),
            is_repeated=True,
        )

    return prepared


def form(bench: Bench) -> ProcessHandle:
    return bench.start("Form")


def relay(bench: Bench) -> Operation:
    bench.trellis.relay.relay()  # of all that was there before
    form(bench).complete_step("sign")
    return Operation(do=bench.trellis.relay.relay)


def archive(bench: Bench) -> Operation:
    bench.trellis.history.archive_and_remove()  # of all that was there before
    form(bench).cancel()
    return Operation(do=bench.trellis.history.archive_and_remove)


def remove(bench: Bench) -> Operation:
    service = ProcessService(bench.aside)
    finished, unfinished = _aside(service), _aside(service)
    service.cancel(finished)

    def is_gone() -> bool:
        is_left = bench.aside.load(unfinished.id).id == unfinished.id
        try:
            bench.aside.load(finished.id)
        except errors.ProcessNotFound:
            return is_left and bench.aside.find(finished.key) is None
        return False

    return Operation(
        do=lambda: HistoryService(bench.aside, retention_ms=1).archive_and_remove(),
        has_happened=is_gone,
        comes_to=is_gone,
        is_repeated=True,
    )


def discard(bench: Bench) -> Operation:
    _aside(ProcessService(bench.aside, announces=True))

    def do() -> int:
        nobody: Any = None
        return RelayService(bench.aside, nobody).discard()

    def is_quiet() -> bool:
        """What was claimed by one that is killed, another gets when the claim has run out."""
        do()
        waiting: int = bench.aside.unrelayed()[0]
        return waiting == 0

    return Operation(do=do, comes_to=is_quiet)


def _aside(service: ProcessService) -> Process:
    return service.start_process(
        tenant_id=TENANT,
        process_type="Aside",
        aggregate_type="Job",
        aggregate_id=uuid4().hex,
        steps=[ProcessStep("sign", external=True)],
    )


def run(how: str, logs: EventKind, *, or_ends: StepState | None = None) -> Prepare:
    """The child of a worker runs a task, from its message on, and the task ends so.

    `or_ends`: how the step may end instead of completed. It fails by the task's own failure only, and is not given up.
    """
    ends = (DONE,) if or_ends is None else (DONE, or_ends)

    def prepared(bench: Bench) -> Operation:
        handle = bench.queued("act", how)
        return Operation(
            do=bench.received(handle, "act").execute,
            has_happened=lambda: is_logged(handle, logs) or (or_ends is FAILED and is_in("act", FAILED)(handle)),
            comes_to=lambda: is_in("act", *ends)(handle) and not has_incident(handle),
        )

    return prepared


def run_second_attempt(bench: Bench) -> Operation:
    """Its finish is claimed in the store before its links and chain would go out."""
    handle = bench.running("work")
    eventually(lambda: bench.check() and handle.refresh().steps["work"].attempt > 1, what="sent again")
    return Operation(
        do=bench.received(handle, "work").execute,
        has_happened=partial(is_in("work", DONE), handle),
        comes_to=partial(is_in("work", DONE), handle),
    )


def lose(bench: Bench) -> Operation:
    """The worker's main process finds the child gone that ran the task."""
    handle = bench.queued("act")
    request = bench.received(handle, "act")
    bench.start_run_of(request)

    def do() -> None:
        try:
            raise WorkerLostError("its child is gone")
        except WorkerLostError:
            request.on_failure(ExceptionInfo())

    has_happened = partial(has_logged(EventKind.RUN_LOST), handle)
    return Operation(do=do, has_happened=has_happened, comes_to=partial(is_in("act", DONE), handle))


def renew(bench: Bench) -> Operation:
    """The worker's main process renews a lease, and is not heard of again."""
    handle = bench.running("act")
    lease = LeaseKey(handle.id, "act", 1)

    def do() -> None:
        store = bench.trellis.store
        store.renew([lease], until_ms=store.now_ms() + WORKER_LOST_MS)

    return Operation(do=do, comes_to=partial(is_in("act", DONE), handle))


#: Claims of events are waited for, and so come first. What checks would take up comes behind the checks: none is to
#: find more and more to do.
OPERATIONS: dict[str, Prepare] = {
    "relay events": relay,
    "discard events": discard,
    "check: an overdue process": check(
        lambda bench: bench.start("Offer"),
        lambda handle: handle.refresh().process.is_overdue,
        logs=EventKind.PROCESS_OVERDUE,
    ),
    "check: alert": check(lambda bench: bench.running("tell"), has_incident, logs=EventKind.STEP_TIMED_OUT),
    "check: give up": check(
        lambda bench: bench.running("try_once"),
        lambda handle: has_incident(handle) and is_logged(handle, EventKind.STEP_GAVE_UP),
        logs=EventKind.STEP_TIMED_OUT,
    ),
    "retry": by_hand(
        lambda _, handle: handle.retry_step("try_once"),
        Bench.given_up,
        has_logged(EventKind.STEP_REOPENED),
        is_in("try_once", DONE, FAILED),
    ),
    "close an incident": by_hand(
        lambda _, handle: handle.close_incident("try_once"),
        Bench.given_up,
        lambda handle: not has_incident(handle) and is_logged(handle, EventKind.INCIDENT_CLOSED),
    ),
    "check: back off": check(
        lambda bench: bench.running("wait_longer"), is_in("wait_longer", DONE), logs=EventKind.STEP_TIMED_OUT
    ),
    "check: the next attempt": check(
        lambda bench: bench.running("work"), is_in("work", DONE), logs=EventKind.STEP_TIMED_OUT
    ),
    "run a second attempt": run_second_attempt,
    "check: a copy of an unread message": check(lambda bench: bench.sent("wait"), is_in("wait", DONE)),
    "start a process and send a task": send,
    "run a step": run("", EventKind.STEP_COMPLETED),
    "run: it fails": run("fail", EventKind.STEP_FAILED, or_ends=FAILED),
    "run: it raises Ignore": run("ignore", EventKind.STEP_CANCELLED, or_ends=CANCELLED),
    "run: it gives its message back": run("requeue", EventKind.STEP_RELEASED),
    # These two send a message, and fail if they are not answered.
    "run: it replaces itself": run("replace", EventKind.STEP_HANDED_OVER, or_ends=FAILED),
    "run: it retries itself": run("retry", EventKind.STEP_RETRYING, or_ends=FAILED),
    "run: it asks for more time": run("heartbeat", EventKind.STEP_COMPLETED),
    "lose a child": lose,
    "renew a lease": renew,
    "start by hand": by_hand(
        lambda bench, handle: bench.trellis.processes.start_step(handle.id, "sign"),
        form,
        is_in("sign", StepState.IN_PROGRESS),
    ),
    "complete by hand": by_hand(lambda _, handle: handle.complete_step("sign"), form, is_in("sign", DONE)),
    "fail by hand": by_hand(lambda _, handle: handle.fail_step("sign", "no"), form, is_in("sign", FAILED)),
    "cancel": by_hand(lambda _, handle: handle.cancel(), form, is_in("sign", CANCELLED)),
    "archive": archive,
    "remove after retention": remove,
}
