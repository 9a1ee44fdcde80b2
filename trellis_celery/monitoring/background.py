"""A thread that sends what others must not wait for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from trellis_celery.logs import EventLogger

logger = EventLogger(__name__)

T = TypeVar("T")

#: So many things wait at the most.
CAPACITY = 1_000
#: What cannot be sent now is tried again after this time, s.
PAUSE_S = 1.0


class TryLater(Exception):
    """Nothing at all can be sent now: what was to be sent is kept."""


class BackgroundSender(Generic[T]):
    """Sends one thing after the other, in the order in which they came, in a thread of its own.

    `send` may take its time. It raises `TryLater` if it is worth trying again; what it raises something else for is
    dropped. When too much waits, what has waited longest is dropped: of news the latest count. Drops are counted, and
    logged once until things go well again.

    Not for use across a fork: a child has none of its parent's threads, and perhaps one of its locks.
    """

    def __init__(
        self, send: Callable[[T], None], *, name: str, capacity: int = CAPACITY, pause_s: float = PAUSE_S
    ) -> None:
        #: How many things were not sent.
        self.dropped_count = 0
        self._send = send
        self._name = name
        self._capacity = capacity
        self._pause_s = pause_s
        self._waiting: deque[T] = deque()
        self._is_sending = False
        self._has_started = False
        self._is_failing = False
        self._ends_at_s: float | None = None
        # Its lock may be taken again by a signal handler that interrupts `put` and has something to send, too.
        self._changed = threading.Condition()

    def put(self, thing: T) -> None:
        """Have it sent soon. Does not raise and waits for nobody."""
        with self._changed:
            self._waiting.append(thing)
            if len(self._waiting) > self._capacity:
                self._waiting.popleft()
                self._drop(1, "too much waits")
            self._start()
            self._changed.notify_all()

    def flush(self, *, within_s: float) -> None:
        """The process ends: wait until all is sent, but no longer than this, however often it is called.

        From now on there is no trying again later.
        """
        with self._changed:
            if self._ends_at_s is None:
                self._ends_at_s = time.monotonic() + within_s
            self._changed.notify_all()
            has_ended = self._changed.wait_for(self._is_idle, max(0.0, self._ends_at_s - time.monotonic()))
            if not has_ended:
                self._drop(len(self._waiting) + self._is_sending, "the process ends")
                self._waiting.clear()

    def _is_idle(self) -> bool:
        return not self._waiting and not self._is_sending

    def _start(self) -> None:
        if self._has_started:
            return
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
            self._has_started = True
        except RuntimeError as error:  # the interpreter ends, or there are too many threads
            self._drop(len(self._waiting), str(error))
            self._waiting.clear()

    def _run(self) -> None:
        while True:
            thing = self._next()
            try:
                self._send(thing)
            except TryLater as error:
                self._keep(thing, str(error))
            except Exception as error:
                logger.debug("not_sent", extra={"sender": self._name}, exc_info=True)
                self._end_sending(f"{type(error).__name__}: {error}")
            else:
                self._end_sending()

    def _next(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            self._is_sending = True
            return self._waiting.popleft()

    def _end_sending(self, error: str = "") -> None:
        with self._changed:
            self._is_sending = False
            if error:
                self._drop(1, error)
            elif self._is_failing and not self._waiting:
                self._is_failing = False
                logger.info("sending_again", extra={"sender": self._name, "dropped": self.dropped_count})
            self._changed.notify_all()

    def _keep(self, thing: T, error: str) -> None:
        with self._changed:
            self._is_sending = False
            self._waiting.appendleft(thing)
            self._tell(error)
            if self._ends_at_s is not None:
                self._drop(len(self._waiting), error)
                self._waiting.clear()
            elif len(self._waiting) > self._capacity:
                self._waiting.popleft()
                self._drop(1, error)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ends_at_s is not None, self._pause_s)

    def _drop(self, count: int, error: str) -> None:
        self.dropped_count += count
        self._tell(error)

    def _tell(self, error: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            logger.error("not_sent", extra={"sender": self._name, "error": error})
