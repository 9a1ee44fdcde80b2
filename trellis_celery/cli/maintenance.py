"""`archive` and `migrate`: what keeps the stores in order."""

from __future__ import annotations

import functools

import click

from trellis_celery.bootstrap import schemas
from trellis_celery.cli.blocks import line
from trellis_celery.cli.group import command, option
from trellis_celery.cli.output import Output
from trellis_celery.cli.times import ago
from trellis_celery.plugin.extension import Trellis
from trellis_celery.services.history import HistoryReport


@command("archive")
def archive(trellis: Trellis, output: Output) -> None:
    """Archive finished processes once, and remove those whose retention is over, as beat does."""
    report = trellis.history.archive_and_remove()
    if output.as_json:
        output.data(report)
    else:
        output.page([line(history_line(report, now_ms=trellis.store.now_ms()))])
    if report.failed:
        raise click.ClickException(f"{report.failed} could not be archived or removed; the log says why")


def history_line(report: HistoryReport, *, now_ms: int) -> str:
    done = ", ".join(f"{name}: {getattr(report, name)}" for name in ("archived", "removed", "dropped", "failed"))
    since_ms = report.waiting_since_ms
    return f"{done}; waiting: {report.waiting}" + ("" if since_ms is None else f" (first {ago(now_ms - since_ms)})")


@command("migrate")
@option("--sql", "as_text", is_flag=True, help="Print what an empty database needs, and send nothing.")
def migrate(trellis: Trellis, output: Output, *, as_text: bool) -> None:
    """Make the tables of trellis, or bring them up to date: for each URL in the settings."""
    for url, schema in schemas(trellis.settings):
        if as_text:
            _print_text(output, url, None if schema is None else schema.text())
        elif schema is None:
            _say(output, url, "nothing to make")
        else:
            schema.migrate(functools.partial(_say, output, url))


def _print_text(output: Output, url: str, text: str | None) -> None:
    if output.as_json:
        output.data({"url": url, "sql": text or ""})
        return
    output.say(f"-- {url}{': nothing to make' if text is None else ''}")
    if text is not None:
        click.echo(text)


def _say(output: Output, url: str, done: str) -> None:
    if output.as_json:
        output.data({"url": url, "done": done})
    else:
        output.page([line(f"{url}: {done}")])
