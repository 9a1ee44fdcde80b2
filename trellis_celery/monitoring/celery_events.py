"""Events as Celery events: `trellis-step-completed` and so on, for whoever listens with `app.events.Receiver`.

They are of a group of their own. Programs that follow tasks and workers, such as Flower, pass it over; events of the
group `task` would move tasks to workers that do not exist.
"""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from celery import Celery, signals
from celery.utils.nodenames import nodename

from trellis_celery.domain.events import Event
from trellis_celery.logs import EventLogger
from trellis_celery.monitoring.background import BackgroundSender, TryLater

logger = EventLogger(__name__)

#: A process that ends waits so long for its last events to be sent, s.
FLUSH_S = 2.0
#: The most of a detail that is sent, in characters.
MAX_DETAIL = 2_000


class CeleryEvent(NamedTuple):
    type: str
    fields: dict[str, Any]


def celery_event(process_id: str, event: Event) -> CeleryEvent:
    """What is sent for an event. The step is empty for one of the process itself."""
    return CeleryEvent(
        f"trellis-{event.kind.value.replace('_', '-')}",
        {
            "process_id": process_id,
            "step": event.step_name,
            "attempt": event.attempt,
            "occurred_at_ms": event.occurred_at_ms,
            "detail": _clean(event.detail),
            "by": _clean(event.by),
        },
    )


class CeleryEventSink:
    """Sends events from a thread: a broker that hangs or is away delays nobody.

    `connect`: opens a connection on which no call waits for ever. `hostname`: the worker that this process belongs to,
    by which the events are sent. Programs such as Flower count by it, so all that is no worker has one name on a host.
    """

    def __init__(self, app: Celery, connect: Callable[[], Any], *, hostname: str | None = None) -> None:
        self._app = app
        self._connect = connect
        self._hostname = hostname or nodename("trellis", socket.gethostname())
        #: One of each process: a forked child begins anew.
        self._senders: dict[int, BackgroundSender[CeleryEvent]] = {}
        for signal in (signals.worker_process_shutdown, signals.worker_shutdown):
            # To Celery before 5.7 the same method of another sink is connected already.
            signal.connect(self._flush, weak=False, dispatch_uid=f"trellis.{id(self)}.flush")
        atexit.register(self._flush)

    @property
    def dropped_count(self) -> int:
        """How many events of this process were not sent."""
        sender = self._senders.get(os.getpid())
        return 0 if sender is None else sender.dropped_count

    def emit(self, process_id: str, event: Event) -> None:
        self._sender().put(celery_event(process_id, event))

    def _sender(self) -> BackgroundSender[CeleryEvent]:
        sender = self._senders.get(os.getpid())
        if sender is None:  # of two threads that get here at once, one's is kept
            outlet = _Outlet(self._app, self._connect, self._hostname)
            new = BackgroundSender(outlet.send, name="trellis-celery-events")
            sender = self._senders.setdefault(os.getpid(), new)
        return sender

    def _flush(self, **_: Any) -> None:
        sender = self._senders.get(os.getpid())
        if sender is not None:
            sender.flush(within_s=FLUSH_S)


class _Outlet:
    """A connection with Celery's dispatcher on it, made when first needed, and again after an error."""

    def __init__(self, app: Celery, connect: Callable[[], Any], hostname: str) -> None:
        self._app = app
        self._connect = connect
        self._hostname = hostname
        self._connection: Any = None
        self._dispatcher: Any = None

    def send(self, event: CeleryEvent) -> None:
        """Raises TryLater if there is no connection, and what the broker has against this event."""
        if self._dispatcher is not None:
            try:
                self._dispatcher.send(event.type, **event.fields)
            except Exception:  # whatever it is: the connection may have been lost since it was used last
                logger.debug("connection_lost", exc_info=True)
                self._close()
            else:
                return
        self._open()
        try:
            self._dispatcher.send(event.type, **event.fields)
        except Exception:
            self._close()
            raise

    def _open(self) -> None:
        try:
            self._connection = self._connect()
            self._dispatcher = self._app.events.Dispatcher(
                hostname=self._hostname, channel=self._connection.default_channel, buffer_while_offline=False
            )
        except Exception as error:
            self._close()
            raise TryLater(f"{type(error).__name__}: {error}") from error

    def _close(self) -> None:
        connection, self._connection, self._dispatcher = self._connection, None, None
        if connection is not None:
            with suppress(Exception):
                connection.release()


def _clean(text: str) -> str:
    """An error's text may be of any length and have broken Unicode, which not every serializer takes."""
    return text[:MAX_DETAIL].encode("utf-8", "replace").decode()
