"""50 processes × 4 steps in a chain, while a random pool child is killed every 300 ms for a minute.

The judge is a ledger that the task bodies write, beside the log of each process: a step is lost if its process does not
finish after the killing has stopped, and counted twice if its log has two completions.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from collections import Counter

from celery import chain

from benchmarks.harness import Cluster, cluster, save


def start_all(on: Cluster, processes: int) -> list[str]:
    module, ids = on.module, []
    for number in range(processes):
        order = f"order-{number}"
        with on.trellis.start_process(
            module.Order, tenant_id="bench", aggregate_type="Order", aggregate_id=order
        ) as process:
            steps = (module.reserve, module.charge, module.ship, module.confirm)
            chain(steps[0].s(order), *(step.s() for step in steps[1:])).apply_async()
        ids.append(process.id)
    return ids


def kill_children(on: Cluster, *, seconds: float, seed: int) -> int:
    """Kill a random pool child every 300 ms; return how many."""
    dice, killed, end = random.Random(seed), 0, time.monotonic() + seconds
    workers = [program for program in on.programs if program.name.startswith("worker")]
    while time.monotonic() < end:
        time.sleep(0.3)
        children = [pid for worker in workers for pid in worker.child_pids()]
        if children:
            os.kill(dice.choice(children), signal.SIGKILL)
            killed += 1
        if killed % 20 == 0:
            print(f"{killed} children killed, {int(end - time.monotonic())} s to go", flush=True)
    return killed


def finish(on: Cluster, ids: list[str], *, within_s: float) -> list[str]:
    """The ids that are not completed in time."""
    end, left = time.monotonic() + within_s, ids
    while left and time.monotonic() < end:
        time.sleep(1)
        left = [process_id for process_id in left if on.trellis.get_process(process_id).state != "completed"]
        print(f"{len(ids) - len(left)} of {len(ids)} processes completed", flush=True)
    return left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with cluster("benchmarks.apps.chaos") as on:
        on.beat()
        for number in range(2):
            on.worker(name=f"worker-{number}")
        ids = start_all(on, options.processes)
        started_at = time.monotonic()
        killed = kill_children(on, seconds=options.seconds, seed=options.seed)
        stopped_at = time.monotonic()
        left = finish(on, ids, within_s=120)
        histories = {process_id: on.trellis.processes.history(process_id) for process_id in ids}
        kinds = Counter(event.kind.value for events in histories.values() for event in events)
        completions = Counter(
            (process_id, event.step_name)
            for process_id, events in histories.items()
            for event in events
            if event.kind == "step_completed"
        )
        bodies = Counter(on.diary.read("ended"))
        steps = {(f"order-{number}", name) for number in range(len(ids)) for name in on.module.Order.declared_steps}
        save(
            "chaos",
            {
                "processes": len(ids),
                "steps": len(steps),
                "seed": options.seed,
                "children_killed": killed,
                "killing_s": round(stopped_at - started_at, 1),
                "finished_after_killing_s": round(time.monotonic() - stopped_at, 1),
                "processes_not_completed": len(left),
                "steps_whose_body_never_ended": sum(f"{order} {name}" not in bodies for order, name in steps),
                "steps_lost": len(steps) - len(completions),
                "steps_completed_twice": sum(count > 1 for count in completions.values()),
                "bodies_that_ran_to_their_end_more_than_once": sum(count > 1 for count in bodies.values()),
                "events": dict(sorted(kinds.items())),
            },
        )


if __name__ == "__main__":
    main()
