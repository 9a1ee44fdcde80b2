"""Options and arguments that several commands have, and the kinds of values they take."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from trellis_celery import errors
from trellis_celery.cli import completion
from trellis_celery.cli.group import option
from trellis_celery.domain.identity import is_process_id, require_identifier
from trellis_celery.domain.queries import Position

#: A text that a person writes into the log is not longer.
MAX_TEXT = 2_000

_Function = Callable[..., None]


class PositionType(click.ParamType):  # type: ignore[type-arg]
    """Where a page ended, as `list` prints it."""

    name = "position"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Position:
        started_at_ms, _, process_id = str(value).partition("/")
        if not re.fullmatch("[0-9]{1,14}", started_at_ms) or not is_process_id(process_id):
            self.fail(f"{value!r} is not a position that `list` printed", param, ctx)
        return Position(int(started_at_ms), process_id)


class TextType(click.ParamType):  # type: ignore[type-arg]
    """What a person writes into the log."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text.strip():
            self.fail("it is empty", param, ctx)
        if len(text) > MAX_TEXT:
            self.fail(f"it has {len(text)} characters; the most is {MAX_TEXT}", param, ctx)
        if re.search("[\x00\ud800-\udfff]", text):
            self.fail(f"{text!r} has broken Unicode, which no store can hold", param, ctx)
        return text


class NameType(click.ParamType):  # type: ignore[type-arg]
    """Who did something."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return require_identifier("the name", value)
        except errors.InvalidIdentifier as error:
            self.fail(str(error), param, ctx)


_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


class TimeType(click.DateTime):
    """A time in UTC, as epoch milliseconds."""

    def __init__(self) -> None:
        super().__init__(_TIMES)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        time: datetime = super().convert(value, param, ctx)
        return int(time.replace(tzinfo=UTC).timestamp() * 1000)


def by_key(function: _Function) -> _Function:
    """The options that narrow a list to processes of certain business keys."""
    return _all(
        option("--type", "process_type", help="Only processes of this type.", shell_complete=completion.process_types),
        option("--tenant", "tenant_id", help="Only processes of this tenant.", shell_complete=completion.tenants),
        option(
            "--aggregate",
            "aggregate_id",
            help="Only processes about the aggregate with this id.",
            shell_complete=completion.aggregates,
        ),
        option("--aggregate-type", help="With --aggregate: only if it is of this type."),
    )(function)


def one_process(function: _Function) -> _Function:
    """A process: its id, or the options of its business key."""
    argument = click.argument("process_id", required=False, shell_complete=completion.processes)
    return argument(by_key(function))


def one_step(function: _Function) -> _Function:
    """A step: its process as in `one_process`, and its name behind that."""

    @functools.wraps(function)
    def call(*args: Any, process_id: str | None, step_name: str | None, **given: Any) -> None:
        if given["aggregate_id"] is not None and step_name is None:
            process_id, step_name = None, process_id  # the one name there is, is the step's
        if step_name is None:
            raise click.UsageError("Missing argument 'STEP'.", click.get_current_context())
        function(*args, process_id=process_id, step_name=step_name, **given)

    return _all(
        click.argument("process_id", required=False, shell_complete=completion.processes),
        click.argument("step_name", metavar="STEP", required=False, shell_complete=completion.step_names),
        by_key,
    )(call)


def _all(*decorators: Callable[[_Function], Any]) -> Callable[[_Function], _Function]:
    def decorate(function: _Function) -> _Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate
