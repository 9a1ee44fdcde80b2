"""How processes read as plain text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from trellis_celery.domain.events import Event
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Position, ProcessSummary
from trellis_celery.domain.step import ProcessStep
from trellis_celery.services.history import HistoryReport
from trellis_celery.services.timeouts import CheckReport


def process_data(process: Process) -> dict[str, Any]:
    """The process as plain values; times in epoch ms."""
    return {
        "id": process.id,
        "tenant_id": process.tenant_id,
        "process_type": process.process_type,
        "aggregate_type": process.aggregate_type,
        "aggregate_id": process.aggregate_id,
        "state": process.state,
        "is_overdue": process.is_overdue,
        "started_at_ms": process.started_at_ms,
        "metadata": dict(process.metadata),
        "steps": [dataclasses.asdict(step) for step in process.steps.values()],
    }


def summary_data(process: ProcessSummary) -> dict[str, Any]:
    """What a list tells of a process as plain values; times in epoch ms."""
    return {
        "id": process.id,
        "tenant_id": process.key.tenant_id,
        "process_type": process.key.process_type,
        "aggregate_type": process.key.aggregate_type,
        "aggregate_id": process.key.aggregate_id,
        "state": process.state,
        "is_overdue": process.is_overdue,
        "started_at_ms": process.started_at_ms,
        "steps": dict(process.step_counts),
        "position": position(process.position),
    }


def position(position: Position) -> str:
    return f"{position.started_at_ms}/{position.process_id}"


def process_table(processes: Sequence[ProcessSummary], *, now_ms: int) -> str:
    if not processes:
        return "No processes."
    rows = [
        (
            process.id,
            process.key.process_type,
            process.key.tenant_id,
            f"{process.key.aggregate_type} {process.key.aggregate_id}",
            process.state + (" (overdue)" if process.is_overdue else ""),
            f"{process.steps_finished}/{process.steps_total}",
            ago(now_ms - process.started_at_ms),
        )
        for process in processes
    ]
    return table(("PROCESS", "TYPE", "TENANT", "AGGREGATE", "STATE", "STEPS", "STARTED"), rows)


def process_page(process: Process, history: Sequence[Event], *, now_ms: int, is_archived: bool = False) -> str:
    steps = [_step_row(step, now_ms) for step in process.steps.values()]
    events = [
        (f"+{(event.occurred_at_ms - process.started_at_ms) / 1000:.3f} s", event.kind, event.step_name or "-",
         str(event.attempt or "-"), event.detail)
        for event in history
    ]  # fmt: skip
    return "\n".join(
        (
            f"{process.process_type} {process.id}{' (from the archive)' if is_archived else ''}",
            f"{process.state}{', overdue' if process.is_overdue else ''}; tenant {process.tenant_id}, "
            f"{process.aggregate_type} {process.aggregate_id}, started {ago(now_ms - process.started_at_ms)}",
            "",
            table(("STEP", "STATE", "ATTEMPT", "DEADLINE", "WORKER", "LAST ERROR"), steps),
            "",
            table(("AT", "EVENT", "STEP", "ATTEMPT", "DETAIL"), events),
        )
    )


def _step_row(step: ProcessStep, now_ms: int) -> tuple[str, ...]:
    deadline = "-" if step.deadline_ms is None else f"{step.deadline_kind} {ago(now_ms - step.deadline_ms)}"
    attempt = f"{step.attempt} of {step.attempt - step.retry_count + step.retries_permitted}" if step.attempt else "-"
    return (step.name, step.state, attempt, deadline, step.worker or "-", step.last_error or "-")


def history_line(report: HistoryReport, *, now_ms: int) -> str:
    done = ", ".join(f"{name}: {getattr(report, name)}" for name in ("archived", "removed", "dropped", "failed"))
    since_ms = report.waiting_since_ms
    return f"{done}; waiting: {report.waiting}" + ("" if since_ms is None else f" (first {ago(now_ms - since_ms)})")


def report_line(report: CheckReport) -> str:
    counts = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    return ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    cells = [tuple(head), *([_one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def ago(elapsed_ms: int) -> str:
    """An elapsed time in its largest unit; what lies ahead reads "in …"."""
    seconds = abs(elapsed_ms) / 1000
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            text = f"{seconds / size:.1f} {unit}"
            break
    else:
        text = f"{seconds:.1f} s"
    return f"in {text}" if elapsed_ms < 0 else f"{text} ago"


def _one_line(text: str) -> str:
    """Text from outside cannot break the table or drive the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
