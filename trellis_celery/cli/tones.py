"""Which tone belongs to which state."""

from __future__ import annotations

from trellis_celery.cli.blocks import Cell, Tone
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.queries import ProcessSummary
from trellis_celery.domain.step import ProcessStep, StepState

_TONES: dict[str, Tone] = {
    "pending": Tone.WAITING,
    "in_progress": Tone.BUSY,
    "completed": Tone.GOOD,
    "failed": Tone.BAD,
    "cancelled": Tone.DIM,
}


_EVENT_TONES = {
    **dict.fromkeys((EventKind.STEP_COMPLETED, EventKind.PROCESS_COMPLETED), Tone.GOOD),
    **dict.fromkeys((EventKind.STEP_FAILED, EventKind.STEP_GAVE_UP, EventKind.PROCESS_FAILED), Tone.BAD),
    **dict.fromkeys(
        (
            EventKind.STEP_TIMED_OUT,
            EventKind.STEP_REENQUEUED,
            EventKind.STEP_RESENT,
            EventKind.RUN_LOST,
            EventKind.OUTCOME_LATE,
            EventKind.PROCESS_OVERDUE,
        ),
        Tone.WARNING,
    ),
}


def of_event(kind: EventKind) -> Tone:
    return _EVENT_TONES.get(kind, Tone.PLAIN)


def of_state(state: ProcessState | StepState) -> Tone:
    return _TONES[state.value]


def state_of_process(process: Process | ProcessSummary) -> Cell:
    """The state, and what else somebody should know who is about to go home."""
    notes = []
    if process.is_overdue and not process.state.is_terminal:
        notes.append("overdue")
    if process.has_incident:
        notes.append("incident")
    tone = Tone.BAD if process.has_incident else Tone.WARNING if notes else of_state(process.state)
    return Cell(f"{process.state} ({', '.join(notes)})" if notes else process.state, tone)


def state_of_step(step: ProcessStep) -> Cell:
    if step.has_incident:
        return Cell(f"{step.state} (incident)", Tone.BAD)
    return Cell(step.state, of_state(step.state))
