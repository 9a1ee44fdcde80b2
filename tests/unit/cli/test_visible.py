from __future__ import annotations

import json

import pytest

from trellis_celery.cli.visible import escaped, fitting, visible, width

#: What a terminal might obey: a colour, a title, the clipboard, a bell, a return, an 8-bit CSI, and turned writing.
HOSTILE = "\x1b[31m \x1b]0;title\x07 \x1b]52;c;Zm9v\x07 \r\x9b2J \u202eabc\u2066 \u200b \u061c"


def test_text_as_people_write_it_stays_as_it_is() -> None:
    assert visible("Überweisung an 診療所 №7 👍") == "Überweisung an 診療所 №7 👍"


@pytest.mark.fault("X9")
def test_what_could_drive_a_terminal_or_turn_the_writing_becomes_question_marks() -> None:
    shown = visible(HOSTILE)

    assert shown.isprintable()
    assert shown.startswith("?[31m ?]0;title?")


@pytest.mark.fault("X9")
def test_text_stays_in_one_line() -> None:
    assert visible("one\ntwo\tthree\u2028four\u00a0five") == "one two three four five"


@pytest.mark.fault("X9")
def test_json_is_harmless_to_look_at_and_still_says_the_same() -> None:
    value = {"error": HOSTILE, "name": "診療所 \U000e0041"}

    shown = escaped(json.dumps(value, ensure_ascii=False))

    assert shown.isprintable()
    assert "診療所" in shown
    assert json.loads(shown) == value


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("診療", 4), ("e\u0301", 1), ("", 0)])
def test_a_width_is_counted_as_terminals_do(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "cut"), [("abcdef", 6, "abcdef"), ("abcdef", 4, "abc…"), ("診療所名", 5, "診療…")]
)
def test_a_text_that_is_too_long_ends_with_a_sign_of_it(text: str, columns: int, cut: str) -> None:
    assert fitting(text, columns) == cut
    assert width(cut) <= columns
