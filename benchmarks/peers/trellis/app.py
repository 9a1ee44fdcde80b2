"""trellis-celery: an ordinary Celery chain, its tasks bound to the steps of a process."""

from __future__ import annotations

from functools import partial

from celery import Celery, chain
from peer import REDIS, become_celery, program, step

from trellis_celery import ProcessType, Step, Trellis, process_step

app = Celery("three", broker=f"{REDIS}/0")
app.conf.update(task_ignore_result=True, trellis_url=f"{REDIS}/1")
trellis = Trellis(app)


class Three(ProcessType):
    first = Step(timeout_ms=60_000, retries_permitted=3)
    middle = Step(timeout_ms=60_000, retries_permitted=3)
    last = Step(timeout_ms=60_000, retries_permitted=3)


@process_step(Three.first)
@app.task(name="first")
def first() -> None:
    step("first")


@process_step(Three.middle)
@app.task(name="middle")
def middle(ms: int) -> None:
    step("middle", ms)


@process_step(Three.last)
@app.task(name="last")
def last() -> None:
    step("last")


def start(processes: int, ms: int) -> None:
    for number in range(processes):
        with trellis.start_process(Three, tenant_id="bench", aggregate_type="Three", aggregate_id=f"{number}"):
            chain(first.si(), middle.si(ms), last.si()).delay()


if __name__ == "__main__":
    program(start=start, work=partial(become_celery, "app", "worker"), beat=partial(become_celery, "app", "beat"))
