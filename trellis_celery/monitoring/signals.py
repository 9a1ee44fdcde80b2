"""The signals of trellis: one for each kind of event, of the class that Celery's own signals have::

    from trellis_celery import signals

    @signals.step_gave_up.connect
    def page_somebody(sender, process_id, event, **_): ...

Receivers run at once, in the process that wrote the event, and get the `Trellis` as `sender`. What they raise is logged
and stops nothing; while they run, the task waits. As in Celery, a receiver that nothing else refers to is forgotten
unless it is connected with ``weak=False``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from celery.utils.dispatch import Signal

from trellis_celery.domain.events import Event, EventKind


class Receiver(Protocol):
    """What can be connected: it must take keyword arguments that it does not know yet."""

    def __call__(self, *, sender: Any, process_id: str, event: Event, **further: Any) -> object: ...


R = TypeVar("R", bound=Receiver)


class EventSignal(Signal):
    """Is sent after an event of its kind was written."""

    if TYPE_CHECKING:  # Celery's own says nothing about its arguments

        @overload  # type: ignore[override]
        def connect(
            self, receiver: R, /, *, sender: object = None, weak: bool = True, dispatch_uid: str | None = None
        ) -> R: ...

        @overload
        def connect(
            self, *, sender: object = None, weak: bool = True, dispatch_uid: str | None = None
        ) -> Callable[[R], R]: ...

        def connect(self, *args: Any, **options: Any) -> Any: ...


step_queued: EventSignal
step_withdrawn: EventSignal
step_started: EventSignal
step_completed: EventSignal
step_failed: EventSignal
step_cancelled: EventSignal
step_retrying: EventSignal
step_handed_over: EventSignal
step_released: EventSignal
step_resent: EventSignal
step_timed_out: EventSignal
step_reenqueued: EventSignal
step_gave_up: EventSignal
step_reopened: EventSignal
incident_closed: EventSignal
run_lost: EventSignal
run_refused: EventSignal
outcome_late: EventSignal
process_started: EventSignal
process_overdue: EventSignal
process_completed: EventSignal
process_failed: EventSignal
process_cancelled: EventSignal

#: The signal of each kind of event.
OF_KIND: Mapping[EventKind, EventSignal] = MappingProxyType({kind: EventSignal(name=kind.value) for kind in EventKind})

globals().update({kind.value: signal for kind, signal in OF_KIND.items()})  # the names are declared above, for typing


class SignalSink:
    """Sends the signal of each event."""

    def __init__(self, sender: object) -> None:
        self._sender = sender

    def emit(self, process_id: str, event: Event) -> None:
        OF_KIND[event.kind].send(sender=self._sender, process_id=process_id, event=event)
