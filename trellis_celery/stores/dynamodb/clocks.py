"""Deadlines and leases: two indexes over the items of steps.

An index of DynamoDB is brought up to date a moment after its table, so what is found may have moved. Whoever acts on it
reads the record again, and writes only if its version still holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from trellis_celery.domain.identity import is_process_id
from trellis_celery.logs import EventLogger
from trellis_celery.ports import Due, LastCheck, LeaseKey, StepKey
from trellis_celery.stores.dynamodb import keys
from trellis_celery.stores.dynamodb.calls import Calls, ConditionFailed
from trellis_celery.stores.dynamodb.checks import read_last_check, write_last_check
from trellis_celery.stores.dynamodb.processes import Processes
from trellis_celery.stores.dynamodb.steps import NO_DEADLINE, NO_LEASE
from trellis_celery.stores.dynamodb.values import Item, Value, assignments, expressions, query, unpacked

logger = EventLogger(__name__)


class Clocks:
    def __init__(self, calls: Calls, processes: Processes, now_ms: Callable[[], int]) -> None:
        self._calls = calls
        self._processes = processes
        self._now_ms = now_ms

    def due(self, *, now_ms: int, limit: int, with_leases: bool) -> list[Due]:
        kinds = ("due", "lease") if with_leases else ("due",)
        parts = [(kind, shard) for kind in kinds for shard in keys.ALL_CLOCK_SHARDS]
        found = self._calls.parallel(partial(self._of_shard, now_ms=now_ms, limit=limit), parts)
        by_kind: dict[str, list[Due]] = {kind: [] for kind in kinds}
        for (kind, _), some in zip(parts, found, strict=True):
            by_kind[kind] += some
        return [one for every in by_kind.values() for one in sorted(every, key=_since)[:limit]]

    def _of_shard(self, part: tuple[str, str], *, now_ms: int, limit: int) -> list[Due]:
        kind, shard = part
        condition = query(f"#{kind} = :shard AND #{kind}_ms <= :now_ms", shard=shard, now_ms=now_ms)
        due: list[Due] = []
        for page in self._calls.pages(**condition, IndexName=kind, Limit=limit):
            due += [one for item in page["Items"] if (one := self._read(kind, item)) is not None]
            if len(due) >= limit:
                break
        return due

    def _read(self, kind: str, item: Item) -> Due | None:
        try:
            values = unpacked(item)
            process_id, since_ms = values["pk"], values[f"{kind}_ms"]
            if is_process_id(process_id) and keys.step(process_id, values["name"]).sk == values["sk"]:
                attempt = values["lease_attempt"] if kind == "lease" else None
                return Due(StepKey(process_id, values["name"]), since_ms, attempt)
        except (KeyError, TypeError, ValueError, AttributeError):
            pass
        # Not one of ours: it would be in the way of every check.
        logger.error("foreign_index_entry", extra={"index": kind, "item": repr(dict(item))[:200]})
        key = {"pk": item["pk"], "sk": item["sk"]}
        self._update(key, condition="attribute_exists(#pk)", values=NO_DEADLINE if kind == "due" else NO_LEASE)
        return None

    def discard(self, due: Sequence[Due], *, until_ms: int | None) -> None:
        self._calls.parallel(partial(self._discard, until_ms=until_ms), due)

    def _discard(self, item: Due, *, until_ms: int | None) -> None:
        kind = "due" if item.lapsed_attempt is None else "lease"
        key = keys.step(*item.key).packed
        condition = f"#{kind}_ms = :since_ms" + ("" if kind == "due" else " AND #lease_attempt = :attempt")
        given: dict[str, Value | None] = {"since_ms": item.since_ms, "attempt": item.lapsed_attempt}
        if until_ms is not None:
            self._update(key, condition=condition, values={f"{kind}_ms": until_ms}, **given)
            return
        # A step that was written before its process must not lose its deadline while that is being made.
        born = " AND (attribute_not_exists(#unborn_until_ms) OR #unborn_until_ms < :now_ms)"
        gone = NO_DEADLINE if kind == "due" else NO_LEASE
        found = self._update(key, condition=condition + born, values=gone, now_ms=self._now_ms(), **given)
        if found is None:
            if self._processes.head(item.key.process_id) is None:
                self._processes.sweep(item.key.process_id)
        elif "unborn_until_ms" in found:
            later_ms = int(found["unborn_until_ms"]["N"])
            self._update(key, condition=condition, values={f"{kind}_ms": later_ms}, **given)

    # Leases and the last check

    def renew(self, leases: Sequence[LeaseKey], *, until_ms: int) -> LastCheck:
        acts: list[Callable[[], Any]] = [self.last_check]
        acts += [partial(self._renew, lease, until_ms) for lease in leases if is_process_id(lease.process_id)]
        check: LastCheck = self._calls.parallel(lambda act: act(), acts)[0]
        return check

    def _renew(self, lease: LeaseKey, until_ms: int) -> None:
        key = keys.step(lease.process_id, lease.step_name).packed
        condition = "#lease_attempt = :attempt"
        self._update(key, condition=condition, values={"lease_ms": until_ms}, attempt=lease.attempt)

    def last_check(self) -> LastCheck:
        return read_last_check(self._calls, keys.LAST_CHECK)

    def note_check(self, check: LastCheck) -> None:
        write_last_check(self._calls, keys.LAST_CHECK, check)

    def _update(
        self, key: Item, *, condition: str, values: dict[str, Value | None] | Any, **given: Value | None
    ) -> Item | None:
        """Set the values if the condition holds; otherwise the item as it is, empty if there is none."""
        update = expressions(condition=condition, update=assignments(values), **values, **given)
        try:
            self._calls.call("update_item", TableName=self._calls.table, Key=key, **update)
        except ConditionFailed as failed:
            return failed.found[0] or {}
        return None


def _since(due: Due) -> int:
    return due.since_ms
