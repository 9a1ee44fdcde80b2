from __future__ import annotations

import time

import pytest

from trellis_celery.stores.server_clock import ServerClock


def a_clock(server_ms: float) -> ServerClock:
    clock = ServerClock()
    clock.correct(server_ms, called_at_s=time.monotonic())
    return clock


def test_a_clock_that_was_told_nothing_tells_nothing() -> None:
    with pytest.raises(RuntimeError, match="nobody has told"):
        ServerClock().now_ms()


def test_time_goes_on_between_replies() -> None:
    clock = a_clock(1_000_000)

    assert 1_000_000 <= clock.now_ms() < 1_005_000


def test_a_reply_that_was_long_on_its_way_changes_nothing() -> None:
    clock = a_clock(1_000_000)

    clock.correct(1_000_000 - 4_000, called_at_s=time.monotonic() - 5)

    assert 1_000_000 <= clock.now_ms() < 1_005_000


@pytest.mark.parametrize("server_ms", [1_000_000 + 3_600_000, 1_000_000 - 3_600_000])
def test_a_server_whose_clock_was_set_is_followed(server_ms: int) -> None:
    clock = a_clock(1_000_000)

    clock.correct(server_ms, called_at_s=time.monotonic())

    assert server_ms <= clock.now_ms() < server_ms + 5_000


def test_the_age_counts_from_the_last_correction() -> None:
    assert 0 <= a_clock(1_000_000).age_s < 5
