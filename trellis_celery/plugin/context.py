"""Which process a task is sent in: the innermost `with` block, or else the process of the running task."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from celery._state import get_current_worker_task

from trellis_celery.domain.process import Process
from trellis_celery.plugin import headers
from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.run import Run, run_of

#: The processes of the `with` blocks around the running code, the innermost last.
entered: ContextVar[tuple[Process, ...]] = ContextVar("trellis_entered", default=())


def entered_process() -> Process | None:
    """The process of the innermost `with` block."""
    stack = entered.get()
    return stack[-1] if stack else None


def running_request() -> Any:
    """Celery's request of the task that runs here; None outside of one. Tasks that it calls directly are part of it."""
    task = get_current_worker_task()
    return None if task is None else task.request


def header_of_request(request: Any) -> Header | None:
    """The header of the message that a request came with."""
    return headers.from_wire(getattr(request, headers.NAME, None)) or headers.read(getattr(request, "headers", None))


def current_run() -> Run | None:
    """The tracked run that this code is in."""
    request = running_request()
    return None if request is None else run_of(request)
