"""What a check tells about the attempts that it ends, to a trace."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from tests.support.traces import Traces, attribute, links, parent_id, span_id, trace_id
from tests.unit.services.test_timeouts import TIMED, WORKER_LOST_MS
from trellis_celery.domain import outcomes, runs
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import OnTimeout, ProcessStep
from trellis_celery.ports import Attempt, AttemptSpan, Change, Committed, Conflict, SpanOutcome, StepKey
from trellis_celery.services.processes import ProcessService
from trellis_celery.services.recorder import Recorder
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock, RecordingRequeuer

CREATED, ATTEMPT = "create Type", "process Type.step"


class World:
    """Processes that are traced, runs that start and are never heard of again, and a check."""

    def __init__(
        self, store: MemoryStore | None = None, clock: ManualClock | None = None, *, is_traced: bool = True
    ) -> None:
        self.traces = Traces()
        self.clock = clock or ManualClock()
        self.store = store or MemoryStore(clock=self.clock)
        self.recorder = Recorder(self.store)
        self.requeuer = RecordingRequeuer()
        self.checker = TimeoutCheckerService(
            self.store,
            requeuer=self.requeuer,
            tracer=self.traces.tracer if is_traced else None,
            worker_lost_ms=WORKER_LOST_MS,
            random_number=lambda: 0.0,
        )

    def start(self, *steps: ProcessStep) -> Process:
        def start(traceparent: str | None) -> Process:
            return ProcessService(self.store).start_process(
                tenant_id="t",
                process_type="Type",
                aggregate_type="A",
                aggregate_id="1",
                steps=steps or [TIMED],
                traceparent=traceparent,
            )

        return self.traces.tracer.start_process(start, process_type="Type")

    def run(self, process: Process, *, lease_ms: int = 0, is_traced: bool = True) -> AttemptSpan:
        """The next attempt starts in a worker."""
        number = max(self.step(process).attempt, 1)
        attempt = Attempt(
            process_id=process.id,
            process_type="Type",
            step_name="step",
            number=number,
            celery_retries=0,
            task_id="task",
            worker="w@here",
            process_traceparent=process.own.traceparent,
        )
        span = self.traces.tracer.begin_attempt(attempt)
        transition = self.recorder.apply(
            StepKey(process.id, "step"),
            lambda step, *, now_ms: runs.start(
                step,
                run_id=f"run {number}",
                worker="w@here",
                is_leased=lease_ms > 0,
                traceparent=span.traceparent if is_traced else None,
                now_ms=now_ms,
            ),
            message=b"message",
            lease_ms=lease_ms,
        )
        span.follow(transition.before.traceparent, attempt=number)
        return span

    def check_after(self, ms: int) -> None:
        self.clock.advance(ms)
        self.checker.check_for_timed_out_steps()

    def step(self, process: Process) -> ProcessStep:
        return self.store.load(process.id).step("step")


@pytest.fixture
def world() -> World:
    return World()


def lapse(world: World, process: Process) -> None:
    """The worker's lease runs out, while checks go on."""
    world.checker.check_for_timed_out_steps()
    for _ in range(WORKER_LOST_MS // 500 + 1):
        world.check_after(500)


def test_an_attempt_whose_worker_is_lost_gets_its_span_from_the_check(world: World) -> None:
    process = world.start(replace(TIMED, timeout_ms=60_000))
    started_at_ms = world.clock.now_ms()
    world.run(process, lease_ms=WORKER_LOST_MS)

    lapse(world, process)

    span = world.traces.only(ATTEMPT)
    assert parent_id(span) == span_id(world.traces.only(CREATED))
    assert span.start_time == started_at_ms * 1_000_000
    assert span.end_time is not None
    assert WORKER_LOST_MS <= span.end_time / 1e6 - started_at_ms <= WORKER_LOST_MS + 1_000
    assert (attribute(span, "trellis.outcome"), attribute(span, "trellis.lost")) == ("lost", True)
    assert (attribute(span, "trellis.attempt"), attribute(span, "trellis.worker")) == (1, "w@here")
    assert span.status.description == "worker lost: w@here"
    assert not span.status.is_ok


def test_the_attempt_after_a_lost_one_is_linked_to_the_span_that_the_check_made(world: World) -> None:
    process = world.start(replace(TIMED, timeout_ms=60_000))
    world.run(process, lease_ms=WORKER_LOST_MS)
    lapse(world, process)

    world.run(process).end(SpanOutcome.COMPLETED)

    lost, second = world.traces.named(ATTEMPT)
    assert trace_id(lost) == trace_id(second)
    assert links(second) == [("follows", span_id(lost))]
    assert attribute(second, "trellis.attempt") == 2


def test_the_message_that_goes_out_again_already_knows_which_span_to_follow(world: World) -> None:
    process = world.start()
    world.run(process)

    world.check_after(1_000)

    (sending,) = world.requeuer.sent
    assert sending.step.traceparent is not None
    assert f"{span_id(world.traces.only(ATTEMPT)):016x}" in sending.step.traceparent


def test_an_attempt_that_is_only_late_is_told_as_such_and_its_own_span_comes_when_the_body_ends(world: World) -> None:
    process = world.start()
    own = world.run(process)

    world.check_after(1_000)
    own.end(SpanOutcome.LATE)

    checks, runs_own = world.traces.named(ATTEMPT)
    assert (attribute(checks, "trellis.outcome"), attribute(checks, "trellis.lost")) == ("timed_out", None)
    assert links(checks) == [("stands_for", span_id(runs_own))]


def test_a_run_that_was_reported_as_gone_counts_as_lost(world: World) -> None:
    process = world.start()
    world.run(process)
    world.recorder.apply(
        StepKey(process.id, "step"),
        lambda step, *, now_ms: outcomes.lose(step, "the child was killed", attempt=1, now_ms=now_ms),
    )

    world.check_after(1)

    span = world.traces.only(ATTEMPT)
    assert (attribute(span, "trellis.lost"), span.status.description) == (True, "the child was killed")


def test_every_attempt_until_the_step_is_given_up_has_one_span(world: World) -> None:
    process = world.start()
    world.run(process)
    world.check_after(1_000)
    world.run(process)
    world.check_after(1_000)
    world.check_after(60_000)

    assert world.step(process).state == "failed"
    assert [attribute(span, "trellis.attempt") for span in world.traces.named(ATTEMPT)] == [1, 2]


def test_a_run_that_is_let_go_on_after_its_time_is_not_ended(world: World) -> None:
    process = world.start(replace(TIMED, on_timeout=OnTimeout.ALERT))
    world.run(process)

    world.check_after(1_000)

    assert world.traces.named(ATTEMPT) == []


def test_a_lost_run_of_a_step_that_is_only_told_about_is_ended(world: World) -> None:
    process = world.start(replace(TIMED, on_timeout=OnTimeout.ALERT, timeout_ms=60_000))
    world.run(process, lease_ms=WORKER_LOST_MS)

    lapse(world, process)

    assert attribute(world.traces.only(ATTEMPT), "trellis.outcome") == "lost"


def test_what_nobody_started_has_no_span(world: World) -> None:
    process = world.start()
    world.recorder.apply(
        StepKey(process.id, "step"),
        lambda step, *, now_ms: runs.queue(step, task_id="task", args_digest="", now_ms=now_ms),
        message=b"message",
    )

    world.check_after(10_000)

    assert len(world.requeuer.sent) == 1
    assert world.traces.named(ATTEMPT) == []


def test_a_run_that_replaced_itself_by_others_has_ended_its_own_span(world: World) -> None:
    process = world.start()
    world.run(process)
    world.recorder.apply(
        StepKey(process.id, "step"),
        lambda step, *, now_ms: runs.hand_over(step, attempt=1, run_id="run 1", now_ms=now_ms),
    )

    world.check_after(1_000)

    assert world.step(process).attempt == 2
    assert world.traces.named(ATTEMPT) == []


def test_a_run_that_was_not_traced_has_no_span(world: World) -> None:
    process = world.start()
    world.run(process, is_traced=False)

    world.check_after(1_000)

    assert world.step(process).attempt == 2
    assert world.traces.named(ATTEMPT) == []


def test_a_check_that_does_not_trace_leaves_the_place_of_the_attempts_own_span() -> None:
    world = World(is_traced=False)
    process = world.start()
    own = world.run(process)

    world.check_after(1_000)

    assert world.step(process).traceparent == own.traceparent


class _Outrun(MemoryStore):
    """Somebody else completes what is to be committed just before."""

    process_id = ""

    def commit(self, changes: Sequence[Change]) -> list[Committed | Conflict | Exception]:
        process_id, self.process_id = self.process_id, ""
        if process_id:
            Recorder(self).apply(StepKey(process_id, "step"), outcomes.complete)
        return super().commit(changes)


def test_a_claim_that_came_too_late_leaves_no_span() -> None:
    store = _Outrun(clock=(clock := ManualClock()))
    world = World(store, clock)
    process = world.start()
    world.run(process)

    store.process_id = process.id
    world.check_after(1_000)

    assert world.step(process).state == "completed"
    assert world.traces.named(ATTEMPT) == []
