"""A step that takes longer than any trial, except when it is run again."""

from __future__ import annotations

import time

from benchmarks.apps.making import make_app
from trellis_celery import ProcessType, Step, current_step, process_step

app, trellis, diary = make_app("recovery")


class Recovery(ProcessType):
    work = Step(timeout_ms=600_000, retries_permitted=3)


@process_step(Recovery.work)
@app.task(name="recovery.work", shared=False)
def work(trial: str) -> None:
    step = current_step()
    assert step is not None
    diary.write(f"{trial} started {step.attempt}", time.time())
    if step.attempt == 1:
        time.sleep(600)
