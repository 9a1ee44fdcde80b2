import time
from itertools import combinations_with_replacement
from typing import Any

import pytest

from trellis_celery import errors
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import (
    MAX_STEPS,
    OWN_RECORD,
    Process,
    ProcessState,
    mark_overdue,
    process_event,
    state_of,
)
from trellis_celery.domain.step import DeadlineKind, ProcessStep, StepState
from trellis_celery.domain.tracker import StepTracker


def start(*steps: ProcessStep, **fields: Any) -> Process:
    return Process.start(
        tenant_id="tenant",
        process_type="Type",
        aggregate_type="Aggregate",
        aggregate_id="1",
        steps=steps or (ProcessStep("a"), ProcessStep("b")),
        **{"now_ms": 1_000, **fields},
    )


class TestState:
    @pytest.mark.parametrize(
        ("states", "expected"),
        [
            ("pending pending", "pending"),
            ("pending in_progress", "in_progress"),
            ("pending completed", "in_progress"),
            ("pending cancelled", "in_progress"),
            ("in_progress completed", "in_progress"),
            ("completed completed", "completed"),
            ("completed cancelled", "cancelled"),
            ("cancelled cancelled", "cancelled"),
            ("failed completed", "failed"),
            ("failed pending", "failed"),
            ("failed cancelled", "failed"),
        ],
    )
    def test_the_state_of_a_process_follows_from_those_of_its_steps(self, states: str, expected: str) -> None:
        assert state_of(map(StepState, states.split())) is ProcessState(expected)

    def test_it_does_not_matter_how_many_steps_are_in_a_state_or_in_which_order(self) -> None:
        for states in combinations_with_replacement(StepState, 4):
            assert state_of(states) is state_of(set(states)) is state_of(reversed(states))

    def test_the_end_of_a_process_is_told_once(self) -> None:
        event = process_event(ProcessState.IN_PROGRESS, ProcessState.COMPLETED, 5)

        assert event is not None
        assert (event.kind, event.step_name) == (EventKind.PROCESS_COMPLETED, OWN_RECORD)
        assert process_event(ProcessState.COMPLETED, ProcessState.COMPLETED, 5) is None
        assert process_event(ProcessState.PENDING, ProcessState.IN_PROGRESS, 5) is None


class TestStart:
    def test_all_steps_are_pending_and_nothing_runs(self) -> None:
        process = start()

        assert process.state is ProcessState.PENDING
        assert process.required_steps == ["a", "b"]
        assert {step.deadline_ms for step in process.steps.values()} == {None}

    def test_the_time_of_an_external_step_runs_from_the_start(self) -> None:
        process = start(ProcessStep("approve", timeout_ms=500, external=True))

        assert process.step("approve").deadline_ms == 1_500
        assert process.step("approve").deadline_kind is DeadlineKind.RUN

    def test_a_process_with_a_deadline_becomes_overdue(self) -> None:
        process = start(deadline_ms=500)

        assert (process.own.deadline_ms, process.own.deadline_kind) == (1_500, DeadlineKind.RUN)
        assert not process.is_overdue

        transition = mark_overdue(process.own, now_ms=1_500)
        process.own = transition.after

        assert process.is_overdue
        assert process.own.deadline_ms is None
        assert [event.kind for event in transition.events] == [EventKind.PROCESS_OVERDUE]

    def test_a_process_without_a_deadline_has_no_clock(self) -> None:
        assert (start().own.deadline_ms, start().own.deadline_kind) == (None, None)

    def test_it_goes_by_the_clock_of_the_machine_unless_it_is_told_the_time(self) -> None:
        before_ms = int(time.time() * 1000)
        process = start(ProcessStep("a", timeout_ms=500), now_ms=None)
        tracker = process.start_step("a")
        after_ms = int(time.time() * 1000)

        assert tracker is not None
        assert before_ms <= process.started_at_ms <= after_ms
        assert before_ms + 500 <= (tracker.deadline_ms or 0) <= after_ms + 500

    def test_its_next_deadline_is_its_own_until_it_is_finished(self) -> None:
        process = start(ProcessStep("a", timeout_ms=800, external=True), deadline_ms=500)
        assert process.next_deadline_ms == 1_500

        process.complete_step("a", now_ms=1_100)

        assert process.next_deadline_ms is None

    @pytest.mark.parametrize(
        "used", [ProcessStep("a", version=1), ProcessStep("a", state=StepState.COMPLETED)], ids=["stored", "moved"]
    )
    def test_a_step_that_has_been_in_a_process_is_refused(self, used: ProcessStep) -> None:
        with pytest.raises(errors.DefinitionError, match="has been in a process already"):
            start(used)

    def test_a_process_without_steps_is_refused(self) -> None:
        with pytest.raises(errors.DefinitionError, match="has no steps"):
            Process.start(tenant_id="t", process_type="T", aggregate_type="A", aggregate_id="1", steps=[])

    def test_two_steps_of_one_name_are_refused(self) -> None:
        with pytest.raises(errors.DefinitionError, match="more than one step named a"):
            start(ProcessStep("a"), ProcessStep("b"), ProcessStep("a"))

    @pytest.mark.fault("A8", "X10")
    def test_more_steps_than_a_store_can_take_at_once_are_refused(self) -> None:
        with pytest.raises(errors.DefinitionError, match="the most is"):
            start(*(ProcessStep(f"step {number}") for number in range(MAX_STEPS + 1)))

    @pytest.mark.parametrize("field", ["tenant_id", "process_type", "aggregate_type", "aggregate_id"])
    def test_an_empty_part_of_the_business_key_is_refused(self, field: str) -> None:
        parts = {"tenant_id": "t", "process_type": "T", "aggregate_type": "A", "aggregate_id": "1"}

        with pytest.raises(errors.InvalidIdentifier, match=f"{field} '' is empty"):
            Process.start(**parts | {field: ""}, steps=[ProcessStep("a")])

    @pytest.mark.fault("A11")
    @pytest.mark.parametrize("deadline_ms", [0, -1, 1.5, True])
    def test_a_deadline_that_makes_no_sense_is_refused(self, deadline_ms: Any) -> None:
        with pytest.raises(errors.DefinitionError, match="deadline_ms"):
            start(deadline_ms=deadline_ms)


class TestSteps:
    def test_a_started_step_with_a_timeout_has_a_tracker(self) -> None:
        process = start(ProcessStep("a", timeout_ms=500, retries_permitted=2))

        tracker = process.start_step("a", now_ms=2_000)

        assert tracker == StepTracker(process.id, process.step("a"))
        assert (tracker.step_name, tracker.timeout_ms, tracker.retries_permitted) == ("a", 500, 2)
        assert (tracker.retry_count, tracker.deadline_ms) == (0, 2_500)
        assert not tracker.has_timed_out(2_499)
        assert tracker.has_timed_out(2_500)
        assert not tracker.is_completed()

    def test_a_started_step_without_a_timeout_has_no_tracker(self) -> None:
        process = start()

        assert process.start_step("a") is None
        assert process.state is ProcessState.IN_PROGRESS

    def test_a_process_is_completed_when_all_its_steps_are(self) -> None:
        process = start()

        process.complete_step("a")
        assert not process.is_completed()

        process.complete_step("b")
        assert process.is_completed()

    def test_a_process_has_failed_when_one_step_has(self) -> None:
        process = start()

        process.fail_step("a", "broken")

        assert process.has_failed()
        assert process.step("a").last_error == "broken"

    @pytest.mark.parametrize("name", ["c", "", None, ["a"]])
    def test_a_step_that_does_not_exist_is_not_found(self, name: Any) -> None:
        process = start()

        with pytest.raises(errors.StepNotFound, match="its steps are a, b") as raised:
            process.complete_step(name)

        assert (raised.value.process_id, raised.value.step) == (process.id, name)
