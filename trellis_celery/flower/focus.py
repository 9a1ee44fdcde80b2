"""The one step of a process that says best how it stands: what it waits for, and since when."""

from __future__ import annotations

from msgspec import Struct

from trellis_celery.domain.process import Process
from trellis_celery.domain.step import DeadlineKind, OnTimeout, ProcessStep, StepState
from trellis_celery.domain.transitions import MAX_DOUBLINGS


class Doing(Struct, frozen=True):
    """What a step does now, in words that follow its name, and may be followed by how long it has been so."""

    words: str
    #: Epoch ms; None where its record does not tell.
    since_ms: int | None = None


class Focus(Struct, frozen=True):
    step: ProcessStep
    doing: Doing
    #: So many other steps are not finished, or have an incident.
    others: int
    #: When the process as a whole is to be finished, epoch ms.
    process_deadline_ms: int | None


def focus_of(process: Process) -> Focus | None:
    """What a person should look at first; None if there is nothing to wait for and nothing to mend."""
    open_steps = [step for step in process.steps.values() if not step.state.is_terminal or _needs_mending(step)]
    if not open_steps:
        return None
    first = min(open_steps, key=_urgency)
    deadline_ms = None if process.state.is_terminal else process.own.deadline_ms
    return Focus(first, doing_of(first, process), len(open_steps) - 1, deadline_ms)


#: What happens between two runs.
_ON_ITS_WAY = {
    DeadlineKind.BACKOFF: "waiting before it is sent again",
    DeadlineKind.HANDOFF: "being sent",
    DeadlineKind.LOST: "lost; the next check takes it up",
    DeadlineKind.GIVING_UP: "being given up",
}


def doing_of(step: ProcessStep, process: Process) -> Doing:
    if step.has_incident:
        return Doing("given up" if step.state is StepState.FAILED else "timed out", _ended_ms(step))
    if step.state.is_terminal:
        return Doing(step.state.value, step.finished_at_ms)
    if step.deadline_kind is DeadlineKind.QUEUE:
        return Doing("waiting for a worker", _queued_ms(step, process))
    if step.deadline_kind in _ON_ITS_WAY:
        since_ms = step.deadline_ms if step.deadline_kind is DeadlineKind.LOST else None
        return Doing(_ON_ITS_WAY[step.deadline_kind], since_ms)
    return _doing_without_message(step, process)


#: What follows when the deadline of a step passes.
_THEN = {
    DeadlineKind.QUEUE: "then another copy is sent",
    DeadlineKind.BACKOFF: "then it is sent again",
    DeadlineKind.HANDOFF: "then it is sent again",
    DeadlineKind.LOST: "then the check takes it up",
    DeadlineKind.GIVING_UP: "then it is given up",
    DeadlineKind.TELLING: "then it is told again",
}


def then(step: ProcessStep) -> str:
    """What happens when the deadline of the step passes."""
    if step.deadline_kind in _THEN:
        return _THEN[step.deadline_kind]
    if step.on_timeout == OnTimeout.ALERT:
        return "then an incident is opened"
    return "then it is tried again" if step.can_retry() else "then it is given up"


def _doing_without_message(step: ProcessStep, process: Process) -> Doing:
    if step.run_id is not None:
        return Doing("running", step.started_at_ms)
    if step.deadline_kind is DeadlineKind.RUN and not step.external:
        return Doing("handed over to other tasks")
    if step.external:
        return Doing("waiting to be completed from outside", process.started_at_ms if step.attempt <= 1 else None)
    return Doing("not sent", _last_progress_ms(process))


def _urgency(step: ProcessStep) -> tuple[int, int]:
    """The least comes first: what needs a person, what is under way longest, what has not begun, what waits outside."""
    if _needs_mending(step):
        return 0 if step.has_incident else 1, _ended_ms(step) or 0
    if step.external and step.run_id is None:
        return 4, 0
    if step.run_id is not None or step.deadline_ms is not None:
        return 2, step.started_at_ms or step.deadline_ms or 0
    return 3, 0


def _needs_mending(step: ProcessStep) -> bool:
    return step.has_incident or step.state is StepState.FAILED


def _ended_ms(step: ProcessStep) -> int | None:
    """When its last attempt ended. One that timed out and was only told may still run."""
    return step.finished_at_ms if step.state.is_terminal else None


def _queued_ms(step: ProcessStep, process: Process) -> int | None:
    """When the message was sent last, which follows from when its wait ends. Celery's own retries wait otherwise."""
    if step.deadline_ms is None or step.celery_retries:
        return None
    queued_ms = step.deadline_ms - step.queue_timeout_ms * 2 ** min(step.resend_count, MAX_DOUBLINGS)
    return queued_ms if queued_ms >= (step.started_at_ms or process.started_at_ms) else None


def _last_progress_ms(process: Process) -> int:
    """Since when nothing is on its way to this step."""
    finished = (step.finished_at_ms for step in process.steps.values())
    return max((at_ms for at_ms in finished if at_ms is not None), default=process.started_at_ms)
