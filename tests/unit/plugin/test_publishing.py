from __future__ import annotations

import copy
from typing import Any

from celery import Celery

from trellis_celery import ProcessType, Step, Trellis, process_step


class Intake(ProcessType):
    check = Step()


def test_headers_that_the_caller_gives_are_not_written_to() -> None:
    app = Celery("publishing", broker="memory://", set_as_current=False)
    app.conf.trellis_url = "memory://"
    process = Trellis(app).start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="1")

    @process_step(Intake.check)
    @app.task(shared=False, name="check")
    def check() -> None: ...

    given: dict[str, Any] = {"x-request": "1", "headers": {"sentry-trace": "2"}}
    before = copy.deepcopy(given)

    with process:
        check.apply_async(headers=given)

    assert given == before
    assert process.steps["check"].task_id is not None
