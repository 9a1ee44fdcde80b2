"""How many commands does a tracked task send to the store, from publish to completion?

Counted by the server in a run of many tasks. Renewals of leases are pipelines of plain commands, one a second for a
whole worker; they are not counted here.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import redis

from benchmarks.harness import Cluster, cluster, save

#: What the store's client sends for one tracked task: nobody else on this server uses scripts or asks for the time.
SENT_PER_TASK = ("evalsha", "script|load", "time")


def sent(client: Any) -> dict[str, int]:
    """Calls by command. Each of our scripts asks for the time once by itself, which is no round trip."""
    stats = client.info("commandstats")
    calls = {name: int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in SENT_PER_TASK}
    return {**calls, "time": calls["time"] - calls["evalsha"]}


def run(on: Cluster, store: Any, tasks: int) -> dict[str, int]:
    """The calls that grow with the number of tasks."""
    handles = [
        on.trellis.start_process(on.module.Trip, tenant_id="bench", aggregate_type="Trip", aggregate_id=str(number))
        for number in range(tasks)
    ]
    time.sleep(1)
    before = sent(store)
    for handle in handles:
        with handle:
            on.module.quick.delay()
    while any(on.trellis.get_process(handle.id).state != "completed" for handle in handles):
        time.sleep(0.2)
    after = sent(store)
    return {name: after[name] - before[name] for name in SENT_PER_TASK}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=500)
    tasks: int = parser.parse_args().tasks
    with cluster("benchmarks.apps.trips") as on:
        on.worker()
        with redis.Redis.from_url(on.redis_url) as store:
            warm_up = run(on, store, 20)
            print(f"warm-up: {warm_up}", flush=True)
            counted = run(on, store, tasks)
        save(
            "round_trips",
            {
                "tasks": tasks,
                "calls": counted,
                "per_task": round(sum(counted.values()) / tasks, 3),
            },
        )


if __name__ == "__main__":
    main()
