"""A task whose message is missed after ten minutes."""

from __future__ import annotations

from benchmarks.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("losses")


class Losses(ProcessType):
    lose = Step(queue_timeout_ms=600_000, retries_permitted=1)


@process_step(Losses.lose)
@app.task(name="losses.lose")
def lose(number: int) -> None:
    """Nobody runs it."""
