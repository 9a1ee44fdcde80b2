"""One task for each way in which a Celery task can end. Each writes its runs into the diary."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from celery import Task, chain
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("outcomes", broker_transport_options={"visibility_timeout": 3600})


class Work(ProcessType):
    """Long enough that only what the row does to it ends an attempt."""

    work = Step(timeout_ms=40_000, retries_permitted=1)


class Once(ProcessType):
    """As `Work`, but with no second attempt."""

    work = Step(timeout_ms=40_000)


def task(**options: Any) -> Any:
    """A task that is the step of both types."""

    def decorate(function: Any) -> Any:
        name = f"outcomes.{function.__name__}"
        return process_step(Once.work)(process_step(Work.work)(app.task(name=name, bind=True, **options)(function)))

    return decorate


def ran(self: Task) -> int:
    """Write down that a body runs; return which run of this task id it is."""
    return diary.write(f"ran {self.request.id}", os.getpid())


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die(how: Callable[[], object] = kill_me) -> None:
    """Not at once: until the worker has heard that a child has the task, Celery gives it to another child by itself."""
    time.sleep(1)
    how()


@task()
def succeed(self: Task) -> str:
    ran(self)
    return "done"


@task()
def explode(self: Task) -> None:
    ran(self)
    raise ValueError("no such referral")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@task()
def explode_unspeakably(self: Task) -> None:
    ran(self)
    raise Unspeakable


@task(max_retries=3)
def retry(self: Task) -> None:
    if ran(self) == 1:
        raise self.retry(countdown=0.2)


@task(max_retries=3)
def retry_and_return(self: Task) -> None:
    if ran(self) == 1:
        self.retry(countdown=0.2, throw=False)


@task(max_retries=3)
def retry_and_explode(self: Task) -> None:
    if ran(self) == 1:
        self.retry(countdown=0.2, throw=False)
        raise ValueError("too late")


@task(autoretry_for=(ValueError,), max_retries=3, retry_backoff=False, default_retry_delay=0.2)
def autoretry(self: Task) -> None:
    if ran(self) == 1:
        raise ValueError("not yet")


@task(max_retries=1)
def retry_in_vain(self: Task) -> None:
    ran(self)
    raise self.retry(countdown=0.1, exc=ValueError("never"))


@task()
def ignore(self: Task) -> None:
    ran(self)
    raise Ignore


@task()
def reject(self: Task) -> None:
    ran(self)
    raise Reject("bad message", requeue=False)


@task(acks_late=True)
def reject_late(self: Task) -> None:
    ran(self)
    raise Reject("bad message", requeue=False)


@task()
def reject_requeue(self: Task) -> None:
    if ran(self) == 1:
        raise Reject("not me", requeue=True)


@task(acks_late=True)
def reject_requeue_late(self: Task) -> None:
    if ran(self) == 1:
        raise Reject("not me", requeue=True)


@app.task(name="outcomes.substitute")
def substitute(task_id: str) -> None:
    diary.write(f"ran {task_id}", "substitute")


@task()
def replace(self: Task) -> None:
    ran(self)
    self.replace(substitute.si(self.request.id))


@task()
def replace_by_chain(self: Task) -> None:
    ran(self)
    self.replace(chain(substitute.si(self.request.id), substitute.si(self.request.id)))


@task(soft_time_limit=1)
def soft_limit(self: Task) -> None:
    ran(self)
    time.sleep(20)


@task(soft_time_limit=1, time_limit=2)
def swallows_soft_limit(self: Task) -> None:
    if ran(self) == 1:
        with suppress(SoftTimeLimitExceeded):
            time.sleep(20)
        time.sleep(20)


@task(time_limit=1)
def hard_limit(self: Task) -> None:
    if ran(self) == 1:
        time.sleep(20)


@task(time_limit=1, acks_late=True, acks_on_timeout=False)
def hard_limit_late(self: Task) -> None:
    if ran(self) == 1:
        time.sleep(20)


@task()
def killed(self: Task) -> None:
    if ran(self) == 1:
        die()


@task(acks_late=True)
def killed_late(self: Task) -> None:
    if ran(self) == 1:
        die()


@task(acks_late=True, reject_on_worker_lost=True)
def killed_reject(self: Task) -> None:
    if ran(self) == 1:
        die()


@task(retry_on_worker_lost=True, max_retries=2, default_retry_delay=0)
def killed_retry(self: Task) -> None:
    if ran(self) == 1:
        die()


@task()
def killed_always(self: Task) -> None:
    ran(self)
    die()


@task(acks_late=True, reject_on_worker_lost=True)
def killed_always_reject(self: Task) -> None:
    ran(self)
    die()


@task()
def exits(self: Task) -> None:
    if ran(self) == 1:
        sys.exit(0)


@task()
def interrupts(self: Task) -> None:
    if ran(self) == 1:
        raise KeyboardInterrupt


@task()
def exits_at_once(self: Task) -> None:
    if ran(self) == 1:
        die(lambda: os._exit(0))


@task()
def crashes(self: Task) -> None:
    if ran(self) == 1:
        die(lambda: ctypes.string_at(0))


@task()
def out_of_memory(self: Task) -> None:
    ran(self)
    raise MemoryError


@task()
def unserialisable(self: Task) -> object:
    ran(self)
    return object()


@task()
def sleeps(self: Task) -> None:
    """The first run is slow, so that something can happen to it."""
    if ran(self) == 1:
        time.sleep(30)


@task(acks_late=True)
def sleeps_late(self: Task) -> None:
    if ran(self) == 1:
        time.sleep(30)


@task()
def naps(self: Task) -> None:
    """Slow enough to be running when its worker is asked to stop."""
    ran(self)
    time.sleep(2)
