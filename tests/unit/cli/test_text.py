from __future__ import annotations

from trellis_celery.cli import text
from trellis_celery.cli.blocks import Cell, Column, Line, Table, line
from trellis_celery.cli.visible import width


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    table = Table([Column("A"), Column("LONGER")], [[Cell("wide cell"), Cell("b")], [Cell("c"), Cell("d")]])

    assert text.page([table]).splitlines() == ["A          LONGER", "wide cell  b", "c          d"]


def test_numbers_end_below_each_other() -> None:
    table = Table([Column("N", is_number=True), Column("X")], [[Cell("1"), Cell("a")], [Cell("100"), Cell("b")]])

    assert text.page([table]).splitlines() == ["  N  X", "  1  a", "100  b"]


def test_columns_stand_below_each_other_whatever_script_is_in_them() -> None:
    table = Table([Column("A"), Column("B")], [[Cell("診療所"), Cell("x")], [Cell("clinic"), Cell("y")]])

    _, wide, narrow = text.page([table]).splitlines()

    assert width(wide.partition("x")[0]) == width(narrow.partition("y")[0])


def test_a_row_is_a_line_whatever_is_in_its_cells() -> None:
    table = Table([Column("A")], [[Cell("one\ntwo\x1b[2J")]])

    assert text.page([table]).splitlines() == ["A", "one two?[2J"]


def test_lines_and_tables_follow_each_other() -> None:
    page = text.page([Line((Cell("a"), Cell("b"))), line(), Table([Column("X")], [[Cell("y")]])])

    assert page == "ab\n\nX\ny"
