"""`stats`: how many processes there are, and whether somebody looks after them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from trellis_celery.cli import data
from trellis_celery.cli.blocks import ZERO, Block, Cell, Column, Table, Tone, line
from trellis_celery.cli.group import command
from trellis_celery.cli.output import Output
from trellis_celery.cli.times import ago, roughly
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.queries import EventGroup, Lateness, ProcessGroup, Stats
from trellis_celery.plugin.extension import Trellis
from trellis_celery.plugin.worker import MISSED_CHECKS
from trellis_celery.ports import LastCheck

#: What is told in the table of events; JSON has them all.
_KINDS = {
    "STARTED": EventKind.STEP_STARTED,
    "COMPLETED": EventKind.STEP_COMPLETED,
    "FAILED": EventKind.STEP_FAILED,
    "TIMED OUT": EventKind.STEP_TIMED_OUT,
    "SENT AGAIN": EventKind.STEP_REENQUEUED,
    "GIVEN UP": EventKind.STEP_GAVE_UP,
    "TOO LATE": EventKind.OUTCOME_LATE,
    "REFUSED": EventKind.RUN_REFUSED,
}


@command("stats")
def stats(trellis: Trellis, output: Output) -> None:
    """How many processes there are by type and state, what is due, when the last check was, and what happened."""
    found = trellis.processes.stats()
    last_check = trellis.store.last_check()
    if output.as_json:
        output.data(data.of_stats(found, last_check))
        return
    late_ms = MISSED_CHECKS * trellis.settings.check_interval_ms
    output.page(stats_page(found, last_check, now_ms=trellis.store.now_ms(), late_ms=late_ms))


def stats_page(found: Stats, last_check: LastCheck, *, now_ms: int, late_ms: int) -> list[Block]:
    """`late_ms`: a check that is longer ago is late."""
    return [
        *_processes(found.processes),
        line(),
        line(f"due: {found.due}", Tone.WARNING if found.due else Tone.PLAIN),
        check_line(last_check, now_ms=now_ms, late_ms=late_ms),
        *_lateness(found.lateness),
        *_events(found.events),
    ]


def check_line(last_check: LastCheck, *, now_ms: int, late_ms: int) -> Block:
    if not last_check.at_ms:
        return line("last check: never; nothing that is late or lost is noticed", Tone.BAD)
    age_ms = now_ms - last_check.at_ms
    told = f"last check: {ago(age_ms)}, by {last_check.by or 'somebody'}"
    if age_ms > late_ms:
        return line(f"{told}; it is late, and nothing that is late or lost is noticed", Tone.BAD)
    return line(told)


def _processes(counts: Mapping[ProcessGroup, int]) -> list[Block]:
    if not counts:
        return [line("No processes.")]
    columns = [Column("TYPE"), *_number_columns(_HEADS, ("CANCELLED", "OVERDUE"))]
    by_type: dict[str, Counter[str]] = {}
    for group, count in sorted(counts.items()):
        by_type.setdefault(group.process_type, Counter()).update(_columns_of(group, count))
    rows = [[Cell(name), *_counts(counted)] for name, counted in by_type.items()]
    if len(by_type) > 1:
        total: Counter[str] = sum(by_type.values(), Counter())
        rows.append([Cell("(all)", Tone.STRONG), *_counts(total)])
    return [Table(columns, rows)]


_HEADS = (*(state.value.upper().replace("_", " ") for state in ProcessState), "OVERDUE", "INCIDENT")


def _columns_of(group: ProcessGroup, count: int) -> dict[str, int]:
    state = group.state.value.upper().replace("_", " ")
    return {state: count, "OVERDUE": count * group.is_overdue, "INCIDENT": count * group.has_incident}


def _counts(counted: Counter[str]) -> list[Cell]:
    tones = {"OVERDUE": Tone.WARNING, "INCIDENT": Tone.BAD}
    return [Cell(str(counted[head]), tones.get(head, Tone.PLAIN)) if counted[head] else ZERO for head in _HEADS]


def _lateness(lateness: Lateness) -> list[Block]:
    if not lateness.count:
        return []
    mean_ms = lateness.sum_ms // lateness.count
    told = f"from a deadline to the next attempt: {roughly(mean_ms)} on average of {lateness.count}"
    bound_ms = quantile_ms(lateness, 0.95)
    return [line(told + (f", 95 % within {roughly(bound_ms)}" if bound_ms is not None else ""))]


def quantile_ms(lateness: Lateness, share: float) -> int | None:
    """The least bound within which this share of them lies; None: they took longer than any bound there is."""
    seen = 0
    for bound_ms, count in sorted(lateness.buckets.items()):
        seen += count
        if seen >= share * lateness.count:
            return bound_ms
    return None


def _events(events: Mapping[EventGroup, int]) -> list[Block]:
    steps = sorted({(group.process_type, group.step_name) for group in events if group.step_name})
    if not steps:
        return []
    rare = ("TIMED OUT", "SENT AGAIN", "TOO LATE", "REFUSED")
    columns = [Column("TYPE"), Column("STEP"), *_number_columns(_KINDS, rare)]
    rows = [[Cell(process_type), Cell(step), *_happened(events, process_type, step)] for process_type, step in steps]
    return [line(), Table(columns, rows)]


def _happened(events: Mapping[EventGroup, int], process_type: str, step_name: str) -> list[Cell]:
    counts = [events.get(EventGroup(process_type, step_name, kind), 0) for kind in _KINDS.values()]
    return [Cell(str(count)) if count else ZERO for count in counts]


def _number_columns(names: Iterable[str], rare: Collection[str]) -> list[Column]:
    """`rare`: those that may stand below the others, where there is no room."""
    return [Column(name, is_number=True, below=f"{name.lower()} " if name in rare else None) for name in names]
