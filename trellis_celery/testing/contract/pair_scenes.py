"""What is done to a pair of repositories, step by step, and what it looks like from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from msgspec import Struct, field
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain import outcomes
from trellis_celery.domain.process import OWN_RECORD, Process, ProcessState, mark_overdue
from trellis_celery.domain.queries import ProcessFilter, ProcessSummary
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.ports import LeaseKey, ProcessStore, StepKey
from trellis_celery.repositories import ProcessRepository, RepositoryStore, StepTrackerRepository
from trellis_celery.repositories.copies import GRACE_MS
from trellis_celery.testing.contract.builders import (
    MINUTE_MS,
    Rule,
    apply,
    cancel,
    change,
    complete,
    complete_after_all,
    fail,
    new_process,
    queue,
    reopen,
    start,
)

#: Later than every clock in these tests, epoch ms.
RENEWED_UNTIL_MS = 9_000_000_000_000
END_OF_TIME_MS = 9_500_000_000_000

WRITES = {"add", "save", "delete", "mark_archived", "mark_copied", "renew", "note_check"}
READS = {"get", "get_by_id", "get_by_aggregate", "uncopied_of", "all_uncopied", "all_timed_out", "all_lapsed"}


class Crash(BaseException):
    """The program is killed: nothing catches this."""


#: Does, or does not do, what was called.
Interruption = Callable[[Callable[[], Any]], Any]


class Wire(Struct):
    """What a store says to its repositories: counted, and interrupted where a test wants it to be."""

    calls: int = 0
    writes: int = 0
    #: What others do before a call, by its number.
    before_call: dict[int, Callable[[], object]] = field(default_factory=dict)
    #: By the number of the write.
    at_write: dict[int, Interruption] = field(default_factory=dict)

    def carry(self, call: Callable[[], Any], *, is_write: bool) -> Any:
        self.calls += 1
        self.writes += is_write
        self.before_call.pop(self.calls, _nothing)()
        interruption = self.at_write.pop(self.writes, None) if is_write else None
        return call() if interruption is None else interruption(call)

    def tap(self, repository: object) -> Any:
        return _Tapped(repository, self)


def _nothing() -> None:
    """What others do most of the time."""


class _Tapped:
    def __init__(self, repository: object, wire: Wire) -> None:
        self._repository = repository
        self._wire = wire

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._repository, name)
        if name not in WRITES | READS:
            return method
        return lambda *args, **kwargs: self._wire.carry(lambda: method(*args, **kwargs), is_write=name in WRITES)


class Pair(Struct):
    """Two repositories, and the stores over them: each as in a program of its own."""

    processes: ProcessRepository
    trackers: StepTrackerRepository

    def store(self, wire: Wire | None = None) -> RepositoryStore:
        if wire is None:
            return RepositoryStore(self.processes, self.trackers)
        return RepositoryStore(wire.tap(self.processes), wire.tap(self.trackers))

    def check(self) -> None:
        """What a check does, after the grace."""
        store = self.store()
        store.due(now_ms=store.now_ms() + GRACE_MS, limit=1_000)

    def clear(self, process: Process) -> None:
        """Delete the process and whatever was started after it, so that the next one is alone."""
        store = self.store()
        for each in store.list_processes(ProcessFilter(aggregate_id=process.aggregate_id)):
            store.delete(each.id)

    def picture(self, process: Process) -> dict[str, Any]:
        """All that can be seen of the process, without times, which differ from run to run."""
        store = self.store()
        due = [item for item in store.due(now_ms=END_OF_TIME_MS, limit=10_000) if item.key.process_id == process.id]
        finished = {name: _is_finished(store, process, is_archived=name == "archived") for name in _LISTS}
        return {
            "records": _records(store, process),
            "summaries": [each.step_counts for each in _listed(store, process, state=None)],
            "listed": [state for state in ProcessState if _listed(store, process, state=state)],
            "is found": store.find(process.key) == process.id,
            "finished": [name for name in _LISTS if finished[name]],
            "due": sorted((item.key.step_name, item.since_ms > RENEWED_UNTIL_MS - 1) for item in due),
            "history": sorted((event.step_name, event.kind) for event in store.history(process.id)),
            "messages": store.load_messages([StepKey(process.id, name) for name in process.steps]),
            "left over": self._left_over(process),
        }

    def _left_over(self, process: Process) -> list[str]:
        """Trackers of a process that is gone, and work that is not done."""
        is_gone = self.processes.get_by_id(process.id) is None
        trackers = [tracker.step_name for tracker in self.trackers.all_of(process.id)] if is_gone else []
        return trackers + self.trackers.all_uncopied(now_ms=END_OF_TIME_MS, limit=1_000_000)


_LISTS = ("waiting", "archived")


def _listed(store: ProcessStore, process: Process, *, state: ProcessState | None) -> list[ProcessSummary]:
    listed = store.list_processes(ProcessFilter(aggregate_id=process.aggregate_id, state=state))
    return [each for each in listed if each.id == process.id]


def _is_finished(store: ProcessStore, process: Process, *, is_archived: bool) -> bool:
    return any(each.process_id == process.id for each in store.finished(is_archived=is_archived, limit=100_000))


def _records(store: ProcessStore, process: Process) -> dict[str, Any] | None:
    try:
        loaded = store.load(process.id)
    except errors.ProcessNotFound:
        return None
    records = (loaded.own, *loaded.steps.values())
    steps = {step.name: (step.state, step.attempt, step.version, step.last_error) for step in records}
    assert store.load_steps([StepKey(process.id, name) for name in steps]) == list(records)
    return {"state": loaded.state, **steps}


# What is there first

Prepare = Callable[[Pair], Process]


def not_stored(pair: Pair) -> Process:
    """Nothing starts the first step, so its time runs from the start."""
    return new_process(pair.store(), ProcessStep("step", timeout_ms=MINUTE_MS, external=True), "other")


def pending(pair: Pair) -> Process:
    process = new_process(pair.store(), "step", "other", deadline_ms=MINUTE_MS)
    assert pair.store().create(process) == process.id
    return process


def started(pair: Pair) -> Process:
    process = pending(pair)
    apply(pair.store(), process, start(is_leased=True), lease_ms=MINUTE_MS)
    apply(pair.store(), process, queue(at_ms=1), "other", message=b"message")
    return process


def almost_finished(pair: Pair) -> Process:
    process = started(pair)
    apply(pair.store(), process, complete(), "other")
    return process


def failed(pair: Pair) -> Process:
    process = started(pair)
    apply(pair.store(), process, fail())
    return process


def archived(pair: Pair) -> Process:
    process = failed(pair)
    archive(pair.store(), process)
    return process


def finished_unnoticed(pair: Pair) -> Process:
    """The writer was killed between the last step's tracker and the process."""
    process = almost_finished(pair)
    with interrupted(pair, 1, after) as store:
        store.commit([change(process, complete())])
    return process


def successor_of_unnoticed(pair: Pair) -> Process:
    return _successor(pair.store(), finished_unnoticed(pair))


def _successor(store: ProcessStore, process: Process) -> Process:
    """Another one with the same business key, not stored."""
    return new_process(
        store,
        tenant_id=process.tenant_id,
        process_type=process.process_type,
        aggregate_type=process.aggregate_type,
        aggregate_id=process.aggregate_id,
    )


# What is done, by callers who look before they repeat it

Act = Callable[[RepositoryStore, Process], object]


def create(store: RepositoryStore, process: Process) -> object:
    return store.create(process)


def committing(rule: Rule, step_name: str = "step", **fields: Any) -> Act:
    def act(store: RepositoryStore, process: Process) -> object:
        """Not repeated where it was done: the caller finds another version than the one in hand."""
        in_hand = process.step(step_name) if step_name else process.own
        (record,) = store.load_steps([StepKey(process.id, step_name)])
        if not isinstance(record, ProcessStep) or record.version != in_hand.version:
            return None
        return store.commit([change(process, rule, step_name, **fields)])[0]

    return act


def go_on(store: RepositoryStore, process: Process) -> object:
    """Change the step as it is by now, whoever changed it before."""
    (record,) = store.load_steps([StepKey(process.id, "step")])
    if not isinstance(record, ProcessStep):
        return None
    rule = reopen() if record.state is StepState.FAILED else fail()
    now = replace(process, steps={**process.steps, "step": record})
    return store.commit([change(now, rule)])[0]


def delete(store: RepositoryStore, process: Process) -> object:
    return store.delete(process.id)


def archive(store: ProcessStore, process: Process) -> object:
    waiting = store.finished(is_archived=False, limit=100_000)
    store.mark_archived([each for each in waiting if each.process_id == process.id])
    return None


def purge(store: RepositoryStore, process: Process) -> object:
    """Retention: what waits is archived, and what is archived goes."""
    archive(store, process)
    found = [each for each in store.finished(is_archived=True, limit=100_000) if each.process_id == process.id]
    return any(store.delete(process.id, finished_since_ms=each.since_ms) for each in found)


def renew(store: RepositoryStore, process: Process) -> object:
    return store.renew([LeaseKey(process.id, "step", 1)], until_ms=RENEWED_UNTIL_MS)


def check(store: RepositoryStore, process: Process) -> object:
    return store.due(now_ms=store.now_ms() + GRACE_MS, limit=1_000)


def succeed(store: RepositoryStore, process: Process) -> object:
    """Start another process with the same business key."""
    return store.create(_successor(store, process))


late = committing(lambda step: outcomes.fail(step, "late", run_id=uuid4().hex, now_ms=1))
overdue = committing(lambda own: mark_overdue(own, now_ms=2), OWN_RECORD)

#: By what is seen: what there is, and what is done to it.
SCENES: dict[str, tuple[Prepare, Act]] = {
    "create": (not_stored, create),
    "create after a crash": (successor_of_unnoticed, create),
    "queue": (pending, committing(queue(at_ms=1), message=b"message")),
    "start": (pending, committing(start(is_leased=True), lease_ms=MINUTE_MS)),
    "complete one": (started, committing(complete())),
    "complete the last": (almost_finished, committing(complete())),
    "fail": (started, committing(fail())),
    "cancel": (started, committing(cancel(), "other")),
    "be overdue": (started, overdue),
    "be overdue when archived": (archived, overdue),
    "be late": (archived, late),
    "reopen": (failed, committing(reopen())),
    "reopen when archived": (archived, committing(reopen())),
    "complete after all": (failed, committing(complete_after_all())),
    "complete after all when archived": (archived, committing(complete_after_all())),
    "archive": (failed, archive),
    "delete": (started, delete),
    "delete before the first change": (pending, delete),
    "purge": (archived, purge),
    "renew": (started, renew),
    "check": (started, check),
    "check after a crash": (finished_unnoticed, check),
}


# Interruptions


def before(call: Callable[[], Any]) -> Any:
    """Killed before the write."""
    raise Crash


def after(call: Callable[[], Any]) -> Any:
    """Killed after the write."""
    call()
    raise Crash


def undelivered(call: Callable[[], Any]) -> Any:
    """The database does not answer, and nothing was written."""
    raise errors.StoreUnavailable("undelivered")


def unanswered(call: Callable[[], Any]) -> Any:
    """The database does not answer, and all was written."""
    call()
    raise errors.StoreUnavailable("unanswered")


INTERRUPTIONS: Sequence[Interruption] = (before, after, undelivered, unanswered)


@contextmanager
def interrupted(
    pair: Pair, write: int, interruption: Interruption, wire: Wire | None = None
) -> Iterator[RepositoryStore]:
    """A store that is interrupted at this write."""
    wire = Wire() if wire is None else wire
    wire.at_write[write] = interruption
    with suppress(Crash, errors.StoreUnavailable):
        yield pair.store(wire)


def counted(pair: Pair, prepare: Prepare, act: Act) -> Wire:
    """What the act says to the repositories when nothing goes wrong."""
    wire = Wire()
    process = prepare(pair)
    act(pair.store(wire), process)
    return wire
