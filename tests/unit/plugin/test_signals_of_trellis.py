"""The signals that a `Trellis` sends about its processes, from the public API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from trellis_celery import EventKind, ProcessType, Step, Trellis, process_step, signals


class Errand(ProcessType):
    go = Step()
    come_back = Step(external=True)


@pytest.fixture
def trellis() -> Trellis:
    app = Celery("errands", broker="memory://", set_as_current=False)
    app.conf.update(trellis_url="memory://", task_always_eager=True)
    trellis = Trellis(app)

    @process_step(Errand.go)
    @app.task(name="errands.go", shared=False)
    def go() -> None: ...

    return trellis


@pytest.fixture
def heard() -> Iterator[list[tuple[EventKind, Any, str]]]:
    """Kind, sender and process of everything that was told."""
    calls: list[tuple[EventKind, Any, str]] = []

    def receiver(sender: Any, process_id: str, event: Any, **_: Any) -> None:
        calls.append((event.kind, sender, process_id))

    for signal in signals.OF_KIND.values():
        signal.connect(receiver)
    yield calls
    for signal in signals.OF_KIND.values():
        signal.disconnect(receiver)


def start(trellis: Trellis) -> Any:
    return trellis.start_process(Errand, tenant_id="t", aggregate_type="Errand", aggregate_id="1")


def test_every_event_of_a_process_is_told_from_its_start_to_its_end(
    trellis: Trellis, heard: list[tuple[EventKind, Any, str]]
) -> None:
    with start(trellis) as process:
        trellis.app.tasks["errands.go"].delay()
    process.complete_step("come_back")

    assert [kind for kind, _, _ in heard] == [event.kind for event in process.history()]
    assert heard[0][0] is EventKind.PROCESS_STARTED
    assert heard[-1][0] is EventKind.PROCESS_COMPLETED
    assert {(sender, process_id) for _, sender, process_id in heard} == {(trellis, process.id)}


def test_a_process_that_was_there_already_is_not_told_to_have_started(
    trellis: Trellis, heard: list[tuple[EventKind, Any, str]]
) -> None:
    start(trellis)
    start(trellis)

    assert [kind for kind, _, _ in heard] == [EventKind.PROCESS_STARTED]


def test_a_receiver_that_raises_stops_neither_the_task_nor_the_process(trellis: Trellis) -> None:
    def broken(**_: Any) -> None:
        raise ValueError("no")

    for signal in signals.OF_KIND.values():
        signal.connect(broken)
    try:
        with start(trellis) as process:
            trellis.app.tasks["errands.go"].delay().get()
        process.complete_step("come_back")
    finally:
        for signal in signals.OF_KIND.values():
            signal.disconnect(broken)

    assert process.refresh().state == "completed"


def test_a_receiver_may_look_at_the_process_it_is_told_about(trellis: Trellis) -> None:
    seen: list[str] = []

    @signals.step_completed.connect
    def look(sender: Trellis, process_id: str, **_: Any) -> None:
        seen.append(sender.get_process(process_id).steps["go"].state)

    with start(trellis):
        trellis.app.tasks["errands.go"].delay()

    assert seen == ["completed"]
    signals.step_completed.disconnect(look)
