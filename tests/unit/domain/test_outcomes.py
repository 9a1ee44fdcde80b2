import pytest
from msgspec.structs import replace

from tests.unit.domain.steps import CANCELLED, COMPLETED, FAILED, PENDING, QUEUED, RUNNING, SECOND, TERMINAL, kinds
from trellis_celery import errors
from trellis_celery.domain import outcomes, runs
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.step import DeadlineKind, ProcessStep, StepState
from trellis_celery.domain.transitions import Verdict


class TestComplete:
    def test_a_completed_step_has_no_clocks(self) -> None:
        after = outcomes.complete(RUNNING, run_id="run", now_ms=21_000).after

        assert (after.state, after.finished_at_ms) == (StepState.COMPLETED, 21_000)
        assert (after.deadline_ms, after.deadline_kind, after.is_leased) == (None, None, False)

    @pytest.mark.fault("A3")
    def test_a_step_is_completed_without_having_started(self) -> None:
        transition = outcomes.complete(PENDING, now_ms=1_000, by="webhook")

        assert (transition.after.state, transition.after.attempt) == (StepState.COMPLETED, 1)
        assert [(event.attempt, event.by) for event in transition.events] == [(1, "webhook")]

    def test_a_replaced_attempt_that_finishes_first_completes_the_step(self) -> None:
        transition = outcomes.complete(SECOND, attempt=1, run_id="run", now_ms=31_000)

        assert transition.after.state is StepState.COMPLETED
        assert [event.attempt for event in transition.events] == [1]

    def test_completing_again_changes_nothing(self) -> None:
        assert not outcomes.complete(COMPLETED, run_id="run", now_ms=22_000).is_change
        assert not outcomes.complete(COMPLETED, now_ms=22_000).is_change

    @pytest.mark.fault("A2")
    def test_a_second_completion_by_another_run_is_only_logged(self) -> None:
        transition = outcomes.complete(COMPLETED, run_id="other", now_ms=22_000)

        assert transition.after is COMPLETED
        assert kinds(transition) == [EventKind.OUTCOME_LATE]
        assert transition.verdict is Verdict.FINISHED

    @pytest.mark.parametrize(("given", "told"), [(1, 1), (None, 2)])
    def test_what_came_too_late_is_told_of_its_own_attempt_or_else_of_the_current_one(
        self, given: int | None, told: int
    ) -> None:
        transition = outcomes.complete(replace(COMPLETED, attempt=2), attempt=given, run_id="other", now_ms=22_000)

        assert [event.attempt for event in transition.events] == [told]

    @pytest.mark.fault("A2")
    @pytest.mark.parametrize("finished", [FAILED, CANCELLED], ids=lambda step: step.state)
    def test_a_late_completion_is_only_logged_after_giving_up(self, finished: ProcessStep) -> None:
        transition = outcomes.complete(finished, run_id="run", now_ms=22_000)

        assert transition.after is finished
        assert kinds(transition) == [EventKind.OUTCOME_LATE]


class TestFail:
    def test_a_failed_step_tells_why(self) -> None:
        transition = outcomes.fail(RUNNING, "broken", run_id="run", now_ms=21_000)

        assert (transition.after.state, transition.after.last_error) == (StepState.FAILED, "broken")
        assert (transition.after.deadline_ms, transition.after.is_leased) == (None, False)
        assert [(event.kind, event.detail) for event in transition.events] == [(EventKind.STEP_FAILED, "broken")]

    @pytest.mark.parametrize(("who", "attempt"), [({"attempt": 1}, 1), ({"run_id": "run"}, 2)], ids=str)
    def test_the_failure_of_a_replaced_attempt_is_only_logged(self, who: dict[str, object], attempt: int) -> None:
        transition = outcomes.fail(SECOND, "broken", now_ms=31_000, **who)  # type: ignore[arg-type]

        assert transition.after is SECOND
        assert [(event.kind, event.attempt) for event in transition.events] == [(EventKind.OUTCOME_LATE, attempt)]

    def test_failing_again_changes_nothing(self) -> None:
        assert not outcomes.fail(FAILED, "again", run_id="run", now_ms=22_000).is_change

    def test_a_completed_step_does_not_fail(self) -> None:
        transition = outcomes.fail(COMPLETED, "broken", run_id="run", now_ms=22_000)

        assert transition.after is COMPLETED
        assert kinds(transition) == [EventKind.OUTCOME_LATE]


class TestCancel:
    def test_a_cancelled_step_has_no_clocks(self) -> None:
        after = outcomes.cancel(RUNNING, reason="not needed", now_ms=21_000).after

        assert (after.state, after.last_error, after.deadline_ms) == (StepState.CANCELLED, "not needed", None)

    @pytest.mark.parametrize("finished", TERMINAL, ids=lambda step: step.state)
    def test_a_finished_step_is_not_cancelled(self, finished: ProcessStep) -> None:
        assert not outcomes.cancel(finished, now_ms=30_000).is_change

    def test_the_cancellation_of_a_replaced_attempt_does_not_touch_the_next(self) -> None:
        assert not outcomes.cancel(SECOND, attempt=1, now_ms=31_000).is_change


class TestByNoRun:
    """An outcome that names no run is a person's, or another system's."""

    FINISHING = runs.claim_finish(RUNNING, attempt=1, run_id="run", now_ms=20_500).after

    def test_it_decides_while_a_run_sends_its_chain(self) -> None:
        decided = [
            outcomes.complete(self.FINISHING, now_ms=21_000),
            outcomes.fail(self.FINISHING, "broken", now_ms=21_000),
            outcomes.cancel(self.FINISHING, now_ms=21_000),
        ]

        assert [transition.after.state for transition in decided] == ["completed", "failed", "cancelled"]


class TestLose:
    def test_a_lost_run_is_due_at_once(self) -> None:
        transition = outcomes.lose(RUNNING, "killed", attempt=1, run_id="run", now_ms=20_500)

        after = transition.after
        assert (after.deadline_ms, after.deadline_kind) == (20_500, DeadlineKind.LOST)
        assert (after.is_leased, after.last_error) == (False, "killed")
        assert kinds(transition) == [EventKind.RUN_LOST]

    def test_a_run_is_lost_once(self) -> None:
        lost = outcomes.lose(RUNNING, "killed", attempt=1, now_ms=20_500).after

        assert not outcomes.lose(lost, "killed again", attempt=1, now_ms=20_600).is_change

    @pytest.mark.parametrize("step", [PENDING, SECOND, COMPLETED], ids=["never ran", "replaced", "finished"])
    def test_a_run_that_is_not_the_current_one_is_not_missed(self, step: ProcessStep) -> None:
        transition = outcomes.lose(step, "killed", attempt=1, now_ms=31_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.STALE)


class TestReopen:
    def test_a_reopened_step_has_all_its_retries_and_a_new_attempt(self) -> None:
        used_up = replace(FAILED, retry_count=2, attempt=3, resend_count=1)

        transition = outcomes.reopen(used_up, has_message=True, by="nurse", now_ms=40_000)

        after = transition.after
        assert (after.state, after.attempt, after.retry_count, after.resend_count) == (StepState.PENDING, 4, 0, 0)
        assert (after.last_error, after.started_at_ms, after.finished_at_ms, after.run_id) == (None, None, None, None)
        assert [(event.kind, event.by) for event in transition.events] == [(EventKind.STEP_REOPENED, "nurse")]

    def test_its_message_is_sent_by_the_next_check(self) -> None:
        after = outcomes.reopen(FAILED, has_message=True, now_ms=40_000).after

        assert (after.deadline_ms, after.deadline_kind) == (40_000, DeadlineKind.HANDOFF)
        assert (after.task_id, after.args_digest) == ("task", "args")

    def test_without_a_message_it_waits_for_whoever_starts_it(self) -> None:
        after = outcomes.reopen(FAILED, has_message=False, now_ms=40_000).after

        assert (after.deadline_ms, after.deadline_kind, after.task_id) == (None, None, None)
        assert after.args_digest is None

    @pytest.mark.parametrize("step", [PENDING, RUNNING, COMPLETED, CANCELLED], ids=lambda step: step.state)
    def test_only_a_failed_step_is_reopened(self, step: ProcessStep) -> None:
        with pytest.raises(errors.InvalidTransition, match="only a failed step"):
            outcomes.reopen(step, has_message=False, now_ms=40_000)


class TestThrowAway:
    @pytest.mark.parametrize(("is_lost", "kind"), [(True, EventKind.RUN_LOST), (False, EventKind.STEP_FAILED)])
    def test_a_message_that_nobody_read_ends_the_attempt(self, is_lost: bool, kind: EventKind) -> None:
        transition = outcomes.throw_away(QUEUED, "expired", attempt=1, is_lost=is_lost, now_ms=21_000)

        assert kinds(transition) == [kind]

    @pytest.mark.parametrize("is_lost", [True, False])
    def test_a_copy_that_nobody_read_does_nothing_to_the_run_of_the_first(self, is_lost: bool) -> None:
        transition = outcomes.throw_away(RUNNING, "expired", attempt=1, is_lost=is_lost, now_ms=21_000)

        assert not transition.is_change

    def test_a_message_of_a_replaced_attempt_does_nothing_to_the_run_of_the_next(self) -> None:
        transition = outcomes.throw_away(SECOND, "expired", attempt=1, is_lost=True, now_ms=31_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.STALE)


class TestIncidents:
    GIVEN_UP = replace(FAILED, has_incident=True, last_error="gave up after attempt 1: no outcome after 10 ms")
    ONLY_TOLD = replace(RUNNING, has_incident=True)

    def test_closing_one_says_who_and_why_and_leaves_the_step_as_it_is(self) -> None:
        transition = outcomes.close_incident(self.GIVEN_UP, by="ann", note="paid by hand", now_ms=40_000)

        assert transition.after == replace(self.GIVEN_UP, has_incident=False)
        (event,) = transition.events
        assert (event.kind, event.by, event.detail) == (EventKind.INCIDENT_CLOSED, "ann", "paid by hand")

    def test_closing_none_changes_nothing(self) -> None:
        assert not outcomes.close_incident(FAILED, now_ms=40_000).is_change

    @pytest.mark.parametrize("step", [GIVEN_UP, ONLY_TOLD], ids=["given up", "only told"])
    def test_a_retried_step_has_no_incident(self, step: ProcessStep) -> None:
        after = outcomes.reopen(step, has_message=True, now_ms=40_000).after

        assert (after.state, after.has_incident, after.run_id) == (StepState.PENDING, False, None)

    def test_a_step_that_ends_has_no_incident(self) -> None:
        ended = [
            outcomes.complete(self.ONLY_TOLD, now_ms=40_000),
            outcomes.fail(self.ONLY_TOLD, "broken", now_ms=40_000),
            outcomes.cancel(self.ONLY_TOLD, now_ms=40_000),
        ]

        assert [transition.after.has_incident for transition in ended] == [False] * 3

    def test_a_late_completion_does_not_close_it(self) -> None:
        assert outcomes.complete(self.GIVEN_UP, now_ms=40_000).after.has_incident
