"""Tasks with a secret for an argument, and everything turned on by which it might get out."""

from __future__ import annotations

import os
import time

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

EXCHANGE = "canary-events"

app, trellis, diary = make_app(
    "canary",
    trellis_events_exchange=EXCHANGE,
    trellis_celery_events=True,
    trellis_history_url=os.environ["CANARY_HISTORY"],
    trellis_history_interval_ms=1_000,
    trellis_show_args=os.environ.get("CANARY_SHOW_ARGS") == "1",
    task_ignore_result=True,
)


class Payment(ProcessType):
    charge = Step(timeout_ms=60_000)
    thank = Step(timeout_ms=60_000)


class Doomed(ProcessType):
    charge = Step(timeout_ms=500)


@process_step(Payment.charge)
@app.task(name="canary.charge")
def charge(card_number: str) -> None:
    diary.write("charged")


@process_step(Payment.thank)
@app.task(name="canary.thank")
def thank(card_number: str) -> None:
    raise ValueError("the printer is out of paper")


@process_step(Doomed.charge)
@app.task(name="canary.hang")
def hang(card_number: str) -> None:
    """It is given up meanwhile."""
    time.sleep(2)
