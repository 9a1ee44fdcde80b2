"""`check`: look for steps that are late or lost, without beat."""

from __future__ import annotations

import os
import socket
from functools import partial

import click
from msgspec.structs import asdict, astuple

from trellis_celery.cli.blocks import line
from trellis_celery.cli.group import command, option
from trellis_celery.cli.looping import repeat
from trellis_celery.cli.output import Output
from trellis_celery.plugin.extension import Trellis
from trellis_celery.services.timeouts import CheckReport


@command("check")
@option("--loop", is_flag=True, help="Go on until SIGINT or SIGTERM: for containers, where there is no beat.")
@option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.1, 3_600),
    help="With --loop: seconds between two passes.  [default: trellis_check_interval_ms]",
)
def check(trellis: Trellis, output: Output, *, loop: bool, interval_s: float | None) -> None:
    """Look once for steps that are late or lost, as beat does.

    Exit code 1: the store did not answer, or a step could not be read, written or sent; it stays due.
    """
    if interval_s is not None and not loop:
        raise click.UsageError("--interval is for --loop")
    if loop:
        interval_s = interval_s or trellis.settings.check_interval_ms / 1000
        check_once = partial(trellis.timeouts.check_for_timed_out_steps, by=_by())
        repeat(output, interval_s, lambda: _tell_if_any(output, check_once()), doing="Checking")
        return
    report = trellis.timeouts.check_for_timed_out_steps(by=_by())
    _tell(output, report)
    if report.failed:
        raise click.ClickException(
            f"could not be checked: {report.failed}; the log says why, and what stays due is tried again"
        )


def _tell_if_any(output: Output, report: CheckReport) -> None:
    if any(astuple(report)):
        _tell(output, report)


def _by() -> str:
    return f"command line, {socket.gethostname()}:{os.getpid()}"


def _tell(output: Output, report: CheckReport) -> None:
    if output.as_json:
        output.data(report)
    else:
        output.page([line(report_line(report))])


def report_line(report: CheckReport) -> str:
    counts = asdict(report)
    return ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items())
