"""What a step becomes when it ends, and when an operator begins it again.

The first completion wins: whichever attempt finishes first finishes the step. Terminal states are final; only `reopen`
leaves one.
"""

from __future__ import annotations

from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.step import DeadlineKind, ProcessStep, StepState
from trellis_celery.domain.transitions import Transition, Verdict, is_held_by_another


def complete(
    step: ProcessStep, *, now_ms: int, attempt: int | None = None, run_id: str | None = None, by: str = ""
) -> Transition:
    """The step's work is done. The first completion wins while the step is not terminal; later ones are only logged."""
    if step.state.is_terminal:
        is_repeat = step.state is StepState.COMPLETED
        return _late(step, "completed", is_repeat=is_repeat, attempt=attempt, run_id=run_id, now_ms=now_ms)
    if step.is_finishing and run_id is not None and run_id != step.run_id:
        return _late(step, "completed", is_repeat=False, attempt=attempt, run_id=run_id, now_ms=now_ms)
    after = _finished(step, StepState.COMPLETED, run_id=run_id, now_ms=now_ms)
    event = Event(EventKind.STEP_COMPLETED, step.name, attempt or after.attempt, now_ms, by=by)
    return Transition(step, after, (event,))


def fail(
    step: ProcessStep,
    error: str,
    *,
    now_ms: int,
    attempt: int | None = None,
    run_id: str | None = None,
    by: str = "",
) -> Transition:
    """The step's work failed. A failure of a replaced attempt or run is only logged: the newer one decides."""
    if step.state.is_terminal:
        is_repeat = step.state is StepState.FAILED
        return _late(step, "failed", is_repeat=is_repeat, attempt=attempt, run_id=run_id, now_ms=now_ms)
    if _is_replaced(step, attempt=attempt, run_id=run_id):
        event = Event(EventKind.OUTCOME_LATE, step.name, attempt or step.attempt, now_ms, f"failed: {error}")
        return Transition(step, step, (event,), Verdict.STALE)
    after = _finished(step, StepState.FAILED, run_id=run_id, now_ms=now_ms, last_error=error)
    return Transition(step, after, (Event(EventKind.STEP_FAILED, step.name, after.attempt, now_ms, error, by),))


def cancel(
    step: ProcessStep,
    *,
    now_ms: int,
    reason: str = "",
    attempt: int | None = None,
    run_id: str | None = None,
    by: str = "",
) -> Transition:
    """Nobody wants the step any more. A finished step stays as it is; so does one whose attempt or run was replaced."""
    if step.state.is_terminal or _is_replaced(step, attempt=attempt, run_id=run_id):
        return Transition(step, step, verdict=Verdict.FINISHED)
    after = _finished(step, StepState.CANCELLED, run_id=None, now_ms=now_ms, last_error=reason or None)
    return Transition(step, after, (Event(EventKind.STEP_CANCELLED, step.name, step.attempt, now_ms, reason, by),))


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
        finishing_at_ms=None,
        last_error=reason,
    )
    return Transition(step, after, (Event(EventKind.RUN_LOST, step.name, attempt, now_ms, reason),))


def throw_away(step: ProcessStep, reason: str, *, attempt: int, is_lost: bool, now_ms: int) -> Transition:
    """The attempt's message was thrown away unread. While a run holds the attempt, that was only a copy of it.

    `is_lost`: the broker does not take it, and may take another attempt's: the step is lost. Else it fails.
    """
    if step.run_id is not None and step.attempt == attempt:
        return Transition(step, step, verdict=Verdict.DUPLICATE)
    rule = lose if is_lost else fail
    return rule(step, reason, attempt=attempt, now_ms=now_ms)


def reopen(step: ProcessStep, *, now_ms: int, has_message: bool, by: str = "") -> Transition:
    """An operator wants a step tried again that has failed, or timed out for good: a new attempt with all its retries.

    Without a message to send, somebody has to start or complete it. Raises InvalidTransition for any other step.
    """
    if step.state is not StepState.FAILED and not step.has_incident:
        hint = "only a failed step, or one that has an incident, can be"
        raise errors.InvalidTransition(step=step.name, state=step.state, asked="retried", hint=hint)
    deadline_ms, deadline_kind = (now_ms, DeadlineKind.HANDOFF) if has_message else step.first_deadline(now_ms)
    after = replace(
        step,
        state=StepState.PENDING,
        is_leased=False,
        finishing_at_ms=None,
        attempt=step.attempt + 1,
        retry_count=0,
        resend_count=0,
        celery_retries=0,
        run_id=None,
        task_id=step.task_id if has_message else None,
        args_digest=step.args_digest if has_message else None,
        started_at_ms=None,
        finished_at_ms=None,
        last_error=None,
        has_incident=False,
        deadline_ms=deadline_ms,
        deadline_kind=deadline_kind,
    )
    return Transition(step, after, (Event(EventKind.STEP_REOPENED, step.name, after.attempt, now_ms, by=by),))


def close_incident(step: ProcessStep, *, now_ms: int, note: str = "", by: str = "") -> Transition:
    """Somebody has looked at a step that was given up, or that timed out and was only told, and lets it be."""
    if not step.has_incident:
        return Transition(step, step)
    event = Event(EventKind.INCIDENT_CLOSED, step.name, step.attempt, now_ms, note, by)
    return Transition(step, replace(step, has_incident=False), (event,))


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
        finishing_at_ms=None,
        has_incident=False,
    )


def _late(
    step: ProcessStep, outcome: str, *, is_repeat: bool, attempt: int | None, run_id: str | None, now_ms: int
) -> Transition:
    if is_repeat and run_id in (None, step.run_id):
        return Transition(step, step)
    event = Event(EventKind.OUTCOME_LATE, step.name, attempt or step.attempt, now_ms, outcome)
    return Transition(step, step, (event,), Verdict.FINISHED)


def _is_replaced(step: ProcessStep, *, attempt: int | None, run_id: str | None) -> bool:
    """Whether another attempt or run decides by now. Who names neither is no run, and may always decide."""
    if attempt is None and run_id is None:
        return False
    return (attempt is not None and attempt < step.attempt) or is_held_by_another(step, run_id)
