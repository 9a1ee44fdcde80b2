"""What does tracking add to `delay()`: tasks bound to the steps of a process, and one of an app without trellis?

One process on one core with the servers, blocks in turns. A process is started before its block: that is another
question's. A task that asks is plain, and makes one round trip to the store and nothing else, as any tracking must that
keeps the message before it goes out. A second server on another machine would make all slower, and the ratios better.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from benchmarks.harness import Broker, Cluster, Figures, Size, answer, cluster
from benchmarks.turns import in_turns, one_core, ratios, spread, timed


def measure(*, processes: int, rounds: int) -> Figures:
    """`processes`: in a block; each has five steps."""
    return {broker: _run(broker, processes=processes, rounds=rounds) for broker in ("redis", "rabbitmq")}


def _run(broker: Broker, *, processes: int, rounds: int) -> Figures:
    with one_core(), cluster("benchmarks.apps.parcels", broker=broker) as on:
        tasks = processes * len(on.module.STEPS)
        blocks = {
            "tracked": _tracked(on, processes),
            "plain": lambda: timed(lambda: _plain(on, tasks)),
            "asking": lambda: timed(lambda: _asking(on, tasks)),
        }
        times = dict(zip(blocks, in_turns(*blocks.values(), rounds=rounds), strict=True))
        on.module.bare.close()
    return {
        "us_per_task": {
            kind: spread([each / tasks * 1e6 for each in taken], digits=1) for kind, taken in times.items()
        },
        "rate_to_plain": {kind: ratios(times["plain"], times[kind]) for kind in ("tracked", "asking")},
    }


def _plain(on: Cluster, tasks: int) -> None:
    for number in range(tasks):
        on.module.fetch_untracked.delay(f"{number}")


def _asking(on: Cluster, tasks: int) -> None:
    ask = on.trellis.store.client.register_script("return 1")  # type: ignore[attr-defined]
    for number in range(tasks):
        ask()
        on.module.fetch_untracked.delay(f"{number}")


def _tracked(on: Cluster, processes: int) -> Callable[[], float]:
    numbers = count()

    def block() -> float:
        handles = [
            on.trellis.start_process(
                on.module.Parcel, tenant_id="bench", aggregate_type="Parcel", aggregate_id=f"{next(numbers)}"
            )
            for _ in range(processes)
        ]

        def send() -> None:
            for handle in handles:
                with handle:
                    for task in on.module.STEPS.values():
                        task.delay(handle.id)

        return timed(send)

    return block


if __name__ == "__main__":
    answer("publishing", measure, processes=Size(40, quick=10), rounds=Size(20, quick=3))
