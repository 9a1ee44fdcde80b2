from collections.abc import Callable
from typing import Any

import pytest

from trellis_celery import errors
from trellis_celery.domain import runs
from trellis_celery.domain.events import EventKind, ProcessStepTimedOut
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.step import DeadlineKind, ProcessStep, StepState
from trellis_celery.domain.transitions import HANDOFF_MS
from trellis_celery.ports import Due, LeaseKey, StepKey
from trellis_celery.services.processes import ProcessService
from trellis_celery.services.recorder import Recorder
from trellis_celery.services.timeouts import QUARANTINE_MS, TimeoutCheckerService
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock, RecordingRequeuer, RecordingSink

TIMED = ProcessStep("step", timeout_ms=1_000, retries_permitted=1, queue_timeout_ms=5_000)
WORKER_LOST_MS = 5_000


class World:
    """Processes, a checker, and all that they tell; time stands still."""

    def __init__(self, store_class: type[MemoryStore] = MemoryStore, **settings: Any) -> None:
        self.clock = ManualClock()
        self.store = store_class(clock=self.clock)
        self.processes = ProcessService(self.store)
        self.told: list[ProcessStepTimedOut] = []
        self.requeuer = RecordingRequeuer()
        self.sink = RecordingSink()
        self.checker = self.new_checker(**settings)
        self.check = self.checker.check_for_timed_out_steps

    def new_checker(
        self, publish_event: Callable[[ProcessStepTimedOut], None] | None = None, **settings: Any
    ) -> TimeoutCheckerService:
        return TimeoutCheckerService(
            self.store,
            publish_event or self.told.append,
            **{"requeuer": self.requeuer, "sinks": [self.sink], "random_number": lambda: 0.0, **settings},
        )

    def process(self, *steps: ProcessStep, aggregate_id: str = "1", deadline_ms: int | None = None) -> Process:
        return self.processes.start_process(
            tenant_id="tenant",
            process_type="Type",
            aggregate_type="Aggregate",
            aggregate_id=aggregate_id,
            steps=steps or [TIMED],
            deadline_ms=deadline_ms,
        )

    def queue(self, process: Process, name: str = "step", *, message: bytes = b"message") -> None:
        """The step's task was published."""
        self._apply(
            process,
            name,
            lambda step, *, now_ms: runs.queue(step, task_id="task", args_digest="", now_ms=now_ms),
            message=message,
        )

    def start(self, process: Process, name: str = "step", *, lease_ms: int = 0, celery_retries: int = 0) -> None:
        """A worker has taken up the message."""
        self._apply(
            process,
            name,
            lambda step, *, now_ms: runs.start(
                step,
                run_id=f"run {step.attempt}" + "'" * celery_retries,
                celery_retries=celery_retries or None,
                now_ms=now_ms,
                is_leased=lease_ms > 0,
            ),
            lease_ms=lease_ms,
        )

    def retry(self, process: Process, name: str = "step") -> None:
        """The body has called `self.retry()`."""
        self._apply(
            process,
            name,
            lambda step, *, now_ms: runs.queue_again(
                step, attempt=step.attempt, run_id=step.run_id, celery_retries=1, now_ms=now_ms
            ),
        )

    def _apply(self, process: Process, name: str, rule: Any, **details: Any) -> None:
        Recorder(self.store).apply(StepKey(process.id, name), rule, **details)

    def run(
        self, process: Process, name: str = "step", *, message: bytes | None = b"message", lease_ms: int = 0
    ) -> None:
        """The step's task was published, if there is a message, and has started."""
        if message is not None:
            self.queue(process, name, message=message)
        self.start(process, name, lease_ms=lease_ms)

    def step(self, process: Process, name: str = "step") -> ProcessStep:
        return self.store.load(process.id).step(name)


class Dying(RecordingRequeuer):
    def requeue(self, sendings: Any) -> Any:
        raise KeyboardInterrupt


@pytest.fixture
def world() -> World:
    return World()


class TestRetrying:
    def test_nothing_happens_to_a_step_in_time(self, world: World) -> None:
        world.run(world.process())
        world.clock.advance(999)

        report = world.check()

        assert (report.timed_out, report.failed) == (0, 0)
        assert world.requeuer.sent == []

    def test_a_late_step_is_told_of_and_sent_again_as_the_next_attempt(self, world: World) -> None:
        process = world.process()
        world.run(process)
        world.clock.advance(1_000)

        report = world.check()

        assert report.retried == report.timed_out == 1
        assert [(sending.step.attempt, sending.message) for sending in world.requeuer.sent] == [(2, b"message")]
        assert [(event.attempt, event.retry_count, event.has_fully_timed_out()) for event in world.told] == [
            (1, 0, False)
        ]
        assert world.step(process).deadline_kind is DeadlineKind.QUEUE

    def test_the_sent_record_is_the_stored_one(self, world: World) -> None:
        process = world.process()
        world.run(process)
        world.clock.advance(1_000)
        stored_while_sending: list[ProcessStep] = []

        class Looking(RecordingRequeuer):
            def requeue(self, sendings: Any) -> Any:
                stored_while_sending.append(world.step(process))
                return super().requeue(sendings)

        looking = Looking()
        world.new_checker(requeuer=looking).check_for_timed_out_steps()

        assert [sending.step for sending in looking.sent] == stored_while_sending
        assert stored_while_sending[0].deadline_kind is DeadlineKind.HANDOFF

    def test_a_step_without_a_message_is_asked_for_and_its_time_runs(self, world: World) -> None:
        process = world.process()
        world.run(process, message=None)
        world.clock.advance(1_000)

        report = world.check()

        assert report.retried == 1
        assert world.requeuer.sent == []
        step = world.step(process)
        assert (step.attempt, step.deadline_ms) == (2, world.clock.now_ms() + 1_000)

    def test_a_step_is_given_up_after_its_last_retry(self, world: World) -> None:
        process = world.process()
        world.run(process, message=None)
        for _ in range(2):
            world.clock.advance(1_000)
            report = world.check()

        assert report.gave_up == 1
        assert [(event.attempt, event.retry_count, event.has_fully_timed_out()) for event in world.told] == [
            (1, 0, False),
            (2, 1, True),
        ]
        assert world.store.load(process.id).has_failed()
        assert world.sink.kinds[-2:] == [EventKind.STEP_GAVE_UP, EventKind.PROCESS_FAILED]

    def test_a_step_that_backs_off_is_told_of_now_and_sent_later(self, world: World) -> None:
        process = world.process(ProcessStep("step", timeout_ms=1_000, retries_permitted=1, backoff_ms=300))
        world.run(process)
        world.clock.advance(1_000)

        assert world.check().backed_off == 1
        assert world.check().resent == 0
        world.clock.advance(300)
        assert world.check().resent == 1

        assert [event.attempt for event in world.told] == [1]
        assert [sending.step.attempt for sending in world.requeuer.sent] == [2]

    def test_a_step_without_a_message_is_told_of_when_its_backoff_is_over_and_not_before(self, world: World) -> None:
        process = world.process(ProcessStep("step", timeout_ms=1_000, retries_permitted=1, backoff_ms=300))
        world.run(process, message=None)
        world.clock.advance(1_000)

        assert world.check().backed_off == 1
        assert world.told == []
        world.clock.advance(300)
        assert world.check().retried == 1

        assert [event.attempt for event in world.told] == [1]

    def test_a_step_that_must_not_run_twice_is_only_told_of_once(self, world: World) -> None:
        process = world.process(ProcessStep("step", timeout_ms=1_000, retries_permitted=3, on_timeout="alert"))
        world.run(process)
        world.clock.advance(1_000)

        assert [world.check().alerted for _ in range(3)] == [1, 0, 0]
        assert len(world.told) == 1
        assert world.requeuer.sent == []
        assert world.step(process).state is StepState.IN_PROGRESS

    def test_a_checker_that_was_away_uses_one_retry_when_it_returns(self, world: World) -> None:
        process = world.process(ProcessStep("step", timeout_ms=1_000, retries_permitted=5))
        world.run(process, message=None)
        world.clock.advance(3_600_000)

        reports = [world.check() for _ in range(5)]

        assert [report.timed_out for report in reports] == [1, 0, 0, 0, 0]
        assert world.step(process).retry_count == 1

    def test_a_message_that_waits_too_long_is_sent_again_without_using_a_retry(self, world: World) -> None:
        process = world.process()
        Recorder(world.store).apply(
            StepKey(process.id, "step"),
            lambda step, *, now_ms: runs.queue(step, task_id="task", args_digest="", now_ms=now_ms),
            message=b"message",
        )
        world.clock.advance(5_000)

        report = world.check()

        assert (report.resent, report.timed_out) == (1, 0)
        assert [(sending.step.attempt, sending.step.retry_count) for sending in world.requeuer.sent] == [(1, 0)]
        assert world.told == []

    def test_a_message_that_waited_too_long_and_is_gone_is_asked_for_as_the_attempt_that_it_was(
        self, world: World
    ) -> None:
        process = world.process()
        Recorder(world.store).apply(
            StepKey(process.id, "step"),
            lambda step, *, now_ms: runs.queue(step, task_id="task", args_digest="", now_ms=now_ms),
        )
        world.clock.advance(5_000)

        world.check()

        assert [(event.attempt, event.retry_count) for event in world.told] == [(1, 0)]

    def test_the_wait_of_a_later_attempt_that_is_asked_for_counts_no_retry_twice(self, world: World) -> None:
        world.run(world.process())
        world.clock.advance(1_000)
        world.check()
        world.clock.advance(5_000)

        world.new_checker(requeuer=None).check_for_timed_out_steps()

        assert [(event.attempt, event.retry_count) for event in world.told] == [(1, 0), (2, 1)]


class TestCrashes:
    @pytest.mark.fault("C5")
    def test_what_a_checker_claimed_before_it_died_is_sent_by_the_next(self, world: World) -> None:
        process = world.process()
        world.run(process)
        world.clock.advance(1_000)
        with pytest.raises(KeyboardInterrupt):
            world.new_checker(requeuer=Dying()).check_for_timed_out_steps()

        assert world.check().resent == 0
        world.clock.advance(HANDOFF_MS)
        assert world.check().resent == 1
        assert [sending.step.attempt for sending in world.requeuer.sent] == [2]
        assert world.step(process).retry_count == 1

    def test_a_handler_that_raises_is_called_again_and_stops_no_other_step(self, world: World) -> None:
        for name in "12":
            world.run(world.process(aggregate_id=name), message=None)
        world.clock.advance(1_000)
        calls: list[ProcessStepTimedOut] = []

        def raise_once(event: ProcessStepTimedOut) -> None:
            calls.append(event)
            if len(calls) == 1:
                raise RuntimeError("handler broken")

        check = world.new_checker(raise_once).check_for_timed_out_steps
        first = check()
        world.clock.advance(HANDOFF_MS)
        check()

        assert (first.failed, first.retried) == (1, 1)
        assert calls[0].process_id in {event.process_id for event in calls[2:]}

    def test_giving_up_is_told_until_the_handler_has_heard_it(self, world: World) -> None:
        process = world.process(ProcessStep("step", timeout_ms=1_000))
        world.run(process)
        world.clock.advance(1_000)

        def refuse(event: ProcessStepTimedOut) -> None:
            raise RuntimeError("not now")

        world.new_checker(refuse).check_for_timed_out_steps()
        assert world.step(process).state is StepState.IN_PROGRESS

        world.clock.advance(HANDOFF_MS)
        assert world.check().gave_up == 1
        assert world.step(process).state is StepState.FAILED

    def test_an_alert_is_told_until_the_handler_has_heard_it(self, world: World) -> None:
        process = world.process(ProcessStep("step", timeout_ms=1_000, on_timeout="alert"))
        world.run(process)
        world.clock.advance(1_000)

        def refuse(event: ProcessStepTimedOut) -> None:
            raise RuntimeError("not now")

        report = world.new_checker(refuse).check_for_timed_out_steps()
        assert (report.alerted, report.failed) == (0, 1)
        assert world.step(process).has_incident  # whoever asks sees it at once

        world.clock.advance(HANDOFF_MS)
        assert [world.check().alerted for _ in range(2)] == [1, 0]
        assert [event.reason for event in world.told] == ["no outcome after 1000 ms"]
        assert world.step(process).deadline_ms is None

    def test_a_run_that_ends_while_its_alert_is_told_ends_the_step(self, world: World) -> None:
        process = world.process(ProcessStep("step", timeout_ms=1_000, on_timeout="alert"))
        world.run(process)
        world.clock.advance(1_000)

        world.new_checker(lambda _: world.processes.complete_step(process, "step")).check_for_timed_out_steps()

        step = world.step(process)
        assert (step.state, step.has_incident, step.deadline_ms) == (StepState.COMPLETED, False, None)

    def test_a_message_that_cannot_be_sent_now_is_tried_again(self, world: World) -> None:
        process = world.process()
        world.run(process)
        world.clock.advance(1_000)
        world.requeuer.errors["step"] = ConnectionError("broker down")

        assert world.check().failed == 1
        world.requeuer.errors.clear()
        world.clock.advance(HANDOFF_MS)

        assert world.check().resent == 1
        assert world.step(process).attempt == 2

    @pytest.mark.fault("C6")
    def test_a_message_that_can_never_be_sent_uses_up_the_retries_and_fails_the_step(self, world: World) -> None:
        process = world.process()
        world.run(process)
        world.clock.advance(1_000)
        world.requeuer.errors["step"] = errors.MessageUnsendable("queue 'mail' is not known")

        for _ in range(4):
            world.check()

        step = world.step(process)
        assert step.state is StepState.FAILED
        assert "queue 'mail' is not known" in (step.last_error or "")

    def test_a_copy_that_can_never_be_sent_does_not_end_the_run_of_the_message_that_came(self, world: World) -> None:
        process = world.process()
        world.queue(process)
        world.clock.advance(5_000)

        class Refused(RecordingRequeuer):
            def requeue(self, sendings: Any) -> Any:
                world.start(process)
                return [errors.MessageUnsendable("queue 'mail' is not known")]

        world.new_checker(requeuer=Refused()).check_for_timed_out_steps()

        step = world.step(process)
        assert (step.attempt, step.run_id, step.deadline_kind) == (1, "run 1", DeadlineKind.RUN)

    def test_a_handler_may_fail_the_step_itself(self, world: World) -> None:
        process = world.process(ProcessStep("step", timeout_ms=1_000))
        world.run(process)
        world.clock.advance(1_000)
        fail = world.new_checker(lambda event: world.processes.fail_step(process, event.step_name, "too late"))

        fail.check_for_timed_out_steps()

        assert (world.step(process).last_error, world.step(process).has_incident) == ("too late", False)

    @pytest.mark.parametrize("retries", [0, 1])
    def test_a_handler_that_deletes_the_process_stops_no_other_step(self, world: World, retries: int) -> None:
        step = ProcessStep("step", timeout_ms=1_000, retries_permitted=retries)
        for name in "12":
            world.run(world.process(step, aggregate_id=name), message=None)
        world.clock.advance(1_000)
        events: list[ProcessStepTimedOut] = []

        def delete(event: ProcessStepTimedOut) -> None:
            events.append(event)
            world.store.delete(event.process_id)

        world.new_checker(delete).check_for_timed_out_steps()

        assert len(events) == 2


class TestManyCheckers:
    def test_a_timeout_is_told_once_however_many_check(self, world: World) -> None:
        world.run(world.process())
        world.clock.advance(1_000)
        checkers = [world.new_checker() for _ in range(3)]

        for checker in checkers:
            checker.check_for_timed_out_steps()

        assert len(world.told) == len(world.requeuer.sent) == 1

    def test_a_checker_that_loses_the_race_for_a_step_sends_nothing(self) -> None:
        class SlowReader(MemoryStore):
            """Another checker is through between this one's read and its write."""

            rival: TimeoutCheckerService | None = None

            def load_steps(self, keys: Any) -> Any:
                records = super().load_steps(keys)
                rival, self.rival = self.rival, None
                if rival is not None:
                    rival.check_for_timed_out_steps()
                return records

        world = World(SlowReader)
        world.run(world.process())
        world.clock.advance(1_000)
        world.store.rival = world.new_checker()  # type: ignore[attr-defined]

        report = world.check()

        assert report.retried == 0
        assert len(world.requeuer.sent) == 1


class TestFastWorkers:
    """The message is taken up before the checker has written that it was sent."""

    @pytest.fixture(params=["started", "completed"])
    def world(self, request: pytest.FixtureRequest) -> World:
        world = World()

        class Fast(RecordingRequeuer):
            def requeue(self, sendings: Any) -> Any:
                world.clock.advance(200)
                for sending in sendings:
                    world.run(world.store.load(sending.process_id), message=None)
                    if request.param == "completed":
                        world.processes.complete_step(sending.process_id, "step")
                return super().requeue(sendings)

        world.requeuer = Fast()
        world.checker = world.new_checker()
        world.check = world.checker.check_for_timed_out_steps
        return world

    def test_the_sending_is_logged_and_counted_and_changes_nothing(self, world: World) -> None:
        process = world.process()
        world.run(process)
        world.clock.advance(1_000)

        world.check()

        step = world.step(process)
        assert (step.state, step.attempt) != (StepState.PENDING, 2)
        assert world.sink.kinds == [EventKind.STEP_TIMED_OUT, EventKind.STEP_REENQUEUED]
        history = world.processes.history(process)
        assert [event.kind for event in history].count(EventKind.STEP_REENQUEUED) == 1
        lateness = world.store.stats().lateness
        assert (lateness.count, lateness.sum_ms) == (1, 200)


class TestLeases:
    def test_a_lost_worker_is_noticed_when_its_lease_lapses(self, world: World) -> None:
        process = world.process(ProcessStep("step", retries_permitted=1))
        world.check()
        world.run(process, lease_ms=WORKER_LOST_MS)
        world.clock.advance(WORKER_LOST_MS)

        assert world.check().retried == 1
        assert world.told[0].reason == "worker lost"

    def test_workers_get_time_to_renew_after_everything_stood_still(self, world: World) -> None:
        process = world.process(ProcessStep("step", retries_permitted=1))
        world.check()
        world.run(process, lease_ms=WORKER_LOST_MS)
        world.clock.advance(3_600_000)

        assert world.check().retried == 0
        world.store.renew([LeaseKey(process.id, "step", 1)], until_ms=world.clock.now_ms() + 2 * WORKER_LOST_MS)
        world.clock.advance(WORKER_LOST_MS)

        assert world.check().retried == 0
        world.clock.advance(WORKER_LOST_MS // 2)
        assert world.check().retried == 0
        world.clock.advance(WORKER_LOST_MS // 2)
        assert world.check().retried == 1

    def test_workers_get_time_to_renew_after_the_store_may_have_stood_still(self) -> None:
        world = World(worker_lost_ms=WORKER_LOST_MS, check_interval_ms=1_000)
        process = world.process(ProcessStep("step", retries_permitted=1))
        world.check()
        world.clock.advance(WORKER_LOST_MS)
        world.check()
        world.run(process, lease_ms=1_700)  # it has not been renewed for a while
        world.clock.advance(4_000)

        assert world.check().retried == 0, "the last check was less than five intervals and a lease ago"
        world.clock.advance(1_600)
        assert world.check().retried == 0
        world.store.renew([LeaseKey(process.id, "step", 1)], until_ms=world.clock.now_ms() + WORKER_LOST_MS)
        for _ in range(4):
            world.clock.advance(1_000)
            assert world.check().retried == 0
        world.clock.advance(1_000)
        assert world.check().retried == 1

    def test_a_lapsed_lease_counts_where_no_renewal_can_have_failed(self) -> None:
        world = World(worker_lost_ms=6_000, check_interval_ms=2_000)
        process = world.process(ProcessStep("step", retries_permitted=1))
        world.check()
        world.clock.advance(6_000)
        world.check()
        world.run(process, lease_ms=1_000)
        world.clock.advance(4_000)  # two intervals, and two thirds of a lease

        assert world.check().retried == 1

    @pytest.mark.parametrize("apart_ms", [3_400, 5_000])
    def test_a_lost_worker_is_noticed_where_checks_are_always_far_apart(self, apart_ms: int) -> None:
        world = World(worker_lost_ms=WORKER_LOST_MS, check_interval_ms=1_000)
        process = world.process(ProcessStep("step", retries_permitted=1))
        world.check()
        world.run(process, lease_ms=WORKER_LOST_MS)

        found = []
        for _ in range(5):
            world.clock.advance(apart_ms)
            found.append(world.check().retried)

        assert sum(found) == 1

    def test_a_lost_worker_is_noticed_though_the_clock_was_set_back_an_hour(self, world: World) -> None:
        process = world.process(ProcessStep("step", retries_permitted=1))
        world.check()
        world.run(process, lease_ms=WORKER_LOST_MS)
        world.clock.advance(-3_600_000)
        world.store.renew([LeaseKey(process.id, "step", 1)], until_ms=world.clock.now_ms() + WORKER_LOST_MS)

        world.check()
        world.clock.advance(WORKER_LOST_MS)

        assert world.check().retried == 1

    def test_a_lease_that_lapsed_before_a_retry_by_celery_does_not_end_the_run_that_follows(self) -> None:
        class OvertakenStore(MemoryStore):
            def load_steps(self, keys: Any) -> Any:
                if meanwhile:
                    meanwhile.pop()()
                return super().load_steps(keys)

        meanwhile: list[Callable[[], None]] = []
        world = World(OvertakenStore)
        process = world.process(ProcessStep("step", retries_permitted=1))
        world.check()
        world.run(process, lease_ms=WORKER_LOST_MS)
        world.clock.advance(WORKER_LOST_MS)

        def try_again() -> None:
            world.clock.advance(1)
            world.retry(process)
            world.start(process, lease_ms=WORKER_LOST_MS)

        meanwhile.append(try_again)
        report = world.check()

        assert (report.timed_out, world.step(process).attempt) == (0, 1)
        for pause_ms in (WORKER_LOST_MS // 2, WORKER_LOST_MS // 2 - 1):
            world.clock.advance(pause_ms)
            assert world.check().timed_out == 0
        world.clock.advance(1)
        assert world.check().retried == 1

    @pytest.mark.parametrize("is_renewed", [False, True], ids=["lost as well", "alive"])
    def test_a_run_that_takes_the_place_of_one_whose_lease_has_lapsed_is_watched_like_any_other(
        self, world: World, is_renewed: bool
    ) -> None:
        """Celery has sent the task again while the store was away, and nobody told it."""
        process = world.process(ProcessStep("step", retries_permitted=1))
        world.check()
        world.run(process, lease_ms=WORKER_LOST_MS)
        world.clock.advance(WORKER_LOST_MS + 1)
        world.start(process, lease_ms=WORKER_LOST_MS, celery_retries=1)

        assert world.check().timed_out == 0
        world.clock.advance(WORKER_LOST_MS - 1)
        if is_renewed:
            world.store.renew([LeaseKey(process.id, "step", 1)], until_ms=world.clock.now_ms() + WORKER_LOST_MS)
        assert world.check().timed_out == 0

        world.clock.advance(2)

        assert world.check().retried == (not is_renewed)
        world.clock.advance(WORKER_LOST_MS // 2)
        assert world.check().timed_out == 0
        world.clock.advance(WORKER_LOST_MS // 2)
        assert world.check().retried == is_renewed


class TestProcessDeadline:
    def test_an_overdue_process_is_marked_once_and_told_to_the_sinks(self, world: World) -> None:
        process = world.process(deadline_ms=1_000)
        world.clock.advance(1_000)

        assert [world.check().alerted for _ in range(3)] == [1, 0, 0]
        assert world.store.load(process.id).is_overdue
        assert world.sink.kinds == [EventKind.PROCESS_OVERDUE]
        assert world.told == []

    def test_a_finished_process_is_not_overdue_and_not_looked_at_again(self, world: World) -> None:
        process = world.process(deadline_ms=1_000)
        world.processes.complete_step(process, "step")
        world.clock.advance(1_001)

        assert world.check().alerted == 0

        assert not world.store.load(process.id).is_overdue
        assert world.store.due(now_ms=world.clock.now_ms(), limit=10) == []

    def test_finished_processes_do_not_keep_late_steps_from_being_found(self) -> None:
        world = World(batch_size=2)
        for name in "123":
            finished = world.process(aggregate_id=name, deadline_ms=1_000)
            world.processes.complete_step(finished, "step")
        world.clock.advance(500)
        world.run(world.process(aggregate_id="4"))
        world.clock.advance(1_001)

        reports = [world.check() for _ in range(2)]

        assert sum(report.retried for report in reports) == 1

    def test_a_process_deleted_meanwhile_stops_no_other_step(self) -> None:
        class Forgetful(MemoryStore):
            def load(self, process_id: str) -> Process:
                raise errors.ProcessNotFound(process_id=process_id)

        world = World(Forgetful)
        world.process(deadline_ms=1_000, aggregate_id="1")
        world.run(world.process(aggregate_id="2"))
        world.clock.advance(1_000)

        assert world.check().retried == 1


class TestDamage:
    def test_a_damaged_record_is_put_aside_and_the_others_go_on(self) -> None:
        class Damaged(MemoryStore):
            damaged = ""

            def load_steps(self, keys: Any) -> Any:
                records = super().load_steps(keys)
                broken = errors.CorruptRecord(key="step", problem="not ours")
                return [
                    broken if key.process_id == self.damaged else record
                    for key, record in zip(keys, records, strict=True)
                ]

        world = World(Damaged)
        processes = [world.process(aggregate_id=name) for name in "12"]
        for process in processes:
            world.run(process)
        world.store.damaged = processes[0].id  # type: ignore[attr-defined]
        world.clock.advance(1_000)

        reports = [world.check() for _ in range(3)]

        assert [(report.retried, report.failed) for report in reports] == [(1, 1), (0, 0), (0, 0)]
        world.clock.advance(QUARANTINE_MS)
        assert world.check().failed == 1

    def test_an_index_entry_that_leads_nowhere_is_removed(self) -> None:
        stray = Due(StepKey("0-" + "0" * 32, "step"), 1)
        discarded: list[tuple[Due, int | None]] = []

        class Straying(MemoryStore):
            def due(self, **_: Any) -> list[Due]:
                return [stray]

            def discard(self, due: Any, *, until_ms: int | None) -> None:
                discarded.extend((item, until_ms) for item in due)

        assert World(Straying).check().failed == 0
        assert discarded == [(stray, None)]

    def test_a_store_that_is_down_is_an_error_and_what_was_due_stays_due(self) -> None:
        class Flaky(MemoryStore):
            is_down = False

            def commit(self, changes: Any) -> Any:
                if self.is_down:
                    return [errors.StoreUnavailable("no answer") for _ in changes]
                return super().commit(changes)

        world = World(Flaky)
        world.run(world.process())
        world.clock.advance(1_000)

        world.store.is_down = True  # type: ignore[attr-defined]
        with pytest.raises(errors.StoreUnavailable):
            world.check()
        world.store.is_down = False  # type: ignore[attr-defined]

        assert world.check().retried == 1


class TestBounds:
    def test_a_pass_goes_on_until_nothing_is_due(self) -> None:
        world = World(batch_size=3)
        for number in range(10):
            world.run(world.process(aggregate_id=str(number)))
        world.clock.advance(1_000)

        assert world.check().retried == 10

    @pytest.mark.fault("C4")
    def test_a_pass_ends_when_its_time_is_used_up(self) -> None:
        world = World(batch_size=3, budget_ms=100)
        for number in range(10):
            world.run(world.process(aggregate_id=str(number)), message=None)
        world.clock.advance(1_000)
        checker = world.new_checker(lambda event: world.clock.advance(60), batch_size=3, budget_ms=100)

        reports = [checker.check_for_timed_out_steps().retried for _ in range(4)]

        assert reports[0] == 3
        assert sum(reports[:4]) >= 10


def test_the_process_of_a_late_step_goes_on_meanwhile(world: World) -> None:
    process = world.process(TIMED, ProcessStep("other"))
    world.run(process)
    world.clock.advance(1_000)
    world.check()

    world.processes.complete_step(process.id, "step")
    world.processes.complete_step(process.id, "other")

    assert world.store.load(process.id).state is ProcessState.COMPLETED
    assert world.store.due(now_ms=world.clock.now_ms() + 10**9, limit=10) == []
