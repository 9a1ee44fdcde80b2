"""What a person can do about a process, when that makes sense, and what it will lead to."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.flower.escaping import visible
from trellis_celery.flower.problems import Problem
from trellis_celery.plugin.extension import Trellis

_LONGEST_REASON = 2_000


class Asked(Struct, frozen=True, kw_only=True):
    """An action that somebody asks for."""

    process_id: str
    #: Empty if it is about the whole process.
    step_name: str
    reason: str
    #: Whoever asks has seen this attempt: if there is another by now, nothing is done. None: whichever there is.
    attempt: int | None
    by: str


class Action(Struct, frozen=True, kw_only=True):
    #: As in URLs.
    name: str
    #: On the button.
    label: str
    #: What it leads to, before one confirms.
    consequence: str
    #: Afterwards.
    done: str
    is_for_step: bool = True
    is_dangerous: bool = False
    #: What is asked for besides: nothing if empty.
    reason_label: str = ""
    is_reason_required: bool = False
    may: Callable[[ProcessStep], bool]
    do: Callable[[Trellis, Asked], None]


def _is_open(step: ProcessStep) -> bool:
    return not step.state.is_terminal


ACTIONS = {
    action.name: action
    for action in (
        Action(
            name="retry",
            label="Retry",
            consequence="The step is tried again as a new attempt, with all its retries. "
            "The next check sends its task if the message is kept; if not, somebody has to start or complete the step. "
            "What an earlier attempt still does will count no more.",
            done="The step is tried again; the next check sends its task.",
            may=lambda step: step.state is StepState.FAILED or step.has_incident,
            do=lambda trellis, asked: trellis.processes.retry_step(asked.process_id, asked.step_name, by=asked.by),
        ),
        Action(
            name="complete",
            label="Complete",
            consequence="The step counts as done, as if its task had succeeded, also if it has failed. A task that "
            "still runs is not stopped, and what comes of it will count no more. Nothing of a chain that hangs on the "
            "task is sent.",
            done="The step is completed.",
            may=lambda step: step.state is StepState.FAILED or _is_open(step),
            do=lambda trellis, asked: trellis.processes.complete_step(
                asked.process_id, asked.step_name, by=asked.by, reopen=True
            ),
        ),
        Action(
            name="fail",
            label="Fail",
            consequence="The step counts as failed, and so does the process. A task that still runs is not stopped.",
            done="The step is failed.",
            is_dangerous=True,
            reason_label="Why? It becomes the step's error.",
            is_reason_required=True,
            may=_is_open,
            do=lambda trellis, asked: trellis.processes.fail_step(
                asked.process_id, asked.step_name, asked.reason, by=asked.by
            ),
        ),
        Action(
            name="close",
            label="Close incident",
            consequence="The step stays as it is, and is no longer in the list of incidents.",
            done="The incident is closed.",
            reason_label="A note for the log, if you like",
            may=lambda step: step.has_incident,
            do=lambda trellis, asked: trellis.processes.close_incident(
                asked.process_id, asked.step_name, by=asked.by, note=asked.reason
            ),
        ),
        Action(
            name="cancel",
            label="Cancel process",
            consequence="Every step that is not finished is cancelled. Tasks that still run are not stopped, and what "
            "comes of them will count no more. This cannot be undone.",
            done="The process is cancelled.",
            is_for_step=False,
            is_dangerous=True,
            reason_label="A reason for the log, if you like",
            may=_is_open,
            do=lambda trellis, asked: trellis.processes.cancel(
                asked.process_id, reason=asked.reason or "cancelled", by=asked.by
            ),
        ),
    )
}
STEP_ACTIONS = tuple(action for action in ACTIONS.values() if action.is_for_step)
CANCEL = ACTIONS["cancel"]


def open_to(step: ProcessStep) -> list[Action]:
    """What can be done about a step as it is."""
    return [action for action in STEP_ACTIONS if action.may(step)]


def can_be_cancelled(process: Process) -> bool:
    return any(CANCEL.may(step) for step in process.steps.values())


def carry_out(trellis: Trellis, action: Action, asked: Asked) -> Process:
    """Do it; return the process as it is then.

    Raises Problem for a reason that is missing or too long, or when it is about another attempt by now;
    InvalidTransition, ProcessExists, ProcessNotFound, StepNotFound.
    """
    asked = replace(asked, reason=_readable(asked.reason))
    _check_reason(action, asked.reason)
    process = trellis.processes.get_process(asked.process_id)
    if action.is_for_step:
        _require_attempt(process.step(asked.step_name), asked.attempt)
    elif not can_be_cancelled(process):
        raise Problem(409, "InvalidTransition", f"the process is {process.state}: there is nothing left to cancel")
    action.do(trellis, asked)
    return trellis.processes.get_process(asked.process_id)


def _readable(text: str) -> str:
    """The text as every store can keep it."""
    return visible(text).strip()


def _check_reason(action: Action, reason: str) -> None:
    if action.is_reason_required and not reason:
        raise Problem(400, "ReasonMissing", f"say why, to {action.name} a step: the reason becomes its error")
    if len(reason) > _LONGEST_REASON:
        raise Problem(400, "ReasonTooLong", f"the reason is longer than {_LONGEST_REASON} characters")


def _require_attempt(step: ProcessStep, attempt: int | None) -> None:
    if attempt is not None and step.attempt != attempt:
        raise Problem(
            409,
            "AnotherAttempt",
            f"step {step.name!r} is at attempt {step.attempt} by now, not at {attempt}: look again, and then decide",
        )
