"""Tasks whose runs last as long as the test says, and which can be overtaken by their own next attempt."""

from __future__ import annotations

import time
from collections.abc import Sequence

from celery import Task

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, current_step, process_step

app, trellis, diary = make_app(
    "fencing",
    broker_transport_options={
        "visibility_timeout": 2,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
)


class Patient(ProcessType):
    work = Step(timeout_ms=30_000, retries_permitted=2)
    after = Step(timeout_ms=30_000)


class Hasty(ProcessType):
    work = Step(timeout_ms=2_500, retries_permitted=1)
    after = Step(timeout_ms=30_000)


def lasts(self: Task, seconds_by_run: Sequence[float]) -> int:
    """Write down the run, take as long as it shall, write down its end; return its number."""
    run = diary.write(f"ran {self.request.id}")
    time.sleep(seconds_by_run[min(run, len(seconds_by_run)) - 1])
    diary.write(f"ended {self.request.id}", run)
    return run


@process_step(Hasty.work)
@process_step(Patient.work)
@app.task(name="fencing.work", bind=True)
def work(self: Task, *seconds_by_run: float) -> int:
    return lasts(self, seconds_by_run)


@process_step(Patient.work)
@app.task(name="fencing.late", bind=True, acks_late=True)
def late(self: Task, *seconds_by_run: float) -> int:
    return lasts(self, seconds_by_run)


@process_step(Hasty.work)
@app.task(name="fencing.retrying", bind=True)
def retrying(self: Task, *seconds_by_run: float) -> int:
    run = lasts(self, seconds_by_run)
    if run == 1:
        raise self.retry(countdown=0)
    return run


@process_step(Hasty.work)
@app.task(name="fencing.failing", bind=True)
def failing(self: Task, *seconds_by_run: float) -> int:
    run = lasts(self, seconds_by_run)
    if run == 1:
        step = current_step()
        diary.write(f"heartbeat {self.request.id}", step is not None and step.heartbeat(extend_ms=10_000))
        raise ValueError("too late to matter")
    return run


@process_step(Hasty.work)
@app.task(name="fencing.limited", bind=True, time_limit=4)
def limited(self: Task, *seconds_by_run: float) -> int:
    return lasts(self, seconds_by_run)


@process_step(Hasty.after)
@process_step(Patient.after)
@app.task(name="fencing.after")
def after(run: int, name: str) -> None:
    diary.write(f"after {name}", run)


@app.task(name="fencing.linked")
def linked(run: int, name: str) -> None:
    diary.write(f"linked {name}", run)
