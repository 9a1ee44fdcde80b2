"""Where a command's results go: colours on a terminal, plain text in a pipe, JSON where it is asked for."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import click
import msgspec

from trellis_celery.cli import text
from trellis_celery.cli.blocks import Block
from trellis_celery.cli.gantt import glyphs_for
from trellis_celery.cli.visible import escaped, visible

#: How wide a picture is where there is no terminal.
WIDTH_OF_PIPES = 100


class Output:
    """What one call of a command prints.

    as_json
        Print JSON lines and nothing else.
    command_line
        How this shell is called, for telling what to type next: ``celery -A proj trellis``.
    """

    def __init__(self, *, as_json: bool = False, no_color: bool = False, command_line: str = "celery trellis") -> None:
        self.as_json = as_json
        self.command_line = command_line
        self._no_color = no_color
        #: The characters that pictures can be drawn with; asked now, because a live picture replaces standard output.
        self.glyphs = glyphs_for(sys.stdout.encoding if sys.stdout else None)

    @cached_property
    def is_terminal(self) -> bool:
        return sys.stdout is not None and sys.stdout.isatty()

    @cached_property
    def is_rich(self) -> bool:
        """Whether there are colours, and pictures that change in place."""
        is_dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
        return self.is_terminal and not is_dumb and not self.as_json and find_spec("rich") is not None

    @property
    def width(self) -> int:
        """Columns there are for a picture."""
        return shutil.get_terminal_size().columns if self.is_terminal else WIDTH_OF_PIPES

    @property
    def height(self) -> int:
        """Lines there are for a picture."""
        return shutil.get_terminal_size().lines

    @cached_property
    def console(self) -> Any:
        """rich's console: only where `is_rich`."""
        from trellis_celery.cli import rich_text  # noqa: PLC0415 - an optional dependency

        return rich_text.console(no_color=self._no_color)

    def page(self, blocks: Sequence[Block]) -> None:
        """For people."""
        if not self.is_rich:
            click.echo(text.page(blocks))
            return
        from trellis_celery.cli import rich_text  # noqa: PLC0415 - an optional dependency

        rich_text.print_page(self.console, blocks)

    def data(self, value: Any) -> None:
        """For programs: one line of JSON."""
        click.echo(escaped(msgspec.json.encode(value).decode()))

    def say(self, remark: str) -> None:
        """A remark beside the results: on standard error, so that it is in nobody's way."""
        click.echo(visible(remark), err=True)
