from __future__ import annotations

import pytest

from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.timeline import Mark, MarkKind, Span, SpanKind, Timeline, TimelineRow
from trellis_celery.flower.gantt import Drawing, draw

START_MS = 1_780_000_000_000
HOSTILE = "</title><script>alert(1)</script>"


def span(
    kind: SpanKind, start_ms: int, end_ms: int, *, attempt: int = 1, is_open: bool = False, detail: str = ""
) -> Span:
    return Span(kind, attempt, START_MS + start_ms, START_MS + end_ms, is_open, detail)


def mark(kind: MarkKind, at_ms: int, *, attempt: int = 1, detail: str = "") -> Mark:
    return Mark(kind, START_MS + at_ms, attempt, detail)


def drawn(*spans: Span, marks: tuple[Mark, ...] = (), length_ms: int = 10_000, attempt: int = 1) -> Drawing:
    step = ProcessStep("charge_card", attempt=attempt)
    timeline = Timeline(START_MS, START_MS + length_ms, (TimelineRow(step, spans, marks),))
    return draw(timeline, timeline.rows, now_ms=START_MS + length_ms)


def test_a_span_is_drawn_where_and_as_long_as_it_was() -> None:
    [bar] = drawn(span(SpanKind.RUNNING, 2_500, 7_500)).rows[0].bars

    assert (bar.x, bar.width, bar.kind) == ("25.000%", "50.000%", "running")
    assert bar.title == "running (attempt 1): 5.0 s in all"


def test_a_span_of_no_length_can_be_seen_and_stays_within_the_drawing() -> None:
    [bar] = drawn(span(SpanKind.LOST, 10_000, 10_000)).rows[0].bars

    assert float(bar.width[:-1]) > 0
    assert float(bar.x[:-1]) + float(bar.width[:-1]) == pytest.approx(100)


def test_a_lost_attempt_and_the_one_after_it_are_told_apart() -> None:
    [row] = drawn(
        span(SpanKind.LOST, 0, 4_000),
        span(SpanKind.RUNNING, 5_000, 9_000, attempt=2),
        marks=(mark(MarkKind.REENQUEUED, 4_000, attempt=2), mark(MarkKind.COMPLETED, 9_000, attempt=2)),
        attempt=2,
    ).rows

    assert [(bar.kind, bar.label) for bar in row.bars] == [("lost", "1"), ("running", "2")]
    assert [(sign.kind, sign.x) for sign in row.signs] == [("sent", "40.000%"), ("completed", "90.000%")]
    assert [line[:2] for line in row.lines] == [
        ("+0 ms", "lost (attempt 1)"),
        ("+4.0 s", "sent again (attempt 2)"),
        ("+5.0 s", "running (attempt 2)"),
        ("+9.0 s", "completed (attempt 2)"),
    ]


def test_the_number_of_the_only_attempt_is_not_written() -> None:
    [bar] = drawn(span(SpanKind.RUNNING, 0, 9_000)).rows[0].bars

    assert bar.label == ""


def test_a_deadline_beyond_the_drawing_is_told_in_words() -> None:
    [row] = drawn(span(SpanKind.RUNNING, 0, 10_000, is_open=True), marks=(mark(MarkKind.DEADLINE, 70_000),)).rows

    assert (row.signs, row.beyond) == ([], "deadline in 1 min")


@pytest.mark.parametrize(("is_open", "now_x"), [(True, "100.000%"), (False, None)])
def test_now_is_drawn_while_the_process_goes_on(is_open: bool, now_x: str | None) -> None:
    assert drawn(span(SpanKind.RUNNING, 0, 10_000, is_open=is_open)).now_x == now_x


@pytest.mark.parametrize("kind", SpanKind)
def test_every_kind_of_span_has_a_word(kind: SpanKind) -> None:
    [row] = drawn(span(kind, 0, 5_000)).rows

    assert row.lines[0][1].endswith(" (attempt 1)")


@pytest.mark.parametrize("kind", MarkKind)
def test_every_kind_of_mark_has_a_word(kind: MarkKind) -> None:
    [row] = drawn(marks=(mark(kind, 5_000),)).rows

    assert row.lines[0][1].endswith(" (attempt 1)")


@pytest.mark.parametrize("length_ms", [0, 1, 7, 999, 60_000, 86_400_000, 3_000 * 86_400_000])
def test_the_axis_has_a_handful_of_times_whatever_the_length(length_ms: int) -> None:
    ticks = drawn(length_ms=length_ms).ticks

    assert ticks[0].label == "start"
    assert 1 <= len(ticks) <= 7


def test_what_people_wrote_comes_out_as_they_wrote_it_for_the_template_to_escape() -> None:
    [row] = drawn(
        span(SpanKind.FAILED, 0, 5_000, detail=HOSTILE), marks=(mark(MarkKind.FAILED, 5_000, detail=HOSTILE),)
    ).rows

    assert row.bars[0].title.endswith(f"; {HOSTILE}")
    assert row.signs[0].title.endswith(f"; {HOSTILE}")
    assert [line[3] for line in row.lines] == [HOSTILE, HOSTILE]
