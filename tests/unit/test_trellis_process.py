"""What the documentation of trellis-process shows works as written, with only the package's name changed.

After it, one test for each fault of trellis-process 0.4.1 that a user of it would meet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from trellis_celery import (
    InMemoryProcessRepository,
    InMemoryStepTrackerRepository,
    Process,
    ProcessService,
    ProcessStep,
    ProcessStepTimedOut,
    StepTracker,
    TimeoutCheckerService,
    errors,
)
from trellis_celery.testing import ManualClock

BASIC_PROCESS_TRACKING = """
from trellis_process import Process, ProcessStep, ProcessService
from trellis_process import InMemoryProcessRepository

repo = InMemoryProcessRepository()
service = ProcessService(repo)

# Create a process with steps
process = service.start_process(
    tenant_id="tenant-1",
    process_type="ReferralNotification",
    aggregate_type="Referral",
    aggregate_id="ref-123",
    steps=[
        ProcessStep(name="send_email"),
        ProcessStep(name="send_in_app"),
    ],
)

# Mark steps as completed
service.complete_step(process, "send_email")
service.complete_step(process, "send_in_app")

assert process.is_completed()
"""

WITH_TIMEOUT_AND_RETRY = """
from trellis_process import (
    Process, ProcessStep, ProcessService,
    TimeoutCheckerService, ProcessStepTimedOut,
    InMemoryProcessRepository, InMemoryStepTrackerRepository,
)

process_repo = InMemoryProcessRepository()
tracker_repo = InMemoryStepTrackerRepository()
service = ProcessService(process_repo, tracker_repo)

# Create process with timeout-enabled steps
process = service.start_process(
    tenant_id="tenant-1",
    process_type="CaseCreation",
    aggregate_type="Referral",
    aggregate_id="ref-123",
    steps=[
        ProcessStep(name="create_case", timeout_ms=30000, retries_permitted=3),
    ],
)

# Start the step (creates tracker)
service.start_step(process, "create_case")

# Set up timeout checker (run on a schedule)
def handle_timeout(event: ProcessStepTimedOut):
    if event.has_fully_timed_out():
        service.fail_step(process, event.step_name, "Max retries exceeded")
    else:
        # Retry the operation
        retry_create_case(process)

checker = TimeoutCheckerService(tracker_repo, handle_timeout)

# Run periodically (e.g., every 30 seconds)
checker.check_for_timed_out_steps()
"""


class TestQuickStart:
    def test_basic_process_tracking(self) -> None:
        names = run(BASIC_PROCESS_TRACKING)

        assert names["repo"].get_by_id(names["process"].id).is_completed()

    def test_with_timeout_and_retry(self) -> None:
        names = run(WITH_TIMEOUT_AND_RETRY)

        tracker = names["tracker_repo"].get(names["process"].id, "create_case")
        assert (tracker.timeout_ms, tracker.retries_permitted, tracker.retry_count) == (30_000, 3, 0)

    def test_the_handler_of_the_quick_start_retries_and_then_gives_up(self) -> None:
        names = run(WITH_TIMEOUT_AND_RETRY)
        service, process, clock = names["service"], names["process"], ManualClock(names["service"].store.now_ms())
        started: list[str] = []
        names["retry_create_case"] = lambda process: started.append(
            service.start_step(process, "create_case").step_name
        )
        names["tracker_repo"].now_ms = clock.now_ms

        for _ in range(4):
            clock.advance(30_000)
            names["checker"].check_for_timed_out_steps()

        assert len(started) == 3
        assert service.get_process(process.id).step("create_case").last_error == "Max retries exceeded"


def run(block: str) -> dict[str, Any]:
    """Run a block of the document; return what it defined."""
    names: dict[str, Any] = {}
    exec(block.replace("trellis_process", "trellis_celery"), names)
    return names


class TestReference:
    def test_process_step(self) -> None:
        step = ProcessStep(
            name="step_name",
            timeout_ms=30000,  # Optional: timeout per attempt (ms)
            retries_permitted=3,  # Optional: number of retries
        )

        assert (step.name, step.timeout_ms, step.retries_permitted) == ("step_name", 30000, 3)

    def test_process(self) -> None:
        process = Process.start(
            tenant_id="tenant-1",
            process_type="MyWorkflow",
            aggregate_type="MyAggregate",
            aggregate_id="id-123",
            steps=[ProcessStep(name="step_name", timeout_ms=30000), ProcessStep(name="other")],
        )

        assert isinstance(process.start_step("step_name"), StepTracker)
        assert process.start_step("other") is None
        process.complete_step("step_name")
        process.fail_step("other", "error message")
        assert not process.is_completed()
        assert process.has_failed()

    def test_process_service_with_and_without_trackers(self) -> None:
        for repositories in (
            (InMemoryProcessRepository(), InMemoryStepTrackerRepository()),
            (InMemoryProcessRepository(),),
        ):
            service = ProcessService(*repositories)
            process = service.start_process(
                tenant_id="tenant-1",
                process_type="MyWorkflow",
                aggregate_type="MyAggregate",
                aggregate_id="id-123",
                steps=[ProcessStep(name="step_name", timeout_ms=30000), ProcessStep(name="other")],
            )

            assert isinstance(service.start_step(process, "step_name"), StepTracker)
            service.complete_step(process, "step_name")
            service.fail_step(process, "other", "error")

            assert process.has_failed()
            assert service.get_process(process.id).has_failed()


class Bench:
    """The quick start's objects, with time that stands still."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.process_repo = InMemoryProcessRepository(clock=self.clock)
        self.tracker_repo = InMemoryStepTrackerRepository(clock=self.clock)
        self.service = ProcessService(self.process_repo, self.tracker_repo)
        self.events: list[ProcessStepTimedOut] = []

    def start(self, *steps: ProcessStep, **key: str) -> Process:
        business_key = {"tenant_id": "t", "process_type": "P", "aggregate_type": "A", "aggregate_id": "1"} | key
        return self.service.start_process(**business_key, steps=steps or [ProcessStep("a"), ProcessStep("b")])

    def check(self, handler: Callable[[ProcessStepTimedOut], None] | None = None, after_ms: int = 0) -> Any:
        self.clock.advance(after_ms)
        checker = TimeoutCheckerService(self.tracker_repo, handler or self.events.append)
        return checker.check_for_timed_out_steps()

    def stored(self, process: Process) -> Process:
        return self.service.get_process(process.id)


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestFaultsNotInherited:
    @pytest.mark.parametrize("permitted", [0, 1, 2, 3])
    def test_b1_as_many_retries_as_are_permitted(self, bench: Bench, permitted: int) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000, retries_permitted=permitted))
        bench.service.start_step(process, "a")

        for _ in range(6):
            bench.check(after_ms=1_000)

        retries = [event for event in bench.events if not event.has_fully_timed_out()]
        assert len(retries) == permitted
        assert len(bench.events) == permitted + 1
        assert bench.stored(process).has_failed()

    def test_b2_the_handler_retries_by_starting_the_step_again(self, bench: Bench) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000, retries_permitted=1))
        bench.service.start_step(process, "a")

        def handle_timeout(event: ProcessStepTimedOut) -> None:
            if event.has_fully_timed_out():
                bench.service.fail_step(process, event.step_name, "Max retries exceeded")
            else:
                bench.service.start_step(process, event.step_name)

        bench.check(handle_timeout, after_ms=1_000)
        assert bench.stored(process).step("a").attempt == 2

        bench.check(handle_timeout, after_ms=1_000)
        assert bench.stored(process).step("a").last_error == "Max retries exceeded"
        assert bench.check(handle_timeout, after_ms=1_000).timed_out == 0

    def test_b2_a_failed_step_is_tried_again_when_an_operator_asks(self, bench: Bench) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000))
        bench.service.start_step(process, "a")
        bench.service.fail_step(process, "a", "broken")

        bench.service.retry_step(process, "a")
        bench.service.start_step(process, "a")
        bench.service.complete_step(process, "a")

        assert bench.stored(process).is_completed()

    def test_b3_the_event_the_tracker_and_the_step_count_the_same_retries(self, bench: Bench) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000, retries_permitted=2))
        bench.service.start_step(process, "a")

        bench.check(after_ms=1_000)
        bench.check(after_ms=1_000)

        tracker = bench.tracker_repo.get(process.id, "a")
        assert tracker is not None
        assert tracker.retry_count == bench.stored(process).step("a").retry_count == 2
        assert [event.retry_count for event in bench.events] == [0, 1]

    def test_b4_a_checker_that_was_down_does_not_use_up_the_retries(self, bench: Bench) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000, retries_permitted=5))
        bench.service.start_step(process, "a")
        bench.clock.advance(10_000)

        for _ in range(5):
            bench.check()

        assert len(bench.events) == 1

    def test_b5_a_handler_that_raised_gets_its_event_again(self, bench: Bench) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000), ProcessStep("b", timeout_ms=1_000))
        for name in "ab":
            bench.service.start_step(process, name)

        def broken(event: ProcessStepTimedOut) -> None:
            raise RuntimeError("handler broken")

        assert bench.check(broken, after_ms=1_000).failed == 2
        bench.check(after_ms=60_000)

        assert {event.step_name for event in bench.events} == {"a", "b"}

    def test_b6_workers_that_finish_steps_at_once_lose_none(self, bench: Bench) -> None:
        names = [f"step-{number}" for number in range(20)]
        process = bench.start(*map(ProcessStep, names))

        def finish(own_names: list[str]) -> None:
            mine = bench.stored(process)
            for name in own_names:
                bench.service.complete_step(mine, name)

        threads = [threading.Thread(target=finish, args=(names[start::4],)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert bench.stored(process).is_completed()

    def test_b6_two_holders_of_one_process_do_not_undo_each_other(self, bench: Bench) -> None:
        process = bench.start()
        ours, theirs = bench.stored(process), bench.stored(process)

        bench.service.complete_step(ours, "a")
        bench.service.complete_step(theirs, "b")

        assert bench.stored(process).is_completed()

    def test_b7_a_step_completed_while_the_check_runs_stays_completed(self, bench: Bench) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000, retries_permitted=3))
        bench.service.start_step(process, "a")

        bench.check(lambda event: bench.service.complete_step(process.id, event.step_name), after_ms=1_000)

        assert bench.stored(process).is_completed()
        assert bench.check(after_ms=60_000).timed_out == 0

    def test_b8_no_tenant_finds_the_process_of_another(self, bench: Bench) -> None:
        process = bench.start(tenant_id="ours")

        found = bench.service.find_process(tenant_id="theirs", process_type="P", aggregate_type="A", aggregate_id="1")

        assert found is None
        assert bench.start(tenant_id="theirs").id != process.id

    def test_b9_starting_twice_makes_one_process(self, bench: Bench) -> None:
        assert bench.start().id == bench.start().id
        assert len(bench.service.list_processes()) == 1

    def test_b10_parts_of_a_key_do_not_run_together(self, bench: Bench) -> None:
        first = bench.start(process_type="A#B", aggregate_type="C")
        second = bench.start(process_type="A", aggregate_type="B#C")

        assert first.id != second.id

    def test_b12_a_started_step_is_never_without_its_tracker(self, bench: Bench) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000))

        class Full(InMemoryProcessRepository):
            def save(self, process: Process, events: Any = ()) -> None:
                raise errors.StoreUnavailable("disk full")

        full = Full(clock=bench.clock)
        full.add(process)
        with pytest.raises(errors.StoreUnavailable):
            ProcessService(full, bench.tracker_repo).start_step(process, "a")

        assert bench.check(after_ms=1_000).timed_out == 1

    def test_b13_saving_does_not_bring_back_what_was_deleted(self, bench: Bench) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000))
        bench.service.start_step(process, "a")
        bench.service.store.delete(process.id)

        with pytest.raises(errors.StepNotFound):
            bench.service.complete_step(process, "a")

        assert bench.service.list_processes() == []
        assert bench.tracker_repo.all_of(process.id) == []

    def test_b14_a_finished_step_is_not_started_and_a_completed_one_does_not_fail(self, bench: Bench) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000))
        bench.service.complete_step(process, "a")

        with pytest.raises(errors.InvalidTransition):
            bench.service.start_step(process, "a")
        with pytest.raises(errors.InvalidTransition):
            bench.service.fail_step(process, "a", "broken")

        assert bench.check(after_ms=60_000).timed_out == 0

    def test_b15_a_process_without_steps_is_refused(self, bench: Bench) -> None:
        with pytest.raises(errors.DefinitionError):
            bench.service.start_process(tenant_id="t", process_type="P", aggregate_type="A", aggregate_id="1", steps=[])

    def test_b16_two_steps_of_one_name_are_refused(self, bench: Bench) -> None:
        with pytest.raises(errors.DefinitionError):
            bench.start(ProcessStep("a"), ProcessStep("a"))

    @pytest.mark.parametrize("setting", [{"timeout_ms": -1}, {"timeout_ms": 0}, {"retries_permitted": -1}], ids=str)
    def test_b17_negative_settings_are_refused(self, setting: dict[str, int]) -> None:
        with pytest.raises(errors.DefinitionError):
            ProcessStep("a", **setting)  # type: ignore[arg-type]

    def test_b18_another_attempt_has_its_own_start_and_no_old_error(self, bench: Bench) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000))
        bench.service.start_step(process, "a")
        bench.service.fail_step(process, "a", "broken")
        bench.clock.advance(5_000)

        bench.service.retry_step(process, "a")
        bench.service.start_step(process, "a")

        step = bench.stored(process).step("a")
        assert (step.started_at_ms, step.last_error) == (bench.clock.now_ms(), None)

    def test_b19_the_checker_reports_what_timed_out(self, bench: Bench) -> None:
        process = bench.start(
            ProcessStep("a", timeout_ms=1_000, retries_permitted=1), ProcessStep("b", timeout_ms=5_000)
        )
        for name in "ab":
            bench.service.start_step(process, name)

        assert bench.check().timed_out == 0
        assert bench.check(after_ms=1_000).timed_out == len(bench.events) == 1

    def test_b20_what_does_not_exist_is_not_found(self, bench: Bench) -> None:
        process = bench.start()

        with pytest.raises(errors.StepNotFound):
            bench.service.complete_step(process, "typo")
        with pytest.raises(errors.ProcessNotFound):
            bench.service.get_process("no such process")

    @pytest.mark.parametrize("finish", ["complete_step", "fail_step", "cancel"])
    def test_b21_a_finished_step_has_no_clock(self, bench: Bench, finish: str) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000))
        bench.service.start_step(process, "a")
        act = {
            "complete_step": lambda: bench.service.complete_step(process.id, "a"),
            "fail_step": lambda: bench.service.fail_step(process.id, "a", "broken"),
            "cancel": lambda: bench.service.cancel(process.id),
        }

        act[finish]()

        assert bench.check(after_ms=60_000).timed_out == 0
        assert bench.tracker_repo.all_timed_out(now_ms=bench.clock.now_ms(), limit=10) == []

    def test_b22_a_step_that_has_fully_timed_out_fails_by_itself(self, bench: Bench) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000))
        bench.service.start_step(process, "a")

        bench.check(after_ms=1_000)

        assert bench.stored(process).has_failed()

    def test_b25_two_checkers_tell_one_timeout_once(self, bench: Bench) -> None:
        process = bench.start(ProcessStep("a", timeout_ms=1_000, retries_permitted=1))
        bench.service.start_step(process, "a")
        bench.clock.advance(1_000)
        barrier = threading.Barrier(4)

        def check() -> None:
            barrier.wait()
            bench.check()

        threads = [threading.Thread(target=check) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(bench.events) == 1

    def test_b26_a_check_does_not_look_at_what_is_not_due(self, bench: Bench) -> None:
        looked_at: list[StepTracker] = []

        class Watched(InMemoryStepTrackerRepository):
            def all_timed_out(self, *, now_ms: int, limit: int) -> list[StepTracker]:
                late = super().all_timed_out(now_ms=now_ms, limit=limit)
                looked_at.extend(late)
                return late

        bench.tracker_repo = Watched(clock=bench.clock)
        bench.service = ProcessService(bench.process_repo, bench.tracker_repo)
        for number in range(100):
            process = bench.start(ProcessStep("a", timeout_ms=60_000), aggregate_id=str(number))
            bench.service.start_step(process, "a")

        bench.check(after_ms=1_000)

        assert looked_at == []

    def test_d2_numbers_in_the_metadata_stay_what_they_are(self, bench: Bench) -> None:
        process = bench.service.start_process(
            tenant_id="t",
            process_type="P",
            aggregate_type="A",
            aggregate_id="1",
            steps=[ProcessStep("a", timeout_ms=1_000)],
            metadata={"score": 0.5, "count": 2},
        )

        assert bench.stored(process).metadata == {"score": 0.5, "count": 2}
