"""Pages in colours, for terminals. Imported only there, and only if rich is installed.

Every text becomes a `rich.text.Text` of its own, so none is ever read as rich's markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from trellis_celery.cli.blocks import NOTHING, ZERO, Block, Cell, Line, Table, Tone
from trellis_celery.cli.visible import visible, width

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


#: Between two columns, and before what stands below others.
GAP = 2
#: The last column is not wrapped to less than so many columns of the terminal.
LEAST_WRAPPED = 24


def console(*, no_color: bool) -> Console:
    """Standard output. `NO_COLOR` and `TERM=dumb` have their usual meaning."""
    return Console(no_color=True if no_color else None, highlight=False, markup=False, emoji=False)


def print_page(console: Console, blocks: Sequence[Block]) -> None:
    """Lines go out as long as they are: what is copied from one must not have been broken."""
    for block in blocks:
        if isinstance(block, Line):
            console.print(_line(block), soft_wrap=True)
        else:
            console.print(_table(block, console.width))


def picture(blocks: Sequence[Block], *, columns: int) -> RenderableType:
    """The page for a place of fixed size: lines end at its edge."""
    drawn = Group(*(_line(block) if isinstance(block, Line) else _table(block, columns) for block in blocks))
    return Constrain(drawn, columns)


def live(console: Console) -> Live:
    """A place on the terminal whose picture changes when it is told to. The last one stays."""
    return Live(console=console, auto_refresh=False, vertical_overflow="crop")


def _table(block: Table, columns: int) -> RenderableType:
    """All columns beside each other if they fit, when need be with the last one wrapped; else some below the others."""
    widths = [max(width(visible(text)) for text in texts) for texts in _texts_by_column(block)]
    left = columns - sum(widths[:-1]) - GAP * (len(widths) - 1)
    is_wrappable = block.columns[-1].below is not None and not block.columns[-1].is_number
    fits = left >= (min(widths[-1], LEAST_WRAPPED) if is_wrappable else widths[-1])
    if fits or all(column.below is None for column in block.columns):
        return _beside(block)
    return _with_lines_below(block, widths)


def _texts_by_column(block: Table) -> list[list[str]]:
    return [[column.title, *(row[place].text for row in block.rows)] for place, column in enumerate(block.columns)]


def _beside(block: Table) -> RichTable:
    table = RichTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column in block.columns:
        table.add_column(column.title, overflow="fold", justify="right" if column.is_number else "left")
    for row in block.rows:
        table.add_row(*(_cell(cell) for cell in row))
    return table


def _with_lines_below(block: Table, widths: Sequence[int]) -> Group:
    beside = [place for place, column in enumerate(block.columns) if column.below is None]
    titles = [_padded(block, place, Text(block.columns[place].title, style="bold"), widths) for place in beside]
    lines: list[RenderableType] = [Text().join(titles)]
    for row in block.rows:
        lines.append(Text().join([_padded(block, place, _cell(row[place]), widths) for place in beside]))
        lines += _below(block, row)
    return Group(*lines)


def _padded(block: Table, place: int, text: Text, widths: Sequence[int]) -> Text:
    space = " " * (widths[place] - width(text.plain))
    gap = " " * GAP
    return Text.assemble(space, text, gap) if block.columns[place].is_number else Text.assemble(text, space, gap)


def _below(block: Table, row: Sequence[Cell]) -> list[RenderableType]:
    parts = [
        Text.assemble((column.below or "", "dim"), _cell(cell, plain="dim"))
        for column, cell in zip(block.columns, row, strict=True)
        if column.below is not None and cell not in (NOTHING, ZERO)
    ]
    return [Padding(Text(", ", style="dim").join(parts), (0, 0, 0, GAP), expand=False)] if parts else []


def _cell(cell: Cell, *, plain: str = "") -> Text:
    return Text(visible(cell.text), style=_STYLES[cell.tone] or plain)


def _line(block: Line) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    for cell in block.cells:
        text.append(visible(cell.text), style=_STYLES[cell.tone])
    return text
