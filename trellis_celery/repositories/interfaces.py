"""What a team implements to keep processes and trackers in a database of its own.

A repository makes no decisions. It keeps what it is given, never replaces a record by one that was not made from it,
and finds records again. Each method is one operation of the database: all of it is written, or nothing.

Every method raises StoreUnavailable when the database does not answer, and CorruptRecord for what it cannot read.
`trellis_celery.testing.StoreContract` tells whether a pair of repositories keeps these promises.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.machine_clock import machine_now_ms
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.ports import LastCheck, LeaseKey


class ProcessRepository(ABC):
    """Keeps processes. At most one process holds a business key; a finished one holds none."""

    def now_ms(self) -> int:
        """Epoch ms. This machine's; return the database's time where several machines share it."""
        return machine_now_ms()

    @abstractmethod
    def add(self, process: Process, events: Sequence[Event] = (), *, replaces: str | None = None) -> None:
        """Store a new process, let it hold its business key, and start its log with `events`.

        Raises ProcessExists with the holder's id if the key is held, unless by the process with the id `replaces`.
        """

    @abstractmethod
    def save(self, process: Process, events: Sequence[Event] = ()) -> None:
        """Replace the stored process and append `events` to its log.

        Raises StaleWrite unless the stored version is `process.version - 1`. A process that has become terminal lets go
        of its business key; one that is no longer terminal takes it if nobody holds it.
        """

    @abstractmethod
    def get_by_id(self, process_id: str) -> Process | None:
        """The process with this id. Changing the returned object does not change what is stored."""

    @abstractmethod
    def get_by_aggregate(self, key: BusinessKey) -> Process | None:
        """The process that holds the business key."""

    @abstractmethod
    def list_newest(self, *, state: ProcessState | None, limit: int) -> list[Process]:
        """The processes started last, newest first: of one state, or of all if `state` is None."""

    @abstractmethod
    def all_timed_out(self, *, now_ms: int, limit: int) -> list[Process]:
        """Processes whose own deadline, `process.own.deadline_ms`, is at or before `now_ms`; the oldest deadline first.

        Finished processes are left out.
        """

    @abstractmethod
    def history(self, process_id: str) -> list[Event]:
        """The process's log in the order it was appended to; empty for an unknown process."""

    @abstractmethod
    def delete(self, process_id: str) -> None:
        """Remove the process, its log, and its hold on the business key. Does nothing if there is no such process."""


class StepTrackerRepository(ABC):
    """Keeps the trackers of steps, and when they were last checked."""

    def now_ms(self) -> int:
        """Epoch ms. This machine's; return the database's time where several machines share it."""
        return machine_now_ms()

    @abstractmethod
    def add(self, tracker: StepTracker, events: Sequence[Event] = ()) -> None:
        """Store the first tracker of a step and start its log with `events`. Raises StaleWrite if there is one."""

    @abstractmethod
    def save(self, tracker: StepTracker, events: Sequence[Event] = ()) -> None:
        """Replace the stored tracker and append `events` to its log.

        Raises StaleWrite unless there is one, of version `tracker.step.version - 1`.
        """

    @abstractmethod
    def get(self, process_id: str, step_name: str) -> StepTracker | None:
        """The tracker of this step."""

    @abstractmethod
    def all_of(self, process_id: str) -> list[StepTracker]:
        """The trackers of the process's steps, in any order."""

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
    def history(self, process_id: str) -> list[Event]:
        """The logs of the process's steps; in each, in the order it was appended to."""

    @abstractmethod
    def delete(self, process_id: str, step_name: str) -> None:
        """Remove the tracker and its log. Does nothing if there is none."""

    @abstractmethod
    def last_check(self) -> LastCheck:
        """What was noted last; `LastCheck()` if nothing was."""

    @abstractmethod
    def note_check(self, check: LastCheck) -> None:
        """Keep this for all who check and all who renew."""
