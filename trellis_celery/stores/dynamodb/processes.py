"""Whole processes: made in one transaction, read in one query, removed head first.

Whether there is a process is a question of its head alone. What lies under its id without a head is left over from a
program that died on the way, and holds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain
from typing import Any

from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.identity import BusinessKey, is_process_id
from trellis_celery.domain.process import OWN_RECORD, Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Clock, StepKey
from trellis_celery.stores.dynamodb import definitions, keys, steps
from trellis_celery.stores.dynamodb.calls import Calls, ConditionFailed
from trellis_celery.stores.dynamodb.definitions import Definition, dump_definition, load_definition
from trellis_celery.stores.dynamodb.heads import Head, read_head
from trellis_celery.stores.dynamodb.keys import Key
from trellis_celery.stores.dynamodb.log import LogWriter, read_log
from trellis_celery.stores.dynamodb.recent import Recent
from trellis_celery.stores.dynamodb.values import Item, expressions, packed_item, query

#: So many steps that stand in an index fit into the transaction that makes or removes their process.
STEPS_IN_TRANSACTION = 80
#: What is written before the head is not taken for left over until so much later, ms.
UNBORN_MS = 600_000

#: Heads and steps of definitions that are remembered.
RECENT_HEADS = 10_000
RECENT_STEPS = 50_000


class Processes:
    def __init__(self, calls: Calls, clock: Clock, log: LogWriter) -> None:
        self._calls = calls
        self._clock = clock
        self._log = log
        self.heads: Recent[Head] = Recent(capacity=RECENT_HEADS)
        self._definitions: Recent[Definition] = Recent(capacity=RECENT_STEPS)

    # Create

    def create(self, process: Process, *, replaces: str | None) -> str:
        definition = Definition.of(process)
        parts = dump_definition(process.id, definition)
        head = Head.of(process, definition_parts=len(parts))
        timed = [record for record in (process.own, *process.steps.values()) if record.deadline_ms is not None]
        is_long = len(timed) > STEPS_IN_TRANSACTION or len(parts) > definitions.PARTS_IN_TRANSACTION
        if is_long:
            if (there := self._there_already(process, replaces)) is not None:
                return there
            self._calls.put_many(parts + self._step_items(process, timed, is_unborn=True))
        there = self._make(head, replaces, [] if is_long else parts + self._step_items(process, timed))
        if there is None:
            self._remember(head)
            self._remember_definition(process.id, definition)
            return process.id
        if is_long and there != process.id:
            self.sweep(process.id)
        return there

    def _make(self, head: Head, replaces: str | None, others: Sequence[Item]) -> str | None:
        """One transaction. If there is a process already that forbids it: its id."""
        table, process_id = self._calls.table, head.process_id
        live = {**keys.live(head.key).packed, **packed_item(process_id=process_id)}
        free = "attribute_not_exists(#pk)" + (" OR #process_id = :replaces" if replaces else "")
        started = Event(EventKind.PROCESS_STARTED, OWN_RECORD, 0, head.started_at_ms)
        writes = [
            {"Put": {"TableName": table, "Item": live, **expressions(condition=free, replaces=replaces or None)}},
            {
                "Put": {
                    "TableName": table,
                    "Item": head.item(),
                    **expressions(condition="attribute_not_exists(#pk)"),
                }
            },
            *({"Put": {"TableName": table, "Item": item}} for item in others),
            *self._log.writes_of(process_id, OWN_RECORD, 0, [started], now_ms=self._clock.now_ms()),
        ]
        try:
            self._calls.transact(writes)
        except ConditionFailed as failed:
            holder = failed.found.get(0)
            return process_id if holder is None else str(holder["process_id"]["S"])
        return None

    def _there_already(self, process: Process, replaces: str | None) -> str | None:
        live_id = self.find(process.key)
        if live_id is not None and live_id != replaces:
            return live_id
        return None if self._calls.get(keys.head(process.id)) is None else process.id

    def _step_items(
        self, process: Process, timed: Sequence[ProcessStep], *, is_unborn: bool = False
    ) -> list[dict[str, Any]]:
        unborn_until_ms = self._clock.now_ms() + UNBORN_MS if is_unborn else None
        return [steps.first_item(process.id, record, unborn_until_ms=unborn_until_ms) for record in timed]

    # Read

    def load(self, process_id: str) -> Process:
        """Raises ProcessNotFound, CorruptRecord."""
        if not is_process_id(process_id):
            raise errors.ProcessNotFound(process_id=process_id)
        items = self._items(query("#pk = :pk AND #sk >= :sk", pk=process_id, sk=keys.HEAD))
        found = {str(item["sk"]["S"]): item for item in items}
        head, definition = self._read(process_id, found)
        records = {}
        for name in definition.records:
            item = found.get(keys.step(process_id, name).sk)
            record = None if item is None else steps.read_step(StepKey(process_id, name), item)
            records[name] = record or definition.record(name)
        own = records.pop(OWN_RECORD)
        if own is None:
            raise errors.CorruptRecord(key=process_id, problem="it has no record of its own")
        return Process(
            id=process_id,
            key=head.key,
            steps={name: record for name, record in records.items() if record is not None},
            own=own,
            started_at_ms=head.started_at_ms,
            metadata=definition.metadata,
        )

    def head(self, process_id: str) -> Head | None:
        """As it is now. Raises CorruptRecord."""
        item = self._calls.get(keys.head(process_id))
        return None if item is None else self._remember(read_head(process_id, item))

    def definition(self, process_id: str) -> Definition | None:
        """Of a process that was there, without the metadata. Raises CorruptRecord."""
        if (known := self._definitions.get(process_id)) is not None:
            return known
        found = {str(item["sk"]["S"]): item for item in self._items(_below(process_id, keys.HEAD))}
        if keys.HEAD not in found:
            return None
        return self._read(process_id, found)[1]

    def _remember_definition(self, process_id: str, definition: Definition) -> Definition:
        """It never changes. The metadata would only take up memory."""
        self._definitions.put(process_id, replace(definition, metadata={}), weight=len(definition.records))
        return definition

    def find(self, key: BusinessKey) -> str | None:
        item = self._calls.get(keys.live(key))
        return None if item is None else str(item["process_id"]["S"])

    def load_steps(self, wanted: Sequence[StepKey]) -> list[ProcessStep | Exception | None]:
        ours = [key for key in wanted if is_process_id(key.process_id)]
        found = self._calls.get_many(chain.from_iterable((keys.step(*key), keys.head(key.process_id)) for key in ours))
        there = [key for key in dict.fromkeys(ours) if keys.head(key.process_id) in found]
        first = {key.process_id for key in there if keys.step(*key) not in found}
        defined = dict(zip(first, self._calls.parallel(self._definition_or_error, list(first)), strict=True))
        records = {key: _record(key, found.get(keys.step(*key)), defined.get(key.process_id)) for key in there}
        return [records.get(key) for key in wanted]

    def _definition_or_error(self, process_id: str) -> Definition | errors.CorruptRecord | None:
        try:
            return self.definition(process_id)
        except errors.CorruptRecord as error:
            return error

    def history(self, process_id: str) -> list[Event]:
        """The process's log; nothing of what a deletion that was broken off has left of it. Raises CorruptRecord."""
        found = self._items(_below(process_id, keys.LOG))
        return read_log(found) if found and self._calls.get(keys.head(process_id)) is not None else []

    def _items(self, condition: dict[str, Any]) -> list[Item]:
        return [item for page in self._calls.pages(**condition, ConsistentRead=True) for item in page["Items"]]

    def _read(self, process_id: str, found: dict[str, Item]) -> tuple[Head, Definition]:
        if keys.HEAD not in found:
            raise errors.ProcessNotFound(process_id=process_id)
        head = self._remember(read_head(process_id, found[keys.HEAD]))
        parts = [keys.definition(process_id, part).sk for part in range(head.definition_parts)]
        there = [found[part] for part in parts if part in found]
        definition = load_definition(process_id, there, parts=head.definition_parts)
        return head, self._remember_definition(process_id, definition)

    def _remember(self, head: Head) -> Head:
        self.heads.put(head.process_id, head)
        return head

    # Delete

    def delete(self, process_id: str, *, finished_since_ms: int | None) -> bool:
        if not is_process_id(process_id):
            return False
        end_s = self._calls.end_s()
        while time.monotonic() < end_s:
            item = self._calls.get(keys.head(process_id))
            if item is None:
                if finished_since_ms is None:
                    self.sweep(process_id)
                return False
            try:
                head = read_head(process_id, item)
            except errors.CorruptRecord:
                head = None
            is_then = "finished" in item and item["since_ms"].get("N") == str(finished_since_ms)
            if finished_since_ms is not None and not is_then:
                return False
            try:
                self._calls.transact(self._removal(process_id, item, head), until_s=end_s)
            except ConditionFailed:
                continue  # it was changed meanwhile
            self.heads.forget(process_id)
            self.sweep(process_id)
            return True
        raise errors.StoreUnavailable(f"process {process_id} is changed all the time and cannot be deleted now")

    def _removal(self, process_id: str, item: Item, head: Head | None) -> list[dict[str, Any]]:
        table = self._calls.table
        same = "attribute_exists(#pk)"
        values: dict[str, Any] = {}
        if head is not None:
            same += " AND #present = :present AND #since_ms = :since_ms"
            values = {"present": head.present, "since_ms": head.since_ms}
        key = keys.head(process_id).packed
        writes = [{"Delete": {"TableName": table, "Key": key, **expressions(condition=same, **values)}}]
        if head is not None and self.find(head.key) == process_id:
            live = keys.live(head.key).packed
            held = expressions(condition="#process_id = :process_id", process_id=process_id)
            writes.append({"Delete": {"TableName": table, "Key": live, **held}})
        # Those in an index go with the head: a deadline without a process would keep the checker busy.
        found = self._items(_below(process_id, keys.STEP, projection="#sk, #due, #lease"))
        timed = [Key(process_id, str(step["sk"]["S"])).packed for step in found if step.keys() & {"due", "lease"}]
        return writes + [{"Delete": {"TableName": table, "Key": key}} for key in timed[:STEPS_IN_TRANSACTION]]

    def sweep(self, process_id: str) -> None:
        """Remove what lies under the id of a process that is not there."""
        found = self._items(query("#pk = :pk", projection="#sk", pk=process_id))
        self._calls.delete_many(Key(process_id, str(item["sk"]["S"])) for item in found)


def _below(process_id: str, prefix: str, *, projection: str = "") -> dict[str, Any]:
    return query("#pk = :pk AND begins_with(#sk, :sk)", projection=projection, pk=process_id, sk=prefix)


def _record(
    key: StepKey, item: Item | None, defined: Definition | errors.CorruptRecord | None
) -> ProcessStep | Exception | None:
    if isinstance(defined, Exception) and item is None:
        return defined
    try:
        if item is not None:
            return steps.read_step(key, item)
        return None if not isinstance(defined, Definition) else defined.record(key.step_name)
    except errors.CorruptRecord as error:
        return error
