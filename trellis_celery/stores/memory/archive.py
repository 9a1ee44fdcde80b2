"""The archive in memory: the plainest form of all that an archive promises, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from trellis_celery import errors
from trellis_celery.domain.events import Event
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Position, ProcessFilter, ProcessSummary
from trellis_celery.ports import EVERYTHING, Chronicle
from trellis_celery.stores.memory.picture import picture_of


class MemoryArchive:
    """A `HistoryArchive` in memory."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._chronicles: dict[str, Chronicle] = {}

    def write(self, chronicles: Sequence[Chronicle]) -> None:
        with self._lock:
            for chronicle in chronicles:
                known = self._chronicles.get(chronicle.process.id)
                if known is None or known.finished <= chronicle.finished:
                    process, events = picture_of(chronicle.process), tuple(chronicle.events)
                    self._chronicles[process.id] = Chronicle(process, events, chronicle.finished)

    def load(self, process_id: str) -> Process:
        with self._lock:
            if (chronicle := self._chronicles.get(process_id)) is None:
                raise errors.ProcessNotFound(process_id=process_id)
            return picture_of(chronicle.process)

    def history(self, process_id: str) -> list[Event]:
        with self._lock:
            chronicle = self._chronicles.get(process_id)
            return [] if chronicle is None else list(chronicle.events)

    def list_processes(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[ProcessSummary]:
        with self._lock:
            summaries = [ProcessSummary.of(chronicle.process) for chronicle in self._chronicles.values()]
        behind = (each for each in summaries if after is None or each.position < after)
        return sorted(filter(only.matches, behind), key=lambda each: each.position, reverse=True)[:limit]
