from __future__ import annotations

import logging

import pytest

from trellis_celery.domain.events import Event, EventKind
from trellis_celery.monitoring.log import LogSink


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        (EventKind.STEP_GAVE_UP, logging.ERROR),
        (EventKind.STEP_TIMED_OUT, logging.WARNING),
        (EventKind.STEP_REENQUEUED, logging.WARNING),
        (EventKind.STEP_COMPLETED, logging.DEBUG),
    ],
)
def test_what_needs_attention_is_logged_louder_than_what_does_not(
    caplog: pytest.LogCaptureFixture, kind: EventKind, level: int
) -> None:
    caplog.set_level(logging.DEBUG, logger="trellis_celery.events")

    LogSink().emit("3-abc", Event(kind, "check", 2, 1_000))

    assert caplog.record_tuples == [
        ("trellis_celery.events", level, f"{kind} process_id=3-abc step=check attempt=2"),
    ]


@pytest.mark.fault("X9")
def test_a_detail_from_outside_cannot_forge_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="trellis_celery.events")

    LogSink().emit("3-abc", Event(EventKind.STEP_FAILED, "check", 1, 1_000, "x\nERROR all is well"))

    assert "\n" not in caplog.messages[0]
