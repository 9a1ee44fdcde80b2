"""Results as JSON: the keys are documented, and stay. Times are epoch milliseconds by the store's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trellis_celery.domain import plain
from trellis_celery.domain.events import Event
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Incident, Position, ProcessSummary, Stats
from trellis_celery.ports import LastCheck


def of_process(process: Process, *, arguments: Mapping[str, str]) -> dict[str, Any]:
    return plain.of_process(process, arguments)


def of_summary(process: ProcessSummary) -> dict[str, Any]:
    return {**plain.of_summary(process), "position": position(process.position)}


def of_event(event: Event, *, process_id: str) -> dict[str, Any]:
    return {"process": process_id, **plain.of_event(event)}


def of_incident(incident: Incident, *, next_commands: Sequence[str]) -> dict[str, Any]:
    return {
        "process": incident.process.id,
        **plain.of_key(incident.process.key),
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
