"""How much memory of the store does a live step take, beyond the message of its task, and what of it is what?

Processes of five steps whose tasks were all sent, two of them running: by what `used_memory` of the server grew, which
has in it all that the server needs to keep them. The stored messages are told apart, since how long they are depends on
the arguments. What each kind of key takes is by MEMORY USAGE; `the rest` is what the server needs to find the keys.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import uuid4

import redis

from benchmarks.harness import Cluster, Figures, Server, Size, answer, cluster, say, server_version
from tests.support.cluster import STORE_DB
from trellis_celery.domain import runs
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.transitions import Transition
from trellis_celery.testing.contract import builders

RUNNING = ("fetch", "weigh")
LEASE_MS = 600_000


def measure(*, processes: int) -> Figures:
    return {"steps": 5 * processes, "redis": _run("redis", processes), "valkey": _run("valkey", processes)}


def _run(kind: Server, processes: int) -> Figures:
    with cluster("benchmarks.apps.parcels", store=kind) as on:
        with redis.Redis.from_url(f"{on.redis_url}/{STORE_DB}") as store:
            _live(on, "warm-up")
            before, kinds_before = _used(store), _by_kind(store)
            for number in range(processes):
                _live(on, f"{number}")
            used, kinds = _used(store) - before, _by_kind(store)
            kinds.subtract(kinds_before)
            length = _length_of_messages(store)
        version = server_version(on.redis_url)
    steps = processes * len(on.module.STEPS)
    by_kind = {name: round(taken / steps) for name, taken in kinds.most_common()}
    found = {
        "server": version,
        "bytes a step": round(used / steps),
        "bytes a step, beyond its message": round((used - kinds["messages"]) / steps),
        "length of a message": length,
        "by kind": {**by_kind, "the rest": round((used - kinds.total()) / steps)},
    }
    say(f"{version}: {found['bytes a step, beyond its message']} bytes")
    return found


def _live(on: Cluster, aggregate_id: str) -> None:
    """A process with all of its tasks sent, and some of them running."""
    with on.trellis.start_process(
        on.module.Parcel, tenant_id="tenant-1", aggregate_type="Parcel", aggregate_id=aggregate_id
    ) as handle:
        for task in on.module.STEPS.values():
            task.delay(handle.id)
    for name in RUNNING:
        builders.apply(on.trellis.store, handle.process, _start(on), name, lease_ms=LEASE_MS)


def _start(on: Cluster) -> builders.Rule:
    def rule(step: ProcessStep) -> Transition:
        return runs.start(
            step, run_id=uuid4().hex, worker="celery@worker-1", is_leased=True, now_ms=on.trellis.store.now_ms()
        )

    return rule


def _used(store: Any) -> int:
    return int(store.info("memory")["used_memory"])


def _by_kind(store: Any) -> Counter[str]:
    """Bytes by the part of the key's name that says what is in it."""
    kinds: Counter[str] = Counter()
    for key in store.scan_iter(count=1_000):
        kinds[key.decode().split(":")[2 if b"{" in key else 1]] += store.memory_usage(key, samples=0)
    return kinds


def _length_of_messages(store: Any) -> int:
    """Of one, in bytes: all are alike."""
    key = next(iter(store.scan_iter(match="*:messages:*", count=1_000)))
    return len(store.hvals(key)[0])


if __name__ == "__main__":
    answer("room", measure, processes=Size(2_000, quick=100))
