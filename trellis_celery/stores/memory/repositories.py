"""The two repositories in memory, for demos and unit tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from heapq import nlargest
from threading import Lock

from trellis_celery import errors
from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.machine_clock import machine_now_ms
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.ports import Clock, LastCheck, LeaseKey, StepKey
from trellis_celery.repositories import ProcessRepository, StepTrackerRepository
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

    def now_ms(self) -> int:
        return self._now_ms()

    def add(self, process: Process, events: Sequence[Event] = (), *, replaces: str | None = None) -> None:
        with self._lock:
            holder = self._holders.get(process.key)
            if holder is not None and holder != replaces:
                raise errors.ProcessExists(process_id=holder)
            self._put(process, events)
            self._holders[process.key] = process.id

    def save(self, process: Process, events: Sequence[Event] = ()) -> None:
        with self._lock:
            stored = self._processes.get(process.id)
            if stored is None or stored.version != process.version - 1:
                raise errors.StaleWrite(process_id=process.id, version=process.version)
            self._put(process, events)
            if process.state.is_terminal:
                self._release(process)
            else:
                self._holders.setdefault(process.key, process.id)

    def _put(self, process: Process, events: Sequence[Event]) -> None:
        self._processes[process.id] = picture_of(process)
        self._logs.setdefault(process.id, []).extend(events)
        self._deadlines.set(process.id, None if process.state.is_terminal else process.own.deadline_ms)

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

    def list_newest(self, *, state: ProcessState | None, limit: int) -> list[Process]:
        with self._lock:
            listed = (process for process in self._processes.values() if state is None or process.state is state)
            return [picture_of(process) for process in nlargest(limit, listed, key=lambda each: each.started_at_ms)]

    def all_timed_out(self, *, now_ms: int, limit: int) -> list[Process]:
        with self._lock:
            late = self._deadlines.until(now_ms, limit=limit)
            return [picture_of(self._processes[process_id]) for _, process_id in late]

    def history(self, process_id: str) -> list[Event]:
        with self._lock:
            return list(self._logs.get(process_id, ()))

    def delete(self, process_id: str) -> None:
        with self._lock:
            if (process := self._processes.pop(process_id, None)) is not None:
                del self._logs[process_id]
                self._deadlines.set(process_id, None)
                self._release(process)


class InMemoryStepTrackerRepository(StepTrackerRepository):
    """Trackers in memory. `clock`: the time it goes by; this machine's if left out."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._now_ms = machine_now_ms if clock is None else clock.now_ms
        self._lock = Lock()
        #: By process and step. Trackers never change, so they are handed out as they are.
        self._trackers: dict[str, dict[str, StepTracker]] = {}
        self._logs: dict[StepKey, list[Event]] = {}
        self._deadlines: Timeline[StepKey] = Timeline()
        self._leases: Timeline[StepKey] = Timeline()
        self._last_check = LastCheck()

    def now_ms(self) -> int:
        return self._now_ms()

    def add(self, tracker: StepTracker, events: Sequence[Event] = ()) -> None:
        with self._lock:
            if self._get(tracker.process_id, tracker.step_name) is not None:
                raise _stale(tracker)
            self._put(tracker, events)

    def save(self, tracker: StepTracker, events: Sequence[Event] = ()) -> None:
        with self._lock:
            stored = self._get(tracker.process_id, tracker.step_name)
            if stored is None or stored.step.version != tracker.step.version - 1:
                raise _stale(tracker)
            self._put(tracker, events)

    def _put(self, tracker: StepTracker, events: Sequence[Event]) -> None:
        key = StepKey(tracker.process_id, tracker.step_name)
        self._trackers.setdefault(tracker.process_id, {})[tracker.step_name] = tracker
        self._logs.setdefault(key, []).extend(events)
        self._deadlines.set(key, tracker.deadline_ms)
        self._leases.set(key, tracker.lease_until_ms)

    def get(self, process_id: str, step_name: str) -> StepTracker | None:
        with self._lock:
            return self._get(process_id, step_name)

    def _get(self, process_id: str, step_name: str) -> StepTracker | None:
        return self._trackers.get(process_id, {}).get(step_name)

    def all_of(self, process_id: str) -> list[StepTracker]:
        with self._lock:
            return list(self._trackers.get(process_id, {}).values())

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
                self._put(replace(tracker, lease_until_ms=until_ms), ())

    def history(self, process_id: str) -> list[Event]:
        with self._lock:
            steps = self._trackers.get(process_id, {})
            return [event for step_name in steps for event in self._logs[StepKey(process_id, step_name)]]

    def delete(self, process_id: str, step_name: str) -> None:
        with self._lock:
            steps = self._trackers.get(process_id, {})
            if steps.pop(step_name, None) is None:
                return
            if not steps:
                del self._trackers[process_id]
            key = StepKey(process_id, step_name)
            del self._logs[key]
            self._deadlines.set(key, None)
            self._leases.set(key, None)

    def last_check(self) -> LastCheck:
        return self._last_check

    def note_check(self, check: LastCheck) -> None:
        self._last_check = check


def _stale(tracker: StepTracker) -> errors.StaleWrite:
    return errors.StaleWrite(process_id=tracker.process_id, step=tracker.step_name, version=tracker.step.version)
