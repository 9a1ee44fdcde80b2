"""Find the steps whose time has run out and bring each one on.

A pass reads what is due, claims it step by step with a versioned write, sends the messages of what it won, and settles
it. Any number of passes may run at once, overlap or die at any point: see `domain.timeouts`. Nothing here takes a lock,
and one bad step never stops the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain import outcomes, timeouts, transitions
from trellis_celery.domain.events import ProcessStepTimedOut
from trellis_celery.domain.process import OWN_RECORD, mark_overdue
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.timeouts import Action
from trellis_celery.domain.transitions import Rule
from trellis_celery.logs import EventLogger
from trellis_celery.ports import (
    Change,
    Committed,
    Conflict,
    Due,
    EventSink,
    LastCheck,
    ProcessStore,
    Requeuer,
    Sending,
    StepKey,
    Tracer,
)
from trellis_celery.repositories import RepositoryStore, StepTrackerRepository
from trellis_celery.services.recorder import Recorder
from trellis_celery.services.spans import CheckSpans

logger = EventLogger(__name__)

#: A damaged record is looked at again after this time, ms.
QUARANTINE_MS = 60_000
MAX_BATCHES = 100
#: No check for more intervals, and everything stood still. Where workers stand in for beat, checks are further apart.
STALLED_INTERVALS = 5
#: No check for more intervals, and everything may have stood still.
DOUBTFUL_INTERVALS = 2
#: A step that is written by somebody else so many times in a row is left alone.
MAX_OVERTAKEN = 5
#: The actions that send a message now, if there is one.
SENDS = (Action.RETRY, Action.RESEND)


class CheckReport(Struct):
    """What one pass did."""

    #: Sent again as the next attempt.
    retried: int = 0
    #: Timed out; the next attempt waits for its backoff.
    backed_off: int = 0
    #: Sent again as the same attempt.
    resent: int = 0
    gave_up: int = 0
    #: Timed out in a step or process that is only to be told about.
    alerted: int = 0
    #: Could not be read, written or sent; see the log.
    failed: int = 0

    @property
    def timed_out(self) -> int:
        """Attempts that timed out."""
        return self.retried + self.backed_off + self.gave_up + self.alerted


class _Claim(Struct, frozen=True):
    """A due step that this pass has won."""

    key: StepKey
    action: Action
    #: The claimed record, as stored.
    step: ProcessStep
    #: When the clock ran out that it was due by, epoch ms.
    due_since_ms: int


class _Sent(Struct, frozen=True):
    """A step whose message was sent again."""

    claim: _Claim
    at_ms: int

    @property
    def lateness_ms(self) -> int:
        return self.at_ms - self.claim.due_since_ms

    def confirmation(self) -> transitions.Transition:
        return timeouts.confirm(self.claim.step, attempt=self.claim.step.attempt, now_ms=self.at_ms)

    def log_entry(self, current: ProcessStep) -> transitions.Transition:
        claimed = self.claim.step
        is_copy = claimed.resend_count > 0
        return timeouts.log_sent(current, attempt=claimed.attempt, is_copy=is_copy, now_ms=self.at_ms)


class _Batch(Struct):
    report: CheckReport
    now_ms: int
    claims: list[_Claim] = field(default_factory=list)


class TimeoutCheckerService:
    """Looks for steps that are late or lost. Run `check_for_timed_out_steps` on a schedule.

    Over a store, or over a tracker repository. `publish_event` is called with a `ProcessStepTimedOut` for each attempt
    that ran out of time. If it raises, it is called again some ten seconds later, unless the attempt's message went out
    or waits for its backoff: then all is done without it. With a `requeuer` the step's own message goes out again;
    without one, the next attempt's time runs as soon as `publish_event` has returned.

    worker_lost_ms
        The length of worker leases: so long workers are given to renew them after everything stood still.
    check_interval_ms
        Checks are so far apart when all is well.
    batch_size
        The number of due steps read and written at a time.
    budget_ms
        A pass ends after this time; what is left is for the next one.
    """

    def __init__(
        self,
        store: ProcessStore | StepTrackerRepository,
        publish_event: Callable[[ProcessStepTimedOut], None] | None = None,
        *,
        requeuer: Requeuer | None = None,
        sinks: Sequence[EventSink] = (),
        announces: bool = False,
        tracer: Tracer | None = None,
        worker_lost_ms: int = 5_000,
        check_interval_ms: int = 0,
        batch_size: int = 500,
        budget_ms: int = 5_000,
        random_number: Callable[[], float] = random.random,
    ) -> None:
        if isinstance(store, StepTrackerRepository):
            store = RepositoryStore(None, store)
        self._store: ProcessStore = store
        self._publish_event = publish_event
        self._requeuer = requeuer
        self._recorder = Recorder(store, sinks=sinks, announces=announces)
        self._tracer = tracer
        self._worker_lost_ms = worker_lost_ms
        self._stalled_ms = max(worker_lost_ms, STALLED_INTERVALS * check_interval_ms)
        # A lease is renewed when a third of it has passed.
        self._doubtful_ms = max(worker_lost_ms * 2 // 3, DOUBTFUL_INTERVALS * check_interval_ms)
        self._batch_size = batch_size
        self._budget_ms = budget_ms
        self._random_number = random_number

    def check_for_timed_out_steps(self, *, by: str = "") -> CheckReport:
        """One pass. Raises StoreUnavailable if the store does not answer; what was not done then stays due."""
        report = CheckReport()
        started_ms = self._store.now_ms()
        check = self._note_check(started_ms, by)
        for _ in range(MAX_BATCHES):
            now_ms = self._store.now_ms()
            due = self._store.due(
                now_ms=now_ms, limit=self._batch_size, with_leases=now_ms >= check.leases_count_from_ms
            )
            self._handle(due, _Batch(report, now_ms))
            if len(due) < self._batch_size or self._store.now_ms() - started_ms > self._budget_ms:
                break
        return report

    def _note_check(self, now_ms: int, by: str) -> LastCheck:
        last = self._store.last_check()
        if last.at_ms - now_ms > self._stalled_ms:
            logger.warning("store_clock_set_back", extra={"by_ms": last.at_ms - now_ms})
        check = LastCheck(now_ms, by, self._leases_count_from_ms(last, now_ms))
        self._store.note_check(check)
        return check

    def _leases_count_from_ms(self, last: LastCheck, now_ms: int) -> int:
        """Nobody checked for so long that the store may have stood still, and leases lapsed because of that alone.

        Then workers get the time to renew them. But if checks do come that seldom, leases count all the same once that
        time is over: or a worker that is lost would be waited for again and again.
        """
        gap_ms = abs(now_ms - last.at_ms)  # one that is yet to come was made before the store's clock was set back
        is_waiting = last.leases_count_from_ms > last.at_ms
        if gap_ms > self._stalled_ms or (gap_ms > self._doubtful_ms and not is_waiting):
            return now_ms + self._worker_lost_ms
        return last.leases_count_from_ms

    def _handle(self, due: Sequence[Due], batch: _Batch) -> None:
        self._claim(due, batch)
        messages = self._messages(batch.claims)
        self._send_again(messages, batch)  # first: whoever is told may take his time
        for claim in batch.claims:
            match claim.action:
                case Action.RETRY | Action.RESEND if claim.key not in messages:
                    self._ask_again(claim, batch)
                case Action.BACK_OFF:
                    # Whoever has to start the next attempt is told when its time has come, and not before.
                    batch.report.backed_off += claim.key not in messages or self._tell(claim, batch)
                case Action.GIVE_UP:
                    self._give_up(claim, batch)
                case Action.ALERT:
                    self._alert(claim, batch)

    def _messages(self, claims: Sequence[_Claim]) -> dict[StepKey, bytes]:
        """What there is to send, now or after a backoff."""
        keys = [claim.key for claim in claims if claim.action in SENDS or claim.action is Action.BACK_OFF]
        if self._requeuer is None or not keys:
            return {}
        stored = zip(keys, self._store.load_messages(keys), strict=True)
        return {key: message for key, message in stored if message is not None}

    # Claim

    def _claim(self, due: Sequence[Due], batch: _Batch) -> None:
        by_key = {item.key: item for item in due}  # of a deadline and a lease of one step, the later read is enough
        records = self._store.load_steps(list(by_key))
        changes: list[Change] = []
        actions: list[Action] = []
        spans = CheckSpans(self._tracer, self._store)
        for item, record in zip(by_key.values(), records, strict=True):
            if record is None:
                self._store.discard([item], until_ms=None)
            elif isinstance(record, Exception):
                self._quarantine(item, record, batch)
            else:
                seen = self._as_of_its_run(item, record, batch.now_ms)
                try:
                    action, transition = self._decide(seen, record, batch.now_ms)
                except (errors.ProcessNotFound, errors.StoreError) as error:
                    self._quarantine(item, error, batch)
                    continue
                if action is Action.NOTHING:
                    self._pass_over(item, record, batch.now_ms)
                    continue
                transition = spans.begin(seen, record, transition)
                changes.append(self._recorder.change(item.key.process_id, transition))
                actions.append(action)
        for change, action, outcome in zip(changes, actions, self._recorder.commit(changes), strict=True):
            if isinstance(outcome, Committed):
                spans.end(change)
                batch.claims.append(_Claim(change.key, action, outcome.step, by_key[change.key].since_ms))
            elif isinstance(outcome, Exception):
                self._quarantine(by_key[change.key], outcome, batch)

    def _as_of_its_run(self, due: Due, record: ProcessStep, now_ms: int) -> Due:
        """A lease that ran out before its run was last heard of counts if nobody has renewed it since."""
        alive_ms = record.seen_alive_at_ms
        if due.lapsed_attempt is None or alive_ms is None or now_ms < alive_ms + self._worker_lost_ms:
            return due
        return replace(due, since_ms=max(due.since_ms, alive_ms))

    def _decide(self, due: Due, record: ProcessStep, now_ms: int) -> tuple[Action, transitions.Transition]:
        if due.key.step_name != OWN_RECORD:
            return timeouts.time_out(
                record,
                now_ms=now_ms,
                lapsed_attempt=due.lapsed_attempt,
                lapsed_ms=due.since_ms,
                jitter=self._random_number(),
            )
        is_late = record.deadline_ms is not None and record.deadline_ms <= now_ms
        if is_late and not self._store.load(due.key.process_id).state.is_terminal:
            return Action.ALERT, mark_overdue(record, now_ms=now_ms)
        return Action.NOTHING, transitions.Transition(record, record)

    def _pass_over(self, due: Due, record: ProcessStep, now_ms: int) -> None:
        if due.lapsed_attempt is None:
            counts_from_ms = record.deadline_ms
        else:  # it ran out before the run that holds the step was last heard of
            is_taken_over = record.is_leased and record.attempt == due.lapsed_attempt
            counts_from_ms = now_ms + self._worker_lost_ms if is_taken_over else None
        is_ahead = counts_from_ms is not None and counts_from_ms > now_ms
        self._store.discard([due], until_ms=counts_from_ms if is_ahead else None)

    def _quarantine(self, due: Due, error: Exception, batch: _Batch) -> None:
        if isinstance(error, errors.StoreUnavailable):
            raise error
        batch.report.failed += 1
        logger.error(
            "step_unusable", extra={"process_id": due.key.process_id, "step": due.key.step_name}, exc_info=error
        )
        self._store.discard([due], until_ms=batch.now_ms + QUARANTINE_MS)

    # Act and settle

    def _send_again(self, messages: Mapping[StepKey, bytes], batch: _Batch) -> None:
        claims = [claim for claim in batch.claims if claim.action in SENDS and claim.key in messages]
        if self._requeuer is None or not claims:
            return
        sendings = [Sending(claim.key.process_id, claim.step, messages[claim.key]) for claim in claims]
        sent: list[_Sent] = []
        for claim, outcome in zip(claims, self._requeuer.requeue(sendings), strict=True):
            if outcome is not None:
                self._not_sent(claim, outcome, batch)
                continue
            self._count_sent(claim, batch)
            sent.append(_Sent(claim, self._store.now_ms()))
        self._confirm(sent)

    def _confirm(self, sent: Sequence[_Sent]) -> None:
        """Let each step wait for a worker. One that a worker has taken up already does not wait: it is only logged."""
        todo = [(each, each.confirmation()) for each in sent]
        for _ in range(MAX_OVERTAKEN):
            changes = [
                self._recorder.change(each.claim.key.process_id, transition, lateness_ms=each.lateness_ms)
                for each, transition in todo
            ]
            outcomes = self._recorder.commit(changes)
            todo = [
                (each, each.log_entry(outcome.current))
                for (each, _), outcome in zip(todo, outcomes, strict=True)
                if isinstance(outcome, Conflict) and outcome.current is not None
            ]

    def _count_sent(self, claim: _Claim, batch: _Batch) -> None:
        if claim.action is Action.RETRY:
            batch.report.retried += 1
            self._tell(claim, batch)
        else:
            batch.report.resent += 1

    def _not_sent(self, claim: _Claim, error: Exception, batch: _Batch) -> None:
        batch.report.failed += 1
        logger.error(
            "step_not_sent",
            extra={"process_id": claim.key.process_id, "step": claim.key.step_name, "attempt": claim.step.attempt},
            exc_info=error,
        )
        if isinstance(error, errors.MessageUnsendable):  # it may have been a copy only: the attempt may run by now
            rule = partial(outcomes.throw_away, reason=str(error), attempt=claim.step.attempt, is_lost=True)
            self._settle(claim, rule)

    def _ask_again(self, claim: _Claim, batch: _Batch) -> None:
        """No message to send: whoever started the attempt is told, and has to start the next."""
        if self._tell(claim, batch):
            batch.report.retried += 1
            self._settle(claim, partial(timeouts.confirm_told, attempt=claim.step.attempt))

    def _give_up(self, claim: _Claim, batch: _Batch) -> None:
        if self._tell(claim, batch):
            batch.report.gave_up += 1
            self._settle(claim, partial(timeouts.give_up, attempt=claim.step.attempt))

    def _alert(self, claim: _Claim, batch: _Batch) -> None:
        if claim.key.step_name == OWN_RECORD:  # of a process that is late nobody is called
            batch.report.alerted += 1
        elif self._tell(claim, batch):
            batch.report.alerted += 1
            self._settle(claim, partial(timeouts.confirm_alert, attempt=claim.step.attempt))

    def _settle(self, claim: _Claim, rule: Rule) -> None:
        with suppress(errors.StepNotFound):  # the process was deleted meanwhile
            self._recorder.apply(claim.key, rule, guess=claim.step)

    def _tell(self, claim: _Claim, batch: _Batch) -> bool:
        """Publish the event; False if the handler raised. Then the claim runs out and the event is published again."""
        if self._publish_event is None:
            return True
        try:
            self._publish_event(_event(claim, batch.now_ms))
        except Exception:  # the team's own code: whatever it raises must not stop the other steps
            batch.report.failed += 1
            logger.exception(
                "timeout_handler_failed", extra={"process_id": claim.key.process_id, "step": claim.key.step_name}
            )
            return False
        return True


def _event(claim: _Claim, now_ms: int) -> ProcessStepTimedOut:
    is_next_attempt = claim.action in (Action.RETRY, Action.RESEND, Action.BACK_OFF) and claim.step.resend_count == 0
    used = 1 if is_next_attempt and claim.step.retry_count > 0 else 0
    return ProcessStepTimedOut(
        process_id=claim.key.process_id,
        step_name=claim.key.step_name,
        attempt=claim.step.attempt - used,
        retry_count=claim.step.retry_count - used,
        retries_permitted=claim.step.retries_permitted,
        occurred_at_ms=now_ms,
        reason=claim.step.last_error or "",
    )
