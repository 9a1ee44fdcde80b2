"""Wait for something with a limit, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(probe: Callable[[], T], *, within_s: float = 20, every_s: float = 0.05, what: str = "") -> T:
    """The first truthy value of `probe`; AssertionError with its last one if there is none in time."""
    end = time.monotonic() + within_s
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not {what or 'so'} within {within_s} s; last: {value!r}")
        time.sleep(every_s)


def stays(probe: Callable[[], object], *, for_s: float, every_s: float = 0.05) -> bool:
    """Whether `probe` is true the whole time."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        if not probe():
            return False
        time.sleep(every_s)
    return True
