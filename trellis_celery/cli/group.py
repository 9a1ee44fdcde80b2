"""`celery -A proj trellis`: the group, and what makes a function one of its commands.

::

    @command("list")
    @option("--tenant", help="Only processes of this tenant.")
    def list_processes(trellis: Trellis, output: Output, *, tenant: str | None) -> None:
        ...

Exit codes: 0 done, 1 not done (the reason is on standard error), 2 the command line makes no sense.
"""

from __future__ import annotations

import errno
import functools
import os
import shlex
import sys
from collections.abc import Callable
from typing import Any

import click
from celery.bin.base import CeleryCommand, CeleryOption, handle_preload_options

from trellis_celery.cli import logs
from trellis_celery.cli.output import Output
from trellis_celery.cli.visible import visible
from trellis_celery.errors import TrellisError
from trellis_celery.plugin.extension import Trellis
from trellis_celery.plugin.signals import trellis_of

_HELP_GROUP = "Trellis Options"
_OUTPUT_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


@click.group(name="trellis")
@click.pass_context
@handle_preload_options
def trellis(ctx: click.Context, **_preloaded: Any) -> None:
    """Processes whose steps are Celery tasks.

    Every command takes --json. Exit codes: 0 done, 1 not done, 2 the command line makes no sense.
    """


def option(*names: str, **attributes: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`click.option`, shown in the help among those of trellis."""
    return click.option(*names, cls=CeleryOption, help_group=_HELP_GROUP, **attributes)


def command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function a command.

    It is called with the app's `Trellis`, an `Output`, and its own options and arguments by name. A `TrellisError`
    becomes a message on standard error and exit code 1.
    """

    def register(function: Callable[..., None]) -> click.Command:
        made: click.Command = trellis.command(name=name, cls=CeleryCommand)(_with_trellis(function))
        made.params.append(
            CeleryOption(
                ("--json", "as_json"),
                is_flag=True,
                help="Print JSON, a line for each result.",
                help_group=_HELP_GROUP,
            )
        )
        return made

    return register


def _with_trellis(function: Callable[..., None]) -> Callable[..., None]:
    def run(ctx: click.Context, /, *, as_json: bool, **given: Any) -> None:
        logs.to_standard_error()
        output = Output(as_json=as_json, no_color=bool(ctx.obj.no_color), command_line=_command_line(ctx))
        try:
            function(_trellis(ctx), output, **given)
        except TrellisError as error:
            raise click.ClickException(visible(str(error))) from error
        except OSError as error:
            if error.errno not in _OUTPUT_IS_FULL:
                raise
            _forget_the_rest()
            raise click.ClickException(f"this could not all be written: {error.strerror}") from error

    return functools.update_wrapper(click.pass_context(run), function)


def _forget_the_rest() -> None:
    """Of the output: Python would try once more to write it as it ends, and be heard to fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _trellis(ctx: click.Context) -> Trellis:
    found = trellis_of(ctx.obj.app)
    if found is not None:
        return found
    if not ctx.find_root().params.get("app"):
        raise click.UsageError(
            f"no app: name yours before the command, as in `celery -A proj trellis {ctx.info_name}`", ctx
        )
    raise click.ClickException(
        f"the app {visible(str(ctx.obj.app.main))!r} has no Trellis: make one beside it, `trellis = Trellis(app)`"
    )


def _command_line(ctx: click.Context) -> str:
    app = ctx.find_root().params.get("app")
    return f"celery -A {shlex.quote(app)} trellis" if isinstance(app, str) else "celery -A … trellis"
