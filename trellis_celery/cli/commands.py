"""The commands. Each takes the app from Celery's ``-A``, and prints plain text or, with ``--json``, JSON lines.

Exit codes: 0 done, 1 not done (the reason is on standard error), 2 the command line makes no sense.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from celery.bin.base import CeleryCommand, CeleryOption, handle_preload_options

from trellis_celery.bootstrap import schemas
from trellis_celery.cli import text
from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import is_process_id
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.queries import Position, ProcessFilter
from trellis_celery.errors import ProcessNotFound, TrellisError
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


def _option(*names: str, **attributes: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(*names, cls=CeleryOption, help_group="Trellis Options", **attributes)


class _PositionType(click.ParamType):  # type: ignore[type-arg]
    """Where a page ended, as `list` prints it."""

    name = "position"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Position:
        started_at_ms, _, process_id = str(value).partition("/")
        if not re.fullmatch("[0-9]{1,14}", started_at_ms) or not is_process_id(process_id):
            self.fail(f"{value!r} is not a position that `list` printed", param, ctx)
        return Position(int(started_at_ms), process_id)


_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


@trellis.command(name="list", cls=CeleryCommand)
@_option("--state", type=click.Choice([state.value for state in ProcessState]), help="Only processes in this state.")
@_option("--type", "process_type", help="Only processes of this type.")
@_option("--tenant", "tenant_id", help="Only processes of this tenant.")
@_option("--aggregate", "aggregate_id", help="Only processes about the aggregate with this id.")
@_option("--aggregate-type", help="With --aggregate: only if it is of this type.")
@_option("--overdue", "is_overdue", is_flag=True, help="Only unfinished ones whose own deadline has passed.")
@_option("--since", type=click.DateTime(_TIMES), help="Only those started at this time (UTC) or later.")
@_option("--before", type=click.DateTime(_TIMES), help="Only those started before this time (UTC).")
@_option("--archived", is_flag=True, help="Look into the archive, `trellis_history_url`.")
@_option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at the most.")
@_option("--after", type=_PositionType(), help="The next page: what the page before printed at its end.")
@_as_json
@_with_trellis
def list_processes(
    trellis: Trellis,
    *,
    state: str | None,
    since: datetime | None,
    before: datetime | None,
    archived: bool,
    limit: int,
    after: Position | None,
    as_json: bool,
    **only: Any,
) -> None:
    """Processes, newest first."""
    wanted = ProcessFilter(
        state=ProcessState(state) if state else None, started_from_ms=_ms(since), started_before_ms=_ms(before), **only
    )
    service = trellis.history if archived else trellis.processes
    processes = service.list_processes(wanted, limit=limit, after=after)
    if as_json:
        for process in processes:
            _print_json(text.summary_data(process))
        return
    click.echo(text.process_table(processes, now_ms=trellis.store.now_ms()))
    if len(processes) == limit:
        click.echo(f"There may be more: --after {text.position(processes[-1].position)}", err=True)


@trellis.command(cls=CeleryCommand)
@click.argument("process_id")
@_as_json
@_with_trellis
def show(trellis: Trellis, process_id: str, as_json: bool) -> None:
    """One process: its steps, and everything that happened to it. Looks into the archive too, if there is one."""
    process, history, is_archived = _find(trellis, process_id)
    if as_json:
        _print_json(text.process_data(process) | {"is_archived": is_archived, "history": history})
    else:
        click.echo(text.process_page(process, history, now_ms=trellis.store.now_ms(), is_archived=is_archived))


def _find(trellis: Trellis, process_id: str) -> tuple[Process, list[Event], bool]:
    try:
        return trellis.processes.get_process(process_id), trellis.processes.history(process_id), False
    except ProcessNotFound:
        if not trellis.settings.history_url:
            raise
    return trellis.history.get_process(process_id), trellis.history.history(process_id), True


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


@trellis.command(cls=CeleryCommand)
@_as_json
@_with_trellis
def archive(trellis: Trellis, as_json: bool) -> None:
    """Archive finished processes once, and remove those whose retention is over, as beat does."""
    report = trellis.history.archive_and_remove()
    if as_json:
        _print_json(report)
    else:
        click.echo(text.history_line(report, now_ms=trellis.store.now_ms()))
    if report.failed:
        raise click.ClickException(f"{report.failed} could not be archived or removed; the log says why")


@trellis.command(cls=CeleryCommand)
@_option("--sql", "as_text", is_flag=True, help="Print what an empty database needs, and send nothing.")
@_with_trellis
def migrate(trellis: Trellis, as_text: bool) -> None:
    """Make the tables of trellis, or bring them up to date: for each URL in the settings."""
    for url, schema in schemas(trellis.settings):
        if as_text:
            click.echo(f"-- {url}{': nothing to make' if schema is None else ''}", err=True)
            if schema is not None:
                click.echo(schema.text())
        elif schema is None:
            _say(url, "nothing to make")
        else:
            schema.migrate(functools.partial(_say, url))


def _say(url: str, done: str) -> None:
    click.echo(f"{url}: {done}")


def _ms(time: datetime | None) -> int | None:
    return None if time is None else int(time.replace(tzinfo=UTC).timestamp() * 1000)


def _print_json(value: Any) -> None:
    click.echo(msgspec.json.encode(value).decode())
