"""Pages as plain text: for pipes, for logs, and for terminals without rich."""

from __future__ import annotations

from collections.abc import Sequence

from trellis_celery.cli.blocks import Block, Cell, Line, Table
from trellis_celery.cli.visible import visible, width


def page(blocks: Sequence[Block]) -> str:
    return "\n".join(_line(block) if isinstance(block, Line) else table(block) for block in blocks)


def table(block: Table) -> str:
    """Columns as wide as their widest cell, two spaces between them: a line each, whatever the width."""
    head = [Cell(column.title) for column in block.columns]
    cells = [[visible(cell.text) for cell in row] for row in (head, *block.rows)]
    widths = [max(width(row[column]) for row in cells) for column in range(len(block.columns))]
    return "\n".join(_row(block, row, widths) for row in cells)


def _row(block: Table, cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = []
    for column, cell, columns in zip(block.columns, cells, widths, strict=True):
        space = " " * (columns - width(cell))
        padded.append(space + cell if column.is_number else cell + space)
    return "  ".join(padded).rstrip()


def _line(block: Line) -> str:
    return "".join(visible(cell.text) for cell in block.cells).rstrip()
