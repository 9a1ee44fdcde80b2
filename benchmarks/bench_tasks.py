"""What does tracking cost a worker? Tracked and plain tasks, in turns, in one worker.

All messages are in the queue before the worker starts: blocks of plain and tracked ones, with a marker between any two.
So both kinds meet the same machine at the same time, and a ratio comes from neighbours. Separate runs differ by more
than what is looked for.
"""

from __future__ import annotations

import argparse
import statistics
from itertools import pairwise

from benchmarks.harness import Cluster, cluster, save

BLOCKS = 20


def fill(on: Cluster, *, size: int, ms: int, blocks: int) -> None:
    """Put the blocks into the queue, plain and tracked in turns."""
    for number in range(blocks):
        on.module.mark.delay(f"{number}")
        if number % 2:
            handles = [
                on.trellis.start_process(
                    on.module.Noops, tenant_id="bench", aggregate_type="Noop", aggregate_id=f"{number}/{place}"
                )
                for place in range(size)
            ]
            for handle in handles:
                with handle:
                    on.module.noop.delay(ms)
        else:
            for _ in range(size):
                on.module.noop.delay(ms)
    on.module.mark.delay("end")


def measure(on: Cluster, *, blocks: int) -> dict[str, list[float]]:
    """Wall and CPU time of the blocks, plain and tracked, ns."""
    marks = [line.split() for line in on.diary.wait_for("marks", entries=blocks + 1, within_s=600)]
    found: dict[str, list[float]] = {"plain": [], "tracked": [], "plain cpu": [], "tracked cpu": []}
    for (name, wall, cpu), (_, next_wall, next_cpu) in pairwise(marks):
        kind = "tracked" if int(name) % 2 else "plain"
        found[kind].append(int(next_wall) - int(wall))
        found[f"{kind} cpu"].append(int(next_cpu) - int(cpu))
    return found


def ratios(over: list[float], under: list[float]) -> dict[str, float]:
    """Of neighbours; the first pair is for warming up."""
    each = [one / other for one, other in zip(over, under, strict=True)][1:]
    quarters = statistics.quantiles(each, n=4)
    return {"median": round(statistics.median(each), 3), "q1": round(quarters[0], 3), "q3": round(quarters[2], 3)}


def run(*, size: int, ms: int, concurrency: int, pool: str) -> dict[str, object]:
    with cluster("benchmarks.apps.noops") as on:
        fill(on, size=size, ms=ms, blocks=BLOCKS)
        on.worker("-l", "WARNING", pool=pool, concurrency=concurrency, wait=False)
        found = measure(on, blocks=BLOCKS)
    per_task_us = {kind: round(statistics.median(values) / size / 1000, 1) for kind, values in found.items()}
    return {
        "us_per_task": per_task_us,
        "throughput_tracked_to_plain": ratios(found["plain"], found["tracked"]),
        "cpu_tracked_to_plain": ratios(found["tracked cpu"], found["plain cpu"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=200, help="tasks a block")
    size: int = parser.parse_args().size
    figures = {}
    for name, ms, pool, concurrency in (
        ("no-op, prefork -c 2", 0, "prefork", 2),
        ("no-op, solo", 0, "solo", 1),
        ("10 ms, prefork -c 2", 10, "prefork", 2),
    ):
        figures[name] = run(size=size, ms=ms, concurrency=concurrency, pool=pool)
        print(name, figures[name], flush=True)
    save("tasks", figures)


if __name__ == "__main__":
    main()
