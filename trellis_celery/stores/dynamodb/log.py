"""The log of a process: one item for each commit that has something to tell.

Items are in the order of their writers' clocks, which differ a little from machine to machine. The entries of one step
are put into the order of the record's versions, so that a cause is never told after its consequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from threading import Lock
from typing import Any

from trellis_celery import errors
from trellis_celery.domain.events import Event
from trellis_celery.stores import codec
from trellis_celery.stores.dynamodb import keys
from trellis_celery.stores.dynamodb.values import Item, packed_item, unpacked


class LogWriter:
    """Makes the items. What one program writes has an order though the clock stands still."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._lock = Lock()
        self._last_ms = 0
        self._numbers = count()

    def writes_of(
        self, process_id: str, step_name: str, version: int, events: Sequence[Event], *, now_ms: int
    ) -> list[dict[str, Any]]:
        """The part of a transaction that logs the events, if there are any."""
        if not events:
            return []
        with self._lock:
            self._last_ms = max(self._last_ms, now_ms)
            key = keys.log(process_id, step_name, version, at_ms=self._last_ms, number=next(self._numbers))
        content = packed_item(version=version, events=[codec.dump_event(event) for event in events])
        return [{"Put": {"TableName": self._table, "Item": {**key.packed, **content}}}]


def read_log(items: Iterable[Item]) -> list[Event]:
    """The events, oldest first. Raises CorruptRecord."""
    try:
        entries = [_Entry(unpacked(item)) for item in items]
    except (LookupError, TypeError, ValueError) as error:
        raise errors.CorruptRecord(key="log", problem=repr(error)) from None
    start = min((entry.place for entry in entries if entry.version == 0), default="")
    latest: dict[str, str] = {}
    for entry in sorted(entries, key=lambda one: one.version):
        entry.place = latest[entry.step] = max(entry.place, latest.get(entry.step, start))
    in_order = sorted(entries, key=lambda one: (one.place, one.version))
    return [codec.load_event(event) for entry in in_order for event in entry.events]


class _Entry:
    def __init__(self, values: dict[str, Any]) -> None:
        self.place: str = values["sk"]
        self.step: str = values["sk"].split("#")[3]
        self.version: int = values["version"] + 0
        self.events: list[bytes] = values["events"]
