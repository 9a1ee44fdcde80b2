"""What a run asks before its body begins, and before its links and chain go out."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Ignore
from msgspec.structs import replace

from trellis_celery.domain.step import ProcessStep
from trellis_celery.plugin.fence import guard
from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.run import Run, attach
from trellis_celery.services.recorder import Recorder
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing.contract import builders


@pytest.fixture
def app() -> Celery:
    return Celery("runs", broker="memory://", set_as_current=False)


def run_of(store: MemoryStore, header: Header, *, celery_retries: int = 0) -> Run:
    return Run(Recorder(store), header, celery_retries=celery_retries, lease_ms=0, worker=None)


def test_the_retry_of_a_copy_may_not_send_links_beside_the_run_that_holds_the_step() -> None:
    store = MemoryStore()
    process = builders.created(store, "step")
    header = Header(process_id=process.id, process_type=process.process_type, step_name="step", task_id="1", attempt=1)
    holder = run_of(store, replace(header, run_id="holder"))
    holder.start()

    of_copy = run_of(store, replace(header, run_id="retry", sent_by="copy"), celery_retries=1)
    of_holder = run_of(store, replace(header, run_id="again", sent_by="holder"), celery_retries=1)

    with pytest.raises(Ignore, match="not finished: duplicate"):
        of_copy.claim_finish()
    of_holder.claim_finish()
    assert of_holder.is_accepted


CALL = {"process_type": "Order", "step_name": "step", "attempt": 1}


def test_a_body_that_calls_itself_is_over_when_the_outermost_call_is(app: Celery) -> None:
    store = MemoryStore()
    process = builders.created(store, ProcessStep("step", timeout_ms=60_000))
    asked: list[str] = []

    @app.task(shared=False, bind=True)
    def halve(task: Any, size: int) -> int:
        inner = task.run(size // 2) if size > 1 else 0
        asked.append(f"{size}: {builders.loaded_step(store, process).is_finishing}")
        return size + inner

    guard(halve)
    halve.push_request(id="1")
    run = run_of(store, Header(process_id=process.id, task_id="1", **CALL))
    attach(halve.request, run)
    run.start()
    run.saw(replace(builders.loaded_step(store, process), attempt=2))  # so that it asks before it finishes

    assert halve.run(4) == 7

    assert asked == ["1: False", "2: False", "4: False"]
    assert builders.loaded_step(store, process).is_finishing


@pytest.mark.parametrize(("task_id", "not_sent"), [("1", None), ("2", "chain,chord")])
def test_what_a_refused_message_would_have_sent_is_told_unless_another_sends_it(
    app: Celery, caplog: pytest.LogCaptureFixture, task_id: str, not_sent: str | None
) -> None:
    store = MemoryStore()
    process = builders.created(store, "step")
    run_of(store, Header(process_id=process.id, task_id="1", run_id="first", **CALL)).start()

    @app.task(shared=False)
    def task() -> None:
        pytest.fail("its body ran")

    guard(task)
    task.push_request(id=task_id, chain=["next"], callbacks=[], chord={"task": "last"})
    run = run_of(store, Header(process_id=process.id, task_id=task_id, run_id="second", **CALL))
    attach(task.request, run)
    run.start()

    with pytest.raises(Ignore, match="not started: duplicate"):
        task.run()

    (record,) = caplog.records
    assert (record.msg.split()[0], getattr(record, "not_sent", None)) == ("run_refused", not_sent)


def test_another_call_that_started_while_the_store_was_away_sends_its_chain_and_ends_nothing() -> None:
    store = MemoryStore()
    process = builders.created(store, "step")
    of_another = run_of(store, Header(process_id=process.id, task_id="2", args_digest="others", **CALL))
    of_the_step = run_of(store, Header(process_id=process.id, task_id="1", args_digest="args", **CALL))
    of_the_step.start()  # as the other would have, if the store had answered

    of_another.claim_finish()
    of_another.complete()

    step = builders.loaded_step(store, process)
    assert (step.state, step.run_id, step.is_finishing) == ("in_progress", of_the_step.run_id, False)
    assert [event.kind for event in store.history(process.id)] == ["process_started", "step_started"]
