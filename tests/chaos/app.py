"""A shop whose orders go through four steps in a chain, and alarms that may be rung twice at the most.

Some alarms are deadly: whoever rings one is killed.
"""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

from celery import Celery

from tests.chaos import STRICT
from tests.chaos.ledger import Ledger
from tests.support.cluster import BROKER_URL, REDIS_URL
from trellis_celery import ProcessType, Step, Trellis, current_step, process_step

#: What the ids of deadly alarms begin with.
DEADLY = "deadly-"

app = Celery("chaos", broker=os.environ[BROKER_URL], set_as_current=False)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 5},
    # A broker that restarts is waited for. Without this Celery fails a task whose chain it cannot send.
    task_publish_retry_policy={"max_retries": 100, "interval_start": 0.1, "interval_step": 0.1, "interval_max": 0.5},
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    trellis_url=f"{os.environ[REDIS_URL]}/0",
    trellis_queue_timeout_ms=5_000,
    trellis_strict=os.environ.get(STRICT) == "1",
)
trellis = Trellis(app)
ledger = Ledger.of_this_program()


class Order(ProcessType):
    """However often its runs are killed, it has to be completed."""

    reserve = Step(timeout_ms=8_000, retries_permitted=1_000)
    charge = Step(timeout_ms=8_000, retries_permitted=1_000)
    ship = Step(timeout_ms=8_000, retries_permitted=1_000)
    confirm = Step(timeout_ms=8_000, retries_permitted=1_000)


class Alarm(ProcessType):
    """It is given up after its second attempt."""

    ring = Step(timeout_ms=8_000, retries_permitted=1)


def _task(step: Step, name: str) -> Any:
    def task(order_id: str) -> str:
        current = current_step()
        with ledger.running(order_id, step.name, current.attempt if current is not None else 0):
            time.sleep(random.uniform(0.05, 0.6))
            if order_id.startswith(DEADLY):
                os.kill(os.getpid(), signal.SIGKILL)
        return order_id

    return process_step(step)(app.task(name=name, shared=False)(task))


reserve = _task(Order.reserve, "chaos.reserve")
charge = _task(Order.charge, "chaos.charge")
ship = _task(Order.ship, "chaos.ship")
confirm = _task(Order.confirm, "chaos.confirm")
ring = _task(Alarm.ring, "chaos.ring")
