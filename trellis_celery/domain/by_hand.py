"""The rules for steps that people or plain code move: those of `transitions`, but what makes no sense is an error."""

from __future__ import annotations

from trellis_celery import errors
from trellis_celery.domain import outcomes, runs
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.domain.transitions import Transition


def start(step: ProcessStep, /, *, now_ms: int) -> Transition:
    """Start a step that no task runs, or its next attempt. Starting the same attempt again changes nothing."""
    if step.state.is_terminal:
        raise errors.InvalidTransition(step=step.name, state=step.state, asked="started")
    if step.run_id is not None:
        return Transition(step, step)
    attempt = max(step.attempt, 1)
    return runs.start(step, run_id=f"by-hand-{attempt}", attempt=attempt, now_ms=now_ms)


def complete(step: ProcessStep, /, *, now_ms: int, by: str = "", reopen: bool = False) -> Transition:
    """`reopen`: a failed one as well, because what it is about was done in another way. Nothing is sent."""
    if reopen and step.state is StepState.FAILED:
        reopened = outcomes.reopen(step, has_message=False, now_ms=now_ms, by=by)
        completed = outcomes.complete(reopened.after, now_ms=now_ms, by=by)
        return Transition(step, completed.after, reopened.events + completed.events)
    if step.state.is_terminal and step.state is not StepState.COMPLETED:
        raise errors.InvalidTransition(step=step.name, state=step.state, asked="completed", hint=_instead(step))
    return outcomes.complete(step, now_ms=now_ms, by=by)


def _instead(step: ProcessStep) -> str:
    return "retry it, or give reopen=True" if step.state is StepState.FAILED else ""


def fail(step: ProcessStep, /, error: str, *, now_ms: int, by: str = "") -> Transition:
    if step.state.is_terminal and step.state is not StepState.FAILED:
        raise errors.InvalidTransition(step=step.name, state=step.state, asked="failed")
    return outcomes.fail(step, error, now_ms=now_ms, by=by)


def close_incident(step: ProcessStep, /, *, now_ms: int, note: str = "", by: str = "") -> Transition:
    if not step.has_incident:
        raise errors.InvalidTransition(step=step.name, state=step.state, asked="closed", hint="it has no open incident")
    return outcomes.close_incident(step, now_ms=now_ms, note=note, by=by)
