"""A step that is done, and one that is always too late."""

from __future__ import annotations

import time

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("alarming", task_ignore_result=True)


class Quick(ProcessType):
    work = Step(timeout_ms=60_000)


class Doomed(ProcessType):
    work = Step(timeout_ms=500, retries_permitted=1)


@process_step(Quick.work)
@app.task(name="alarming.work")
def work() -> None: ...


@process_step(Doomed.work)
@app.task(name="alarming.hang")
def hang() -> None:
    time.sleep(6)
