"""`relay`: tell other services of events, without a worker."""

from __future__ import annotations

import click

from trellis_celery.cli.blocks import line
from trellis_celery.cli.group import command, option
from trellis_celery.cli.looping import repeat
from trellis_celery.cli.output import Output
from trellis_celery.plugin.extension import Trellis
from trellis_celery.services.relay import RelayReport


@command("relay")
@option("--loop", is_flag=True, help="Go on until SIGINT or SIGTERM.")
@option("--discard", is_flag=True, help="Relay nothing: take all events that wait for having been relayed.")
@option("--yes", is_flag=True, help="With --discard: do not ask.")
def relay(trellis: Trellis, output: Output, *, loop: bool, discard: bool, yes: bool) -> None:
    """Relay events to `trellis_events_exchange` once, as every worker does.

    Exit code 1: the broker did not take everything; the rest waits.
    """
    if discard:
        _discard(trellis, output, is_sure=yes or output.as_json)
    elif loop:
        interval_s = trellis.settings.check_interval_ms / 1000
        repeat(output, interval_s, lambda: _tell_if_any(output, trellis.relay.relay()), doing="Relaying")
    else:
        report = trellis.relay.relay()
        _tell(output, report)
        if report.failed:
            raise click.ClickException(f"the broker did not take all events of {report.failed} processes; they wait")


def _discard(trellis: Trellis, output: Output, *, is_sure: bool) -> None:
    if not is_sure:
        click.confirm("No service will hear of the events that wait. Discard them?", abort=True)
    count = trellis.relay.discard()
    if output.as_json:
        output.data({"discarded": count})
    else:
        output.page([line(f"discarded: {count}")])


def _tell_if_any(output: Output, report: RelayReport) -> None:
    if report.relayed or report.failed:
        _tell(output, report)


def _tell(output: Output, report: RelayReport) -> None:
    if output.as_json:
        output.data(report)
    else:
        output.page([line(f"relayed: {report.relayed}, failed: {report.failed}, waiting: {report.waiting}")])
