"""What watches one step's time, as the two-repository form keeps it: beside the process, under the step's name."""

from __future__ import annotations

from msgspec import Struct

from trellis_celery.domain.step import ProcessStep, StepState


class StepTracker(Struct, frozen=True):
    """The record of a timed step, with what is needed to send it again.

    A tracker is the authority on its step; the copy of the step inside a stored process may be older.
    """

    process_id: str
    step: ProcessStep
    #: The task's message, as it goes out again. None when no task does the step.
    message: bytes | None = None
    #: When the lease of the running worker ends, epoch ms.
    lease_until_ms: int | None = None
    #: From when on anybody may bring the process's copy of the step up to date, epoch ms. None: it is known to be so.
    copy_due_ms: int | None = None

    @property
    def step_name(self) -> str:
        return self.step.name

    @property
    def timeout_ms(self) -> int | None:
        return self.step.timeout_ms

    @property
    def retries_permitted(self) -> int:
        return self.step.retries_permitted

    @property
    def retry_count(self) -> int:
        return self.step.retry_count

    @property
    def deadline_ms(self) -> int | None:
        """When the current attempt times out, epoch ms; None while nothing runs."""
        return self.step.deadline_ms

    def has_timed_out(self, now_ms: int) -> bool:
        return self.step.deadline_ms is not None and self.step.deadline_ms <= now_ms

    def is_completed(self) -> bool:
        return self.step.state is StepState.COMPLETED
