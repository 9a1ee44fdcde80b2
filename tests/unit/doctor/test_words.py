"""How durations, sizes and lists read."""

from __future__ import annotations

import pytest

from trellis_celery.doctor import words


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (0.44, "0.4 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (90_000, "1.5 min"),
        (3_599_990, "1 h"),
        (172_800_000, "2 d"),
    ],
)
def test_a_duration_is_told_in_its_largest_unit(ms: float, text: str) -> None:
    assert words.duration(ms) == text


@pytest.mark.parametrize(("count", "text"), [(12, "12 bytes"), (1 << 20, "1 MB"), (3 << 29, "1.5 GB")])
def test_a_size_is_told_in_its_largest_unit(count: int, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("names", "text"), [((), ""), (("a", "b"), "a, b"), (tuple("abcdefg"), "a, b, c, d, e and 2 more")]
)
def test_of_a_long_list_the_first_are_named(names: tuple[str, ...], text: str) -> None:
    assert words.several(names) == text


@pytest.mark.parametrize(("number", "text"), [(1, "1 process"), (0, "0 processes"), (12_345, "12,345 processes")])
def test_a_number_goes_with_its_noun(number: int, text: str) -> None:
    assert words.count(number, "process", "processes") == text
