"""A timeline as a drawing: one row a step, times in percent of the width, so that it fits every screen.

What people wrote is in titles and lines as they wrote it: the template escapes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from trellis_celery.domain.timeline import Mark, MarkKind, Span, SpanKind, Timeline, TimelineRow
from trellis_celery.flower.wording import duration, moment, since

#: Pixels.
_ROW_HEIGHT, _LABEL_BASE, _BAR_TOP, _AXIS_HEIGHT, _TICK_BASE = 46, 15, 22, 26, 18

#: A span is drawn at least so wide that it can be seen, percent.
_LEAST_WIDTH = 0.35
#: … and has a number if it is so wide.
_LEAST_WIDTH_OF_NUMBERED = 9.0

_WORDS_OF_SPAN = {
    SpanKind.WAITING: "waiting",
    SpanKind.RUNNING: "running",
    SpanKind.LOST: "lost",
    SpanKind.RETRYING: "between two runs",
    SpanKind.FAILED: "failed run",
}
_WORDS_OF_MARK = {
    MarkKind.DEADLINE: "deadline",
    MarkKind.TIMED_OUT: "timed out",
    MarkKind.REENQUEUED: "sent again",
    MarkKind.RESENT: "a further copy sent",
    MarkKind.COMPLETED: "completed",
    MarkKind.FAILED: "failed",
    MarkKind.CANCELLED: "cancelled",
    MarkKind.GAVE_UP: "given up",
    MarkKind.REOPENED: "reopened",
    MarkKind.LATE: "late outcome",
    MarkKind.REFUSED: "run refused",
    MarkKind.INCIDENT_CLOSED: "incident closed",
}
#: Drawn as signs of their own; the others only say in words what the bars show already.
_SIGNS = {
    MarkKind.DEADLINE: "deadline",
    MarkKind.COMPLETED: "completed",
    MarkKind.FAILED: "failed",
    MarkKind.GAVE_UP: "gave_up",
    MarkKind.CANCELLED: "cancelled",
    MarkKind.REENQUEUED: "sent",
    MarkKind.RESENT: "sent",
    MarkKind.REOPENED: "sent",
    MarkKind.LATE: "late",
    MarkKind.REFUSED: "late",
}

#: What may lie between two marks of the axis, ms.
_AXIS_STEPS_MS = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(1_000 * seconds for seconds in (1, 2, 5, 10, 15, 30)),
    *(60_000 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3_600_000 * hours for hours in (1, 2, 3, 6, 12)),
    *(86_400_000 * days for days in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000)),
)
_MOST_TICKS = 6


class Bar(Struct, frozen=True):
    #: Percent.
    x: str
    width: str
    kind: str
    is_open: bool
    title: str
    #: The number of the attempt, where there is more than one and room for it.
    label: str


class Sign(Struct, frozen=True):
    x: str
    kind: str
    title: str


class DrawnRow(Struct, frozen=True):
    step_name: str
    #: Pixels from the top.
    label_y: int
    bar_y: int
    bars: Sequence[Bar]
    signs: Sequence[Sign]
    #: What lies further off than the drawing goes.
    beyond: str
    #: The same in words, for those who cannot see the drawing or want the figures.
    lines: Sequence[tuple[str, str, str, str]]


class Tick(Struct, frozen=True):
    x: str
    label: str


class Drawing(Struct, frozen=True):
    #: Pixels.
    height: int
    axis_y: int
    tick_y: int
    rows: Sequence[DrawnRow]
    ticks: Sequence[Tick]
    #: Where now is; None if the process was over before.
    now_x: str | None


def draw(timeline: Timeline, rows: Sequence[TimelineRow], *, now_ms: int) -> Drawing:
    """The drawing of some rows of the timeline, on the scale of all of it."""
    scale = _Scale(timeline.start_ms, max(timeline.end_ms - timeline.start_ms, 1))
    drawn = [_draw_row(row, place, scale, now_ms) for place, row in enumerate(rows)]
    is_open = any(span.is_open for row in timeline.rows for span in row.spans)
    axis_y = _ROW_HEIGHT * len(rows)
    return Drawing(
        height=axis_y + _AXIS_HEIGHT,
        axis_y=axis_y,
        tick_y=axis_y + _TICK_BASE,
        rows=drawn,
        ticks=list(_ticks(scale)),
        now_x=_percent(scale.share(now_ms)) if is_open and scale.covers(now_ms) else None,
    )


class _Scale(Struct, frozen=True):
    start_ms: int
    length_ms: int

    def share(self, at_ms: int) -> float:
        """0 at the start, 100 at the end, never beyond."""
        return min(max((at_ms - self.start_ms) / self.length_ms, 0.0), 1.0) * 100

    def covers(self, at_ms: int) -> bool:
        return self.start_ms <= at_ms <= self.start_ms + self.length_ms


def _draw_row(row: TimelineRow, place: int, scale: _Scale, now_ms: int) -> DrawnRow:
    return DrawnRow(
        step_name=row.step.name,
        label_y=_ROW_HEIGHT * place + _LABEL_BASE,
        bar_y=_ROW_HEIGHT * place + _BAR_TOP,
        bars=[_bar(span, scale, is_numbered=row.step.attempt > 1) for span in row.spans],
        signs=[_sign(mark, scale) for mark in row.marks if mark.kind in _SIGNS and scale.covers(mark.at_ms)],
        beyond=", ".join(_beyond(mark, now_ms) for mark in row.marks if not scale.covers(mark.at_ms)),
        lines=list(_lines(row, scale.start_ms)),
    )


def _bar(span: Span, scale: _Scale, *, is_numbered: bool) -> Bar:
    x, end = scale.share(span.start_ms), scale.share(span.end_ms)
    width = max(end - x, _LEAST_WIDTH)
    x = min(x, 100 - width)
    has_room = width >= _LEAST_WIDTH_OF_NUMBERED and span.kind is not SpanKind.WAITING
    return Bar(
        x=_percent(x),
        width=_percent(width),
        kind=span.kind.value,
        is_open=span.is_open,
        title=_title(span),
        label=str(span.attempt) if is_numbered and has_room else "",
    )


def _sign(mark: Mark, scale: _Scale) -> Sign:
    title = f"{_WORDS_OF_MARK[mark.kind]}{_of_attempt(mark.attempt)}, {moment(mark.at_ms)} UTC"
    return Sign(_percent(scale.share(mark.at_ms)), _SIGNS[mark.kind], _with(title, mark.detail))


def _beyond(mark: Mark, now_ms: int) -> str:
    return f"{_WORDS_OF_MARK[mark.kind]} {since(mark.at_ms, now_ms)}"


def _title(span: Span) -> str:
    until = "so far" if span.is_open else "in all"
    text = f"{_WORDS_OF_SPAN[span.kind]}{_of_attempt(span.attempt)}: {duration(span.end_ms - span.start_ms)} {until}"
    return _with(text, span.detail)


def _lines(row: TimelineRow, start_ms: int) -> Iterator[tuple[str, str, str, str]]:
    """What happened in the order of time: when, what, how long, and what is known besides."""
    entries: list[tuple[int, tuple[str, str, str, str]]] = []
    for span in row.spans:
        what = f"{_WORDS_OF_SPAN[span.kind]}{_of_attempt(span.attempt)}"
        long = duration(span.end_ms - span.start_ms) + (" so far" if span.is_open else "")
        entries.append((span.start_ms, (_after(span.start_ms, start_ms), what, long, span.detail)))
    for mark in row.marks:
        what = f"{_WORDS_OF_MARK[mark.kind]}{_of_attempt(mark.attempt)}"
        entries.append((mark.at_ms, (_after(mark.at_ms, start_ms), what, "", mark.detail)))
    for _, line in sorted(entries, key=lambda entry: entry[0]):
        yield line


def _after(at_ms: int, start_ms: int) -> str:
    return f"+{duration(at_ms - start_ms)}"


def _of_attempt(attempt: int) -> str:
    return f" (attempt {attempt})" if attempt else ""


def _with(text: str, detail: str) -> str:
    return f"{text}; {detail}" if detail else text


def _ticks(scale: _Scale) -> Iterator[Tick]:
    """Some five round times after the start."""
    step_ms = next((step for step in _AXIS_STEPS_MS if scale.length_ms / step <= _MOST_TICKS), scale.length_ms)
    for number in range(scale.length_ms // step_ms + 1):
        at_ms = number * step_ms
        share = at_ms / scale.length_ms * 100
        if share <= 94:  # a label needs room
            yield Tick(_percent(share), duration(at_ms) if number else "start")


def _percent(share: float) -> str:
    return f"{share:.3f}%"
