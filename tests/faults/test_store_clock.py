"""Somebody sets the clock of the machine that the store is on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support import logged
from tests.support.examining import made, said
from tests.support.redis_server import RedisServer, store_of
from tests.support.wall_clock import WallClock
from trellis_celery.doctor import Level
from trellis_celery.domain import outcomes
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import LeaseKey, StepKey
from trellis_celery.services.recorder import Recorder
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.stores.redis import RedisStore
from trellis_celery.testing import RecordingRequeuer
from trellis_celery.testing.contract import builders

pytestmark = pytest.mark.integration

HOUR_S = 3_600
LEASE_MS = 400
STEP = ProcessStep("step", timeout_ms=60_000, retries_permitted=3)


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture
def server(tmp_path: Path, clock: WallClock) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, env=clock.env) as server:
        clock.set_off(HOUR_S)
        with server.client() as client:
            assert abs(client.time()[0] - time.time() - HOUR_S) < 60, "the shim does not work"
        clock.set_off(0)
        yield server


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    with store_of(server.url()) as store:
        yield store


class Checks:
    """Beat and its check, and what goes out again."""

    def __init__(self, store: RedisStore) -> None:
        self.requeuer = RecordingRequeuer()
        self._service = TimeoutCheckerService(
            store, requeuer=self.requeuer, worker_lost_ms=LEASE_MS, check_interval_ms=LEASE_MS
        )

    def check(self) -> list[tuple[str, int]]:
        """What this check has sent again: process and attempt."""
        before = len(self.requeuer.sent)
        self._service.check_for_timed_out_steps(by="beat")
        return [(sending.process_id, sending.step.attempt) for sending in self.requeuer.sent[before:]]


def running(store: RedisStore, *, is_leased: bool = True) -> Process:
    process = builders.created(store, STEP)
    builders.apply(store, process, builders.queue(at_ms=store.now_ms()), message=b"message")
    builders.apply(
        store, process, builders.start(at_ms=store.now_ms(), is_leased=is_leased), lease_ms=LEASE_MS if is_leased else 0
    )
    return process


def renew(store: RedisStore, *processes: Process) -> None:
    leases = [LeaseKey(process.id, "step", 1) for process in processes]
    store.renew(leases, until_ms=store.now_ms() + LEASE_MS)


@pytest.mark.fault("S9")
def test_s9_a_clock_that_jumps_forward_sends_what_runs_once_more_and_no_more(
    store: RedisStore, clock: WallClock
) -> None:
    checks = Checks(store)
    processes = [running(store) for _ in range(50)]
    assert checks.check() == []

    clock.set_off(HOUR_S)
    builders.created(store, STEP)  # the reply tells the new time

    assert sorted(checks.check()) == sorted((process.id, 2) for process in processes)
    assert checks.check() == []
    for process in processes:  # by the run that was there all the time
        Recorder(store).apply(StepKey(process.id, "step"), partial(outcomes.complete, attempt=1))
        assert store.load(process.id).is_completed()


@pytest.mark.fault("S9")
def test_s9_a_clock_that_jumps_back_leaves_no_worker_unnoticed(
    store: RedisStore, clock: WallClock, caplog: pytest.LogCaptureFixture
) -> None:
    checks = Checks(store)
    clock.set_off(HOUR_S)
    lost, alive = running(store), running(store)
    checks.check()

    clock.set_off(0)
    builders.created(store, STEP)
    renew(store, lost, alive)
    ends_s = time.monotonic() + 3
    sent: list[tuple[str, int]] = []
    while not sent and time.monotonic() < ends_s:
        renew(store, alive)
        sent = checks.check()
        time.sleep(LEASE_MS / 4000)

    assert sent == [(lost.id, 2)]
    assert logged.events(caplog).count("store_clock_set_back") == 1


@pytest.mark.fault("S9")
def test_s9_the_doctor_tells_of_a_store_whose_clock_is_off(server: RedisServer, clock: WallClock) -> None:
    clock.set_off(-HOUR_S)

    with made(trellis_url=server.url()) as trellis:
        (finding,) = said(trellis, "store-clock")

    assert finding.level is Level.WARNING
    assert "1 h ahead of the store" in finding.found
