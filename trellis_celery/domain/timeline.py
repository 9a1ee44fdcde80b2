"""A process's log as a picture: for each step, what went on from when to when, and what happened at which moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from trellis_celery.domain.events import Event
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.timeline_rows import Mark, MarkKind, RowDrawing, Span, SpanKind, TimelineRow

__all__ = ["Mark", "MarkKind", "Span", "SpanKind", "Timeline", "TimelineRow", "timeline_of"]


class Timeline(Struct, frozen=True):
    """All spans lie within `start_ms` and `end_ms`, epoch ms; the two may be equal.

    A deadline's mark may lie behind `end_ms`: one that is so far off that everything else would shrink to less than
    half of the picture. Draw it at the edge.
    """

    start_ms: int
    end_ms: int
    #: In the order of declaration.
    rows: tuple[TimelineRow, ...]


def timeline_of(process: Process, history: Sequence[Event], *, now_ms: int) -> Timeline:
    """The picture of a process at `now_ms`. For an archived process that is the time of its last event."""
    start_ms = process.started_at_ms
    in_order = sorted(history, key=lambda event: event.occurred_at_ms)
    last_ms = max((start_ms, *(event.occurred_at_ms for event in in_order), *_known_times(process.steps.values())))
    now_ms = max(now_ms, last_ms)
    events: dict[str, list[Event]] = {name: [] for name in process.steps}
    for event in in_order:
        if event.step_name in events:
            events[event.step_name].append(event)
    rows = []
    for name, step in process.steps.items():
        is_forsaken = step.external and process.state.is_terminal  # nobody waits for it any more
        until_ms = last_ms if is_forsaken else now_ms
        rows.append(RowDrawing(step, start_ms).draw(events[name], now_ms=until_ms))
    seen_ms = start_ms if process.state.is_terminal else now_ms
    return Timeline(start_ms, _end_ms(rows, start_ms=start_ms, seen_ms=seen_ms), tuple(rows))


def _known_times(steps: Iterable[ProcessStep]) -> list[int]:
    return [at_ms for step in steps for at_ms in (step.started_at_ms, step.finished_at_ms) if at_ms is not None]


def _end_ms(rows: Sequence[TimelineRow], *, start_ms: int, seen_ms: int) -> int:
    marks = [mark for row in rows for mark in row.marks]
    happened = (mark.at_ms for mark in marks if mark.kind is not MarkKind.DEADLINE)
    drawn_ms = max((seen_ms, *happened, *(span.end_ms for row in rows for span in row.spans)))
    furthest_ms = drawn_ms + (drawn_ms - start_ms)
    deadlines = (mark.at_ms for mark in marks if mark.kind is MarkKind.DEADLINE)
    return max((at_ms for at_ms in deadlines if drawn_ms < at_ms <= furthest_ms), default=drawn_ms)
