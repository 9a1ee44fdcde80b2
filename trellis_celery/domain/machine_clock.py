"""The time of this machine, for processes that live in memory only: set once, then only ever forward."""

from __future__ import annotations

import time

_EPOCH_AT_ZERO_MS = time.time() * 1000 - time.monotonic() * 1000


def machine_now_ms() -> int:
    """Epoch milliseconds that a change of the wall clock does not move."""
    return int(_EPOCH_AT_ZERO_MS + time.monotonic() * 1000)
