"""Tasks that do next to nothing, tracked or not, and a marker that tells when it is passed."""

from __future__ import annotations

import os
import time

import psutil

from benchmarks.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("noops")
app.conf.task_ignore_result = True


class Noops(ProcessType):
    noop = Step(timeout_ms=600_000, retries_permitted=1)


@process_step(Noops.noop)
@app.task(name="noops.noop")
def noop(ms: int = 0) -> None:
    if ms:
        time.sleep(ms / 1000)


@app.task(name="noops.mark")
def mark(name: str) -> None:
    """Write down the time, and the CPU time that the whole worker has used, in nanoseconds."""
    parent = psutil.Process(os.getppid())
    worker = parent if "worker" in parent.cmdline() else psutil.Process()
    cpu_s = sum(sum(one.cpu_times()[:2]) for one in (worker, *worker.children(recursive=True)))
    diary.write("marks", f"{name} {time.monotonic_ns()} {int(cpu_s * 1e9)}")
