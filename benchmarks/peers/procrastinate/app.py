"""procrastinate: a job in PostgreSQL that defers the next, which defers the last.

A job whose worker was killed stays where it is: `get_stalled_jobs()` lists it, and the application has to queue it
again. The three jobs are no process: that they belong together is written nowhere.
"""

from __future__ import annotations

import procrastinate
from peer import POSTGRESQL, program, step

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=POSTGRESQL))

#: Tried were 1, 5, 10 and 30.
JOBS_AT_A_TIME = 10


@app.task(name="first")
async def first(ms: int) -> None:
    step("first")
    await middle.defer_async(ms=ms)


@app.task(name="middle")
async def middle(ms: int) -> None:
    step("middle", ms)
    await last.defer_async()


@app.task(name="last")
async def last() -> None:
    step("last")


def setup() -> None:
    with app.open():
        app.schema_manager.apply_schema()


def start(processes: int, ms: int) -> None:
    with app.open():
        for _ in range(processes):
            first.defer(ms=ms)


def work() -> None:
    with app.open():
        app.run_worker(concurrency=JOBS_AT_A_TIME)


if __name__ == "__main__":
    program(setup=setup, start=start, work=work)
