from __future__ import annotations

import pytest

from trellis_celery.flower.escaping import safely, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("\" onload='x' &", "&quot; onload=&#x27;x&#x27; &amp;"),
        ("order-\u202e9999", "order-\\u202e9999"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\x1b[31mred\x00", "\\u001b[31mred\\u0000"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("Łódź 東京 🎉", "Łódź 東京 🎉"),
    ],
)
def test_markup_is_text_and_what_nobody_sees_is_shown(text: str, shown: str) -> None:
    assert safely(text).replace("&#39;", "&#x27;") == shown


def test_bytes_that_are_no_text_are_shown_all_the_same() -> None:
    assert safely(b"<\xff>") == "&lt;\ufffd&gt;"


def test_a_text_without_anything_hidden_is_left_alone() -> None:
    assert visible("charge_card <b>") == "charge_card <b>"
