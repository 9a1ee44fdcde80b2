"""What the JSON API answers: plain values; times in epoch ms. The names are those of the package."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from trellis_celery.domain.events import Event
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Incident, ProcessSummary, Stats
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.timeline import Timeline
from trellis_celery.flower.focus import Focus
from trellis_celery.flower.look import Checks, IncidentPage, Page, Row, Story

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


def page_data(page: Page) -> dict[str, Any]:
    return {
        "now_ms": page.now_ms,
        "processes": [_row_data(row) for row in page.rows],
        "next": None if page.next is None else str(page.next),
    }


def _row_data(row: Row) -> dict[str, Any]:
    return summary_data(row.summary) | {"current": None if row.focus is None else _focus_data(row.focus)}


def summary_data(process: ProcessSummary) -> dict[str, Any]:
    return {
        "id": process.id,
        "tenant_id": process.key.tenant_id,
        "process_type": process.key.process_type,
        "aggregate_type": process.key.aggregate_type,
        "aggregate_id": process.key.aggregate_id,
        "state": process.state,
        "is_overdue": process.is_overdue,
        "has_incident": process.has_incident,
        "started_at_ms": process.started_at_ms,
        "steps": dict(process.step_counts),
    }


def _focus_data(focus: Focus) -> dict[str, Any]:
    return {
        "step": focus.step.name,
        "doing": focus.doing.words,
        "since_ms": focus.doing.since_ms,
        "attempt": focus.step.attempt,
        "deadline_ms": focus.step.deadline_ms,
        "last_error": focus.step.last_error,
    }


def process_data(process: Process, arguments: Mapping[str, str] = NO_ARGUMENTS) -> dict[str, Any]:
    return {
        "id": process.id,
        "tenant_id": process.tenant_id,
        "process_type": process.process_type,
        "aggregate_type": process.aggregate_type,
        "aggregate_id": process.aggregate_id,
        "state": process.state,
        "is_overdue": process.is_overdue,
        "has_incident": process.has_incident,
        "started_at_ms": process.started_at_ms,
        "deadline_ms": process.own.deadline_ms,
        "metadata": dict(process.metadata),
        "steps": [step_data(step, arguments.get(step.name)) for step in process.steps.values()],
    }


def step_data(step: ProcessStep, arguments: str | None = None) -> dict[str, Any]:
    told = {name: getattr(step, name) for name in _OF_A_STEP}
    return told if arguments is None else {**told, "arguments": arguments}


def story_data(story: Story) -> dict[str, Any]:
    return {
        "now_ms": story.now_ms,
        "is_archived": story.is_archived,
        "process": process_data(story.process, story.arguments),
        "timeline": timeline_data(story.timeline),
        "history": [event_data(event) for event in story.history],
    }


def timeline_data(timeline: Timeline) -> dict[str, Any]:
    return {
        "start_ms": timeline.start_ms,
        "end_ms": timeline.end_ms,
        "rows": [
            {
                "step": row.step.name,
                "spans": [dataclasses.asdict(span) for span in row.spans],
                "marks": [dataclasses.asdict(mark) for mark in row.marks],
            }
            for row in timeline.rows
        ],
    }


def event_data(event: Event) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "step": event.step_name,
        "attempt": event.attempt,
        "occurred_at_ms": event.occurred_at_ms,
        "detail": event.detail,
        "by": event.by,
    }


def incident_page_data(page: IncidentPage) -> dict[str, Any]:
    position = page.next
    return {
        "now_ms": page.now_ms,
        "incidents": [incident_data(incident) for incident in page.incidents],
        "next": None if position is None else f"{position.started_at_ms}/{position.process_id}",
    }


def incident_data(incident: Incident) -> dict[str, Any]:
    return {
        "process": summary_data(incident.process),
        "step": step_data(incident.step),
        "since_ms": incident.since_ms,
        "reason": incident.reason,
    }


def checks_data(checks: Checks) -> dict[str, Any]:
    return {
        "now_ms": checks.now_ms,
        "at_ms": checks.last.at_ms or None,
        "by": checks.last.by,
        "interval_ms": checks.interval_ms,
        "is_late": checks.is_late,
    }


def stats_data(stats: Stats) -> dict[str, Any]:
    return {
        "processes": _counts(stats.processes),
        "due": stats.due,
        "events": _counts(stats.events),
        "lateness": {
            "buckets": [
                {"up_to_ms": up_to_ms, "count": count} for up_to_ms, count in sorted(stats.lateness.buckets.items())
            ],
            "count": stats.lateness.count,
            "sum_ms": stats.lateness.sum_ms,
        },
    }


def _counts(groups: Mapping[Any, int]) -> list[dict[str, Any]]:
    return [group._asdict() | {"count": count} for group, count in sorted(groups.items())]
