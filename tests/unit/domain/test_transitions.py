from dataclasses import replace
from typing import Any

import pytest

from trellis_celery import errors
from trellis_celery.domain import by_hand, transitions
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.step import DeadlineKind, ProcessStep, StepState
from trellis_celery.domain.transitions import HANDOFF_MS, Transition, Verdict

PENDING = ProcessStep("step", timeout_ms=1_000, retries_permitted=2, queue_timeout_ms=5_000, version=1)
QUEUED = transitions.queue(PENDING, task_id="task", args_digest="args", now_ms=10_000).after
RUNNING = transitions.start(QUEUED, run_id="run", attempt=1, is_leased=True, worker="w1", now_ms=20_000).after
SECOND = transitions.start(QUEUED, run_id="other", attempt=2, now_ms=30_000).after
COMPLETED = transitions.complete(RUNNING, run_id="run", now_ms=21_000).after
FAILED = transitions.fail(RUNNING, "broken", run_id="run", now_ms=21_000).after
CANCELLED = transitions.cancel(RUNNING, now_ms=21_000).after
TERMINAL = (COMPLETED, FAILED, CANCELLED)


def kinds(transition: Transition) -> list[EventKind]:
    return [event.kind for event in transition.events]


class TestQueue:
    def test_the_wait_for_a_worker_runs_from_the_publishing(self) -> None:
        transition = transitions.queue(PENDING, task_id="task", args_digest="args", now_ms=10_000)

        assert transition.after.deadline_ms == 15_000
        assert transition.after.deadline_kind is DeadlineKind.QUEUE
        assert (transition.after.state, transition.after.attempt) == (StepState.PENDING, 1)
        assert kinds(transition) == [EventKind.STEP_QUEUED]

    def test_publishing_the_same_message_again_changes_nothing(self) -> None:
        transition = transitions.queue(QUEUED, task_id="task", args_digest="args", now_ms=11_000)

        assert not transition.is_change
        assert transition.verdict is Verdict.ACCEPTED

    def test_the_same_call_under_another_id_is_a_duplicate(self) -> None:
        transition = transitions.queue(QUEUED, task_id="other", args_digest="args", now_ms=11_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.DUPLICATE)

    def test_another_call_of_the_task_is_not_the_step(self) -> None:
        transition = transitions.queue(QUEUED, task_id="other", args_digest="others", now_ms=11_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.UNTRACKED)

    def test_a_call_that_the_running_step_makes_of_itself_is_not_the_step(self) -> None:
        transition = transitions.queue(RUNNING, task_id="other", args_digest="args", is_own_run=True, now_ms=21_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.UNTRACKED)

    def test_the_same_id_sent_again_does_not_free_the_attempt_that_runs(self) -> None:
        transition = transitions.queue(RUNNING, task_id="task", args_digest="args", now_ms=21_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.DUPLICATE)

    @pytest.mark.parametrize("finished", TERMINAL, ids=lambda step: step.state)
    def test_a_finished_step_is_not_queued_again(self, finished: ProcessStep) -> None:
        transition = transitions.queue(finished, task_id="task", args_digest="args", now_ms=30_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.DUPLICATE)


class TestQueueAgain:
    def test_a_retry_by_celery_stays_within_the_attempt_and_frees_it_for_another_run(self) -> None:
        transition = transitions.queue_again(RUNNING, attempt=1, run_id="run", celery_retries=1, now_ms=21_000)

        after = transition.after
        assert (after.attempt, after.run_id, after.is_leased, after.celery_retries) == (1, None, False, 1)
        assert (after.deadline_ms, after.deadline_kind) == (22_000, DeadlineKind.QUEUE)
        assert kinds(transition) == [EventKind.STEP_RETRYING]

    def test_a_retry_with_a_countdown_waits_for_it_first(self) -> None:
        after = transitions.queue_again(RUNNING, attempt=1, run_id="run", delay_ms=30_000, now_ms=21_000).after

        assert after.deadline_ms == 52_000

    def test_the_main_process_may_send_the_task_of_a_child_that_died(self) -> None:
        assert transitions.queue_again(RUNNING, attempt=1, run_id=None, now_ms=21_000).after.run_id is None

    @pytest.mark.parametrize("sender", [{"attempt": 1, "run_id": "run"}, {"attempt": 2, "run_id": "run"}])
    def test_a_run_that_was_replaced_cannot_send_the_step_again(self, sender: dict[str, Any]) -> None:
        transition = transitions.queue_again(SECOND, **sender, now_ms=31_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.STALE)

    def test_nobody_takes_the_finish_from_the_run_that_has_claimed_it(self) -> None:
        finishing = transitions.claim_finish(SECOND, attempt=1, run_id="first", now_ms=31_000).after

        taken = [
            transitions.queue_again(finishing, attempt=2, run_id=SECOND.run_id, now_ms=31_100),
            transitions.queue_again(finishing, attempt=2, run_id=None, now_ms=31_100),
            transitions.lose(finishing, "child gone", attempt=2, now_ms=31_100),
            transitions.cancel(finishing, attempt=2, run_id=SECOND.run_id, now_ms=31_100),
        ]

        assert [transition.is_change for transition in taken] == [False] * 4

    @pytest.mark.parametrize("finished", TERMINAL, ids=lambda step: step.state)
    def test_a_finished_step_is_not_sent_again(self, finished: ProcessStep) -> None:
        transition = transitions.queue_again(finished, attempt=1, run_id=None, now_ms=31_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.FINISHED)


class TestStart:
    def test_the_time_of_a_run_counts_from_its_start(self) -> None:
        transition = transitions.start(QUEUED, run_id="run", attempt=1, worker="w1", now_ms=20_000)

        after = transition.after
        assert (after.state, after.started_at_ms, after.worker) == (StepState.IN_PROGRESS, 20_000, "w1")
        assert (after.deadline_ms, after.deadline_kind) == (21_000, DeadlineKind.RUN)
        assert kinds(transition) == [EventKind.STEP_STARTED]

    def test_a_step_without_a_timeout_may_run_as_long_as_it_likes(self) -> None:
        after = transitions.start(replace(QUEUED, timeout_ms=None), run_id="run", now_ms=20_000).after

        assert (after.deadline_ms, after.deadline_kind) == (None, None)

    def test_a_step_that_was_never_queued_starts_as_its_first_attempt(self) -> None:
        assert transitions.start(PENDING, run_id="run", now_ms=20_000).after.attempt == 1

    def test_asking_again_with_the_same_run_is_accepted_and_changes_nothing(self) -> None:
        transition = transitions.start(RUNNING, run_id="run", attempt=1, now_ms=20_500)

        assert (transition.is_change, transition.verdict) == (False, Verdict.ACCEPTED)

    def test_only_one_run_of_an_attempt_starts(self) -> None:
        transition = transitions.start(RUNNING, run_id="copy", attempt=1, now_ms=20_500)

        assert transition.verdict is Verdict.DUPLICATE
        assert transition.after is RUNNING
        assert [event.detail for event in transition.events] == ["duplicate"]

    def test_a_replaced_attempt_does_not_start(self) -> None:
        transition = transitions.start(SECOND, run_id="run", attempt=1, now_ms=31_000)

        assert transition.verdict is Verdict.STALE
        assert transition.after is SECOND

    def test_a_message_of_a_newer_attempt_than_the_stored_one_starts_it(self) -> None:
        after = transitions.start(RUNNING, run_id="other", attempt=2, now_ms=30_000).after

        assert (after.attempt, after.run_id, after.started_at_ms) == (2, "other", 30_000)

    def test_a_copy_from_before_celerys_retry_does_not_start(self) -> None:
        retrying = transitions.queue_again(RUNNING, attempt=1, run_id="run", celery_retries=1, now_ms=21_000).after

        verdicts = [
            transitions.start(retrying, run_id="copy", attempt=1, celery_retries=retries, now_ms=21_100).verdict
            for retries in (0, 1)
        ]

        assert verdicts == [Verdict.STALE, Verdict.ACCEPTED]

    def test_a_retry_that_the_store_was_not_told_of_starts_all_the_same(self) -> None:
        transition = transitions.start(RUNNING, run_id="retry", attempt=1, celery_retries=1, now_ms=21_000)

        assert (transition.verdict, transition.after.run_id) == (Verdict.ACCEPTED, "retry")

    @pytest.mark.parametrize("finished", TERMINAL, ids=lambda step: step.state)
    def test_a_finished_step_does_not_start(self, finished: ProcessStep) -> None:
        transition = transitions.start(finished, run_id="run", attempt=9, now_ms=30_000)

        assert transition.verdict is Verdict.FINISHED
        assert transition.after is finished


class TestComplete:
    def test_a_completed_step_has_no_clocks(self) -> None:
        after = transitions.complete(RUNNING, run_id="run", now_ms=21_000).after

        assert (after.state, after.finished_at_ms) == (StepState.COMPLETED, 21_000)
        assert (after.deadline_ms, after.deadline_kind, after.is_leased) == (None, None, False)

    def test_a_step_is_completed_without_having_started(self) -> None:
        transition = transitions.complete(PENDING, now_ms=1_000, by="webhook")

        assert (transition.after.state, transition.after.attempt) == (StepState.COMPLETED, 1)
        assert [(event.attempt, event.detail) for event in transition.events] == [(1, "webhook")]

    def test_a_replaced_attempt_that_finishes_first_completes_the_step(self) -> None:
        transition = transitions.complete(SECOND, attempt=1, run_id="run", now_ms=31_000)

        assert transition.after.state is StepState.COMPLETED
        assert [event.attempt for event in transition.events] == [1]

    def test_completing_again_changes_nothing(self) -> None:
        assert not transitions.complete(COMPLETED, run_id="run", now_ms=22_000).is_change
        assert not transitions.complete(COMPLETED, now_ms=22_000).is_change

    def test_a_second_completion_by_another_run_is_only_logged(self) -> None:
        transition = transitions.complete(COMPLETED, run_id="other", now_ms=22_000)

        assert transition.after is COMPLETED
        assert kinds(transition) == [EventKind.OUTCOME_LATE]
        assert transition.verdict is Verdict.FINISHED

    @pytest.mark.parametrize("finished", [FAILED, CANCELLED], ids=lambda step: step.state)
    def test_a_late_completion_is_only_logged_after_giving_up(self, finished: ProcessStep) -> None:
        transition = transitions.complete(finished, run_id="run", now_ms=22_000)

        assert transition.after is finished
        assert kinds(transition) == [EventKind.OUTCOME_LATE]


class TestFail:
    def test_a_failed_step_tells_why(self) -> None:
        transition = transitions.fail(RUNNING, "broken", run_id="run", now_ms=21_000)

        assert (transition.after.state, transition.after.last_error) == (StepState.FAILED, "broken")
        assert (transition.after.deadline_ms, transition.after.is_leased) == (None, False)
        assert [(event.kind, event.detail) for event in transition.events] == [(EventKind.STEP_FAILED, "broken")]

    @pytest.mark.parametrize("who", [{"attempt": 1}, {"run_id": "run"}], ids=str)
    def test_the_failure_of_a_replaced_attempt_is_only_logged(self, who: dict[str, object]) -> None:
        transition = transitions.fail(SECOND, "broken", now_ms=31_000, **who)  # type: ignore[arg-type]

        assert transition.after is SECOND
        assert kinds(transition) == [EventKind.OUTCOME_LATE]

    def test_failing_again_changes_nothing(self) -> None:
        assert not transitions.fail(FAILED, "again", run_id="run", now_ms=22_000).is_change

    def test_a_completed_step_does_not_fail(self) -> None:
        transition = transitions.fail(COMPLETED, "broken", run_id="run", now_ms=22_000)

        assert transition.after is COMPLETED
        assert kinds(transition) == [EventKind.OUTCOME_LATE]


class TestCancel:
    def test_a_cancelled_step_has_no_clocks(self) -> None:
        after = transitions.cancel(RUNNING, reason="not needed", now_ms=21_000).after

        assert (after.state, after.last_error, after.deadline_ms) == (StepState.CANCELLED, "not needed", None)

    @pytest.mark.parametrize("finished", TERMINAL, ids=lambda step: step.state)
    def test_a_finished_step_is_not_cancelled(self, finished: ProcessStep) -> None:
        assert not transitions.cancel(finished, now_ms=30_000).is_change

    def test_the_cancellation_of_a_replaced_attempt_does_not_touch_the_next(self) -> None:
        assert not transitions.cancel(SECOND, attempt=1, now_ms=31_000).is_change


class TestClaimFinish:
    def test_the_first_run_to_ask_may_finish_and_no_other(self) -> None:
        first = transitions.claim_finish(SECOND, attempt=1, run_id="run", now_ms=31_000)
        second = transitions.claim_finish(first.after, attempt=2, run_id="other", now_ms=31_001)

        assert first.verdict is Verdict.ACCEPTED
        assert first.after.deadline_ms == 31_000 + HANDOFF_MS
        assert second.verdict is Verdict.DUPLICATE

    def test_asking_again_is_accepted_again(self) -> None:
        claimed = transitions.claim_finish(SECOND, attempt=1, run_id="run", now_ms=31_000).after

        transition = transitions.claim_finish(claimed, attempt=1, run_id="run", now_ms=31_001)

        assert (transition.is_change, transition.verdict) == (False, Verdict.ACCEPTED)

    def test_nobody_else_completes_while_one_run_finishes(self) -> None:
        claimed = transitions.claim_finish(SECOND, attempt=1, run_id="run", now_ms=31_000).after

        late = transitions.complete(claimed, attempt=2, run_id="other", now_ms=31_001)
        done = transitions.complete(claimed, attempt=1, run_id="run", now_ms=31_002)

        assert late.after is claimed
        assert done.after.state is StepState.COMPLETED

    def test_no_run_of_a_finished_step_may_finish(self) -> None:
        transition = transitions.claim_finish(COMPLETED, attempt=1, run_id="other", now_ms=31_000)

        assert transition.verdict is Verdict.FINISHED


class TestLose:
    def test_a_lost_run_is_due_at_once(self) -> None:
        transition = transitions.lose(RUNNING, "killed", attempt=1, run_id="run", now_ms=20_500)

        after = transition.after
        assert (after.deadline_ms, after.deadline_kind) == (20_500, DeadlineKind.LOST)
        assert (after.is_leased, after.last_error) == (False, "killed")
        assert kinds(transition) == [EventKind.RUN_LOST]

    def test_a_run_is_lost_once(self) -> None:
        lost = transitions.lose(RUNNING, "killed", attempt=1, now_ms=20_500).after

        assert not transitions.lose(lost, "killed again", attempt=1, now_ms=20_600).is_change

    @pytest.mark.parametrize("step", [PENDING, SECOND, COMPLETED], ids=["never ran", "replaced", "finished"])
    def test_a_run_that_is_not_the_current_one_is_not_missed(self, step: ProcessStep) -> None:
        transition = transitions.lose(step, "killed", attempt=1, now_ms=31_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.STALE)


class TestLettingGo:
    def test_a_released_attempt_may_start_again_and_is_sent_again_if_it_does_not(self) -> None:
        released = transitions.release(RUNNING, attempt=1, run_id="run", resend_in_ms=3_000, now_ms=20_500).after

        assert (released.deadline_ms, released.deadline_kind) == (23_500, DeadlineKind.QUEUE)
        assert transitions.start(released, run_id="again", attempt=1, now_ms=21_000).verdict is Verdict.ACCEPTED

    def test_a_step_that_was_handed_over_keeps_its_time(self) -> None:
        after = transitions.hand_over(RUNNING, attempt=1, run_id="run", now_ms=20_500).after

        assert (after.state, after.is_leased) == (StepState.IN_PROGRESS, False)
        assert (after.deadline_ms, after.deadline_kind) == (21_500, DeadlineKind.RUN)

    def test_a_run_lets_go_only_of_what_it_holds(self) -> None:
        released = transitions.release(SECOND, attempt=1, run_id="run", resend_in_ms=3_000, now_ms=31_000)
        handed_over = transitions.hand_over(RUNNING, attempt=1, run_id="copy", now_ms=20_500)

        assert (released.is_change, released.verdict) == (False, Verdict.STALE)
        assert (handed_over.is_change, handed_over.verdict) == (False, Verdict.STALE)


class TestHeartbeat:
    def test_a_heartbeat_moves_the_deadline_from_now(self) -> None:
        after = transitions.heartbeat(RUNNING, attempt=1, run_id="run", extend_ms=9_000, now_ms=20_900).after

        assert after.deadline_ms == 29_900

    def test_a_replaced_or_finished_run_gets_no_more_time(self) -> None:
        replaced = transitions.heartbeat(SECOND, attempt=1, run_id="run", extend_ms=9_000, now_ms=31_000)
        finished = transitions.heartbeat(COMPLETED, attempt=1, run_id="run", extend_ms=9_000, now_ms=31_000)

        assert (replaced.is_change, replaced.verdict) == (False, Verdict.STALE)
        assert (finished.is_change, finished.verdict) == (False, Verdict.FINISHED)


class TestReopen:
    def test_a_reopened_step_has_all_its_retries_and_a_new_attempt(self) -> None:
        used_up = replace(FAILED, retry_count=2, attempt=3, resend_count=1)

        transition = transitions.reopen(used_up, has_message=True, by="nurse", now_ms=40_000)

        after = transition.after
        assert (after.state, after.attempt, after.retry_count, after.resend_count) == (StepState.PENDING, 4, 0, 0)
        assert (after.last_error, after.started_at_ms, after.finished_at_ms, after.run_id) == (None, None, None, None)
        assert [(event.kind, event.detail) for event in transition.events] == [(EventKind.STEP_REOPENED, "nurse")]

    def test_its_message_is_sent_by_the_next_check(self) -> None:
        after = transitions.reopen(FAILED, has_message=True, now_ms=40_000).after

        assert (after.deadline_ms, after.deadline_kind) == (40_000, DeadlineKind.HANDOFF)

    def test_without_a_message_it_waits_for_whoever_starts_it(self) -> None:
        after = transitions.reopen(FAILED, has_message=False, now_ms=40_000).after

        assert (after.deadline_ms, after.deadline_kind, after.task_id) == (None, None, None)

    @pytest.mark.parametrize("step", [PENDING, RUNNING, COMPLETED, CANCELLED], ids=lambda step: step.state)
    def test_only_a_failed_step_is_reopened(self, step: ProcessStep) -> None:
        with pytest.raises(errors.InvalidTransition, match="only a failed step"):
            transitions.reopen(step, has_message=False, now_ms=40_000)


class TestByHand:
    def test_starting_a_running_step_again_does_not_start_its_time_again(self) -> None:
        started = by_hand.start(PENDING, now_ms=1_000).after

        assert by_hand.start(started, now_ms=1_500).after is started

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

    @pytest.mark.parametrize("finished", [COMPLETED, CANCELLED], ids=lambda step: step.state)
    def test_a_completed_or_cancelled_step_cannot_be_failed(self, finished: ProcessStep) -> None:
        with pytest.raises(errors.InvalidTransition, match="cannot be failed"):
            by_hand.fail(finished, "broken", now_ms=30_000)


class TestThrowAway:
    @pytest.mark.parametrize(("is_lost", "kind"), [(True, EventKind.RUN_LOST), (False, EventKind.STEP_FAILED)])
    def test_a_message_that_nobody_read_ends_the_attempt(self, is_lost: bool, kind: EventKind) -> None:
        transition = transitions.throw_away(QUEUED, "expired", attempt=1, is_lost=is_lost, now_ms=21_000)

        assert kinds(transition) == [kind]

    @pytest.mark.parametrize("is_lost", [True, False])
    def test_a_copy_that_nobody_read_does_nothing_to_the_run_of_the_first(self, is_lost: bool) -> None:
        transition = transitions.throw_away(RUNNING, "expired", attempt=1, is_lost=is_lost, now_ms=21_000)

        assert not transition.is_change
