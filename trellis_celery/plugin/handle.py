"""A process as users hold it."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from trellis_celery.domain.events import Event
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.step import ProcessStep
from trellis_celery.plugin import context

if TYPE_CHECKING:
    from trellis_celery.plugin.extension import Trellis


class ProcessHandle:
    """One process: look at it, move its steps, and, with ``with``, send tasks that belong to it.

    `state` and `steps` are as they were when the process was last read or changed through this handle; `refresh` reads
    it again.
    """

    def __init__(self, trellis: Trellis, process: Process) -> None:
        self._trellis = trellis
        self._process = process

    def __repr__(self) -> str:
        return f"<{self._process.process_type} {self.id} {self.state}>"

    @property
    def id(self) -> str:
        return self._process.id

    @property
    def state(self) -> ProcessState:
        return self._process.state

    @property
    def steps(self) -> dict[str, ProcessStep]:
        """The steps by name, in the order of declaration."""
        return dict(self._process.steps)

    @property
    def process(self) -> Process:
        """All that was read: tenant, aggregate, metadata, times."""
        return self._process

    def history(self) -> list[Event]:
        """Everything that happened to the process, oldest first."""
        return self._trellis.processes.history(self._process)

    def refresh(self) -> Self:
        """Read the process again; return the handle."""
        self._process = self._trellis.processes.get_process(self.id)
        return self

    def complete_step(self, step_name: str, *, by: str = "", reopen: bool = False) -> None:
        """Complete a step. Does nothing to a completed one; raises InvalidTransition if it failed, StepNotFound.

        `reopen`: complete a failed one as well, because what it is about was done in another way. Raises ProcessExists
        if another process is live for the business key by now.
        """
        self._trellis.processes.complete_step(self._process, step_name, by=by, reopen=reopen)

    def fail_step(self, step_name: str, error: str, *, by: str = "") -> None:
        """Fail a step. Does nothing to a failed one; raises InvalidTransition if it was completed, StepNotFound."""
        self._trellis.processes.fail_step(self._process, step_name, error, by=by)

    def retry_step(self, step_name: str, *, by: str = "") -> None:
        """Try a step again that has failed or was given up, as a new attempt with all its retries.

        Raises InvalidTransition for any other step, StepNotFound.
        """
        self._trellis.processes.retry_step(self._process, step_name, by=by)

    def close_incident(self, step_name: str, *, by: str = "", note: str = "") -> None:
        """Note that a step that was given up has been looked at. Raises InvalidTransition if it has no incident."""
        self._trellis.processes.close_incident(self._process, step_name, by=by, note=note)

    def cancel(self, *, reason: str = "cancelled", by: str = "") -> None:
        """Cancel every step that is not finished. Tasks that still run may end, but no longer count."""
        self._trellis.processes.cancel(self._process, reason=reason, by=by)
        self.refresh()

    def __enter__(self) -> Self:
        self._trellis.require_guards()
        context.entered.set((*context.entered.get(), (self._trellis, self._process)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        context.entered.set(context.entered.get()[:-1])
