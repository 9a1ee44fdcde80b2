"""The head of a process: what lists show, how many records are in each state, and what follows from that.

Its counts change with most commits, so a commit demands no more of the head than it has to: as long as the same states
occur before and after it, two commits may count without knowing of each other. A commit that changes which states
occur, or any of a finished process, demands the very counts that it was made from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from trellis_celery import errors
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.queries import Finished, ProcessSummary
from trellis_celery.stores import classes
from trellis_celery.stores.dynamodb import keys
from trellis_celery.stores.dynamodb.values import Item, Value, assignments, expressions, packed_item, unpacked

_COUNTS = tuple(f"n{bit}" for bit in range(classes.BITS))


class Head(Struct, frozen=True, kw_only=True):
    process_id: str
    key: BusinessKey
    started_at_ms: int
    #: Of how many items its definition consists.
    definition_parts: int
    #: How many records count as each bit.
    counts: tuple[int, ...]
    #: When it was last changed while it was terminal, epoch ms; 0: never.
    since_ms: int = 0

    @classmethod
    def of(cls, process: Process, *, definition_parts: int) -> Head:
        counts = classes.counts_of(process)
        return cls(
            process_id=process.id,
            key=process.key,
            started_at_ms=process.started_at_ms,
            definition_parts=definition_parts,
            counts=tuple(counts.get(bit, 0) for bit in range(classes.BITS)),
        )

    @property
    def _by_bit(self) -> Mapping[int, int]:
        return dict(enumerate(self.counts))

    @property
    def present(self) -> int:
        """The set of bits that occur."""
        return sum(1 << bit for bit, count in enumerate(self.counts) if count > 0)

    @property
    def class_number(self) -> int:
        return classes.class_of(self._by_bit)

    @property
    def state(self) -> ProcessState:
        return classes.CLASSES[self.class_number].state

    @property
    def summary(self) -> ProcessSummary:
        return ProcessSummary(
            id=self.process_id,
            key=self.key,
            state=self.state,
            is_overdue=classes.is_marked_overdue(self._by_bit),
            has_incident=classes.has_incident(self._by_bit),
            started_at_ms=self.started_at_ms,
            step_counts=classes.step_counts(self._by_bit),
        )

    def item(self, *, prefix: str = "") -> dict[str, Any]:
        """As it is stored first; with a prefix, apart from the store's own."""
        return {
            **keys.head(f"{prefix}{self.process_id}").packed,
            **packed_item(
                business_key=self.key.parts,
                started_at_ms=self.started_at_ms,
                position=keys.position(self.started_at_ms, self.process_id),
                definition_parts=self.definition_parts,
                since_ms=self.since_ms,
                present=self.present,
                **dict(zip(_COUNTS, self.counts, strict=True)),
                **keys.list_partitions(self.process_id, self.key, prefix=prefix),
                **keys.class_partitions(self.process_id, self.key, self.class_number, prefix=prefix),
            ),
        }

    def after(self, left: Iterable[int], entered: Iterable[int], *, now_ms: int) -> Head:
        """The head after a record stopped counting as some bits and began to count as others."""
        counts = list(self.counts)
        for bit in left:
            counts[bit] -= 1
        for bit in entered:
            counts[bit] += 1
        since_ms = self.since_ms
        if classes.is_terminal(classes.class_of(dict(enumerate(counts)))):
            since_ms = max(now_ms, since_ms + 1)
        return Head(
            process_id=self.process_id,
            key=self.key,
            started_at_ms=self.started_at_ms,
            definition_parts=self.definition_parts,
            counts=tuple(counts),
            since_ms=since_ms,
        )


def read_head(process_id: str, item: Item) -> Head:
    """Raises CorruptRecord."""
    try:
        values = unpacked(item)
        tenant_id, process_type, aggregate_type, aggregate_id = _four(values["business_key"])
        head = Head(
            process_id=process_id,
            key=BusinessKey(
                tenant_id=tenant_id,
                process_type=process_type,
                aggregate_type=aggregate_type,
                aggregate_id=aggregate_id,
            ),
            started_at_ms=values["started_at_ms"] + 0,
            definition_parts=values["definition_parts"] + 0,
            counts=tuple(values[name] + 0 for name in _COUNTS),
            since_ms=values["since_ms"] + 0,
        )
        if head.present != values["present"] or not head.present:
            raise ValueError("its counts do not fit each other")
        _ = head.class_number
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise errors.CorruptRecord(key=process_id, problem=repr(error)) from None
    return head


def _four(parts: Any) -> list[str]:
    if not isinstance(parts, list) or len(parts) != 4:
        raise ValueError("a business key has four parts")
    return parts


def write_of(table: str, before: Head, after: Head) -> dict[str, Any]:
    """The part of a transaction that brings the head from `before` to `after`."""
    place = {"TableName": table, "Key": keys.head(before.process_id).packed}
    same_class = expressions(condition="#present = :present", present=before.present)
    if before == after:
        return {"ConditionCheck": {**place, **same_class}}
    if before.present == after.present and before.since_ms == after.since_ms:
        return {"Update": {**place, **_counting(before, after)}}
    return {"Update": {**place, **_rewriting(before, after)}}


def _counting(before: Head, after: Head) -> dict[str, Any]:
    moved = [(name, new - old) for name, old, new in zip(_COUNTS, before.counts, after.counts, strict=True)]
    adds = {f"by_{name}": step for name, step in moved if step}
    some_left = [f"#{name} > :one" for name, step in moved if step < 0]
    return expressions(
        condition=" AND ".join(["#present = :present", *some_left]),
        update="ADD " + ", ".join(f"#{name} :by_{name}" for name, step in moved if step),
        present=before.present,
        one=1 if some_left else None,
        **adds,
    )


def _rewriting(before: Head, after: Head) -> dict[str, Any]:
    is_terminal = classes.is_terminal(after.class_number)
    shard = keys.list_shard(after.process_id)
    values: dict[str, Value | None] = {
        "present": after.present,
        "since_ms": after.since_ms,
        **dict(zip(_COUNTS, after.counts, strict=True)),
        **keys.class_partitions(after.process_id, after.key, after.class_number),
        "finished": keys.finished_partition(shard, is_archived=False) if is_terminal else None,
        "finished_position": keys.position(after.since_ms, after.process_id) if is_terminal else None,
    }
    old = {f"old_{name}": count for name, count in zip(_COUNTS, before.counts, strict=True)}
    conditions = [f"#{name} = :old_{name}" for name in _COUNTS]
    return expressions(
        condition=" AND ".join([*conditions, "#since_ms = :old_since_ms"]),
        update=assignments(values),
        old_since_ms=before.since_ms,
        **old,
        **values,
    )


def archived(table: str, finished: Finished, *, prefix: str) -> dict[str, Any]:
    """The update that lets a process wait no longer if it was not changed since."""
    shard = f"{prefix}{keys.list_shard(finished.process_id)}"
    return {
        "TableName": table,
        "Key": keys.head(f"{prefix}{finished.process_id}").packed,
        **expressions(
            condition="#finished = :waiting AND #since_ms = :since_ms",
            update="SET #finished = :archived",
            waiting=keys.finished_partition(shard, is_archived=False),
            archived=keys.finished_partition(shard, is_archived=True),
            since_ms=finished.since_ms,
        ),
    }
