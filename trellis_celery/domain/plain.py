"""Processes, steps and events as plain values: the one form in which shell and JSON API give them.

The names are those of the package, and an API: they stay, and others may come. Times are epoch milliseconds by the
store's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import ProcessSummary
from trellis_celery.domain.step import ProcessStep

#: What a step's record says about the step, rather than about how it is kept.
_OF_A_STEP = (
    "name",
    "state",
    "attempt",
    "retries_permitted",
    "retry_count",
    "resend_count",
    "timeout_ms",
    "queue_timeout_ms",
    "on_timeout",
    "backoff_ms",
    "backoff_max_ms",
    "external",
    "deadline_ms",
    "deadline_kind",
    "task_id",
    "worker",
    "started_at_ms",
    "finished_at_ms",
    "last_error",
    "has_incident",
)

NO_ARGUMENTS: Mapping[str, str] = MappingProxyType({})


def of_process(process: Process, arguments: Mapping[str, str] = NO_ARGUMENTS) -> dict[str, Any]:
    """`arguments`: of the tasks of steps, by step, as far as they may be seen."""
    return {
        "id": process.id,
        **of_key(process.key),
        "state": process.state,
        "is_overdue": process.is_overdue,
        "has_incident": process.has_incident,
        "started_at_ms": process.started_at_ms,
        "deadline_ms": process.own.deadline_ms,
        "metadata": dict(process.metadata),
        "steps": [of_step(step, arguments.get(step.name)) for step in process.steps.values()],
    }


def of_summary(process: ProcessSummary) -> dict[str, Any]:
    return {
        "id": process.id,
        **of_key(process.key),
        "state": process.state,
        "is_overdue": process.is_overdue,
        "has_incident": process.has_incident,
        "started_at_ms": process.started_at_ms,
        "steps": dict(process.step_counts),
    }


def of_step(step: ProcessStep, arguments: str | None = None) -> dict[str, Any]:
    told = {name: getattr(step, name) for name in _OF_A_STEP}
    return told if arguments is None else {**told, "arguments": arguments}


def of_event(event: Event) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "step": event.step_name,
        "attempt": event.attempt,
        "occurred_at_ms": event.occurred_at_ms,
        "detail": event.detail,
        "by": event.by,
    }


def of_key(key: BusinessKey) -> dict[str, str]:
    return {
        "tenant_id": key.tenant_id,
        "process_type": key.process_type,
        "aggregate_type": key.aggregate_type,
        "aggregate_id": key.aggregate_id,
    }
