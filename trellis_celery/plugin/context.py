"""Which process a task is sent in: the innermost `with` block, or else the process of the running task."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

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
    """The process of the innermost `with` block. A program may have several apps, and each its own store."""
    return next((process for whose, process in reversed(entered.get()) if trellis.shares_store_with(whose)), None)


def running_request(trellis: Trellis | None = None) -> Any:
    """Celery's request of the task that runs here; None outside of one. `trellis`: only of one with the same store.

    Tasks that it calls directly are part of it, and so are those by `apply()` that do no step and had no header.
    """
    for task in reversed(_task_stack.stack or ()):
        request = task.request
        if request.called_directly or not _is_of_store(trellis, task):
            continue
        if not request.is_eager or run_of(request) is not None or getattr(request, headers.NAME, None) is not None:
            return request
    return None


def _is_of_store(trellis: Trellis | None, task: Any) -> bool:
    whose = getattr(task.app, "trellis", None)
    return trellis is None or whose is None or trellis.shares_store_with(whose)


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
