"""What does size cost: a check with nothing due, a commit, and a step of a process that has ten thousand of them?

The check and the commits meet stores of one server that differ in the number of live steps (how they came there:
`benchmarks.crowd`), the steps of the great process take turns with those of processes of five. One process and the
server on one core. A commit is the start or the completion of a step, one at a time; the processes are made outside
of what is measured, and what that takes is told beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice

from benchmarks.crowd import HOUR_MS, STEPS, crowded
from benchmarks.harness import Figures, Size, answer, say, server, server_version
from benchmarks.turns import in_turns, one_core, ratios, spread, timed
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import ProcessStore
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.testing.contract import builders

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
PASSES = 10
#: Steps that are started and completed in a block.
BLOCK = 100


def measure(*, live_steps: int, steps: int, rounds: int) -> Figures:
    """`live_steps`: in the fullest store. `steps`: of the great process."""
    with server() as url, one_core():
        stores = {}
        for size in (size for size in SIZES if size <= live_steps):
            say(f"a store with {size:,} live steps")
            stores[size] = crowded(f"{url}/1", size)
        return {
            "server": server_version(url),
            "idle check": _compared({size: _checks(store) for size, store in stores.items()}, PASSES, rounds, 10_000),
            "commit": _compared({size: _commits(store) for size, store in stores.items()}, 2 * BLOCK, rounds, 1_000),
            "great process": _great(stores[SIZES[0]], steps=steps),
        }


def _compared(blocks: dict[int, Callable[[], float]], times: int, rounds: int, few: int) -> Figures:
    """By the number of live steps: µs, and how it compares with `few` of them."""
    found = dict(zip(blocks, in_turns(*blocks.values(), rounds=rounds), strict=True))
    return {
        "us": {f"{size}": spread([each / times * 1e6 for each in block], digits=1) for size, block in found.items()},
        f"to {few}": {f"{size}": ratios(block, found[few]) for size, block in found.items() if size != few},
    }


def _checks(store: ProcessStore) -> Callable[[], float]:
    # So that leases count from the first check on.
    checker = TimeoutCheckerService(store, worker_lost_ms=1, check_interval_ms=HOUR_MS)
    checker.check_for_timed_out_steps()

    def block() -> float:
        return timed(lambda: [checker.check_for_timed_out_steps(by="bench") for _ in range(PASSES)])

    return block


def _commits(store: ProcessStore) -> Callable[[], float]:
    def block() -> float:
        processes = [builders.created(store, *_steps(STEPS)) for _ in range(BLOCK // STEPS)]

        def run_all() -> None:
            for process in processes:
                _run(store, process, list(process.steps))

        return timed(run_all)

    return block


def _great(store: ProcessStore, *, steps: int) -> Figures:
    """Its steps, a block at a time, beside as many of small processes."""
    say(f"a process of {steps:,} steps")
    great = builders.new_process(store, *_steps(steps))
    created_s = timed(lambda: store.create(great))
    names = iter(list(great.steps))

    def block() -> float:
        return timed(partial(_run, store, great, list(islice(names, BLOCK))))

    in_great, in_small = in_turns(block, _commits(store), rounds=steps // BLOCK - 1)
    small_s = [timed(partial(store.create, builders.new_process(store, *_steps(STEPS)))) for _ in range(100)]
    return {
        "us_per_step": {
            f"of {steps}": spread([each / BLOCK * 1e6 for each in in_great], digits=1),
            f"of {STEPS}": spread([each / BLOCK * 1e6 for each in in_small], digits=1),
        },
        "create_us_per_step": {
            f"of {steps}": round(created_s / steps * 1e6, 1),
            f"of {STEPS}": spread([each / STEPS * 1e6 for each in small_s], digits=1),
        },
        "to small": ratios(in_great, in_small),
    }


def _steps(number: int) -> list[ProcessStep]:
    return [ProcessStep(f"step-{place}", timeout_ms=HOUR_MS) for place in range(number)]


def _run(store: ProcessStore, process: Process, names: list[str]) -> None:
    """Start these steps and complete them."""
    for name in names:
        builders.apply(store, process, builders.start(at_ms=store.now_ms(), is_leased=True), name, lease_ms=HOUR_MS)
        builders.apply(store, process, builders.complete(at_ms=store.now_ms()), name)


if __name__ == "__main__":
    answer(
        "sizes",
        measure,
        live_steps=Size(1_000_000, quick=100_000),
        steps=Size(10_000, quick=1_000),
        rounds=Size(40, quick=5),
    )
