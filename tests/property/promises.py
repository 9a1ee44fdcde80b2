"""What must hold of a process at any time, whatever has happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.process import OWN_ENDS, Process, ProcessState, process_event
from trellis_celery.domain.queries import ProcessFilter
from trellis_celery.domain.step import OnTimeout, ProcessStep, StepState
from trellis_celery.ports import LeaseKey, ProcessStore, StepKey
from trellis_celery.stores import classes
from trellis_celery.stores.redis import listing
from trellis_celery.stores.redis.keys import shard_of

_FAR_MS = 10**15
#: Bytes of an entry of a list that tell processes apart.
POSITION_SIZE = 22

_STATE_AFTER = {
    EventKind.STEP_STARTED: StepState.IN_PROGRESS,
    EventKind.STEP_COMPLETED: StepState.COMPLETED,
    EventKind.STEP_FAILED: StepState.FAILED,
    EventKind.STEP_GAVE_UP: StepState.FAILED,
    EventKind.STEP_CANCELLED: StepState.CANCELLED,
    EventKind.STEP_REOPENED: StepState.PENDING,
}
#: After these nobody has to see to the step any more.
_CLOSES = (
    EventKind.INCIDENT_CLOSED,
    EventKind.STEP_REOPENED,
    EventKind.STEP_COMPLETED,
    EventKind.STEP_FAILED,
    EventKind.STEP_CANCELLED,
)
#: After these another run of the same attempt may start.
_LETS_GO = (
    EventKind.STEP_RETRYING,
    EventKind.STEP_HANDED_OVER,
    EventKind.STEP_RELEASED,
    EventKind.STEP_QUEUED,
)


@dataclass
class Story:
    """One step as its log tells it; told wrongly, an AssertionError."""

    state: StepState = StepState.PENDING
    reopened: int = 0
    timed_out: int = 0
    on_timeout: str = OnTimeout.RETRY
    has_incident: bool = False
    #: The attempt that a run holds.
    held: int = 0
    #: Attempts of which not all is in the log.
    untracked: Collection[int] = ()

    def hear(self, event: Event) -> None:
        if event.kind is EventKind.STEP_REOPENED:
            assert self.state is StepState.FAILED or self.has_incident, "a step was reopened that had not failed"
            self.reopened += 1
        elif event.kind in _STATE_AFTER:
            assert not self.state.is_terminal, f"{event} came after the step was {self.state}"
        if event.kind is EventKind.STEP_STARTED:
            assert event.attempt > self.held or event.attempt in self.untracked, (
                f"attempt {event.attempt} was started twice"
            )
            self.held = event.attempt
        elif event.kind in _LETS_GO:
            self.held = min(self.held, event.attempt - 1)
        elif event.kind is EventKind.STEP_TIMED_OUT:
            self.timed_out += 1
        if event.kind is EventKind.STEP_GAVE_UP or (
            event.kind is EventKind.STEP_TIMED_OUT and self.on_timeout == OnTimeout.ALERT
        ):
            self.has_incident = True
        elif event.kind in _CLOSES:
            self.has_incident = False
        self.state = _STATE_AFTER.get(event.kind, self.state)


def check_step(step: ProcessStep, log: Iterable[Event], untracked: Collection[int]) -> None:
    story = Story(untracked=untracked, on_timeout=step.on_timeout)
    for event in log:
        story.hear(event)
    openings = 1 + story.reopened
    assert step.state is story.state, f"the log says {story.state}, the record {step}"
    assert step.has_incident == story.has_incident, f"the log tells of another incident: {step}"
    assert step.retry_count <= step.retries_permitted
    assert step.attempt <= openings * (1 + step.retries_permitted), f"more attempts than are permitted: {step}"
    assert step.attempt - 1 <= story.timed_out + story.reopened, f"an attempt that nothing asked for: {step}"
    if step.state.is_terminal:
        assert (step.deadline_ms, step.is_leased, step.is_finishing) == (None, False, False)
    has_alerted = step.on_timeout == OnTimeout.ALERT and story.timed_out > 0
    if step.state is StepState.IN_PROGRESS and step.timeout_ms is not None and not has_alerted:
        assert step.deadline_ms is not None, f"nothing will ever end this step: {step}"


def check_succession(before: ProcessStep, after: ProcessStep) -> None:
    """Of two looks at one step."""
    assert after.version >= before.version
    assert after.attempt >= before.attempt
    if before.state.is_terminal and after.attempt == before.attempt:
        seen_to = before.has_incident and not after.has_incident  # closing one changes nothing else
        known = replace(before, has_incident=False) if seen_to else before
        assert replace(after, version=before.version) == known, "a finished step has changed"


@dataclass(frozen=True)
class Picture:
    """A process as it is stored, with its log."""

    process: Process
    log: list[Event]
    #: Attempts of any process of which not all is in the log.
    untracked: Collection[LeaseKey] = ()

    def untracked_of(self, step_name: str) -> set[int]:
        step = (self.process.id, step_name)
        return {attempt for *key, attempt in self.untracked if tuple(key) == step}

    @property
    def was_reopened(self) -> bool:
        return any(event.kind is EventKind.STEP_REOPENED for event in self.log)

    @property
    def may_forget_its_deadline(self) -> bool:
        """Whether a checker may have taken the process's own deadline away, because it was finished."""
        return self.process.state.is_terminal or self.was_reopened


def check_process(store: ProcessStore, picture: Picture) -> None:
    steps = picture.process.steps.values()
    kinds = Counter(event.kind for event in picture.log)
    assert kinds[EventKind.PROCESS_STARTED] == 1
    assert kinds[EventKind.PROCESS_OVERDUE] == picture.process.is_overdue
    for step in steps:
        log = [event for event in picture.log if event.step_name == step.name]
        check_step(step, log, picture.untracked_of(step.name))
    check_ends(picture)
    done = [step.name for step in steps if step.state in (StepState.COMPLETED, StepState.CANCELLED)]
    assert set(store.load_messages([StepKey(picture.process.id, name) for name in done])) <= {None}


def check_ends(picture: Picture) -> None:
    """The log tells how the process itself ended, each time that it did."""
    ends = [event.kind for event in picture.log if event.kind in OWN_ENDS]
    now = process_event(ProcessState.PENDING, picture.process.state, 0)
    assert now is None or ends[-1:] == [now.kind]
    assert len(ends) <= 1 + sum(event.kind is EventKind.STEP_REOPENED for event in picture.log)


def check_heard(picture: Picture, heard: Sequence[tuple[int, Event]]) -> None:
    """Other services hear the log: whoever passes over what it knows hears it in order, and each event once."""
    last = 0
    for number, event in heard:
        assert number <= last + 1, "an event was heard before an earlier one"
        last = max(last, number)
        assert picture.log[number - 1] == event


def check_totals(store: ProcessStore, pictures: Sequence[Picture]) -> None:
    """Every event of every log is counted, and once."""
    logged = Counter((event.step_name, event.kind) for picture in pictures for event in picture.log)
    counted: Counter[tuple[str, EventKind]] = Counter()
    for group, count in store.stats().events.items():
        counted[group.step_name, group.kind] += count
    assert counted == logged


def check_clocks(store: ProcessStore, pictures: Sequence[Picture]) -> None:
    """The indexes say of each clock what the records say, and nothing else."""
    deadlines, leases, may_be_gone = {}, set(), set()
    for picture in pictures:
        process = picture.process
        if picture.may_forget_its_deadline:
            may_be_gone.add(StepKey(process.id, process.own.name))
        for record in (process.own, *process.steps.values()):
            key = StepKey(process.id, record.name)
            if record.deadline_ms is not None:
                deadlines[key] = record.deadline_ms
            if record.is_leased:
                leases.add((key, record.attempt))
    due = store.due(now_ms=_FAR_MS, limit=1_000)
    indexed = {item.key: item.since_ms for item in due if item.lapsed_attempt is None}
    for key in may_be_gone - indexed.keys():
        deadlines.pop(key, None)
    assert indexed == deadlines
    assert {(item.key, item.lapsed_attempt) for item in due if item.lapsed_attempt is not None} == leases


def check_business_key(store: ProcessStore, pictures: Sequence[Picture]) -> None:
    """The one live process has it, and nobody else."""
    live = {picture.process.id for picture in pictures if not picture.process.state.is_terminal}
    assert live == {store.find(pictures[0].process.key)} - {None}


def check_listing(store: ProcessStore, processes: Iterable[Process]) -> None:
    """Each process is in every list that it belongs to, once, and waits for the archive if it is finished."""
    for process in processes:
        listed = [each.id for each in store.list_processes(limit=1_000)]
        assert listed.count(process.id) == 1
        for state in ProcessState:
            found = [each.id for each in store.list_processes(ProcessFilter(state=state), limit=1_000)]
            assert found.count(process.id) == (state is process.state)
        waiting = [each.process_id for each in store.finished(is_archived=False, limit=1_000)]
        assert waiting.count(process.id) == process.state.is_terminal


def check_redis(client: object, prefix: str, process: Process) -> None:
    """The counters, the class and the index entries of a process are what its records make them."""
    shard = f"{prefix}:{{{shard_of(process.id)}}}"
    with client.pipeline(transaction=False) as pipe:  # type: ignore[attr-defined]
        pipe.hgetall(f"{shard}:process:{process.id}")
        pipe.zrange(f"{shard}:index", 0, -1)
        fields, entries = pipe.execute()
    counts = classes.counts_of(process)
    class_digit, _, numbers = fields[b"state"].split(b" ")
    assert dict(enumerate(map(int, numbers.split(b",")))) == {bit: counts.get(bit, 0) for bit in range(classes.BITS)}
    assert int(class_digit, 16) == classes.class_of(counts)
    seed = listing.seed_of(process)
    ours = [entry for entry in entries if entry.endswith(seed[-POSITION_SIZE:])]
    assert sorted(ours) == sorted(listing.entries(seed, classes.class_of(counts)))


def check_at_rest(step: ProcessStep) -> None:
    """When no clock runs any more, only such steps are unfinished as have none to run."""
    may_wait = step.attempt == 0 or step.on_timeout == OnTimeout.ALERT or step.timeout_ms is None
    assert step.state.is_terminal or may_wait or step.task_id is None, f"the step is stuck: {step}"
