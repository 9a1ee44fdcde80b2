"""Waiting, with an eye on everything that could make it pointless."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

from example_project.demo.children import Children
from example_project.demo.errors import DemoError, Interrupted

PAUSE_S = 0.1


class Interruption:
    """Notes a request to stop instead of raising in the middle of anything, so that no child is ever forgotten."""

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signal = signal.Signals(number)

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self._signal is not None:
            raise Interrupted(f"stopped by {self._signal.name}")


class Watch:
    """Waits for things to become true, for no longer than the whole demo may take."""

    def __init__(self, children: Children, interruption: Interruption, *, limit_s: float) -> None:
        self._children = children
        self._interruption = interruption
        self._limit_s = limit_s
        self._started_at = time.monotonic()
        self.on_tick: Callable[[], None] = lambda: None

    def elapsed_ms(self) -> int:
        return int((time.monotonic() - self._started_at) * 1000)

    def until(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait until it is so. Raises Interrupted, and DemoError if a child ended or the time is up."""
        while True:
            self._interruption.check()
            self._children.require_alive()
            self.on_tick()
            if is_so():
                return
            if self.elapsed_ms() > self._limit_s * 1000:
                outputs = self._children.outputs(lines=15)
                raise DemoError(f"after {self._limit_s:.0f} s still waiting for {what}. The last words:\n\n{outputs}")
            time.sleep(PAUSE_S)

    def pause(self, for_ms: int) -> None:
        """Let some time pass, watching."""
        until_ms = self.elapsed_ms() + for_ms
        self.until("time to pass", lambda: self.elapsed_ms() >= until_ms)
