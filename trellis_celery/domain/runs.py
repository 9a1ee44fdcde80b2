"""What a step becomes as its messages are sent, and as runs start, go on and let go.

At most one run is accepted for each attempt. A message is told from copies of it by its attempt and by Celery's count
of its own retries: what is older than the record is stale.
"""

from __future__ import annotations

from msgspec.structs import replace

from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.step import DeadlineKind, ProcessStep, StepState
from trellis_celery.domain.transitions import (
    HANDOFF_MS,
    MAX_DOUBLINGS,
    PUT_BACK_MS,
    Rule,
    Transition,
    Verdict,
    is_held_by_another,
)


def queue(
    step: ProcessStep,
    *,
    task_id: str,
    args_digest: str,
    now_ms: int,
    delay_ms: int = 0,
    is_own_run: bool = False,
    is_late: bool = False,
) -> Transition:
    """A message for the step is about to be published for the first time.

    `delay_ms`: how long it waits on purpose. `is_own_run`: the publisher is the running step itself, so this is a call
    of its own, which cannot be the step's. `is_late`: the message has gone out before this could be written, and a run
    may have started; written it is all the same, for the message's sake.
    """
    if step.task_id is None and not step.state.is_terminal:
        attempt = max(step.attempt, 1)
        after = replace(step, attempt=attempt, task_id=task_id, args_digest=args_digest)
        if not (is_late and step.run_id):  # else the message has been received, and its run has come as far as this
            after = replace(
                after,
                run_id=None,
                deadline_ms=now_ms + delay_ms + step.queue_timeout_ms,
                deadline_kind=DeadlineKind.QUEUE,
            )
        return Transition(step, after, (Event(EventKind.STEP_QUEUED, step.name, attempt, now_ms, task_id),))
    if is_late and step.task_id == task_id and not step.state.is_terminal:
        return Transition(step, step, (Event(EventKind.STEP_QUEUED, step.name, step.attempt, now_ms, task_id),))
    if step.task_id == task_id:  # sent once more under the id that it had: by a chain that is sent again, for instance
        may_start = step.run_id is None and not step.state.is_terminal
        return Transition(step, step, verdict=Verdict.ACCEPTED if may_start else Verdict.DUPLICATE)
    if step.task_id is None:  # it was finished by hand, or by a message that the store was not told of
        return Transition(step, step, verdict=Verdict.DUPLICATE)
    is_same_call = step.args_digest == args_digest and not is_own_run
    return Transition(step, step, verdict=Verdict.DUPLICATE if is_same_call else Verdict.UNTRACKED)


def withdraw(step: ProcessStep, reason: str, *, task_id: str, now_ms: int) -> Transition:
    """The message could not be published, and whoever sent it is told: nobody waits for it any more.

    If the broker has it all the same, it may start like any other; if it has started already, nothing is changed.
    """
    is_waiting = step.state is StepState.PENDING and step.deadline_kind is DeadlineKind.QUEUE and not step.resend_count
    if step.task_id != task_id or not is_waiting:
        return Transition(step, step, verdict=Verdict.STALE)
    after = replace(
        step, task_id=None, args_digest=None, deadline_ms=None, deadline_kind=None, last_error=f"not sent: {reason}"
    )
    return Transition(step, after, (Event(EventKind.STEP_WITHDRAWN, step.name, step.attempt, now_ms, reason),))


def of_call(rule: Rule, *, task_id: str | None, args_digest: str | None) -> Rule:
    """The rule, for a message that may be of another call of the task than the one that does the step: UNTRACKED then.

    `args_digest`: of its arguments, if it was not queued, so that nobody has asked yet; else there is nothing to ask.
    """
    if args_digest is None:
        return rule

    def of_this_call(step: ProcessStep, /, *, now_ms: int) -> Transition:
        if step.task_id not in (None, task_id) and step.args_digest not in (None, args_digest):
            return Transition(step, step, verdict=Verdict.UNTRACKED)
        return rule(step, now_ms=now_ms)

    return of_this_call


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
    So it is if the message itself, or a copy of the run's own, has been sent again since.
    """
    if step.state.is_terminal:
        return Transition(step, step, verdict=Verdict.FINISHED)
    is_older = (attempt, celery_retries) < (step.attempt, step.celery_retries)
    is_overtaken = is_older and run_id not in (None, step.run_id)
    if attempt < step.attempt or is_overtaken or is_held_by_another(step, run_id):
        return Transition(step, step, verdict=Verdict.STALE)
    after = replace(
        step,
        attempt=attempt,
        run_id=None,
        celery_retries=celery_retries,
        is_leased=False,
        finishing_at_ms=None,
        deadline_ms=now_ms + delay_ms + (step.timeout_ms or step.queue_timeout_ms),
        deadline_kind=DeadlineKind.QUEUE,
    )
    return Transition(step, after, (Event(EventKind.STEP_RETRYING, step.name, attempt, now_ms),))


def start(
    step: ProcessStep,
    *,
    run_id: str,
    now_ms: int,
    attempt: int | None = None,
    task_id: str | None = None,
    args_digest: str | None = None,
    celery_retries: int | None = None,
    sent_by: str | None = None,
    worker: str | None = None,
    is_leased: bool = False,
    traceparent: str | None = None,
) -> Transition:
    """A run wants to start. At most one run is accepted per attempt; asking again with its own id is accepted again.

    `attempt` and `celery_retries` are what the message carries; None when there was no message to carry them. Each of
    Celery's own retries is one more run of the same attempt, and copies of the message from before it are stale.
    `args_digest`: of a call that was not queued, see `of_call`.
    `sent_by`: the run that sent the message again, and that may hold the step still if the store was not told of it.
    `traceparent`: where the run is in a trace.
    """
    attempt = max(step.attempt if attempt is None else attempt, 1)
    celery_retries = step.celery_retries if celery_retries is None else celery_retries
    verdict = _may_start(step, run_id=run_id, attempt=attempt, celery_retries=celery_retries, sent_by=sent_by)
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
        args_digest=args_digest or step.args_digest,
        worker=worker,
        is_leased=is_leased,
        finishing_at_ms=None,
        resend_count=0,
        started_at_ms=now_ms,
        traceparent=traceparent,
        deadline_ms=now_ms + (step.timeout_ms or 0) if has_limit else None,
        deadline_kind=DeadlineKind.RUN if has_limit else None,
    )
    return Transition(step, after, (Event(EventKind.STEP_STARTED, step.name, attempt, now_ms, worker or ""),))


def _may_start(step: ProcessStep, *, run_id: str, attempt: int, celery_retries: int, sent_by: str | None) -> Verdict:
    if step.state.is_terminal:
        return Verdict.FINISHED
    message, current = (attempt, celery_retries), (step.attempt, step.celery_retries)
    if message < current:
        return Verdict.STALE
    if is_held_by_another(step, run_id) and (
        message == current or step.is_finishing or sent_by not in (None, step.run_id)
    ):
        return Verdict.DUPLICATE
    return Verdict.ACCEPTED


def _refused(step: ProcessStep, verdict: Verdict, *, attempt: int, now_ms: int) -> Transition:
    event = Event(EventKind.RUN_REFUSED, step.name, attempt, now_ms, verdict.name.lower())
    return Transition(step, step, (event,), verdict)


def claim_finish(
    step: ProcessStep,
    *,
    attempt: int,
    run_id: str,
    now_ms: int,
    celery_retries: int | None = None,
    sent_by: str | None = None,
) -> Transition:
    """A run whose attempt may have been replaced has ended: may it send its links and chain?

    Asked only by such runs. The first to ask is accepted and every other run is refused from then on, unless the
    accepted one dies before it completes the step. A run of an attempt that another run holds was never to start, and
    is refused: the other may be about to finish without asking. So is one whose message Celery has sent again since.
    `sent_by` as for `start`.

    A run that holds its attempt under a lease goes on under it, within its own deadline: what it sends may be a lot.
    Nobody watches over any other; it has `HANDOFF_MS`.
    """
    if step.state.is_terminal:
        return _refused(step, Verdict.FINISHED, attempt=attempt, now_ms=now_ms)
    if step.run_id == run_id and step.is_finishing:
        return Transition(step, step)
    celery_retries = step.celery_retries if celery_retries is None else celery_retries
    is_copy = celery_retries <= step.celery_retries or sent_by not in (None, step.run_id)
    is_refused = step.is_finishing or (attempt == step.attempt and is_copy)
    is_retried = attempt == step.attempt and celery_retries < step.celery_retries
    if is_retried or (is_held_by_another(step, run_id) and is_refused):
        return _refused(step, Verdict.DUPLICATE, attempt=attempt, now_ms=now_ms)
    is_watched = step.run_id == run_id and step.attempt == attempt and step.is_leased  # its worker renews the lease
    deadline_ms: int | None = now_ms + HANDOFF_MS
    if is_watched:
        deadline_ms = None if step.deadline_ms is None else max(step.deadline_ms, now_ms + HANDOFF_MS)
    after = replace(
        step,
        run_id=run_id,
        finishing_at_ms=now_ms,
        is_leased=is_watched,
        deadline_ms=deadline_ms,
        deadline_kind=None if deadline_ms is None else DeadlineKind.RUN,
    )
    return Transition(step, after)


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


def put_back(step: ProcessStep, reason: str, *, attempt: int, now_ms: int) -> Transition:
    """A worker threw the attempt's message away unread, and another may take it: a copy is sent in a while.

    That is no retry, and never fails the step: nothing has started. The wait doubles with each copy. While a run holds
    the attempt the message was only a copy of its own, and a step that a check is about to take up is left to it.
    """
    is_waiting = step.run_id is None and step.deadline_kind in (DeadlineKind.QUEUE, DeadlineKind.HANDOFF)
    if step.attempt != attempt or not is_waiting:
        return Transition(step, step, verdict=Verdict.STALE)
    wait_ms = PUT_BACK_MS * 2 ** min(step.resend_count, MAX_DOUBLINGS)
    deadline_ms = max(now_ms + wait_ms, _starts_at_ms(step))
    after = replace(step, deadline_ms=deadline_ms, deadline_kind=DeadlineKind.QUEUE, last_error=reason)
    return Transition(step, after, (Event(EventKind.STEP_RELEASED, step.name, attempt, now_ms, reason),))


def _starts_at_ms(step: ProcessStep) -> int:
    """When a message that waits on purpose (`countdown`, `eta`) may start; of any other, a time that is past.

    The queue's clock runs from then on, see `queue` and `queue_again`. Copies do not wait.
    """
    if step.deadline_kind is not DeadlineKind.QUEUE or step.resend_count:
        return 0
    timeout_ms = step.timeout_ms if step.celery_retries else None
    return (step.deadline_ms or 0) - (timeout_ms or step.queue_timeout_ms)


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
        finishing_at_ms=None,
        deadline_ms=now_ms + wait_ms,
        deadline_kind=kind,
    )
    return Transition(step, after, (Event(event, step.name, attempt, now_ms),))


def heartbeat(step: ProcessStep, *, attempt: int, run_id: str, extend_ms: int, now_ms: int) -> Transition:
    """The run asks for `extend_ms` from now. Refused when the attempt was replaced or the step is finished.

    While a check tells that the step is late, its clock stays, so that this is told; the next heartbeat sets it.
    """
    if step.state.is_terminal:
        return Transition(step, step, verdict=Verdict.FINISHED)
    if step.attempt != attempt or step.run_id != run_id:
        return Transition(step, step, verdict=Verdict.STALE)
    if step.deadline_kind is DeadlineKind.TELLING:
        return Transition(step, step)
    return Transition(step, replace(step, deadline_ms=now_ms + extend_ms, deadline_kind=DeadlineKind.RUN))
