"""Hear the Celery events of an app."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

from tests.support.waiting import eventually


class Listener:
    """`app.events.Receiver` in a thread, as any monitoring program has it. Use as a context manager."""

    def __init__(self, app: Any) -> None:
        #: All events there are, in the order in which they came.
        self.heard: list[dict[str, Any]] = []
        self._app = app
        self._is_listening = threading.Event()
        self._receiver: Any = None
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def of(self, process_id: str) -> list[dict[str, Any]]:
        """Those of trellis about this process."""
        return [event for event in self.heard if event.get("process_id") == process_id]

    def types_of(self, process_id: str) -> list[str]:
        return [event["type"] for event in self.of(process_id)]

    def wait_for(self, process_id: str, event_type: str, *, within_s: float = 30) -> dict[str, Any]:
        """The last event of this type about the process, once there is one."""
        eventually(
            lambda: event_type in self.types_of(process_id), within_s=within_s, what=f"{event_type} of {process_id}"
        )
        return [event for event in self.of(process_id) if event["type"] == event_type][-1]

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_listening.wait(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._receiver.should_stop = True
        self._thread.join(10)

    def _run(self) -> None:
        with self._app.connection_for_read() as connection:
            self._receiver = self._app.events.Receiver(connection, handlers={"*": self.heard.append})
            self._receiver.on_consume_ready = lambda *_, **__: self._is_listening.set()
            self._receiver.capture(limit=None, timeout=None, wakeup=False)
