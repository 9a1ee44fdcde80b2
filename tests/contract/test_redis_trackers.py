"""What trackers in Redis make of replies that are lost, and what they leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest
import redis
from msgspec.structs import replace

from tests.support.proxy import Loss, Proxy
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.identity import shard_of
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.repositories import RepositoryStore, StepTrackerRepository
from trellis_celery.stores.redis.connect import connect
from trellis_celery.stores.redis.trackers import RedisStepTrackerRepository, TrackerKeys
from trellis_celery.testing.contract import builders

#: Of a whole call: each of its two tries may take half of it.
TIMEOUT_MS = 2_000


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    with Proxy(urlsplit(redis_url).port or 0) as proxy:
        yield proxy


@pytest.fixture
def trackers(proxy: Proxy) -> Iterator[StepTrackerRepository]:
    with closing(connect(f"redis://127.0.0.1:{proxy.port}/0", timeout_ms=TIMEOUT_MS)) as client:
        yield RedisStepTrackerRepository(client)


@pytest.mark.fault("B11")
@pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.name.lower())
def test_a_tracker_whose_reply_was_lost_is_written_once(
    trackers: StepTrackerRepository, proxy: Proxy, loss: Loss
) -> None:
    process = builders.new_process(RepositoryStore(None, trackers), ProcessStep("step", timeout_ms=60_000))
    (queued, started) = (
        Event(kind, "step", 1, trackers.now_ms()) for kind in (EventKind.STEP_QUEUED, EventKind.STEP_STARTED)
    )
    first = StepTracker(process.id, process.step("step").stored_as(1))
    second = StepTracker(process.id, replace(first.step, state=StepState.IN_PROGRESS).stored_as(2))

    proxy.lose(loss)
    trackers.add(first, [queued])
    proxy.lose(loss)
    trackers.save(second, [started])

    assert proxy.lost == 2
    assert trackers.get(process.id, "step") == second
    assert trackers.history(process.id) == [queued, started]


def test_a_tracker_that_needs_no_check_is_in_no_index(trackers: StepTrackerRepository, redis_url: str) -> None:
    process = builders.new_process(RepositoryStore(None, trackers), ProcessStep("step", timeout_ms=60_000))
    timed = replace(process.step("step"), deadline_ms=5_000)
    keys, shard = TrackerKeys("trellis"), shard_of(process.id)
    indexes = [keys.deadlines(shard), keys.copies(shard), keys.uncopied(process.id)]

    with redis.Redis.from_url(redis_url) as raw:
        trackers.add(StepTracker(process.id, timed.stored_as(1), copy_due_ms=6_000))
        assert raw.exists(*indexes) == 3
        trackers.save(StepTracker(process.id, replace(timed, deadline_ms=None).stored_as(2)))
        assert raw.exists(*indexes) == 0
