"""How often is the store asked: to start a process of five steps, and for a tracked task from publish to completion?

Counted by the store's server, which nobody else uses here: scripts, and reads of its sockets, of which a pipeline needs
one. The leases that a worker renews once a second, however many tasks it runs, are in the reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import redis

from benchmarks.harness import Cluster, Figures, Size, answer, cluster, server_version
from tests.support.waiting import eventually


class Asked(NamedTuple):
    scripts: int
    reads: int


def measure(*, tasks: int) -> Figures:
    with cluster("benchmarks.apps.parcels") as on, redis.Redis.from_url(on.redis_url) as store:
        processes = tasks // len(on.module.STEPS)
        _start(on, "the first loads the script")
        starts = _asked(store, lambda: [_start(on, f"started/{number}") for number in range(processes)])
        on.worker()
        for kind, number in (("warm-up", 20), ("measured", processes)):
            handles = [_start(on, f"{kind}/{number}") for number in range(number)]
            runs = _asked(store, partial(_run, on, handles))
        version = server_version(on.redis_url)
    return {
        "server": version,
        "a process of five steps is started": _each(starts, processes),
        "a task, from publish to completion": _each(runs, tasks),
    }


def _start(on: Cluster, aggregate_id: str) -> Any:
    return on.trellis.start_process(
        on.module.Parcel, tenant_id="bench", aggregate_type="Parcel", aggregate_id=aggregate_id
    )


def _run(on: Cluster, handles: list[Any]) -> None:
    """Until the worker has had everything. The store is not asked whether it has: that would count."""
    for handle in handles:
        with handle:
            for task in on.module.STEPS.values():
                task.delay(handle.id)
    with on.broker() as broker:
        eventually(lambda: not broker.llen("celery"), within_s=120, what="an empty queue")
    time.sleep(2)


def _asked(store: Any, do: Callable[[], object]) -> Asked:
    before = _counted(store)
    do()
    after = _counted(store)
    return Asked(after.scripts - before.scripts, after.reads - before.reads - 2)  # two are those of `_counted`


def _counted(store: Any) -> Asked:
    scripts = store.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    return Asked(int(scripts), int(store.info("stats")["total_reads_processed"]))


def _each(asked: Asked, number: int) -> dict[str, float]:
    return {"scripts": round(asked.scripts / number, 3), "reads": round(asked.reads / number, 3)}


if __name__ == "__main__":
    answer("round_trips", measure, tasks=Size(1_000, quick=100))
