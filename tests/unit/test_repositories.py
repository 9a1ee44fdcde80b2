"""What a pair of repositories looks like after a crash between two writes, and what one of them alone can do."""

from collections.abc import Sequence

import pytest

from trellis_celery import errors
from trellis_celery.domain.events import Event, ProcessStepTimedOut
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.ports import LastCheck, StepKey
from trellis_celery.repositories import RepositoryStore
from trellis_celery.services.processes import ProcessService
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.stores.memory import InMemoryProcessRepository, InMemoryStepTrackerRepository
from trellis_celery.testing import ManualClock

TIMED = ProcessStep("timed", timeout_ms=1_000)
EXTERNAL = ProcessStep("approve", timeout_ms=1_000, external=True)


class Crash(Exception):
    pass


class FragileProcesses(InMemoryProcessRepository):
    crashes = False

    def save(self, process: Process, events: Sequence[Event] = ()) -> None:
        if self.crashes:
            raise Crash
        super().save(process, events)


class FragileTrackers(InMemoryStepTrackerRepository):
    crashes = False

    def add(self, tracker: StepTracker, events: Sequence[Event] = ()) -> None:
        if self.crashes:
            raise Crash
        super().add(tracker, events)

    def delete(self, process_id: str, step_name: str) -> None:
        if self.crashes:
            raise Crash
        super().delete(process_id, step_name)


class Pair:
    def __init__(self, process_repository: type[FragileProcesses] = FragileProcesses) -> None:
        self.clock = ManualClock()
        self.processes = process_repository(clock=self.clock)
        self.trackers = FragileTrackers(clock=self.clock)
        self.store = RepositoryStore(self.processes, self.trackers)
        self.service = ProcessService(self.processes, self.trackers)

    def start(self, *steps: ProcessStep, deadline_ms: int | None = None) -> Process:
        return self.service.start_process(
            tenant_id="tenant",
            process_type="Type",
            aggregate_type="Aggregate",
            aggregate_id="1",
            steps=steps or [TIMED],
            deadline_ms=deadline_ms,
        )

    def complete_and_crash(self, process: Process, step_name: str) -> None:
        """The tracker is written, the process is not."""
        self.processes.crashes = True
        with pytest.raises(Crash):
            self.service.complete_step(process.id, step_name)
        self.processes.crashes = False


@pytest.fixture
def pair() -> Pair:
    return Pair()


class TestCrashInAChange:
    def test_the_process_shows_what_its_tracker_has(self, pair: Pair) -> None:
        process = pair.start()
        pair.service.start_step(process, "timed")

        pair.complete_and_crash(process, "timed")

        assert pair.service.get_process(process.id).is_completed()
        assert pair.service.find_process(**_key(process)) is None

    def test_a_completed_step_does_not_time_out(self, pair: Pair) -> None:
        process = pair.start()
        pair.service.start_step(process, "timed")
        pair.complete_and_crash(process, "timed")
        pair.clock.advance(10_000)
        told: list[ProcessStepTimedOut] = []

        TimeoutCheckerService(pair.trackers, told.append).check_for_timed_out_steps()

        assert told == []

    def test_the_next_change_of_the_process_catches_up(self, pair: Pair) -> None:
        process = pair.start(TIMED, ProcessStep("other"))
        pair.complete_and_crash(process, "timed")

        pair.service.complete_step(process.id, "other")

        stored = pair.processes.get_by_id(process.id)
        assert stored is not None
        assert stored.is_completed()

    def test_the_next_start_with_the_business_key_catches_up(self, pair: Pair) -> None:
        first = pair.start()
        pair.complete_and_crash(first, "timed")

        second = pair.start()

        assert second.id != first.id
        assert pair.service.list_processes(state=ProcessState.COMPLETED) == [pair.service.get_process(first.id)]


class TestCrashInAStart:
    def test_starting_again_sets_the_clocks_that_were_not_set(self, pair: Pair) -> None:
        pair.trackers.crashes = True
        with pytest.raises(Crash):
            pair.start(EXTERNAL)
        pair.trackers.crashes = False

        process = pair.start(EXTERNAL)

        (due,) = pair.store.due(now_ms=pair.clock.now_ms() + 1_000, limit=10)
        assert due.key == StepKey(process.id, "approve")


class TestCrashInADelete:
    def test_what_is_left_does_not_bring_the_process_back_and_goes_when_it_is_touched(self, pair: Pair) -> None:
        process = pair.start()
        pair.service.start_step(process, "timed")
        pair.trackers.crashes = True
        with pytest.raises(Crash):
            pair.store.delete(process.id)
        pair.trackers.crashes = False
        pair.clock.advance(1_000)

        TimeoutCheckerService(pair.store).check_for_timed_out_steps()

        assert pair.trackers.all_of(process.id) == []
        with pytest.raises(errors.ProcessNotFound):
            pair.service.get_process(process.id)


class TestTrackersAlone:
    def test_a_checker_brings_a_late_step_to_its_end(self, pair: Pair) -> None:
        process = pair.start()
        pair.service.start_step(process, "timed")
        pair.clock.advance(1_000)
        told: list[ProcessStepTimedOut] = []

        report = TimeoutCheckerService(pair.trackers, told.append).check_for_timed_out_steps(by="cron")

        assert (report.gave_up, [event.process_id for event in told]) == (1, [process.id])
        assert pair.service.get_process(process.id).step("timed").state is StepState.FAILED
        assert pair.store.last_check() == LastCheck(pair.clock.now_ms(), "cron", pair.clock.now_ms() + 5_000)

    def test_what_needs_the_process_says_so(self, pair: Pair) -> None:
        with pytest.raises(errors.ConfigurationError, match="needs a process repository"):
            RepositoryStore(None, pair.trackers).load("0-" + "0" * 32)


class TestProcessesAlone:
    def test_steps_are_moved_and_remembered(self, pair: Pair) -> None:
        service = ProcessService(pair.processes)
        process = service.start_process(
            **_key(pair.start()), steps=[ProcessStep("a"), ProcessStep("b")], if_exists="return"
        )

        service.complete_step(process, "timed")

        assert service.get_process(process.id).is_completed()
        assert [event.step_name for event in service.history(process)] == ["", "timed"]

    def test_a_task_has_no_place_for_its_message(self, pair: Pair) -> None:
        from trellis_celery.testing.contract.builders import change, queue

        process = pair.start()
        store = RepositoryStore(pair.processes, None)

        (outcome,) = store.commit([change(process, queue(at_ms=1), "timed", message=b"message")])

        assert isinstance(outcome, errors.StoreError)
        assert store.load(process.id).step("timed") == process.step("timed")


class TestOptimism:
    def test_a_process_made_from_an_old_one_is_not_saved(self, pair: Pair) -> None:
        stored = pair.processes.get_by_id(pair.start().id)
        assert stored is not None

        with pytest.raises(errors.StaleWrite, match="load it and decide again"):
            pair.processes.save(stored)

    def test_a_deleted_process_is_not_saved(self, pair: Pair) -> None:
        process = pair.start()
        pair.processes.delete(process.id)
        process.version = 1

        with pytest.raises(errors.StaleWrite):
            pair.processes.save(process)

    def test_a_deleted_tracker_is_not_saved(self, pair: Pair) -> None:
        process = pair.start()
        tracker = pair.service.start_step(process, "timed")
        assert tracker is not None
        pair.trackers.delete(process.id, "timed")

        with pytest.raises(errors.StaleWrite):
            pair.trackers.save(tracker)

    def test_a_tracker_made_from_an_old_one_is_not_saved(self, pair: Pair) -> None:
        process = pair.start()
        tracker = pair.service.start_step(process, "timed")
        assert tracker is not None

        with pytest.raises(errors.StaleWrite, match="version 2 of step 'timed'"):
            pair.trackers.save(tracker)

    def test_a_process_that_others_save_meanwhile_gets_its_copies_all_the_same(self) -> None:
        class Busy(FragileProcesses):
            is_free = False

            def save(self, process: Process, events: Sequence[Event] = ()) -> None:
                if not self.is_free:
                    self.is_free = True
                    stored = self.get_by_id(process.id)
                    assert stored is not None
                    stored.version += 1
                    super().save(stored)
                super().save(process, events)

        pair = Pair(Busy)
        process = pair.start()

        pair.service.complete_step(process.id, "timed")

        stored = pair.processes.get_by_id(process.id)
        assert stored is not None
        assert (stored.is_completed(), stored.version) == (True, 2)

    def test_a_finished_process_is_not_late(self, pair: Pair) -> None:
        process = pair.start(deadline_ms=1_000)
        late_ms = pair.clock.now_ms() + 1_000
        assert [late.id for late in pair.processes.all_timed_out(now_ms=late_ms, limit=10)] == [process.id]

        pair.service.complete_step(process, "timed")

        assert pair.processes.all_timed_out(now_ms=late_ms, limit=10) == []

    def test_a_step_has_one_first_tracker(self, pair: Pair) -> None:
        process = pair.start()
        tracker = pair.service.start_step(process, "timed")
        assert tracker is not None

        with pytest.raises(errors.StaleWrite):
            pair.trackers.add(tracker)


def _key(process: Process) -> dict[str, str]:
    return {
        "tenant_id": process.tenant_id,
        "process_type": process.process_type,
        "aggregate_type": process.aggregate_type,
        "aggregate_id": process.aggregate_id,
    }
