"""Tasks that are sent by name, from programs that do not import them."""

from __future__ import annotations

from tests.support.apps.making import make_app
from tests.support.waiting import eventually
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("by_name")


class Declared(ProcessType):
    """Says which task does the step."""

    work = Step(timeout_ms=60_000, queue_timeout_ms=1_000, task="by_name.work")


class Undeclared(ProcessType):
    work = Step(timeout_ms=60_000)


@process_step(Declared.work)
@process_step(Undeclared.work)
@app.task(name="by_name.work")
def work(name: str) -> None:
    """Run until the test lets go of this name."""
    diary.write(f"ran {name}")
    eventually(lambda: diary.read(f"let go {name}"), within_s=30, what=f"{name} let go")
