"""`incidents`: steps that were given up on, until somebody deals with them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from trellis_celery.cli import advice, data
from trellis_celery.cli.blocks import Block, Cell, Column, Line, Table, Tone, line
from trellis_celery.cli.group import command, option
from trellis_celery.cli.options import PositionType, by_key
from trellis_celery.cli.output import Output
from trellis_celery.cli.times import ago
from trellis_celery.domain.queries import Incident, Position, ProcessFilter
from trellis_celery.plugin.extension import Trellis


@command("incidents")
@by_key
@option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Of how many processes.")
@option("--after", type=PositionType(), help="The next page: what the page before printed at its end.")
def incidents(trellis: Trellis, output: Output, *, limit: int, after: Position | None, **only: str | None) -> None:
    """Steps that were given up on, and what to type next: until somebody deals with them."""
    found = trellis.processes.incidents(ProcessFilter(**only), limit=limit, after=after)  # type: ignore[arg-type]
    if output.as_json:
        for incident in found:
            output.data(data.of_incident(incident, next_commands=_commands(incident, output.command_line)))
        return
    now_ms = trellis.store.now_ms()
    if output.is_rich:
        output.page(incident_list(found, now_ms=now_ms, command_line=output.command_line))
    else:
        output.page(incident_table(found, now_ms=now_ms))
        if found:
            output.say(f"Next: {output.command_line} retry PROCESS STEP, or … close PROCESS STEP --note '…'")
    last = found[-1].process.position if found else None
    if last is not None and len({incident.process.id for incident in found}) == limit:
        output.say(f"There may be more: --after {data.position(last)}")


_COLUMNS = [
    Column("PROCESS"),
    Column("TYPE"),
    Column("TENANT"),
    Column("AGGREGATE"),
    Column("STEP"),
    Column("STATE"),
    Column("SINCE"),
    Column("REASON"),
]


def incident_table(found: Sequence[Incident], *, now_ms: int) -> list[Block]:
    """A row for each."""
    return [Table(_COLUMNS, [_row(incident, now_ms) for incident in found])] if found else [line("No incidents.")]


def _row(incident: Incident, now_ms: int) -> list[Cell]:
    key = incident.process.key
    return [
        Cell(incident.process.id),
        Cell(key.process_type),
        Cell(key.tenant_id),
        Cell(f"{key.aggregate_type} {key.aggregate_id}"),
        Cell(incident.step.name),
        Cell(incident.step.state),
        Cell(ago(now_ms - incident.since_ms)),
        Cell(incident.reason or "-"),
    ]


def incident_list(found: Sequence[Incident], *, now_ms: int, command_line: str) -> list[Block]:
    """Some lines for each, the commands to copy among them."""
    if not found:
        return [line("No incidents.", Tone.GOOD)]
    return [block for incident in found for block in _told(incident, now_ms, command_line)]


def _told(incident: Incident, now_ms: int, command_line: str) -> list[Block]:
    key = incident.process.key
    commands = [line(f"  {each}", Tone.DIM) for each in _commands(incident, command_line)]
    return [
        Line(
            (
                Cell(f"{key.process_type}.{incident.step.name}", Tone.BAD),
                Cell(f"  {key.aggregate_type} {key.aggregate_id}, tenant {key.tenant_id}"),
                Cell(f"  {ago(now_ms - incident.since_ms)}", Tone.WARNING),
            )
        ),
        line(f"  {incident.step.state}: {incident.reason or 'no reason was told'}"),
        *commands,
        line(),
    ]


def _commands(incident: Incident, command_line: str) -> list[str]:
    return advice.for_incident(incident.step, process_id=incident.process.id, command_line=command_line)
