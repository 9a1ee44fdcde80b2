"""Where the demo is watched: a live table on a terminal, a line per event everywhere else."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from example_project.demo.story import Row

LINES = 7

_STYLES = {"completed": "green", "in progress": "yellow", "failed": "bold red", "waiting": "cyan"}


class Screen(AbstractContextManager["Screen"], Protocol):
    def say(self, text: str, *, at_ms: int) -> None:
        """Something happened, so long after the start."""

    def show(self, rows: Sequence[Row]) -> None:
        """This is how things are now."""


def open_screen() -> Screen:
    console = Console()
    return LiveScreen(console) if console.is_terminal and not console.is_dumb_terminal else PlainScreen()


class PlainScreen:
    """For pipes, logs and CI."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str, *, at_ms: int) -> None:
        print(_line(text, at_ms), flush=True)

    def show(self, rows: Sequence[Row]) -> None:
        pass


class LiveScreen:
    """A table that changes in place, over the last few lines of what happened."""

    def __init__(self, console: Console) -> None:
        self._rows: Sequence[Row] = ()
        self._lines: deque[str] = deque(maxlen=LINES)
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str, *, at_ms: int) -> None:
        self._lines.append(_line(text, at_ms))

    def show(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def _picture(self) -> Group:
        log = Text("\n".join(self._lines), style="dim", no_wrap=True, overflow="ellipsis")
        return Group(_table(self._rows), log) if self._rows else Group(log)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("step", "state", "attempt", "lost", "noticed", "done by"):
        table.add_column(heading, no_wrap=True)
    process = ("", "")
    for row in rows:
        if process != (row.process_type, row.referral):
            process = (row.process_type, row.referral)
            table.add_row(*(Text(word, style="bold magenta") for word in process))
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> list[Text]:
    return [
        Text(f"  {row.step}"),
        Text(row.state, style=_STYLES.get(row.state, "dim")),
        Text(str(row.attempt or "")),
        Text(row.lost, style="red"),
        Text(duration(row.noticed_after_ms)),
        Text(row.done_by, style="bold green" if row.lost else "green"),
    ]


def duration(duration_ms: int | None) -> str:
    """A duration as people say it; nothing for none."""
    if duration_ms is None:
        return ""
    return f"{duration_ms} ms" if duration_ms < 1000 else f"{duration_ms / 1000:.1f} s"


def _line(text: str, at_ms: int) -> str:
    return f"{at_ms / 1000:6.1f} s  {text}"
