"""Does a worker that tracks grow: its memory after many tasks, beside that of one whose tasks are not tracked?

Two workers of two children each at the same time, each on a queue of its own, by resident memory of main process and
children, all added up: pages that they share count for each. Both grow while they warm up, so what counts is the growth
after the first fifth of the tasks. `--tasks 1000000` takes an hour.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import psutil

from benchmarks.harness import Cluster, Figures, Size, answer, cluster, say
from tests.support.programs import Program
from tests.support.waiting import eventually

KINDS = ("plain", "tracked")
#: So often both are looked at.
LOOKS = 25
WARM = LOOKS // 5
MIB = 1024 * 1024


def measure(*, tasks: int) -> Figures:
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with cluster("benchmarks.apps.noops") as on:
        workers = {kind: on.worker("-Q", kind, "-l", "WARNING", name=kind, wait=False) for kind in KINDS}
        for done in _feed(on, tasks):
            for kind, worker in workers.items():
                found[kind].append(_resident_mib(worker))
            say(f"{done:,} tasks: {', '.join(f'{kind} {found[kind][-1]:.0f} MiB' for kind in KINDS)}")
    return {
        "mib": {kind: [round(each, 1) for each in looks] for kind, looks in found.items()},
        "growth, MiB": {kind: _growth(looks) for kind, looks in found.items()},
        "tracked grew more by, MiB": round(_growth(found["tracked"]) - _growth(found["plain"]), 2),
        "more at the end, MiB": round(found["tracked"][-1] - found["plain"][-1], 1),
    }


def _feed(on: Cluster, tasks: int) -> Iterator[int]:
    """Have the workers run the tasks; stop at each look, when both have nothing more to do."""
    for look in range(1, LOOKS + 1):
        for number in range(tasks // LOOKS):
            on.module.plain.apply_async(queue="plain")
            with on.trellis.start_process(
                on.module.Noops, tenant_id="bench", aggregate_type="Noop", aggregate_id=f"{look}/{number}"
            ):
                on.module.tracked.apply_async(queue="tracked")
        with on.broker() as broker:
            eventually(lambda: not any(broker.llen(kind) for kind in KINDS), within_s=600, what="all tasks done")
        yield look * (tasks // LOOKS)


def _resident_mib(worker: Program) -> float:
    main = psutil.Process(worker.pid)
    return float(sum(one.memory_info().rss for one in (main, *main.children(recursive=True)))) / MIB


def _growth(looks: list[float]) -> float:
    """From the first looks after the warm-up to the last ones."""
    return round(statistics.median(looks[-WARM:]) - statistics.median(looks[WARM : 2 * WARM]), 2)


if __name__ == "__main__":
    answer("leaks", measure, tasks=Size(50_000, quick=1_000))
