"""Which process a task is sent in: the innermost `with` block, or else the process of the running task."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery._state import _task_stack  # type: ignore[attr-defined]

from trellis_celery.domain.process import Process
from trellis_celery.plugin import headers
from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.run import Run, run_of

if TYPE_CHECKING:
    from trellis_celery.plugin.extension import Trellis

#: The processes of the `with` blocks around the running code, the innermost last, each with whose it is.
entered: ContextVar[tuple[tuple[Trellis, Process], ...]] = ContextVar("trellis_entered", default=())


def entered_process(trellis: Trellis) -> Process | None:
    """The process of the innermost `with` block. A program may have several apps, each with processes of its own."""
    return next((process for whose, process in reversed(entered.get()) if whose is trellis), None)


def running_request(app: Celery | None = None) -> Any:
    """Celery's request of the task that runs here, of whichever app or of this one; None outside of one.

    Tasks that it calls directly are part of it, and so are those by `apply()` that do no step and had no header.
    """
    for task in reversed(_task_stack.stack or ()):
        request = task.request
        if request.called_directly or (app is not None and task.app is not app):
            continue
        if not request.is_eager or run_of(request) is not None or getattr(request, headers.NAME, None) is not None:
            return request
    return None


def header_of_request(request: Any, trellis: Trellis) -> Header | None:
    """The header of the message that a request came with, if it is to be trusted."""
    wire, nested = getattr(request, headers.NAME, None), getattr(request, "headers", None)
    if wire is None and not (isinstance(nested, dict) and headers.NAME in nested):
        return None  # and no settings are read
    message = {name: getattr(request, name, None) for name in ("id", "task", "retries")}
    return headers.trusted({**message, headers.NAME: wire, "headers": nested}, trellis.signer)


def current_run() -> Run | None:
    """The tracked run that this code is in."""
    request = running_request()
    return None if request is None else run_of(request)
