"""What people ask for when they look for processes, and what a list of them says of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct, field

from trellis_celery import errors
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.identity import BusinessKey, require_identifier
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.step import ProcessStep, StepState


class Position(NamedTuple):
    """Where a process stands in every list: those started later come first, and of equal ones the greater id.

    It never changes, so a list that is read page by page shows nothing twice and leaves nothing out.
    """

    started_at_ms: int
    process_id: str


class ProcessSummary(Struct, frozen=True, kw_only=True):
    """A process as a list shows it: without its steps, however many there are."""

    id: str
    key: BusinessKey
    state: ProcessState
    #: Its own deadline passed before it was finished.
    is_overdue: bool
    #: A step of it was given up, and nobody has dealt with that yet.
    has_incident: bool
    #: Epoch ms.
    started_at_ms: int
    #: How many steps are in each state; a state that no step is in may be missing.
    step_counts: Mapping[StepState, int]

    @classmethod
    def of(cls, process: Process) -> ProcessSummary:
        states = [step.state for step in process.steps.values()]
        return cls(
            id=process.id,
            key=process.key,
            state=process.state,
            is_overdue=process.is_overdue,
            has_incident=process.has_incident,
            started_at_ms=process.started_at_ms,
            step_counts={state: states.count(state) for state in StepState if state in states},
        )

    @property
    def position(self) -> Position:
        return Position(self.started_at_ms, self.id)

    @property
    def steps_finished(self) -> int:
        return sum(count for state, count in self.step_counts.items() if state.is_terminal)

    @property
    def steps_total(self) -> int:
        return sum(self.step_counts.values())


class ProcessFilter(Struct, frozen=True, kw_only=True):
    """Which processes to list; what is None does not matter.

    Raises InvalidIdentifier for a text that no process can have, DefinitionError for a filter that makes no sense.
    """

    state: ProcessState | None = None
    process_type: str | None = None
    tenant_id: str | None = None
    #: Narrows `aggregate_id`, and is not for finding anything alone.
    aggregate_type: str | None = None
    aggregate_id: str | None = None
    #: Only those that are not finished though their own deadline has passed.
    is_overdue: bool = False
    #: Only those of which a step was given up, and nobody has dealt with that yet.
    has_incident: bool = False
    #: Started at this time or later, epoch ms.
    started_from_ms: int | None = None
    #: Started before this time, epoch ms.
    started_before_ms: int | None = None

    def __post_init__(self) -> None:
        for name in ("process_type", "tenant_id", "aggregate_type", "aggregate_id"):
            if (value := getattr(self, name)) is not None:
                require_identifier(name, value)
        if self.aggregate_type is not None and self.aggregate_id is None:
            raise errors.DefinitionError("aggregate_type is looked for together with an aggregate_id only")
        if self.is_overdue and self.state is not None and self.state.is_terminal:
            raise errors.DefinitionError(f"a process that is {self.state} is not overdue any more")
        if self.has_incident and self.state in (ProcessState.COMPLETED, ProcessState.CANCELLED):
            raise errors.DefinitionError(f"a process that is {self.state} has no open incident")

    def matches(self, process: ProcessSummary) -> bool:
        """Whether the filter lets this process through."""
        key = process.key
        return (
            self.state in (None, process.state)
            and self.process_type in (None, key.process_type)
            and self.tenant_id in (None, key.tenant_id)
            and self.aggregate_type in (None, key.aggregate_type)
            and self.aggregate_id in (None, key.aggregate_id)
            and (not self.is_overdue or (process.is_overdue and not process.state.is_terminal))
            and (not self.has_incident or process.has_incident)
            and (self.started_from_ms is None or process.started_at_ms >= self.started_from_ms)
            and (self.started_before_ms is None or process.started_at_ms < self.started_before_ms)
        )


class Finished(NamedTuple):
    """A terminal process, and when it was last changed."""

    #: Epoch ms. Later with every change: two changes of one process never have the same.
    since_ms: int
    process_id: str


class Incident(Struct, frozen=True, kw_only=True):
    """A step that was given up, or that timed out and was only told, and that nobody has dealt with yet."""

    process: ProcessSummary
    step: ProcessStep
    #: Epoch ms.
    since_ms: int
    reason: str


#: What opens an incident.
_OPENING = (EventKind.STEP_GAVE_UP, EventKind.STEP_TIMED_OUT)


def incident_of(process: ProcessSummary, step: ProcessStep, history: Sequence[Event]) -> Incident:
    """The open incident of a step, told from the log of its process."""
    opened = [event for event in history if event.step_name == step.name and event.kind in _OPENING]
    since_ms = opened[-1].occurred_at_ms if opened else step.finished_at_ms or process.started_at_ms
    return Incident(process=process, step=step, since_ms=since_ms, reason=step.last_error or "")


class ProcessGroup(NamedTuple):
    """Processes that are counted together."""

    process_type: str
    state: ProcessState
    is_overdue: bool
    has_incident: bool

    @classmethod
    def of(cls, process: ProcessSummary) -> ProcessGroup:
        is_overdue = process.is_overdue and not process.state.is_terminal
        return cls(process.key.process_type, process.state, is_overdue, process.has_incident)


class EventGroup(NamedTuple):
    """Events that are counted together. Those of the process itself have an empty step name."""

    process_type: str
    step_name: str
    kind: EventKind


class Lateness(Struct, frozen=True, kw_only=True):
    """How long it took from a deadline until the next attempt was sent: a histogram."""

    #: By upper bound, ms: how many took no longer than it, and longer than the bound before. The longest are missing.
    buckets: Mapping[int, int] = field(default_factory=dict)
    #: All of them together.
    count: int = 0
    sum_ms: int = 0


class Stats(Struct, frozen=True, kw_only=True):
    """What there is, in numbers."""

    processes: Mapping[ProcessGroup, int]
    #: Clocks that have run out and that no check has taken up yet.
    due: int = 0
    #: How many events were ever written, those of removed processes included. Empty where the store does not count.
    events: Mapping[EventGroup, int] = field(default_factory=dict)
    lateness: Lateness = Lateness()
    #: How often something went on untracked, by what it was: the store failed, or a header was not signed. None where
    #: nobody counts that.
    untracked: Mapping[str, int] | None = None
