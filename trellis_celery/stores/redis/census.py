"""How many there are of what: counted by the server, in one round trip for all shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, product
from typing import Any

from trellis_celery.domain.queries import ProcessGroup, Stats
from trellis_celery.stores import classes
from trellis_celery.stores.digests import SIZE, digest
from trellis_celery.stores.redis import listing
from trellis_celery.stores.redis.keys import ALL_SHARDS, Keys
from trellis_celery.stores.redis.line import Line, all_good
from trellis_celery.stores.redis.writes import total_field
from trellis_celery.stores.tallies import NO_TYPE, Tally, Total, events_of, lateness_of, untracked_of


class Census:
    def __init__(self, line: Line, keys: Keys) -> None:
        self._line = line
        self._keys = keys

    def take(self, *, now_ms: int) -> Stats:
        types = self._types()
        groups = list(product(types, range(len(classes.CLASSES))))
        replies = list(all_good(self._line.round_trip(lambda pipe: self._ask(pipe, groups, now_ms))))
        totals = replies[: len(ALL_SHARDS)]
        due = replies[len(ALL_SHARDS) : 3 * len(ALL_SHARDS)]
        counts = replies[3 * len(ALL_SHARDS) :]
        found = [total for reply in totals for total in _read_totals(reply, types)]
        return Stats(
            processes=_by_group(groups, counts),
            due=sum(due),
            events=events_of(found),
            lateness=lateness_of(found),
            untracked=untracked_of(found),
        )

    def _ask(self, pipe: Any, groups: Sequence[tuple[str, int]], now_ms: int) -> None:
        for shard in ALL_SHARDS:
            pipe.hgetall(self._keys.totals(shard))
        for shard in ALL_SHARDS:
            pipe.zcount(self._keys.deadlines(shard), "-inf", now_ms)
            pipe.zcount(self._keys.leases(shard), "-inf", now_ms)
        for shard, (process_type, number) in product(ALL_SHARDS, groups):
            pipe.zlexcount(self._keys.index(shard), *listing.all_of_class(process_type, number))

    def add(self, tallies: Iterable[Tally]) -> None:
        """Tallies of no type, all in one shard."""
        totals = self._keys.totals(ALL_SHARDS[0])
        fields = [(digest(NO_TYPE) + total_field(step, name).encode(), amount) for step, name, amount in tallies]
        replies = self._line.round_trip(lambda pipe: [pipe.hincrby(totals, *field) for field in fields])
        list(all_good(replies))

    def _types(self) -> list[str]:
        replies = self._line.round_trip(lambda pipe: [pipe.smembers(self._keys.types(shard)) for shard in ALL_SHARDS])
        return sorted({name.decode() for name in chain.from_iterable(all_good(replies))})


def _by_group(groups: Sequence[tuple[str, int]], counts: Sequence[int]) -> dict[ProcessGroup, int]:
    """From the counts of all groups in one shard after the other."""
    found: Counter[ProcessGroup] = Counter()
    for place, count in enumerate(counts):
        process_type, number = groups[place % len(groups)]
        if count:
            found[ProcessGroup(process_type, *classes.CLASSES[number])] += count
    return found


def _read_totals(fields: dict[bytes, bytes], types: Sequence[str]) -> list[Total]:
    """What is not of a known type is passed over: there is nothing to call it by."""
    type_of = {digest(process_type): process_type for process_type in (NO_TYPE, *types)}
    found = []
    for field, amount in fields.items():
        process_type = type_of.get(field[:SIZE])
        name, separator, step_name = field[SIZE:].decode(errors="replace").partition("\n")
        if process_type is not None and separator and amount.isdigit():
            found.append(Total(process_type, step_name, name, int(amount)))
    return found
