import pytest
from msgspec.structs import replace

from tests.unit.domain.steps import kinds
from trellis_celery.domain import outcomes, runs, timeouts
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.step import DeadlineKind, OnTimeout, ProcessStep, StepState
from trellis_celery.domain.timeouts import Action
from trellis_celery.domain.transitions import HANDOFF_MS, MAX_DOUBLINGS, Verdict

STEP = ProcessStep("step", timeout_ms=1_000, retries_permitted=1, queue_timeout_ms=5_000, version=1)
QUEUED = runs.queue(STEP, task_id="task", args_digest="", now_ms=0).after
RUNNING = runs.start(QUEUED, run_id="run", attempt=1, is_leased=True, worker="w1", now_ms=10_000).after
LATE_MS = 11_000


class TestTimeOut:
    def test_a_step_in_time_is_left_alone(self) -> None:
        action, transition = timeouts.time_out(RUNNING, now_ms=LATE_MS - 1)

        assert action is Action.NOTHING
        assert not transition.is_change

    def test_a_finished_step_is_left_alone(self) -> None:
        finished = replace(outcomes.complete(RUNNING, now_ms=10_500).after, deadline_ms=1, is_leased=True)

        assert timeouts.time_out(finished, now_ms=LATE_MS, lapsed_attempt=1)[0] is Action.NOTHING

    def test_a_late_run_is_followed_by_the_next_attempt(self) -> None:
        action, transition = timeouts.time_out(RUNNING, now_ms=LATE_MS)

        after = transition.after
        assert action is Action.RETRY
        assert (after.attempt, after.retry_count, after.run_id, after.is_leased) == (2, 1, None, False)
        assert (after.deadline_ms, after.deadline_kind) == (LATE_MS + HANDOFF_MS, DeadlineKind.HANDOFF)
        assert [(event.kind, event.attempt) for event in transition.events] == [(EventKind.STEP_TIMED_OUT, 1)]

    def test_the_next_deadline_counts_from_now(self) -> None:
        after_an_outage_ms = LATE_MS + 3_600_000

        after = timeouts.time_out(RUNNING, now_ms=after_an_outage_ms)[1].after

        assert after.deadline_ms is not None
        assert after.deadline_ms > after_an_outage_ms

    def test_a_step_is_given_up_when_no_retry_is_left(self) -> None:
        last = replace(RUNNING, attempt=2, retry_count=1)

        action, transition = timeouts.time_out(last, now_ms=LATE_MS)

        assert action is Action.GIVE_UP
        assert transition.after.state is StepState.IN_PROGRESS
        assert (transition.after.attempt, transition.after.deadline_kind) == (2, DeadlineKind.GIVING_UP)

    @pytest.mark.parametrize("permitted", [0, 1, 2, 3])
    def test_there_is_one_attempt_more_than_retries_are_permitted(self, permitted: int) -> None:
        step, now_ms, actions = replace(RUNNING, retries_permitted=permitted), LATE_MS, []

        while not actions or actions[-1] is Action.RETRY:
            action, transition = timeouts.time_out(step, now_ms=now_ms)
            actions.append(action)
            attempt = transition.after.attempt
            step = runs.start(transition.after, run_id=f"run {attempt}", attempt=attempt, now_ms=now_ms).after
            now_ms += 1_000

        assert actions == [Action.RETRY] * permitted + [Action.GIVE_UP]

    def test_a_step_that_must_not_run_twice_is_only_told(self) -> None:
        alerting = replace(RUNNING, on_timeout=OnTimeout.ALERT)

        action, transition = timeouts.time_out(alerting, now_ms=LATE_MS)

        after = transition.after
        assert action is Action.ALERT
        assert (after.state, after.attempt, after.run_id) == (StepState.IN_PROGRESS, 1, "run")
        assert after.has_incident
        assert (after.deadline_ms, after.deadline_kind) == (LATE_MS + HANDOFF_MS, DeadlineKind.TELLING)
        assert kinds(transition) == [EventKind.STEP_TIMED_OUT]

        told = timeouts.confirm_alert(after, attempt=1, now_ms=LATE_MS).after

        assert (told.deadline_ms, told.deadline_kind, told.has_incident) == (None, None, True)

    def test_an_alert_that_nobody_confirmed_is_told_again_and_logged_once(self) -> None:
        alerting = replace(RUNNING, on_timeout=OnTimeout.ALERT)
        claimed = timeouts.time_out(alerting, now_ms=LATE_MS)[1].after

        action, transition = timeouts.time_out(claimed, now_ms=LATE_MS + HANDOFF_MS)

        assert (action, transition.events) == (Action.ALERT, ())
        assert transition.after == replace(claimed, deadline_ms=LATE_MS + 2 * HANDOFF_MS)

    def test_a_heartbeat_does_not_keep_an_alert_from_being_told(self) -> None:
        claimed = timeouts.time_out(replace(RUNNING, on_timeout=OnTimeout.ALERT), now_ms=LATE_MS)[1].after

        beat = runs.heartbeat(claimed, attempt=1, run_id="run", extend_ms=60_000, now_ms=LATE_MS + 1)
        told = timeouts.confirm_alert(claimed, attempt=1, now_ms=LATE_MS + 2).after
        next_beat = runs.heartbeat(told, attempt=1, run_id="run", extend_ms=60_000, now_ms=LATE_MS + 3)

        assert (beat.is_change, beat.verdict) == (False, Verdict.ACCEPTED)
        assert next_beat.after.deadline_ms == LATE_MS + 60_003

    def test_a_late_confirmation_of_an_alert_leaves_a_newer_attempt_and_a_newer_clock_alone(self) -> None:
        claimed = timeouts.time_out(replace(RUNNING, on_timeout=OnTimeout.ALERT), now_ms=LATE_MS)[1].after
        other_attempt, other_clock = replace(claimed, attempt=2), replace(claimed, deadline_kind=DeadlineKind.RUN)

        for step in (other_attempt, other_clock):
            assert not timeouts.confirm_alert(step, attempt=1, now_ms=LATE_MS).is_change

    def test_a_lost_worker_is_noticed_before_the_deadline(self) -> None:
        action, transition = timeouts.time_out(RUNNING, now_ms=10_500, lapsed_attempt=1)

        assert action is Action.RETRY
        assert transition.after.last_error == "worker lost: w1"
        assert kinds(transition) == [EventKind.RUN_LOST, EventKind.STEP_TIMED_OUT]

    def test_a_lapsed_lease_of_a_replaced_attempt_means_nothing(self) -> None:
        second = runs.start(RUNNING, run_id="other", attempt=2, is_leased=True, now_ms=10_400).after

        assert timeouts.time_out(second, now_ms=10_500, lapsed_attempt=1)[0] is Action.NOTHING

    def test_a_lease_that_lapsed_before_a_retry_by_celery_says_nothing_of_the_run_that_follows(self) -> None:
        retrying = runs.queue_again(RUNNING, attempt=1, run_id="run", celery_retries=1, now_ms=15_100).after
        again = runs.start(retrying, run_id="retry", attempt=1, celery_retries=1, is_leased=True, now_ms=15_200).after

        of_the_first = timeouts.time_out(again, now_ms=15_300, lapsed_attempt=1, lapsed_ms=15_000)
        of_the_second = timeouts.time_out(again, now_ms=21_000, lapsed_attempt=1, lapsed_ms=20_200)

        assert of_the_first[0] is Action.NOTHING
        assert of_the_second[0] is Action.RETRY
        assert not timeouts.is_lost(again, now_ms=15_300, lapsed_attempt=1, lapsed_ms=15_000)

    def test_a_lease_lapses_though_the_clock_was_set_back_since_the_run_started(self) -> None:
        running = replace(RUNNING, started_at_ms=3_600_000)

        action, _ = timeouts.time_out(running, now_ms=5_000, lapsed_attempt=1, lapsed_ms=4_900)

        assert action is Action.RETRY

    def test_a_lease_that_lapsed_before_its_run_asked_to_finish_means_nothing(self) -> None:
        finishing = runs.claim_finish(RUNNING, attempt=1, run_id="run", now_ms=10_500).after

        before = timeouts.time_out(finishing, now_ms=10_600, lapsed_attempt=1, lapsed_ms=10_400)
        since = timeouts.time_out(finishing, now_ms=10_700, lapsed_attempt=1, lapsed_ms=10_600)

        assert before[0] is Action.NOTHING
        assert since[0] is Action.RETRY
        assert not since[1].after.is_finishing

    def test_a_lapsed_lease_means_nothing_once_the_run_needs_none(self) -> None:
        finishing = runs.claim_finish(RUNNING, attempt=1, run_id="late", celery_retries=1, now_ms=10_500).after

        assert not finishing.is_leased
        assert timeouts.time_out(finishing, now_ms=10_600, lapsed_attempt=1, lapsed_ms=10_600)[0] is Action.NOTHING

    def test_the_reason_why_a_run_was_lost_is_kept(self) -> None:
        lost = outcomes.lose(RUNNING, "killed by signal 9", attempt=1, now_ms=10_500).after

        transition = timeouts.time_out(lost, now_ms=10_500)[1]
        assert transition.after.last_error == "killed by signal 9"
        assert kinds(transition) == [EventKind.STEP_TIMED_OUT], "that it is lost was told before"

    def test_the_reason_of_an_earlier_attempt_is_not_that_of_a_late_one(self) -> None:
        second = replace(RUNNING, last_error="killed by signal 9")

        assert timeouts.time_out(second, now_ms=LATE_MS)[1].after.last_error == "no outcome after 1000 ms"

    def test_a_step_without_a_timeout_may_have_been_given_a_time_all_the_same(self) -> None:
        running = runs.start(ProcessStep("step"), run_id="run", now_ms=10_000).after
        given = runs.heartbeat(running, attempt=1, run_id="run", extend_ms=500, now_ms=10_000).after

        assert (
            timeouts.time_out(given, now_ms=LATE_MS)[1].after.last_error
            == "no outcome within the time that it was given"
        )

    def test_a_run_that_was_lost_without_a_reason_gets_one(self) -> None:
        lost = outcomes.lose(RUNNING, "", attempt=1, now_ms=10_500).after

        assert timeouts.time_out(lost, now_ms=10_500)[1].after.last_error == "no outcome after 1000 ms"

    def test_a_run_that_takes_too_long_is_not_lost(self) -> None:
        assert kinds(timeouts.time_out(RUNNING, now_ms=LATE_MS)[1]) == [EventKind.STEP_TIMED_OUT]


class TestQueueWait:
    def test_a_message_that_waits_too_long_is_sent_again_as_the_same_attempt(self) -> None:
        action, transition = timeouts.time_out(QUEUED, now_ms=5_000)

        after = transition.after
        assert action is Action.RESEND
        assert (after.attempt, after.retry_count, after.resend_count) == (1, 0, 1)

    def test_waiting_for_a_worker_never_fails_a_step(self) -> None:
        step, now_ms = replace(QUEUED, retries_permitted=0), 0

        for _ in range(50):
            now_ms = step.deadline_ms or 0
            action, transition = timeouts.time_out(step, now_ms=now_ms)
            assert action is Action.RESEND
            step = timeouts.confirm(transition.after, attempt=1, now_ms=now_ms).after

        assert step.state is StepState.PENDING

    def test_the_wait_doubles_with_each_copy_up_to_a_limit(self) -> None:
        step, waits = QUEUED, []

        for _ in range(MAX_DOUBLINGS + 2):
            now_ms = step.deadline_ms or 0
            claimed = timeouts.time_out(step, now_ms=now_ms)[1].after
            step = timeouts.confirm(claimed, attempt=1, now_ms=now_ms).after
            waits.append((step.deadline_ms or 0) - now_ms)

        doubled = [5_000 * 2**count for count in range(1, MAX_DOUBLINGS + 1)]
        assert waits == [*doubled, doubled[-1], doubled[-1]]


class TestCrashedChecker:
    def test_a_claim_that_was_not_settled_is_made_again_for_the_same_attempt(self) -> None:
        claimed = timeouts.time_out(RUNNING, now_ms=LATE_MS)[1].after

        action, transition = timeouts.time_out(claimed, now_ms=LATE_MS + HANDOFF_MS)

        assert action is Action.RESEND
        assert (transition.after.attempt, transition.after.retry_count) == (2, 1)
        assert transition.events == ()

    def test_giving_up_that_was_not_settled_is_told_again(self) -> None:
        last = replace(RUNNING, retries_permitted=0)
        claimed = timeouts.time_out(last, now_ms=LATE_MS)[1].after

        action, transition = timeouts.time_out(claimed, now_ms=LATE_MS + HANDOFF_MS)

        assert action is Action.GIVE_UP
        assert transition.after.deadline_ms == LATE_MS + 2 * HANDOFF_MS


class TestBackoff:
    STEP = replace(RUNNING, backoff_ms=100, backoff_max_ms=350, retries_permitted=9)

    def test_the_next_attempt_waits(self) -> None:
        action, transition = timeouts.time_out(self.STEP, now_ms=LATE_MS)

        after = transition.after
        assert action is Action.BACK_OFF
        assert (after.attempt, after.deadline_ms, after.deadline_kind) == (2, LATE_MS + 100, DeadlineKind.BACKOFF)

    def test_then_it_is_sent(self) -> None:
        waiting = timeouts.time_out(self.STEP, now_ms=LATE_MS)[1].after

        assert timeouts.time_out(waiting, now_ms=LATE_MS + 99)[0] is Action.NOTHING
        action, transition = timeouts.time_out(waiting, now_ms=LATE_MS + 100)
        assert action is Action.RESEND
        assert (transition.after.attempt, transition.after.retry_count) == (2, 1)

    def test_the_wait_doubles_up_to_its_maximum(self) -> None:
        waits = [timeouts.backoff_ms(replace(self.STEP, retry_count=count), 0.0) for count in (0, 1, 2, 3, 900)]

        assert waits == [100, 200, 350, 350, 350]

    def test_chance_shortens_the_wait_by_half_at_the_most(self) -> None:
        assert timeouts.backoff_ms(self.STEP, 0.5) == 75
        assert timeouts.backoff_ms(self.STEP, 0.999_999) == 50
        assert timeouts.backoff_ms(replace(self.STEP, backoff_ms=1), 0.999_999) == 1


class TestSettling:
    CLAIMED = timeouts.time_out(RUNNING, now_ms=LATE_MS)[1].after

    def test_a_sent_attempt_waits_for_a_worker(self) -> None:
        transition = timeouts.confirm(self.CLAIMED, attempt=2, now_ms=LATE_MS + 10)

        assert (transition.after.deadline_ms, transition.after.deadline_kind) == (LATE_MS + 5_010, DeadlineKind.QUEUE)
        assert [event.kind for event in transition.events] == [EventKind.STEP_REENQUEUED]

    def test_an_attempt_that_somebody_was_told_of_runs(self) -> None:
        after = timeouts.confirm_told(self.CLAIMED, attempt=2, now_ms=LATE_MS + 10).after

        assert (after.deadline_ms, after.deadline_kind) == (LATE_MS + 1_010, DeadlineKind.RUN)

    def test_without_a_timeout_whoever_was_told_has_the_time_of_a_message(self) -> None:
        unlimited = replace(self.CLAIMED, timeout_ms=None)

        assert timeouts.confirm_told(unlimited, attempt=2, now_ms=LATE_MS).after.deadline_ms == LATE_MS + 5_000

    def test_nothing_of_a_finished_step_is_settled_whatever_clock_it_has(self) -> None:
        for settle, kind in (
            (timeouts.confirm, DeadlineKind.HANDOFF),
            (timeouts.confirm_told, DeadlineKind.HANDOFF),
            (timeouts.give_up, DeadlineKind.GIVING_UP),
        ):
            finished = replace(self.CLAIMED, state=StepState.COMPLETED, deadline_kind=kind)
            assert not settle(finished, attempt=2, now_ms=LATE_MS + 10).is_change

    def test_a_checker_that_comes_late_settles_no_later_attempt(self) -> None:
        given_up = timeouts.time_out(replace(RUNNING, retries_permitted=0), now_ms=LATE_MS)[1].after
        for settle, claimed in (
            (timeouts.confirm, self.CLAIMED),
            (timeouts.confirm_told, self.CLAIMED),
            (timeouts.give_up, replace(given_up, attempt=2)),
        ):
            assert not settle(claimed, attempt=1, now_ms=LATE_MS + 10).is_change

    def test_an_attempt_that_was_started_meanwhile_needs_no_confirmation(self) -> None:
        started = runs.start(self.CLAIMED, run_id="next", attempt=2, now_ms=LATE_MS + 5).after

        assert not timeouts.confirm(started, attempt=2, now_ms=LATE_MS + 10).is_change
        assert not timeouts.confirm_told(started, attempt=2, now_ms=LATE_MS + 10).is_change

    @pytest.mark.parametrize(("is_copy", "kind"), [(False, EventKind.STEP_REENQUEUED), (True, EventKind.STEP_RESENT)])
    def test_that_it_was_sent_is_logged_for_an_attempt_that_was_started_meanwhile(
        self, is_copy: bool, kind: EventKind
    ) -> None:
        started = runs.start(self.CLAIMED, run_id="next", attempt=2, now_ms=LATE_MS + 5).after

        transition = timeouts.log_sent(started, attempt=2, is_copy=is_copy, now_ms=LATE_MS + 4)

        assert transition.after is started
        assert [(event.kind, event.attempt, event.occurred_at_ms) for event in transition.events] == [
            (kind, 2, LATE_MS + 4)
        ]

    def test_an_attempt_whose_run_died_while_it_finished_is_not_said_to_have_taken_its_whole_time(self) -> None:
        finishing = runs.claim_finish(RUNNING, attempt=1, run_id="run", now_ms=20_100).after

        _, transition = timeouts.time_out(finishing, now_ms=20_100 + HANDOFF_MS)

        assert transition.after.last_error == "the body returned, and its run never said what came of it"

    def test_giving_up_fails_the_step_with_the_reason(self) -> None:
        claimed = timeouts.time_out(replace(RUNNING, retries_permitted=0), now_ms=LATE_MS)[1].after

        transition = timeouts.give_up(claimed, attempt=1, now_ms=LATE_MS + 10)

        after = transition.after
        assert (after.state, after.deadline_ms) == (StepState.FAILED, None)
        assert after.last_error == "gave up after attempt 1: no outcome after 1000 ms"
        assert [event.kind for event in transition.events] == [EventKind.STEP_GAVE_UP]

    def test_a_step_that_was_completed_meanwhile_is_not_given_up(self) -> None:
        claimed = timeouts.time_out(replace(RUNNING, retries_permitted=0), now_ms=LATE_MS)[1].after
        completed = outcomes.complete(claimed, now_ms=LATE_MS + 5).after

        assert not timeouts.give_up(completed, attempt=1, now_ms=LATE_MS + 10).is_change
