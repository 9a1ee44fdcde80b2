"""The time of the Redis server, without asking it each time."""

from __future__ import annotations

import time


class ServerClock:
    """Server time at the last reply that told it, plus what has passed on this machine since.

    This machine's wall clock plays no part. Assigning one float is atomic, so threads may share a clock.
    """

    def __init__(self) -> None:
        self._server_ms_at_zero: float | None = None

    @property
    def is_set(self) -> bool:
        return self._server_ms_at_zero is not None

    def set(self, server_now_ms: int) -> None:
        self._server_ms_at_zero = server_now_ms - time.monotonic() * 1000

    def now_ms(self) -> int:
        if self._server_ms_at_zero is None:
            raise RuntimeError("the clock was not set yet")
        return int(self._server_ms_at_zero + time.monotonic() * 1000)
