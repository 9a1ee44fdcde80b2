"""Tasks of programs that are killed at every command they send."""

from __future__ import annotations

import os

from celery import Task
from celery.exceptions import Ignore, Reject

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, current_step, process_step

EXCHANGE = "crash-events"
#: Where tasks do what their caller wants of them; everywhere else they just end.
BENCH = "bench@test"

app, trellis, diary = make_app("crashing", trellis_events_exchange=EXCHANGE, task_ignore_result=True)
app.conf.trellis_history_url = os.environ["CRASHING_HISTORY"]


class Job(ProcessType):
    #: Whoever starts it is late at once.
    work = Step(timeout_ms=1, retries_permitted=50, queue_timeout_ms=1_000)
    #: It is given up at once.
    try_once = Step(timeout_ms=1, queue_timeout_ms=1_000)
    #: It is late at once, and the next attempt waits.
    wait_longer = Step(timeout_ms=1, retries_permitted=50, backoff_ms=1, queue_timeout_ms=1_000)
    #: It is late at once, and may not be done twice.
    tell = Step(timeout_ms=1, on_timeout="alert", queue_timeout_ms=1_000)
    #: A copy of its message is due at once.
    wait = Step(queue_timeout_ms=1)
    #: It ends in whatever way its caller wants.
    act = Step(retries_permitted=50, queue_timeout_ms=2_000)


class Form(ProcessType):
    """What people do by hand."""

    sign = Step(external=True)


class Offer(ProcessType, deadline_ms=1):
    """It is overdue at once."""

    answer = Step(external=True)


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


@process_step(Job.wait_longer)
@app.task(name="crashing.wait_longer")
def wait_longer() -> None: ...


@process_step(Job.tell)
@app.task(name="crashing.tell")
def tell() -> None: ...


@process_step(Job.wait)
@app.task(name="crashing.wait")
def wait() -> None: ...


@app.task(name="crashing.pass_by")
def pass_by() -> None:
    """It does no step."""


@process_step(Job.act)
@app.task(name="crashing.act", bind=True)
def act(self: Task, how: str = "") -> None:
    if self.request.hostname != BENCH or self.request.retries:
        return
    match how:
        case "fail":
            raise ValueError("it was to fail")
        case "ignore":
            raise Ignore
        case "requeue":
            raise Reject(requeue=True)
        case "replace":
            self.replace(pass_by.si() | act.si())
        case "retry":
            raise self.retry(countdown=0)
        case "heartbeat":
            step = current_step()
            assert step is not None
            assert step.heartbeat(extend_ms=500)
