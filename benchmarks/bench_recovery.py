"""A worker is killed with `kill -9` in mid-step: how long until the body runs again, with default settings?

Two ways: another worker is there already, or the same worker is started again right after it was killed.
"""

from __future__ import annotations

import time

from benchmarks.harness import Cluster, Figures, Size, answer, cluster, say
from benchmarks.turns import spread


def one_trial(on: Cluster, trial: str, *, has_spare: bool) -> float:
    """Seconds from the kill to the second start of the body."""
    victim = on.worker(name=f"victim-{trial}")
    with on.trellis.start_process(on.module.Recovery, tenant_id="bench", aggregate_type="Trial", aggregate_id=trial):
        on.module.work.delay(trial)
    on.diary.wait_for(f"{trial} started 1")
    time.sleep(1)
    spare = on.worker(name=f"spare-{trial}") if has_spare else None
    victim.kill()
    killed_at = time.time()
    spare = spare or on.worker(name=f"again-{trial}", wait=False)
    (started_at,) = on.diary.wait_for(f"{trial} started 2", within_s=60)
    spare.stop()
    return float(started_at) - killed_at


def measure(*, trials: int) -> Figures:
    figures: Figures = {}
    with cluster("benchmarks.apps.recovery") as on:
        on.beat()
        for name, has_spare in (("another worker", True), ("the worker comes back", False)):
            seconds = []
            for number in range(trials):
                seconds.append(one_trial(on, f"{name.replace(' ', '-')}-{number}", has_spare=has_spare))
                say(f"{name}, trial {number + 1} of {trials}: {seconds[-1]:.2f} s")
            figures[name] = {
                **spread(seconds, digits=2),
                "worst_s": round(max(seconds), 2),
                "all_s": [round(one, 2) for one in seconds],
            }
    return figures


if __name__ == "__main__":
    answer("recovery", measure, trials=Size(5, quick=1))
