"""A step that does nothing."""

from __future__ import annotations

from benchmarks.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("trips")


class Trip(ProcessType):
    quick = Step(timeout_ms=60_000, retries_permitted=1)


@process_step(Trip.quick)
@app.task(name="trips.quick")
def quick() -> None: ...
