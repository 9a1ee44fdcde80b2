"""How one step's part of the log becomes a row of the timeline.

The log says when something began; that it ended is told by what came next. A log may have gaps, and its times come from
several machines, so whatever it says: a step does one thing at a time, and nothing ends before it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct, field
from msgspec.structs import replace

from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.step import OnTimeout, ProcessStep, StepState


class SpanKind(StrEnum):
    """What a step does for some time."""

    #: It waits for a run to start, or for whoever completes an external step.
    WAITING = "waiting"
    #: A run that was neither lost nor failed: it completed the step, stopped for a while, or still runs.
    RUNNING = "running"
    #: A run that took too long, or whose worker was lost.
    LOST = "lost"
    #: Between two runs of one attempt: Celery's own retry.
    RETRYING = "retrying"
    #: A run that failed.
    FAILED = "failed"


class MarkKind(StrEnum):
    """What happened to a step at one moment."""

    #: When the current attempt's clock runs out. It may lie ahead.
    DEADLINE = "deadline"
    TIMED_OUT = "timed_out"
    REENQUEUED = "reenqueued"
    RESENT = "resent"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    GAVE_UP = "gave_up"
    REOPENED = "reopened"
    LATE = "late"
    REFUSED = "refused"
    INCIDENT_CLOSED = "incident_closed"


class Span(Struct, frozen=True):
    """What a step did from `start_ms` to `end_ms`, epoch ms."""

    kind: SpanKind
    attempt: int
    start_ms: int
    #: For one that is open: the time of the picture.
    end_ms: int
    #: It has not ended yet.
    is_open: bool = False
    #: The worker, or what became of it.
    detail: str = ""


class Mark(Struct, frozen=True):
    """What happened to a step at `at_ms`, epoch ms."""

    kind: MarkKind
    at_ms: int
    attempt: int
    detail: str = ""


class TimelineRow(Struct, frozen=True):
    """One step: its spans never overlap; spans and marks are in the order of time."""

    step: ProcessStep
    spans: tuple[Span, ...]
    marks: tuple[Mark, ...]


_MARKS = {
    EventKind.STEP_TIMED_OUT: MarkKind.TIMED_OUT,
    EventKind.STEP_REENQUEUED: MarkKind.REENQUEUED,
    EventKind.STEP_RESENT: MarkKind.RESENT,
    EventKind.STEP_COMPLETED: MarkKind.COMPLETED,
    EventKind.STEP_FAILED: MarkKind.FAILED,
    EventKind.STEP_CANCELLED: MarkKind.CANCELLED,
    EventKind.STEP_GAVE_UP: MarkKind.GAVE_UP,
    EventKind.STEP_REOPENED: MarkKind.REOPENED,
    EventKind.OUTCOME_LATE: MarkKind.LATE,
    EventKind.RUN_REFUSED: MarkKind.REFUSED,
    EventKind.INCIDENT_CLOSED: MarkKind.INCIDENT_CLOSED,
}

_OUTCOMES = {
    StepState.COMPLETED: EventKind.STEP_COMPLETED,
    StepState.FAILED: EventKind.STEP_FAILED,
    StepState.CANCELLED: EventKind.STEP_CANCELLED,
}
_ENDS = frozenset((*_OUTCOMES.values(), EventKind.STEP_GAVE_UP))


class RowDrawing(Struct):
    """A row while it is drawn: what is finished, and the one span that is open."""

    step: ProcessStep
    start_ms: int
    spans: list[Span] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    open: Span | None = None
    #: The open wait follows from an attempt's end alone: nothing has said yet that there will be another attempt.
    is_guess: bool = False
    attempt: int = 0
    is_finished: bool = False

    def draw(self, events: Sequence[Event], *, now_ms: int) -> TimelineRow:
        if self.step.external:
            self._begin(SpanKind.WAITING, 1, self.start_ms)
        for event in events:
            self._add(event)
        self._fill_the_gap()
        if self.open is not None:
            self._end(now_ms, is_open=True)
        self._mark_deadline()
        return TimelineRow(self.step, tuple(self.spans), tuple(sorted(self.marks, key=lambda mark: mark.at_ms)))

    def _add(self, event: Event) -> None:
        at_ms = max(event.occurred_at_ms, self.start_ms)
        if event.kind in _MARKS:
            self.marks.append(Mark(_MARKS[event.kind], at_ms, event.attempt, _detail(event)))
        if event.kind in _ENDS:
            self._finish(event, at_ms)
        elif event.kind in (EventKind.STEP_TIMED_OUT, EventKind.RUN_LOST):
            self._lose(event, at_ms)
        elif event.attempt >= self.attempt:  # else the entry is late: a newer attempt goes on already
            self._go_on(event, at_ms)

    def _go_on(self, event: Event, at_ms: int) -> None:
        match event.kind:
            case EventKind.STEP_QUEUED | EventKind.STEP_RELEASED | EventKind.STEP_REOPENED:
                self._begin(SpanKind.WAITING, event.attempt, at_ms)
            case EventKind.STEP_WITHDRAWN:
                self._end(at_ms)
            case EventKind.STEP_REENQUEUED | EventKind.STEP_RESENT:
                self.is_guess = False
                # One that was sent while the step went on already is in the log behind that.
                if self.attempt < event.attempt or (self.open is None and not self.is_finished):
                    self._begin(SpanKind.WAITING, event.attempt, at_ms)
            case EventKind.STEP_STARTED | EventKind.STEP_HANDED_OVER:
                detail = "handed over" if event.kind is EventKind.STEP_HANDED_OVER else event.detail
                self._begin(SpanKind.RUNNING, event.attempt, at_ms, detail)
            case EventKind.STEP_RETRYING:
                self._begin(SpanKind.RETRYING, event.attempt, at_ms)
            case _:
                pass

    def _begin(self, kind: SpanKind, attempt: int, at_ms: int, detail: str = "") -> None:
        if self.open is not None and self.open.kind is SpanKind.RUNNING and self.open.attempt < attempt:
            self.open = replace(self.open, kind=SpanKind.LOST)  # it was replaced, and the log does not say why
        self._end(at_ms)
        self.open, self.attempt, self.is_guess = Span(kind, attempt, at_ms, at_ms, detail=detail), attempt, False
        self.is_finished = False

    def _end(self, at_ms: int, *, is_open: bool = False) -> None:
        if self.open is not None and not (self.is_guess and self.step.attempt < self.open.attempt):
            self.spans.append(replace(self.open, end_ms=at_ms, is_open=is_open))
        self.open = None

    def _lose(self, event: Event, at_ms: int) -> None:
        if event.attempt < self.attempt or self.open is None:
            self._lose_earlier(event)
            return
        if self.open.kind is SpanKind.RUNNING:
            self.open = replace(self.open, kind=SpanKind.LOST, detail=event.detail)
        if self.step.on_timeout == OnTimeout.ALERT:
            return  # nobody ends it, and nothing follows
        self._begin(SpanKind.WAITING, event.attempt + 1, at_ms)
        self.is_guess = True

    def _lose_earlier(self, event: Event) -> None:
        for place, span in enumerate(self.spans):
            is_last_of_attempt = all(later.attempt != span.attempt for later in self.spans[place + 1 :])
            if span.attempt == event.attempt and span.kind is SpanKind.RUNNING and is_last_of_attempt:
                self.spans[place] = replace(span, kind=SpanKind.LOST, detail=event.detail)

    def _finish(self, event: Event, at_ms: int) -> None:
        if event.kind is EventKind.STEP_GAVE_UP and self.is_guess:
            self.open = None
        elif self.open is not None and event.attempt >= self.open.attempt:
            self.open = replace(self.open, kind=_kind_at_end(self.open.kind, event.kind))
        self._end(at_ms)
        self.is_finished = True

    def _fill_the_gap(self) -> None:
        """Where the record knows more than the log, the record is right."""
        step = self.step
        if self.is_finished or (self.attempt > step.attempt and not self.is_guess):
            return
        has_run = step.started_at_ms is not None and (step.run_id is not None or step.state.is_terminal)
        is_missing = self.attempt < step.attempt if self.open is not None else not self.spans
        if step.started_at_ms is not None and has_run and is_missing:
            began_ms = self.start_ms if self.open is None else self.open.start_ms
            self._begin(SpanKind.RUNNING, step.attempt, max(step.started_at_ms, began_ms), step.worker or "")
        if step.finished_at_ms is not None and step.state in _OUTCOMES:
            began_ms = self.start_ms if self.open is None else self.open.start_ms
            at_ms = max(step.finished_at_ms, began_ms)
            self._add(Event(_OUTCOMES[step.state], step.name, step.attempt, at_ms, step.last_error or ""))

    def _mark_deadline(self) -> None:
        step = self.step
        if step.deadline_ms is not None and not step.state.is_terminal and not self.is_finished:
            at_ms = max(step.deadline_ms, self.start_ms)
            self.marks.append(Mark(MarkKind.DEADLINE, at_ms, step.attempt, step.deadline_kind or ""))


def _kind_at_end(kind: SpanKind, end: EventKind) -> SpanKind:
    if kind not in (SpanKind.RUNNING, SpanKind.LOST):
        return kind
    if end is EventKind.STEP_COMPLETED:  # so it was only late
        return SpanKind.RUNNING
    if end is EventKind.STEP_GAVE_UP:
        return SpanKind.LOST
    return SpanKind.FAILED if end is EventKind.STEP_FAILED else kind


def _detail(event: Event) -> str:
    return ", ".join(part for part in (event.detail, f"by {event.by}" if event.by else "") if part)
