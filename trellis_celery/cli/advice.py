"""What to type next, about a step that needs somebody."""

from __future__ import annotations

import shlex

from trellis_celery.domain.step import ProcessStep, StepState


def for_incident(step: ProcessStep, *, process_id: str, command_line: str) -> list[str]:
    """Commands that end the step's incident, the likeliest first."""
    where = f"{process_id} {shlex.quote(step.name)}"
    if step.state is StepState.FAILED:
        return [
            f"{command_line} retry {where}",
            f"{command_line} complete {where}",
            f"{command_line} close {where} --note '…'",
        ]
    return [
        f"{command_line} complete {where}",
        f"{command_line} fail {where} --error '…'",
        f"{command_line} close {where} --note '…'",
    ]
