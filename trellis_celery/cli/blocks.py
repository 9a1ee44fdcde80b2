"""What a page consists of, before anybody knows whether it becomes plain text or colours on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple


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
    #: A second line, where there is no room for further columns.
    below: str = ""


class Column(NamedTuple):
    title: str
    #: It is never wrapped: whoever copies from it needs it whole.
    is_whole: bool = False
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """Cells one after the other, with nothing between them. It is not wrapped."""

    cells: Sequence[Cell] = ()


@dataclass(frozen=True, slots=True)
class Table:
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


Block = Line | Table


def line(text: str = "", tone: Tone = Tone.PLAIN) -> Line:
    return Line((Cell(text, tone),)) if text else Line()
