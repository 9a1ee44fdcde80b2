"""The periodic tasks: they run wherever the team's beat and workers run, under any scheduler."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import Celery

import trellis_celery
from trellis_celery import errors
from trellis_celery.logs import EventLogger
from trellis_celery.settings import Settings

if TYPE_CHECKING:
    from trellis_celery.plugin.extension import Trellis

logger = EventLogger(__name__)

#: The name of the task that looks for late steps.
CHECK = "trellis_celery.check_timeouts"
#: Nobody else archives, so it has to come through a queue that is long for some time.
HISTORY_PATIENCE_S = 3_600


def schedule(app: Celery, trellis: Trellis, settings: Settings) -> None:
    """Register the tasks and their entries in the beat schedule; an entry of that name that the team wrote stays."""

    def check_timeouts() -> None:
        trellis.timeouts.check_for_timed_out_steps(by=f"beat, run by {socket.gethostname()}:{os.getpid()}")

    def keep_history() -> None:
        trellis.history.archive_and_remove()

    _register(app, check_timeouts, entry="trellis-check-timeouts", interval_ms=settings.check_interval_ms)
    if settings.history_url or settings.retention_ms:
        _register(
            app,
            keep_history,
            entry="trellis-keep-history",
            interval_ms=settings.history_interval_ms,
            patience_s=HISTORY_PATIENCE_S,
        )


def _register(
    app: Celery, do: Callable[[], None], *, entry: str, interval_ms: int, patience_s: int | None = None
) -> None:
    """A task that waited longer than `patience_s` is thrown away by the worker; None: than one interval.

    That is said on the task and not in the schedule, because some schedulers drop the options of entries.
    """
    interval_s = interval_ms // 1000

    def run() -> None:
        try:
            do()
        except (errors.StoreUnavailable, errors.SchemaOutdated) as error:  # the next one is only an interval away
            logger.error("store_unavailable", extra={"task": do.__name__, "error": str(error)})

    name = f"trellis_celery.{do.__name__}"
    make: Any = app.task
    task = make(
        name=name,
        ignore_result=True,
        expires=patience_s or interval_s,
        shared=False,
        trellis_version=trellis_celery.__version__,  # an attribute, that `inspect registered` tells of every worker
    )(run)
    if entry not in app.conf.beat_schedule:
        app.add_periodic_task(interval_s, task.s(), name=entry)
