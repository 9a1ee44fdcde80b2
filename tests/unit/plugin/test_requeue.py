"""What goes out again, and in whose name."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from celery import Celery
from msgspec.structs import replace

from trellis_celery import ProcessHandle, ProcessType, Step, Trellis, process_step
from trellis_celery.domain import runs
from trellis_celery.domain.step import ProcessStep
from trellis_celery.plugin import headers
from trellis_celery.plugin.requeue import CeleryRequeuer
from trellis_celery.ports import Sending, StepKey


class Intake(ProcessType):
    check = Step()


@pytest.fixture
def trellis() -> Trellis:
    app = Celery("requeue", broker="memory://", set_as_current=False)
    app.conf.trellis_url = "memory://"
    return Trellis(app)


@pytest.fixture
def process(trellis: Trellis) -> ProcessHandle:
    """A process whose only step was sent, and whose message was lost."""

    @process_step(Intake.check)
    @trellis.app.task(shared=False, name="check")
    def check() -> None: ...

    process = trellis.start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="1")
    with process:
        check.delay()
    assert messages(trellis)
    return process


def messages(trellis: Trellis) -> list[dict[str, Any]]:
    """The headers of what waits in the queue, which is empty afterwards."""
    with trellis.app.connection_for_read() as connection:
        queue = trellis.app.amqp.queues["celery"](connection.default_channel)
        found = []
        while (message := queue.get(no_ack=True)) is not None:
            found.append(message.headers)
        return found


def change(trellis: Trellis, process: ProcessHandle, rule: Any, **arguments: Any) -> ProcessStep:
    return trellis.recorder.apply(StepKey(process.id, "check"), partial(rule, attempt=1, **arguments)).after


def start(trellis: Trellis, process: ProcessHandle, *, run_id: str, celery_retries: int = 0) -> ProcessStep:
    return change(trellis, process, runs.start, run_id=run_id, celery_retries=celery_retries)


def test_what_is_sent_again_after_a_retry_by_celery_that_the_store_missed_is_not_stale(
    trellis: Trellis, process: ProcessHandle
) -> None:
    start(trellis, process, run_id="retry", celery_retries=1)
    released = change(trellis, process, runs.release, run_id="retry", resend_in_ms=1)
    (stored,) = trellis.store.load_messages([StepKey(process.id, "check")])

    assert CeleryRequeuer(trellis.app).requeue([Sending(process.id, released, stored)]) == [None]

    (sent,) = messages(trellis)
    again = start(trellis, process, run_id="again", celery_retries=sent["retries"])
    assert again.run_id == "again"


def test_what_a_worker_sends_for_a_child_that_ran_a_copy_changes_nothing(
    trellis: Trellis, process: ProcessHandle
) -> None:
    held = start(trellis, process, run_id="run")
    of_the_copy = replace(headers.of_step(process.id, "Intake", held), run_id="copy")

    trellis.app.send_task("check", task_id=held.task_id, retries=1, headers={headers.NAME: of_the_copy.to_wire()})

    (sent,) = messages(trellis)
    header = headers.read(sent)
    assert header is not None
    assert (header.run_id, sent["retries"]) == ("copy", 1)
    assert process.refresh().steps["check"] == held


def test_what_a_worker_sends_for_a_child_that_held_the_step_goes_on_in_the_same_attempt(
    trellis: Trellis, process: ProcessHandle
) -> None:
    held = start(trellis, process, run_id="run")
    header = replace(headers.of_step(process.id, "Intake", held), run_id="run")

    trellis.app.send_task("check", task_id=held.task_id, retries=1, headers={headers.NAME: header.to_wire()})

    step = process.refresh().steps["check"]
    assert (step.attempt, step.run_id, step.celery_retries) == (1, None, 1)
