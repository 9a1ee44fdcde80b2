"""`watch`: processes, live."""

from __future__ import annotations

import signal
import sys

import click

from trellis_celery import errors
from trellis_celery.cli import choosing
from trellis_celery.cli.ending import ending_by
from trellis_celery.cli.following import Followed, OneProcess, Urgent
from trellis_celery.cli.group import command, option
from trellis_celery.cli.options import one_process
from trellis_celery.cli.output import Output
from trellis_celery.cli.screens import Screen, screen_for
from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.queries import ProcessFilter
from trellis_celery.plugin.extension import Trellis

#: What a shell says of a program that Ctrl-C has ended.
INTERRUPTED = 130


@command("watch")
@one_process
@option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.1, 3_600),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True, help="Without a process: of how many.")
def watch(
    trellis: Trellis, output: Output, *, process_id: str | None, interval_s: float, limit: int, **key: str | None
) -> None:
    """One process until it ends, or, without one, those that need somebody first, until Ctrl-C.

    A picture on a terminal, a line for each event everywhere else. Exit code for a process: 0 it was completed, 1 it
    failed or was cancelled, 130 Ctrl-C came first.
    """
    if process_id is None and key["aggregate_id"] is None:
        only = ProcessFilter(**key)  # type: ignore[arg-type]
        _follow(Urgent(trellis, only, limit), output, interval_s)
        return
    process, _, _ = choosing.with_history(trellis, output, process_id, **key)
    followed = OneProcess(trellis, process)
    if not _follow(followed, output, interval_s):
        sys.exit(INTERRUPTED)
    if followed.process.state is not ProcessState.COMPLETED:
        raise click.ClickException(f"process {followed.process.id} is {followed.process.state}")


def _follow(followed: Followed, output: Output, interval_s: float) -> bool:
    """Show it until it has ended; False if somebody does not want to wait so long."""
    with ending_by(signal.SIGINT) as ending, screen_for(output) as screen:
        screen.show(followed, followed.look())
        while not followed.has_ended:
            if ending.comes_within(interval_s):
                return False
            _look_again(followed, screen)
    return True


def _look_again(followed: Followed, screen: Screen) -> None:
    """A store that is away may come back: who watches, waits."""
    try:
        screen.show(followed, followed.look())
    except errors.StoreUnavailable as error:
        screen.trouble(followed, error)
