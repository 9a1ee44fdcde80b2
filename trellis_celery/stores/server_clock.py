"""The time of a server, without asking it each time."""

from __future__ import annotations

import time


class ServerClock:
    """Server time as the last reply told it, plus what has passed on this machine since.

    A reply says what time it was on the server somewhen between the call and the reply, so what is known is corrected
    only when it lies outside of these bounds: a slow reply changes nothing, and a server whose clock was set is
    followed. This machine's wall clock plays no part. Assigning one float is atomic, so threads may share a clock.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._server_ms_at_zero: float | None = None
        self._corrected_at_s = 0.0

    @property
    def age_s(self) -> float:
        """Seconds since the last correction."""
        return time.monotonic() - self._corrected_at_s

    def correct(self, server_ms: float, *, called_at_s: float) -> None:
        """A call at `called_at_s` of `time.monotonic` has just been answered with the server's time, epoch ms."""
        latest = server_ms - called_at_s * 1000
        self._corrected_at_s = time.monotonic()
        earliest = server_ms - self._corrected_at_s * 1000
        known = self._server_ms_at_zero
        self._server_ms_at_zero = earliest if known is None else min(max(known, earliest), latest)
        self.is_set = True

    def now_ms(self) -> int:
        """Raises RuntimeError before the first correction."""
        if self._server_ms_at_zero is None:
            raise RuntimeError("nobody has told the server's time yet")
        return int(self._server_ms_at_zero + time.monotonic() * 1000)
