"""Stand-ins for the world: time that stands still, and ears that remember."""

from __future__ import annotations

from collections.abc import Sequence

from trellis_celery.domain.events import Event, EventKind
from trellis_celery.ports import Sending


class ManualClock:
    """A `Clock` that goes on only when told to."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def advance(self, ms: int) -> None:
        self._now_ms += ms


class RecordingSink:
    """An `EventSink` that keeps what it is told, in order."""

    def __init__(self) -> None:
        #: Process id and event.
        self.events: list[tuple[str, Event]] = []

    def emit(self, process_id: str, event: Event) -> None:
        self.events.append((process_id, event))

    @property
    def kinds(self) -> list[EventKind]:
        return [event.kind for _, event in self.events]


class RecordingRequeuer:
    """A `Requeuer` that keeps what it was to send, in order."""

    def __init__(self) -> None:
        self.sent: list[Sending] = []
        #: What goes wrong with the message of a step, by the step's name.
        self.errors: dict[str, Exception] = {}

    def requeue(self, sendings: Sequence[Sending]) -> list[Exception | None]:
        outcomes = [self.errors.get(sending.step.name) for sending in sendings]
        self.sent.extend(sending for sending, error in zip(sendings, outcomes, strict=True) if error is None)
        return outcomes
