"""The record of one step: what was declared, and how far it is.

A record never changes; the rules in `transitions` return the next one.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.identity import require_identifier

#: Ten years. A longer duration is a mistake of units.
MAX_DURATION_MS = 10 * 366 * 86_400_000
MAX_RETRIES = 1_000
DEFAULT_QUEUE_TIMEOUT_MS = 900_000


class StepState(StrEnum):
    """How far a step is. Completed, failed and cancelled are terminal."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in _TERMINAL


_TERMINAL = frozenset({StepState.COMPLETED, StepState.FAILED, StepState.CANCELLED})


class OnTimeout(StrEnum):
    """What happens when a run is late or lost."""

    RETRY = "retry"
    ALERT = "alert"


class DeadlineKind(StrEnum):
    """Which clock `deadline_ms` belongs to."""

    #: The attempt's message waits for a worker.
    QUEUE = "queue"
    #: The attempt runs.
    RUN = "run"
    #: The run is known to be gone: the next check takes it up.
    LOST = "lost"
    #: The next attempt waits before it is sent.
    BACKOFF = "backoff"
    #: A checker is sending the attempt's message; when this runs out, it died, and the message is sent again.
    HANDOFF = "handoff"
    #: A checker is telling that the step is given up; when this runs out, it died, and it is told again.
    GIVING_UP = "giving_up"
    #: The same for a step that is only told about: nothing else happens to it.
    TELLING = "telling"


class _Named(Struct, frozen=True):
    """What is given by position. The rest of a record is given by name."""

    name: str


class ProcessStep(_Named, frozen=True, kw_only=True):
    """One step of a process.

    Raises DefinitionError or InvalidIdentifier if what is declared makes no sense.
    """

    # Declared once, never changed.
    #: Longest time one attempt may run, ms. None: as long as it likes.
    timeout_ms: int | None = None
    #: How many times a late or lost attempt is followed by another: attempts = 1 + retries_permitted.
    retries_permitted: int = 0
    #: Longest time a message may wait for a worker before a further copy is sent, ms.
    queue_timeout_ms: int = DEFAULT_QUEUE_TIMEOUT_MS
    on_timeout: OnTimeout = OnTimeout.RETRY
    #: Wait before the second attempt, ms; doubles with each further one, with jitter. 0: none.
    backoff_ms: int = 0
    backoff_max_ms: int = 3_600_000
    #: A person or another system completes it; no task is bound to it.
    external: bool = False

    # How far it is.
    state: StepState = StepState.PENDING
    #: Number of the current attempt; 0 before the first.
    attempt: int = 0
    #: Re-enqueues used since the start, or since an operator reopened the step.
    retry_count: int = 0
    #: Further copies of the current attempt's message sent, because it waited too long.
    resend_count: int = 0
    deadline_ms: int | None = None
    deadline_kind: DeadlineKind | None = None
    #: Celery's id of the task that does this step.
    task_id: str | None = None
    #: A digest of the task's arguments: tells a second sending of the same call from another call.
    args_digest: str | None = None
    #: Celery's count of its own retries within the current attempt: an older copy of the message has a lower one.
    celery_retries: int = 0
    #: The run that holds the current attempt, or that finished the step.
    run_id: str | None = None
    #: The run's worker promised to renew a lease while it is alive.
    is_leased: bool = False
    #: When the holding run's body had returned, and it began to send links and chain: no other may finish any more.
    finishing_at_ms: int | None = None
    started_at_ms: int | None = None
    finished_at_ms: int | None = None
    worker: str | None = None
    last_error: str | None = None
    #: The step was given up, or timed out and was only told, and nobody has retried, finished or closed it since.
    has_incident: bool = False
    #: Where the current attempt is in a trace, in the form of the W3C. The process's own record has what started it.
    traceparent: str | None = None
    #: Counts the writes of this record: 1 as its process starts, 0 while it is only declared.
    version: int = 0

    def __post_init__(self) -> None:
        if self.version == 0:  # what comes from a store was checked when it went in
            self._check_declaration()

    def _check_declaration(self) -> None:
        require_identifier("step name", self.name)
        if self.timeout_ms is not None:
            require_duration_ms("timeout_ms", self.timeout_ms, none_means="no timeout")
        require_duration_ms("queue_timeout_ms", self.queue_timeout_ms)
        require_count("retries_permitted", self.retries_permitted, MAX_RETRIES)
        require_count("backoff_ms", self.backoff_ms, MAX_DURATION_MS)
        require_duration_ms("backoff_max_ms", self.backoff_max_ms)
        if self.on_timeout not in tuple(OnTimeout):
            raise errors.DefinitionError(f"on_timeout must be 'retry' or 'alert', not {self.on_timeout!r}")

    def has_timeout(self) -> bool:
        return self.timeout_ms is not None

    @property
    def is_finishing(self) -> bool:
        return self.finishing_at_ms is not None

    @property
    def seen_alive_at_ms(self) -> int | None:
        """When the holding run was last heard of: a lease that ran out before says nothing of it."""
        return self.started_at_ms if self.finishing_at_ms is None else self.finishing_at_ms

    @property
    def needs_message(self) -> bool:
        """Whether the step may have to be sent again: its message, and so its task's arguments, are kept so long."""
        return self.state not in (StepState.COMPLETED, StepState.CANCELLED)

    def first_deadline(self, now_ms: int) -> tuple[int | None, DeadlineKind | None]:
        """The deadline of a new attempt that nothing sends. Nothing will start an external step: its time runs now."""
        if self.external and self.timeout_ms is not None:
            return now_ms + self.timeout_ms, DeadlineKind.RUN
        return None, None

    def stored_as(self, version: int) -> ProcessStep:
        """The record with the version that its store gave it."""
        return replace(self, version=version)

    def can_retry(self) -> bool:
        """Whether one more re-enqueue is permitted."""
        return self.retry_count < self.retries_permitted


def require_duration_ms(field: str, value: object, *, none_means: str = "the default") -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise errors.DefinitionError(f"{field} must be a whole number of milliseconds, not {value!r}")
    if value <= 0:
        raise errors.DefinitionError(f"{field} must be positive, not {value}; leave it out for {none_means}")
    if value > MAX_DURATION_MS:
        raise errors.DefinitionError(f"{field} of {value} ms is more than ten years: is it in milliseconds?")
    return value


def require_count(field: str, value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise errors.DefinitionError(f"{field} must be a whole number, not {value!r}")
    if not 0 <= value <= most:
        raise errors.DefinitionError(f"{field} must be between 0 and {most}, not {value}")
    return value
