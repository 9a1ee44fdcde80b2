"""What the screen tells: the rows of the table and the lines of the log, made from what the store knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trellis_celery import Event, EventKind, ProcessHandle, ProcessStep, StepState


@dataclass(frozen=True, slots=True)
class Loss:
    """Attempt 1 of a step was lost, because of us."""

    process_id: str
    step_name: str
    what: str
    #: Epoch ms by the store's clock.
    at_ms: int


@dataclass(frozen=True, slots=True)
class Row:
    process_type: str
    referral: str
    step: str
    state: str
    attempt: int
    lost: str = ""
    #: After how long it was noticed, ms; None: not yet, or there was nothing to notice.
    noticed_after_ms: int | None = None
    #: The attempt or the person that completed the step; empty: nobody so far.
    done_by: str = ""


def rows(process: ProcessHandle, history: Sequence[Event], losses: Iterable[Loss]) -> list[Row]:
    """One row for each step of a process."""
    lost = {loss.step_name: loss for loss in losses if loss.process_id == process.id}
    return [_row(process, step, history, lost.get(step.name)) for step in process.steps.values()]


def _row(process: ProcessHandle, step: ProcessStep, history: Sequence[Event], loss: Loss | None) -> Row:
    own = [event for event in history if event.step_name == step.name]
    done = next((event for event in own if event.kind is EventKind.STEP_COMPLETED), None)
    noticed = next((event for event in own if event.kind in _NOTICES), None)
    return Row(
        process_type=process.process.process_type,
        referral=process.process.aggregate_id,
        step=step.name,
        state="waiting" if step.external and step.state is StepState.PENDING else _STATES[step.state],
        attempt=step.attempt,
        lost=loss.what if loss else "",
        noticed_after_ms=noticed.occurred_at_ms - loss.at_ms if noticed and loss else None,
        done_by=_doer(done) if done else "",
    )


def _doer(completion: Event) -> str:
    return completion.detail or f"attempt {completion.attempt}"


_NOTICES = (EventKind.RUN_LOST, EventKind.STEP_TIMED_OUT)

_STATES = {state: state.replace("_", " ") for state in StepState}


def line(event: Event) -> str | None:
    """The event in words; None if it is not worth a line."""
    if event.kind is EventKind.STEP_COMPLETED:
        return f"{event.step_name}: {_doer(event)} completed it"
    words = _WORDS.get(event.kind)
    if words is None:
        return None
    return f"{event.step_name}: {words.format(attempt=event.attempt, detail=event.detail)}"


_WORDS = {
    EventKind.STEP_STARTED: "attempt {attempt} started on {detail}",
    EventKind.STEP_FAILED: "failed: {detail}",
    EventKind.RUN_LOST: "attempt {attempt} is lost: {detail}",
    EventKind.STEP_TIMED_OUT: "attempt {attempt} is over: {detail}",
    EventKind.STEP_REENQUEUED: "attempt {attempt} is sent",
    EventKind.STEP_RESENT: "attempt {attempt} is sent once more",
    EventKind.STEP_GAVE_UP: "{detail}",
    EventKind.RUN_REFUSED: "attempt {attempt} came back late and was turned away",
    EventKind.OUTCOME_LATE: "attempt {attempt} came back late and does not count",
}
