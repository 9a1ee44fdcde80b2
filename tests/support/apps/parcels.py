"""The app of the workers in a cluster of pytest-celery, which says in the environment where their servers are."""

from __future__ import annotations

import os
import time

from celery import Celery

from trellis_celery import ProcessType, Step, Trellis, current_step, process_step


class Parcel(ProcessType):
    """Names its tasks: whoever sends them need not have them."""

    pack = Step(timeout_ms=60_000, queue_timeout_ms=1_000, task="parcels.pack")
    carry = Step(timeout_ms=60_000, retries_permitted=1, task="parcels.carry")


def configure(app: Celery, results_url: str) -> None:
    """Track the tasks of this app, with the store in another database of the server for results."""
    app.conf.update(
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        trellis_url=f"{results_url.rpartition('/')[0]}/1",
        trellis_worker_lost_ms=1_500,
    )
    Trellis(app)


app = Celery("parcels", set_as_current=False)
if "CELERY_BROKER_URL" in os.environ:  # else it is a test that wants the process type
    app.conf.update(broker_url=os.environ["CELERY_BROKER_URL"], result_backend=os.environ["CELERY_RESULT_BACKEND"])
    configure(app, os.environ["CELERY_RESULT_BACKEND"])


@process_step(Parcel.pack)
@app.task(name="parcels.pack", shared=False)
def pack() -> None: ...


@process_step(Parcel.carry)
@app.task(name="parcels.carry", shared=False)
def carry() -> None:
    """The first attempt takes so long that something can happen to its worker."""
    step = current_step()
    if step is not None and step.attempt == 1:
        time.sleep(60)
