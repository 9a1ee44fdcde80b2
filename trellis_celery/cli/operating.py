"""`retry`, `complete`, `fail`, `cancel` and `close`: what a person decides. The log says who it was."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import click

from trellis_celery.cli import choosing
from trellis_celery.cli.blocks import line
from trellis_celery.cli.group import command, option
from trellis_celery.cli.options import NameType, TextType, one_process, one_step
from trellis_celery.cli.output import Output
from trellis_celery.cli.times import ago
from trellis_celery.cli.visible import visible
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.step import DeadlineKind, ProcessStep
from trellis_celery.plugin.extension import Trellis
from trellis_celery.plugin.worker import MISSED_CHECKS


def _by_hand(function: Callable[..., None]) -> Callable[..., None]:
    by = option("--by", type=NameType(), help="Who does it, for the log.  [default: your user name @ this machine]")
    yes = option("--yes", is_flag=True, help="Do not ask on a terminal.")
    return by(yes(function))


@command("retry")
@one_step
@_by_hand
def retry(trellis: Trellis, output: Output, *, step_name: str, by: str | None, yes: bool, **which: Any) -> None:
    """Try a step again that failed or was given up, as a new attempt with all its retries.

    The next check sends its task; a step that no task does has to be completed as before.
    """
    process, step = _step(trellis, output, step_name, which)
    _confirm(yes, f"Try {_named(process, step)} again")
    by = by or user_at_host()
    trellis.processes.retry_step(process, step.name, by=by)
    after = process.steps[step.name]
    _tell(output, process, after, action="retried", by=by, note=_what_follows(after))
    if after.deadline_kind is DeadlineKind.HANDOFF:
        _warn_without_check(trellis, output)


@command("complete")
@one_step
@_by_hand
def complete(trellis: Trellis, output: Output, *, step_name: str, by: str | None, yes: bool, **which: Any) -> None:
    """Complete a step by hand: it was done in another way, started or not, failed or not. Nothing is sent."""
    process, step = _step(trellis, output, step_name, which)
    _confirm(yes, f"Complete {_named(process, step)}")
    by = by or user_at_host()
    trellis.processes.complete_step(process, step.name, by=by, reopen=True)
    _tell(output, process, process.steps[step.name], action="completed", by=by, is_change=step.state != "completed")


@command("fail")
@one_step
@option("--error", type=TextType(), required=True, help="Why, for the log and for whoever looks at the step.")
@_by_hand
def fail(
    trellis: Trellis, output: Output, *, step_name: str, error: str, by: str | None, yes: bool, **which: Any
) -> None:
    """Fail a step by hand. Does nothing to one that has failed."""
    process, step = _step(trellis, output, step_name, which)
    _confirm(yes, f"Fail {_named(process, step)}")
    by = by or user_at_host()
    trellis.processes.fail_step(process, step.name, error, by=by)
    _tell(output, process, process.steps[step.name], action="failed", by=by, is_change=step.state != "failed")


@command("cancel")
@one_process
@option("--reason", type=TextType(), default="cancelled", show_default=True, help="Why, for the log.")
@_by_hand
def cancel(trellis: Trellis, output: Output, *, reason: str, by: str | None, yes: bool, **which: Any) -> None:
    """Cancel every step of a process that is not finished. Tasks that still run may end, but no longer count."""
    process = choosing.process_of(trellis, output, **which)
    unfinished = [step for step in process.steps.values() if not step.state.is_terminal]
    if not unfinished and process.state is not ProcessState.CANCELLED:
        raise click.ClickException(f"process {process.id} is {process.state}: nothing is left to cancel")
    _confirm(yes, f"Cancel {len(unfinished)} of {len(process.steps)} steps of {process.process_type} {process.id}")
    by = by or user_at_host()
    trellis.processes.cancel(process, reason=reason, by=by)
    _tell(output, process, None, action="cancelled", by=by, is_change=bool(unfinished))


@command("close")
@one_step
@option("--note", type=TextType(), help="Why nothing more is to be done, for the log.")
@_by_hand
def close(
    trellis: Trellis, output: Output, *, step_name: str, note: str | None, by: str | None, yes: bool, **which: Any
) -> None:
    """Close the incident of a step that was given up on: somebody has looked at it, and it is to stay as it is."""
    process, step = _step(trellis, output, step_name, which)
    _confirm(yes, f"Close the incident of {_named(process, step)}")
    by = by or user_at_host()
    trellis.processes.close_incident(process, step.name, by=by, note=note or "")
    _tell(output, process, process.steps[step.name], action="closed", by=by)


def user_at_host() -> str:
    """Who types: the user of the operating system, and the machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _step(
    trellis: Trellis, output: Output, step_name: str, which: dict[str, str | None]
) -> tuple[Process, ProcessStep]:
    process = choosing.process_of(trellis, output, **which)
    return process, choosing.step_of(process, step_name)


def _named(process: Process, step: ProcessStep) -> str:
    state = f"{step.state}: {step.last_error}" if step.last_error else step.state
    return f"step {step.name} ({state}) of {process.process_type} {process.id}"


def _confirm(yes: bool, question: str) -> None:
    """Only on a terminal: a script has made up its mind."""
    if not yes and sys.stdin.isatty():
        click.confirm(visible(f"{question}?"), abort=True, err=True)


def _tell(
    output: Output,
    process: Process,
    step: ProcessStep | None,
    *,
    action: str,
    by: str,
    is_change: bool = True,
    note: str = "",
) -> None:
    if output.as_json:
        output.data(
            {
                "process": process.id,
                "step": None if step is None else step.name,
                "action": action,
                "is_change": is_change,
                "state": None if step is None else step.state,
                "process_state": process.state,
                "by": by if is_change else "",
            }
        )
        return
    what = "" if step is None else f" step {step.name}"
    done = f"{action} by {by}" if is_change else f"was {action} already"
    output.page([line(f"{process.process_type} {process.id}:{what} {done}{note}. The process is {process.state}.")])


def _what_follows(step: ProcessStep) -> str:
    if step.deadline_kind is DeadlineKind.HANDOFF:
        return f"; the next check sends attempt {step.attempt}"
    return "; no task is sent: somebody has to start or complete it"


def _warn_without_check(trellis: Trellis, output: Output) -> None:
    last = trellis.store.last_check()
    age_ms = trellis.store.now_ms() - last.at_ms
    if age_ms > MISSED_CHECKS * trellis.settings.check_interval_ms:
        when = f"The last check was {ago(age_ms)}" if last.at_ms else "There has been no check yet"
        output.say(f"{when}: is beat or a worker running? `{output.command_line} check` makes one.")
