"""What people ask for when they look for processes, and what a list of them says of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from trellis_celery import errors
from trellis_celery.domain.identity import BusinessKey, require_identifier
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.step import StepState


class Position(NamedTuple):
    """Where a process stands in every list: those started later come first, and of equal ones the greater id.

    It never changes, so a list that is read page by page shows nothing twice and leaves nothing out.
    """

    started_at_ms: int
    process_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSummary:
    """A process as a list shows it: without its steps, however many there are."""

    id: str
    key: BusinessKey
    state: ProcessState
    #: Its own deadline passed before it was finished.
    is_overdue: bool
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFilter:
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
    #: Started at this time or later, epoch ms.
    started_from_ms: int | None = None
    #: Started before this time, epoch ms.
    started_before_ms: int | None = None

    def __post_init__(self) -> None:
        for field in ("process_type", "tenant_id", "aggregate_type", "aggregate_id"):
            if (value := getattr(self, field)) is not None:
                require_identifier(field, value)
        if self.aggregate_type is not None and self.aggregate_id is None:
            raise errors.DefinitionError("aggregate_type is looked for together with an aggregate_id only")
        if self.is_overdue and self.state is not None and self.state.is_terminal:
            raise errors.DefinitionError(f"a process that is {self.state} is not overdue any more")

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
            and (self.started_from_ms is None or process.started_at_ms >= self.started_from_ms)
            and (self.started_before_ms is None or process.started_at_ms < self.started_before_ms)
        )


class Finished(NamedTuple):
    """A terminal process, and when it was last changed."""

    #: Epoch ms. Later with every change: two changes of one process never have the same.
    since_ms: int
    process_id: str
