"""Tasks of a team whose own hooks raise."""

from __future__ import annotations

import os
from typing import Any

from celery import Task, signals

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("hooks")
if results := os.environ.get("TRELLIS_TEST_RESULTS"):
    app.conf.update(
        result_backend=results,
        result_backend_transport_options={"retry_policy": {"timeout": 0.5}},
    )


class Work(ProcessType):
    work = Step(timeout_ms=60_000, retries_permitted=1)


def broken(*_: Any, **__: Any) -> None:
    raise RuntimeError("the hook is broken")


def task(name: str, **hooks: Any) -> Any:
    """A task that succeeds, fails or asks for a retry, with these hooks."""
    base = type(name, (Task,), hooks)

    def body(self: Task, job: str, what: str) -> str:
        run = diary.write(f"ran {job}")
        if what == "fail":
            raise ValueError("no")
        if what == "retry" and run == 1:
            raise self.retry(countdown=0)
        return what

    return process_step(Work.work)(app.task(name=f"hooks.{name}", bind=True, base=base, max_retries=2)(body))


plain = task("plain")
before_start = task("before_start", before_start=broken)
on_success = task("on_success", on_success=broken)
on_failure = task("on_failure", on_failure=broken)
on_retry = task("on_retry", on_retry=broken)
after_return = task("after_return", after_return=broken)
with_signals = task("with_signals")


@app.task(name="hooks.tail")
def tail(result: str, page: str) -> None:
    diary.write(page, result)


def raise_for_its_own(sender: Task, **_: Any) -> None:
    if sender.name == "hooks.with_signals":
        broken()


for signal in (
    signals.task_prerun,
    signals.task_postrun,
    signals.task_success,
    signals.task_failure,
    signals.task_retry,
):
    signal.connect(raise_for_its_own, weak=False)
