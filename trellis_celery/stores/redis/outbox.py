"""The outbox: the ends of processes' logs that other services have not been told of.

The log itself is what is relayed; here it is only noted whose, and since when. A relay claims a process by moving it to
a later time, so one that dies is followed by another.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from trellis_celery import errors
from trellis_celery.domain.identity import is_process_id, shard_of
from trellis_celery.logs import EventLogger
from trellis_celery.ports import Unrelayed
from trellis_celery.stores import codec
from trellis_celery.stores.redis.keys import ALL_SHARDS, Keys
from trellis_celery.stores.redis.line import Line, all_good, whole
from trellis_celery.stores.redis.records import read_business_key
from trellis_celery.stores.redis.translate import translated

logger = EventLogger(__name__)

#: So many entries of one process are relayed at a time.
MOST_EVENTS = 1_000


class RedisOutbox:
    """`mark`, `move`: the scripts relayed.lua and move.lua."""

    def __init__(self, line: Line, keys: Keys, mark: Any, move: Any) -> None:
        self._line = line
        self._keys = keys
        self._mark = mark
        self._move = move

    def claim(self, *, now_ms: int, limit: int, until_ms: int) -> list[Unrelayed]:
        replies = self._line.round_trip(
            lambda pipe: [
                pipe.zrangebyscore(self._keys.outbox(shard), "-inf", now_ms, start=0, num=limit, withscores=True)
                for shard in ALL_SHARDS
            ]
        )
        waiting = sorted(chain.from_iterable(all_good(replies)), key=lambda entry: entry[1])[:limit]
        claimed = [
            member.decode() for member, score in waiting if self._claim_one(member.decode(), whole(score), until_ms)
        ]
        return self._read(claimed)

    def _claim_one(self, process_id: str, since_ms: int, until_ms: int) -> bool:
        if not is_process_id(process_id):
            return False
        outbox = self._keys.outbox(shard_of(process_id))
        with translated(process_id):
            return bool(self._move(keys=[outbox, outbox], args=[process_id, since_ms, until_ms]))

    def _read(self, process_ids: Sequence[str]) -> list[Unrelayed]:
        heads = self._line.round_trip(
            lambda pipe: [pipe.hmget(self._keys.process(each), "relayed", "identity") for each in process_ids]
        )
        relayed = [_relayed(head) for head in heads]
        logs = self._line.round_trip(
            lambda pipe: [
                pipe.lrange(self._keys.log(each), first, first + MOST_EVENTS - 1)
                for each, first in zip(process_ids, relayed, strict=True)
            ]
        )
        found = []
        for process_id, first, head, entries in zip(process_ids, relayed, heads, logs, strict=True):
            try:
                found += _unrelayed(process_id, first, head, entries)
            except errors.StoreUnavailable:
                raise
            except errors.StoreError:  # it must not keep those of others from being relayed; its claim runs out
                logger.exception("log_not_relayed", extra={"process_id": process_id})
        return found

    def mark(self, process_id: str, last_number: int) -> None:
        if not is_process_id(process_id):
            return
        keys = [self._keys.process(process_id), self._keys.log(process_id), self._keys.outbox(shard_of(process_id))]
        with translated(process_id):
            self._mark(keys=keys, args=[process_id, last_number])

    def backlog(self) -> tuple[int, int | None]:
        outboxes = [self._keys.outbox(shard) for shard in ALL_SHARDS]
        replies = self._line.round_trip(
            lambda pipe: [(pipe.zcard(outbox), pipe.zrange(outbox, 0, 0, withscores=True)) for outbox in outboxes]
        )
        good = list(all_good(replies))
        firsts = [whole(score) for reply in good[1::2] for _, score in reply]
        return sum(good[::2]), min(firsts, default=None)


def _relayed(head: Sequence[bytes | None] | Exception) -> int:
    return 0 if isinstance(head, Exception) or not (head[0] or b"").isdigit() else int(head[0] or 0)


def _unrelayed(
    process_id: str, relayed: int, head: Sequence[bytes | None] | Exception, entries: Sequence[bytes] | Exception
) -> list[Unrelayed]:
    """Nothing if the process was deleted meanwhile. Raises StoreError."""
    for reply in (head, entries):
        if isinstance(reply, Exception):
            raise reply
    if isinstance(head, Exception) or isinstance(entries, Exception) or head[1] is None:
        return []
    try:
        key = read_business_key(head[1])
    except (TypeError, ValueError) as error:
        raise errors.CorruptRecord(key=process_id, problem=repr(error)) from None
    events = [codec.load_event(entry) for entry in entries]
    return [Unrelayed(process_id=process_id, key=key, first_number=relayed + 1, events=events)]
