"""Tasks that are sent by name, from programs that do not import them."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery import signals

from tests.support.apps.making import make_app
from tests.support.waiting import eventually
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("by_name")


class Declared(ProcessType):
    """Says which task does the step."""

    work = Step(timeout_ms=60_000, queue_timeout_ms=1_000, task="by_name.work")


class Undeclared(ProcessType):
    work = Step(timeout_ms=60_000)


@process_step(Declared.work)
@process_step(Undeclared.work)
@app.task(name="by_name.work")
def work(name: str) -> None:
    """Run until the test lets go of this name."""
    diary.write(f"ran {name}")
    eventually(lambda: diary.read(f"let go {name}"), within_s=30, what=f"{name} let go")


class Fragile(ProcessType):
    fragile = Step(timeout_ms=60_000, retries_permitted=1)
    resent = Step(timeout_ms=60_000, retries_permitted=1)


def waiting_or_dying(task: Any, name: str, how: str) -> None:
    """The first call waits in a queue that nobody reads yet; another one's child dies in its first run."""
    is_first_run = task.request.retries == 0
    diary.write(f"{how} {name}")
    if how == "wait" and is_first_run:
        raise task.retry(queue=f"later-{name}", countdown=0)
    if how == "die" and is_first_run:
        os.kill(os.getpid(), signal.SIGKILL)


@process_step(Fragile.fragile)
@app.task(name="by_name.fragile", bind=True)
def fragile(task: Any, name: str, how: str) -> None:
    waiting_or_dying(task, name, how)


@process_step(Fragile.resent)
@app.task(name="by_name.resent", bind=True, retry_on_worker_lost=True, acks_late=True, default_retry_delay=0)
def resent(task: Any, name: str, how: str) -> None:
    waiting_or_dying(task, name, how)


@signals.task_failure.connect(weak=False)
def note_loss(sender: Any, args: Any, **_: Any) -> None:
    """In the worker's main process: the child is gone."""
    if sender.app is app:
        diary.write(f"lost {args[0]}")
