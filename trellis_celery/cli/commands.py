"""The commands. Each takes the app from Celery's ``-A``, and prints plain text or, with ``--json``, JSON lines.

Exit codes: 0 done, 1 not done (the reason is on standard error), 2 the command line makes no sense.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click
import msgspec
from celery.bin.base import CeleryCommand, CeleryOption, handle_preload_options

from trellis_celery.cli import text
from trellis_celery.domain.process import ProcessState
from trellis_celery.errors import TrellisError
from trellis_celery.plugin.extension import Trellis
from trellis_celery.plugin.signals import trellis_of

_as_json = click.option(
    "--json", "as_json", is_flag=True, cls=CeleryOption, help_group="Trellis Options", help="Print JSON."
)


def _with_trellis(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the app's `Trellis`, and turn errors of ours into a message and exit code 1."""

    @click.pass_context
    @handle_preload_options
    @functools.wraps(command)
    def run(ctx: click.Context, *args: Any, **kwargs: Any) -> None:
        trellis = trellis_of(ctx.obj.app)
        if trellis is None:
            raise click.ClickException(
                "this app has no Trellis: name yours before the command, as in `celery -A proj trellis list`, "
                "and make a Trellis(app) in it"
            )
        try:
            command(trellis, *args, **kwargs)
        except TrellisError as error:
            raise click.ClickException(str(error)) from error

    return run


@click.group(name="trellis")
@click.pass_context
@handle_preload_options
def trellis(ctx: click.Context) -> None:
    """Processes whose steps are Celery tasks."""


@trellis.command(name="list", cls=CeleryCommand)
@click.option(
    "--state",
    type=click.Choice([state.value for state in ProcessState]),
    cls=CeleryOption,
    help_group="Trellis Options",
    help="Only processes in this state.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    cls=CeleryOption,
    help_group="Trellis Options",
    help="How many at the most.",
)
@_as_json
@_with_trellis
def list_processes(trellis: Trellis, state: str | None, limit: int, as_json: bool) -> None:
    """The newest processes, newest first."""
    processes = trellis.processes.list_processes(state=ProcessState(state) if state else None, limit=limit)
    if as_json:
        for process in processes:
            _print_json(text.process_data(process))
    else:
        click.echo(text.process_table(processes, now_ms=trellis.store.now_ms()))


@trellis.command(cls=CeleryCommand)
@click.argument("process_id")
@_as_json
@_with_trellis
def show(trellis: Trellis, process_id: str, as_json: bool) -> None:
    """One process: its steps, and everything that happened to it."""
    handle = trellis.get_process(process_id)
    if as_json:
        _print_json(text.process_data(handle.process) | {"history": handle.history()})
    else:
        click.echo(text.process_page(handle.process, handle.history(), now_ms=trellis.store.now_ms()))


@trellis.command(cls=CeleryCommand)
@_as_json
@_with_trellis
def check(trellis: Trellis, as_json: bool) -> None:
    """Look once for steps that are late or lost, as beat does."""
    report = trellis.timeouts.check_for_timed_out_steps(by="command line")
    if as_json:
        _print_json(report)
    else:
        click.echo(text.report_line(report))


def _print_json(value: Any) -> None:
    click.echo(msgspec.json.encode(value).decode())
