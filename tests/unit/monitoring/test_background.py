from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support import logged
from tests.support.waiting import eventually
from trellis_celery.monitoring.background import BackgroundSender, TryLater

#: Longer than any test waits.
LONG_S = 60.0


class Outside:
    """Where things go to: it takes them, holds them up, refuses them or is away."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.asked: list[int] = []
        self.lets_through = threading.Event()
        self.lets_through.set()
        self.is_away = False
        self.refused: set[int] = set()

    def send(self, thing: int) -> None:
        self.asked.append(thing)
        assert self.lets_through.wait(LONG_S)
        if self.is_away:
            raise TryLater("away")
        if thing in self.refused:
            raise ValueError(f"not {thing}")
        self.got.append(thing)


@pytest.fixture
def outside() -> Iterator[Outside]:
    outside = Outside()
    yield outside
    outside.lets_through.set()  # no thread of a test outlives it


def sender_to(outside: Outside, *, capacity: int = 100, pause_s: float = LONG_S) -> BackgroundSender[int]:
    return BackgroundSender(outside.send, name="test", capacity=capacity, pause_s=pause_s)


def test_things_are_sent_in_the_order_in_which_they_came(outside: Outside) -> None:
    sender = sender_to(outside)

    for thing in range(50):
        sender.put(thing)
    sender.flush(within_s=LONG_S)

    assert outside.got == list(range(50))
    assert sender.dropped_count == 0


def test_whoever_has_something_to_send_does_not_wait_while_sending_hangs(outside: Outside) -> None:
    outside.lets_through.clear()
    sender = sender_to(outside)

    started_s = time.monotonic()
    for thing in range(1_000):
        sender.put(thing)

    assert time.monotonic() - started_s < 1
    assert outside.got == []


def test_no_more_than_the_capacity_waits_and_the_oldest_goes_first(outside: Outside) -> None:
    outside.lets_through.clear()
    sender = sender_to(outside, capacity=3)

    sender.put(0)
    eventually(lambda: outside.asked == [0])
    for thing in range(1, 11):
        sender.put(thing)
    outside.lets_through.set()
    sender.flush(within_s=LONG_S)

    assert outside.got == [0, 8, 9, 10]
    assert sender.dropped_count == 7


def test_drops_are_logged_once_until_all_is_well_again(outside: Outside, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="trellis_celery")
    sender = sender_to(outside)
    outside.refused = {1, 2, 3}

    for thing in (1, 2, 3, 4, 1):
        sender.put(thing)
        eventually(lambda: outside.asked[-1:] == [thing] and sender._is_idle())  # noqa: B023 - asked at once
    sender.flush(within_s=LONG_S)

    assert logged.events(caplog) == ["not_sent", "sending_again", "not_sent"]
    assert sender.dropped_count == 4


def test_what_is_refused_does_not_hold_up_what_comes_after(outside: Outside) -> None:
    sender = sender_to(outside)
    outside.refused = {1}

    for thing in range(3):
        sender.put(thing)
    sender.flush(within_s=LONG_S)

    assert outside.got == [0, 2]


def test_what_cannot_be_sent_now_is_sent_later_in_the_same_order(outside: Outside) -> None:
    outside.is_away = True
    sender = sender_to(outside, pause_s=0.001)

    for thing in range(3):
        sender.put(thing)
    eventually(lambda: len(outside.asked) > 3)
    outside.is_away = False
    eventually(lambda: len(outside.got) == 3)

    assert outside.got == [0, 1, 2]
    assert sender.dropped_count == 0


def test_what_waits_for_a_long_time_is_dropped_for_what_is_newer(outside: Outside) -> None:
    outside.is_away = True
    sender = sender_to(outside, capacity=2, pause_s=0.001)

    for thing in range(5):
        sender.put(thing)
        eventually(lambda: len(outside.asked) > 3)
    outside.is_away = False
    eventually(lambda: len(outside.got) == 2)

    assert outside.got == [3, 4]
    assert sender.dropped_count == 3


def test_what_comes_back_unsent_takes_no_place_from_what_is_newer(outside: Outside) -> None:
    outside.lets_through.clear()
    outside.is_away = True
    sender = sender_to(outside, capacity=2, pause_s=0.001)

    sender.put(0)
    eventually(lambda: outside.asked == [0])
    for thing in (1, 2):
        sender.put(thing)
    outside.lets_through.set()
    eventually(lambda: len(outside.asked) > 1)
    outside.is_away = False
    eventually(lambda: len(outside.got) == 2)

    assert outside.got == [1, 2]
    assert sender.dropped_count == 1


class TestTheEndOfTheProcess:
    def test_it_waits_for_what_is_being_sent(self, outside: Outside) -> None:
        outside.lets_through.clear()
        sender = sender_to(outside)
        sender.put(1)
        threading.Timer(0.05, outside.lets_through.set).start()

        sender.flush(within_s=LONG_S)

        assert outside.got == [1]

    def test_it_waits_no_longer_than_it_was_told_however_often(self, outside: Outside) -> None:
        outside.lets_through.clear()
        sender = sender_to(outside)
        for thing in range(3):
            sender.put(thing)

        started_s = time.monotonic()
        for _ in range(10):
            sender.flush(within_s=0.2)

        assert 0.2 <= time.monotonic() - started_s < 1
        assert sender.dropped_count >= 3

    def test_it_does_not_wait_for_a_broker_that_is_away(self, outside: Outside) -> None:
        outside.is_away = True
        sender = sender_to(outside)
        for thing in range(3):
            sender.put(thing)
        eventually(lambda: outside.asked == list(sender._waiting)[:1] == [0], what="tried once, and waiting")

        started_s = time.monotonic()
        sender.flush(within_s=LONG_S)

        assert time.monotonic() - started_s < LONG_S / 4
        assert outside.asked == [0, 0]
        assert sender.dropped_count == 3

    def test_it_costs_nothing_when_nothing_was_ever_sent(self, outside: Outside) -> None:
        before = threading.active_count()
        sender_to(outside).flush(within_s=LONG_S)

        assert threading.active_count() == before
