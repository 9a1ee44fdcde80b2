"""Each part that can be read is read, and a store that is away is not asked for the others."""

from __future__ import annotations

import logging
import math

import pytest
from msgspec.structs import replace

from tests.support import logged
from trellis_celery import ProcessService, ProcessStep, errors
from trellis_celery.domain.queries import Stats
from trellis_celery.monitoring.readings import Backlog, Reading, StoreReader
from trellis_celery.ports import LastCheck, ProcessStore
from trellis_celery.repositories import RepositoryStore
from trellis_celery.stores.memory import InMemoryProcessRepository, MemoryStore
from trellis_celery.testing import ManualClock


class FailingStore(MemoryStore):
    """A store of which some calls fail."""

    def __init__(self, **failures: Exception) -> None:
        super().__init__()
        self.failures = failures
        self.asked: list[str] = []

    def stats(self) -> Stats:
        self._ask("stats")
        return super().stats()

    def last_check(self) -> LastCheck:
        self._ask("last_check")
        return super().last_check()

    def unrelayed(self) -> tuple[int, int | None]:
        self._ask("unrelayed")
        return super().unrelayed()

    def _ask(self, call: str) -> None:
        self.asked.append(call)
        if call in self.failures:
            raise self.failures[call]


def read(store: ProcessStore, *, has_archive: bool = False) -> Reading:
    return StoreReader(lambda: store, has_archive=lambda: has_archive).read()


def start(store: ProcessStore, *, is_announced: bool = False) -> str:
    return (
        ProcessService(store, announces=is_announced)
        .start_process(
            tenant_id="tenant-1",
            process_type="Checkout",
            aggregate_type="Order",
            aggregate_id="1",
            steps=[ProcessStep("charge_card")],
        )
        .id
    )


def test_the_last_check_is_so_old() -> None:
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    store.note_check(LastCheck(clock.now_ms(), "beat"))

    clock.advance(1_500)

    assert read(store).last_check_age_ms == 1_500


def test_a_check_that_never_was_is_infinitely_old() -> None:
    assert read(MemoryStore()).last_check_age_ms == math.inf


def test_the_outbox_tells_how_many_wait_and_how_long() -> None:
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    assert read(store).outbox == Backlog(0, 0)
    start(store, is_announced=True)

    clock.advance(700)

    assert read(store).outbox == Backlog(1, 700)


def test_what_a_relay_has_claimed_is_not_of_negative_age() -> None:
    store = MemoryStore(clock=ManualClock())
    start(store, is_announced=True)

    store.claim_unrelayed(limit=1, until_ms=store.now_ms() + 60_000)

    assert read(store).outbox == Backlog(1, 0)


def test_a_pair_of_repositories_has_no_outbox() -> None:
    assert read(RepositoryStore(InMemoryProcessRepository(), None)).outbox is None


def test_the_archive_tells_how_many_wait_and_how_long_if_there_is_one() -> None:
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    ProcessService(store).complete_step(start(store), "charge_card")

    clock.advance(60_000)

    assert read(store).archive is None
    assert read(store, has_archive=True).archive == Backlog(1, 60_000)


def test_a_part_that_fails_takes_no_other_with_it() -> None:
    store = FailingStore(unrelayed=RuntimeError("broken"))

    reading = read(store)

    assert reading.is_up
    assert (reading.failed, reading.outbox) == (("outbox",), None)
    assert reading.stats == MemoryStore().stats()


def test_a_store_that_is_away_is_asked_once() -> None:
    store = FailingStore(last_check=errors.StoreUnavailable("away"))

    reading = read(store)

    assert store.asked == ["last_check"]
    assert replace(reading, duration_s=0.0) == Reading(failed=("check",))


def test_a_store_that_goes_away_meanwhile_is_not_asked_for_the_rest() -> None:
    store = FailingStore(unrelayed=errors.StoreUnavailable("away"))

    reading = read(store)

    assert store.asked == ["last_check", "unrelayed"]
    assert (reading.is_up, reading.stats, reading.failed) == (True, None, ("outbox",))


def test_a_store_that_cannot_be_opened_is_not_up() -> None:
    def no_store() -> ProcessStore:
        raise errors.ConfigurationError("trellis_url is not set")

    reading = StoreReader(no_store, has_archive=lambda: False).read()

    assert (reading.is_up, reading.failed) == (False, ("check",))


def test_a_failure_that_goes_on_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    store = FailingStore(last_check=errors.StoreUnavailable("away"))
    reader = StoreReader(lambda: store, has_archive=lambda: False)

    def failures() -> int:
        return logged.events(caplog).count("metrics_not_read")

    with caplog.at_level(logging.ERROR):
        reader.read()
        reader.read()
        assert failures() == 1
        store.failures.clear()
        reader.read()
        store.failures["last_check"] = errors.StoreUnavailable("away again")
        reader.read()
        assert failures() == 2
