"""Every announced event reaches the exchange, in order, whatever fails on the way."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Unrelayed
from trellis_celery.services.processes import ProcessService
from trellis_celery.services.relay import CLAIM_MS, RelayService
from trellis_celery.stores.memory.store import MemoryStore
from trellis_celery.testing import ManualClock


class Listener:
    """An `Announcer` that hears everything, or only so much of each process in the next pass."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, str]] = []
        self.accepts: int | None = None

    def announce(self, unrelayed: Sequence[Unrelayed]) -> list[int]:
        accepted = [len(one.events[: self.accepts]) for one in unrelayed]
        for one, count in zip(unrelayed, accepted, strict=True):
            numbered = list(enumerate(one.events, start=one.first_number))[:count]
            self.heard += [(one.process_id, number, event.kind) for number, event in numbered]
        return accepted

    def numbers(self, process: Process) -> list[int]:
        return [number for process_id, number, _ in self.heard if process_id == process.id]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
def service(store: MemoryStore) -> ProcessService:
    return ProcessService(store, announces=True)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def relay(store: MemoryStore, listener: Listener) -> RelayService:
    return RelayService(store, listener, batch_size=2)


def started(service: ProcessService, aggregate_id: str = "1") -> Process:
    return service.start_process(
        tenant_id="t", process_type="Order", aggregate_type="Order", aggregate_id=aggregate_id, steps=[ProcessStep("a")]
    )


def test_everything_is_told_once_and_in_order(service: ProcessService, relay: RelayService, listener: Listener) -> None:
    process = started(service)
    service.start_step(process, "a")
    relay.relay()
    service.complete_step(process, "a")
    report = relay.relay()

    assert [kind for _, _, kind in listener.heard] == [
        "process_started",
        "step_started",
        "step_completed",
        "process_completed",
    ]
    assert listener.numbers(process) == [1, 2, 3, 4]
    assert (report.relayed, report.failed, report.waiting) == (2, 0, 0)


def test_a_pass_goes_on_until_nothing_waits(service: ProcessService, relay: RelayService) -> None:
    for number in range(7):
        started(service, str(number))

    report = relay.relay()

    assert (report.relayed, report.waiting) == (7, 0)


def test_what_was_not_accepted_is_tried_again_from_there(
    service: ProcessService, relay: RelayService, listener: Listener
) -> None:
    process = started(service)
    service.complete_step(process, "a")
    listener.accepts = 1
    report = relay.relay()
    assert (report.relayed, report.failed, report.waiting) == (1, 1, 1)

    listener.accepts = None
    relay.relay()

    assert listener.numbers(process) == [1, 2, 3]


def test_while_nothing_is_accepted_everything_waits(
    service: ProcessService, relay: RelayService, listener: Listener, clock: ManualClock
) -> None:
    process = started(service)
    listener.accepts = 0
    assert relay.relay().waiting == 1

    listener.accepts = None
    assert relay.relay().relayed == 0, "a claim is given time"
    clock.advance(CLAIM_MS)
    relay.relay()

    assert listener.numbers(process) == [1]


def test_a_relay_that_died_before_it_marked_is_followed_by_another(
    service: ProcessService, store: MemoryStore, relay: RelayService, listener: Listener, clock: ManualClock
) -> None:
    process = started(service)
    listener.announce(store.claim_unrelayed(limit=10, until_ms=store.now_ms() + CLAIM_MS))

    clock.advance(CLAIM_MS)
    relay.relay()

    assert listener.numbers(process) == [1, 1], "at least once, and the number tells that it is the same"


def test_what_is_discarded_is_told_to_nobody(
    service: ProcessService, relay: RelayService, listener: Listener, store: MemoryStore
) -> None:
    for number in range(3):
        started(service, str(number))

    assert relay.discard() == 3

    assert listener.heard == []
    assert store.unrelayed() == (0, None)


def test_nothing_waits_where_nobody_announces(store: MemoryStore) -> None:
    service = ProcessService(store)
    service.complete_step(started(service), "a")

    assert store.unrelayed() == (0, None)
