"""The entries by which processes are listed: members of one sorted set whose order is that of their bytes.

``<kind><class><digest><position>``: all that is asked for stands before the position, so a list is a range, and a page
of it starts at a position. Each process has three entries: by type, by type and tenant, and by aggregate. What users
call things is in them as a digest only, so what is found has to be compared with what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct

from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Position, ProcessFilter
from trellis_celery.stores import classes
from trellis_celery.stores.digests import SIZE, digest

BY_TYPE, BY_TENANT, BY_AGGREGATE = b"t", b"u", b"a"

#: Stands in place of the class where an entry stays as it is in whatever class its process is.
ANY_CLASS = b"-"

#: Bytes: the start, and the process id without its shard.
_START, _ID = 6, 16
_POSITION = _START + _ID

#: Bytes of what the entries of a process are made of.
SEED_SIZE = 3 * SIZE + _POSITION


def seed_of(process: Process) -> bytes:
    """What the entries of a process are made of: the digests of the three kinds, and the position."""
    key, position = process.key, Position(process.started_at_ms, process.id)
    digests = digest(key.process_type), digest(key.process_type, key.tenant_id), digest(key.aggregate_id)
    return b"".join(digests) + _pack(position)


def class_digit(number: int) -> bytes:
    return f"{number:x}".encode()


def entries(seed: bytes, class_number: int) -> tuple[bytes, bytes, bytes]:
    """The entries of a process of this class."""
    by_type, by_tenant, by_aggregate = (seed[SIZE * place : SIZE * (place + 1)] for place in range(3))
    digit, position = class_digit(class_number), seed[SIZE * 3 :]
    return (
        BY_TYPE + digit + by_type + position,
        BY_TENANT + digit + by_tenant + position,
        BY_AGGREGATE + ANY_CLASS + by_aggregate + position,
    )


class Range(Struct, frozen=True):
    """A list within one shard: the entries that begin with `start`."""

    shard: str
    start: bytes

    def bounds(self, only: ProcessFilter, after: Position | None) -> tuple[bytes, bytes]:
        """The greatest and the least entry of what is behind `after`, in the words of ZRANGEBYLEX."""
        least = b"[" + self.start + _pack_start(only.started_from_ms or 0)
        if only.started_before_ms is None:
            greatest = b"(" + self.start + b"\xff" * (_POSITION + 1)
        else:
            greatest = b"(" + self.start + _pack_start(only.started_before_ms)
        return greatest if after is None else min(greatest, self._behind(after)), least

    def _behind(self, after: Position) -> bytes:
        """The bound of what comes later in the list than `after`, which may be of another shard."""
        started = b"(" + self.start + _pack_start(after.started_at_ms)
        shard_of_after = after.process_id[0]
        if self.shard == shard_of_after:
            return b"(" + self.start + _pack(after)
        return started if self.shard > shard_of_after else started + b"\xff" * (_ID + 1)

    def position(self, entry: bytes) -> Position:
        """Raises ValueError if the entry is not one of ours."""
        packed = entry[len(self.start) :]
        if len(packed) != _POSITION:
            raise ValueError(f"{entry!r} is not an entry of a list")
        return Position(int.from_bytes(packed[:_START], "big"), f"{self.shard}-{packed[_START:].hex()}")


def all_of_class(process_type: str, class_number: int) -> tuple[bytes, bytes]:
    """The bounds of the entries of all processes of a type that are of this class, the least first."""
    start = _start_of(process_type, None, class_number)
    return b"[" + start, b"(" + start + b"\xff" * (_POSITION + 1)


def ranges(only: ProcessFilter, types: Mapping[str, Sequence[str]]) -> list[Range]:
    """The lists that together have all that the filter asks for. `types`: by shard, the process types to look for."""
    if only.aggregate_id is not None:
        start = BY_AGGREGATE + ANY_CLASS + digest(only.aggregate_id)
        return [Range(shard, start) for shard in types]
    return [
        Range(shard, _start_of(process_type, only.tenant_id, class_number))
        for shard, of_shard in types.items()
        for process_type in of_shard
        for class_number in classes.numbers_for(only)
    ]


#: Reads the first entries of each range, from its greatest entry down: (range, greatest, least), how many.
Read = Callable[[Sequence[tuple[Range, bytes, bytes]], int], Sequence[Sequence[bytes]]]

#: So many entries of each range are read at first.
_FEW = 4


def pages(
    lists: Sequence[Range], only: ProcessFilter, *, after: Position | None, limit: int, read: Read
) -> Iterator[list[Position]]:
    """The positions in all the ranges, greatest first, read bit by bit for as long as somebody asks for more.

    What is known of all ranges reaches down to the end of that one of which the least was read.
    """
    count = max(_FEW, _FEW * limit // max(len(lists), 1))
    while lists:
        parts = [
            [one.position(entry) for entry in entries]
            for one, entries in zip(lists, read([(one, *one.bounds(only, after)) for one in lists], count), strict=True)
        ]
        end = max((part[-1] for part in parts if len(part) == count), default=None)
        if page := {position for part in parts for position in part if end is None or position >= end}:
            yield sorted(page, reverse=True)
        if end is None:
            return
        after, count = end, count * 2


def _start_of(process_type: str, tenant_id: str | None, class_number: int) -> bytes:
    if tenant_id is None:
        return BY_TYPE + class_digit(class_number) + digest(process_type)
    return BY_TENANT + class_digit(class_number) + digest(process_type, tenant_id)


def _pack(position: Position) -> bytes:
    return _pack_start(position.started_at_ms) + bytes.fromhex(position.process_id[2:])


def _pack_start(started_at_ms: int) -> bytes:
    return min(max(started_at_ms, 0), (1 << 8 * _START) - 1).to_bytes(_START, "big")
