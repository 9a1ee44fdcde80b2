from __future__ import annotations

import json
import logging
import socket
import time
from functools import partial
from typing import Any

import pytest
from celery import Celery, signals
from celery.events import Event as CeleryEvent

from tests.support import logged
from tests.support.listener import Listener
from tests.support.programs import free_port
from trellis_celery import Event, EventKind
from trellis_celery.monitoring.celery_events import FLUSH_S, CeleryEventSink, celery_event
from trellis_celery.plugin import broker

GAVE_UP = Event(EventKind.STEP_GAVE_UP, "check", 2, 1_000, "gave up", "checker")


def make(broker_url: str = "memory://") -> Celery:
    return Celery("told", broker=broker_url, set_as_current=False)


def sink_of(app: Celery) -> CeleryEventSink:
    return CeleryEventSink(app, partial(broker.connect, app))


def flush() -> None:
    """As at the end of a worker."""
    signals.worker_shutdown.send(sender=None)


def test_a_receiver_of_celery_events_hears_what_happened() -> None:
    app = make()

    with Listener(app) as listener:
        sink_of(app).emit("3-abc", GAVE_UP)
        event = listener.wait_for("3-abc", "trellis-step-gave-up")

    assert {name: event[name] for name in ("step", "attempt", "occurred_at_ms", "detail", "by")} == {
        "step": "check",
        "attempt": 2,
        "occurred_at_ms": 1_000,
        "detail": "gave up",
        "by": "checker",
    }


def test_all_programs_of_a_host_that_are_no_workers_send_under_one_name() -> None:
    app = make()

    with Listener(app) as listener:
        for process_id in ("3-abc", "3-def"):
            sink_of(app).emit(process_id, GAVE_UP)
        names = {listener.wait_for(process_id, "trellis-step-gave-up")["hostname"] for process_id in ("3-abc", "3-def")}

    assert names == {f"trellis@{socket.gethostname()}"}


def test_flower_passes_the_events_over() -> None:
    from flower.events import EventsState

    seen = EventsState()

    for kind in EventKind:
        told = celery_event("3-abc", Event(kind, "check", 1, 1_000, "task-1"))
        seen.event(CeleryEvent(told.type, hostname="trellis@here", clock=1, local_received=1.0, **told.fields))

    assert (dict(seen.workers), dict(seen.tasks)) == ({}, {})
    assert [sample for family in seen.metrics.events.collect() for sample in family.samples] == []


@pytest.mark.parametrize("kind", EventKind)
def test_the_type_follows_from_the_kind_and_is_of_a_group_that_is_nobody_elses(kind: EventKind) -> None:
    group, _, subject = celery_event("3-abc", Event(kind, "check", 1, 1_000)).type.partition("-")

    assert group == "trellis"
    assert subject.replace("-", "_") == kind.value
    assert "_" not in subject


def test_a_detail_of_any_length_and_with_broken_unicode_can_be_sent() -> None:
    event = Event(EventKind.STEP_FAILED, "check", 1, 1_000, "\udc80" + "x" * 10_000, by="\ud800")

    fields = celery_event("3-abc", event).fields

    assert len(fields["detail"]) == 2_000
    assert json.dumps(fields, ensure_ascii=False).encode()


def test_without_a_broker_nobody_waits_and_the_end_is_not_held_up(caplog: pytest.LogCaptureFixture) -> None:
    sink = sink_of(make(f"redis://127.0.0.1:{free_port()}/0"))

    started_s = time.monotonic()
    for _ in range(100):
        sink.emit("3-abc", GAVE_UP)
    emitted_s = time.monotonic()
    flush()

    assert emitted_s - started_s < 0.5
    assert time.monotonic() - emitted_s < FLUSH_S + 1
    assert sink.dropped_count == 100
    assert logged.events(caplog, logging.ERROR) == ["not_sent"]


def test_an_event_that_the_broker_will_not_have_is_dropped() -> None:
    app = make()
    app.conf.update(event_serializer="no-such-serializer")
    sink = sink_of(app)

    sink.emit("3-abc", GAVE_UP)
    flush()

    assert sink.dropped_count == 1


def test_nothing_is_connected_and_no_thread_is_started_before_the_first_event() -> None:
    def connect() -> Any:
        raise AssertionError("connected")

    sink = CeleryEventSink(make(), connect)

    flush()

    assert sink.dropped_count == 0
