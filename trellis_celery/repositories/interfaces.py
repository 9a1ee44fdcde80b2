"""What a team implements to keep processes and trackers in a database of its own.

A repository makes no decisions. It keeps what it is given, never replaces a record by one that was not made from it,
and finds records again. Each method is one operation of the database: all of it is written, or nothing; where a method
takes several things or says so, each of them alone. What was written is read by everybody from then on: no reads from
replicas that may be behind.

Every method raises StoreUnavailable when the database does not answer, and CorruptRecord for what it cannot read.
`trellis_celery.testing.RepositoryContract` tells whether a pair of repositories keeps these promises.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.machine_clock import machine_now_ms
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessSummary
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.ports import LastCheck, LeaseKey


class ProcessRepository(ABC):
    """Keeps processes. At most one process holds a business key; a finished one holds none.

    With each process it keeps when the process was last written while it was terminal, `since_ms`: the time of the
    write, or one more than the last `since_ms` if that is later. It is not forgotten when the process is reopened.
    """

    def now_ms(self) -> int:
        """Epoch ms. This machine's; return the database's time where several machines share it."""
        return machine_now_ms()

    # Each process

    @abstractmethod
    def add(self, process: Process, events: Sequence[Event] = (), *, replaces: str | None = None) -> None:
        """Store a new process, let it hold its business key, and start its log with `events`.

        Raises ProcessExists: with the process's own id if it is stored already; with the holder's if the business key
        is held, unless by the process with the id `replaces`.
        """

    @abstractmethod
    def save(self, process: Process, events: Sequence[Event] = ()) -> None:
        """Replace the stored process and append `events` to its log.

        Raises StaleWrite unless the stored version is `process.version - 1`. A terminal process waits for being
        archived since now, and lets go of its business key; another takes the key if nobody holds it.
        """

    @abstractmethod
    def get_by_id(self, process_id: str) -> Process | None:
        """The process with this id. Changing the returned object does not change what is stored."""

    @abstractmethod
    def get_by_aggregate(self, key: BusinessKey) -> Process | None:
        """The process that holds the business key."""

    @abstractmethod
    def history(self, process_id: str) -> list[Event]:
        """The process's log in the order it was appended to; empty for an unknown process."""

    @abstractmethod
    def delete(self, process_id: str, *, version: int, finished_since_ms: int | None = None) -> bool:
        """Remove the process, its log, and its hold on the business key, if it is of this version; tell whether it was.

        `finished_since_ms`: only if it is terminal, and this is its `since_ms`.
        """

    # All of them

    @abstractmethod
    def list_newest(self, only: ProcessFilter, *, limit: int, after: Position | None) -> list[ProcessSummary]:
        """Processes in the order of their positions, the greatest first; `after`: those behind this position."""

    @abstractmethod
    def all_timed_out(self, *, now_ms: int, limit: int) -> list[Process]:
        """Processes whose `next_deadline_ms` is at or before `now_ms`, the oldest first."""

    @abstractmethod
    def finished(
        self, *, is_archived: bool, until_ms: int | None, limit: int, after: Finished | None
    ) -> list[Finished]:
        """Terminal processes whose `since_ms` is at or before `until_ms`, oldest first; `after`: those behind it.

        `is_archived` False: those that wait for being archived.
        """

    @abstractmethod
    def count_finished(self, *, is_archived: bool) -> int:
        """How many processes `finished` would list."""

    @abstractmethod
    def mark_archived(self, finished: Sequence[Finished]) -> None:
        """Let each process wait no longer whose `since_ms` is still this."""


class StepTrackerRepository(ABC):
    """Keeps the trackers of steps, and when they were last checked.

    A tracker of the empty name belongs to a process that somebody set out to delete; it is kept like every other.
    """

    def now_ms(self) -> int:
        """Epoch ms. This machine's; return the database's time where several machines share it."""
        return machine_now_ms()

    # Each tracker

    @abstractmethod
    def add(self, tracker: StepTracker, events: Sequence[Event] = ()) -> None:
        """Store the first tracker of a step and append `events` to the log. Raises StaleWrite if there is one."""

    @abstractmethod
    def save(self, tracker: StepTracker, events: Sequence[Event] = ()) -> None:
        """Replace the stored tracker and append `events` to the log.

        Raises StaleWrite unless there is one, of version `tracker.step.version - 1`. If the stored one has a lease of
        the same attempt, that stays instead of the new one's: only `renew` moves a lease.
        """

    @abstractmethod
    def get(self, process_id: str, step_name: str) -> StepTracker | None:
        """The tracker of this step."""

    # All of a process

    @abstractmethod
    def all_of(self, process_id: str) -> list[StepTracker]:
        """The trackers of the process's steps, in any order."""

    @abstractmethod
    def uncopied_of(self, process_id: str) -> list[StepTracker]:
        """Those of them that have a `copy_due_ms`, at whatever time."""

    @abstractmethod
    def history(self, process_id: str) -> list[Event]:
        """The log of the process's steps, in the order it was appended to."""

    @abstractmethod
    def delete(self, process_id: str) -> None:
        """Remove the trackers of the process and their logs. Does nothing if there are none.

        Where that takes several operations, the tracker of the empty name goes last.
        """

    # What is due

    @abstractmethod
    def all_timed_out(self, *, now_ms: int, limit: int) -> list[StepTracker]:
        """Trackers whose `deadline_ms` is at or before `now_ms`, the oldest deadline first."""

    @abstractmethod
    def all_lapsed(self, *, now_ms: int, limit: int) -> list[StepTracker]:
        """Trackers whose `lease_until_ms` is at or before `now_ms`, the oldest first."""

    @abstractmethod
    def renew(self, leases: Sequence[LeaseKey], *, until_ms: int) -> None:
        """Set `lease_until_ms` where there is a lease and `step.attempt` is the given one. The version stays."""

    @abstractmethod
    def all_uncopied(self, *, now_ms: int, limit: int) -> list[str]:
        """Processes that have a tracker whose `copy_due_ms` is at or before `now_ms`, each once, the oldest first."""

    @abstractmethod
    def mark_copied(self, trackers: Sequence[StepTracker]) -> None:
        """Set `copy_due_ms` to None where `step.version` is still that of the given tracker. The version stays."""

    @abstractmethod
    def last_check(self) -> LastCheck:
        """What was noted last; `LastCheck()` if nothing was."""

    @abstractmethod
    def note_check(self, check: LastCheck) -> None:
        """Keep this for all who check and all who renew."""
