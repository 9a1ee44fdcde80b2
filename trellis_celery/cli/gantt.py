"""A timeline drawn with characters: a bar for each step, what happened marked in it, and below that what means what."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

from msgspec import Struct, field

from trellis_celery.cli.blocks import Cell, Line, Tone
from trellis_celery.cli.times import roughly
from trellis_celery.cli.visible import fitting, visible, width
from trellis_celery.domain.timeline import Mark, MarkKind, SpanKind, Timeline, TimelineRow

_LEAST_BAR = 12
_SPAN_TONES = {
    SpanKind.WAITING: Tone.WAITING,
    SpanKind.RETRYING: Tone.WARNING,
    SpanKind.RUNNING: Tone.BUSY,
    SpanKind.LOST: Tone.WARNING,
    SpanKind.FAILED: Tone.BAD,
}
#: The later stand above the earlier where they share a place.
_MARK_TONES = {
    MarkKind.REFUSED: Tone.DIM,
    MarkKind.LATE: Tone.WARNING,
    MarkKind.RESENT: Tone.DIM,
    MarkKind.INCIDENT_CLOSED: Tone.DIM,
    MarkKind.REENQUEUED: Tone.WARNING,
    MarkKind.DEADLINE: Tone.STRONG,
    MarkKind.TIMED_OUT: Tone.WARNING,
    MarkKind.REOPENED: Tone.STRONG,
    MarkKind.CANCELLED: Tone.DIM,
    MarkKind.COMPLETED: Tone.GOOD,
    MarkKind.FAILED: Tone.BAD,
    MarkKind.GAVE_UP: Tone.BAD,
}
_WORDS = {
    MarkKind.TIMED_OUT: "timed out",
    MarkKind.REENQUEUED: "sent again",
    MarkKind.RESENT: "further copy",
    MarkKind.GAVE_UP: "given up",
    MarkKind.REOPENED: "retried by hand",
    MarkKind.LATE: "outcome too late",
    MarkKind.REFUSED: "run refused",
    MarkKind.INCIDENT_CLOSED: "incident closed",
}


class Glyphs(Struct, frozen=True):
    """The characters of a picture: each of one column, and no two alike, so that it can be read without colours."""

    spans: Mapping[SpanKind, str]
    marks: Mapping[MarkKind, str]
    beyond: str

    @property
    def all(self) -> str:
        return "".join((*self.spans.values(), *self.marks.values(), self.beyond))


UNICODE = Glyphs(
    spans=dict(zip(SpanKind, "·█░~▓", strict=True)), marks=dict(zip(MarkKind, "│!↻+✓✗⊘⊠↺«×○", strict=True)), beyond="›"
)
ASCII = Glyphs(
    spans=dict(zip(SpanKind, ".=-~#", strict=True)), marks=dict(zip(MarkKind, "|!>+CFXGR<?o", strict=True)), beyond=")"
)


def glyphs_for(encoding: str | None) -> Glyphs:
    """The prettiest that text in this encoding can have."""
    try:
        UNICODE.all.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def gantt(
    timeline: Timeline,
    *,
    now_ms: int,
    columns: int,
    glyphs: Glyphs = UNICODE,
    rows: Sequence[TimelineRow] | None = None,
) -> list[Line]:
    """The picture, in so many columns. `rows`: of these rows alone."""
    rows = timeline.rows if rows is None else rows
    names = [fitting(visible(row.step.name), max(8, columns // 3)) for row in rows]
    name_columns = max((width(name) for name in names), default=0)
    ahead = [_ahead(row, timeline, now_ms, glyphs) for row in rows]
    tail = max((width(text) for text in ahead), default=0)
    bar = _Bar(timeline.start_ms, timeline.end_ms, max(_LEAST_BAR, columns - name_columns - 1 - tail), glyphs)
    drawn = [bar.draw(row) for row in rows]
    lines = [
        Line((Cell(name + " " * (name_columns - width(name) + 1)), *cells, Cell(text, Tone.DIM)))
        for name, cells, text in zip(names, drawn, ahead, strict=True)
    ]
    seen = {character for cells in drawn for cell in cells for character in cell.text}
    seen |= {glyphs.beyond} if any(ahead) else set()
    return [*lines, _axis(bar, name_columns), *_legend(seen, glyphs, columns)]


def _ahead(row: TimelineRow, timeline: Timeline, now_ms: int, glyphs: Glyphs) -> str:
    """What is said of a deadline that lies behind the picture."""
    ahead = [mark for mark in row.marks if mark.kind is MarkKind.DEADLINE and mark.at_ms > timeline.end_ms]
    return f" {glyphs.beyond} {roughly(max(0, ahead[0].at_ms - now_ms))}" if ahead else ""


class _Bar(Struct):
    start_ms: int
    end_ms: int
    columns: int
    glyphs: Glyphs
    cells: list[Cell] = field(default_factory=list)

    def draw(self, row: TimelineRow) -> list[Cell]:
        self.cells = [Cell(" ")] * self.columns
        for kind in _SPAN_TONES:
            for span in row.spans:
                if span.kind is kind:
                    self._fill(self._place(span.start_ms), self._place(span.end_ms), kind)
        for mark_kind in _MARK_TONES:
            for mark in row.marks:
                if mark.kind is mark_kind and mark.at_ms <= self.end_ms:
                    self._put(mark)
        return [
            Cell("".join(cell.text for cell in same), tone)
            for tone, same in groupby(self.cells, key=lambda cell: cell.tone)
        ]

    def _fill(self, first: int, end: int, kind: SpanKind) -> None:
        """At least one column: a short run is seen, however long the process takes."""
        first = min(first, self.columns - 1)
        for column in range(first, max(end, first + 1)):
            self.cells[column] = Cell(self.glyphs.spans[kind], _SPAN_TONES[kind])

    def _put(self, mark: Mark) -> None:
        column = min(self._place(mark.at_ms), self.columns - 1)
        self.cells[column] = Cell(self.glyphs.marks[mark.kind], _MARK_TONES[mark.kind])

    def _place(self, at_ms: int) -> int:
        """How many columns are before this time."""
        length_ms = max(1, self.end_ms - self.start_ms)
        return (at_ms - self.start_ms) * self.columns // length_ms


def _axis(bar: _Bar, indent: int) -> Line:
    end = f"+{roughly(bar.end_ms - bar.start_ms)}"
    return Line((Cell(" " * (indent + 1) + "0" + end.rjust(bar.columns - 1), Tone.DIM),))


def _legend(seen: Collection[str], glyphs: Glyphs, columns: int) -> list[Line]:
    """What each character that is to be seen stands for."""
    known = [
        *((glyphs.spans[span], span.value, _SPAN_TONES[span]) for span in SpanKind),
        *((glyphs.marks[mark], _WORDS.get(mark, mark.value), _MARK_TONES[mark]) for mark in MarkKind),
        (glyphs.beyond, "deadline in", Tone.DIM),
    ]
    told = [one for one in known if one[0] in seen]
    lines: list[list[Cell]] = [[]]
    taken = 0
    for glyph, word, tone in told:
        gap = "   " if taken else ""
        if taken + len(gap) + 2 + len(word) > columns:
            lines.append([])
            taken, gap = 0, ""
        lines[-1] += [Cell(gap + glyph, tone), Cell(f" {word}", Tone.DIM)]
        taken += len(gap) + 2 + len(word)
    return [Line(cells) for cells in lines]
