"""The thread that each worker's main process runs for trellis.

It renews the leases of the steps that this worker's pool runs, and it runs the check itself when nobody has run it for
three intervals. So neither a dead beat, nor a full queue, nor a pool whose every slot hangs can stop it.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any

from celery import bootsteps, signals
from celery.worker import state

from trellis_celery.plugin import headers
from trellis_celery.plugin.signals import trellis_of
from trellis_celery.ports import LeaseKey

if TYPE_CHECKING:
    from trellis_celery.plugin.extension import Trellis

logger = logging.getLogger(__name__)

#: The check is overdue after so many intervals.
MISSED_CHECKS = 3


class KeepAlive(bootsteps.StartStopStep):
    """A worker bootstep with its own daemon thread."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def include_if(self, worker: Any) -> bool:
        return trellis_of(worker.app) is not None

    def start(self, worker: Any) -> None:
        """Raises ConfigurationError: a worker that cannot track should not start as if it could."""
        trellis = worker.app.trellis
        trellis.store  # noqa: B018 - opened for its errors
        # The pool stops after this step, and its tasks may take their time to end: renew until all has stopped.
        signals.worker_shutdown.connect(self._end)
        self._thread = threading.Thread(target=self._run, args=(worker, trellis), name="trellis", daemon=True)
        self._thread.start()

    def stop(self, worker: Any) -> None:
        """Nothing: see `start`."""

    def terminate(self, worker: Any) -> None:
        self._end()

    def _end(self, **_: Any) -> None:
        self._stopped.set()

    def _run(self, worker: Any, trellis: Trellis) -> None:
        interval_s = trellis.settings.renew_interval_ms / 1000
        is_failing = False
        while not self._stopped.wait(interval_s):
            try:
                self._tick(worker, trellis)
                is_failing = False
            except Exception:  # the thread must outlive anything; said once until it works again
                if not is_failing:
                    logger.exception("keep_alive_failed")
                is_failing = True

    def _tick(self, worker: Any, trellis: Trellis) -> None:
        settings, store = trellis.settings, trellis.store
        now_ms = store.now_ms()
        last = store.renew(_running_leases(), until_ms=now_ms + settings.worker_lost_ms)
        if store.now_ms() - last.at_ms > MISSED_CHECKS * settings.check_interval_ms:
            trellis.timeouts.check_for_timed_out_steps(by=f"worker {worker.hostname}")


def _running_leases() -> list[LeaseKey]:
    """The attempts that this worker's pool runs right now."""
    leases = []
    for request in _active_requests():
        header = headers.read(request.request_dict)
        if header is None or header.step_name is None or not header.is_for(request.id):
            continue
        if _is_alive(request.worker_pid):
            leases.append(LeaseKey(header.process_id, header.step_name, max(header.attempt, 1)))
    return leases


def _is_alive(pid: int | None) -> bool:
    """Whether the pool process is there. Celery goes on counting its task as active for up to `worker_lost_wait`."""
    if pid is None:  # accepted this very moment
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _active_requests() -> list[Any]:
    while True:
        try:
            return list(state.active_requests)
        except RuntimeError:  # the set grew while it was copied
            continue
