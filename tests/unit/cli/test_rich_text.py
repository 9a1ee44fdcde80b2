from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from trellis_celery.cli import rich_text
from trellis_celery.cli.blocks import NOTHING, Block, Cell, Column, Table, Tone, line

PROCESS_ID = "7-14450ea39ab94ede800689462fb65769"


def printed(blocks: Sequence[Block], *, columns: int = 80, colours: bool = False) -> str:
    out = io.StringIO()
    system = "standard" if colours else None
    console = Console(file=out, width=columns, force_terminal=True, color_system=system, markup=False, highlight=False)
    rich_text.print_page(console, blocks)
    return out.getvalue()


def rows(blocks: Sequence[Block], *, columns: int = 80) -> list[str]:
    return [row.rstrip() for row in printed(blocks, columns=columns).splitlines()]


ORDERS = Table(
    [Column("PROCESS"), Column("TENANT", below="tenant "), Column("REASON", below=""), Column("STATE")],
    [
        [Cell(PROCESS_ID), Cell("berlin"), Cell("no outcome after 2000 ms"), Cell("failed")],
        [Cell(PROCESS_ID), Cell("paris"), NOTHING, Cell("pending")],
    ],
)


def test_what_fits_stands_beside_each_other() -> None:
    assert rows([ORDERS], columns=100) == [
        "PROCESS                             TENANT  REASON                    STATE",
        f"{PROCESS_ID}  berlin  no outcome after 2000 ms  failed",
        f"{PROCESS_ID}  paris   -                         pending",
    ]


def test_what_does_not_fit_goes_below_and_what_is_missing_goes() -> None:
    assert rows([ORDERS], columns=60) == [
        "PROCESS                             STATE",
        f"{PROCESS_ID}  failed",
        "  tenant berlin, no outcome after 2000 ms",
        f"{PROCESS_ID}  pending",
        "  tenant paris",
    ]


def test_a_long_last_column_is_wrapped_where_the_others_leave_room() -> None:
    table = Table([Column("EVENT"), Column("DETAIL", below="")], [[Cell("step_failed"), Cell("word " * 12)]])

    assert rows([table], columns=60) == [
        "EVENT        DETAIL",
        "step_failed  word word word word word word word word word",
        "             word word word",
    ]


def test_an_id_is_whole_however_narrow_the_terminal_is() -> None:
    assert PROCESS_ID in "\n".join(rows([ORDERS], columns=45))


def test_a_command_to_copy_is_never_broken() -> None:
    command = f"celery -A some.long.name.of.an.app trellis retry {PROCESS_ID} a_step_with_a_long_name"

    assert command in printed([line(command)], columns=40)


def test_text_from_outside_is_not_read_as_markup() -> None:
    hostile = "[bold red]no[/] [link=https://example.com]click[/link] :bomb: [/]"

    page = printed([line(hostile), Table([Column("A")], [[Cell(hostile)]])], columns=200, colours=True)

    assert page.count(hostile) == 2
    assert "\x1b]8" not in page


@pytest.mark.parametrize("columns", [200, 20])
def test_text_from_outside_cannot_drive_the_terminal(columns: int) -> None:
    hostile = Cell("\x1b[2J\x1b]52;c;Zm9v\x07\x9b31m\u202e\r\n")
    table = Table([Column("A"), Column("B", below="")], [[hostile, hostile]])

    assert all(one.isprintable() or one == "\n" for one in printed([table, line(hostile.text)], columns=columns))


def test_tones_are_colours() -> None:
    assert "\x1b[32mcompleted\x1b[0m" in printed([line("completed", Tone.GOOD)], colours=True)


def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert rich_text.console(no_color=False).no_color
    assert rich_text.console(no_color=True).no_color


def test_a_picture_stays_within_its_columns() -> None:
    out = io.StringIO()
    console = Console(file=out, width=60, force_terminal=True, color_system=None)

    console.print(rich_text.picture([line("x" * 100), ORDERS], columns=58))

    assert max(len(row.rstrip()) for row in out.getvalue().splitlines()) <= 58
