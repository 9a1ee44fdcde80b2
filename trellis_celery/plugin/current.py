"""`current_step`: what a task's body may ask about its own run."""

from __future__ import annotations

from trellis_celery.plugin import context
from trellis_celery.plugin.run import Run


class CurrentStep:
    """The step that the running task does."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __repr__(self) -> str:
        return f"<step {self.step_name} of {self.process_id}, attempt {self.attempt}>"

    @property
    def process_id(self) -> str:
        return self._run.key.process_id

    @property
    def step_name(self) -> str:
        return self._run.key.step_name

    @property
    def attempt(self) -> int:
        """1 for the first attempt. With the process id and the step name it makes an idempotency key."""
        return self._run.attempt

    def heartbeat(self, *, extend_ms: int) -> bool:
        """Move the deadline to `extend_ms` from now. False if the attempt was replaced or the step is finished.

        Raises DefinitionError for a duration that makes no sense, StoreUnavailable.
        """
        return self._run.heartbeat(extend_ms=extend_ms)

    def is_current(self) -> bool:
        """Whether this attempt still counts. A long body may ask, and end early if not. Raises StoreUnavailable."""
        return self._run.is_current()


def current_step() -> CurrentStep | None:
    """The step that the running task does; None outside of a tracked run."""
    run = context.current_run()
    return None if run is None else CurrentStep(run)
