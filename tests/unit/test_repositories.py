"""What a pair of repositories looks like after a crash between two writes, and what one of them alone can do."""

from collections.abc import Sequence

import pytest

from trellis_celery import errors
from trellis_celery.domain.events import Event, ProcessStepTimedOut
from trellis_celery.domain.process import OWN_RECORD, Process, ProcessState
from trellis_celery.domain.queries import ProcessFilter
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.ports import LastCheck, StepKey
from trellis_celery.repositories import RepositoryStore
from trellis_celery.repositories.copies import GRACE_MS, QUARANTINE_MS
from trellis_celery.services.processes import ProcessService
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.stores.memory import InMemoryProcessRepository, InMemoryStepTrackerRepository
from trellis_celery.testing import ManualClock
from trellis_celery.testing.contract import pair_scenes as scenes
from trellis_celery.testing.contract.pair_scenes import Wire

TIMED = ProcessStep("timed", timeout_ms=1_000)
EXTERNAL = ProcessStep("approve", timeout_ms=1_000, external=True)


class Crash(Exception):
    pass


class FragileProcesses(InMemoryProcessRepository):
    crashes = False
    damaged = ""

    def save(self, process: Process, events: Sequence[Event] = ()) -> None:
        if self.crashes:
            raise Crash
        super().save(process, events)

    def get_by_id(self, process_id: str) -> Process | None:
        if process_id == self.damaged:
            raise errors.CorruptRecord(key=process_id, problem="damaged")
        return super().get_by_id(process_id)


class Pair:
    def __init__(self, process_repository: type[FragileProcesses] = FragileProcesses) -> None:
        self.clock = ManualClock()
        self.processes = process_repository(clock=self.clock)
        self.trackers = InMemoryStepTrackerRepository(clock=self.clock)
        self.store = RepositoryStore(self.processes, self.trackers)
        self.scene = scenes.Pair(self.processes, self.trackers)
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
        assert [each.id for each in pair.store.list_processes(ProcessFilter(state=ProcessState.COMPLETED))] == [
            first.id
        ]


class TestBetweenTwoCalls:
    """What others do in between; `interrupted`, `Wire` and the rest are those of the contract."""

    def test_a_process_is_never_seen_older_than_it_was_seen_before(self, pair: Pair) -> None:
        for call in (1, 2):
            process = scenes.finished_unnoticed(pair.scene)

            loaded = pair.scene.store(Wire(before_call={call: pair.scene.check})).load(process.id)

            assert loaded.is_completed()

    def test_a_finished_process_does_not_keep_others_from_starting_while_its_end_is_noticed(self, pair: Pair) -> None:
        scene = pair.scene
        for call in range(1, scenes.counted(scene, scenes.successor_of_unnoticed, scenes.create).calls + 1):
            successor = scenes.successor_of_unnoticed(scene)

            assert scene.store(Wire(before_call={call: scene.check})).create(successor) == successor.id

    def test_a_process_deleted_while_it_is_created_leaves_no_tracker_behind(self, pair: Pair) -> None:
        process = scenes.not_stored(pair.scene)
        wire = Wire(before_call={2: lambda: pair.store.delete(process.id)})
        with scenes.interrupted(pair.scene, 2, scenes.after, wire) as store:
            store.create(process)
        assert [tracker.step_name for tracker in pair.trackers.all_of(process.id)] == ["step"]

        pair.scene.check()

        assert pair.trackers.all_of(process.id) == []

    def test_a_process_changed_since_is_not_purged_though_nobody_noticed(self, pair: Pair) -> None:
        process = scenes.archived(pair.scene)
        (finished,) = pair.store.finished(is_archived=True, limit=10)
        with scenes.interrupted(pair.scene, 1, scenes.after) as store:
            scenes.late(store, process)

        assert not pair.store.delete(process.id, finished_since_ms=finished.since_ms)

        assert pair.store.finished(is_archived=True, limit=10) == []
        assert [each.process_id for each in pair.store.finished(is_archived=False, limit=10)] == [process.id]

    def test_a_process_that_cannot_be_read_does_not_keep_others_from_being_noticed(self, pair: Pair) -> None:
        damaged, process = (scenes.finished_unnoticed(pair.scene) for _ in range(2))
        pair.clock.advance(GRACE_MS)
        pair.processes.damaged = damaged.id

        assert [each.process_id for each in pair.store.finished(is_archived=False, limit=10)] == [process.id]

        pair.processes.damaged = ""
        assert pair.store.count_finished(is_archived=False) == 1
        pair.clock.advance(QUARANTINE_MS)
        assert pair.store.count_finished(is_archived=False) == 2


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

    def test_what_a_checker_without_processes_did_is_in_the_next_list(self, pair: Pair) -> None:
        process = pair.start()
        pair.service.start_step(process, "timed")
        pair.clock.advance(1_000)
        TimeoutCheckerService(pair.trackers).check_for_timed_out_steps()

        (listed,) = pair.store.list_processes()

        assert listed.state is ProcessState.FAILED

    def test_a_step_of_others_times_out_though_nobody_changed_it(self, pair: Pair) -> None:
        process = pair.start(EXTERNAL)
        pair.clock.advance(1_000)

        report = TimeoutCheckerService(pair.trackers).check_for_timed_out_steps()

        assert report.gave_up == 1
        assert pair.service.get_process(process.id).has_failed()

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
        assert [event.step_name for event in service.history(process)] == ["", "timed", ""]

    def test_steps_have_no_clocks(self, pair: Pair) -> None:
        service = ProcessService(pair.processes)
        process = service.start_process(**_key_of("2"), steps=[EXTERNAL], deadline_ms=5_000)

        due = service.store.due(now_ms=pair.clock.now_ms() + 10_000, limit=10)

        assert [item.key for item in due] == [StepKey(process.id, OWN_RECORD)]

    def test_a_process_is_deleted(self, pair: Pair) -> None:
        store = RepositoryStore(pair.processes, None)
        process = pair.start()

        assert not store.delete(process.id, finished_since_ms=1)
        assert [store.delete(process.id), store.delete(process.id)] == [True, False]

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
        assert pair.processes.delete(process.id, version=0)
        process.version = 1

        with pytest.raises(errors.StaleWrite):
            pair.processes.save(process)

    def test_a_deleted_tracker_is_not_saved(self, pair: Pair) -> None:
        process = pair.start()
        tracker = pair.service.start_step(process, "timed")
        assert tracker is not None
        pair.trackers.delete(process.id)

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


def _key_of(aggregate_id: str) -> dict[str, str]:
    return {"tenant_id": "t", "process_type": "Type", "aggregate_type": "Aggregate", "aggregate_id": aggregate_id}


def _key(process: Process) -> dict[str, str]:
    return {
        "tenant_id": process.tenant_id,
        "process_type": process.process_type,
        "aggregate_type": process.aggregate_type,
        "aggregate_id": process.aggregate_id,
    }
