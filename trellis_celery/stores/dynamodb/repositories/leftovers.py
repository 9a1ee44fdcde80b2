"""What is nobody's: groups that no head names, and items of a process that is gone.

Where a write takes more than one transaction, an item in the index of deadlines says beforehand that something may be
left over. Whoever looks for what is due finds it, after the writer must have come to its end, and clears away.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from trellis_celery.ports import Clock
from trellis_celery.stores.dynamodb.calls import Calls, ConditionFailed
from trellis_celery.stores.dynamodb.keys import Key
from trellis_celery.stores.dynamodb.processes import UNBORN_MS
from trellis_celery.stores.dynamodb.repositories import groups, process_items
from trellis_celery.stores.dynamodb.values import expressions, packed_item, query


class Leftovers:
    def __init__(self, calls: Calls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock

    def expect(self, process_id: str) -> None:
        """Say that a write begins which may leave something over."""
        self._calls.call("put_item", **self.sign(process_id, due_ms=self._clock.now_ms() + UNBORN_MS))

    def sign(self, process_id: str, *, due_ms: int) -> dict[str, Any]:
        """The parameters of the write that says from when on something is left over."""
        place = process_items.leftovers(process_id).packed
        content = packed_item(**process_items.clock(process_id, due_ms))
        return {"TableName": self._calls.table, "Item": {**place, **content}}

    def keys_below(self, process_id: str) -> list[Key]:
        """All that lies under the process's id."""
        partition = process_items.partition(process_id)
        pages = self._calls.pages(**query("#pk = :pk", projection="#sk", pk=partition), ConsistentRead=True)
        return [Key(partition, item["sk"]["S"]) for page in pages for item in page["Items"]]

    def clear(self, process_id: str) -> None:
        """Remove what is nobody's if it is time. Raises CorruptRecord for a head that does not say what is."""
        # In this order: what is there now and the head does not name afterwards, it will never name again, but for a
        # write that has just begun, and that has put its sign there before.
        found = self.keys_below(process_id)
        head, sign = process_items.head(process_id), process_items.leftovers(process_id)
        now = self._calls.get_many([head, sign])
        due_ms = None if sign not in now else int(now[sign]["due_ms"]["N"])
        if due_ms is None or due_ms > self._clock.now_ms():
            return
        if head in now:
            named = set(process_items.keys_of_groups(process_id, now[head]))
            gone = [key for key in found if key.sk.startswith(groups.PREFIX) and key not in named]
        else:
            gone = [key for key in found if key not in (head, sign)]
        self._calls.delete_many(gone)
        done = expressions(condition="#due_ms = :due_ms", due_ms=due_ms)
        with suppress(ConditionFailed):
            self._calls.call("delete_item", TableName=self._calls.table, Key=sign.packed, **done)
