"""The logs here are those that the rules write, but where a test says that one is broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from trellis_celery.domain import outcomes, runs, timeouts
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import OnTimeout, ProcessStep, StepState
from trellis_celery.domain.timeline import MarkKind, SpanKind, TimelineRow, timeline_of
from trellis_celery.domain.transitions import Transition

START = 1_000_000


class Story:
    """A process of one step, moved by the rules; times count from the process's start."""

    def __init__(self, step: ProcessStep) -> None:
        self.process = Process.start(
            tenant_id="t", process_type="P", aggregate_type="A", aggregate_id="1", steps=[step], now_ms=START
        )
        self.log: list[Event] = []

    @property
    def step(self) -> ProcessStep:
        return self.process.steps["step"]

    def do(self, rule: Callable[[ProcessStep], Transition]) -> None:
        transition = rule(self.step)
        self.process.steps["step"] = transition.after
        self.log.extend(transition.events)

    def queue(self, at: int) -> None:
        self.do(lambda step: runs.queue(step, task_id="task", args_digest="", now_ms=START + at))

    def start(self, at: int, *, celery_retries: int = 0) -> None:
        self.do(
            lambda step: runs.start(
                step,
                run_id=f"run-{step.attempt}-{celery_retries}",
                now_ms=START + at,
                celery_retries=celery_retries,
                worker="w1",
                is_leased=True,
            )
        )

    def time_out(self, at: int) -> None:
        self.do(
            lambda step: timeouts.time_out(
                step, now_ms=START + at, lapsed_attempt=step.attempt if step.is_leased else None
            )[1]
        )

    def confirm(self, at: int) -> None:
        self.do(lambda step: timeouts.confirm(step, attempt=step.attempt, now_ms=START + at))

    def complete(self, at: int, *, attempt: int | None = None) -> None:
        self.do(lambda step: outcomes.complete(step, now_ms=START + at, attempt=attempt))

    def row(self, now: int) -> TimelineRow:
        return timeline_of(self.process, self.log, now_ms=START + now).rows[0]

    def spans(self, now: int) -> list[tuple[SpanKind, int, int, int]]:
        return [(span.kind, span.attempt, span.start_ms - START, span.end_ms - START) for span in self.row(now).spans]

    def marks(self, now: int) -> list[tuple[MarkKind, int, int]]:
        return [(mark.kind, mark.attempt, mark.at_ms - START) for mark in self.row(now).marks]


STEP = ProcessStep("step", timeout_ms=1_000, retries_permitted=1, queue_timeout_ms=60_000)


def test_a_step_waits_and_then_runs() -> None:
    story = Story(STEP)

    story.queue(0)
    story.start(200)
    story.complete(900)

    assert story.spans(5_000) == [(SpanKind.WAITING, 1, 0, 200), (SpanKind.RUNNING, 1, 200, 900)]
    assert story.marks(5_000) == [(MarkKind.COMPLETED, 1, 900)]
    assert story.row(5_000).spans[1].detail == "w1"
    assert not any(span.is_open for span in story.row(5_000).spans)


def test_a_run_that_goes_on_is_open_until_now_and_its_deadline_is_marked() -> None:
    story = Story(STEP)

    story.queue(0)
    story.start(200)

    assert story.spans(700)[-1] == (SpanKind.RUNNING, 1, 200, 700)
    assert story.row(700).spans[-1].is_open
    assert story.marks(700) == [(MarkKind.DEADLINE, 1, 1_200)]


def test_a_step_that_nobody_has_sent_has_an_empty_row() -> None:
    story = Story(STEP)

    assert (story.spans(700), story.marks(700)) == ([], [])


def test_an_attempt_that_took_too_long_is_lost_and_the_next_waits_from_then_on() -> None:
    story = Story(STEP)

    story.queue(0)
    story.start(0)
    story.time_out(1_100)
    story.confirm(1_110)
    story.start(1_500)

    assert story.spans(2_000) == [
        (SpanKind.WAITING, 1, 0, 0),
        (SpanKind.LOST, 1, 0, 1_100),
        (SpanKind.WAITING, 2, 1_100, 1_500),
        (SpanKind.RUNNING, 2, 1_500, 2_000),
    ]
    assert story.marks(2_000) == [
        (MarkKind.TIMED_OUT, 1, 1_100),
        (MarkKind.REENQUEUED, 2, 1_110),
        (MarkKind.DEADLINE, 2, 2_500),
    ]


@pytest.mark.parametrize("is_completed", [False, True])
def test_a_worker_that_was_faster_than_the_log_changes_no_span(is_completed: bool) -> None:
    story = Story(STEP)
    story.queue(0)
    story.start(0)
    story.time_out(1_100)
    story.start(1_110)
    if is_completed:
        story.complete(1_120)
    before = story.spans(2_000)

    story.do(lambda step: timeouts.log_sent(step, attempt=2, is_copy=False, now_ms=START + 1_105))

    assert story.spans(2_000) == before
    assert (MarkKind.REENQUEUED, 2, 1_105) in story.marks(2_000)


def test_the_wait_for_a_backoff_belongs_to_the_next_attempt() -> None:
    story = Story(replace(STEP, backoff_ms=10_000))

    story.queue(0)
    story.start(0)
    story.time_out(1_000)

    assert story.spans(3_000)[-1] == (SpanKind.WAITING, 2, 1_000, 3_000)


def test_a_step_that_is_being_given_up_waits_for_no_further_attempt() -> None:
    story = Story(replace(STEP, retries_permitted=0))
    story.queue(0)
    story.start(0)
    story.time_out(1_000)
    before = story.spans(1_001)

    story.do(lambda step: timeouts.give_up(step, attempt=1, now_ms=START + 1_005))

    assert before == story.spans(9_000) == [(SpanKind.WAITING, 1, 0, 0), (SpanKind.LOST, 1, 0, 1_000)]
    assert [kind for kind, *_ in story.marks(9_000)] == [MarkKind.TIMED_OUT, MarkKind.GAVE_UP]


def test_a_late_step_that_is_only_told_goes_on_and_was_no_loss_if_it_completes() -> None:
    story = Story(replace(STEP, on_timeout=OnTimeout.ALERT))
    story.queue(0)
    story.start(0)
    story.time_out(1_000)
    assert story.spans(5_000)[-1] == (SpanKind.LOST, 1, 0, 5_000)

    story.complete(6_000)

    assert story.spans(9_000)[-1] == (SpanKind.RUNNING, 1, 0, 6_000)


def test_the_wait_between_celerys_own_retries_stays_within_the_attempt() -> None:
    story = Story(STEP)

    story.queue(0)
    story.start(100)
    story.do(lambda step: runs.queue_again(step, attempt=1, run_id=step.run_id, celery_retries=1, now_ms=START + 300))
    story.start(800, celery_retries=1)
    story.complete(900)

    assert story.spans(2_000)[1:] == [
        (SpanKind.RUNNING, 1, 100, 300),
        (SpanKind.RETRYING, 1, 300, 800),
        (SpanKind.RUNNING, 1, 800, 900),
    ]


def test_a_message_that_was_given_back_waits_again() -> None:
    story = Story(STEP)

    story.queue(0)
    story.start(100)
    story.do(
        lambda step: runs.release(step, attempt=1, run_id="run-1-0", resend_in_ms=5_000, now_ms=START + 300),
    )

    assert story.spans(400)[1:] == [(SpanKind.RUNNING, 1, 100, 300), (SpanKind.WAITING, 1, 300, 400)]


def test_a_run_that_failed_is_told_from_one_that_was_lost() -> None:
    story = Story(STEP)

    story.queue(0)
    story.start(0)
    story.do(lambda step: outcomes.fail(step, "ValueError: no", run_id=step.run_id, attempt=1, now_ms=START + 400))

    assert story.spans(2_000)[-1] == (SpanKind.FAILED, 1, 0, 400)
    assert story.row(2_000).marks[-1].detail == "ValueError: no"


def test_a_run_whose_worker_is_lost_is_lost_before_anybody_has_checked() -> None:
    story = Story(STEP)

    story.queue(0)
    story.start(0)
    story.do(lambda step: outcomes.lose(step, "worker exited", attempt=1, run_id=step.run_id, now_ms=START + 400))

    assert story.spans(450)[1] == (SpanKind.LOST, 1, 0, 400)
    assert story.row(450).spans[1].detail == "worker exited"


def test_a_reopened_step_waits_as_a_new_attempt_and_the_mark_tells_by_whom() -> None:
    story = Story(STEP)
    story.queue(0)
    story.start(0)
    story.do(lambda step: outcomes.fail(step, "no", run_id=step.run_id, attempt=1, now_ms=START + 400))

    story.do(lambda step: outcomes.reopen(step, now_ms=START + 900, has_message=True, by="ann@desk"))

    assert story.spans(1_000)[-1] == (SpanKind.WAITING, 2, 900, 1_000)
    assert [mark.detail for mark in story.row(1_000).marks if mark.kind is MarkKind.REOPENED] == ["by ann@desk"]


def test_the_attempt_that_finishes_first_ends_the_row_of_the_one_that_replaced_it() -> None:
    story = Story(STEP)
    story.queue(0)
    story.start(0)
    story.time_out(1_000)
    story.confirm(1_000)
    story.start(1_200)

    story.complete(1_300, attempt=1)

    assert story.spans(9_000)[-1] == (SpanKind.RUNNING, 2, 1_200, 1_300)
    assert story.marks(9_000)[-1] == (MarkKind.COMPLETED, 1, 1_300)


def test_what_came_late_or_was_refused_changes_no_span() -> None:
    story = Story(STEP)
    story.queue(0)
    story.start(0)
    story.complete(300)
    before = story.spans(9_000)

    story.do(lambda step: outcomes.complete(step, run_id="other", now_ms=START + 400))
    story.do(lambda step: runs.start(step, run_id="third", attempt=1, now_ms=START + 500))

    assert story.spans(9_000) == before
    assert [kind for kind, *_ in story.marks(9_000)] == [MarkKind.COMPLETED, MarkKind.LATE, MarkKind.REFUSED]


class TestExternalSteps:
    ACKNOWLEDGE = replace(STEP, external=True, retries_permitted=0, timeout_ms=60_000)

    def test_one_waits_from_the_start_of_its_process(self) -> None:
        story = Story(self.ACKNOWLEDGE)

        assert story.spans(500) == [(SpanKind.WAITING, 1, 0, 500)]
        story.complete(700)
        assert story.spans(5_000) == [(SpanKind.WAITING, 1, 0, 700)]

    def test_nobody_waits_for_one_whose_process_is_over(self) -> None:
        process = Process.start(
            tenant_id="t",
            process_type="P",
            aggregate_type="A",
            aggregate_id="1",
            steps=[replace(STEP, name="send"), replace(self.ACKNOWLEDGE, name="acknowledge")],
            now_ms=START,
        )
        failure = outcomes.fail(process.steps["send"], "no", now_ms=START + 400)
        process.steps["send"] = failure.after

        timeline = timeline_of(process, failure.events, now_ms=START + 86_400_000)

        assert timeline.end_ms == START + 400
        assert timeline.rows[1].spans[0].is_open


class TestTheEnd:
    def test_a_picture_of_a_live_process_ends_now(self) -> None:
        assert timeline_of(Story(STEP).process, [], now_ms=START + 5_000).end_ms == START + 5_000

    def test_a_picture_of_a_finished_process_ends_with_it(self) -> None:
        story = Story(STEP)
        story.queue(0)
        story.start(0)
        story.complete(300)

        assert timeline_of(story.process, story.log, now_ms=START + 5_000).end_ms == START + 300

    def test_a_picture_has_whatever_happened_though_nothing_ran(self) -> None:
        story = Story(STEP)
        story.complete(300)

        timeline = timeline_of(story.process, story.log, now_ms=START + 5_000)

        assert timeline.end_ms == START + 300
        assert [mark.at_ms for mark in timeline.rows[0].marks] == [START + 300]

    def test_what_could_not_be_published_waits_no_more(self) -> None:
        story = Story(STEP)
        story.queue(100)
        story.do(lambda step: runs.withdraw(step, "no broker", task_id="task", now_ms=START + 150))

        assert story.spans(now=5_000) == [(SpanKind.WAITING, 1, 100, 150)]

    @pytest.mark.parametrize(("now", "end"), [(600, 1_000), (400, 400)])
    def test_a_deadline_ahead_is_in_the_picture_unless_the_rest_would_shrink_too_much(self, now: int, end: int) -> None:
        story = Story(STEP)
        story.queue(0)
        story.start(0)

        timeline = timeline_of(story.process, story.log, now_ms=START + now)

        assert timeline.end_ms == START + end
        assert timeline.rows[0].marks[-1].at_ms == START + 1_000

    def test_a_store_that_is_ahead_of_now_ends_the_picture_with_what_it_tells(self) -> None:
        story = Story(STEP)
        story.queue(0)
        story.start(300)

        assert story.spans(100)[-1] == (SpanKind.RUNNING, 1, 300, 300)


class TestGaps:
    def test_the_record_tells_of_a_run_that_the_log_leaves_out(self) -> None:
        story = Story(STEP)
        story.queue(0)
        story.start(200)
        story.log.clear()
        running = story.spans(500)

        story.complete(900)
        story.log.clear()

        assert running == [(SpanKind.RUNNING, 1, 200, 500)]
        assert story.spans(5_000) == [(SpanKind.RUNNING, 1, 200, 900)]
        assert story.marks(5_000) == [(MarkKind.COMPLETED, 1, 900)]

    def test_an_end_that_the_log_leaves_out_ends_the_open_span(self) -> None:
        story = Story(STEP)
        story.queue(0)
        story.start(200)
        story.complete(900)

        del story.log[-1]

        assert story.spans(5_000)[-1] == (SpanKind.RUNNING, 1, 200, 900)

    def test_a_log_that_was_read_after_the_record_is_believed(self) -> None:
        story = Story(STEP)
        story.queue(0)
        older = story.process.steps["step"]

        story.start(200)
        story.complete(900)
        story.process.steps["step"] = older

        assert story.spans(5_000)[-1] == (SpanKind.RUNNING, 1, 200, 900)
        assert [kind for kind, *_ in story.marks(5_000)] == [MarkKind.COMPLETED]

    def test_a_run_that_was_replaced_without_an_entry_is_lost(self) -> None:
        story = Story(STEP)
        story.queue(0)
        story.start(0)
        story.time_out(1_100)
        story.confirm(1_110)
        story.start(1_500)

        kept = [event for event in story.log if event.kind is EventKind.STEP_STARTED]
        story.log[:] = kept

        assert story.spans(2_000) == [(SpanKind.LOST, 1, 0, 1_500), (SpanKind.RUNNING, 2, 1_500, 2_000)]

    def test_a_next_attempt_whose_clock_is_behind_does_not_unsettle_the_row(self) -> None:
        story = Story(STEP)
        story.queue(0)
        story.start(0)
        story.time_out(1_100)
        story.confirm(1_110)
        story.start(1_090)

        assert story.spans(2_000)[1:] == [(SpanKind.LOST, 1, 0, 1_090), (SpanKind.RUNNING, 2, 1_090, 2_000)]

    def test_an_entry_of_a_replaced_attempt_that_comes_late_changes_nothing(self) -> None:
        story = Story(STEP)
        story.queue(0)
        story.start(0)
        story.time_out(1_100)
        story.confirm(1_110)
        story.start(1_500)
        before = story.spans(2_000)

        story.log.append(Event(EventKind.STEP_RETRYING, "step", 1, START + 1_600))

        assert story.spans(2_000) == before

    def test_a_step_that_was_given_up_is_over_though_the_log_leaves_it_out(self) -> None:
        story = Story(replace(STEP, retries_permitted=0))
        story.queue(0)
        story.start(0)
        story.time_out(1_000)

        story.do(lambda step: timeouts.give_up(step, attempt=1, now_ms=START + 1_005))
        del story.log[-1]

        assert story.spans(9_000)[-1] == (SpanKind.LOST, 1, 0, 1_000)
        assert story.marks(9_000)[-1] == (MarkKind.FAILED, 1, 1_005)


_TIMES = st.integers(START - 1_000, START + 10_000)
_EVENTS = st.builds(
    Event,
    kind=st.sampled_from(EventKind),
    step_name=st.sampled_from(["step", "other", "unknown", ""]),
    attempt=st.integers(0, 4),
    occurred_at_ms=_TIMES,
    detail=st.sampled_from(["", "why"]),
)
_STEPS = st.builds(
    ProcessStep,
    st.just("step"),
    timeout_ms=st.none() | st.just(1_000),
    retries_permitted=st.integers(0, 3),
    on_timeout=st.sampled_from(OnTimeout),
    external=st.booleans(),
    state=st.sampled_from(StepState),
    attempt=st.integers(0, 4),
    deadline_ms=st.none() | _TIMES,
    run_id=st.none() | st.just("run"),
    started_at_ms=st.none() | _TIMES,
    finished_at_ms=st.none() | _TIMES,
    version=st.just(2),
)


@given(_STEPS, _STEPS, st.lists(_EVENTS, max_size=20), _TIMES)
def test_whatever_a_log_says_a_step_does_one_thing_at_a_time_within_the_picture(
    step: ProcessStep, other: ProcessStep, log: Sequence[Event], now_ms: int
) -> None:
    process = Process.start(
        tenant_id="t", process_type="P", aggregate_type="A", aggregate_id="1", steps=[STEP], now_ms=START
    )
    process.steps = {"step": step, "other": replace(other, name="other")}

    timeline = timeline_of(process, log, now_ms=now_ms)

    assert [row.step.name for row in timeline.rows] == ["step", "other"]
    for row in timeline.rows:
        assert all(first.end_ms <= second.start_ms for first, second in pairwise(row.spans))
        assert all(timeline.start_ms <= span.start_ms <= span.end_ms <= timeline.end_ms for span in row.spans)
        assert all(first.at_ms <= second.at_ms for first, second in pairwise(row.marks))
        assert all(mark.at_ms >= timeline.start_ms for mark in row.marks)
        assert [span.is_open for span in row.spans[:-1]] == [False] * len(row.spans[:-1])
