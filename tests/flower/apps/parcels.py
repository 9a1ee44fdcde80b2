"""An app with real workers: its task fails the first time, and works when it is tried again."""

from __future__ import annotations

from celery import Task

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("parcels", worker_send_task_events=True, task_send_sent_event=True)


class Parcel(ProcessType):
    post = Step(timeout_ms=40_000)


@process_step(Parcel.post)
@app.task(name="parcels.post", bind=True)
def post(self: Task) -> None:
    if diary.write(f"ran {self.request.id}") == 1:
        raise ValueError("the post office is closed")
