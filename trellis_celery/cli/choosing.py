"""Which process and which step a command line means; where it means none, an error that suggests one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import click

from trellis_celery import errors
from trellis_celery.cli.output import Output
from trellis_celery.cli.visible import quoted, visible
from trellis_celery.domain.events import Event
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import ProcessFilter, ProcessSummary
from trellis_celery.domain.step import ProcessStep
from trellis_celery.plugin.extension import Trellis

#: So many of the newest processes are compared with an id that is none.
RECENT = 200
#: No error names more than so many.
MOST_NAMED = 10


def process_of(trellis: Trellis, output: Output, process_id: str | None, **key: str | None) -> Process:
    """The process with this id, or the one that the business key leaves. Raises ClickException, TrellisError."""
    chosen_id = chosen(trellis, process_id, **key)
    try:
        return trellis.processes.get_process(chosen_id)
    except errors.ProcessNotFound as error:
        raise _not_found(trellis, output, error) from None


def with_history(
    trellis: Trellis, output: Output, process_id: str | None, **key: str | None
) -> tuple[Process, list[Event], bool]:
    """The process as `process_of`, its log, and whether both are from the archive, which is asked second."""
    chosen_id = chosen(trellis, process_id, **key)
    try:
        return trellis.processes.get_process(chosen_id), trellis.processes.history(chosen_id), False
    except errors.ProcessNotFound as error:
        not_found = error
    if trellis.settings.history_url:
        try:
            return trellis.history.get_process(chosen_id), trellis.history.history(chosen_id), True
        except errors.ProcessNotFound:
            pass
    raise _not_found(trellis, output, not_found)


def step_of(process: Process, step_name: str) -> ProcessStep:
    """The step of this name. Raises ClickException, with the nearest one there is."""
    if step_name in process.steps:
        return process.steps[step_name]
    near = difflib.get_close_matches(step_name, process.steps, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise click.ClickException(
        visible(f"process {process.id} has no step {quoted(step_name)}: {hint}Its steps are {_named(process.steps)}")
    )


def chosen(trellis: Trellis, process_id: str | None, **key: Any) -> str:
    """The id that is given, or that of the one process that the business key leaves."""
    is_narrowed = any(value is not None for value in key.values())
    if process_id is not None:
        if is_narrowed:
            raise click.UsageError("name the process by its id or by --aggregate, not by both")
        return process_id
    if key.get("aggregate_id") is None:
        raise click.UsageError("name a process: its id, or --aggregate with the id of what it is about")
    found = trellis.list_processes(ProcessFilter(**key), limit=RECENT)
    live = [process for process in found if not process.state.is_terminal]
    match live or found:
        case []:
            raise click.ClickException(visible(f"no process is about {quoted(key['aggregate_id'])}"))
        case [one]:
            return one.id
        case several:
            raise click.ClickException("several processes fit; name one by its id:\n" + _list(several))


def _not_found(trellis: Trellis, output: Output, error: errors.ProcessNotFound) -> click.ClickException:
    given = str(error.process_id)
    meant = _about(trellis, given) or _like(trellis, given)
    hint = f"did you mean\n{_list(meant)}" if meant else f"`{output.command_line} list` shows those there are"
    return click.ClickException(f"{visible(str(error))}; {hint}")


def _about(trellis: Trellis, aggregate_id: str) -> list[ProcessSummary]:
    try:
        return trellis.list_processes(ProcessFilter(aggregate_id=aggregate_id), limit=MOST_NAMED)
    except errors.InvalidIdentifier:
        return []


def _like(trellis: Trellis, process_id: str) -> list[ProcessSummary]:
    recent = {process.id: process for process in trellis.list_processes(limit=RECENT)}
    begun = [each for each in recent if process_id and each.startswith(process_id)]
    near = begun or difflib.get_close_matches(process_id, recent, cutoff=0.9)
    return [recent[each] for each in near[:MOST_NAMED]]


def _list(processes: list[ProcessSummary]) -> str:
    lines = [
        visible(
            f"  {process.id}  {process.key.process_type}, {process.key.aggregate_type} {process.key.aggregate_id}, "
            f"tenant {process.key.tenant_id}, {process.state}"
        )
        for process in processes[:MOST_NAMED]
    ]
    return "\n".join([*lines, "  …"] if len(processes) > MOST_NAMED else lines)


def _named(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join([*known[:MOST_NAMED], "…"] if len(known) > MOST_NAMED else known)
