"""An index from times to keys, like a sorted set: what is due is found without looking at what is not."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable, Iterator
from itertools import islice
from math import inf
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Timeline(Generic[K]):
    """Each key at one time at the most. Keys must have an order among themselves."""

    def __init__(self) -> None:
        self._at_ms: dict[K, int] = {}
        self._in_order: list[tuple[int, Any]] = []

    def __len__(self) -> int:
        return len(self._in_order)

    def get(self, key: K) -> int | None:
        return self._at_ms.get(key)

    def set(self, key: K, at_ms: int | None) -> None:
        """Move the key to another time, or remove it if that is None."""
        if (old_ms := self._at_ms.pop(key, None)) is not None:
            del self._in_order[bisect_left(self._in_order, (old_ms, key))]
        if at_ms is not None:
            self._at_ms[key] = at_ms
            insort(self._in_order, (at_ms, key))

    def move(self, key: K, from_ms: int, to_ms: int | None) -> None:
        """Like `set`, but only if the key is at `from_ms`."""
        if self._at_ms.get(key) == from_ms:
            self.set(key, to_ms)

    def until(self, now_ms: int, *, limit: int) -> list[tuple[int, K]]:
        """What is at `now_ms` or before, oldest first."""
        return list(islice(self.between(None, now_ms), limit))

    def between(self, after: tuple[int, K] | None, until_ms: int | None) -> Iterator[tuple[int, K]]:
        """What comes behind `after` and is at `until_ms` or before, oldest first."""
        start = 0 if after is None else bisect_right(self._in_order, tuple(after))
        end = bisect_left(self._in_order, (inf if until_ms is None else until_ms + 1,))
        return (self._in_order[place] for place in range(start, end))
