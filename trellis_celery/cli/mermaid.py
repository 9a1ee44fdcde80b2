"""Process types and processes as Mermaid flowcharts (https://mermaid.js.org/syntax/flowchart.html)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trellis_celery.cli.times import exactly
from trellis_celery.cli.visible import visible
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.step import OnTimeout, ProcessStep, StepState

_COLOURS = {
    "pending": "fill:#f4f4f5,stroke:#a1a1aa,color:#27272a",
    "in_progress": "fill:#dbeafe,stroke:#3b82f6,color:#1e3a8a",
    "completed": "fill:#dcfce7,stroke:#22c55e,color:#14532d",
    "failed": "fill:#fee2e2,stroke:#ef4444,color:#7f1d1d",
    "cancelled": "fill:#e7e5e4,stroke:#78716c,color:#44403c",
}
#: In a label in quotation marks these would end it, be markup, or be an entity.
_ENTITIES = str.maketrans({one: f"#{ord(one)};" for one in '"#&<>`\\'})


def of_type(
    name: str, steps: Sequence[ProcessStep], *, deadline_ms: int | None = None, tasks: Mapping[str, str] | None = None
) -> str:
    """What a process of this type consists of. `tasks`: the names of those that do the steps, by step."""
    about = [name] if deadline_ms is None else [name, f"deadline {exactly(deadline_ms)}"]
    labels = [_clocks(step, (tasks or {}).get(step.name)) for step in steps]
    return "\n".join((*_flow(about, steps, labels), *_ends(len(steps))))


def of_process(process: Process, *, tasks: Mapping[str, str] | None = None) -> str:
    """The same of a process, with each step in the colour of its state."""
    steps = list(process.steps.values())
    about = [process.process_type, f"{process.aggregate_type} {process.aggregate_id}", process.id]
    labels = [[*_clocks(step, (tasks or {}).get(step.name)), _progress(step)] for step in steps]
    return "\n".join(
        (
            *_flow(about, steps, labels),
            *_ends(len(steps), process.state),
            *(f"    classDef {state} {colour}" for state, colour in _COLOURS.items()),
            *(f"    class step{number} {step.state}" for number, step in enumerate(steps)),
            *_class_of_end(process.state),
        )
    )


def _flow(about: Sequence[str], steps: Sequence[ProcessStep], labels: Sequence[Sequence[str]]) -> list[str]:
    return [
        "flowchart LR",
        f"    start([{_label(about)}])",
        *(
            f"    step{number}[[{_label(label)}]]" if step.external else f"    step{number}[{_label(label)}]"
            for number, (step, label) in enumerate(zip(steps, labels, strict=True))
        ),
    ]


def _ends(count: int, state: ProcessState | None = None) -> list[str]:
    every = " & ".join(f"step{number}" for number in range(count))
    lines = [
        '    completed(["completed<br/>when every step is"])',
        '    failed(["failed<br/>when a step fails or is given up"])',
        f"    start --> {every}",
        f"    {every} --> completed",
        f"    {every} -.-> failed",
    ]
    if state is ProcessState.CANCELLED:
        lines += ['    cancelled(["cancelled"])', f"    {every} --> cancelled"]
    return lines


def _class_of_end(state: ProcessState) -> list[str]:
    return [f"    class {state} {state}"] if state.is_terminal else [f"    class start {state}"]


def _clocks(step: ProcessStep, task: str | None) -> list[str]:
    """The step's name, who does it, and its clocks."""
    lines = [step.name]
    if step.external:
        lines.append("external: a person or another system completes it")
    elif task is not None:
        lines.append(f"task {task}")
    lines.append("no time limit" if step.timeout_ms is None else f"{exactly(step.timeout_ms)} for each attempt")
    if step.timeout_ms is not None or not step.external:  # else nothing ever ends an attempt
        lines.append(_after_a_timeout(step))
    if not step.external:
        lines.append(f"sent once more after {exactly(step.queue_timeout_ms)} in the queue")
    return lines


def _after_a_timeout(step: ProcessStep) -> str:
    if step.on_timeout == OnTimeout.ALERT:
        return "late or lost: only told"
    attempts = 1 + step.retries_permitted
    wait = f", {exactly(step.backoff_ms)} and more between them" if step.backoff_ms and attempts > 1 else ""
    return f"{attempts} attempts{wait}" if attempts > 1 else "1 attempt"


def _progress(step: ProcessStep) -> str:
    state = step.state.value.replace("_", " ")
    told = f"{state}, attempt {step.attempt}" if step.attempt > 1 else state
    return f"{told}: {step.last_error}" if step.last_error and step.state is not StepState.COMPLETED else told


def _label(lines: Sequence[str]) -> str:
    return '"' + "<br/>".join(visible(line).translate(_ENTITIES) for line in lines) + '"'
