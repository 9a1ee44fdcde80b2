"""What happened: the entries of a process's log, and the one event that a timeout handler gets."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class EventKind(StrEnum):
    """What can happen to a step or a process."""

    STEP_QUEUED = "step_queued"
    #: The message could not be published after all, and whoever sent it was told so.
    STEP_WITHDRAWN = "step_withdrawn"
    STEP_STARTED = "step_started"
    STEP_COMPLETED = "step_completed"
    STEP_FAILED = "step_failed"
    STEP_CANCELLED = "step_cancelled"
    #: Celery's own retry: the same attempt waits for another run.
    STEP_RETRYING = "step_retrying"
    #: The task was replaced by another that will finish under the same task id.
    STEP_HANDED_OVER = "step_handed_over"
    #: The run gave its message back to the broker.
    STEP_RELEASED = "step_released"
    #: The message waited too long and a further copy of it goes out.
    STEP_RESENT = "step_resent"
    STEP_TIMED_OUT = "step_timed_out"
    STEP_REENQUEUED = "step_reenqueued"
    STEP_GAVE_UP = "step_gave_up"
    STEP_REOPENED = "step_reopened"
    #: Somebody has looked at a step that was given up, and lets it be: the detail says why.
    INCIDENT_CLOSED = "incident_closed"
    #: The worker that ran the step is gone, or the run ended without an outcome.
    RUN_LOST = "run_lost"
    #: A run was not allowed to start: the detail says why.
    RUN_REFUSED = "run_refused"
    #: An outcome came after the step was finished or its attempt replaced. It changes nothing.
    OUTCOME_LATE = "outcome_late"
    PROCESS_STARTED = "process_started"
    PROCESS_OVERDUE = "process_overdue"
    PROCESS_COMPLETED = "process_completed"
    PROCESS_FAILED = "process_failed"
    PROCESS_CANCELLED = "process_cancelled"


class Event(Struct, frozen=True):
    """One thing that happened to a step, or to the process itself when `step_name` is empty."""

    kind: EventKind
    step_name: str
    attempt: int
    #: Epoch milliseconds by the store's clock.
    occurred_at_ms: int
    detail: str = ""
    #: The person or program that did it on purpose; empty for what a task or the checker did.
    by: str = ""


class ProcessStepTimedOut(Struct, frozen=True, kw_only=True):
    """An attempt of a step ran out of time, or its worker was lost."""

    process_id: str
    step_name: str
    #: The attempt that ran out of time: 1, 2, …
    attempt: int
    #: Re-enqueues already used when it timed out.
    retry_count: int
    retries_permitted: int
    #: Epoch milliseconds by the store's clock.
    occurred_at_ms: int
    reason: str = ""

    def has_fully_timed_out(self) -> bool:
        """Whether no re-enqueue is left: the step is given up."""
        return self.retry_count >= self.retries_permitted

    def allows_retries(self) -> bool:
        """Whether the step may be re-enqueued at all."""
        return self.retries_permitted > 0
