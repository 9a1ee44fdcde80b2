"""What trellis needs from the world around it. Each port has adapters in the packages above this one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

from msgspec import Struct, field

from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessSummary, Stats
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.transitions import Transition

#: What a listing asks for if nothing is said: every process.
EVERYTHING = ProcessFilter()


class Clock(Protocol):
    """The one source of time."""

    def now_ms(self) -> int:
        """Epoch milliseconds. Never the wall clock of a host: the store's, or a test's."""
        ...


class StepKey(NamedTuple):
    """Which step: of which process, of which name. The empty name is the process's own record."""

    process_id: str
    step_name: str


class LeaseKey(NamedTuple):
    """Which attempt of which step a worker runs."""

    process_id: str
    step_name: str
    attempt: int


class Due(Struct, frozen=True):
    """A clock that has run out."""

    key: StepKey
    #: When it ran out, epoch ms.
    since_ms: int
    #: The attempt whose worker lease lapsed; None: the step's deadline passed.
    lapsed_attempt: int | None = None


class Change(Struct, frozen=True, kw_only=True):
    """A transition of one step, to be written if nobody wrote the step since `transition.before.version`."""

    process_id: str
    transition: Transition
    #: The task's message to keep for sending it again; None keeps what there is.
    message: bytes | None = None
    #: The worker lease the transition takes out ends this long from now, ms.
    lease_ms: int = 0
    #: Its log entries wait for being relayed to other services, see `Outbox`.
    is_announced: bool = False
    #: The transition tells that a message was sent so long after the clock that asked for it had run out, ms.
    lateness_ms: int | None = None
    #: Tells this write from every other, so that repeating it after a lost reply does not count twice.
    token: str = field(default_factory=lambda: os.urandom(8).hex())

    @property
    def key(self) -> StepKey:
        return StepKey(self.process_id, self.transition.before.name)

    @property
    def occurred_at_ms(self) -> int:
        """When it happened, epoch ms; 0 if there is nothing to tell."""
        events = self.transition.events
        return events[-1].occurred_at_ms if events else 0


class Committed(Struct, frozen=True):
    """The change was written, now or by an earlier try of the same call."""

    #: The record as stored, with its new version.
    step: ProcessStep
    state_before: ProcessState
    state_after: ProcessState


class Conflict(Struct, frozen=True):
    """Nothing was written: somebody else wrote the step first, or it does not exist."""

    #: The record as it is now; None if there is no such step or process.
    current: ProcessStep | None


class LastCheck(Struct, frozen=True):
    """When timed-out steps were last looked for."""

    #: Epoch ms; 0 if never.
    at_ms: int = 0
    by: str = ""
    #: Lapsed leases count from here on: workers get time to renew after everything stood still. Epoch ms.
    leases_count_from_ms: int = 0


class ProcessStore(Clock, Protocol):
    """Keeps processes. Every method raises StoreUnavailable if the store does not answer, and no driver's errors."""

    def create(self, process: Process, *, replaces: str | None = None, is_announced: bool = False) -> str:
        """Store a new process unless a live one has its business key; return the id of the live one.

        `replaces`: an id that the business key may wrongly belong to, because its process is gone. `is_announced`: as
        of a `Change`.
        """
        ...

    def load(self, process_id: str) -> Process:
        """The whole process. Raises ProcessNotFound, CorruptRecord."""
        ...

    def load_steps(self, keys: Sequence[StepKey]) -> list[ProcessStep | Exception | None]:
        """The records in the order of the keys: None where there is none, CorruptRecord where one is damaged."""
        ...

    def find(self, key: BusinessKey) -> str | None:
        """The id of the live process with this business key."""
        ...

    def commit(self, changes: Sequence[Change]) -> list[Committed | Conflict | Exception]:
        """Write each change whose version still holds; the outcomes in order.

        One change is all or nothing: record, deadline, lease, message, counters, indexes, log. One that finishes the
        process is followed in the log by the process's own end, at the same time. Changes are independent: where one
        cannot be written its StoreError stands in its place.
        """
        ...

    def due(self, *, now_ms: int, limit: int, with_leases: bool = True) -> list[Due]:
        """Clocks that have run out, `limit` of each kind at the most: deadlines and, if asked for, leases."""
        ...

    def discard(self, due: Sequence[Due], *, until_ms: int | None) -> None:
        """Take index entries out of the way that lead nowhere: for good, or until `until_ms`. One that moved stays."""
        ...

    def load_messages(self, keys: Sequence[StepKey]) -> list[bytes | None]:
        """The stored messages in the order of the keys."""
        ...

    def renew(self, leases: Sequence[LeaseKey], *, until_ms: int) -> LastCheck:
        """Extend the leases that still stand, and tell when the last check was. A replaced attempt renews nothing."""
        ...

    def history(self, process_id: str) -> list[Event]:
        """The process's log, oldest first."""
        ...

    def list_processes(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[ProcessSummary]:
        """Processes in the order of their positions, newest first; `after`: those behind this position.

        Found by an index: what it costs follows from `limit`, not from how many processes there are.
        """
        ...

    def stats(self) -> Stats:
        """What there is, in numbers. It may take long: for monitoring, every few seconds, and for people."""
        ...

    def last_check(self) -> LastCheck: ...

    def note_check(self, check: LastCheck) -> None: ...

    def finished(
        self, *, is_archived: bool, until_ms: int | None = None, limit: int, after: Finished | None = None
    ) -> list[Finished]:
        """Terminal processes last changed at or before `until_ms`, longest ago first; `after`: those behind it.

        `is_archived` False: those that wait for being archived since. Every change of a terminal process makes it wait
        again, with a later `since_ms`; a process that is no longer terminal is in neither list.
        """
        ...

    def count_finished(self, *, is_archived: bool) -> int:
        """How many processes `finished` would list."""
        ...

    def mark_archived(self, finished: Sequence[Finished]) -> None:
        """Let the processes wait no longer. One that was changed since `since_ms` goes on waiting."""
        ...

    def delete(self, process_id: str, *, finished_since_ms: int | None = None) -> bool:
        """Remove a process and everything about it; tell whether there was one.

        `finished_since_ms`: only if it is terminal and was last changed then, as `finished` told, and nothing of it
        waits for a relay.
        """
        ...


class Unrelayed(Struct, frozen=True, kw_only=True):
    """What happened to a process, of which other services have not been told."""

    process_id: str
    key: BusinessKey
    #: The place of the first of the events in the process's log: 1, 2, …
    first_number: int
    events: Sequence[Event]


@runtime_checkable
class Outbox(Protocol):
    """What a store offers besides if it can keep its announced changes for a relay.

    Whatever is announced waits here from the very commit that wrote it, in the order of the process's log, until it is
    marked. Relays may run side by side and die at any point: what one has claimed, no other gets for a while.
    """

    def claim_unrelayed(self, *, limit: int, until_ms: int) -> list[Unrelayed]:
        """Up to `limit` processes that wait longest; nobody else gets them before `until_ms`."""
        ...

    def mark_relayed(self, process_id: str, *, last_number: int) -> None:
        """Other services know the process's log up to this place. What comes behind it waits again at once."""
        ...

    def unrelayed(self) -> tuple[int, int | None]:
        """How many processes wait or are claimed, and since when the first is to be relayed, epoch ms."""
        ...


@runtime_checkable
class UntrackedCounter(Protocol):
    """What a store offers besides if it counts: `Stats.untracked`, which follows from no change of a process."""

    def add_untracked(self, counts: Mapping[str, int]) -> None:
        """Something went on untracked so often since the last call, by what it was.

        Repeating a call whose reply was lost counts twice.
        """
        ...


class Chronicle(Struct, frozen=True):
    """A finished process with its whole log, as it goes into the archive."""

    process: Process
    events: Sequence[Event]
    finished: Finished


class HistoryArchive(Protocol):
    """Keeps finished processes for good. Every method raises StoreError and no driver's errors."""

    def write(self, chronicles: Sequence[Chronicle]) -> None:
        """Store them all or none. A process is kept once: one that is there already is brought up to date.

        A chronicle that is older than what is there changes nothing.
        """
        ...

    def load(self, process_id: str) -> Process:
        """The process as it was when it was archived last. Raises ProcessNotFound, CorruptRecord."""
        ...

    def history(self, process_id: str) -> list[Event]:
        """The process's log, oldest first."""
        ...

    def list_processes(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[ProcessSummary]:
        """Like `ProcessStore.list_processes`."""
        ...


class Requeuer(Protocol):
    """Sends a step's stored message again."""

    def requeue(self, sendings: Sequence[Sending]) -> list[Exception | None]:
        """Send each message; None where it was accepted, the error in its place where not.

        MessageUnsendable is for good; after any other error it is worth trying again.
        """
        ...


class Sending(Struct, frozen=True):
    """A message on its way out again."""

    process_id: str
    #: The record as it stands while the message is sent: its attempt and version go into the header.
    step: ProcessStep
    #: None: the step has no message, or it is gone.
    message: bytes | None


class EventSink(Protocol):
    """Is told what happened, after it was written."""

    def emit(self, process_id: str, event: Event) -> None:
        """Must not block for long. What it raises is logged, and stops nothing."""
        ...


class SpanOutcome(StrEnum):
    """What a span says about how its run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: Celery runs the task again, within the same attempt.
    RETRYING = "retrying"
    #: The run gave its message back to the broker.
    RELEASED = "released"
    #: The task replaced itself by others.
    HANDED_OVER = "handed_over"
    #: Before the run ended, the step was finished or its attempt replaced.
    LATE = "late"
    #: The check ended the attempt because its time was over. The body may go on.
    TIMED_OUT = "timed_out"
    #: The check ended the attempt because its run is gone.
    LOST = "lost"


class Attempt(Struct, frozen=True, kw_only=True):
    """What a trace tells about a run of an attempt."""

    process_id: str
    process_type: str
    step_name: str
    number: int
    #: Celery's count of its own retries within the attempt.
    celery_retries: int
    task_id: str | None
    worker: str | None
    #: What started the process in a trace; None: not known.
    process_traceparent: str | None


class AttemptSpan(Protocol):
    """A part of a trace, for a run of an attempt. Nobody sees it before it is ended. No method raises."""

    @property
    def traceparent(self) -> str | None:
        """Where it is in its trace, in the form of the W3C; None: it is in none."""
        ...

    def follow(self, traceparent: str | None, *, attempt: int) -> None:
        """The run was accepted: as this attempt, and after the run that has this place in a trace."""
        ...

    def current(self) -> AbstractContextManager[None]:
        """Spans that other code begins within are children of this one. What is raised within is noted."""
        ...

    def end(self, outcome: SpanOutcome, *, error: str = "", at_ms: int | None = None) -> None:
        """`at_ms`: epoch milliseconds; None: now."""
        ...


class Tracer(Protocol):
    """Puts processes and their attempts into traces. Nothing here raises anything of its own."""

    def start_process(self, start: Callable[[str | None], Process], *, process_type: str) -> Process:
        """Call `start` with the place in a trace that the new process is to remember, and return what it returns."""
        ...

    def begin_attempt(
        self, attempt: Attempt, *, started_at_ms: int | None = None, stands_for: str | None = None
    ) -> AttemptSpan:
        """The span of a run that wants to start now, or that started then and will not end its own.

        `stands_for`: the place in a trace of the run's own span.
        """
        ...
