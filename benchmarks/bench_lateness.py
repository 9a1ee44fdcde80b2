"""A message is lost: how long after its step's deadline is it sent again, by a real beat and worker, once a second?

Tasks are sent evenly over the run into a queue that nobody reads, and missed three seconds later. Their copies are
taken from the queue as they come; what counts is the time from the deadline until then, by the one clock that the
store and this program have. A check that finds more at once is later with the last of them: `bench_losses`.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from contextlib import suppress
from threading import Thread

import redis

from benchmarks.harness import Cluster, Figures, Size, answer, cluster, say
from tests.support.waiting import eventually

PER_SECOND = 20
CHECK_INTERVAL_MS = 1_000


def measure(*, seconds: int) -> Figures:
    arrived: dict[str, list[float]] = defaultdict(list)
    with cluster("benchmarks.apps.missed") as on:
        assert on.trellis.settings.check_interval_ms == CHECK_INTERVAL_MS
        on.beat()
        on.worker()
        reader = Thread(target=_read, args=(on, arrived), daemon=True)
        reader.start()
        say(f"{seconds * PER_SECOND} tasks in {seconds} s")
        deadlines = _send(on, seconds * PER_SECOND)
        eventually(lambda: all(len(arrived[task]) > 1 for task in deadlines), within_s=30, what="every copy there")
    late_ms = sorted(arrived[task][1] * 1000 - deadline_ms for task, deadline_ms in deadlines.items())
    cuts = statistics.quantiles(late_ms, n=100)
    return {
        "tasks": len(late_ms),
        "check_interval_ms": CHECK_INTERVAL_MS,
        "p50_ms": round(cuts[49], 1),
        "p99_ms": round(cuts[98], 1),
        "worst_ms": round(late_ms[-1], 1),
        "beyond the interval, p99, ms": round(cuts[98] - CHECK_INTERVAL_MS, 1),
        "percentiles_ms": [round(cut) for cut in cuts],
    }


def _send(on: Cluster, tasks: int) -> dict[str, int]:
    """Deadlines by task id, epoch ms."""
    deadlines = {}
    for number in range(tasks):
        with on.trellis.start_process(
            on.module.Missed, tenant_id="bench", aggregate_type="Call", aggregate_id=f"{number}"
        ) as handle:
            sent = on.module.call.delay()
        deadlines[sent.id] = handle.steps["call"].deadline_ms
        time.sleep(1 / PER_SECOND)
    return deadlines


def _read(on: Cluster, arrived: dict[str, list[float]]) -> None:
    """Take the messages as they come, until the broker is gone."""
    with suppress(redis.ConnectionError), on.broker() as broker:
        while True:
            if entry := broker.blpop([on.module.QUEUE], timeout=1):
                arrived[json.loads(entry[1])["headers"]["id"]].append(time.time())


if __name__ == "__main__":
    answer("lateness", measure, seconds=Size(40, quick=8))
