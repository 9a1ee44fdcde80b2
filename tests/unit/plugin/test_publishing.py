from __future__ import annotations

import copy
from typing import Any

from celery import Celery, signals

from trellis_celery import ProcessType, Step, Trellis, process_step
from trellis_celery.plugin import headers
from trellis_celery.plugin.headers import read


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


def test_the_next_task_of_a_chain_may_be_one_that_only_another_worker_knows() -> None:
    app = Celery("publishing", broker="memory://", set_as_current=False)
    app.conf.trellis_url = "memory://"
    process = Trellis(app).start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="2")
    sent: list[headers.Header | None] = []

    def note(headers: dict[str, Any], **_: Any) -> None:
        sent.append(read(headers))

    @process_step(Intake.check)
    @app.task(shared=False, name="check")
    def check() -> None:
        app.send_task("elsewhere")

    header = headers.of_step(process.id, "Intake", process.steps["check"], task_id="task-1")
    signals.after_task_publish.connect(note, sender="elsewhere")

    check.apply(task_id="task-1", headers={headers.NAME: header.to_wire()})

    (found,) = sent
    assert found is not None
    assert (found.process_id, found.may_claim, found.is_for("task-1")) == (process.id, True, True)
