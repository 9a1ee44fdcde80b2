"""What a step becomes when one of its clocks runs out.

A checker acts in three moves, each a commit or a message, so that a crash between any two loses nothing: a *claim*
(`time_out`) gives the step a short handoff deadline, then the message or the event goes out, then it is *settled*
(`confirm`, `give_up`, `confirm_alert`). A checker that dies in between leaves a handoff that runs out, and the same
move is made again.

A new deadline counts from now, never from the old one: checkers that were away do not use up retries when they return.
"""

from __future__ import annotations

from enum import Enum, auto

from msgspec.structs import replace

from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.step import DeadlineKind, OnTimeout, ProcessStep, StepState
from trellis_celery.domain.transitions import HANDOFF_MS, MAX_DOUBLINGS, Transition

#: Between reading the time and deciding a check may take so long, and clocks of programs may differ by it.
SKEW_MS = 10_000


class Action(Enum):
    """What the checker has to do after it has won the claim."""

    NOTHING = auto()
    #: Send the message of the current attempt again.
    RESEND = auto()
    #: Tell that an attempt timed out, and send the message as the next attempt.
    RETRY = auto()
    #: Tell that an attempt timed out; the next one is sent when its backoff has passed.
    BACK_OFF = auto()
    #: Tell that the step has fully timed out, and fail it.
    GIVE_UP = auto()
    #: Tell, and do nothing else.
    ALERT = auto()


def time_out(
    step: ProcessStep,
    *,
    now_ms: int,
    lapsed_attempt: int | None = None,
    lapsed_ms: int | None = None,
    jitter: float = 0.0,
) -> tuple[Action, Transition]:
    """Claim what a clock that has run out asks for.

    `lapsed_attempt`: the attempt whose worker lease has run out, if that is what was seen. `lapsed_ms`: when.
    `jitter`: a random number in [0, 1); the backoff is shortened by up to half with it (equal jitter, as in
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    is_lapsed = _is_lapsed(step, lapsed_attempt, lapsed_ms, now_ms)
    is_due = step.deadline_ms is not None and step.deadline_ms <= now_ms
    if step.state.is_terminal or not (is_lapsed or is_due):
        return Action.NOTHING, Transition(step, step)
    if not is_lapsed:
        match step.deadline_kind:
            case DeadlineKind.QUEUE:
                return Action.RESEND, _resend(step, now_ms, resend_count=step.resend_count + 1)
            case DeadlineKind.BACKOFF | DeadlineKind.HANDOFF:
                return Action.RESEND, _resend(step, now_ms, resend_count=step.resend_count)
            case DeadlineKind.GIVING_UP:
                return Action.GIVE_UP, Transition(step, replace(step, deadline_ms=now_ms + HANDOFF_MS))
            case DeadlineKind.TELLING:
                return Action.ALERT, Transition(step, replace(step, deadline_ms=now_ms + HANDOFF_MS))
            case _:
                pass
    return _end_attempt(step, _reason(step, is_lapsed), is_lapsed=is_lapsed, now_ms=now_ms, jitter=jitter)


def is_lost(step: ProcessStep, *, now_ms: int, lapsed_attempt: int | None = None, lapsed_ms: int | None = None) -> bool:
    """Whether the step's run is known to be gone, and not only late."""
    return _is_lapsed(step, lapsed_attempt, lapsed_ms, now_ms) or step.deadline_kind is DeadlineKind.LOST


def _is_lapsed(step: ProcessStep, lapsed_attempt: int | None, lapsed_ms: int | None, now_ms: int) -> bool:
    """Whether the lease is that of the run that holds the step, and ran out after it was last heard of.

    A sign of life that is yet to come was noted before the store's clock was set back, and says nothing.
    """
    alive_ms = step.seen_alive_at_ms
    is_older = lapsed_ms is not None and alive_ms is not None and lapsed_ms < alive_ms <= now_ms + SKEW_MS
    return step.is_leased and lapsed_attempt == step.attempt and not is_older


def _end_attempt(
    step: ProcessStep, reason: str, *, is_lapsed: bool, now_ms: int, jitter: float
) -> tuple[Action, Transition]:
    # That a run is lost has been told already, unless nobody was left to tell it.
    kinds = (*((EventKind.RUN_LOST,) if is_lapsed else ()), EventKind.STEP_TIMED_OUT)
    events = tuple(Event(kind, step.name, step.attempt, now_ms, reason) for kind in kinds)
    ended = replace(step, is_leased=False, finishing_at_ms=None, last_error=reason)
    handoff_ms = now_ms + HANDOFF_MS
    if step.on_timeout == OnTimeout.ALERT:
        after = replace(ended, deadline_ms=handoff_ms, deadline_kind=DeadlineKind.TELLING, has_incident=True)
        return Action.ALERT, Transition(step, after, events)
    if not step.can_retry():
        after = replace(ended, deadline_ms=handoff_ms, deadline_kind=DeadlineKind.GIVING_UP)
        return Action.GIVE_UP, Transition(step, after, events)
    wait_ms = backoff_ms(step, jitter)
    after = replace(
        ended,
        attempt=step.attempt + 1,
        retry_count=step.retry_count + 1,
        resend_count=0,
        celery_retries=0,
        run_id=None,
        deadline_ms=now_ms + wait_ms if wait_ms else handoff_ms,
        deadline_kind=DeadlineKind.BACKOFF if wait_ms else DeadlineKind.HANDOFF,
    )
    return Action.BACK_OFF if wait_ms else Action.RETRY, Transition(step, after, events)


def _resend(step: ProcessStep, now_ms: int, *, resend_count: int) -> Transition:
    after = replace(
        step, resend_count=resend_count, deadline_ms=now_ms + HANDOFF_MS, deadline_kind=DeadlineKind.HANDOFF
    )
    return Transition(step, after)


def _reason(step: ProcessStep, is_lapsed: bool) -> str:
    if is_lapsed:
        return f"worker lost{f': {step.worker}' if step.worker else ''}"
    if step.deadline_kind is DeadlineKind.LOST and step.last_error:
        return step.last_error
    if step.is_finishing:  # then the clock is not that of `timeout_ms`
        return "the body returned, and its run never said what came of it"
    if step.timeout_ms is None:  # a heartbeat, or tasks that replaced the step's, set the clock
        return "no outcome within the time that it was given"
    return f"no outcome after {step.timeout_ms} ms"


def backoff_ms(step: ProcessStep, jitter: float) -> int:
    """The wait before the attempt that follows the current one, ms."""
    if step.backoff_ms == 0:
        return 0
    longest = min(step.backoff_max_ms, step.backoff_ms * 2 ** min(step.retry_count, 40))
    return max(1, int(longest * (1 - jitter / 2)))


def confirm(step: ProcessStep, *, attempt: int, now_ms: int) -> Transition:
    """The attempt's message is on its way: from now on it waits for a worker."""
    if step.state.is_terminal or step.attempt != attempt or step.deadline_kind is not DeadlineKind.HANDOFF:
        return Transition(step, step)
    wait_ms = step.queue_timeout_ms * 2 ** min(step.resend_count, MAX_DOUBLINGS)
    after = replace(step, deadline_ms=now_ms + wait_ms, deadline_kind=DeadlineKind.QUEUE)
    logged = log_sent(step, attempt=attempt, is_copy=step.resend_count > 0, now_ms=now_ms)
    return Transition(step, after, logged.events)


def log_sent(step: ProcessStep, *, attempt: int, is_copy: bool, now_ms: int) -> Transition:
    """The attempt's message was sent; if the step has gone on by now, that is all there is to say."""
    kind = EventKind.STEP_RESENT if is_copy else EventKind.STEP_REENQUEUED
    return Transition(step, step, (Event(kind, step.name, attempt, now_ms),))


def confirm_told(step: ProcessStep, *, attempt: int, now_ms: int) -> Transition:
    """Somebody was told to do the attempt again: unless it was started since, its time runs from now."""
    if step.state.is_terminal or step.attempt != attempt or step.deadline_kind is not DeadlineKind.HANDOFF:
        return Transition(step, step)
    wait_ms = step.timeout_ms or step.queue_timeout_ms
    after = replace(step, deadline_ms=now_ms + wait_ms, deadline_kind=DeadlineKind.RUN)
    return Transition(step, after, (Event(EventKind.STEP_REENQUEUED, step.name, attempt, now_ms),))


def confirm_alert(step: ProcessStep, *, attempt: int, now_ms: int) -> Transition:
    """It was told that a step timed out of which nothing else is done: no clock of the attempt runs any more."""
    if step.attempt != attempt or step.deadline_kind is not DeadlineKind.TELLING:
        return Transition(step, step)
    return Transition(step, replace(step, deadline_ms=None, deadline_kind=None))


def give_up(step: ProcessStep, *, attempt: int, now_ms: int) -> Transition:
    """All attempts are used and it was told so: the step fails, unless one of them completed it meanwhile."""
    if step.state.is_terminal or step.attempt != attempt or step.deadline_kind is not DeadlineKind.GIVING_UP:
        return Transition(step, step)
    error = f"gave up after attempt {attempt}: {step.last_error}"
    after = replace(
        step,
        state=StepState.FAILED,
        finished_at_ms=now_ms,
        last_error=error,
        has_incident=True,
        deadline_ms=None,
        deadline_kind=None,
    )
    return Transition(step, after, (Event(EventKind.STEP_GAVE_UP, step.name, attempt, now_ms, error),))
