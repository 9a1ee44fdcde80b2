"""Results as JSON: the keys are documented, and stay. Times are epoch milliseconds by the store's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Incident, Position, ProcessSummary, Stats
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import LastCheck

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


def of_process(process: Process, *, arguments: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": process.id,
        **_of_key(process.key),
        "state": process.state,
        "is_overdue": process.is_overdue,
        "has_incident": process.has_incident,
        "started_at_ms": process.started_at_ms,
        "deadline_ms": process.own.deadline_ms,
        "metadata": dict(process.metadata),
        "steps": [_of_step(step, arguments.get(step.name)) for step in process.steps.values()],
    }


def of_summary(process: ProcessSummary) -> dict[str, Any]:
    return {
        "id": process.id,
        **_of_key(process.key),
        "state": process.state,
        "is_overdue": process.is_overdue,
        "has_incident": process.has_incident,
        "started_at_ms": process.started_at_ms,
        "steps": dict(process.step_counts),
        "position": position(process.position),
    }


def of_event(event: Event, *, process_id: str) -> dict[str, Any]:
    return {
        "process": process_id,
        "kind": event.kind,
        "step": event.step_name,
        "attempt": event.attempt,
        "occurred_at_ms": event.occurred_at_ms,
        "detail": event.detail,
        "by": event.by,
    }


def of_incident(incident: Incident, *, next_commands: Sequence[str]) -> dict[str, Any]:
    return {
        "process": incident.process.id,
        **_of_key(incident.process.key),
        "step": incident.step.name,
        "state": incident.step.state,
        "attempt": incident.step.attempt,
        "since_ms": incident.since_ms,
        "reason": incident.reason,
        "next": list(next_commands),
    }


def of_stats(stats: Stats, last_check: LastCheck) -> dict[str, Any]:
    lateness = stats.lateness
    return {
        "processes": [{**group._asdict(), "count": count} for group, count in sorted(stats.processes.items())],
        "due": stats.due,
        "last_check": {"at_ms": last_check.at_ms or None, "by": last_check.by},
        "events": [{**group._asdict(), "count": count} for group, count in sorted(stats.events.items())],
        "lateness": {
            "buckets": {str(bound): count for bound, count in sorted(lateness.buckets.items())},
            "count": lateness.count,
            "sum_ms": lateness.sum_ms,
        },
    }


def position(position: Position) -> str:
    """Where a page of a list ended, as `--after` takes it."""
    return f"{position.started_at_ms}/{position.process_id}"


def _of_key(key: BusinessKey) -> dict[str, str]:
    return {
        "tenant_id": key.tenant_id,
        "process_type": key.process_type,
        "aggregate_type": key.aggregate_type,
        "aggregate_id": key.aggregate_id,
    }


def _of_step(step: ProcessStep, arguments: str | None) -> dict[str, Any]:
    told = {name: getattr(step, name) for name in _OF_A_STEP}
    return told if arguments is None else {**told, "arguments": arguments}
