"""What does tracking cost a task: plain and tracked tasks, and plain ones with Celery's own events, in one worker?

All messages are in the queue before the worker starts: blocks of each kind in turns, with a marker between any two. So
all kinds meet the same machine at the same time. Each tracked task is the only step of its process, which so comes to
its end with it: the most that a task can cost. Celery's events are those of `-E`, with nobody who listens. A task that
asks makes two round trips to the store and nothing else, as any tracking must that knows of a start and of an end; one
that pings does so on a bare socket, without a client of Redis.

On two cores the worker's main process is what everything waits for, so what the children do beside it costs little
time; on one core all of it counts. The CPU time is that of the worker alone; what the store uses comes to it. Nothing
here says what a network between them adds.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import nullcontext
from itertools import pairwise, product

from benchmarks.harness import Broker, Cluster, Figures, Size, answer, cluster, say
from benchmarks.turns import Spread, one_core, ratios, spread

TRACKED = "tracked"


def measure(*, tasks: int, rounds: int) -> Figures:
    """`tasks`: in a block. A block of tasks of 10 ms has half as many."""
    return {
        "no-op": _run("no-op", tasks=tasks, rounds=rounds),
        "no-op, one core": _run("no-op, one core", tasks=tasks, rounds=rounds, is_pinned=True),
        "10 ms": _run("10 ms", tasks=tasks // 2, rounds=rounds, ms=10),
        "no-op, RabbitMQ": _run("no-op, RabbitMQ", tasks=tasks * 2, rounds=rounds, broker="rabbitmq"),
    }


def _run(
    name: str, *, tasks: int, rounds: int, ms: int = 0, broker: Broker = "redis", is_pinned: bool = False
) -> Figures:
    kinds = ("plain", TRACKED, "asking", "pinging", *(() if ms else ("announced",)))
    with one_core() if is_pinned else nullcontext(), cluster("benchmarks.apps.noops", broker=broker) as on:
        say(f"{name}: filling the queue")
        marks = _fill(on, kinds, tasks=tasks, rounds=rounds, ms=ms)
        say(f"{name}: {marks} blocks of {tasks}")
        on.worker("-E", "-l", "WARNING", wait=False)
        wall, cpu = _blocks(on.diary.wait_for("marks", entries=marks + 1, within_s=900))
    found: Figures = {"us_per_task": {}, "throughput_to_plain": {}, "cpu_to_plain": {}}
    for kind in kinds:
        found["us_per_task"][kind] = {"wall": _per_task(wall[kind], tasks), "cpu": _per_task(cpu[kind], tasks)}
        if kind != "plain":
            found["throughput_to_plain"][kind] = ratios(wall["plain"], wall[kind])
            found["cpu_to_plain"][kind] = ratios(cpu[kind], cpu["plain"])
    say(f"{name}: {found['throughput_to_plain'][TRACKED]['median']} of plain")
    return found


def _fill(on: Cluster, kinds: tuple[str, ...], *, tasks: int, rounds: int, ms: int) -> int:
    """Put the blocks into the queue, a round for warming up first. Returns their number."""
    for round_, kind in product(range(rounds + 1), kinds):
        on.module.mark.delay(kind)
        task = getattr(on.module, kind)
        for number in range(tasks):
            if kind == TRACKED:
                with on.trellis.start_process(
                    on.module.Noops, tenant_id="bench", aggregate_type="Noop", aggregate_id=f"{round_}/{number}"
                ):
                    task.delay(ms)
            else:
                task.delay(ms)
    on.module.mark.delay("end")
    return (rounds + 1) * len(kinds)


def _blocks(lines: list[str]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall and CPU time of the blocks by kind, ns, without the first of each."""
    wall, cpu = defaultdict(list), defaultdict(list)
    for (kind, began, used), (_, ended, used_then) in pairwise(line.split() for line in lines):
        wall[kind].append(float(int(ended) - int(began)))
        cpu[kind].append(float(int(used_then) - int(used)))
    return ({kind: times[1:] for kind, times in found.items()} for found in (wall, cpu))  # type: ignore[return-value]


def _per_task(times_ns: list[float], tasks: int) -> Spread:
    return spread([each / tasks / 1000 for each in times_ns], digits=1)


if __name__ == "__main__":
    answer("tasks", measure, tasks=Size(400, quick=100), rounds=Size(10, quick=3))
