"""What a step becomes when something happens to it.

Each rule takes the current record, what happened, and the store's time, and returns a `Transition`: the next record,
the log entries, and a verdict. A rule has no other effect, so it may be asked again with a newer record when somebody
else wrote first. What happens when time runs out is in `timeouts`.

The first completion wins: whichever attempt finishes first finishes the step. Terminal states are final; only `reopen`,
which an operator asks for, leaves one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from trellis_celery import errors
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.step import DeadlineKind, ProcessStep, StepState

#: How long a checker, or a run that sends its chain, has before it is taken for dead, ms.
HANDOFF_MS = 10_000


class Verdict(Enum):
    ACCEPTED = auto()
    #: Another run holds this attempt, or the same call was sent before.
    DUPLICATE = auto()
    #: A newer attempt has replaced this one.
    STALE = auto()
    #: The step is finished already.
    FINISHED = auto()
    #: The message is not the step's: it runs as an ordinary task.
    UNTRACKED = auto()


@dataclass(frozen=True, slots=True)
class Transition:
    """The outcome of a rule. `after is before` and no events: there is nothing to write."""

    before: ProcessStep
    after: ProcessStep
    events: tuple[Event, ...] = ()
    verdict: Verdict = Verdict.ACCEPTED

    @property
    def is_change(self) -> bool:
        return self.after is not self.before or bool(self.events)


def queue(
    step: ProcessStep, *, task_id: str, args_digest: str, now_ms: int, delay_ms: int = 0, is_own_run: bool = False
) -> Transition:
    """A message for the step is about to be published for the first time.

    `delay_ms`: how long it waits on purpose. `is_own_run`: the publisher is the running step itself, so this is a call
    of its own, which cannot be the step's.
    """
    if step.task_id is None and not step.state.is_terminal:
        attempt = max(step.attempt, 1)
        after = replace(
            step,
            attempt=attempt,
            task_id=task_id,
            args_digest=args_digest,
            run_id=None,
            deadline_ms=now_ms + delay_ms + step.queue_timeout_ms,
            deadline_kind=DeadlineKind.QUEUE,
        )
        return Transition(step, after, (Event(EventKind.STEP_QUEUED, step.name, attempt, now_ms, task_id),))
    if step.task_id == task_id:  # sent once more under the id that it had: by a chain that is sent again, for instance
        may_start = step.run_id is None and not step.state.is_terminal
        return Transition(step, step, verdict=Verdict.ACCEPTED if may_start else Verdict.DUPLICATE)
    is_same_call = step.args_digest == args_digest and not is_own_run
    return Transition(step, step, verdict=Verdict.DUPLICATE if is_same_call else Verdict.UNTRACKED)


def queue_again(
    step: ProcessStep,
    *,
    attempt: int,
    run_id: str | None,
    now_ms: int,
    delay_ms: int = 0,
    celery_retries: int = 0,
) -> Transition:
    """Celery sends the step's task again under its own id: the attempt goes on in another run.

    `run_id`: the run that sends it; None if that is the worker's main process, or a task that replaced the step's. If
    the attempt or the run was replaced, or the step is finished, the message changes nothing and will be refused.
    """
    if step.state.is_terminal:
        return Transition(step, step, verdict=Verdict.FINISHED)
    if attempt < step.attempt or _is_held_by_another(step, run_id):
        return Transition(step, step, verdict=Verdict.STALE)
    after = replace(
        step,
        attempt=attempt,
        run_id=None,
        celery_retries=celery_retries,
        is_leased=False,
        is_finishing=False,
        deadline_ms=now_ms + delay_ms + (step.timeout_ms or step.queue_timeout_ms),
        deadline_kind=DeadlineKind.QUEUE,
    )
    return Transition(step, after, (Event(EventKind.STEP_RETRYING, step.name, attempt, now_ms),))


def _is_held_by_another(step: ProcessStep, run_id: str | None) -> bool:
    if step.run_id is None or step.run_id == run_id:
        return False
    return run_id is not None or step.is_finishing


def start(
    step: ProcessStep,
    *,
    run_id: str,
    now_ms: int,
    attempt: int | None = None,
    task_id: str | None = None,
    celery_retries: int | None = None,
    worker: str | None = None,
    is_leased: bool = False,
) -> Transition:
    """A run wants to start. At most one run is accepted per attempt; asking again with its own id is accepted again.

    `attempt` and `celery_retries` are what the message carries; None when there was no message to carry them. Each of
    Celery's own retries is one more run of the same attempt, and copies of the message from before it are stale.
    """
    attempt = max(step.attempt if attempt is None else attempt, 1)
    celery_retries = step.celery_retries if celery_retries is None else celery_retries
    verdict = _may_start(step, run_id=run_id, attempt=attempt, celery_retries=celery_retries)
    if verdict is not Verdict.ACCEPTED:
        return _refused(step, verdict, attempt=attempt, now_ms=now_ms)
    if step.run_id == run_id:
        return Transition(step, step)
    has_limit = step.timeout_ms is not None
    after = replace(
        step,
        state=StepState.IN_PROGRESS,
        attempt=attempt,
        run_id=run_id,
        celery_retries=celery_retries,
        task_id=task_id or step.task_id,
        worker=worker,
        is_leased=is_leased,
        is_finishing=False,
        resend_count=0,
        started_at_ms=now_ms,
        deadline_ms=now_ms + (step.timeout_ms or 0) if has_limit else None,
        deadline_kind=DeadlineKind.RUN if has_limit else None,
    )
    return Transition(step, after, (Event(EventKind.STEP_STARTED, step.name, attempt, now_ms, worker or ""),))


def _may_start(step: ProcessStep, *, run_id: str, attempt: int, celery_retries: int) -> Verdict:
    if step.state.is_terminal:
        return Verdict.FINISHED
    message, current = (attempt, celery_retries), (step.attempt, step.celery_retries)
    if message < current:
        return Verdict.STALE
    if message == current and step.run_id not in (None, run_id):
        return Verdict.DUPLICATE
    return Verdict.ACCEPTED


def _refused(step: ProcessStep, verdict: Verdict, *, attempt: int, now_ms: int) -> Transition:
    event = Event(EventKind.RUN_REFUSED, step.name, attempt, now_ms, verdict.name.lower())
    return Transition(step, step, (event,), verdict)


def claim_finish(step: ProcessStep, *, attempt: int, run_id: str, now_ms: int) -> Transition:
    """A run whose attempt may have been replaced has ended: may it send its links and chain?

    Asked only by such runs. The first to ask is accepted and every other run is refused from then on, unless the
    accepted one dies before it completes the step.
    """
    if step.state.is_terminal:
        return _refused(step, Verdict.FINISHED, attempt=attempt, now_ms=now_ms)
    if step.run_id == run_id and step.is_finishing:
        return Transition(step, step)
    if step.is_finishing and step.run_id is not None:
        return _refused(step, Verdict.DUPLICATE, attempt=attempt, now_ms=now_ms)
    after = replace(
        step,
        run_id=run_id,
        is_finishing=True,
        is_leased=False,
        deadline_ms=now_ms + HANDOFF_MS,
        deadline_kind=DeadlineKind.RUN,
    )
    return Transition(step, after)


def complete(
    step: ProcessStep, *, now_ms: int, attempt: int | None = None, run_id: str | None = None, by: str = ""
) -> Transition:
    """The step's work is done. The first completion wins while the step is not terminal; later ones are only logged."""
    if step.state.is_terminal:
        return _late(step, "completed", is_repeat=step.state is StepState.COMPLETED, run_id=run_id, now_ms=now_ms)
    if step.is_finishing and run_id is not None and run_id != step.run_id:
        return _late(step, "completed", is_repeat=False, run_id=run_id, now_ms=now_ms)
    after = _finished(step, StepState.COMPLETED, run_id=run_id, now_ms=now_ms)
    return Transition(step, after, (Event(EventKind.STEP_COMPLETED, step.name, attempt or after.attempt, now_ms, by),))


def fail(
    step: ProcessStep, error: str, *, now_ms: int, attempt: int | None = None, run_id: str | None = None
) -> Transition:
    """The step's work failed. A failure of a replaced attempt or run is only logged: the newer one decides."""
    if step.state.is_terminal:
        return _late(step, "failed", is_repeat=step.state is StepState.FAILED, run_id=run_id, now_ms=now_ms)
    if _is_replaced(step, attempt=attempt, run_id=run_id):
        event = Event(EventKind.OUTCOME_LATE, step.name, attempt or step.attempt, now_ms, f"failed: {error}")
        return Transition(step, step, (event,), Verdict.STALE)
    after = _finished(step, StepState.FAILED, run_id=run_id, now_ms=now_ms, last_error=error)
    return Transition(step, after, (Event(EventKind.STEP_FAILED, step.name, after.attempt, now_ms, error),))


def cancel(
    step: ProcessStep, *, now_ms: int, reason: str = "", attempt: int | None = None, run_id: str | None = None
) -> Transition:
    """Nobody wants the step any more. A finished step stays as it is; so does one whose attempt or run was replaced."""
    if step.state.is_terminal or _is_replaced(step, attempt=attempt, run_id=run_id):
        return Transition(step, step, verdict=Verdict.FINISHED)
    after = _finished(step, StepState.CANCELLED, run_id=None, now_ms=now_ms, last_error=reason or None)
    return Transition(step, after, (Event(EventKind.STEP_CANCELLED, step.name, step.attempt, now_ms, reason),))


def lose(step: ProcessStep, reason: str, *, attempt: int, now_ms: int, run_id: str | None = None) -> Transition:
    """The run of this attempt ended without an outcome: the next check takes the step up, as if it had timed out."""
    if step.state.is_terminal or step.attempt == 0 or _is_replaced(step, attempt=attempt, run_id=run_id):
        return Transition(step, step, verdict=Verdict.STALE)
    if step.deadline_kind is DeadlineKind.LOST:
        return Transition(step, step)
    after = replace(
        step,
        deadline_ms=now_ms,
        deadline_kind=DeadlineKind.LOST,
        is_leased=False,
        is_finishing=False,
        last_error=reason,
    )
    return Transition(step, after, (Event(EventKind.RUN_LOST, step.name, attempt, now_ms, reason),))


def throw_away(step: ProcessStep, reason: str, *, attempt: int, is_lost: bool, now_ms: int) -> Transition:
    """A worker threw the attempt's message away unread. While a run holds the attempt, that was only a copy of it.

    `is_lost`: another worker may take the message, so the step is lost; else it fails.
    """
    if step.run_id is not None and step.attempt == attempt:
        return Transition(step, step, verdict=Verdict.DUPLICATE)
    rule = lose if is_lost else fail
    return rule(step, reason, attempt=attempt, now_ms=now_ms)


def release(step: ProcessStep, *, attempt: int, run_id: str, resend_in_ms: int, now_ms: int) -> Transition:
    """The run gave its message back: the same attempt may start again, and is sent again if it does not."""
    return _let_go(
        step,
        EventKind.STEP_RELEASED,
        attempt=attempt,
        run_id=run_id,
        wait_ms=resend_in_ms,
        kind=DeadlineKind.QUEUE,
        now_ms=now_ms,
    )


def hand_over(step: ProcessStep, *, attempt: int, run_id: str, now_ms: int) -> Transition:
    """The run replaced itself by other tasks, of which the last will finish under the step's task id."""
    return _let_go(
        step,
        EventKind.STEP_HANDED_OVER,
        attempt=attempt,
        run_id=run_id,
        wait_ms=step.timeout_ms or step.queue_timeout_ms,
        kind=DeadlineKind.RUN,
        now_ms=now_ms,
    )


def _let_go(
    step: ProcessStep,
    event: EventKind,
    *,
    attempt: int,
    run_id: str,
    wait_ms: int,
    kind: DeadlineKind,
    now_ms: int,
) -> Transition:
    if step.state.is_terminal or step.attempt != attempt or step.run_id != run_id:
        return Transition(step, step, verdict=Verdict.STALE)
    after = replace(
        step,
        run_id=None,
        is_leased=False,
        is_finishing=False,
        deadline_ms=now_ms + wait_ms,
        deadline_kind=kind,
    )
    return Transition(step, after, (Event(event, step.name, attempt, now_ms),))


def heartbeat(step: ProcessStep, *, attempt: int, run_id: str, extend_ms: int, now_ms: int) -> Transition:
    """The run asks for `extend_ms` from now. Refused when the attempt was replaced or the step is finished."""
    if step.state.is_terminal:
        return Transition(step, step, verdict=Verdict.FINISHED)
    if step.attempt != attempt or step.run_id != run_id:
        return Transition(step, step, verdict=Verdict.STALE)
    return Transition(step, replace(step, deadline_ms=now_ms + extend_ms, deadline_kind=DeadlineKind.RUN))


def reopen(step: ProcessStep, *, now_ms: int, has_message: bool, by: str = "") -> Transition:
    """An operator wants a failed step tried again: a new attempt with all its retries.

    Without a message to send, somebody has to start or complete it. Raises InvalidTransition unless it has failed.
    """
    if step.state is not StepState.FAILED:
        raise errors.InvalidTransition(
            step=step.name, state=step.state, asked="retried", hint="only a failed step can be"
        )
    deadline_ms, deadline_kind = (now_ms, DeadlineKind.HANDOFF) if has_message else step.first_deadline(now_ms)
    after = replace(
        step,
        state=StepState.PENDING,
        attempt=step.attempt + 1,
        retry_count=0,
        resend_count=0,
        celery_retries=0,
        run_id=None,
        task_id=step.task_id if has_message else None,
        started_at_ms=None,
        finished_at_ms=None,
        last_error=None,
        deadline_ms=deadline_ms,
        deadline_kind=deadline_kind,
    )
    return Transition(step, after, (Event(EventKind.STEP_REOPENED, step.name, after.attempt, now_ms, by),))


def _finished(
    step: ProcessStep, state: StepState, *, run_id: str | None, now_ms: int, last_error: str | None = None
) -> ProcessStep:
    return replace(
        step,
        state=state,
        attempt=max(step.attempt, 1),
        run_id=run_id,
        finished_at_ms=now_ms,
        last_error=last_error,
        deadline_ms=None,
        deadline_kind=None,
        is_leased=False,
        is_finishing=False,
    )


def _late(step: ProcessStep, outcome: str, *, is_repeat: bool, run_id: str | None, now_ms: int) -> Transition:
    if is_repeat and run_id in (None, step.run_id):
        return Transition(step, step)
    event = Event(EventKind.OUTCOME_LATE, step.name, step.attempt, now_ms, outcome)
    return Transition(step, step, (event,), Verdict.FINISHED)


def _is_replaced(step: ProcessStep, *, attempt: int | None, run_id: str | None) -> bool:
    """Whether another attempt or run decides by now. Who names neither is no run, and may always decide."""
    if attempt is None and run_id is None:
        return False
    return (attempt is not None and attempt < step.attempt) or _is_held_by_another(step, run_id)
