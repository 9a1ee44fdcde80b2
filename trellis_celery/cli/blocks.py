"""What a page consists of, before anybody knows whether it becomes plain text or colours on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from msgspec import Struct


class Tone(Enum):
    """What a text means, as a colour could tell. Nothing may be told by the colour alone."""

    PLAIN = auto()
    STRONG = auto()
    DIM = auto()
    GOOD = auto()
    BUSY = auto()
    WAITING = auto()
    WARNING = auto()
    BAD = auto()


class Cell(NamedTuple):
    text: str
    tone: Tone = Tone.PLAIN


class Column(NamedTuple):
    title: str
    is_number: bool = False
    #: Where there is no room for it, it may stand below the others, behind this text. None: it stands beside them.
    below: str | None = None


#: What stands in a cell where there is nothing.
NOTHING = Cell("-")
#: How many, where there are none.
ZERO = Cell("0", Tone.DIM)


class Line(Struct, frozen=True):
    """Cells one after the other, with nothing between them."""

    cells: Sequence[Cell] = ()


class Table(Struct, frozen=True):
    """A row for each thing. Where it is too wide for a terminal, some columns go below the others."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


Block = Line | Table


def line(text: str = "", tone: Tone = Tone.PLAIN) -> Line:
    return Line((Cell(text, tone),)) if text else Line()
