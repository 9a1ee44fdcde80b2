"""What was seen last, so that the next write need not ask for it."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """Values by process id; beyond `capacity` those go that were not used for longest. Threads may share it."""

    def __init__(self, *, capacity: int) -> None:
        self._capacity = capacity
        self._weight = 0
        self._lock = Lock()
        self._entries: OrderedDict[str, tuple[V, int]] = OrderedDict()

    def get(self, process_id: str) -> V | None:
        with self._lock:
            if (entry := self._entries.get(process_id)) is None:
                return None
            self._entries.move_to_end(process_id)
            return entry[0]

    def put(self, process_id: str, value: V, *, weight: int = 1) -> None:
        with self._lock:
            self._remove(process_id)
            self._entries[process_id] = (value, weight)
            self._weight += weight
            while self._weight > self._capacity and self._entries:
                self._remove(next(iter(self._entries)))

    def forget(self, process_id: str) -> None:
        with self._lock:
            self._remove(process_id)

    def _remove(self, process_id: str) -> None:
        if (entry := self._entries.pop(process_id, None)) is not None:
            self._weight -= entry[1]
