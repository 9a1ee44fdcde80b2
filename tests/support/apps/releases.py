"""One program in two releases. The second has a step more, and the task that does it."""

from __future__ import annotations

import os

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("releases")

RELEASE = "TRELLIS_TEST_RELEASE"
IS_SECOND = os.environ.get(RELEASE) == "2"

if IS_SECOND:

    class Order(ProcessType):
        pack = Step(timeout_ms=60_000, retries_permitted=2)
        insure = Step(timeout_ms=60_000)

    @process_step(Order.insure)
    @app.task(name="releases.insure")
    def insure(order: str) -> None:
        diary.write(f"insured {order}")

else:

    class Order(ProcessType):  # type: ignore[no-redef]
        pack = Step(timeout_ms=60_000, retries_permitted=2)


@process_step(Order.pack)
@app.task(name="releases.pack")
def pack(order: str, number: int = 0) -> None:
    diary.write(f"packed {order}", 2 if IS_SECOND else 1)
    if IS_SECOND:
        insure.apply_async((order,), queue="second")
