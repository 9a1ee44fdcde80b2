"""One process as a page: who it is, its timeline, its steps, its log, and what to type where it needs somebody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from trellis_celery.cli import advice, tones
from trellis_celery.cli.blocks import NOTHING, Block, Cell, Column, Line, Table, Tone, line
from trellis_celery.cli.gantt import UNICODE, Glyphs, gantt
from trellis_celery.cli.times import ago, moment
from trellis_celery.domain.events import Event
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.timeline import timeline_of


def process_page(
    process: Process,
    history: Sequence[Event],
    *,
    now_ms: int,
    columns: int,
    is_archived: bool = False,
    arguments: Mapping[str, str] | None = None,
    command_line: str = "celery trellis",
    glyphs: Glyphs = UNICODE,
) -> list[Block]:
    """`arguments`: those of tasks, by step, where they may be shown."""
    timeline_ms = history[-1].occurred_at_ms if is_archived and history else now_ms
    return [
        *head(process, now_ms=now_ms, is_archived=is_archived),
        line(),
        *picture(process, history, now_ms=timeline_ms, columns=columns, glyphs=glyphs),
        step_table(process.steps.values(), now_ms=now_ms, arguments=arguments),
        line(),
        log_table(history, start_ms=process.started_at_ms),
        *([] if is_archived else _advice(process, command_line)),
    ]


def head(process: Process, *, now_ms: int, is_archived: bool = False) -> list[Block]:
    state = tones.state_of_process(process)
    deadline_ms = None if process.state.is_terminal else process.own.deadline_ms
    lines: list[Block] = [
        Line(
            (
                Cell(f"{process.process_type} {process.id}", Tone.STRONG),
                Cell(" (from the archive)" if is_archived else ""),
            )
        ),
        Line(
            (
                state,
                Cell(f"; {process.aggregate_type} {process.aggregate_id}, tenant {process.tenant_id}"),
            )
        ),
        line(
            f"started {moment(process.started_at_ms)}, {ago(now_ms - process.started_at_ms)}"
            + ("" if deadline_ms is None else f"; deadline {ago(now_ms - deadline_ms)}"),
        ),
    ]
    if process.metadata:
        lines.append(line(f"metadata {msgspec.json.encode(dict(process.metadata)).decode()}", Tone.DIM))
    return lines


def picture(
    process: Process, history: Sequence[Event], *, now_ms: int, columns: int, glyphs: Glyphs, rows: int | None = None
) -> list[Block]:
    """The timeline, if anything happened yet. `rows`: only so many steps, those that are not finished first."""
    timeline = timeline_of(process, history, now_ms=now_ms)
    if not any(row.spans or row.marks for row in timeline.rows):
        return []
    shown = timeline.rows
    if rows is not None and len(shown) > rows:
        first = sorted(shown, key=lambda row: row.step.state.is_terminal and not row.step.has_incident)[:rows]
        shown = tuple(row for row in shown if row in first)
    hidden = len(timeline.rows) - len(shown)
    more = [line(f"and {hidden} more steps", Tone.DIM)] if hidden else []
    return [*gantt(timeline, now_ms=now_ms, columns=columns, glyphs=glyphs, rows=shown), *more, line()]


_STEP_COLUMNS = (Column("STEP"), Column("STATE"), Column("ATTEMPT"), Column("DEADLINE"))


def step_table(steps: Iterable[ProcessStep], *, now_ms: int, arguments: Mapping[str, str] | None = None) -> Table:
    """How far each step is. `arguments`: those of tasks, by step, where they may be shown."""
    columns = [*_STEP_COLUMNS, Column("WORKER", below="")]
    columns += [Column("ARGUMENTS", below="")] if arguments else []
    return Table(
        [*columns, Column("LAST ERROR", below="")], [_step_row(step, now_ms, arguments or {}) for step in steps]
    )


def _step_row(step: ProcessStep, now_ms: int, arguments: Mapping[str, str]) -> list[Cell]:
    attempts = step.attempt - step.retry_count + step.retries_permitted
    is_late = step.deadline_ms is not None and step.deadline_ms <= now_ms
    deadline = "-" if step.deadline_ms is None else f"{step.deadline_kind} {ago(now_ms - step.deadline_ms)}"
    return [
        Cell(step.name),
        tones.state_of_step(step),
        Cell(f"{step.attempt} of {attempts}" if step.attempt else "-"),
        Cell(deadline, Tone.WARNING if is_late else Tone.PLAIN),
        Cell("external") if step.external else _known(step.worker),
        *([_known(arguments.get(step.name))] if arguments else []),
        _known(step.last_error, Tone.BAD if step.has_incident else Tone.PLAIN),
    ]


def _known(text: str | None, tone: Tone = Tone.PLAIN) -> Cell:
    return Cell(text, tone) if text else NOTHING


_LOG_COLUMNS = (
    Column("AT", is_number=True),
    Column("EVENT"),
    Column("STEP"),
    Column("ATTEMPT"),
    Column("BY", below="by "),
    Column("DETAIL", below=""),
)


def log_table(history: Sequence[Event], *, start_ms: int) -> Table:
    """Everything that happened, oldest first; times count from the process's start."""
    return Table(_LOG_COLUMNS, [_event_row(event, start_ms) for event in history])


def _event_row(event: Event, start_ms: int) -> list[Cell]:
    return [
        Cell(f"+{(event.occurred_at_ms - start_ms) / 1000:.3f} s"),
        Cell(event.kind, tones.of_event(event.kind)),
        _known(event.step_name),
        _known(str(event.attempt or "")),
        _known(event.by),
        _known(event.detail),
    ]


def _advice(process: Process, command_line: str) -> list[Block]:
    lines: list[Block] = []
    for step in process.steps.values():
        if step.has_incident:
            commands = advice.for_incident(step, process_id=process.id, command_line=command_line)
            lines += [line(), line(f"{step.name} needs somebody:"), *(line(f"  {command}") for command in commands)]
    return lines
