"""Pages in colours, for terminals. Imported only there, and only if rich is installed.

Every text becomes a `rich.text.Text` of its own, so none is ever read as rich's markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from trellis_celery.cli.blocks import Block, Cell, Line, Table, Tone
from trellis_celery.cli.visible import visible

_STYLES = {
    Tone.PLAIN: "",
    Tone.STRONG: "bold",
    Tone.DIM: "dim",
    Tone.GOOD: "green",
    Tone.BUSY: "blue",
    Tone.WAITING: "cyan",
    Tone.WARNING: "yellow",
    Tone.BAD: "bold red",
}


def console(*, no_color: bool) -> Console:
    """Standard output. `NO_COLOR` and `TERM=dumb` have their usual meaning."""
    return Console(no_color=True if no_color else None, highlight=False, markup=False, emoji=False)


def print_page(console: Console, blocks: Sequence[Block]) -> None:
    """Lines go out as long as they are: what is copied from one must not have been broken."""
    for block in blocks:
        if isinstance(block, Line):
            console.print(_line(block), soft_wrap=True)
        else:
            console.print(_table(block))


def picture(blocks: Sequence[Block]) -> RenderableType:
    """The page for a place of fixed size: lines end at its edge."""
    return Group(*(_line(block) if isinstance(block, Line) else _table(block) for block in blocks))


def _table(block: Table) -> RichTable:
    table = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in block.columns:
        table.add_column(
            column.title,
            no_wrap=column.is_whole,
            overflow="fold",
            justify="right" if column.is_number else "left",
        )
    for row in block.rows:
        table.add_row(*(_cell(cell) for cell in row))
    return table


def _cell(cell: Cell) -> Text:
    text = Text(visible(cell.text), style=_STYLES[cell.tone])
    return text.append(f"\n{visible(cell.below)}", style="dim") if cell.below else text


def _line(block: Line) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    for cell in block.cells:
        text.append(visible(cell.text), style=_STYLES[cell.tone])
    return text
