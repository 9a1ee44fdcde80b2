"""Tasks for every kind of pool."""

from __future__ import annotations

import time

from celery import Task

from tests.support.apps.making import WORKER_LOST_MS, make_app
from trellis_celery import ProcessType, Step, current_step, process_step

app, trellis, diary = make_app("pools")


class Flow(ProcessType):
    work = Step(timeout_ms=30_000, retries_permitted=1)
    spawned = Step(timeout_ms=30_000)


class Hasty(ProcessType):
    work = Step(timeout_ms=1_500, retries_permitted=1)


@process_step(Flow.work)
@app.task(name="pools.succeed")
def succeed() -> None: ...


@process_step(Flow.work)
@app.task(name="pools.fail")
def fail() -> None:
    raise ValueError("no")


@process_step(Hasty.work)
@app.task(name="pools.hang", bind=True)
def hang(self: Task) -> None:
    if diary.write(f"ran {self.request.id}") == 1:
        time.sleep(8)  # in the solo pool nobody checks until the worker itself has missed the checks of beat


@process_step(Flow.work)
@app.task(name="pools.spawn")
def spawn() -> None:
    """Say which step this is before and after others had their turn, then send a task."""
    for _ in range(3):
        step = current_step()
        diary.write(f"steps {step.process_id}" if step else "leaked", step and step.step_name)
        time.sleep(0.05)
    spawned.delay()


@app.task(name="pools.helper")
def helper() -> None:
    spawned.delay()


@process_step(Flow.work)
@app.task(name="pools.delegate")
def delegate() -> None:
    """Have another task send what belongs to the process: called directly, as a function."""
    helper()


@process_step(Flow.work)
@app.task(name="pools.outlast", bind=True)
def outlast(self: Task) -> None:
    """Take three leases, and as long as it takes until somebody else checks."""
    diary.write(f"ran {self.request.id}")
    time.sleep(WORKER_LOST_MS / 1000 * 3 + 1)


@process_step(Flow.spawned)
@app.task(name="pools.spawned")
def spawned() -> None: ...


@app.task(name="pools.outsider")
def outsider() -> None:
    """Belongs to no process: it must see none."""
    for _ in range(3):
        if current_step() is not None:
            diary.write("leaked", "a step")
        time.sleep(0.05)
    diary.write("outsiders")
