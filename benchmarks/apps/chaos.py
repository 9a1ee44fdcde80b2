"""Four steps in a chain, each a second long at the most, that write every start and end into a ledger."""

from __future__ import annotations

import random
import time
from typing import Any

from benchmarks.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("chaos")


class Order(ProcessType):
    reserve = Step(timeout_ms=20_000, retries_permitted=500)
    charge = Step(timeout_ms=20_000, retries_permitted=500)
    ship = Step(timeout_ms=20_000, retries_permitted=500)
    confirm = Step(timeout_ms=20_000, retries_permitted=500)


def _work(step: str, order: str) -> str:
    time.sleep(random.uniform(0.05, 0.5))
    diary.write("ended", f"{order} {step}")
    return order


def _step(step: Step) -> Any:
    def task(order: str) -> str:
        return _work(step.name, order)

    return process_step(step)(app.task(name=f"chaos.{step.name}")(task))


reserve = _step(Order.reserve)
charge = _step(Order.charge)
ship = _step(Order.ship)
confirm = _step(Order.confirm)
