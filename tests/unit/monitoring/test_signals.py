from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from celery.utils.dispatch import Signal

from trellis_celery import Event, EventKind, signals
from trellis_celery.monitoring.signals import EventSignal, SignalSink

GAVE_UP = Event(EventKind.STEP_GAVE_UP, "check", 2, 1_000, "gave up")


@pytest.fixture
def received() -> Iterator[list[dict[str, Any]]]:
    """What a receiver of `step_gave_up` got."""
    calls: list[dict[str, Any]] = []

    def receiver(**named: Any) -> None:
        calls.append(named)

    signals.step_gave_up.connect(receiver)
    yield calls
    signals.step_gave_up.disconnect(receiver)


def test_there_is_one_signal_for_each_kind_of_event_and_its_name_is_declared_for_type_checkers() -> None:
    declared = {name for name, kind in vars(signals)["__annotations__"].items() if kind == "EventSignal"}

    assert declared == {kind.value for kind in EventKind}
    assert all(getattr(signals, kind.value) is signals.OF_KIND[kind] for kind in EventKind)
    assert len(set(map(id, signals.OF_KIND.values()))) == len(EventKind)
    assert all(isinstance(signal, Signal) for signal in signals.OF_KIND.values())


def test_a_receiver_gets_the_sender_the_process_and_the_event(received: list[dict[str, Any]]) -> None:
    trellis = object()

    SignalSink(trellis).emit("3-abc", GAVE_UP)

    assert received == [
        {"signal": signals.step_gave_up, "sender": trellis, "process_id": "3-abc", "event": GAVE_UP},
    ]


def test_a_receiver_gets_events_of_its_own_kind_only(received: list[dict[str, Any]]) -> None:
    for kind in EventKind:
        SignalSink(object()).emit("3-abc", Event(kind, "check", 1, 1_000))

    assert [call["event"].kind for call in received] == [EventKind.STEP_GAVE_UP]


def test_a_receiver_may_ask_for_one_sender_only() -> None:
    ours, other = object(), object()
    heard: list[object] = []

    def receiver(sender: object, **_: Any) -> None:
        heard.append(sender)

    signals.step_gave_up.connect(sender=ours)(receiver)

    SignalSink(other).emit("3-abc", GAVE_UP)
    SignalSink(ours).emit("3-abc", GAVE_UP)

    assert heard == [ours]
    signals.step_gave_up.disconnect(receiver, sender=ours)


def test_what_a_receiver_raises_is_logged_and_the_next_one_is_told(
    received: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: Any) -> None:
        raise ValueError("no such pager")

    signal: EventSignal = signals.step_gave_up
    signal.connect(broken)
    calls: list[str] = []

    def after(process_id: str, **_: Any) -> None:
        calls.append(process_id)

    signal.connect(after)

    SignalSink(object()).emit("3-abc", GAVE_UP)

    assert len(received) == len(calls) == 1
    assert "no such pager" in caplog.text
    signal.disconnect(broken)
    signal.disconnect(after)


def test_a_receiver_that_could_not_take_what_a_later_release_sends_is_refused() -> None:
    def rigid(sender: object, process_id: str, event: Event) -> None: ...

    with pytest.raises(ValueError, match="keyword arguments"):
        signals.step_gave_up.connect(rigid)  # type: ignore[call-overload]


def test_a_receiver_that_nobody_keeps_is_forgotten_unless_it_is_connected_for_good() -> None:
    def connect(**options: Any) -> None:
        def receiver(**_: Any) -> None: ...

        signals.run_lost.connect(**options)(receiver)

    connect()
    gc.collect()
    assert not signals.run_lost.has_listeners()

    connect(weak=False, dispatch_uid="for good")
    gc.collect()
    assert signals.run_lost.has_listeners()
    signals.run_lost.disconnect(dispatch_uid="for good")
