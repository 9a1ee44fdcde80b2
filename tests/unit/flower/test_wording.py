"""Times and durations as people read them."""

from __future__ import annotations

import pytest

from trellis_celery.flower import wording

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-5, "0 ms"),
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.0 s"),
        (9_949, "9.9 s"),
        (10 * SECOND, "10 s"),
        (59_999, "59 s"),
        (MINUTE, "1 min"),
        (3 * MINUTE + 20 * SECOND, "3 min 20 s"),
        (12 * MINUTE + 59 * SECOND, "12 min"),
        (2 * HOUR + 61 * SECOND, "2 h 1 min"),
        (23 * HOUR, "23 h"),
        (DAY + 5 * HOUR, "1 d 5 h"),
        (400 * DAY, "400 d"),
    ],
)
def test_a_duration_reads_in_its_largest_units(ms: int, text: str) -> None:
    assert wording.duration(ms) == text


def test_a_time_reads_beside_now() -> None:
    assert wording.since(1_000, 61_000) == "1 min ago"
    assert wording.since(61_000, 1_000) == "in 1 min"
    assert wording.so_long(1_000, 61_000, goes_on=True) == "for 1 min"
    assert wording.so_long(1_000, 61_000, goes_on=False) == "1 min ago"
    assert wording.so_long(61_000, 1_000, goes_on=True) == "in 1 min"


@pytest.mark.parametrize("at_ms", [-1, 0, 1_780_000_000_123, 10**15, 10**20])
def test_any_number_is_some_time(at_ms: int) -> None:
    assert wording.iso(at_ms).endswith("Z")
    assert len(wording.moment(at_ms)) == len("2026-01-31 12:03:04.250")


def test_a_time_has_its_milliseconds() -> None:
    assert wording.moment(1_780_000_000_123) == "2026-05-28 20:26:40.123"
    assert wording.iso(1_780_000_000_123) == "2026-05-28T20:26:40.123Z"
