"""The process store in memory: the plainest form of all that a store promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from threading import Lock

from msgspec import Struct, field
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.machine_clock import machine_now_ms
from trellis_celery.domain.process import OWN_RECORD, Process, process_event
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessGroup, ProcessSummary, Stats
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import (
    EVERYTHING,
    Change,
    Clock,
    Committed,
    Conflict,
    Due,
    LastCheck,
    LeaseKey,
    StepKey,
    Unrelayed,
)
from trellis_celery.stores import codec
from trellis_celery.stores.memory.picture import picture_of
from trellis_celery.stores.memory.timeline import Timeline
from trellis_celery.stores.tallies import (
    NO_TYPE,
    Total,
    events_of,
    lateness_of,
    tallies_of,
    tallies_of_untracked,
    untracked_of,
)


class _Stored(Struct):
    process: Process
    log: list[Event]
    messages: dict[str, bytes] = field(default_factory=dict)
    #: By step: what tells the last write from others.
    tokens: dict[str, str] = field(default_factory=dict)
    #: When it was last changed while it was terminal, epoch ms.
    since_ms: int = 0
    #: So much of the log has been relayed.
    relayed: int = 0

    def record(self, step_name: str) -> ProcessStep | None:
        return self.process.own if step_name == OWN_RECORD else self.process.steps.get(step_name)

    def put(self, record: ProcessStep) -> None:
        if record.name == OWN_RECORD:
            self.process.own = record
        else:
            self.process.steps[record.name] = record

    def records(self) -> list[ProcessStep]:
        return [self.process.own, *self.process.steps.values()]


class MemoryStore:
    """A `ProcessStore` in memory. Threads may share it; other Python processes do not see it.

    `clock`: the time it goes by; this machine's if left out.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._now_ms = machine_now_ms if clock is None else clock.now_ms
        self._lock = Lock()
        self._stored: dict[str, _Stored] = {}
        self._live: dict[BusinessKey, str] = {}
        self._deadlines: Timeline[StepKey] = Timeline()
        self._leases: Timeline[LeaseKey] = Timeline()
        #: Terminal processes by when they were last changed: those that are not archived since, and those that are.
        self._finished: dict[bool, Timeline[str]] = {False: Timeline(), True: Timeline()}
        #: Processes of whose log something is to be relayed, by when that is due.
        self._outbox: Timeline[str] = Timeline()
        self._totals: Counter[tuple[str, str, str]] = Counter()
        self._last_check = LastCheck()

    def now_ms(self) -> int:
        return self._now_ms()

    # Processes

    def create(self, process: Process, *, replaces: str | None = None, is_announced: bool = False) -> str:
        with self._lock:
            live_id = self._live.get(process.key)
            if live_id is not None and live_id != replaces:
                return live_id
            if process.id in self._stored:  # a repetition, and it was finished meanwhile
                return process.id
            started = Event(EventKind.PROCESS_STARTED, OWN_RECORD, 0, process.started_at_ms)
            stored = _Stored(picture_of(process), [])
            self._stored[process.id] = stored
            self._log(stored, [started], is_announced=is_announced)
            self._live[process.key] = process.id
            for record in stored.records():
                self._deadlines.set(StepKey(process.id, record.name), record.deadline_ms)
            return process.id

    def load(self, process_id: str) -> Process:
        with self._lock:
            if (stored := self._stored.get(process_id)) is None:
                raise errors.ProcessNotFound(process_id=process_id)
            return picture_of(stored.process)

    def find(self, key: BusinessKey) -> str | None:
        with self._lock:
            return self._live.get(key)

    def list_processes(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[ProcessSummary]:
        with self._lock:
            summaries = [ProcessSummary.of(stored.process) for stored in self._stored.values()]
        behind = (each for each in summaries if after is None or each.position < after)
        newest = sorted(filter(only.matches, behind), key=lambda each: each.position, reverse=True)
        return newest[:limit]

    def history(self, process_id: str) -> list[Event]:
        with self._lock:
            stored = self._stored.get(process_id)
            return [] if stored is None else list(stored.log)

    def delete(self, process_id: str, *, finished_since_ms: int | None = None) -> bool:
        with self._lock:
            if finished_since_ms is not None and not self._may_go(process_id, finished_since_ms):
                return False
            if (stored := self._stored.pop(process_id, None)) is None:
                return False
            for record in stored.records():
                self._deadlines.set(StepKey(process_id, record.name), None)
                self._leases.set(LeaseKey(process_id, record.name, record.attempt), None)
            for timeline in (*self._finished.values(), self._outbox):
                timeline.set(process_id, None)
            if self._live.get(stored.process.key) == process_id:
                del self._live[stored.process.key]
            return True

    # Finished processes

    def finished(
        self, *, is_archived: bool, until_ms: int | None = None, limit: int, after: Finished | None = None
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

    def _may_go(self, process_id: str, finished_since_ms: int) -> bool:
        waiting_ms, archived_ms = (timeline.get(process_id) for timeline in self._finished.values())
        since_ms = archived_ms if waiting_ms is None else waiting_ms
        return since_ms == finished_since_ms and self._outbox.get(process_id) is None

    # Steps

    def load_steps(self, keys: Sequence[StepKey]) -> list[ProcessStep | Exception | None]:
        with self._lock:
            return [self._record(key) for key in keys]

    def load_messages(self, keys: Sequence[StepKey]) -> list[bytes | None]:
        with self._lock:
            stored = [self._stored.get(key.process_id) for key in keys]
            return [
                None if process is None else process.messages.get(key.step_name)
                for process, key in zip(stored, keys, strict=True)
            ]

    def commit(self, changes: Sequence[Change]) -> list[Committed | Conflict | Exception]:
        return [self._commit(change) for change in changes]

    def _commit(self, change: Change) -> Committed | Conflict:
        with self._lock:
            stored = self._stored.get(change.process_id)
            current = None if stored is None else stored.record(change.key.step_name)
            if stored is None or current is None:
                return Conflict(None)
            state_before = stored.process.state
            written = codec.kept_step(replace(change.transition.after, version=change.transition.before.version + 1))
            if current.version == written.version and stored.tokens.get(written.name) == change.token:
                return Committed(current, state_before, state_before)
            if current.version != change.transition.before.version:
                return Conflict(current)
            self._write(stored, change, written)
            state_after = stored.process.state
            end = process_event(state_before, state_after, change.occurred_at_ms)
            events = change.transition.events if end is None else (*change.transition.events, end)
            self._log(stored, events, is_announced=change.is_announced, lateness_ms=change.lateness_ms)
            if state_before is not state_after:
                self._hold_or_release(stored.process)
            self._wait_for_archive(stored)
            return Committed(written, state_before, state_after)

    def _write(self, stored: _Stored, change: Change, written: ProcessStep) -> None:
        stored.put(written)
        stored.tokens[written.name] = change.token
        if not written.needs_message:
            stored.messages.pop(written.name, None)
        elif change.message is not None:
            stored.messages[written.name] = change.message
        self._deadlines.set(change.key, written.deadline_ms)
        self._move_lease(change, written)

    def _log(
        self, stored: _Stored, events: Sequence[Event], *, is_announced: bool, lateness_ms: int | None = None
    ) -> None:
        stored.log.extend(map(codec.kept_event, events))
        for step_name, name, amount in tallies_of(events, lateness_ms):
            self._totals[stored.process.process_type, step_name, name] += amount
        if is_announced and events and self._outbox.get(stored.process.id) is None:
            self._outbox.set(stored.process.id, self.now_ms())

    def _move_lease(self, change: Change, written: ProcessStep) -> None:
        before = change.transition.before
        old = LeaseKey(*change.key, before.attempt) if before.is_leased else None
        new = LeaseKey(*change.key, written.attempt) if written.is_leased else None
        if old == new:
            return  # only its worker's renewals move a lease
        if old is not None:
            self._leases.set(old, None)
        if new is not None:
            self._leases.set(new, self.now_ms() + change.lease_ms)

    def _hold_or_release(self, process: Process) -> None:
        if not process.state.is_terminal:
            self._live.setdefault(process.key, process.id)
        elif self._live.get(process.key) == process.id:
            del self._live[process.key]

    def _wait_for_archive(self, stored: _Stored) -> None:
        """A finished process is archived after every change of it."""
        waiting_ms = None
        if stored.process.state.is_terminal:
            waiting_ms = stored.since_ms = max(self.now_ms(), stored.since_ms + 1)
        self._finished[False].set(stored.process.id, waiting_ms)
        self._finished[True].set(stored.process.id, None)

    def _record(self, key: StepKey) -> ProcessStep | None:
        stored = self._stored.get(key.process_id)
        return None if stored is None else stored.record(key.step_name)

    # The outbox

    def claim_unrelayed(self, *, limit: int, until_ms: int) -> list[Unrelayed]:
        with self._lock:
            claimed = [process_id for _, process_id in self._outbox.until(self.now_ms(), limit=limit)]
            for process_id in claimed:
                self._outbox.set(process_id, until_ms)
            return [_unrelayed(self._stored[process_id]) for process_id in claimed]

    def mark_relayed(self, process_id: str, *, last_number: int) -> None:
        with self._lock:
            if (stored := self._stored.get(process_id)) is None:
                return
            stored.relayed = max(stored.relayed, last_number)
            is_done = stored.relayed >= len(stored.log)
            self._outbox.set(process_id, None if is_done else self.now_ms())

    def unrelayed(self) -> tuple[int, int | None]:
        with self._lock:
            first = next(self._outbox.between(None, None), None)
            return len(self._outbox), None if first is None else first[0]

    # Clocks

    def due(self, *, now_ms: int, limit: int, with_leases: bool = True) -> list[Due]:
        with self._lock:
            deadlines = self._deadlines.until(now_ms, limit=limit)
            leases = self._leases.until(now_ms, limit=limit) if with_leases else []
        return [
            *(Due(key, since_ms) for since_ms, key in deadlines),
            *(Due(StepKey(key.process_id, key.step_name), since_ms, key.attempt) for since_ms, key in leases),
        ]

    def discard(self, due: Sequence[Due], *, until_ms: int | None) -> None:
        with self._lock:
            for item in due:
                if item.lapsed_attempt is None:
                    self._deadlines.move(item.key, item.since_ms, until_ms)
                else:
                    self._leases.move(LeaseKey(*item.key, item.lapsed_attempt), item.since_ms, until_ms)

    def renew(self, leases: Sequence[LeaseKey], *, until_ms: int) -> LastCheck:
        with self._lock:
            for lease in leases:
                if self._leases.get(lease) is not None:
                    self._leases.set(lease, until_ms)
            return self._last_check

    def stats(self) -> Stats:
        with self._lock:
            processes = [stored.process for stored in self._stored.values()]
            totals = [Total(*group, amount) for group, amount in self._totals.items()]
            now_ms = self.now_ms()
            due = sum(1 for clocks in (self._deadlines, self._leases) for _ in clocks.between(None, now_ms))
        return Stats(
            processes=Counter(ProcessGroup.of(ProcessSummary.of(process)) for process in processes),
            due=due,
            events=events_of(totals),
            lateness=lateness_of(totals),
            untracked=untracked_of(totals),
        )

    def add_untracked(self, counts: Mapping[str, int]) -> None:
        with self._lock:
            for step_name, name, amount in tallies_of_untracked(counts):
                self._totals[NO_TYPE, step_name, name] += amount

    def last_check(self) -> LastCheck:
        return self._last_check

    def note_check(self, check: LastCheck) -> None:
        self._last_check = check


def _unrelayed(stored: _Stored) -> Unrelayed:
    return Unrelayed(
        process_id=stored.process.id,
        key=stored.process.key,
        first_number=stored.relayed + 1,
        events=tuple(stored.log[stored.relayed :]),
    )
