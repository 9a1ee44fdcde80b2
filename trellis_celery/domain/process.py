"""A process: the steps that must happen, and the one state that follows from theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain import by_hand
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.identity import BusinessKey, new_process_id
from trellis_celery.domain.machine_clock import machine_now_ms
from trellis_celery.domain.step import DeadlineKind, OnTimeout, ProcessStep, StepState, require_duration_ms
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.domain.transitions import Rule, Transition

#: Steps are written in one operation at the start; more than this would hold up a store's other clients.
MAX_STEPS = 10_000

#: Under this name the process's own record is kept beside those of its steps: it has the process's deadline and log.
OWN_RECORD = ""


class ProcessState(StrEnum):
    """How far a process is: a function of the states of its steps, see `state_of`."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in _TERMINAL


_TERMINAL = frozenset({ProcessState.COMPLETED, ProcessState.FAILED, ProcessState.CANCELLED})

_EVENT_OF_STATE = {
    ProcessState.COMPLETED: EventKind.PROCESS_COMPLETED,
    ProcessState.FAILED: EventKind.PROCESS_FAILED,
    ProcessState.CANCELLED: EventKind.PROCESS_CANCELLED,
}


#: The states in which a process is finished, and what its log tells of each.
END_STATES, OWN_ENDS = tuple(_EVENT_OF_STATE), tuple(_EVENT_OF_STATE.values())


def state_of(states: Iterable[StepState]) -> ProcessState:
    """The state of a process whose steps are in these states. Only which states occur matters, not how often."""
    present = frozenset(states)
    if StepState.FAILED in present:
        return ProcessState.FAILED
    if present == {StepState.PENDING}:
        return ProcessState.PENDING
    if present == {StepState.COMPLETED}:
        return ProcessState.COMPLETED
    if present <= {StepState.COMPLETED, StepState.CANCELLED}:
        return ProcessState.CANCELLED
    return ProcessState.IN_PROGRESS


def process_event(before: ProcessState, after: ProcessState, now_ms: int) -> Event | None:
    """What is logged when a process went from one state to another; None when that is not worth telling."""
    kind = _EVENT_OF_STATE.get(after)
    if kind is None or before is after:
        return None
    return Event(kind, OWN_RECORD, 0, now_ms)


def end_events(now_ms: int) -> tuple[Event, ...]:
    """What is logged for each of `END_STATES`, in their order."""
    return tuple(Event(kind, OWN_RECORD, 0, now_ms) for kind in OWN_ENDS)


def mark_overdue(own: ProcessStep, *, now_ms: int) -> Transition:
    """The process's deadline has passed before it was finished: it is marked, and nothing is stopped."""
    after = replace(own, deadline_ms=None, deadline_kind=None, last_error="overdue")
    return Transition(own, after, (Event(EventKind.PROCESS_OVERDUE, OWN_RECORD, 0, now_ms),))


class Process(Struct, kw_only=True):
    """A container of steps. Make one with `Process.start`.

    An object of this class is a picture of the process at one time; the methods that change a step change the picture
    only. `ProcessService` does the same and writes it down.
    """

    id: str
    key: BusinessKey
    #: By name, in the order of declaration.
    steps: dict[str, ProcessStep]
    #: The process's own record: its deadline.
    own: ProcessStep
    #: Epoch milliseconds by the store's clock.
    started_at_ms: int
    #: Whatever the team wants to keep with the process: JSON values.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0

    @classmethod
    def start(
        cls,
        *,
        tenant_id: str,
        process_type: str,
        aggregate_type: str,
        aggregate_id: str,
        steps: Sequence[ProcessStep],
        deadline_ms: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        traceparent: str | None = None,
        now_ms: int | None = None,
    ) -> Process:
        """A new process with its steps pending.

        `deadline_ms`: how long the whole process may take. `traceparent`: what started it in a trace. Raises
        DefinitionError for no steps, too many, or two of one name, and for metadata that are no mapping;
        InvalidIdentifier for an id that cannot be stored.
        """
        if metadata is not None and not isinstance(metadata, Mapping):
            raise errors.DefinitionError(f"metadata must be a mapping of JSON values, not {metadata!r:.80}")
        key = BusinessKey(
            tenant_id=tenant_id,
            process_type=process_type,
            aggregate_type=aggregate_type,
            aggregate_id=aggregate_id,
        )
        now_ms = machine_now_ms() if now_ms is None else now_ms
        return cls(
            id=new_process_id(key),
            key=key,
            steps={step.name: _at_start(step, now_ms) for step in _unique(process_type, steps)},
            own=_own_record(deadline_ms, traceparent, now_ms),
            started_at_ms=now_ms,
            metadata=dict(metadata or {}),
        )

    @property
    def tenant_id(self) -> str:
        return self.key.tenant_id

    @property
    def process_type(self) -> str:
        return self.key.process_type

    @property
    def aggregate_type(self) -> str:
        return self.key.aggregate_type

    @property
    def aggregate_id(self) -> str:
        return self.key.aggregate_id

    @property
    def required_steps(self) -> list[str]:
        return list(self.steps)

    @property
    def state(self) -> ProcessState:
        return state_of(step.state for step in self.steps.values())

    @property
    def is_overdue(self) -> bool:
        """Whether the process's own deadline passed before it was finished."""
        return self.own.last_error is not None

    @property
    def has_incident(self) -> bool:
        """Whether a step of it was given up, and nobody has dealt with that yet."""
        return any(step.has_incident for step in self.steps.values())

    @property
    def next_deadline_ms(self) -> int | None:
        """The earliest deadline that nothing but this object knows of; None if there is none. Epoch ms.

        That is its own until it is finished, and those of steps that nobody changed yet: changed steps have trackers.
        """
        own = [] if self.state.is_terminal else [self.own.deadline_ms]
        untouched = [step.deadline_ms for step in self.steps.values() if step.version <= 1]
        return min((deadline_ms for deadline_ms in (*own, *untouched) if deadline_ms is not None), default=None)

    def is_completed(self) -> bool:
        return self.state is ProcessState.COMPLETED

    def has_failed(self) -> bool:
        return self.state is ProcessState.FAILED

    def step(self, step_name: str) -> ProcessStep:
        """The step of this name; raises StepNotFound."""
        try:
            return self.steps[step_name]
        except (KeyError, TypeError):
            raise errors.StepNotFound(process_id=self.id, step=step_name, known=tuple(self.steps)) from None

    def start_step(self, step_name: str, *, now_ms: int | None = None) -> StepTracker | None:
        """Start a step, or the next attempt of one that timed out. Returns its tracker if it has a timeout."""
        step = self._change(step_name, by_hand.start, now_ms)
        return StepTracker(self.id, step) if step.has_timeout() else None

    def complete_step(self, step_name: str, *, now_ms: int | None = None) -> None:
        """Complete a step, started or not. Does nothing to a completed one; raises InvalidTransition if it failed."""
        self._change(step_name, by_hand.complete, now_ms)

    def fail_step(self, step_name: str, error: str, *, now_ms: int | None = None) -> None:
        """Fail a step. Does nothing to a failed one; raises InvalidTransition if it was completed or cancelled."""
        self._change(step_name, partial(by_hand.fail, error=error), now_ms)

    def _change(self, step_name: str, rule: Rule, now_ms: int | None) -> ProcessStep:
        step = self.step(step_name)
        changed = rule(step, now_ms=machine_now_ms() if now_ms is None else now_ms).after
        self.steps[step_name] = changed
        return changed


def _unique(process_type: str, steps: Sequence[ProcessStep]) -> Sequence[ProcessStep]:
    names = [step.name for step in steps]
    if not names:
        raise errors.DefinitionError(f"process type {process_type} has no steps: there would be nothing to track")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise errors.DefinitionError(f"process type {process_type} has more than one step named {', '.join(twice)}")
    if len(names) > MAX_STEPS:
        raise errors.DefinitionError(f"process type {process_type} has {len(names)} steps; the most is {MAX_STEPS}")
    return steps


def _at_start(step: ProcessStep, now_ms: int) -> ProcessStep:
    """The step as it is stored first. Raises DefinitionError for one that has been in a process already."""
    if step.version or step.state is not StepState.PENDING:
        raise errors.DefinitionError(f"step {step.name!r} has been in a process already: declare a new ProcessStep")
    deadline_ms, deadline_kind = step.first_deadline(now_ms)
    return replace(step, version=1, deadline_ms=deadline_ms, deadline_kind=deadline_kind)


def _own_record(deadline_ms: int | None, traceparent: str | None, now_ms: int) -> ProcessStep:
    if deadline_ms is not None:
        require_duration_ms("deadline_ms", deadline_ms, none_means="no deadline")
    return ProcessStep(
        OWN_RECORD,
        version=1,
        on_timeout=OnTimeout.ALERT,
        deadline_ms=None if deadline_ms is None else now_ms + deadline_ms,
        deadline_kind=None if deadline_ms is None else DeadlineKind.RUN,
        traceparent=traceparent,
    )
