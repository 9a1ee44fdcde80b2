"""Tasks whose events are relayed to an exchange."""

from __future__ import annotations

import os
import signal

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

EXCHANGE = "announcements"

app, trellis, diary = make_app("announcing", trellis_events_exchange=EXCHANGE)


class Order(ProcessType):
    charge = Step(timeout_ms=60_000, retries_permitted=2)
    ship = Step(timeout_ms=60_000, retries_permitted=2)


@process_step(Order.charge)
@app.task(name="announcing.charge")
def charge(order_id: str) -> None:
    """Die in the first run."""
    if diary.write(f"charged {order_id}") == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@process_step(Order.ship)
@app.task(name="announcing.ship")
def ship(order_id: str) -> None:
    diary.write(f"shipped {order_id}")
