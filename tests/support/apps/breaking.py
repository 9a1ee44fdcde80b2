"""Tasks that last as long as a test says, while it breaks the broker or the store under them."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Task

from tests.support.apps.making import make_app
from tests.support.breaking import STORE
from trellis_celery import ProcessType, Step, process_step

#: Redis gives back what a worker held when its connection broke. RabbitMQ does so by itself.
_OPTIONS: dict[str, Any] = {"visibility_timeout": 1, "unacked_restore_interval": 0.5, "unacked_restore_throttle": 1}

app, trellis, diary = make_app(
    "breaking",
    trellis_store_timeout_ms=1_000,
)
if app.conf.broker_url.startswith("redis"):
    app.conf.broker_transport_options = _OPTIONS
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
