"""What others put into our hands: pickles that are never opened, and sizes that have an end."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from celery import Celery

from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessFilter, ProcessType, Step, Trellis, errors, process_step
from trellis_celery.domain.process import MAX_STEPS
from trellis_celery.domain.step import MAX_DURATION_MS, MAX_RETRIES, ProcessStep
from trellis_celery.plugin import message
from trellis_celery.ports import StepKey

exploded: list[str] = []


def explode() -> None:
    exploded.append("boom")


class Bomb:
    """Tells when somebody unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return explode, ()


class Parcel(ProcessType):
    open = Step(timeout_ms=1_000, queue_timeout_ms=1, retries_permitted=1)


@pytest.fixture
def trellis() -> Trellis:
    app = Celery("pickles", broker="memory://", set_as_current=False)
    app.conf.update(
        trellis_url="memory://", trellis_show_args=True, task_serializer="pickle", task_default_queue="pickles"
    )

    @process_step(Parcel.open)
    @app.task(shared=False, name="open")
    def open_(bomb: Bomb) -> None: ...

    return Trellis(app)


def bodies(trellis: Trellis) -> list[bytes]:
    """What waits in the queue, as bytes; it is empty afterwards."""
    with trellis.app.connection_for_read() as connection:
        queue = trellis.app.amqp.queues["pickles"](connection.default_channel)
        found: list[Any] = []
        while (waiting := queue.get(no_ack=True)) is not None:
            found.append(waiting.body)
        return found


@pytest.mark.fault("X7")
def test_x7_a_pickled_message_is_kept_and_sent_again_and_never_opened(trellis: Trellis) -> None:
    process = trellis.start_process(Parcel, tenant_id="t", aggregate_type="Parcel", aggregate_id="1")
    with process:
        trellis.app.tasks["open"].delay(Bomb())
    (sent,) = bodies(trellis)

    eventually(
        lambda: (
            trellis.timeouts.check_for_timed_out_steps()
            and EventKind.STEP_RESENT in {event.kind for event in process.history()}
        ),
        what="sent again",
    )

    (again,) = bodies(trellis)
    assert exploded == []
    assert again == sent
    (stored,) = trellis.store.load_messages([StepKey(process.id, "open")])
    assert stored is not None
    pickle.loads(message.load(stored).body)
    assert exploded == ["boom"], "it would have told"


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = {"a": [value]}
    return value


@pytest.mark.fault("X10")
def test_x10_what_is_too_deep_or_too_much_is_refused_where_it_enters_and_nothing_is_stored(trellis: Trellis) -> None:
    key = {"tenant_id": "t", "process_type": "Parcel", "aggregate_type": "Parcel", "aggregate_id": "1"}
    service = trellis.processes

    for steps, metadata in (
        ([ProcessStep("step")], {"deep": nested(50_000)}),
        ([ProcessStep(f"step {number}") for number in range(MAX_STEPS + 1)], None),
    ):
        with pytest.raises(errors.DefinitionError):
            service.start_process(**key, steps=steps, metadata=metadata)  # type: ignore[arg-type]

    assert service.list_processes(ProcessFilter(tenant_id="t")) == []


@pytest.mark.fault("X10")
@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("retries_permitted", MAX_RETRIES),
        ("timeout_ms", MAX_DURATION_MS),
        ("queue_timeout_ms", MAX_DURATION_MS),
        ("backoff_ms", MAX_DURATION_MS),
    ],
)
def test_x10_numbers_of_a_step_have_a_limit_that_the_error_tells(field: str, most: int) -> None:
    assert getattr(ProcessStep("step", **{field: most}), field) == most  # type: ignore[arg-type]
    for more in (most + 1, 10**9 * most, 10**400):
        with pytest.raises(errors.DefinitionError, match=field):
            ProcessStep("step", **{field: more})  # type: ignore[arg-type]
