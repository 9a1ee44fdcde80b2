"""What does the check cost: when nothing is due, and when every step is lost at once?

Idle: a pass over stores with more and more live steps, none of them due. Busy: the broker loses the messages of all
steps, and passes go on until each has been sent again; beside it, what `apply_async` sends in one process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from benchmarks.harness import Cluster, cluster, save
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep

STEPS_PER_PROCESS = 100
#: Far enough away that nothing of it is due.
HOUR_MS = 3_600_000


def fill(store: Any, *, steps: int, start_at: int) -> None:
    """Live external steps, each with a deadline in an hour."""
    names = [f"step-{number}" for number in range(STEPS_PER_PROCESS)]
    for number in range(start_at // STEPS_PER_PROCESS, steps // STEPS_PER_PROCESS):
        process = Process.start(
            tenant_id="bench",
            process_type="Idle",
            aggregate_type="Idle",
            aggregate_id=str(number),
            steps=[ProcessStep(name, timeout_ms=HOUR_MS, external=True) for name in names],
            now_ms=store.now_ms(),
        )
        store.create(process)


def idle(on: Cluster, sizes: list[int]) -> dict[str, float]:
    """Median time of a pass, ms, by the number of live steps."""
    figures = {}
    before = 0
    for size in sizes:
        fill(on.trellis.store, steps=size, start_at=before)
        before = size
        passes = []
        for _ in range(50):
            began = time.perf_counter()
            on.trellis.timeouts.check_for_timed_out_steps(by="bench")
            passes.append((time.perf_counter() - began) * 1000)
        figures[f"{size}"] = round(statistics.median(passes), 3)
        print(f"idle, {size} live steps: {figures[f'{size}']} ms a pass", flush=True)
    return figures


@contextmanager
def an_hour_later(store: Any) -> Iterator[None]:
    """So it is for the checker, which goes by the store's clock."""
    now_ms = store.now_ms
    store.now_ms = lambda: now_ms() + HOUR_MS
    yield
    del store.now_ms


def busy(on: Cluster, steps: int) -> dict[str, float]:
    """Messages/s: sent by the application, sent again by one checker; and the time until all are."""
    lose = on.module.lose
    handles = [
        on.trellis.start_process(on.module.Losses, tenant_id="bench", aggregate_type="Loss", aggregate_id=f"{number}")
        for number in range(steps)
    ]
    with redis.Redis.from_url(on.broker_url) as broker:
        for number, handle in enumerate(handles):
            with handle:
                lose.delay(number)
        broker.delete("celery")
        with an_hour_later(on.trellis.store):
            began = time.perf_counter()
            resent = 0
            while resent < steps:
                resent += on.trellis.timeouts.check_for_timed_out_steps(by="bench").resent
                print(f"\r{resent} of {steps} sent again", end="", flush=True)
            again_s = time.perf_counter() - began
        assert broker.llen("celery") >= steps
        broker.delete("celery")
        began = time.perf_counter()
        plain = min(steps, 10_000)
        for number in range(plain):
            lose.apply_async((number,))
        plain_s = time.perf_counter() - began
    return {
        "steps": steps,
        "all sent again after, s": round(again_s, 2),
        "sent again, messages/s": round(steps / again_s),
        "apply_async, messages/s": round(plain / plain_s),
        "ratio": round(steps / again_s / (plain / plain_s), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="live steps")
    parser.add_argument("--steps", type=int, default=100_000, help="steps that are lost at once")
    given = parser.parse_args()
    figures: dict[str, object] = {}
    with cluster("benchmarks.apps.losses") as on:
        figures["lost at once"] = busy(on, given.steps)
        print(figures["lost at once"], flush=True)
    with cluster("benchmarks.apps.losses") as on:
        figures["idle pass, ms"] = idle(on, given.idle)
    save("checker", figures)


if __name__ == "__main__":
    main()
