"""How a run ended without an outcome, in words for whoever reads the log."""

from __future__ import annotations

from contextlib import suppress

import pytest
from celery import Celery
from celery.app.trace import trace_task

from trellis_celery import ProcessType, Step, Trellis, process_step
from trellis_celery.plugin import headers


class Errand(ProcessType):
    run = Step(timeout_ms=60_000)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-241, "the child was stopped by signal 15"),
        (-247, "the child was stopped by signal 9"),
        (1, "SystemExit: 1"),
        (None, "SystemExit: None"),
        ("bye", "SystemExit: bye"),
    ],
)
def test_a_child_that_was_stopped_is_not_said_to_have_left(code: int | str | None, words: str) -> None:
    app = Celery("ending", broker="memory://", set_as_current=False)
    app.conf.trellis_url = "memory://"
    process = Trellis(app).start_process(Errand, tenant_id="t", aggregate_type="Errand", aggregate_id=f"{code}")

    @process_step(Errand.run)
    @app.task(shared=False, name="run")
    def run() -> None:
        raise SystemExit(code)

    header = headers.of_step(process.id, "Errand", process.steps["run"], task_id="1")
    received = {"id": "1", "task": "run", "delivery_info": {}, headers.NAME: header.to_wire()}

    with suppress(SystemExit):
        trace_task(run, "1", (), {}, received, app=app)

    assert process.refresh().steps["run"].last_error == f"the run ended without an outcome: {words}"
