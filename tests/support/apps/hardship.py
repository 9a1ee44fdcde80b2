"""Tasks whose workers fare badly. Each writes down its runs; only the first run of a job is in trouble."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import signals
from kombu.transport.redis import QoS

from tests.support.apps.making import make_app
from tests.support.waiting import eventually
from trellis_celery import ProcessType, Step, current_step, process_step

app, trellis, diary = make_app(
    "hardship",
    broker_transport_options={"visibility_timeout": 3600},
    task_ignore_result=True,
    trellis_store_timeout_ms=1_000,
)

#: Set for a program that reaches the store by another way.
STORE_URL = "TRELLIS_TEST_STORE_URL"
app.conf.trellis_url = os.environ.get(STORE_URL, app.conf.trellis_url)

#: Set for a worker that dies as soon as it has taken a message out of a queue.
DIES_TAKING = "TRELLIS_TEST_DIES_TAKING"


class Patient(ProcessType):
    work = Step(timeout_ms=60_000, retries_permitted=1, queue_timeout_ms=1_000)


class Hasty(ProcessType):
    work = Step(timeout_ms=1_500, retries_permitted=2)


def task(**options: Any) -> Callable[[Callable[..., None]], Any]:
    """A task that is the step of both types."""

    def decorate(function: Callable[..., None]) -> Any:
        name = f"hardship.{function.__name__}"
        return process_step(Hasty.work)(process_step(Patient.work)(app.task(name=name, **options)(function)))

    return decorate


def is_first_run(name: str) -> bool:
    """Write down that a body runs, and in which process."""
    return diary.write(f"ran {name}", os.getpid()) == 1


@task()
def work(name: str, seconds: float = 0) -> None:
    is_first_run(name)
    time.sleep(seconds)


@task()
def held(name: str) -> None:
    """Run until the test lets go of this job."""
    if is_first_run(name):
        eventually(lambda: diary.read(f"let go {name}"), within_s=60, what=f"{name} let go")
    diary.write(f"ended {name}")


@task()
def asks(name: str) -> None:
    """Ask whether this run still counts; the first one asks again when the test lets go of this job."""
    step = current_step()
    assert step is not None
    is_first = is_first_run(name)
    diary.write(f"is current {name}", step.is_current())
    if is_first:
        eventually(lambda: diary.read(f"let go {name}"), within_s=60, what=f"{name} let go")
        diary.write(f"is current {name}", step.is_current())


@task()
def deadlocks(name: str) -> None:
    lock = threading.Lock()
    lock.acquire()
    if is_first_run(name):
        lock.acquire()


@task()
def spins(name: str) -> None:
    is_endless = is_first_run(name)
    while is_endless:
        pass


@task()
def stands_still(name: str, seconds: float) -> None:
    """Let no other thread of the worker run for so long, as a collection of garbage does."""
    if is_first_run(name):
        interval_s, ends_s = sys.getswitchinterval(), time.monotonic() + seconds
        sys.setswitchinterval(60)
        while time.monotonic() < ends_s:
            pass
        sys.setswitchinterval(interval_s)
    diary.write(f"ended {name}")


@task()
def dies(name: str) -> None:
    """So soon that the worker may not have heard yet that a child has the task."""
    if is_first_run(name):
        os.kill(os.getpid(), signal.SIGKILL)


@task(acks_late=True, reject_on_worker_lost=True)
def eats_memory(name: str, mebibytes: int) -> None:
    """In every run. Not at once: until the worker has heard that a child has the task, Celery just gives it another."""
    is_first_run(name)
    time.sleep(0.3)
    eaten = [bytes([1]) * 2**20 for _ in range(mebibytes)]
    diary.write(f"ended {name}", len(eaten))


@signals.worker_init.connect(weak=False)
def die_taking(**_: Any) -> None:
    """Before the message is noted among those that are not acknowledged."""
    if DIES_TAKING in os.environ:
        note = QoS.append

        def append(self: Any, message: Any, delivery_tag: str) -> None:
            if message.headers.get("task", "").startswith("hardship."):
                os.killpg(0, signal.SIGKILL)
            note(self, message, delivery_tag)

        QoS.append = append
