"""Tasks whose steps are told as signals and as Celery events."""

from __future__ import annotations

import os
import time
from typing import Any

from tests.support.apps.making import make_app
from trellis_celery import Event, ProcessType, Step, Trellis, process_step, signals

#: Where a worker sends what it sends, if not where it reads its tasks.
WRITE_BROKER = "TRELLIS_TEST_APP_WRITE_BROKER"

app, trellis, diary = make_app("telling", trellis_celery_events=True)
if write_broker := os.environ.get(WRITE_BROKER):
    app.conf.update(broker_write_url=write_broker)


@signals.step_completed.connect
@signals.step_gave_up.connect
def note(sender: Trellis, process_id: str, event: Event, **_: Any) -> None:
    if sender is trellis:
        diary.write(f"{event.kind} {process_id}", os.getpid())


@signals.step_started.connect
@signals.step_completed.connect
@signals.step_timed_out.connect
def fail_at_it(sender: Trellis, **_: Any) -> None:
    if sender is trellis:
        raise ValueError("no pager")


class Parcel(ProcessType):
    pack = Step(timeout_ms=60_000)


class Hasty(ProcessType):
    hang = Step(timeout_ms=1_000)


@process_step(Parcel.pack)
@app.task(name="telling.pack")
def pack(secret: str = "") -> None: ...


@process_step(Parcel.pack)
@app.task(name="telling.drop")
def drop(secret: str = "") -> None:
    raise ValueError("x" * 100_000)


@process_step(Hasty.hang)
@app.task(name="telling.hang")
def hang() -> None:
    diary.write("hanging")
    time.sleep(4)
