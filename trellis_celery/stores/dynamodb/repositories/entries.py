"""What is due, from the indexes of deadlines and leases: the oldest entries of several partitions as one list.

An index is brought up to date a moment after its table, so what it names is read again before anybody acts on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from heapq import merge
from itertools import chain
from typing import NamedTuple

from trellis_celery.logs import EventLogger
from trellis_celery.stores.dynamodb.calls import Calls, ConditionFailed
from trellis_celery.stores.dynamodb.keys import Key
from trellis_celery.stores.dynamodb.values import assignments, expressions, query

logger = EventLogger(__name__)


class Entry(NamedTuple):
    #: Epoch ms.
    due_ms: int
    key: Key
    #: The step's; empty if it is none of a step.
    name: str


class Entries:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def until(self, index: str, partitions: Sequence[str], *, now_ms: int, page: int) -> Iterator[Entry]:
        """The oldest first. The first page of each partition is read now, the others when they are needed."""
        readers = [self._pages(index, partition, now_ms=now_ms, page=page) for partition in partitions]
        firsts = self._calls.parallel(lambda reader: next(reader, []), readers)
        return merge(
            *(chain(first, chain.from_iterable(reader)) for first, reader in zip(firsts, readers, strict=True))
        )

    def _pages(self, index: str, partition: str, *, now_ms: int, page: int) -> Iterator[list[Entry]]:
        condition = query(f"#{index} = :partition AND #{index}_ms <= :now_ms", partition=partition, now_ms=now_ms)
        for reply in self._calls.pages(**condition, IndexName=index, Limit=page):
            yield [
                Entry(
                    int(item[f"{index}_ms"]["N"]),
                    Key(item["pk"]["S"], item["sk"]["S"]),
                    str(item.get("name", {}).get("S", "")),
                )
                for item in reply["Items"]
            ]

    def discard(self, index: str, entry: Entry) -> None:
        """Take an item out of the index that has no business there."""
        logger.error("foreign_index_entry", extra={"index": index, "item": repr(entry)[:200]})
        gone = assignments({index: None, f"{index}_ms": None})
        update = expressions(condition="attribute_exists(#pk)", update=gone)
        with suppress(ConditionFailed):
            self._calls.call("update_item", TableName=self._calls.table, Key=entry.key.packed, **update)
