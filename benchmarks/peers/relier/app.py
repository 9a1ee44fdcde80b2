"""relier: Celery tasks that are queued again when their worker is lost, here each of them pushing the next.

It knows single tasks and no process, and it hears of a task when it starts: one that is lost before leaves no trace.
"""

from __future__ import annotations

import os
from functools import partial

from peer import REDIS, become, become_celery, program, step

os.environ["RELIER_REDIS_URL"] = f"{REDIS}/0"

from relier import rl_task


@rl_task(name="first")
def first(ms: int) -> None:
    step("first")
    middle.push(ms)


@rl_task(name="middle")
def middle(ms: int) -> None:
    step("middle", ms)
    last.push()


@rl_task(name="last")
def last() -> None:
    step("last")


def start(processes: int, ms: int) -> None:
    for _ in range(processes):
        first.push(ms)


QUEUES = ("--queues", "high_priority,default,low_priority,re-queue", "--include", "app")

if __name__ == "__main__":
    program(
        start=start,
        work=partial(become_celery, "relier.tasks.app", "worker", *QUEUES),
        resurrect=partial(become, "rl", "run-resurrector"),
    )
