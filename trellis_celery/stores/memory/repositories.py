"""The two repositories in memory, for demos and unit tests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from threading import Lock

from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.machine_clock import machine_now_ms
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessSummary
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.ports import Clock, LastCheck, LeaseKey, StepKey
from trellis_celery.repositories import ProcessRepository, StepTrackerRepository
from trellis_celery.stores import codec
from trellis_celery.stores.memory.picture import picture_of
from trellis_celery.stores.memory.timeline import Timeline


class InMemoryProcessRepository(ProcessRepository):
    """Processes in memory. `clock`: the time it goes by; this machine's if left out."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._now_ms = machine_now_ms if clock is None else clock.now_ms
        self._lock = Lock()
        self._processes: dict[str, Process] = {}
        self._holders: dict[BusinessKey, str] = {}
        self._logs: dict[str, list[Event]] = {}
        self._deadlines: Timeline[str] = Timeline()
        #: When each process was last written while it was terminal, epoch ms.
        self._since_ms: dict[str, int] = {}
        #: Terminal processes by that: those that are not archived since, and those that are.
        self._finished: dict[bool, Timeline[str]] = {False: Timeline(), True: Timeline()}

    def now_ms(self) -> int:
        return self._now_ms()

    # Each process

    def add(self, process: Process, events: Sequence[Event] = (), *, replaces: str | None = None) -> None:
        picture = picture_of(process)
        with self._lock:
            if process.id in self._processes:
                raise errors.ProcessExists(process_id=process.id)
            holder = self._holders.get(process.key)
            if holder is not None and holder != replaces:
                raise errors.ProcessExists(process_id=holder)
            self._holders[process.key] = process.id
            self._put(picture, events)

    def save(self, process: Process, events: Sequence[Event] = ()) -> None:
        picture = picture_of(process)
        with self._lock:
            stored = self._processes.get(process.id)
            if stored is None or stored.version != process.version - 1:
                raise errors.StaleWrite(process_id=process.id, version=process.version)
            self._put(picture, events)

    def _put(self, picture: Process, events: Sequence[Event]) -> None:
        process_id = picture.id
        self._processes[process_id] = picture
        self._logs.setdefault(process_id, []).extend(map(codec.kept_event, events))
        self._deadlines.set(process_id, picture.next_deadline_ms)
        waiting_ms = None
        if picture.state.is_terminal:
            self._release(picture)
            waiting_ms = max(self.now_ms(), self._since_ms.get(process_id, 0) + 1)
            self._since_ms[process_id] = waiting_ms
        else:
            self._holders.setdefault(picture.key, process_id)
        self._finished[False].set(process_id, waiting_ms)
        self._finished[True].set(process_id, None)

    def _release(self, process: Process) -> None:
        if self._holders.get(process.key) == process.id:
            del self._holders[process.key]

    def get_by_id(self, process_id: str) -> Process | None:
        with self._lock:
            process = self._processes.get(process_id)
            return None if process is None else picture_of(process)

    def get_by_aggregate(self, key: BusinessKey) -> Process | None:
        with self._lock:
            process = self._processes.get(self._holders.get(key, ""))
            return None if process is None else picture_of(process)

    def history(self, process_id: str) -> list[Event]:
        with self._lock:
            return list(self._logs.get(process_id, ()))

    def delete(self, process_id: str, *, version: int, finished_since_ms: int | None = None) -> bool:
        with self._lock:
            process = self._processes.get(process_id)
            if process is None or process.version != version:
                return False
            is_finished_since = process.state.is_terminal and self._since_ms[process_id] == finished_since_ms
            if finished_since_ms is not None and not is_finished_since:
                return False
            del self._processes[process_id]
            del self._logs[process_id]
            self._since_ms.pop(process_id, None)
            for timeline in (self._deadlines, *self._finished.values()):
                timeline.set(process_id, None)
            self._release(process)
            return True

    # All of them

    def list_newest(self, only: ProcessFilter, *, limit: int, after: Position | None) -> list[ProcessSummary]:
        with self._lock:
            summaries = [ProcessSummary.of(process) for process in self._processes.values()]
        behind = (each for each in summaries if after is None or each.position < after)
        return sorted(filter(only.matches, behind), key=lambda each: each.position, reverse=True)[:limit]

    def all_timed_out(self, *, now_ms: int, limit: int) -> list[Process]:
        with self._lock:
            late = self._deadlines.until(now_ms, limit=limit)
            return [picture_of(self._processes[process_id]) for _, process_id in late]

    def finished(
        self, *, is_archived: bool, until_ms: int | None, limit: int, after: Finished | None
    ) -> list[Finished]:
        with self._lock:
            entries = self._finished[is_archived].between(after, until_ms)
            return [Finished(*entry) for entry in islice(entries, limit)]

    def count_finished(self, *, is_archived: bool) -> int:
        with self._lock:
            return len(self._finished[is_archived])

    def mark_archived(self, finished: Sequence[Finished]) -> None:
        with self._lock:
            for since_ms, process_id in finished:
                if self._finished[False].get(process_id) == since_ms:
                    self._finished[False].set(process_id, None)
                    self._finished[True].set(process_id, since_ms)


class InMemoryStepTrackerRepository(StepTrackerRepository):
    """Trackers in memory. `clock`: the time it goes by; this machine's if left out."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._now_ms = machine_now_ms if clock is None else clock.now_ms
        self._lock = Lock()
        #: By process and step. Trackers never change, so they are handed out as they are.
        self._trackers: dict[str, dict[str, StepTracker]] = {}
        self._logs: dict[str, list[Event]] = {}
        self._deadlines: Timeline[StepKey] = Timeline()
        self._leases: Timeline[StepKey] = Timeline()
        #: By process: the earliest `copy_due_ms`, and the steps that have one.
        self._copies_due: Timeline[str] = Timeline()
        self._uncopied: dict[str, set[str]] = {}
        self._last_check = LastCheck()

    def now_ms(self) -> int:
        return self._now_ms()

    # Each tracker

    def add(self, tracker: StepTracker, events: Sequence[Event] = ()) -> None:
        with self._lock:
            if self._get(tracker.process_id, tracker.step_name) is not None:
                raise _stale(tracker)
            self._put(tracker)
            self._logs.setdefault(tracker.process_id, []).extend(map(codec.kept_event, events))

    def save(self, tracker: StepTracker, events: Sequence[Event] = ()) -> None:
        with self._lock:
            stored = self._get(tracker.process_id, tracker.step_name)
            if stored is None or stored.step.version != tracker.step.version - 1:
                raise _stale(tracker)
            if None not in (stored.lease_until_ms, tracker.lease_until_ms) and _is_same_attempt(stored, tracker):
                tracker = replace(tracker, lease_until_ms=stored.lease_until_ms)
            self._put(tracker)
            self._logs.setdefault(tracker.process_id, []).extend(map(codec.kept_event, events))

    def _put(self, tracker: StepTracker) -> None:
        key = StepKey(tracker.process_id, tracker.step_name)
        kept = replace(tracker, step=codec.kept_step(tracker.step))
        self._trackers.setdefault(tracker.process_id, {})[tracker.step_name] = kept
        self._deadlines.set(key, tracker.deadline_ms)
        self._leases.set(key, tracker.lease_until_ms)
        uncopied = self._uncopied.setdefault(tracker.process_id, set())
        if tracker.copy_due_ms is None:
            uncopied.discard(tracker.step_name)
        else:
            uncopied.add(tracker.step_name)
        steps = self._trackers[tracker.process_id]
        times = [due_ms for name in uncopied if (due_ms := steps[name].copy_due_ms) is not None]
        self._copies_due.set(tracker.process_id, min(times, default=None))

    def get(self, process_id: str, step_name: str) -> StepTracker | None:
        with self._lock:
            return self._get(process_id, step_name)

    def _get(self, process_id: str, step_name: str) -> StepTracker | None:
        return self._trackers.get(process_id, {}).get(step_name)

    # All of a process

    def all_of(self, process_id: str) -> list[StepTracker]:
        with self._lock:
            return list(self._trackers.get(process_id, {}).values())

    def uncopied_of(self, process_id: str) -> list[StepTracker]:
        with self._lock:
            return [self._trackers[process_id][step_name] for step_name in self._uncopied.get(process_id, ())]

    def history(self, process_id: str) -> list[Event]:
        with self._lock:
            return list(self._logs.get(process_id, ()))

    def delete(self, process_id: str) -> None:
        with self._lock:
            for step_name in self._trackers.pop(process_id, {}):
                key = StepKey(process_id, step_name)
                self._deadlines.set(key, None)
                self._leases.set(key, None)
            self._logs.pop(process_id, None)
            self._uncopied.pop(process_id, None)
            self._copies_due.set(process_id, None)

    # What is due

    def all_timed_out(self, *, now_ms: int, limit: int) -> list[StepTracker]:
        with self._lock:
            return [self._trackers[pid][name] for _, (pid, name) in self._deadlines.until(now_ms, limit=limit)]

    def all_lapsed(self, *, now_ms: int, limit: int) -> list[StepTracker]:
        with self._lock:
            return [self._trackers[pid][name] for _, (pid, name) in self._leases.until(now_ms, limit=limit)]

    def renew(self, leases: Sequence[LeaseKey], *, until_ms: int) -> None:
        with self._lock:
            for lease in leases:
                tracker = self._get(lease.process_id, lease.step_name)
                if tracker is None or tracker.lease_until_ms is None or tracker.step.attempt != lease.attempt:
                    continue
                self._put(replace(tracker, lease_until_ms=until_ms))

    def all_uncopied(self, *, now_ms: int, limit: int) -> list[str]:
        with self._lock:
            return [process_id for _, process_id in self._copies_due.until(now_ms, limit=limit)]

    def mark_copied(self, trackers: Sequence[StepTracker]) -> None:
        with self._lock:
            for tracker in trackers:
                stored = self._get(tracker.process_id, tracker.step_name)
                if stored is not None and stored.step.version == tracker.step.version:
                    self._put(replace(stored, copy_due_ms=None))

    def last_check(self) -> LastCheck:
        return self._last_check

    def note_check(self, check: LastCheck) -> None:
        self._last_check = check


def _is_same_attempt(one: StepTracker, other: StepTracker) -> bool:
    return one.step.attempt == other.step.attempt


def _stale(tracker: StepTracker) -> errors.StaleWrite:
    return errors.StaleWrite(process_id=tracker.process_id, step=tracker.step_name, version=tracker.step.version)
