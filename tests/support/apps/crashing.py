"""Tasks of programs that are killed at every command they send."""

from __future__ import annotations

import os

from celery import Task

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

EXCHANGE = "crash-events"

app, trellis, diary = make_app("crashing", trellis_events_exchange=EXCHANGE, task_ignore_result=True)
app.conf.trellis_history_url = os.environ["CRASHING_HISTORY"]


class Job(ProcessType):
    #: Whoever starts it is late at once.
    work = Step(timeout_ms=1, retries_permitted=50, queue_timeout_ms=1_000)
    #: It is given up at once.
    try_once = Step(timeout_ms=1, queue_timeout_ms=1_000)
    #: A copy of its message is due at once.
    wait = Step(queue_timeout_ms=1)
    #: Somebody does it by hand.
    sign = Step(external=True)


class Errand(ProcessType):
    run = Step(timeout_ms=60_000, retries_permitted=50, queue_timeout_ms=1_000)


@process_step(Errand.run)
@app.task(name="crashing.run", bind=True)
def run(self: Task) -> None:
    diary.write(f"ran {self.request.id}")


@process_step(Job.work)
@app.task(name="crashing.work")
def work() -> None: ...


@process_step(Job.try_once)
@app.task(name="crashing.try_once")
def try_once() -> None: ...


@process_step(Job.wait)
@app.task(name="crashing.wait")
def wait() -> None: ...
