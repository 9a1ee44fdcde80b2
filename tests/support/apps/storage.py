"""An app that keeps its processes wherever the environment says."""

from __future__ import annotations

import os
import time

from celery import Task

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("storage")
app.conf.trellis_url = os.environ.get("TRELLIS_TEST_STORE", app.conf.trellis_url)
app.conf.trellis_tracker_url = os.environ.get("TRELLIS_TEST_TRACKERS", "")
app.conf.trellis_history_url = os.environ.get("TRELLIS_TEST_HISTORY", "")
app.conf.trellis_retention_ms = int(os.environ.get("TRELLIS_TEST_RETENTION_MS", "0"))
app.conf.trellis_history_interval_ms = 1_000


class Order(ProcessType):
    pack = Step(timeout_ms=60_000, retries_permitted=2)
    ship = Step(timeout_ms=60_000, retries_permitted=2)


@process_step(Order.pack)
@app.task(name="storage.pack", bind=True)
def pack(self: Task, seconds: float = 0) -> None:
    """Take long in the first run."""
    if diary.write(f"packed {self.request.id}") == 1:
        time.sleep(seconds)


@process_step(Order.ship)
@app.task(name="storage.ship")
def ship(secret: str = "") -> None:
    """Take no time."""
