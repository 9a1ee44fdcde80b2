"""The threads that each worker's main process runs for trellis.

One renews the leases of the steps that this worker's pool runs. Another runs the check when nobody has run it for
three intervals, so neither a dead beat, nor a full queue, nor a pool whose every slot hangs can stop it. A third relays
events, if there is an exchange for them. Each has its own, because the last two may have to wait for the broker, and
leases must not.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import bootsteps, signals
from celery.worker import state

from trellis_celery.domain.step import ProcessStep
from trellis_celery.logs import EventLogger
from trellis_celery.plugin import headers
from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.signals import trellis_of
from trellis_celery.ports import LeaseKey, StepKey

if TYPE_CHECKING:
    from trellis_celery.plugin.extension import Trellis

logger = EventLogger(__name__)

#: The check is overdue after so many intervals.
MISSED_CHECKS = 3


class KeepAlive(bootsteps.StartStopStep):
    """A worker bootstep with its own daemon threads."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._stopped = threading.Event()

    def include_if(self, worker: Any) -> bool:
        return trellis_of(worker.app) is not None

    def start(self, worker: Any) -> None:
        """Raises ConfigurationError: a worker that cannot track should not start as if it could."""
        trellis: Trellis = worker.app.trellis
        trellis.store  # noqa: B018 - opened for its errors
        trellis.tracer  # noqa: B018 - likewise
        # The pool stops after this step, and its tasks may take their time to end: renew until all has stopped.
        signals.worker_shutdown.connect(self._end)
        self._repeat("trellis-leases", trellis.settings.renew_interval_ms, partial(_renew_leases, worker, trellis))
        if trellis.settings.events_exchange:
            self._repeat("trellis-relay", trellis.settings.check_interval_ms, trellis.relay.relay)
        self._repeat("trellis-check", trellis.settings.check_interval_ms, partial(_check_if_overdue, worker, trellis))

    def stop(self, worker: Any) -> None:
        """Nothing: see `start`."""

    def terminate(self, worker: Any) -> None:
        self._end()

    def _end(self, **_: Any) -> None:
        self._stopped.set()

    def _repeat(self, name: str, interval_ms: int, action: Callable[[], object]) -> None:
        threading.Thread(target=self._run, args=(name, interval_ms, action), name=name, daemon=True).start()

    def _run(self, name: str, interval_ms: int, action: Callable[[], object]) -> None:
        is_failing = False
        while not self._stopped.wait(interval_ms / 1000):
            try:
                action()
                is_failing = False
            except Exception:  # the thread must outlive anything; said once until it works again
                if not is_failing:
                    logger.exception("keep_alive_failed", extra={"what": name})
                is_failing = True


def _renew_leases(worker: Any, trellis: Trellis) -> None:
    leases = _running_leases(worker, trellis)
    trellis.store.renew(leases, until_ms=trellis.store.now_ms() + trellis.settings.worker_lost_ms)
    trellis.untracked.report()


def _check_if_overdue(worker: Any, trellis: Trellis) -> None:
    age_ms = abs(trellis.store.now_ms() - trellis.store.last_check().at_ms)  # the store's clock may be set back
    if age_ms > MISSED_CHECKS * trellis.settings.check_interval_ms:
        trellis.timeouts.check_for_timed_out_steps(by=f"worker {worker.hostname}")


def _running_leases(worker: Any, trellis: Trellis) -> list[LeaseKey]:
    """The attempts that this worker's pool runs right now."""
    leases: list[LeaseKey] = []
    untold: list[Header] = []
    for request in _active_requests():
        header = headers.trusted(request.request_dict, trellis.signer)
        if header is None or header.step_name is None or not header.is_for(request.id):
            continue
        if _is_gone(worker.pool, request.worker_pid):
            continue
        if header.attempt and header.args_digest is None:
            leases.append(LeaseKey(header.process_id, header.step_name, header.attempt))
        else:
            untold.append(header)
    return leases + _taken_up(untold, trellis)


def _taken_up(untold: Sequence[Header], trellis: Trellis) -> list[LeaseKey]:
    """The attempts of runs that had to ask whether they are the step's, and which attempt, and were accepted.

    The store was not told of their messages before they went out, and its answer was for the child.
    """
    if not untold:
        return []
    steps = trellis.store.load_steps([StepKey(header.process_id, header.step_name or "") for header in untold])
    return [
        LeaseKey(header.process_id, step.name, step.attempt)
        for header, step in zip(untold, steps, strict=True)
        if isinstance(step, ProcessStep) and step.run_id == header.run_id
    ]


def _is_gone(pool: Any, pid: int | None) -> bool:
    """Whether a prefork pool's child has ended. Celery counts its task as active for up to `worker_lost_wait` more.

    In the other pools a task runs in this very process, and what stands in for the process id is none.
    """
    prefork = sys.modules.get("celery.concurrency.prefork")  # it takes long to import, and who has such a pool has it
    if pid is None or prefork is None or not isinstance(pool, prefork.TaskPool):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _active_requests() -> list[Any]:
    while True:
        try:
            return list(state.active_requests)
        except RuntimeError:  # the set grew while it was copied
            continue
