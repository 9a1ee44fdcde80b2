"""`graph`: a process type, or a process, as a Mermaid flowchart."""

from __future__ import annotations

import difflib

import click

from trellis_celery.cli import choosing, completion, declared, mermaid
from trellis_celery.cli.group import command
from trellis_celery.cli.options import by_key
from trellis_celery.cli.output import Output
from trellis_celery.cli.visible import quoted, visible
from trellis_celery.domain.definitions import ProcessType
from trellis_celery.domain.identity import is_process_id
from trellis_celery.domain.process import Process
from trellis_celery.plugin.extension import Trellis


@command("graph")
@click.argument("name", metavar="TYPE|PROCESS_ID", required=False, shell_complete=completion.processes_and_types)
@by_key
def graph(trellis: Trellis, output: Output, *, name: str | None, **key: str | None) -> None:
    """A process type as a Mermaid flowchart: its steps with their clocks, and who completes those without a task.

    With a process id, or --aggregate, that process, with each step in the colour of its state.
    """
    _import_tasks(trellis)
    process: Process | None = None
    if key["aggregate_id"] is not None or is_process_id(name):
        process, _, _ = choosing.with_history(trellis, output, name, **key)
        type_name = process.process_type
        text = mermaid.of_process(process, tasks=_tasks(trellis, type_name))
    else:
        declaration = _declaration(trellis, name or key["process_type"])
        type_name = declaration.type_name
        steps = declaration.new_steps(queue_timeout_ms=trellis.settings.queue_timeout_ms)
        tasks = _tasks(trellis, type_name)
        text = mermaid.of_type(type_name, steps, deadline_ms=declaration.deadline_ms, tasks=tasks)
    if output.as_json:
        output.data({"process_type": type_name, "process": process and process.id, "mermaid": text})
    else:
        click.echo(text)


def _declaration(trellis: Trellis, name: str | None) -> type[ProcessType]:
    known = declared.process_types()
    if name in known:
        return known[name]
    names = ", ".join(sorted(known)) or "none: the app imports no module that declares one"
    if name is None:
        raise click.UsageError(visible(f"name a process type or a process; the types are {names}"))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise click.ClickException(visible(f"no process type is called {quoted(name)}: {hint}The types are {names}"))


def _import_tasks(trellis: Trellis) -> None:
    """Process types may be declared where the tasks are."""
    try:
        trellis.app.loader.import_default_modules()
        trellis.app.finalize()
    except ImportError as error:
        raise click.ClickException(visible(f"the app's tasks cannot be imported: {error}")) from error


def _tasks(trellis: Trellis, type_name: str) -> dict[str, str]:
    """The task of each step, as far as this program knows them."""
    declaration = declared.process_types().get(type_name)
    steps = {} if declaration is None else declaration.declared_steps
    found = {name: step.task for name, step in steps.items() if step.task is not None}
    for task in trellis.bindings.tasks():
        bound = trellis.bindings.step_of(task.name, type_name)
        if bound is not None:
            found[bound.name] = task.name
    return found
