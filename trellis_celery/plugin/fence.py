"""The guard around a task's body, put there as Celery's `autoretry_for` puts its loop: by wrapping `task.run`.

A signal receiver cannot refuse a run, because Celery swallows what it raises; code inside `run` can.
"""

from __future__ import annotations

import functools
from typing import Any

from trellis_celery import errors
from trellis_celery.logs import EventLogger
from trellis_celery.plugin.run import run_of

logger = EventLogger(__name__)

_GUARDED = "__trellis_guarded__"


def guard(task: Any) -> None:
    """From now on, run the body only when the run was accepted, and end it only while it is current."""
    body = task.run
    if getattr(body, _GUARDED, False):
        return

    @functools.wraps(body)
    def run(*args: Any, **kwargs: Any) -> Any:
        tracked = run_of(task.request)
        if tracked is None or tracked.is_executing:
            return body(*args, **kwargs)
        tracked.require_acceptance(task.request)
        result = tracked.execute(body, args, kwargs)
        try:
            tracked.claim_finish()
        except errors.TrellisError as error:  # a store that is down holds up no chain
            logger.error("finish_not_claimed", extra={"step": tracked.key.step_name, "error": str(error)})
        return result

    setattr(run, _GUARDED, True)
    task.run = run
