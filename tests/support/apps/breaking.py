"""Tasks that last as long as a test says, while it breaks the broker or the store under them."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Task

from tests.support.apps.making import make_app
from tests.support.breaking import FAR, MASTER, STORE
from trellis_celery import ProcessType, Step, process_step

#: So soon is brought again from Redis what a worker does not acknowledge. RabbitMQ notices by itself.
_OPTIONS: dict[str, Any] = {"visibility_timeout": 2, "unacked_restore_interval": 0.5, "unacked_restore_throttle": 1}

IS_FAR = bool(os.environ.get(FAR))

app, trellis, diary = make_app(
    "breaking",
    trellis_store_timeout_ms=5_000 if IS_FAR else 1_000,
)
if IS_FAR:
    app.conf.trellis_worker_lost_ms = 6_000
elif app.conf.broker_url.startswith("redis"):
    app.conf.broker_transport_options = _OPTIONS
if name := os.environ.get(MASTER):
    app.conf.broker_transport_options = {**_OPTIONS, "master_name": name, "socket_timeout": 2}
    app.conf.trellis_transport_options = {"master_name": name}
if os.environ.get(STORE):
    app.conf.trellis_url = os.environ[STORE]


class Parcel(ProcessType):
    """A message that is lost is sent again after a second."""

    carry = Step(timeout_ms=60_000, queue_timeout_ms=1_000)


class Letter(ProcessType):
    """A message that is lost is not missed for as long as a test lasts: only the broker can bring it."""

    carry = Step(timeout_ms=60_000, queue_timeout_ms=600_000)


@process_step(Letter.carry)
@process_step(Parcel.carry)
@app.task(name="breaking.carry", bind=True)
def carry(self: Task, seconds: float = 0) -> str:
    diary.write(f"ran {self.request.id}")
    time.sleep(seconds)
    diary.write(f"ended {self.request.id}")
    return "carried"


@process_step(Letter.carry)
@process_step(Parcel.carry)
@app.task(name="breaking.carry_late", bind=True, acks_late=True)
def carry_late(self: Task, seconds: float = 0) -> str:
    diary.write(f"ran {self.request.id}")
    time.sleep(seconds)
    diary.write(f"ended {self.request.id}")
    return "carried"


@app.task(name="breaking.untracked")
def untracked() -> None: ...
