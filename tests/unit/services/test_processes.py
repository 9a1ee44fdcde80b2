from typing import Any

import pytest

from trellis_celery import errors
from trellis_celery.domain import runs
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.queries import ProcessFilter
from trellis_celery.domain.step import DeadlineKind, ProcessStep, StepState
from trellis_celery.ports import StepKey
from trellis_celery.services.processes import ProcessService
from trellis_celery.services.recorder import Recorder
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock, RecordingSink

KEY = {"tenant_id": "tenant", "process_type": "Type", "aggregate_type": "Aggregate", "aggregate_id": "1"}
UNKNOWN_ID = "0-" + "0" * 32


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def service(clock: ManualClock, sink: RecordingSink) -> ProcessService:
    return ProcessService(MemoryStore(clock=clock), sinks=[sink])


def start(service: ProcessService, *steps: ProcessStep, **fields: Any) -> Process:
    return service.start_process(**{**KEY, "steps": steps or [ProcessStep("a"), ProcessStep("b")], **fields})


class TestStart:
    def test_a_process_starts_by_the_clock_of_the_store(self, service: ProcessService, clock: ManualClock) -> None:
        process = start(service, metadata={"ward": 7}, deadline_ms=1_000)

        assert service.get_process(process.id) == process
        assert process.started_at_ms == clock.now_ms()
        assert process.own.deadline_ms == clock.now_ms() + 1_000
        assert process.metadata == {"ward": 7}

    def test_starting_a_live_process_again_returns_it_as_it_is_now(self, service: ProcessService) -> None:
        first = start(service)
        service.complete_step(first, "a")

        second = start(service)

        assert second == service.get_process(first.id)

    def test_starting_a_live_process_again_is_an_error_if_asked_for(self, service: ProcessService) -> None:
        first = start(service)

        with pytest.raises(errors.ProcessExists) as raised:
            start(service, if_exists="raise")

        assert raised.value.process_id == first.id
        assert len(service.list_processes()) == 1

    def test_a_finished_process_makes_room_for_another(self, service: ProcessService) -> None:
        first = start(service)
        service.cancel(first.id)

        second = start(service, if_exists="raise")

        assert second.id != first.id

    def test_a_business_key_that_outlived_its_process_is_taken_over(self, clock: ManualClock) -> None:
        class Forgetful(MemoryStore):
            forgotten = ""

            def load(self, process_id: str) -> Process:
                if process_id == self.forgotten:
                    raise errors.ProcessNotFound(process_id=process_id)
                return super().load(process_id)

        store = Forgetful(clock=clock)
        service = ProcessService(store)
        store.forgotten = start(service).id

        process = start(service)

        assert service.get_process(process.id) == process
        assert service.find_process(**KEY) == process

    def test_of_two_that_take_over_a_business_key_at_once_both_get_the_one_that_won(self, clock: ManualClock) -> None:
        class Racing(MemoryStore):
            gone = ""
            rival: Process | None = None

            def load(self, process_id: str) -> Process:
                if process_id != self.gone:
                    return super().load(process_id)
                self.rival = Process.start(**KEY, steps=[ProcessStep("a")])
                super().create(self.rival, replaces=process_id)
                raise errors.ProcessNotFound(process_id=process_id)

        store = Racing(clock=clock)
        service = ProcessService(store)
        store.gone = start(service).id

        process = start(service)

        assert store.rival is not None
        assert process.id == store.rival.id


class TestFind:
    def test_a_live_process_is_found_by_its_business_key(self, service: ProcessService) -> None:
        process = start(service)

        assert service.find_process(**KEY) == process
        assert service.find_process(**KEY | {"tenant_id": "other"}) is None

    @pytest.mark.parametrize("process_id", [UNKNOWN_ID, "", "../etc", None])
    def test_an_unknown_process_is_not_found(self, service: ProcessService, process_id: Any) -> None:
        for act in (service.get_process, service.cancel):
            with pytest.raises(errors.ProcessNotFound):
                act(process_id)

    @pytest.mark.fault("A6")
    def test_a_step_of_an_unknown_process_is_not_found(self, service: ProcessService) -> None:
        with pytest.raises(LookupError):
            service.complete_step(UNKNOWN_ID, "a")

    def test_processes_are_listed_by_state(self, service: ProcessService) -> None:
        failed = start(service)
        service.fail_step(failed, "a", "broken")
        start(service)

        assert [process.id for process in service.list_processes(ProcessFilter(state=ProcessState.FAILED))] == [
            failed.id
        ]
        assert len(service.list_processes(limit=1)) == 1


class TestSteps:
    def test_a_process_in_hand_is_brought_up_to_date(self, service: ProcessService) -> None:
        process = start(service)
        elsewhere = service.get_process(process.id)
        service.start_step(elsewhere, "a")

        service.complete_step(process, "a")

        assert process.step("a") == service.get_process(process.id).step("a")
        assert process.step("a").started_at_ms is not None

    def test_steps_are_moved_by_the_id_of_the_process_too(self, service: ProcessService) -> None:
        process = start(service, ProcessStep("a", timeout_ms=1_000))

        tracker = service.start_step(process.id, "a")
        service.complete_step(process.id, "a", by="webhook")

        assert tracker is not None
        assert tracker.process_id == process.id
        assert service.get_process(process.id).is_completed()
        assert [event.by for event in service.history(process.id)] == ["", "", "webhook", ""]

    @pytest.mark.fault("A6")
    def test_a_step_that_does_not_exist_is_not_found(self, service: ProcessService) -> None:
        process = start(service)

        for target in (process, process.id):
            with pytest.raises(errors.StepNotFound):
                service.complete_step(target, "typo")

    def test_a_step_that_failed_elsewhere_cannot_be_completed(self, service: ProcessService) -> None:
        process = start(service)
        service.fail_step(process.id, "a", "broken")

        with pytest.raises(errors.InvalidTransition):
            service.complete_step(process, "a")

    @pytest.mark.parametrize("is_older_picture", [False, True])
    def test_a_failed_step_is_completed_if_it_was_done_in_another_way(
        self, service: ProcessService, sink: RecordingSink, is_older_picture: bool
    ) -> None:
        process = start(service)
        Recorder(service.store).apply(
            StepKey(process.id, "a"),
            lambda step, *, now_ms: runs.queue(step, task_id="task", args_digest="", now_ms=now_ms),
            message=b"message",
        )
        older = service.get_process(process.id)
        service.complete_step(process, "b")
        service.fail_step(process, "a", "broken")

        for _ in range(2):
            service.complete_step(older if is_older_picture else process, "a", by="ann", reopen=True)

        assert service.get_process(process.id).is_completed()
        assert service.store.load_messages([StepKey(process.id, "a")]) == [None]
        assert sink.kinds[-4:] == [
            EventKind.PROCESS_FAILED,
            EventKind.STEP_REOPENED,
            EventKind.STEP_COMPLETED,
            EventKind.PROCESS_COMPLETED,
        ]
        assert [event.by for event in service.history(process)[-3:]] == ["ann", "ann", ""]
        assert service.find_process(**KEY) is None

    def test_an_incident_ends_with_the_completion_of_its_step(
        self, service: ProcessService, clock: ManualClock
    ) -> None:
        process = start(service, ProcessStep("a", timeout_ms=1_000, external=True))
        clock.advance(1_000)
        TimeoutCheckerService(service.store).check_for_timed_out_steps()
        assert len(service.incidents()) == 1

        service.complete_step(process, "a", reopen=True)

        assert (service.incidents(), service.get_process(process.id).is_completed()) == ([], True)

    @pytest.mark.parametrize("picture", [False, True], ids=["id", "process"])
    def test_the_record_of_the_process_itself_is_no_step(self, service: ProcessService, picture: bool) -> None:
        process = start(service)

        for act in (
            lambda which: service.complete_step(which, ""),
            lambda which: service.fail_step(which, "", "broken"),
            lambda which: service.start_step(which, ""),
        ):
            with pytest.raises(errors.StepNotFound):
                act(process if picture else process.id)

    @pytest.mark.parametrize("reopen", [False, True])
    def test_a_cancelled_step_is_not_completed(self, service: ProcessService, reopen: bool) -> None:
        process = start(service)
        service.cancel(process)

        with pytest.raises(errors.InvalidTransition, match=r"is cancelled and cannot be completed$"):
            service.complete_step(process, "a", reopen=reopen)

    def test_what_an_older_picture_shows_as_done_is_done_if_it_is_not(self, service: ProcessService) -> None:
        process = start(service)
        service.fail_step(process, "a", "broken")
        older = service.get_process(process.id)
        service.retry_step(process, "a")

        service.fail_step(older, "a", "broken again")

        assert service.get_process(process.id).step("a").last_error == "broken again"
        assert older.step("a").last_error == "broken again"

    def test_an_incident_is_closed_that_came_after_the_picture(
        self, service: ProcessService, clock: ManualClock
    ) -> None:
        process = start(service, ProcessStep("a", timeout_ms=1_000))
        service.start_step(process, "a")
        clock.advance(1_000)
        TimeoutCheckerService(service.store).check_for_timed_out_steps()

        service.close_incident(process, "a", by="ann")

        assert (process.step("a").state, process.has_incident) == (StepState.FAILED, False)
        with pytest.raises(errors.InvalidTransition, match="no open incident"):
            service.close_incident(process, "a")

    def test_the_end_of_a_process_is_told_once(self, service: ProcessService, sink: RecordingSink) -> None:
        process = start(service)

        for _ in range(2):
            service.complete_step(process, "a")
            service.complete_step(process, "b")

        assert sink.kinds.count(EventKind.PROCESS_COMPLETED) == 1


class TestCancel:
    def test_what_is_not_finished_is_cancelled(self, service: ProcessService) -> None:
        process = start(service)
        service.complete_step(process, "a")

        service.cancel(process, reason="withdrawn")

        steps = service.get_process(process.id).steps
        assert [step.state for step in steps.values()] == [StepState.COMPLETED, StepState.CANCELLED]
        assert steps["b"].last_error == "withdrawn"
        assert service.get_process(process.id).state is ProcessState.CANCELLED

    def test_a_process_in_hand_shows_its_cancellation(self, service: ProcessService) -> None:
        process = start(service)

        service.cancel(process)

        assert process.state is ProcessState.CANCELLED

    def test_a_step_that_was_opened_again_since_the_picture_is_cancelled_as_well(self, service: ProcessService) -> None:
        process = start(service)
        service.fail_step(process, "a", "broken")
        service.retry_step(process.id, "a")

        service.cancel(process)

        assert service.get_process(process.id).state is ProcessState.CANCELLED
        assert process.state is ProcessState.CANCELLED

    def test_cancelling_again_changes_nothing(self, service: ProcessService) -> None:
        process = start(service)
        service.cancel(process)
        history = service.history(process)

        service.cancel(process)

        assert service.history(process) == history


class TestRetry:
    def test_a_failed_step_without_a_task_waits_for_whoever_starts_it(self, service: ProcessService) -> None:
        process = start(service)
        service.fail_step(process, "a", "broken")

        service.retry_step(process, "a", by="nurse")

        assert (process.step("a").state, process.step("a").deadline_ms) == (StepState.PENDING, None)
        service.complete_step(process, "a")
        service.complete_step(process, "b")
        assert service.get_process(process.id).is_completed()

    def test_a_failed_task_is_sent_by_the_next_check(self, service: ProcessService, clock: ManualClock) -> None:
        process = start(service)
        Recorder(service.store).apply(
            StepKey(process.id, "a"),
            lambda step, *, now_ms: runs.queue(step, task_id="task", args_digest="", now_ms=now_ms),
            message=b"message",
        )
        service.fail_step(process, "a", "broken")

        service.retry_step(process, "a")

        step = service.get_process(process.id).step("a")
        assert (step.attempt, step.deadline_ms, step.deadline_kind) == (2, clock.now_ms(), DeadlineKind.HANDOFF)

    @pytest.mark.parametrize(
        "act",
        [
            lambda service, process: service.retry_step(process, "a"),
            lambda service, process: service.complete_step(process, "a", reopen=True),
        ],
        ids=["retry", "complete"],
    )
    def test_a_failed_step_is_left_alone_beside_a_newer_process_of_the_same_key(
        self, service: ProcessService, act: Any
    ) -> None:
        failed = start(service)
        service.fail_step(failed, "a", "broken")
        newer = start(service)

        with pytest.raises(errors.ProcessExists) as raised:
            act(service, failed)

        assert raised.value.process_id == newer.id
        assert service.get_process(failed.id).state is ProcessState.FAILED
        assert service.find_process(**KEY) == newer

    def test_only_a_failed_step_can_be_retried(self, service: ProcessService) -> None:
        process = start(service)

        with pytest.raises(errors.InvalidTransition, match="only a failed step"):
            service.retry_step(process, "a")

    @pytest.mark.fault("A11")
    @pytest.mark.parametrize("text", [5, None, ValueError("no"), b"bytes"])
    def test_what_is_no_text_is_refused_and_nothing_is_written(self, service: ProcessService, text: Any) -> None:
        process = start(service)
        service.fail_step(process, "b", "broken")
        before = service.get_process(process.id)

        for act in (
            lambda: service.complete_step(process, "a", by=text),
            lambda: service.fail_step(process, "a", text),
            lambda: service.fail_step(process, "a", "broken", by=text),
            lambda: service.retry_step(process, "b", by=text),
            lambda: service.cancel(process, reason=text),
            lambda: service.cancel(process, by=text),
            lambda: service.close_incident(process, "b", by=text),
            lambda: service.close_incident(process, "b", note=text),
        ):
            with pytest.raises(errors.InvalidIdentifier, match="is not a string"):
                act()

        assert service.get_process(process.id) == before

    @pytest.mark.fault("A11")
    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ({"if_exists": "Raise"}, "if_exists must be 'return' or 'raise', not 'Raise'"),
            ({"metadata": "abc"}, "metadata must be a mapping of JSON values, not 'abc'"),
            ({"metadata": [("a", 1)]}, "metadata must be a mapping"),
        ],
    )
    def test_what_makes_no_sense_starts_no_process(
        self, service: ProcessService, given: dict[str, Any], problem: str
    ) -> None:
        with pytest.raises(errors.DefinitionError, match=problem):
            service.start_process(**KEY, steps=[ProcessStep("a")], **given)

        assert service.list_processes() == []

    @pytest.mark.parametrize("limit", ["x", -1, 1.5, True, 10**9])
    def test_a_limit_is_a_number_of_processes(self, service: ProcessService, limit: Any) -> None:
        for ask in (service.list_processes, service.incidents):
            with pytest.raises(errors.DefinitionError, match="limit must be"):
                ask(limit=limit)

    @pytest.mark.parametrize("process_id", ["", "../etc", None])
    def test_what_has_not_the_form_of_a_process_id_is_no_process(
        self, service: ProcessService, process_id: Any
    ) -> None:
        with pytest.raises(errors.ProcessNotFound):
            service.retry_step(process_id, "a")
