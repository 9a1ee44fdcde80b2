"""The time of the Redis server, without asking it each time."""

from __future__ import annotations

import time

#: A difference that no slow reply explains.
_SET_BACK_MS = 100


class ServerClock:
    """Server time at the last reply that told it, plus what has passed on this machine since.

    A reply that was long on its way makes the server look earlier than it is, so an earlier time is believed only when
    it is much earlier: then somebody has set the server's clock. This machine's wall clock plays no part. Assigning one
    float is atomic, so threads may share a clock.
    """

    def __init__(self) -> None:
        self._server_ms_at_zero: float | None = None

    @property
    def is_set(self) -> bool:
        return self._server_ms_at_zero is not None

    def set(self, server_now_ms: int) -> None:
        at_zero = server_now_ms - time.monotonic() * 1000
        known = self._server_ms_at_zero
        if known is None or at_zero > known or at_zero < known - _SET_BACK_MS:
            self._server_ms_at_zero = at_zero

    def now_ms(self) -> int:
        if self._server_ms_at_zero is None:
            raise RuntimeError("the clock was not set yet")
        return int(self._server_ms_at_zero + time.monotonic() * 1000)
