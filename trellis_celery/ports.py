"""What trellis needs from the world around it. Each port has adapters in the packages above this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from uuid import uuid4

from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessSummary
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


@dataclass(frozen=True, slots=True)
class Due:
    """A clock that has run out."""

    key: StepKey
    #: When it ran out, epoch ms.
    since_ms: int
    #: The attempt whose worker lease lapsed; None: the step's deadline passed.
    lapsed_attempt: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A transition of one step, to be written if nobody wrote the step since `transition.before.version`."""

    process_id: str
    transition: Transition
    #: The task's message to keep for sending it again; None keeps what there is.
    message: bytes | None = None
    #: The worker lease the transition takes out ends this long from now, ms.
    lease_ms: int = 0
    #: Tells this write from every other, so that repeating it after a lost reply does not count twice.
    token: str = field(default_factory=lambda: uuid4().hex[:16])

    @property
    def key(self) -> StepKey:
        return StepKey(self.process_id, self.transition.before.name)


@dataclass(frozen=True, slots=True)
class Committed:
    """The change was written, now or by an earlier try of the same call."""

    #: The record as stored, with its new version.
    step: ProcessStep
    state_before: ProcessState
    state_after: ProcessState


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing was written: somebody else wrote the step first, or it does not exist."""

    #: The record as it is now; None if there is no such step or process.
    current: ProcessStep | None


@dataclass(frozen=True, slots=True)
class LastCheck:
    """When timed-out steps were last looked for."""

    #: Epoch ms; 0 if never.
    at_ms: int = 0
    by: str = ""
    #: Lapsed leases count from here on: workers get time to renew after everything stood still. Epoch ms.
    leases_count_from_ms: int = 0


class ProcessStore(Clock, Protocol):
    """Keeps processes. Every method raises StoreUnavailable if the store does not answer, and no driver's errors."""

    def create(self, process: Process, *, replaces: str | None = None) -> str:
        """Store a new process unless a live one has its business key; return the id of the live one.

        `replaces`: an id that the business key may wrongly belong to, because its process is gone.
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

        One change is all or nothing: record, deadline, lease, message, counters, indexes, log. Changes are independent:
        where one cannot be written its StoreError stands in its place.
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

        `finished_since_ms`: only if it is terminal and was last changed then, as `finished` told.
        """
        ...


@dataclass(frozen=True, slots=True)
class Chronicle:
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


@dataclass(frozen=True, slots=True)
class Sending:
    """A message on its way out again."""

    process_id: str
    #: The record as it stands while the message is sent: its attempt and version go into the header.
    step: ProcessStep
    #: None: the step has no message, or it is gone.
    message: bytes | None


class EventSink(Protocol):
    """Is told what happened, after it was written."""

    def emit(self, process_id: str, event: Event) -> None:
        """Must not raise and must not block for long."""
        ...
