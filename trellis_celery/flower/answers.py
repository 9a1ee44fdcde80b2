"""What the JSON API answers: plain values; times in epoch ms. The names are those of the package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import asdict

from trellis_celery.domain import plain
from trellis_celery.domain.queries import Incident, Stats
from trellis_celery.domain.timeline import Timeline
from trellis_celery.flower.focus import Focus
from trellis_celery.flower.look import Checks, IncidentPage, Page, Row, Story


def page_data(page: Page) -> dict[str, Any]:
    return {
        "now_ms": page.now_ms,
        "processes": [_row_data(row) for row in page.rows],
        "next": None if page.next is None else str(page.next),
    }


def _row_data(row: Row) -> dict[str, Any]:
    return plain.of_summary(row.summary) | {"current": None if row.focus is None else _focus_data(row.focus)}


def _focus_data(focus: Focus) -> dict[str, Any]:
    return {
        "step": focus.step.name,
        "doing": focus.doing.words,
        "since_ms": focus.doing.since_ms,
        "attempt": focus.step.attempt,
        "deadline_ms": focus.step.deadline_ms,
        "last_error": focus.step.last_error,
    }


def story_data(story: Story) -> dict[str, Any]:
    return {
        "now_ms": story.now_ms,
        "is_archived": story.is_archived,
        "process": plain.of_process(story.process, story.arguments),
        "timeline": timeline_data(story.timeline),
        "history": [plain.of_event(event) for event in story.history],
    }


def timeline_data(timeline: Timeline) -> dict[str, Any]:
    return {
        "start_ms": timeline.start_ms,
        "end_ms": timeline.end_ms,
        "rows": [
            {
                "step": row.step.name,
                "spans": [asdict(span) for span in row.spans],
                "marks": [asdict(mark) for mark in row.marks],
            }
            for row in timeline.rows
        ],
    }


def incident_page_data(page: IncidentPage) -> dict[str, Any]:
    return {
        "now_ms": page.now_ms,
        "incidents": [incident_data(incident) for incident in page.incidents],
        "next": None if page.next is None else str(page.next),
    }


def incident_data(incident: Incident) -> dict[str, Any]:
    return {
        "process": plain.of_summary(incident.process),
        "step": plain.of_step(incident.step),
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
