"""Short forms of what most promises need first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from trellis_celery.domain import by_hand, outcomes, runs
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.transitions import Transition
from trellis_celery.ports import Change, Committed, Due, ProcessStore, StepKey

#: Has the form of a process id, and is none.
UNKNOWN_ID = "0-" + "0" * 32
MINUTE_MS = 60_000

Rule = Callable[[ProcessStep], Transition]


def new_process(
    store: ProcessStore,
    *steps: str | ProcessStep,
    tenant_id: str = "tenant",
    process_type: str = "Type",
    aggregate_type: str = "Aggregate",
    aggregate_id: str | None = None,
    deadline_ms: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    started_at_ms: int | None = None,
) -> Process:
    """A process that is not stored yet, with an aggregate of its own if none is given."""
    return Process.start(
        tenant_id=tenant_id,
        process_type=process_type,
        aggregate_type=aggregate_type,
        aggregate_id=uuid4().hex if aggregate_id is None else aggregate_id,
        steps=[ProcessStep(step) if isinstance(step, str) else step for step in steps or ("step",)],
        deadline_ms=deadline_ms,
        metadata=metadata,
        now_ms=store.now_ms() if started_at_ms is None else started_at_ms,
    )


def created(store: ProcessStore, *steps: str | ProcessStep, **fields: Any) -> Process:
    """A stored process."""
    process = new_process(store, *steps, **fields)
    assert store.create(process) == process.id
    return process


def change(process: Process, rule: Rule, step_name: str = "step", **fields: Any) -> Change:
    """The change that the rule asks for, made from the process as it is in hand."""
    record = process.step(step_name) if step_name else process.own
    return Change(process_id=process.id, transition=rule(record), **fields)


def apply(store: ProcessStore, process: Process, rule: Rule, step_name: str = "step", **fields: Any) -> Committed:
    """Write the change that the rule asks for; the process in hand is brought up to date."""
    (outcome,) = store.commit([change(process, rule, step_name, **fields)])
    assert isinstance(outcome, Committed), outcome
    if step_name:
        process.steps[step_name] = outcome.step
    return outcome


def queue(*, at_ms: int) -> Rule:
    """Its deadline is `queue_timeout_ms` after `at_ms`."""
    return lambda step: runs.queue(step, task_id=uuid4().hex, args_digest="", now_ms=at_ms)


def start(*, at_ms: int = 1, attempt: int | None = None, is_leased: bool = False) -> Rule:
    return lambda step: runs.start(step, run_id=uuid4().hex, attempt=attempt, now_ms=at_ms, is_leased=is_leased)


def complete(*, at_ms: int = 1) -> Rule:
    return lambda step: outcomes.complete(step, now_ms=at_ms)


def fail(*, at_ms: int = 1) -> Rule:
    return lambda step: outcomes.fail(step, "broken", now_ms=at_ms)


def cancel(*, at_ms: int = 1) -> Rule:
    return lambda step: outcomes.cancel(step, now_ms=at_ms)


def reopen(*, at_ms: int = 1) -> Rule:
    return lambda step: outcomes.reopen(step, has_message=False, now_ms=at_ms)


def complete_after_all(*, at_ms: int = 1) -> Rule:
    """Of a step that has failed: it was done in another way."""
    return lambda step: by_hand.complete(step, reopen=True, now_ms=at_ms)


def loaded_step(store: ProcessStore, process: Process, step_name: str = "step") -> ProcessStep:
    (record,) = store.load_steps([StepKey(process.id, step_name)])
    assert isinstance(record, ProcessStep), record
    return record


def message_of(store: ProcessStore, process: Process, step_name: str = "step") -> bytes | None:
    (message,) = store.load_messages([StepKey(process.id, step_name)])
    return message


def deadlines(store: ProcessStore, *, now_ms: int, limit: int = 10_000) -> list[Due]:
    return store.due(now_ms=now_ms, limit=limit, with_leases=False)


def lapsed(store: ProcessStore, *, now_ms: int, limit: int = 10_000) -> list[Due]:
    return [item for item in store.due(now_ms=now_ms, limit=limit) if item.lapsed_attempt is not None]
