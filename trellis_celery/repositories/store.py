"""A process store over a process repository and a tracker repository, which know nothing of each other.

Who is right: from its first change on, a step has a tracker, and the tracker is right about it. The process keeps a
copy of each step, which may be older, and is right about everything else: which steps there are, those that nobody has
changed, its own deadline, and who holds the business key. Lists are made from the copies.

Without a tracker repository everything is in the process, and steps have neither messages nor clocks. Without a process
repository there are steps only: enough for a checker, whose changes are copied by whoever looks at a list next.

The pair has no common transaction. Of the writes of an operation one decides; what is before it does no harm alone, and
what is behind it is done by others, if need be, `GRACE_MS` later: by the next check or the next look at a list. They
find it by `copy_due_ms`, which is a part of the trackers that the operation wrote.

create    1. the process, with the deadlines of the steps whose time runs from now: this decides
          2. the trackers of such steps, for checkers that have no processes   3. take out `copy_due_ms`
          After 1: the steps are due by the process. After 2: 3 is done by others.
change    1. the tracker with its log entries and `copy_due_ms`: this decides
          2. the process's copies; a finished process waits for the archive again   3. take out `copy_due_ms`
          After 1: `load` and `find` see through the old copies, and 2 and 3 are done by others.
          If the process turns out to be gone, its trackers are removed, and the change is a conflict with nothing.
reopen    0. the process as it is, in a new version; then like a change. So it is for whatever changes a finished step.
          After 0: it waits for the archive again.
delete    1. a tracker of the empty name with `copy_due_ms`   2. the process, if nobody wrote it since before 1: this
          decides   3. the trackers
          After 1: others write the process in a new version and take out `copy_due_ms`; so a deleter that was only
          slow finds another version at 2 and begins again. After 2: others do 3.

A finished process is deleted on a condition, and a step that is reopened meanwhile must not go with it. Either 0 of the
reopening comes before 2 of the deletion, which then finds a newer version; or it finds no process, and reopens nothing.

`load` never writes: the writer that renews the copies is the one that learns that it finished the process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from math import inf

from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.process import OWN_ENDS, OWN_RECORD, Process, ProcessState, process_event
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessGroup, ProcessSummary, Stats
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.domain.transitions import Transition
from trellis_celery.ports import EVERYTHING, Change, Committed, Conflict, Due, LastCheck, LeaseKey, StepKey
from trellis_celery.repositories.copies import GRACE_MS, MAX_TRIES, Copies, too_many_tries, with_records
from trellis_celery.repositories.interfaces import ProcessRepository, StepTrackerRepository

#: So many processes are read at a time to count them, and so many clocks that have run out are counted at the most.
PAGE = 1_000


class RepositoryStore:
    """A `ProcessStore` over two repositories, one of which may be missing.

    A repeated write is not recognised as one's own but is a conflict, which costs a second look and no more.
    """

    def __init__(self, processes: ProcessRepository | None, trackers: StepTrackerRepository | None) -> None:
        self._process_repository = processes
        self._tracker_repository = trackers
        self._copies = None if processes is None or trackers is None else Copies(processes, trackers)
        self._last_check = LastCheck()
        #: Index entries that lead nowhere, until when they are passed over. After a restart they are looked at again.
        self._set_aside: dict[Due, float] = {}

    @property
    def process_repository(self) -> ProcessRepository | None:
        return self._process_repository

    @property
    def tracker_repository(self) -> StepTrackerRepository | None:
        return self._tracker_repository

    def now_ms(self) -> int:
        if self._tracker_repository is None:
            return self._processes.now_ms()
        return self._tracker_repository.now_ms()

    # Processes

    def create(self, process: Process, *, replaces: str | None = None, is_announced: bool = False) -> str:
        """Nothing is announced: two repositories have no outbox."""
        started = Event(EventKind.PROCESS_STARTED, OWN_RECORD, 0, process.started_at_ms)
        if self._tracker_repository is None:
            process = _without_clocks(process)
        for _ in range(MAX_TRIES):
            try:
                self._processes.add(process, [started], replaces=replaces)
            except errors.ProcessExists as exists:
                if exists.process_id != process.id and self._is_finished(exists.process_id):
                    continue
                return exists.process_id
            self._track_from_start(process)
            return process.id
        raise too_many_tries(process.id)

    def load(self, process_id: str) -> Process:
        process = self._current(process_id)
        if process is None:
            raise errors.ProcessNotFound(process_id=process_id)
        return process

    def find(self, key: BusinessKey) -> str | None:
        holder = self._processes.get_by_aggregate(key)
        process = None if holder is None else self._current(holder.id)
        return None if process is None or process.state.is_terminal else process.id

    def list_processes(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[ProcessSummary]:
        self._renew_old_copies()
        return self._processes.list_newest(only, limit=limit, after=after)

    def history(self, process_id: str) -> list[Event]:
        events = self._processes.history(process_id)
        if self._tracker_repository is not None:
            events = events + self._tracker_repository.history(process_id)
        return sorted(events, key=lambda event: (event.occurred_at_ms, event.kind in OWN_ENDS))

    def delete(self, process_id: str, *, finished_since_ms: int | None = None) -> bool:
        if self._copies is not None:
            return self._copies.delete(process_id, finished_since_ms=finished_since_ms)
        for _ in range(MAX_TRIES):
            process = self._processes.get_by_id(process_id)
            if process is None:
                return False
            if self._processes.delete(process_id, version=process.version, finished_since_ms=finished_since_ms):
                return True
            if finished_since_ms is not None:
                return False
        raise too_many_tries(process_id)

    # Finished processes

    def finished(
        self, *, is_archived: bool, until_ms: int | None = None, limit: int, after: Finished | None = None
    ) -> list[Finished]:
        self._renew_old_copies()
        return self._processes.finished(is_archived=is_archived, until_ms=until_ms, limit=limit, after=after)

    def count_finished(self, *, is_archived: bool) -> int:
        self._renew_old_copies()
        return self._processes.count_finished(is_archived=is_archived)

    def mark_archived(self, finished: Sequence[Finished]) -> None:
        self._processes.mark_archived(finished)

    def stats(self) -> Stats:
        """By looking at every process: a pair counts nothing as it writes."""
        groups: Counter[ProcessGroup] = Counter()
        after: Position | None = None
        while page := self.list_processes(limit=PAGE, after=after):
            groups.update(ProcessGroup.of(summary) for summary in page)
            after = page[-1].position
        return Stats(processes=groups, due=len(self.due(now_ms=self.now_ms(), limit=PAGE)))

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
        if self._copies is not None:
            self._copies.renew_all_due(now_ms=now_ms)
        self._set_aside = {item: until_ms for item, until_ms in self._set_aside.items() if until_ms > now_ms}
        enough = limit + len(self._set_aside)
        deadlines = self._due_in_processes(now_ms, enough) + self._due_in_trackers(now_ms, enough)
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

    def _current(self, process_id: str) -> Process | None:
        return self._processes.get_by_id(process_id) if self._copies is None else self._copies.current(process_id)

    def _renew_old_copies(self) -> None:
        if self._copies is not None:
            self._copies.renew_all_due(now_ms=self.now_ms())

    def _tracker(self, key: StepKey) -> StepTracker | None:
        if self._tracker_repository is None or key.step_name == OWN_RECORD:
            return None
        return self._tracker_repository.get(*key)

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

    # Create

    def _is_finished(self, process_id: str) -> bool:
        """Whether the process is finished, after what a crash left undone has been done."""
        states = None if self._copies is None else self._copies.renew(process_id)
        return states is not None and states[1].is_terminal

    def _track_from_start(self, process: Process) -> None:
        timed = [step for step in process.steps.values() if step.deadline_ms is not None]
        if self._tracker_repository is None or self._copies is None or not timed:
            return
        for step in timed:
            with suppress(errors.StaleWrite):  # it was changed already
                self._tracker_repository.add(StepTracker(process.id, step, copy_due_ms=self.now_ms() + GRACE_MS))
        self._copies.renew(process.id)

    # Commit

    def _commit_or_error(self, change: Change) -> Committed | Conflict | Exception:
        try:
            if change.key.step_name == OWN_RECORD or self._tracker_repository is None:
                return self._commit_in_process(change)
            return self._commit_in_tracker(change, self._tracker_repository)
        except errors.StoreError as error:
            return error

    def _commit_in_tracker(self, change: Change, trackers: StepTrackerRepository) -> Committed | Conflict:
        stored = self._tracker(change.key)
        current = self._step(change.key) if stored is None else stored.step
        if current is None or current.version != change.transition.before.version:
            return Conflict(current)
        if self._copies is not None and _reopens(change.transition) and not self._copies.touch(change.process_id):
            return Conflict(None)
        tracker = self._next_tracker(change, stored)
        try:
            write = trackers.add if stored is None else trackers.save
            write(tracker, change.transition.events)
        except errors.StaleWrite:
            return Conflict(self._step(change.key))
        if self._copies is None:  # nobody here knows the other steps
            return Committed(tracker.step, ProcessState.IN_PROGRESS, ProcessState.IN_PROGRESS)
        states = self._copies.renew(change.process_id)
        return Conflict(None) if states is None else Committed(tracker.step, *states)

    def _next_tracker(self, change: Change, stored: StepTracker | None) -> StepTracker:
        before, after = change.transition.before, _next_version(change)
        now_ms = self.now_ms()
        message, lease_until_ms = (None, None) if stored is None else (stored.message, stored.lease_until_ms)
        if change.message is not None:
            message = change.message
        if not before.is_leased or before.attempt != after.attempt:  # a standing lease is moved by its worker only
            lease_until_ms = now_ms + change.lease_ms
        return StepTracker(
            change.process_id,
            after,
            message=message if after.needs_message else None,
            lease_until_ms=lease_until_ms if after.is_leased else None,
            copy_due_ms=now_ms if self._copies is None else now_ms + GRACE_MS,
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
            changed = with_records(process, [after])
            try:
                end = process_event(process.state, changed.state, change.occurred_at_ms)
                self._processes.save(changed, [*change.transition.events, *([] if end is None else [end])])
            except errors.StaleWrite:  # another record of the same process was written
                continue
            return Committed(after, process.state, changed.state)
        raise too_many_tries(change.process_id)

    # Due

    def _due_in_processes(self, now_ms: int, limit: int) -> list[Due]:
        """What processes alone know of: their own deadlines, and those of steps that have no tracker yet."""
        if self._process_repository is None:
            return []
        late = self._process_repository.all_timed_out(now_ms=now_ms, limit=limit)
        return [
            Due(StepKey(process.id, record.name), record.deadline_ms)
            for process in late
            for record in _clocks(process)
            if record.deadline_ms is not None and record.deadline_ms <= now_ms
            if self._tracker(StepKey(process.id, record.name)) is None
        ]

    def _due_in_trackers(self, now_ms: int, limit: int) -> list[Due]:
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


def _clocks(process: Process) -> Iterable[ProcessStep]:
    """The records behind `process.next_deadline_ms`."""
    if not process.state.is_terminal:
        yield process.own
    yield from (step for step in process.steps.values() if step.version <= 1)


def _without_clocks(process: Process) -> Process:
    return replace(
        process,
        steps={name: replace(step, deadline_ms=None, deadline_kind=None) for name, step in process.steps.items()},
    )


def _reopens(transition: Transition) -> bool:
    """Whether a finished step begins again, or has come to another end: then its process may go on."""
    return transition.before.state.is_terminal and transition.after.state is not transition.before.state


def _next_version(change: Change) -> ProcessStep:
    return replace(change.transition.after, version=change.transition.before.version + 1)
