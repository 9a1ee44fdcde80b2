"""Plain Celery: a chain of three tasks.

Nobody knows of a chain whose worker was killed: its tasks say `PENDING`, like tasks that never existed. With
`acks_late` a message is delivered again after the visibility timeout, which is an hour.
"""

from __future__ import annotations

import os
from functools import partial

from celery import Celery, chain
from peer import REDIS, become_celery, program, step

app = Celery("three", broker=f"{REDIS}/0")
app.conf.task_ignore_result = True
if "ACKS_LATE" in os.environ:
    app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)


@app.task(name="first")
def first() -> None:
    step("first")


@app.task(name="middle")
def middle(ms: int) -> None:
    step("middle", ms)


@app.task(name="last")
def last() -> None:
    step("last")


def start(processes: int, ms: int) -> None:
    for _ in range(processes):
        chain(first.si(), middle.si(ms), last.si()).delay()


if __name__ == "__main__":
    program(start=start, work=partial(become_celery, "app", "worker"))
