"""Lists of processes, read from the indexes of all shards at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

from trellis_celery import errors
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessSummary
from trellis_celery.logs import EventLogger
from trellis_celery.stores.redis import listing, records
from trellis_celery.stores.redis.keys import ALL_SHARDS, Keys
from trellis_celery.stores.redis.line import Line, all_good, whole

logger = EventLogger(__name__)


class ProcessLists:
    def __init__(self, line: Line, keys: Keys) -> None:
        self._line = line
        self._keys = keys

    # By filter

    def processes(self, only: ProcessFilter, *, limit: int, after: Position | None) -> list[ProcessSummary]:
        ranges = listing.ranges(only, self._types(only))
        pages = listing.pages(ranges, only, after=after, limit=limit, read=self._read_ranges)
        return list(islice(filter(only.matches, self._summaries(pages)), limit))

    def _types(self, only: ProcessFilter) -> dict[str, list[str]]:
        """By shard, the process types to look for: the one that is asked for, or those that there are."""
        if only.process_type is not None or only.aggregate_id is not None:
            return {shard: [only.process_type or ""] for shard in ALL_SHARDS}
        replies = self._line.round_trip(lambda pipe: [pipe.smembers(self._keys.types(shard)) for shard in ALL_SHARDS])
        names = ([name.decode() for name in found] for found in all_good(replies))
        return dict(zip(ALL_SHARDS, names, strict=True))

    def _read_ranges(self, parts: Sequence[tuple[listing.Range, bytes, bytes]], count: int) -> list[list[bytes]]:
        replies = self._line.round_trip(
            lambda pipe: [
                pipe.zrevrangebylex(self._keys.index(part.shard), greatest, least, start=0, num=count)
                for part, greatest, least in parts
            ]
        )
        return list(all_good(replies))

    def _summaries(self, pages: Iterable[list[Position]]) -> Iterator[ProcessSummary]:
        """Of the processes that are still there and readable: a damaged one must not hide the others."""
        for page in pages:
            keys = [self._keys.process(position.process_id) for position in page]
            replies = self._line.round_trip(partial(_read_summaries, keys))
            for position, values in zip(page, all_good(replies), strict=True):
                if values[0] is None:
                    continue
                try:
                    yield records.read_summary(position, values)
                except errors.CorruptRecord:
                    logger.exception("process_unusable", extra={"process_id": position.process_id})

    # Finished

    def finished(
        self, *, is_archived: bool, until_ms: int | None, limit: int, after: Finished | None
    ) -> list[Finished]:
        least, most = "-inf" if after is None else after.since_ms, "+inf" if until_ms is None else until_ms
        count = limit + 1
        while True:
            read = partial(_read_times, self._timelines(is_archived), least=least, most=most, count=count)
            replies = list(all_good(self._line.round_trip(read)))
            parts = [[each for each in map(_finished, part) if after is None or each > after] for part in replies]
            # Many may have been changed at the very time at which `after` was: then more has to be read.
            if all(len(part) >= limit or len(reply) < count for part, reply in zip(parts, replies, strict=True)):
                return sorted(chain.from_iterable(parts))[:limit]
            count *= 2

    def count_finished(self, *, is_archived: bool) -> int:
        timelines = self._timelines(is_archived)
        replies = self._line.round_trip(lambda pipe: [pipe.zcard(timeline) for timeline in timelines])
        return sum(all_good(replies))

    def _timelines(self, is_archived: bool) -> list[str]:
        return [self._keys.archived(shard) if is_archived else self._keys.waiting(shard) for shard in ALL_SHARDS]


def _read_summaries(keys: Iterable[str], pipe: Any) -> None:
    for key in keys:
        pipe.hmget(key, records.SUMMARY_FIELDS)


def _read_times(timelines: Iterable[str], pipe: Any, *, least: int | str, most: int | str, count: int) -> None:
    for timeline in timelines:
        pipe.zrangebyscore(timeline, least, most, start=0, num=count, withscores=True)


def _finished(entry: tuple[bytes, float]) -> Finished:
    process_id, since_ms = entry
    return Finished(whole(since_ms), process_id.decode())
