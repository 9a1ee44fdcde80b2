"""`list`: which processes there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from trellis_celery.cli import data, tones
from trellis_celery.cli.blocks import Block, Cell, Column, Table, line
from trellis_celery.cli.group import command, option
from trellis_celery.cli.options import PositionType, TimeType, by_key
from trellis_celery.cli.output import Output
from trellis_celery.cli.times import ago
from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.queries import Position, ProcessFilter, ProcessSummary
from trellis_celery.plugin.extension import Trellis


@command("list")
@option("--state", type=click.Choice([state.value for state in ProcessState]), help="Only processes in this state.")
@by_key
@option("--overdue", "is_overdue", is_flag=True, help="Only unfinished ones whose own deadline has passed.")
@option("--incident", "has_incident", is_flag=True, help="Only those with a step that was given up on.")
@option("--since", "started_from_ms", type=TimeType(), help="Only those started at this time (UTC) or later.")
@option("--before", "started_before_ms", type=TimeType(), help="Only those started before this time (UTC).")
@option("--archived", is_flag=True, help="Look into the archive, `trellis_history_url`.")
@option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at the most.")
@option("--after", type=PositionType(), help="The next page: what the page before printed at its end.")
def list_processes(
    trellis: Trellis,
    output: Output,
    *,
    state: str | None,
    archived: bool,
    limit: int,
    after: Position | None,
    **only: Any,
) -> None:
    """Processes, newest first."""
    wanted = ProcessFilter(state=ProcessState(state) if state else None, **only)
    service = trellis.history if archived else trellis.processes
    processes = service.list_processes(wanted, limit=limit, after=after)
    if output.as_json:
        for process in processes:
            output.data(data.of_summary(process))
        return
    output.page(process_table(processes, now_ms=trellis.store.now_ms()))
    if len(processes) == limit:
        output.say(f"There may be more: --after {data.position(processes[-1].position)}")


def process_table(processes: Sequence[ProcessSummary], *, now_ms: int) -> list[Block]:
    """A row for each."""
    if not processes:
        return [line("No processes.")]
    return [Table(_COLUMNS, [_row(process, now_ms) for process in processes])]


_COLUMNS = (
    Column("PROCESS"),
    Column("TYPE", below=""),
    Column("TENANT", below="tenant "),
    Column("AGGREGATE", below=""),
    Column("STATE"),
    Column("STEPS", is_number=True),
    Column("STARTED"),
)


def _row(process: ProcessSummary, now_ms: int) -> list[Cell]:
    key = process.key
    return [
        Cell(process.id),
        Cell(key.process_type),
        Cell(key.tenant_id),
        Cell(f"{key.aggregate_type} {key.aggregate_id}"),
        tones.state_of_process(process),
        Cell(f"{process.steps_finished}/{process.steps_total}"),
        Cell(ago(now_ms - process.started_at_ms)),
    ]
