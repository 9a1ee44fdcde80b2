"""With a key: what goes out is signed for its message, whoever sends it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from celery import Celery
from msgspec.structs import replace

from tests.support.waiting import eventually
from trellis_celery import ProcessHandle, ProcessType, Step, Trellis, process_step
from trellis_celery.domain import runs
from trellis_celery.plugin import headers
from trellis_celery.plugin.signing import NO_KEY, Signer
from trellis_celery.ports import StepKey

KEY = "a key that nobody guesses"
SIGNER = Signer([KEY])


class Intake(ProcessType):
    check = Step(timeout_ms=60_000, queue_timeout_ms=1, retries_permitted=1)


def new_trellis(**settings: Any) -> Trellis:
    app = Celery("signed", broker="memory://", set_as_current=False)
    app.conf.update(trellis_url="memory://", task_default_queue="signed", **settings)

    @process_step(Intake.check)
    @app.task(shared=False, name="check")
    def check() -> None: ...

    return Trellis(app)


@pytest.fixture
def trellis() -> Trellis:
    return new_trellis(trellis_signing_key=KEY)


def sent(trellis: Trellis) -> ProcessHandle:
    process = trellis.start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="1")
    with process:
        trellis.app.tasks["check"].delay()
    return process


def messages(trellis: Trellis) -> list[dict[str, Any]]:
    """The headers of what waits in the queue, which is empty afterwards."""
    with trellis.app.connection_for_read() as connection:
        queue = trellis.app.amqp.queues["signed"](connection.default_channel)
        found = []
        while (message := queue.get(no_ack=True)) is not None:
            found.append(message.headers)
        return found


def test_a_task_that_is_sent_in_a_process_is_signed(trellis: Trellis) -> None:
    sent(trellis)

    (message,) = messages(trellis)
    header = headers.trusted(message, SIGNER)
    assert header is not None
    assert header.is_for(message["id"])
    assert headers.trusted(message, Signer(["another key, as long as it"])) is None


def test_what_is_sent_again_is_signed_for_its_message_though_what_was_kept_was_not() -> None:
    before = new_trellis()
    process = sent(before)
    (unsigned,) = messages(before)
    assert headers.trusted(unsigned, SIGNER) is None
    after = Trellis(Celery("after", broker="memory://", set_as_current=False), store=before.store)
    after.app.conf.update(trellis_signing_key=KEY, task_default_queue="signed")

    eventually(lambda: after.timeouts.check_for_timed_out_steps().resent, what="sent again")

    (again,) = messages(after)
    assert again["id"] == unsigned["id"]
    header = headers.trusted(again, SIGNER)
    assert header is not None
    assert (header.process_id, header.is_for(again["id"])) == (process.id, True)


@pytest.mark.parametrize(("retries", "is_believed"), [(1, True), (2, False), (0, False)])
def test_a_worker_sends_the_task_of_a_child_that_is_gone_with_one_retry_more(
    trellis: Trellis, retries: int, is_believed: bool
) -> None:
    process = sent(trellis)
    (message,) = messages(trellis)
    rule = partial(runs.start, run_id="run", attempt=1, celery_retries=0)
    trellis.recorder.apply(StepKey(process.id, "check"), rule)
    headers.name_run(message, task_id=message["id"], run_id="run", signer=SIGNER)

    trellis.app.send_task(
        "check", task_id=message["id"], retries=retries, headers={headers.NAME: message[headers.NAME]}
    )

    (again,) = messages(trellis)
    assert (again[headers.NAME] != message[headers.NAME]) is is_believed, "signed anew"
    assert (process.refresh().steps["check"].run_id is None) is is_believed


def test_an_unsigned_header_that_somebody_gives_to_a_task_is_sent_as_it_is(trellis: Trellis) -> None:
    process = sent(trellis)
    (message,) = messages(trellis)
    held = process.refresh().steps["check"]
    forged = replace(headers.of_step(process.id, "Intake", held), run_id="run")
    wire = {"id": message["id"], "task": "check", "retries": 0}
    headers.write(forged, wire, NO_KEY)

    trellis.app.send_task("check", task_id=message["id"], retries=1, headers={headers.NAME: wire[headers.NAME]})

    (again,) = messages(trellis)
    assert headers.trusted(again, SIGNER) is None
    assert process.refresh().steps["check"] == held
