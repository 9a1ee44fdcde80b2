"""A task that goes into a queue which no worker reads, and is missed after three seconds."""

from __future__ import annotations

from benchmarks.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

QUEUE = "read by nobody"

app, trellis, diary = make_app("missed")


class Missed(ProcessType):
    call = Step(queue_timeout_ms=3_000, retries_permitted=1)


@process_step(Missed.call)
@app.task(queue=QUEUE, shared=False)
def call() -> None: ...
