"""What monitoring reads of a store, part by part: a part that cannot be read takes none of the others with it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct

from trellis_celery import errors
from trellis_celery.domain.queries import Stats
from trellis_celery.logs import EventLogger
from trellis_celery.ports import Outbox, ProcessStore

logger = EventLogger(__name__)

T = TypeVar("T")

#: The parts, what is cheap to read first.
PARTS = ("check", "outbox", "archive", "stats")


class Backlog(Struct, frozen=True):
    """What waits to be told elsewhere."""

    count: int
    #: How long the first of it has been waiting; 0 if there is none.
    age_ms: int


class Reading(Struct, frozen=True, kw_only=True):
    """What the store said. A part is None if the store has no such thing, or could not say."""

    is_up: bool = False
    #: Infinite if there never was a check.
    last_check_age_ms: float | None = None
    outbox: Backlog | None = None
    archive: Backlog | None = None
    stats: Stats | None = None
    #: The parts that were asked for in vain.
    failed: tuple[str, ...] = ()
    duration_s: float = 0.0


class StoreReader:
    """Reads everything of a store.

    open_store
        The store; it may raise.
    has_archive
        Whether finished processes wait for an archive; it may raise.
    """

    def __init__(self, open_store: Callable[[], ProcessStore], *, has_archive: Callable[[], bool]) -> None:
        self._open_store = open_store
        self._has_archive = has_archive
        #: The parts that failed the last time: a failure that goes on is logged once.
        self._failing: frozenset[str] = frozenset()

    def read(self) -> Reading:
        """Never raises. A store that is away is asked once, and not once for each part."""
        began_at_s = time.monotonic()
        attempt = _Attempt(self._failing)
        age_ms = attempt.read("check", lambda: _last_check_age_ms(self._open_store()))
        reading = Reading(
            is_up=age_ms is not None,
            last_check_age_ms=age_ms,
            outbox=attempt.read("outbox", lambda: _outbox(self._open_store())),
            archive=attempt.read("archive", lambda: _archive(self._open_store()) if self._has_archive() else None),
            stats=attempt.read("stats", lambda: self._open_store().stats()),
            failed=tuple(attempt.failed),
            duration_s=time.monotonic() - began_at_s,
        )
        self._failing = frozenset(attempt.failed)
        return reading


class _Attempt:
    """One reading under way."""

    def __init__(self, failing: frozenset[str]) -> None:
        self.failed: list[str] = []
        self._is_over = False
        self._failing = failing

    def read(self, part: str, read: Callable[[], T]) -> T | None:
        """None if it cannot be read, or if the store does not answer any more."""
        if self._is_over:
            return None
        try:
            return read()
        except Exception as error:  # noqa: BLE001 - a store may be of a team's own making, and what it raises
            # Without the check there is no telling whether the store is up, whatever else it might say.
            self._is_over = part == "check" or isinstance(error, errors.StoreUnavailable)
            self.failed.append(part)
            self._log(part, error)
            return None

    def _log(self, part: str, error: Exception) -> None:
        if part not in self._failing:
            is_ours = isinstance(error, errors.TrellisError)
            logger.error("metrics_not_read", extra={"part": part, "error": str(error)}, exc_info=not is_ours)


def _last_check_age_ms(store: ProcessStore) -> float:
    last = store.last_check()
    return max(store.now_ms() - last.at_ms, 0) if last.at_ms else math.inf


def _outbox(store: ProcessStore) -> Backlog | None:
    if not isinstance(store, Outbox):
        return None
    count, since_ms = store.unrelayed()
    return _backlog(store, count, since_ms)


def _archive(store: ProcessStore) -> Backlog:
    count = store.count_finished(is_archived=False)
    first = store.finished(is_archived=False, limit=1)
    return _backlog(store, count, first[0].since_ms if first else None)


def _backlog(store: ProcessStore, count: int, since_ms: int | None) -> Backlog:
    """What a relay has claimed waits from a later time on, so the age may be none."""
    return Backlog(count, 0 if since_ms is None else max(store.now_ms() - since_ms, 0))
