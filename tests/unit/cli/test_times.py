from __future__ import annotations

import pytest

from trellis_celery.cli.times import ago, exactly, moment


@pytest.mark.parametrize(
    ("elapsed_ms", "expected"),
    [
        (0, "0.0 s ago"),
        (59_900, "59.9 s ago"),
        (60_000, "1.0 min ago"),
        (5_400_000, "1.5 h ago"),
        (172_800_000, "2.0 d ago"),
        (-2_500, "in 2.5 s"),
    ],
)
def test_an_elapsed_time_reads_in_its_largest_unit(elapsed_ms: int, expected: str) -> None:
    assert ago(elapsed_ms) == expected


@pytest.mark.parametrize(
    ("duration_ms", "expected"),
    [(0, "0 s"), (250, "250 ms"), (30_000, "30 s"), (5_400_000, "1 h 30 min"), (86_461_001, "1 d 1 min 1 s 1 ms")],
)
def test_a_duration_that_was_declared_reads_exactly(duration_ms: int, expected: str) -> None:
    assert exactly(duration_ms) == expected


def test_a_moment_is_told_in_utc() -> None:
    assert moment(1_800_000_000_000) == "2027-01-15 08:00:00 UTC"


def test_a_moment_that_no_calendar_has_is_told_all_the_same() -> None:
    assert moment(10**18) == "1000000000000000000 ms after 1970"
