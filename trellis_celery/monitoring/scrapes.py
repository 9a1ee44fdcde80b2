"""Readings for whoever asks, and however many ask at once.

A scrape has to be answered whether the store is down, slow, or hangs for longer than it promised. So a reading is made
in a thread of its own, one at a time; who asks waits for it, but not for ever.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from trellis_celery.monitoring.readings import Reading

#: So long a reading is as good as a new one.
GOOD_FOR_S = 1.0
#: So old it may be, where a new one takes its time.
BEST_BEFORE_S = 30.0

NO_ANSWER = Reading()


class Scrape(NamedTuple):
    """What one scrape gets."""

    reading: Reading
    #: How long ago the reading was finished.
    age_s: float
    #: How often each part could not be read since this program started.
    errors: Mapping[str, int]


class Scrapes:
    """Shares readings among scrapes.

    read
        Makes a reading; it must not raise.
    patience_s
        The most that a scrape waits. After that it gets the reading before, if that is not too old, or else none.
    """

    def __init__(
        self,
        read: Callable[[], Reading],
        *,
        patience_s: float,
        good_for_s: float = GOOD_FOR_S,
        best_before_s: float = BEST_BEFORE_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._patience_s = patience_s
        self._good_for_s = good_for_s
        self._best_before_s = best_before_s
        self._clock_s = clock_s
        self._changed = threading.Condition()
        self._reader: threading.Thread | None = None
        self._reading = NO_ANSWER
        self._finished_at_s = float("-inf")
        self._errors: Counter[str] = Counter()

    def refresh(self) -> None:
        """Wait, as long as there is patience, until there is a reading that is as good as a new one."""
        with self._changed:
            if self._age_s() <= self._good_for_s:
                return
            asked_at_s = self._clock_s()
            # After a fork the thread is in another program, and here it is not alive.
            if self._reader is None or not self._reader.is_alive():
                self._reader = threading.Thread(target=self._make, name="trellis-metrics", daemon=True)
                self._reader.start()
            self._changed.wait_for(lambda: self._finished_at_s >= asked_at_s, self._patience_s)

    def latest(self) -> Scrape:
        """The newest reading there is, without waiting; one that is too old counts as no answer."""
        with self._changed:
            age_s = self._age_s()
            if age_s > self._best_before_s:
                return Scrape(NO_ANSWER, 0.0, dict(self._errors))
            return Scrape(self._reading, age_s, dict(self._errors))

    def _age_s(self) -> float:
        return self._clock_s() - self._finished_at_s

    def _make(self) -> None:
        reading = self._read()
        with self._changed:
            self._reading = reading
            self._finished_at_s = self._clock_s()
            self._errors.update(reading.failed)
            self._reader = None
            self._changed.notify_all()
