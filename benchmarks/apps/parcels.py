"""A process of five steps with a task each, and the same task in an app that knows nothing of trellis."""

from __future__ import annotations

from celery import Celery

from benchmarks.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("parcels")


class Parcel(ProcessType):
    fetch = Step(timeout_ms=600_000, retries_permitted=1)
    weigh = Step(timeout_ms=600_000, retries_permitted=1)
    label = Step(timeout_ms=600_000, retries_permitted=1)
    pack = Step(timeout_ms=600_000, retries_permitted=1)
    ship = Step(timeout_ms=600_000, retries_permitted=1)


@process_step(Parcel.fetch)
@app.task(shared=False)
def fetch(parcel: str) -> None: ...


@process_step(Parcel.weigh)
@app.task(shared=False)
def weigh(parcel: str) -> None: ...


@process_step(Parcel.label)
@app.task(shared=False)
def label(parcel: str) -> None: ...


@process_step(Parcel.pack)
@app.task(shared=False)
def pack(parcel: str) -> None: ...


@process_step(Parcel.ship)
@app.task(shared=False)
def ship(parcel: str) -> None: ...


STEPS = {"fetch": fetch, "weigh": weigh, "label": label, "pack": pack, "ship": ship}

bare = Celery("bare", broker=app.conf.broker_url, set_as_current=False)
bare.conf.task_ignore_result = True


@bare.task(shared=False)
def fetch_untracked(parcel: str) -> None: ...
