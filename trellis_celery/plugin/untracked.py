"""What tracking could not do, counted in each process until a store can be told.

An exporter asks the store alone; so what workers, web servers and beats had to leave undone is added up there, after
the next write that succeeds. A process that ends before it takes its counts with it.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from threading import Lock

from trellis_celery.domain.events import Event
from trellis_celery.logs import EventLogger
from trellis_celery.ports import ProcessStore, UntrackedCounter

logger = EventLogger(__name__)

#: After a failure to tell the store it is not tried again for so long, seconds.
RETRY_S = 10.0


class Untracked(Mapping[str, int]):
    """How often something went on untracked since this process started, by what it was about.

    It is an `EventSink`: an event tells that the store can be written again.
    """

    def __init__(self, store: Callable[[], ProcessStore], *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock_s = clock_s
        self._counts: Counter[str] = Counter()
        self._unreported: Counter[str] = Counter()
        self._lock = Lock()
        self._pid = os.getpid()
        self._not_before_s = float("-inf")

    def __getitem__(self, what: str) -> int:
        return self._counts[what]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def note(self, what: str) -> None:
        self._leave_parent()
        with self._lock:
            self._counts[what] += 1
            self._unreported[what] += 1

    def emit(self, process_id: str, event: Event) -> None:
        if self._unreported:
            self.report()

    def report(self) -> None:
        """Tell the store what it does not know yet; call it when the store has just answered. Never raises."""
        self._leave_parent()
        if not self._unreported or self._clock_s() < self._not_before_s:
            return
        with self._lock:
            counts, self._unreported = self._unreported, Counter()
        try:
            store = self._store()
            if isinstance(store, UntrackedCounter):
                store.add_untracked(counts)
        except Exception as error:  # noqa: BLE001 - this follows a write that succeeded, and must not undo it
            self._not_before_s = self._clock_s() + RETRY_S
            with self._lock:
                self._unreported.update(counts)
            logger.warning("untracked_not_reported", extra={"counts": dict(counts), "error": str(error)})

    def _leave_parent(self) -> None:
        """What was counted before this process was forked is its parent's to report, and so is a lock that it holds."""
        if self._pid != os.getpid():
            self._pid, self._lock, self._unreported = os.getpid(), Lock(), Counter()
