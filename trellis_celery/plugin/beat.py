"""The check as a periodic task: it runs wherever the team's beat and workers run, under any scheduler."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from celery import Celery

from trellis_celery import errors

if TYPE_CHECKING:
    from trellis_celery.plugin.extension import Trellis

logger = logging.getLogger(__name__)

TASK_NAME = "trellis_celery.check_timeouts"
ENTRY_NAME = "trellis-check-timeouts"


def schedule_check(app: Celery, trellis: Trellis, *, interval_ms: int) -> None:
    """Register the task and its entry in the beat schedule; an entry of that name that the team wrote stays.

    A check that waited longer than one interval is thrown away by the worker: the next is there already. That is said
    on the task and not in the schedule, because some schedulers drop the options of entries.
    """
    interval_s = interval_ms // 1000

    def check_timeouts() -> None:
        try:
            trellis.timeouts.check_for_timed_out_steps(by=f"beat, run by {socket.gethostname()}:{os.getpid()}")
        except errors.StoreUnavailable as error:
            logger.error("check_failed", extra={"error": str(error)})  # the next check is only an interval away

    task: Any = app.task(name=TASK_NAME, ignore_result=True, expires=interval_s, shared=False)(check_timeouts)
    if ENTRY_NAME not in app.conf.beat_schedule:
        app.add_periodic_task(interval_s, task.s(), name=ENTRY_NAME)
