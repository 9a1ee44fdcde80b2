"""Tasks that hang, for tests of who notices."""

from __future__ import annotations

import os
import time

from celery import Task

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("checking")
app.conf.redbeat_redis_url = f"{os.environ['TRELLIS_TEST_APP_REDIS']}/4"
app.conf.redbeat_lock_key = os.environ.get("TRELLIS_TEST_REDBEAT_LOCK") or None
app.conf.beat_max_loop_interval = 1


class Patient(ProcessType):
    work = Step(timeout_ms=60_000, retries_permitted=1, queue_timeout_ms=1_000)


class Hasty(ProcessType):
    work = Step(timeout_ms=1_000, retries_permitted=1)


@process_step(Hasty.work)
@process_step(Patient.work)
@app.task(name="checking.hang", bind=True)
def hang(self: Task, seconds: float = 60) -> None:
    """Hang in the first run."""
    if diary.write(f"ran {self.request.id}") == 1:
        time.sleep(seconds)
