import pytest
from msgspec.structs import replace

from tests.unit.domain.steps import CANCELLED, COMPLETED, FAILED, PENDING, RUNNING, TERMINAL
from trellis_celery import errors
from trellis_celery.domain import by_hand
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.step import ProcessStep, StepState


class TestByHand:
    def test_starting_a_running_step_again_does_not_start_its_time_again(self) -> None:
        started = by_hand.start(PENDING, now_ms=1_000).after

        assert by_hand.start(started, now_ms=1_500).after is started

    def test_a_step_that_its_task_runs_is_left_to_it(self) -> None:
        transition = by_hand.start(RUNNING, now_ms=25_000)

        assert (transition.after, transition.events) == (RUNNING, ())

    def test_the_next_attempt_starts_once_it_is_asked_for(self) -> None:
        started = by_hand.start(PENDING, now_ms=1_000).after
        asked = replace(started, attempt=2, run_id=None)

        after = by_hand.start(asked, now_ms=3_000).after

        assert (after.attempt, after.deadline_ms) == (2, 4_000)

    @pytest.mark.parametrize("finished", TERMINAL, ids=lambda step: step.state)
    def test_a_finished_step_cannot_be_started(self, finished: ProcessStep) -> None:
        with pytest.raises(errors.InvalidTransition):
            by_hand.start(finished, now_ms=30_000)

    def test_what_is_done_already_may_be_asked_for_again(self) -> None:
        assert not by_hand.complete(COMPLETED, now_ms=30_000).is_change
        assert not by_hand.fail(FAILED, "again", now_ms=30_000).is_change

    @pytest.mark.parametrize("finished", [FAILED, CANCELLED], ids=lambda step: step.state)
    def test_a_failed_or_cancelled_step_cannot_be_completed(self, finished: ProcessStep) -> None:
        with pytest.raises(errors.InvalidTransition, match="cannot be completed"):
            by_hand.complete(finished, now_ms=30_000)

    @pytest.mark.parametrize(
        ("finished", "hint"),
        [
            (FAILED, "; retry it, or give reopen=True"),
            (CANCELLED, ""),
        ],
        ids=["failed", "cancelled"],
    )
    def test_the_error_says_what_can_be_done_instead(self, finished: ProcessStep, hint: str) -> None:
        with pytest.raises(errors.InvalidTransition) as raised:
            by_hand.complete(finished, now_ms=30_000)

        assert str(raised.value) == f"step 'step' is {finished.state} and cannot be completed{hint}"

    def test_a_failed_step_may_be_reopened_to_complete_it_and_nothing_is_sent(self) -> None:
        failed = replace(FAILED, task_id="task", has_incident=True)

        transition = by_hand.complete(failed, now_ms=30_000, by="ann", reopen=True)

        after = transition.after
        assert (after.state, after.attempt) == (StepState.COMPLETED, FAILED.attempt + 1)
        assert (after.deadline_ms, after.has_incident, after.last_error) == (None, False, None)
        assert [(event.kind, event.attempt, event.by) for event in transition.events] == [
            (EventKind.STEP_REOPENED, after.attempt, "ann"),
            (EventKind.STEP_COMPLETED, after.attempt, "ann"),
        ]

    @pytest.mark.parametrize("step", [PENDING, RUNNING, COMPLETED], ids=lambda step: step.state)
    def test_what_has_not_failed_is_not_reopened_for_that(self, step: ProcessStep) -> None:
        plain = by_hand.complete(step, now_ms=30_000)

        assert by_hand.complete(step, now_ms=30_000, reopen=True) == plain

    @pytest.mark.parametrize("finished", [COMPLETED, CANCELLED], ids=lambda step: step.state)
    def test_a_completed_or_cancelled_step_cannot_be_failed(self, finished: ProcessStep) -> None:
        with pytest.raises(errors.InvalidTransition, match="cannot be failed"):
            by_hand.fail(finished, "broken", now_ms=30_000)
