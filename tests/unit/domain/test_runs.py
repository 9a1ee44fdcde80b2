from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.domain.steps import COMPLETED, FAILED, PENDING, QUEUED, RUNNING, SECOND, TERMINAL, kinds
from trellis_celery.domain import outcomes, runs
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.step import DeadlineKind, ProcessStep, StepState
from trellis_celery.domain.transitions import HANDOFF_MS, MAX_DOUBLINGS, PUT_BACK_MS, Rule, Verdict


class TestQueue:
    def test_the_wait_for_a_worker_runs_from_the_publishing(self) -> None:
        transition = runs.queue(PENDING, task_id="task", args_digest="args", now_ms=10_000)

        assert transition.after.deadline_ms == 15_000
        assert transition.after.deadline_kind is DeadlineKind.QUEUE
        assert (transition.after.state, transition.after.attempt) == (StepState.PENDING, 1)
        assert kinds(transition) == [EventKind.STEP_QUEUED]

    def test_publishing_the_same_message_again_changes_nothing(self) -> None:
        transition = runs.queue(QUEUED, task_id="task", args_digest="args", now_ms=11_000)

        assert not transition.is_change
        assert transition.verdict is Verdict.ACCEPTED

    def test_what_went_out_before_it_could_be_written_is_written_beside_the_run_that_it_started(self) -> None:
        started = runs.start(PENDING, run_id="run", task_id="task", now_ms=11_000).after

        transition = runs.queue(started, task_id="task", args_digest="args", now_ms=12_000, is_late=True)

        assert transition.after == started
        assert transition.is_change
        assert kinds(transition) == [EventKind.STEP_QUEUED]

    def test_what_went_out_before_it_could_be_written_ends_no_run_that_the_store_has_heard_of_first(self) -> None:
        finishing = runs.claim_finish(PENDING, attempt=1, run_id="run", now_ms=11_000).after

        transition = runs.queue(finishing, task_id="task", args_digest="args", now_ms=12_000, is_late=True)

        assert transition.after == replace(finishing, attempt=1, task_id="task", args_digest="args")
        assert kinds(transition) == [EventKind.STEP_QUEUED]

    def test_what_went_out_before_it_could_be_written_changes_no_step_that_has_ended(self) -> None:
        done = replace(COMPLETED, task_id="task")

        assert not runs.queue(done, task_id="task", args_digest="args", now_ms=12_000, is_late=True).is_change

    def test_what_went_out_before_it_could_be_written_waits_for_a_worker_like_any_other(self) -> None:
        late = runs.queue(PENDING, task_id="task", args_digest="args", now_ms=10_000, is_late=True)

        assert late.after == QUEUED

    def test_what_went_out_late_under_another_id_is_a_duplicate(self) -> None:
        transition = runs.queue(QUEUED, task_id="second", args_digest="args", now_ms=11_000, is_late=True)

        assert (transition.is_change, transition.verdict) == (False, Verdict.DUPLICATE)

    def test_the_task_of_a_step_that_was_started_by_hand_waits_for_a_worker(self) -> None:
        started = runs.start(PENDING, run_id="by-hand-1", now_ms=9_000).after

        after = runs.queue(started, task_id="task", args_digest="args", now_ms=10_000).after

        assert (after.run_id, after.deadline_kind) == (None, DeadlineKind.QUEUE)

    def test_the_same_call_under_another_id_is_a_duplicate(self) -> None:
        transition = runs.queue(QUEUED, task_id="other", args_digest="args", now_ms=11_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.DUPLICATE)

    def test_another_call_of_the_task_is_not_the_step(self) -> None:
        transition = runs.queue(QUEUED, task_id="other", args_digest="others", now_ms=11_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.UNTRACKED)

    def test_a_call_that_the_running_step_makes_of_itself_is_not_the_step(self) -> None:
        transition = runs.queue(RUNNING, task_id="other", args_digest="args", is_own_run=True, now_ms=21_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.UNTRACKED)

    def test_the_same_id_sent_again_does_not_free_the_attempt_that_runs(self) -> None:
        transition = runs.queue(RUNNING, task_id="task", args_digest="args", now_ms=21_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.DUPLICATE)

    @pytest.mark.parametrize("finished", TERMINAL, ids=lambda step: step.state)
    def test_a_finished_step_is_not_queued_again(self, finished: ProcessStep) -> None:
        transition = runs.queue(finished, task_id="task", args_digest="args", now_ms=30_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.DUPLICATE)

    @pytest.mark.fault("A22")
    @pytest.mark.parametrize("finish", [outcomes.complete, outcomes.cancel], ids=["completed", "cancelled"])
    def test_a_step_that_was_finished_before_its_message_was_known_is_no_other_task(self, finish: Any) -> None:
        finished = finish(PENDING, now_ms=5_000).after

        transition = runs.queue(finished, task_id="task", args_digest="args", now_ms=30_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.DUPLICATE)


class TestQueueAgain:
    def test_a_retry_by_celery_stays_within_the_attempt_and_frees_it_for_another_run(self) -> None:
        transition = runs.queue_again(RUNNING, attempt=1, run_id="run", celery_retries=1, now_ms=21_000)

        after = transition.after
        assert (after.attempt, after.run_id, after.is_leased, after.celery_retries) == (1, None, False, 1)
        assert (after.deadline_ms, after.deadline_kind) == (22_000, DeadlineKind.QUEUE)
        assert kinds(transition) == [EventKind.STEP_RETRYING]

    def test_a_retry_with_a_countdown_waits_for_it_first(self) -> None:
        after = runs.queue_again(RUNNING, attempt=1, run_id="run", delay_ms=30_000, now_ms=21_000).after

        assert after.deadline_ms == 52_000

    def test_without_a_timeout_the_retry_waits_for_a_worker_like_any_message(self) -> None:
        unlimited = replace(RUNNING, timeout_ms=None)

        assert runs.queue_again(unlimited, attempt=1, run_id="run", now_ms=21_000).after.deadline_ms == 26_000

    def test_a_retry_by_a_run_that_the_store_was_not_told_of_goes_on(self) -> None:
        transition = runs.queue_again(QUEUED, attempt=1, run_id="run", celery_retries=1, now_ms=21_000)

        assert (transition.after.celery_retries, transition.verdict) == (1, Verdict.ACCEPTED)

    def test_nobody_sends_a_replaced_attempt_again(self) -> None:
        waiting = replace(SECOND, run_id=None)

        transition = runs.queue_again(waiting, attempt=1, run_id=None, celery_retries=1, now_ms=31_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.STALE)

    def test_the_main_process_may_send_the_task_of_a_child_that_died(self) -> None:
        assert runs.queue_again(RUNNING, attempt=1, run_id=None, now_ms=21_000).after.run_id is None

    @pytest.mark.parametrize("sender", [{"attempt": 1, "run_id": "run"}, {"attempt": 2, "run_id": "run"}])
    def test_a_run_that_was_replaced_cannot_send_the_step_again(self, sender: dict[str, Any]) -> None:
        transition = runs.queue_again(SECOND, **sender, now_ms=31_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.STALE)

    def test_the_retry_of_a_copy_that_went_on_without_an_answer_takes_no_later_retry_back(self) -> None:
        retried_twice = runs.queue_again(RUNNING, attempt=1, run_id="run", celery_retries=2, now_ms=21_000).after

        transition = runs.queue_again(retried_twice, attempt=1, run_id="copy", celery_retries=1, now_ms=21_100)

        assert (transition.is_change, transition.verdict) == (False, Verdict.STALE)

    def test_a_task_that_replaces_itself_after_retries_begins_to_count_anew(self) -> None:
        retry = replace(RUNNING, celery_retries=2)

        replaced = [runs.queue_again(retry, attempt=1, run_id=run_id, now_ms=21_000) for run_id in ("run", None)]

        assert [transition.after.celery_retries for transition in replaced] == [0, 0]

    def test_nobody_takes_the_finish_from_the_run_that_has_claimed_it(self) -> None:
        finishing = runs.claim_finish(SECOND, attempt=1, run_id="first", now_ms=31_000).after

        taken = [
            runs.queue_again(finishing, attempt=2, run_id=SECOND.run_id, now_ms=31_100),
            runs.queue_again(finishing, attempt=2, run_id=None, now_ms=31_100),
            outcomes.lose(finishing, "child gone", attempt=2, now_ms=31_100),
            outcomes.cancel(finishing, attempt=2, run_id=SECOND.run_id, now_ms=31_100),
        ]

        assert [transition.is_change for transition in taken] == [False] * 4

    @pytest.mark.parametrize("finished", TERMINAL, ids=lambda step: step.state)
    def test_a_finished_step_is_not_sent_again(self, finished: ProcessStep) -> None:
        transition = runs.queue_again(finished, attempt=1, run_id=None, now_ms=31_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.FINISHED)


class TestStart:
    def test_the_time_of_a_run_counts_from_its_start(self) -> None:
        transition = runs.start(QUEUED, run_id="run", attempt=1, worker="w1", now_ms=20_000)

        after = transition.after
        assert (after.state, after.started_at_ms, after.worker) == (StepState.IN_PROGRESS, 20_000, "w1")
        assert (after.deadline_ms, after.deadline_kind) == (21_000, DeadlineKind.RUN)
        assert kinds(transition) == [EventKind.STEP_STARTED]

    def test_a_step_without_a_timeout_may_run_as_long_as_it_likes(self) -> None:
        after = runs.start(replace(QUEUED, timeout_ms=None), run_id="run", now_ms=20_000).after

        assert (after.deadline_ms, after.deadline_kind) == (None, None)

    def test_a_step_that_was_never_queued_starts_as_its_first_attempt(self) -> None:
        assert runs.start(PENDING, run_id="run", now_ms=20_000).after.attempt == 1

    def test_asking_again_with_the_same_run_is_accepted_and_changes_nothing(self) -> None:
        transition = runs.start(RUNNING, run_id="run", attempt=1, now_ms=20_500)

        assert (transition.is_change, transition.verdict) == (False, Verdict.ACCEPTED)

    def test_only_one_run_of_an_attempt_starts(self) -> None:
        transition = runs.start(RUNNING, run_id="copy", attempt=1, now_ms=20_500)

        assert transition.verdict is Verdict.DUPLICATE
        assert transition.after is RUNNING
        assert [event.detail for event in transition.events] == ["duplicate"]

    def test_a_replaced_attempt_does_not_start(self) -> None:
        transition = runs.start(SECOND, run_id="run", attempt=1, now_ms=31_000)

        assert transition.verdict is Verdict.STALE
        assert transition.after is SECOND

    def test_a_message_of_a_newer_attempt_than_the_stored_one_starts_it(self) -> None:
        after = runs.start(RUNNING, run_id="other", attempt=2, now_ms=30_000).after

        assert (after.attempt, after.run_id, after.started_at_ms) == (2, "other", 30_000)

    def test_a_copy_from_before_celerys_retry_does_not_start(self) -> None:
        retrying = runs.queue_again(RUNNING, attempt=1, run_id="run", celery_retries=1, now_ms=21_000).after

        verdicts = [
            runs.start(retrying, run_id="copy", attempt=1, celery_retries=retries, now_ms=21_100).verdict
            for retries in (0, 1)
        ]

        assert verdicts == [Verdict.STALE, Verdict.ACCEPTED]

    def test_a_retry_that_the_store_was_not_told_of_starts_all_the_same(self) -> None:
        transition = runs.start(RUNNING, run_id="retry", attempt=1, celery_retries=1, now_ms=21_000)

        assert (transition.verdict, transition.after.run_id) == (Verdict.ACCEPTED, "retry")

    def test_such_a_retry_says_which_run_sent_it_and_starts_only_in_its_place(self) -> None:
        verdicts = [
            runs.start(RUNNING, run_id="retry", attempt=1, celery_retries=1, sent_by=sent_by, now_ms=21_000).verdict
            for sent_by in ("run", "copy")
        ]

        assert verdicts == [Verdict.ACCEPTED, Verdict.DUPLICATE]

    def test_no_run_starts_while_another_sends_its_chain(self) -> None:
        finishing = runs.claim_finish(SECOND, attempt=1, run_id="run", now_ms=31_000).after

        transition = runs.start(finishing, run_id="retry", attempt=2, celery_retries=1, now_ms=31_001)

        assert (transition.after, transition.verdict) == (finishing, Verdict.DUPLICATE)

    def test_a_call_that_was_not_queued_is_the_steps_from_its_start(self) -> None:
        started = runs.start(PENDING, run_id="run", task_id="task", args_digest="args", now_ms=11_000).after

        assert (started.task_id, started.args_digest) == ("task", "args")

    def test_a_step_that_was_reopened_without_a_message_is_of_whatever_call_does_it_next(self) -> None:
        failed = replace(FAILED, task_id="task", args_digest="args")
        reopened = outcomes.reopen(failed, has_message=False, now_ms=30_000).after

        started = runs.start(reopened, run_id="run", task_id="other", args_digest="others", now_ms=31_000).after

        assert (reopened.task_id, reopened.args_digest) == (None, None)
        assert (started.task_id, started.args_digest) == ("other", "others")

    @pytest.mark.parametrize("finished", TERMINAL, ids=lambda step: step.state)
    def test_a_finished_step_does_not_start(self, finished: ProcessStep) -> None:
        transition = runs.start(finished, run_id="run", attempt=9, now_ms=30_000)

        assert transition.verdict is Verdict.FINISHED
        assert transition.after is finished


OTHER_CALL = {"task_id": "other", "args_digest": "others"}


class TestOfCall:
    """A message that the store was not told of before it went out."""

    @pytest.mark.parametrize(
        "step", [QUEUED, RUNNING, *(replace(one, task_id="task", args_digest="args") for one in TERMINAL)]
    )
    @pytest.mark.parametrize(
        "rule",
        [
            partial(runs.start, run_id="other", attempt=1, task_id="other"),
            partial(runs.claim_finish, run_id="other", attempt=1),
            partial(runs.queue_again, run_id=None, attempt=1),
            partial(outcomes.complete, run_id="other", attempt=1),
            partial(outcomes.fail, error="broken", run_id="other", attempt=1),
            partial(outcomes.lose, reason="gone", run_id="other", attempt=1),
        ],
        ids=lambda rule: rule.func.__name__,
    )
    def test_another_call_does_nothing_to_the_step_and_logs_nothing(self, step: ProcessStep, rule: Rule) -> None:
        transition = runs.of_call(rule, **OTHER_CALL)(step, now_ms=21_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.UNTRACKED)

    @pytest.mark.parametrize(
        "known",
        [
            {"task_id": "other", "args_digest": "args"},
            {"task_id": "task", "args_digest": "others"},
            {"task_id": "other", "args_digest": None},
        ],
        ids=["the same arguments", "its own task", "any call"],
    )
    def test_what_is_not_known_to_be_another_call_may_complete_it(self, known: dict[str, Any]) -> None:
        rule = runs.of_call(partial(outcomes.complete, run_id="other"), **known)

        assert rule(RUNNING, now_ms=21_000).after.state is StepState.COMPLETED

    @pytest.mark.parametrize("step", [PENDING, replace(RUNNING, args_digest=None)], ids=["pending", "unknown call"])
    def test_a_step_of_which_nobody_knows_the_call_may_be_any_ones(self, step: ProcessStep) -> None:
        rule = runs.of_call(partial(outcomes.complete, run_id="other"), **OTHER_CALL)

        assert rule(step, now_ms=21_000).after.state is StepState.COMPLETED


class TestClaimFinish:
    def test_the_first_run_to_ask_may_finish_and_no_other(self) -> None:
        first = runs.claim_finish(SECOND, attempt=1, run_id="run", now_ms=31_000)
        second = runs.claim_finish(first.after, attempt=2, run_id="other", now_ms=31_001)

        assert first.verdict is Verdict.ACCEPTED
        assert first.after.deadline_ms == 31_000 + HANDOFF_MS
        assert second.verdict is Verdict.DUPLICATE

    @pytest.mark.parametrize(
        ("timeout_ms", "deadline_ms"), [(60_000, 80_000), (1_000, 20_500 + HANDOFF_MS), (None, None)]
    )
    def test_the_run_that_holds_its_attempt_finishes_under_its_lease_within_its_own_time(
        self, timeout_ms: int | None, deadline_ms: int | None
    ) -> None:
        queued = replace(QUEUED, timeout_ms=timeout_ms)
        running = runs.start(queued, run_id="run", attempt=1, is_leased=True, now_ms=20_000).after

        after = runs.claim_finish(running, attempt=1, run_id="run", now_ms=20_500).after

        assert (after.is_leased, after.deadline_ms, after.finishing_at_ms) == (True, deadline_ms, 20_500)
        assert after.deadline_kind == (None if deadline_ms is None else DeadlineKind.RUN)

    @pytest.mark.parametrize(
        ("step", "run_id"), [(SECOND, "run"), (replace(RUNNING, is_leased=False), "run")], ids=["replaced", "eager"]
    )
    def test_a_run_that_nobody_watches_over_has_a_moment_to_finish(self, step: ProcessStep, run_id: str) -> None:
        after = runs.claim_finish(step, attempt=1, run_id=run_id, now_ms=31_000).after

        assert (after.is_leased, after.deadline_ms) == (False, 31_000 + HANDOFF_MS)

    def test_asking_again_is_accepted_again(self) -> None:
        claimed = runs.claim_finish(SECOND, attempt=1, run_id="run", now_ms=31_000).after

        transition = runs.claim_finish(claimed, attempt=1, run_id="run", now_ms=31_001)

        assert (transition.is_change, transition.verdict) == (False, Verdict.ACCEPTED)

    def test_nobody_else_completes_while_one_run_finishes(self) -> None:
        claimed = runs.claim_finish(SECOND, attempt=1, run_id="run", now_ms=31_000).after

        late = outcomes.complete(claimed, attempt=2, run_id="other", now_ms=31_001)
        done = outcomes.complete(claimed, attempt=1, run_id="run", now_ms=31_002)

        assert late.after is claimed
        assert done.after.state is StepState.COMPLETED

    def test_a_copy_that_went_on_without_an_answer_may_not_finish_beside_the_run_that_holds_the_attempt(self) -> None:
        transition = runs.claim_finish(RUNNING, attempt=1, run_id="copy", now_ms=20_500)

        assert (transition.after, transition.verdict) == (RUNNING, Verdict.DUPLICATE)

    def test_a_retry_by_celery_that_went_on_without_an_answer_may_finish(self) -> None:
        transition = runs.claim_finish(
            RUNNING, attempt=1, celery_retries=1, sent_by="run", run_id="retry", now_ms=20_500
        )

        assert (transition.after.run_id, transition.verdict) == ("retry", Verdict.ACCEPTED)

    def test_a_retry_of_a_mere_copy_that_went_on_without_an_answer_may_not(self) -> None:
        transition = runs.claim_finish(
            RUNNING, attempt=1, celery_retries=1, sent_by="copy", run_id="retry", now_ms=20_500
        )

        assert (transition.after, transition.verdict) == (RUNNING, Verdict.DUPLICATE)

    def test_a_copy_of_what_celery_has_sent_again_may_not_finish_before_the_retry_starts(self) -> None:
        retrying = runs.queue_again(RUNNING, attempt=1, run_id="run", celery_retries=1, now_ms=21_000).after

        transition = runs.claim_finish(retrying, attempt=1, celery_retries=0, run_id="copy", now_ms=21_100)

        assert (transition.after, transition.verdict) == (retrying, Verdict.DUPLICATE)

    def test_not_even_the_retry_of_a_run_may_finish_beside_it(self) -> None:
        finishing = runs.claim_finish(RUNNING, attempt=1, run_id="run", now_ms=21_000).after

        transition = runs.claim_finish(
            finishing, attempt=1, celery_retries=1, run_id="retry", sent_by="run", now_ms=21_100
        )

        assert (transition.after, transition.verdict) == (finishing, Verdict.DUPLICATE)

    def test_an_attempt_may_finish_while_the_next_has_only_been_retried(self) -> None:
        retrying = runs.queue_again(SECOND, attempt=2, run_id="other", celery_retries=1, now_ms=31_000).after

        transition = runs.claim_finish(retrying, attempt=1, celery_retries=0, run_id="run", now_ms=31_100)

        assert (transition.after.run_id, transition.verdict) == ("run", Verdict.ACCEPTED)

    def test_no_run_of_a_finished_step_may_finish(self) -> None:
        transition = runs.claim_finish(COMPLETED, attempt=1, run_id="other", now_ms=31_000)

        assert transition.verdict is Verdict.FINISHED


class TestWithdraw:
    """The message could not be published, and the sender was told."""

    def test_the_step_is_as_if_nothing_had_been_sent_but_for_the_reason(self) -> None:
        transition = runs.withdraw(QUEUED, "no broker", task_id="task", now_ms=11_000)

        after = transition.after
        assert (after.state, after.task_id, after.args_digest) == (StepState.PENDING, None, None)
        assert (after.deadline_ms, after.deadline_kind, after.last_error) == (None, None, "not sent: no broker")
        assert kinds(transition) == [EventKind.STEP_WITHDRAWN]
        again = runs.queue(after, task_id="again", args_digest="others", now_ms=12_000)
        assert (again.verdict, again.after.task_id) == (Verdict.ACCEPTED, "again")

    def test_a_message_that_the_broker_had_all_the_same_may_start(self) -> None:
        withdrawn = runs.withdraw(QUEUED, "no answer", task_id="task", now_ms=11_000).after

        started = runs.start(withdrawn, run_id="run", attempt=1, task_id="task", now_ms=12_000)

        assert (started.verdict, started.after.task_id) == (Verdict.ACCEPTED, "task")

    @pytest.mark.parametrize(
        "step",
        [
            RUNNING,
            replace(RUNNING, deadline_kind=DeadlineKind.QUEUE),
            PENDING,
            replace(QUEUED, deadline_kind=DeadlineKind.HANDOFF),
            replace(QUEUED, task_id="another"),
            replace(QUEUED, resend_count=1),
            *TERMINAL,
        ],
    )
    def test_what_has_started_gone_on_or_is_of_another_message_stays_as_it_is(self, step: ProcessStep) -> None:
        assert not runs.withdraw(step, "no broker", task_id="task", now_ms=31_000).is_change


class TestPutBack:
    """A worker does not know the task."""

    @pytest.mark.parametrize(
        ("copies", "wait_ms"), [(0, PUT_BACK_MS), (2, 4 * PUT_BACK_MS), (50, 2**MAX_DOUBLINGS * PUT_BACK_MS)]
    )
    @pytest.mark.parametrize("kind", [DeadlineKind.QUEUE, DeadlineKind.HANDOFF])
    def test_a_copy_is_sent_in_a_while_and_no_retry_is_used(
        self, kind: DeadlineKind, copies: int, wait_ms: int
    ) -> None:
        waiting = replace(QUEUED, resend_count=copies, deadline_kind=kind)

        transition = runs.put_back(waiting, "unknown", attempt=1, now_ms=11_000)

        after = transition.after
        assert (after.deadline_ms, after.deadline_kind) == (11_000 + wait_ms, DeadlineKind.QUEUE)
        assert (after.state, after.attempt, after.retry_count) == (StepState.PENDING, 1, 0)
        assert [(event.kind, event.detail) for event in transition.events] == [(EventKind.STEP_RELEASED, "unknown")]

    def test_a_message_that_waits_on_purpose_is_not_sent_before_its_time(self) -> None:
        delayed = runs.queue(PENDING, task_id="task", args_digest="", now_ms=10_000, delay_ms=60_000).after
        retried = runs.queue_again(
            RUNNING, attempt=1, run_id="run", celery_retries=1, now_ms=20_000, delay_ms=60_000
        ).after

        after = [runs.put_back(step, "unknown", attempt=1, now_ms=20_000).after for step in (delayed, retried)]

        assert [step.deadline_ms for step in after] == [70_000, 80_000]

    @pytest.mark.parametrize(
        "fields", [{"resend_count": 1}, {"deadline_kind": DeadlineKind.HANDOFF}], ids=["copied", "to be sent"]
    )
    def test_a_later_clock_is_no_reason_to_wait_where_no_message_waits_on_purpose(self, fields: dict[str, Any]) -> None:
        step = replace(QUEUED, deadline_ms=70_000, **fields)

        after = runs.put_back(step, "unknown", attempt=1, now_ms=20_000).after

        assert after.deadline_ms == 20_000 + PUT_BACK_MS * 2**step.resend_count

    @pytest.mark.parametrize(
        "step",
        [
            RUNNING,
            replace(RUNNING, deadline_kind=DeadlineKind.QUEUE),
            SECOND,
            replace(SECOND, run_id=None, deadline_kind=DeadlineKind.QUEUE),
            PENDING,
            replace(QUEUED, deadline_kind=DeadlineKind.BACKOFF),
            replace(QUEUED, deadline_kind=DeadlineKind.GIVING_UP),
            *(replace(one, run_id=None) for one in TERMINAL),
        ],
    )
    def test_a_copy_of_what_runs_is_replaced_or_over_changes_nothing(self, step: ProcessStep) -> None:
        transition = runs.put_back(step, "unknown", attempt=1, now_ms=31_000)

        assert (transition.is_change, transition.verdict) == (False, Verdict.STALE)


class TestLettingGo:
    def test_a_released_attempt_may_start_again_and_is_sent_again_if_it_does_not(self) -> None:
        released = runs.release(RUNNING, attempt=1, run_id="run", resend_in_ms=3_000, now_ms=20_500).after

        assert (released.deadline_ms, released.deadline_kind) == (23_500, DeadlineKind.QUEUE)
        assert runs.start(released, run_id="again", attempt=1, now_ms=21_000).verdict is Verdict.ACCEPTED

    def test_a_step_that_was_handed_over_keeps_its_time(self) -> None:
        after = runs.hand_over(RUNNING, attempt=1, run_id="run", now_ms=20_500).after

        assert (after.state, after.is_leased) == (StepState.IN_PROGRESS, False)
        assert (after.deadline_ms, after.deadline_kind) == (21_500, DeadlineKind.RUN)

    def test_without_a_timeout_it_has_the_time_of_a_message(self) -> None:
        unlimited = replace(RUNNING, timeout_ms=None)

        assert runs.hand_over(unlimited, attempt=1, run_id="run", now_ms=20_500).after.deadline_ms == 25_500

    @pytest.mark.parametrize(
        ("step", "attempt", "run_id"),
        [(SECOND, 1, "run"), (RUNNING, 1, "copy"), (RUNNING, 2, "run"), (COMPLETED, 1, "run")],
        ids=["a replaced run", "another run", "another attempt", "a finished step"],
    )
    def test_a_run_lets_go_only_of_what_it_holds(self, step: ProcessStep, attempt: int, run_id: str) -> None:
        for transition in (
            runs.release(step, attempt=attempt, run_id=run_id, resend_in_ms=3_000, now_ms=31_000),
            runs.hand_over(step, attempt=attempt, run_id=run_id, now_ms=31_000),
        ):
            assert (transition.is_change, transition.verdict) == (False, Verdict.STALE)


class TestHeartbeat:
    def test_a_heartbeat_moves_the_deadline_from_now(self) -> None:
        after = runs.heartbeat(RUNNING, attempt=1, run_id="run", extend_ms=9_000, now_ms=20_900).after

        assert after.deadline_ms == 29_900

    @pytest.mark.parametrize(
        ("step", "attempt", "run_id", "verdict"),
        [
            (SECOND, 1, "run", Verdict.STALE),
            (RUNNING, 1, "copy", Verdict.STALE),
            (RUNNING, 2, "run", Verdict.STALE),
            (COMPLETED, 1, "run", Verdict.FINISHED),
        ],
        ids=["a replaced run", "another run", "another attempt", "a finished step"],
    )
    def test_a_replaced_or_finished_run_gets_no_more_time(
        self, step: ProcessStep, attempt: int, run_id: str, verdict: Verdict
    ) -> None:
        transition = runs.heartbeat(step, attempt=attempt, run_id=run_id, extend_ms=9_000, now_ms=31_000)

        assert (transition.is_change, transition.verdict) == (False, verdict)
