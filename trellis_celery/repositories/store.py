"""A process store over a process repository and a tracker repository, which know nothing of each other.

Who is right: from its first change on, a step has a tracker, and the tracker is right about it. The process keeps a
copy of each step, which may be older, and is right about everything else: which steps there are, its own deadline, and
who holds the business key. Without a tracker repository everything is in the process, and steps have neither messages
nor clocks. Without a process repository there are steps only: enough for a checker.

The order of writes, and what a crash between two of them leaves:

start     process, then the trackers of steps whose time runs from the start. Left: such steps without a tracker, which
          starting the same process again adds.
change    tracker with its log entries, which decides; then the process's copies. Left: old copies. `load` and `find`
          see through them; the next change of any step of the process, or the next start with its business key, renews
          them. Only `list_processes` may go by an old state until then.
delete    process, then trackers. Left: trackers without a process, each removed at its next change.

`load` never writes: the writer that renews the copies is the one that learns that it finished the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf

from trellis_celery import errors
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.process import OWN_RECORD, Process, ProcessState
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.ports import Change, Committed, Conflict, Due, LastCheck, LeaseKey, StepKey
from trellis_celery.repositories.interfaces import ProcessRepository, StepTrackerRepository

#: A stale write means that somebody else got on; this many in a row on one process do not happen.
MAX_TRIES = 1_000


class RepositoryStore:
    """A `ProcessStore` over two repositories, one of which may be missing.

    A repeated write is not recognised as one's own but is a conflict, which costs a second look and no more.
    """

    def __init__(self, processes: ProcessRepository | None, trackers: StepTrackerRepository | None) -> None:
        self._process_repository = processes
        self._tracker_repository = trackers
        self._last_check = LastCheck()
        #: Index entries that lead nowhere, until when they are passed over. After a restart they are looked at again.
        self._set_aside: dict[Due, float] = {}

    def now_ms(self) -> int:
        if self._tracker_repository is None:
            return self._processes.now_ms()
        return self._tracker_repository.now_ms()

    # Processes

    def create(self, process: Process, *, replaces: str | None = None) -> str:
        started = Event(EventKind.PROCESS_STARTED, OWN_RECORD, 0, process.started_at_ms)
        for _ in range(MAX_TRIES):
            try:
                self._processes.add(process, [started], replaces=replaces)
            except errors.ProcessExists as exists:
                if not self._is_finished(exists.process_id):
                    return exists.process_id
            else:
                self._track_from_start(process)
                return process.id
        raise _too_many_tries(process.id)

    def load(self, process_id: str) -> Process:
        process = self._processes.get_by_id(process_id)
        if process is None:
            raise errors.ProcessNotFound(process_id=process_id)
        return self._up_to_date(process)

    def find(self, key: BusinessKey) -> str | None:
        process = self._processes.get_by_aggregate(key)
        if process is None or self._up_to_date(process).state.is_terminal:
            return None
        return process.id

    def list_processes(self, *, state: ProcessState | None = None, limit: int = 50) -> list[Process]:
        listed = map(self._up_to_date, self._processes.list_newest(state=state, limit=limit))
        return [process for process in listed if state is None or process.state is state]

    def history(self, process_id: str) -> list[Event]:
        events = self._processes.history(process_id)
        if self._tracker_repository is not None:
            events = events + self._tracker_repository.history(process_id)
        return sorted(events, key=lambda event: event.occurred_at_ms)

    def delete(self, process_id: str) -> None:
        self._processes.delete(process_id)
        for tracker in self._trackers_of(process_id):
            self._trackers.delete(process_id, tracker.step_name)

    # Steps

    def load_steps(self, keys: Sequence[StepKey]) -> list[ProcessStep | Exception | None]:
        return [self._step_or_error(key) for key in keys]

    def load_messages(self, keys: Sequence[StepKey]) -> list[bytes | None]:
        trackers = [self._tracker(key) for key in keys]
        return [None if tracker is None else tracker.message for tracker in trackers]

    def commit(self, changes: Sequence[Change]) -> list[Committed | Conflict | Exception]:
        return [self._commit_or_error(change) for change in changes]

    # Clocks

    def due(self, *, now_ms: int, limit: int, with_leases: bool = True) -> list[Due]:
        self._set_aside = {item: until_ms for item, until_ms in self._set_aside.items() if until_ms > now_ms}
        enough = limit + len(self._set_aside)
        deadlines = self._due_processes(now_ms, enough) + self._due_steps(now_ms, enough)
        leases = self._lapsed_leases(now_ms, enough) if with_leases else []
        return [*self._oldest(deadlines, limit), *self._oldest(leases, limit)]

    def discard(self, due: Sequence[Due], *, until_ms: int | None) -> None:
        self._set_aside.update({item: inf if until_ms is None else until_ms for item in due if self._stands(item)})

    def renew(self, leases: Sequence[LeaseKey], *, until_ms: int) -> LastCheck:
        if self._tracker_repository is not None and leases:
            self._tracker_repository.renew(leases, until_ms=until_ms)
        return self.last_check()

    def last_check(self) -> LastCheck:
        return self._last_check if self._tracker_repository is None else self._tracker_repository.last_check()

    def note_check(self, check: LastCheck) -> None:
        if self._tracker_repository is None:
            self._last_check = check
        else:
            self._tracker_repository.note_check(check)

    # The two repositories

    @property
    def _processes(self) -> ProcessRepository:
        if self._process_repository is None:
            raise errors.ConfigurationError("this needs a process repository, and there is none")
        return self._process_repository

    @property
    def _trackers(self) -> StepTrackerRepository:
        if self._tracker_repository is None:
            raise errors.ConfigurationError("this needs a tracker repository, and there is none")
        return self._tracker_repository

    def _tracker(self, key: StepKey) -> StepTracker | None:
        return None if self._tracker_repository is None else self._tracker_repository.get(*key)

    def _trackers_of(self, process_id: str) -> list[StepTracker]:
        return [] if self._tracker_repository is None else self._tracker_repository.all_of(process_id)

    def _step(self, key: StepKey) -> ProcessStep | None:
        """The record of the step by whoever is right about it."""
        tracker = self._tracker(key)
        if tracker is not None:
            return tracker.step
        if self._process_repository is None:
            return None
        process = self._process_repository.get_by_id(key.process_id)
        return None if process is None else _record(process, key.step_name)

    def _step_or_error(self, key: StepKey) -> ProcessStep | Exception | None:
        try:
            return self._step(key)
        except errors.CorruptRecord as error:
            return error

    # Copies in the process

    def _up_to_date(self, process: Process) -> Process:
        """The process with the steps as their trackers have them; the same object if it has them already."""
        newer = [
            tracker.step
            for tracker in self._trackers_of(process.id)
            if tracker.step.version > process.step(tracker.step_name).version
        ]
        return _with_records(process, newer) if newer else process

    def _renew_copies(self, process_id: str) -> tuple[ProcessState, ProcessState] | None:
        """Store the process up to date. Returns its states before and after; None if there is no such process."""
        if self._process_repository is None:  # nobody here knows the other steps
            return ProcessState.IN_PROGRESS, ProcessState.IN_PROGRESS
        for _ in range(MAX_TRIES):
            stored = self._process_repository.get_by_id(process_id)
            if stored is None:
                return None
            process = self._up_to_date(stored)
            try:
                if process is not stored:
                    self._process_repository.save(process)
            except errors.StaleWrite:
                continue
            return stored.state, process.state
        raise _too_many_tries(process_id)

    def _is_finished(self, process_id: str) -> bool:
        """Whether the process is finished after what a crash left undone has been done."""
        process = self._processes.get_by_id(process_id)
        if process is not None:
            self._track_from_start(process)
        states = self._renew_copies(process_id)
        return states is not None and states[1].is_terminal

    def _track_from_start(self, process: Process) -> None:
        if self._tracker_repository is None:
            return
        for step in process.steps.values():
            if step.deadline_ms is not None:
                with suppress(errors.StaleWrite):  # it has its tracker already
                    self._tracker_repository.add(StepTracker(process.id, step))

    # Commit

    def _commit_or_error(self, change: Change) -> Committed | Conflict | Exception:
        try:
            if change.key.step_name == OWN_RECORD or self._tracker_repository is None:
                return self._commit_in_process(change)
            return self._commit_in_tracker(change)
        except errors.StoreError as error:
            return error

    def _commit_in_tracker(self, change: Change) -> Committed | Conflict:
        stored = self._tracker(change.key)
        current = self._step(change.key) if stored is None else stored.step
        if current is None or current.version != change.transition.before.version:
            return Conflict(current)
        tracker = self._next_tracker(change, stored)
        try:
            write = self._trackers.add if stored is None else self._trackers.save
            write(tracker, change.transition.events)
        except errors.StaleWrite:
            return Conflict(self._step(change.key))
        states = self._renew_copies(change.process_id)
        if states is None:
            self._trackers.delete(*change.key)
            return Conflict(None)
        return Committed(tracker.step, *states)

    def _next_tracker(self, change: Change, stored: StepTracker | None) -> StepTracker:
        before, after = change.transition.before, _next_version(change)
        message, lease_until_ms = (None, None) if stored is None else (stored.message, stored.lease_until_ms)
        if change.message is not None:
            message = change.message
        if not before.is_leased or before.attempt != after.attempt:  # a standing lease is moved by its worker only
            lease_until_ms = self.now_ms() + change.lease_ms
        return StepTracker(
            change.process_id,
            after,
            message=message if after.needs_message else None,
            lease_until_ms=lease_until_ms if after.is_leased else None,
        )

    def _commit_in_process(self, change: Change) -> Committed | Conflict:
        if change.message is not None or change.transition.after.is_leased:
            raise errors.StoreError("messages and leases are kept in a tracker repository, and there is none")
        after = _next_version(change)
        for _ in range(MAX_TRIES):
            process = self._processes.get_by_id(change.process_id)
            current = None if process is None else _record(process, after.name)
            if process is None or current is None or current.version != change.transition.before.version:
                return Conflict(current)
            changed = _with_records(process, [after])
            try:
                self._processes.save(changed, change.transition.events)
            except errors.StaleWrite:  # another record of the same process was written
                continue
            return Committed(after, process.state, changed.state)
        raise _too_many_tries(change.process_id)

    # Due

    def _due_processes(self, now_ms: int, limit: int) -> list[Due]:
        if self._process_repository is None:
            return []
        late = self._process_repository.all_timed_out(now_ms=now_ms, limit=limit)
        return [Due(StepKey(process.id, OWN_RECORD), process.own.deadline_ms or 0) for process in late]

    def _due_steps(self, now_ms: int, limit: int) -> list[Due]:
        if self._tracker_repository is None:
            return []
        late = self._tracker_repository.all_timed_out(now_ms=now_ms, limit=limit)
        return [Due(StepKey(tracker.process_id, tracker.step_name), tracker.deadline_ms or 0) for tracker in late]

    def _lapsed_leases(self, now_ms: int, limit: int) -> list[Due]:
        if self._tracker_repository is None:
            return []
        return [
            Due(StepKey(tracker.process_id, tracker.step_name), tracker.lease_until_ms or 0, tracker.step.attempt)
            for tracker in self._tracker_repository.all_lapsed(now_ms=now_ms, limit=limit)
        ]

    def _oldest(self, due: Iterable[Due], limit: int) -> list[Due]:
        standing = (item for item in due if item not in self._set_aside)
        return sorted(standing, key=lambda item: item.since_ms)[:limit]

    def _stands(self, due: Due) -> bool:
        """Whether the clock still shows what was read."""
        if due.lapsed_attempt is not None:
            tracker = self._tracker(due.key)
            return tracker is not None and tracker.lease_until_ms == due.since_ms
        step = self._step(due.key)
        return step is not None and step.deadline_ms == due.since_ms


def _record(process: Process, step_name: str) -> ProcessStep | None:
    return process.own if step_name == OWN_RECORD else process.steps.get(step_name)


def _with_records(process: Process, records: Iterable[ProcessStep]) -> Process:
    """The next version of the process, with these records in place of older ones."""
    by_name = {record.name: record for record in records}
    own = by_name.pop(OWN_RECORD, process.own)
    return replace(process, steps={**process.steps, **by_name}, own=own, version=process.version + 1)


def _next_version(change: Change) -> ProcessStep:
    return replace(change.transition.after, version=change.transition.before.version + 1)


def _too_many_tries(process_id: str) -> errors.StoreError:
    return errors.StoreError(f"process {process_id} was changed by others {MAX_TRIES} times in a row")
