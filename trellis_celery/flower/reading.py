"""Calls to the store beside Flower's event loop: it serves everybody, and must wait for nobody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from trellis_celery import errors

T = TypeVar("T")

#: What a page may take.
READ_LIMIT_S = 10.0
#: What a change may take: cancelling a process writes each of its steps.
WRITE_LIMIT_S = 60.0

_THREADS = 8
#: So many calls may wait for a thread. More would only be answered when nobody waits for them any more.
_MAX_WAITING = 64


class Desk:
    """Runs calls that may wait for a store, so many at a time, and no longer than a limit."""

    def __init__(self, *, threads: int = _THREADS, max_waiting: int = _MAX_WAITING) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="trellis")
        self._places = threading.Semaphore(threads + max_waiting)

    async def run(self, call: Callable[[], T], *, limit_s: float = READ_LIMIT_S) -> T:
        """What the call returns or raises. Raises StoreUnavailable when it takes too long, or too many wait."""
        if not self._places.acquire(blocking=False):
            raise errors.StoreUnavailable("the store is slow, and too many requests wait for it already")
        future = self._pool.submit(call)
        future.add_done_callback(lambda _: self._places.release())
        try:
            # Who waits too long takes the call out of the line; one that has begun ends by its own limits.
            return await asyncio.wait_for(asyncio.wrap_future(future), limit_s)
        except TimeoutError:
            raise errors.StoreUnavailable(f"the store has not answered within {limit_s:g} s") from None


class Recent(Generic[T]):
    """An answer that many ask for and that may be some seconds old: asked of the store once at a time."""

    def __init__(self, desk: Desk, *, good_for_s: float) -> None:
        self._desk = desk
        self._good_for_s = good_for_s
        self._read_at = float("-inf")
        self._value: T | None = None
        self._reading: asyncio.Task[T] | None = None

    async def get(self, read: Callable[[], T], *, patience_s: float) -> T | None:
        """The newest answer to be had within `patience_s`; None if there never was one. Raises what `read` raises."""
        if self._value is not None and time.monotonic() - self._read_at < self._good_for_s:
            return self._value
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(read))
            self._reading.add_done_callback(_take_note)
        try:
            return await asyncio.wait_for(asyncio.shield(self._reading), patience_s)
        except TimeoutError:
            return self._value

    async def _read(self, read: Callable[[], T]) -> T:
        try:
            value = await self._desk.run(read)
            self._value, self._read_at = value, time.monotonic()
            return value
        finally:
            self._reading = None


def _take_note(task: asyncio.Task[T]) -> None:
    """Of an error that came when nobody waited any more: the next who asks gets one of his own."""
    if not task.cancelled():
        task.exception()
