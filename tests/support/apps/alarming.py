"""Steps that are done, that are too late, and that wait for being killed."""

from __future__ import annotations

import os
import time

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("alarming", task_ignore_result=True, trellis_store_timeout_ms=1_000)
for name in ("url", "history_url", "events_exchange"):
    if value := os.environ.get(f"ALARMING_{name.upper()}"):
        app.conf[f"trellis_{name}"] = value


class Quick(ProcessType):
    work = Step(timeout_ms=60_000)


class Doomed(ProcessType):
    """Every attempt is too late."""

    work = Step(timeout_ms=500, retries_permitted=1)


class Killed(ProcessType):
    """Every attempt loses its worker."""

    work = Step(timeout_ms=60_000, retries_permitted=1)


@process_step(Quick.work)
@app.task(name="alarming.work")
def work() -> None:
    diary.write("worked")


@process_step(Doomed.work)
@app.task(name="alarming.hang")
def hang() -> None:
    time.sleep(6)


@process_step(Killed.work)
@app.task(name="alarming.wait")
def wait() -> None:
    diary.write("waits", os.getppid())
    time.sleep(60)
