"""Stores with more live steps than there is time to start: a shortcut, taken where only the number of steps matters.

Of each process of five steps, what the store's shared indexes have of it: a deadline for each step, a lease for every
second one, the business key, and the entries of the lists. Its own keys (record, log, messages) are left out: nobody
reads them but who asks for that process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import redis

from trellis_celery.domain.identity import shard_of
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import LeaseKey, ProcessStore, StepKey
from trellis_celery.settings import Settings
from trellis_celery.stores import classes, codec
from trellis_celery.stores.redis import listing
from trellis_celery.stores.redis.backend import open_store
from trellis_celery.stores.redis.keys import Keys, lease_member, step_member

STEPS = 5
#: Processes whose entries go out together.
BATCH = 5_000
#: Nothing is due before.
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def crowded(url: str, live_steps: int) -> ProcessStore:
    """A store of its own, by its prefix, with so many live steps, none of which is due within the hour."""
    prefix = f"with-{live_steps}"
    store = open_store(url, Settings(url=url, key_prefix=prefix))
    with redis.Redis.from_url(url) as client:
        for first in range(0, live_steps // STEPS, BATCH):
            last = min(first + BATCH, live_steps // STEPS)
            _send(client, Keys(prefix), _strangers(store.now_ms(), first, last))
    assert len(store.due(now_ms=store.now_ms() + DAY_MS, limit=1)) == 2, "the store does not see them"
    return store


def _strangers(now_ms: int, first: int, last: int) -> Iterator[Process]:
    steps = [ProcessStep(f"step-{number}", timeout_ms=DAY_MS) for number in range(STEPS)]
    for number in range(first, last):
        yield Process.start(
            tenant_id=f"tenant-{number % 100}",
            process_type="Stranger",
            aggregate_type="Stranger",
            aggregate_id=f"{number}",
            steps=steps,
            now_ms=now_ms,
        )


def _send(client: Any, keys: Keys, processes: Iterator[Process]) -> None:
    scores: dict[str, dict[Any, int]] = defaultdict(dict)
    live: dict[str, dict[bytes, str]] = defaultdict(dict)
    for number, process in enumerate(processes):
        shard, ends_ms = shard_of(process.id), process.started_at_ms + HOUR_MS + number
        for place, name in enumerate(process.steps):
            scores[keys.deadlines(shard)][step_member(StepKey(process.id, name))] = ends_ms
            if place % 2:
                scores[keys.leases(shard)][lease_member(LeaseKey(process.id, name, 1))] = ends_ms
        class_number = classes.class_of(classes.counts_of(process))
        scores[keys.index(shard)].update(dict.fromkeys(listing.entries(listing.seed_of(process), class_number), 0))
        live[keys.live(shard)][codec.dump_business_key(process.key)] = process.id
    with client.pipeline(transaction=False) as pipe:
        for key, members in scores.items():
            pipe.zadd(key, members)
        for key, fields in live.items():
            pipe.hset(key, mapping=fields)
        pipe.execute()
