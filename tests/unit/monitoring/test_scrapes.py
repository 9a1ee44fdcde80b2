"""Scrapes share readings, wait for a slow store, and do not wait for ever."""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Event, Thread

import pytest

from trellis_celery.monitoring.readings import Reading
from trellis_celery.monitoring.scrapes import NO_ANSWER, Scrapes

#: Longer than any test takes.
FOR_EVER_S = 30.0


class Seconds:
    """A monotonic clock that goes on only when told to."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Store:
    """Readings of something that may take its time: each tells its number as `duration_s`."""

    def __init__(self) -> None:
        self.began = Event()
        self.may_end = Event()
        self.may_end.set()
        self.readings = 0
        self.failed: tuple[str, ...] = ()

    def read(self) -> Reading:
        self.readings += 1
        number = self.readings
        self.began.set()
        self.may_end.wait(FOR_EVER_S)
        return Reading(is_up=True, duration_s=number, failed=self.failed)


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.may_end.set()


def test_a_reading_is_shared_for_a_second(store: Store, seconds: Seconds) -> None:
    scrapes = Scrapes(store.read, patience_s=FOR_EVER_S, clock_s=seconds)

    scrapes.refresh()
    seconds.now_s += 0.9
    scrapes.refresh()
    assert (store.readings, scrapes.latest().age_s) == (1, pytest.approx(0.9))
    seconds.now_s += 0.2
    scrapes.refresh()

    assert store.readings == 2
    assert scrapes.latest().reading.duration_s == 2


def test_scrapes_at_the_same_time_share_the_reading_that_is_under_way(store: Store, seconds: Seconds) -> None:
    scrapes = Scrapes(store.read, patience_s=FOR_EVER_S, clock_s=seconds)
    store.may_end.clear()
    several = [Thread(target=scrapes.refresh) for _ in range(8)]
    for one in several:
        one.start()
    assert store.began.wait(FOR_EVER_S)

    store.may_end.set()
    for one in several:
        one.join()

    assert store.readings == 1
    assert scrapes.latest().reading.is_up


def test_a_scrape_waits_no_longer_than_its_patience_and_says_that_there_is_no_answer(
    store: Store, seconds: Seconds
) -> None:
    scrapes = Scrapes(store.read, patience_s=0.01, clock_s=seconds)
    store.may_end.clear()

    scrapes.refresh()
    scrapes.refresh()

    assert scrapes.latest().reading is NO_ANSWER
    assert store.readings == 1, "a store that hangs is not asked again"


def test_numbers_of_some_time_ago_stand_in_for_a_reading_that_takes_its_time(store: Store, seconds: Seconds) -> None:
    scrapes = Scrapes(store.read, patience_s=0.01, clock_s=seconds, best_before_s=30)
    scrapes.refresh()
    while scrapes.latest().reading is NO_ANSWER:
        scrapes.refresh()
    store.may_end.clear()

    seconds.now_s += 20
    scrapes.refresh()
    assert (scrapes.latest().reading.duration_s, scrapes.latest().age_s) == (1, 20)

    seconds.now_s += 11
    scrapes.refresh()
    assert scrapes.latest().reading is NO_ANSWER


def test_failures_add_up(store: Store, seconds: Seconds) -> None:
    scrapes = Scrapes(store.read, patience_s=FOR_EVER_S, clock_s=seconds)
    for failed in (("check",), (), ("outbox", "stats"), ("check",)):
        store.failed = failed
        seconds.now_s += 5
        scrapes.refresh()

    assert scrapes.latest().errors == {"check": 2, "outbox": 1, "stats": 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this machine does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_reads_for_itself_though_its_parent_was_reading(store: Store, seconds: Seconds) -> None:
    scrapes = Scrapes(store.read, patience_s=0.01, clock_s=seconds)
    store.may_end.clear()
    scrapes.refresh()

    child = os.fork()
    if child == 0:
        store.may_end.set()
        for _ in range(1_000):
            scrapes.refresh()
            if scrapes.latest().reading.is_up:
                os._exit(0)
        os._exit(1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
