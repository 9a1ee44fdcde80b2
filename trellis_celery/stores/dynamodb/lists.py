"""Lists of processes, from the index that fits the filter best.

Each list lies in a few parts, which are read side by side and merged, a page at a time. What an index names is read
again from the table: so the list tells the present, and two names of one digest are told apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from heapq import merge
from itertools import islice, product

from trellis_celery import errors
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessGroup, ProcessSummary
from trellis_celery.logs import EventLogger
from trellis_celery.ports import EVERYTHING
from trellis_celery.stores import classes
from trellis_celery.stores.digests import digest
from trellis_celery.stores.dynamodb import heads, keys
from trellis_celery.stores.dynamodb.calls import Calls, ConditionFailed
from trellis_celery.stores.dynamodb.values import query

logger = EventLogger(__name__)

#: Behind every position.
_LAST = "~"


class Lists:
    """`prefix`: what the keys of these processes start with, and the partitions of their lists."""

    def __init__(self, calls: Calls, *, prefix: str = "") -> None:
        self._calls = calls
        self._prefix = prefix

    def list_processes(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[ProcessSummary]:
        index, partitions = _place(only, self._prefix)
        first = keys.position(only.started_from_ms or 0)
        last = _LAST if only.started_before_ms is None else keys.position(only.started_before_ms)
        if after is not None:
            last = min(last, keys.position(*after))
        found: list[ProcessSummary] = []
        if first > last:
            return found
        entries = self._merged(
            index, "position", partitions, between=(first, last), page=limit + 1, is_newest_first=True
        )
        positions = (position for entry in entries if (position := keys.read_position(entry)) != after)
        while len(found) < limit and (some := list(islice(positions, limit - len(found)))):
            found += [summary for summary in self._summaries(some) if only.matches(summary)]
        return found

    def _summaries(self, positions: Sequence[Position]) -> list[ProcessSummary]:
        wanted = {position.process_id: keys.head(f"{self._prefix}{position.process_id}") for position in positions}
        items = self._calls.get_many(wanted.values())
        summaries = []
        for process_id, key in wanted.items():
            if key in items:
                try:
                    summaries.append(heads.read_head(process_id, items[key]).summary)
                except errors.CorruptRecord:  # it must not hide the others
                    logger.exception("process_unusable", extra={"process_id": process_id})
        return summaries

    # Finished processes

    def finished(
        self, *, is_archived: bool, until_ms: int | None, limit: int, after: Finished | None
    ) -> list[Finished]:
        first = keys.position(*after) if after is not None else keys.position(0)
        last = _LAST if until_ms is None else keys.position(until_ms + 1)
        if first > last:
            return []
        entries = self._merged(
            "finished",
            "finished_position",
            self._finished_partitions(is_archived=is_archived),
            between=(first, last),
            page=limit + 1,
            is_newest_first=False,
        )
        behind = (finished for entry in entries if (finished := keys.read_finished(entry)) != after)
        return list(islice(behind, limit))

    def count_finished(self, *, is_archived: bool) -> int:
        partitions = self._finished_partitions(is_archived=is_archived)
        return sum(self._calls.parallel(partial(self._count, "finished"), partitions))

    def count_open(self) -> dict[ProcessGroup, int]:
        """How many processes there are that are not finished, or have an incident; their types are not told apart."""
        numbers = [
            number
            for number, (state, _, has_incident) in enumerate(classes.CLASSES)
            if has_incident or not state.is_terminal
        ]
        places = list(product(numbers, keys.ALL_LIST_SHARDS))
        counts = self._calls.parallel(
            lambda place: self._count("list_all_class", f"{self._prefix}{place[1]}#{place[0]}"), places
        )
        groups: Counter[ProcessGroup] = Counter()
        for (number, _), count in zip(places, counts, strict=True):
            groups[ProcessGroup("", *classes.CLASSES[number])] += count
        return {group: count for group, count in groups.items() if count}

    def _count(self, index: str, partition: str) -> int:
        condition = query(f"#{index} = :partition", partition=partition)
        pages = self._calls.pages(**condition, IndexName=index, Select="COUNT")
        return sum(int(page["Count"]) for page in pages)

    def mark_archived(self, finished: Sequence[Finished]) -> None:
        self._calls.parallel(self._mark_archived, finished)

    def _mark_archived(self, one: Finished) -> None:
        try:
            self._calls.call("update_item", **heads.archived(self._calls.table, one, prefix=self._prefix))
        except ConditionFailed:  # it was changed since, or it is gone
            return

    def _finished_partitions(self, *, is_archived: bool) -> list[str]:
        return [
            keys.finished_partition(f"{self._prefix}{shard}", is_archived=is_archived) for shard in keys.ALL_LIST_SHARDS
        ]

    # Indexes

    def _merged(
        self,
        index: str,
        sort_key: str,
        partitions: Sequence[str],
        *,
        between: tuple[str, str],
        page: int,
        is_newest_first: bool,
    ) -> Iterator[str]:
        """The sort keys in order. The first page of each partition is read now, the others when they are needed."""

        first, last = between
        condition = f"#{index} = :partition AND #{sort_key} BETWEEN :first AND :last"

        def entries(partition: str) -> Iterator[list[str]]:
            for reply in self._calls.pages(
                **query(condition, partition=partition, first=first, last=last),
                IndexName=index,
                ScanIndexForward=not is_newest_first,
                Limit=page,
            ):
                yield [str(item[sort_key]["S"]) for item in reply["Items"]]

        readers = [entries(partition) for partition in partitions]
        firsts = self._calls.parallel(lambda reader: next(reader, []), readers)
        parts = [_flat(first, reader) for first, reader in zip(firsts, readers, strict=True)]
        return merge(*parts, reverse=is_newest_first)


def _flat(first: list[str], pages: Iterator[list[str]]) -> Iterator[str]:
    yield from first
    for page in pages:
        yield from page


def _place(only: ProcessFilter, prefix: str) -> tuple[str, list[str]]:
    """The index in which the processes are found, and the partitions of it."""
    if only.aggregate_id is not None:
        return "list_aggregate", [f"{prefix}{digest(only.aggregate_id).hex()}"]
    if only.tenant_id is not None:
        index, name = "list_tenant", f"#{digest(only.tenant_id).hex()}"
    elif only.process_type is not None:
        index, name = "list_type", f"#{digest(only.process_type).hex()}"
    else:
        index, name = "list_all", ""
    numbers = classes.numbers_for(only)
    every = [f"{prefix}{shard}{name}" for shard in keys.ALL_LIST_SHARDS]
    if len(numbers) == len(classes.CLASSES):
        return index, every
    return f"{index}_class", [f"{partition}#{number}" for partition, number in product(every, numbers)]
