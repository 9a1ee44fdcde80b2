"""What the tab key offers: ids, types, tenants and steps that there are.

Completion runs before any command does, so the app is found here. Whatever goes wrong, nothing is offered: the line
that is being typed must stay as it is.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout

import click
from celery.app.utils import find_app
from click.shell_completion import CompletionItem

from trellis_celery.cli import declared
from trellis_celery.cli.visible import visible
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import ProcessFilter, ProcessSummary
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.plugin.extension import Trellis
from trellis_celery.plugin.signals import trellis_of

#: So many of the newest processes are looked at.
RECENT = 200

#: A shell puts what is chosen into the command line as it is: `$(reboot)` may be the name of an aggregate.
_HARMLESS = re.compile(r"[\w.:/@+%,][\w.:/@+%,=-]*")

_Offers = Sequence[tuple[str, str]]
_Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _offering(find: Callable[[Trellis, click.Context], _Offers]) -> _Completer:
    """Offer what starts with what was typed. `find` returns texts, and what to tell about each."""

    @functools.wraps(find)
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            with redirect_stdout(sys.stderr):  # the shell reads standard output, and an app may print when imported
                trellis = _trellis(ctx)
                offers = {} if trellis is None else dict(find(trellis, ctx))
        except (Exception, SystemExit):  # noqa: BLE001 - the app may raise anything as it is imported
            return []
        return [
            CompletionItem(text, help=visible(told) or None)
            for text, told in offers.items()
            if text.startswith(incomplete) and _HARMLESS.fullmatch(text)
        ]

    return complete


def _trellis(ctx: click.Context) -> Trellis | None:
    app = ctx.find_root().params.get("app")
    return None if app is None else trellis_of(find_app(app) if isinstance(app, str) else app)


@_offering
def processes(trellis: Trellis, ctx: click.Context) -> _Offers:
    """Ids; of a command that wants a step too, the steps where an option has named the process already."""
    if ctx.params.get("aggregate_id") is not None and "step_name" in ctx.params:
        return _steps(trellis, ctx)
    return _ids(trellis)


@_offering
def processes_and_types(trellis: Trellis, ctx: click.Context) -> _Offers:
    return [*_types(), *_ids(trellis)]


@_offering
def process_types(trellis: Trellis, ctx: click.Context) -> _Offers:
    return [*((process.key.process_type, "") for process in _recent(trellis)), *_types()]


@_offering
def tenants(trellis: Trellis, ctx: click.Context) -> _Offers:
    return [(process.key.tenant_id, "") for process in _recent(trellis)]


@_offering
def aggregates(trellis: Trellis, ctx: click.Context) -> _Offers:
    return [(process.key.aggregate_id, _told(process)) for process in _recent(trellis)]


@_offering
def step_names(trellis: Trellis, ctx: click.Context) -> _Offers:
    return _steps(trellis, ctx)


def _ids(trellis: Trellis) -> _Offers:
    return [(process.id, _told(process)) for process in _recent(trellis)]


def _types() -> _Offers:
    return [(name, declared.told(process_type)) for name, process_type in declared.process_types().items()]


#: Of which steps a command can make something.
_CAN: dict[str, Callable[[ProcessStep], bool]] = {
    "retry": lambda step: step.state is StepState.FAILED,
    "complete": lambda step: step.state is StepState.FAILED or not step.state.is_terminal,
    "fail": lambda step: not step.state.is_terminal,
    "close": lambda step: step.has_incident,
}


def _steps(trellis: Trellis, ctx: click.Context) -> _Offers:
    process = _process(trellis, ctx)
    can = _CAN.get(ctx.info_name or "")
    steps = [] if process is None else [step for step in process.steps.values() if can is None or can(step)]
    return [(step.name, f"{step.state} {step.last_error or ''}".rstrip()) for step in steps]


def _process(trellis: Trellis, ctx: click.Context) -> Process | None:
    given = ctx.params
    process_id = given.get("process_id")
    if given.get("aggregate_id") is not None:
        key = {name: given.get(name) for name in ("process_type", "tenant_id", "aggregate_type", "aggregate_id")}
        found = trellis.list_processes(ProcessFilter(**key), limit=1)  # type: ignore[arg-type]
        process_id = found[0].id if found else None
    return None if process_id is None else trellis.processes.get_process(process_id)


def _recent(trellis: Trellis) -> list[ProcessSummary]:
    return trellis.list_processes(limit=RECENT)


def _told(process: ProcessSummary) -> str:
    key = process.key
    return f"{key.process_type} {key.aggregate_type} {key.aggregate_id} {process.state}"
