"""A process repository in DynamoDB, beside a tracker repository anywhere.

A write is made from the head as it is and one transaction that demands its version. Where a transaction cannot hold all
of it, groups are written before the head, or removed after it, and an item tells whoever looks for what is due, later,
that something may have been left over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from trellis_celery import errors
from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import BusinessKey, is_process_id
from trellis_celery.domain.process import OWN_RECORD, Process
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessSummary
from trellis_celery.logs import EventLogger
from trellis_celery.ports import Clock
from trellis_celery.repositories import ProcessRepository
from trellis_celery.stores import codec
from trellis_celery.stores.dynamodb import keys
from trellis_celery.stores.dynamodb.calls import Calls, ConditionFailed
from trellis_celery.stores.dynamodb.connect import DEFAULT_TABLE
from trellis_celery.stores.dynamodb.lists import Lists
from trellis_celery.stores.dynamodb.log import LogWriter, read_log
from trellis_celery.stores.dynamodb.repositories import process_items
from trellis_celery.stores.dynamodb.repositories.entries import Entries, Entry
from trellis_celery.stores.dynamodb.repositories.groups import Contents
from trellis_celery.stores.dynamodb.repositories.known_groups import WRITES_IN_TRANSACTION, KnownGroups
from trellis_celery.stores.dynamodb.repositories.leftovers import Leftovers
from trellis_celery.stores.dynamodb.repositories.process_items import StoredHead, dump_head, load_head
from trellis_celery.stores.dynamodb.values import expressions, packed_item, query

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

logger = EventLogger(__name__)

#: What changes while it is read is read again so many times.
READINGS = 10

#: The places of the writes in a transaction.
_HEAD, _LIVE = range(2)


class DynamoDBProcessRepository(ProcessRepository):
    """Processes in one table of DynamoDB: see `tables.create_tables`. Threads may share it, and forked processes.

    client
        From `connect`, or boto3's own. Its timeouts and its own tries must fit into `timeout_ms`.
    timeout_ms
        The most that one call to DynamoDB may take with its repetitions.
    clock
        The time it goes by; if left out this machine's, kept within the second that DynamoDB tells with each reply.

    Lists and what is due show a write a moment late. `add` and `save` recognise their own repetition when the reply to
    one was lost.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        *,
        table: str = DEFAULT_TABLE,
        timeout_ms: int = 2_000,
        clock: Clock | None = None,
    ) -> None:
        self._calls = Calls(client, table=table, timeout_ms=timeout_ms)
        self._clock: Clock = self._calls if clock is None else clock
        self._log = LogWriter(table)
        self._groups = KnownGroups(self._calls)
        self._leftovers = Leftovers(self._calls, self._clock)
        self._lists = Lists(self._calls, prefix=process_items.PREFIX)
        self._entries = Entries(self._calls)

    @property
    def calls(self) -> Calls:
        """By which it reaches its table."""
        return self._calls

    def now_ms(self) -> int:
        return self._clock.now_ms()

    # Write

    def add(self, process: Process, events: Sequence[Event] = (), *, replaces: str | None = None) -> None:
        """Raises DefinitionError if the metadata are not JSON values."""
        is_free = "attribute_not_exists(#pk)" + (" OR #process_id = :replaces" if replaces else "")
        condition = expressions(condition=is_free, replaces=replaces or None)
        failed = self._write(process, events, stored=None, live=self._live(process, condition))
        if failed is not None:
            holder = failed.found.get(_LIVE)
            exists = process.id if _HEAD in failed.found or holder is None else str(holder["process_id"]["S"])
            raise errors.ProcessExists(process_id=exists)

    def save(self, process: Process, events: Sequence[Event] = ()) -> None:
        """Writes the head and the groups of steps that changed. Raises DefinitionError if the metadata are not JSON."""
        end_s = self._calls.end_s()
        while time.monotonic() < end_s:
            stored, holder = self._head_and_holder(process)
            if stored is None or stored.version != process.version - 1:
                raise _stale(process)
            failed = self._write(process, events, stored=stored, live=self._live_after(process, holder))
            if failed is None:
                return
            if _HEAD in failed.found:
                raise _stale(process)
        raise errors.StoreUnavailable(f"the business key of process {process.id} changes hands all the time")

    def _head_and_holder(self, process: Process) -> tuple[StoredHead | None, str | None]:
        head, live = process_items.head(process.id), process_items.live(process.key)
        found = self._calls.get_many([head, live])
        stored = load_head(process.id, found[head]) if head in found else None
        return stored, str(found[live]["process_id"]["S"]) if live in found else None

    def _live(self, process: Process, condition: dict[str, Any]) -> dict[str, Any]:
        """The write by which a new process takes its business key."""
        table, key = self._calls.table, process_items.live(process.key).packed
        if process.state.is_terminal:
            return {"ConditionCheck": {"TableName": table, "Key": key, **condition}}
        return {"Put": {"TableName": table, "Item": {**key, **packed_item(process_id=process.id)}, **condition}}

    def _live_after(self, process: Process, holder: str | None) -> dict[str, Any] | None:
        """The write by which a stored one takes its business key or lets go of it, if there is one to make."""
        if not process.state.is_terminal:
            free = expressions(condition="attribute_not_exists(#pk)")
            return None if holder is not None else self._live(process, free)
        return None if holder != process.id else self._release(process.id, process.key)

    def _release(self, process_id: str, key: BusinessKey) -> dict[str, Any]:
        mine = expressions(condition="#process_id = :process_id", process_id=process_id)
        return {"Delete": {"TableName": self._calls.table, "Key": process_items.live(key).packed, **mine}}

    def _write(
        self, process: Process, events: Sequence[Event], *, stored: StoredHead | None, live: dict[str, Any] | None
    ) -> ConditionFailed | None:
        """The conditions that failed; None if it is written, by this call or by a try of it that went unanswered."""
        table, token, now_ms = self._calls.table, uuid4().hex, self.now_ms()
        since_ms = 0 if stored is None else stored.summary.since_ms
        if process.state.is_terminal:
            since_ms = max(now_ms, since_ms + 1)
        rewriting = self._groups.rewriting(process, () if stored is None else stored.groups, label=token[:16])
        head = dump_head(process, since_ms=since_ms, groups=rewriting.groups, token=token)
        condition = "attribute_not_exists(#pk)" if stored is None else "#version = :old_version"
        is_same = expressions(condition=condition, old_version=None if stored is None else stored.version)
        partition = process_items.partition(process.id)
        writes: list[dict[str, Any]] = [
            {"Put": {"TableName": table, "Item": head, **is_same}},
            *([] if live is None else [live]),
            *self._log.writes_of(partition, OWN_RECORD, process.version, events, now_ms=now_ms),
        ]
        if rewriting.fits_into_transaction:
            writes += [{"Put": {"TableName": table, "Item": item}} for item in rewriting.items]
            writes += [{"Delete": {"TableName": table, "Key": key.packed}} for key in rewriting.old]
        else:
            self._leftovers.expect(process.id)
            self._calls.put_many(rewriting.items)
        try:
            self._calls.transact(writes)
        except ConditionFailed as failed:
            if (failed.found.get(_HEAD) or {}).get("token") != {"S": token}:
                return failed
        self._groups.remember(rewriting)
        return None

    def delete(self, process_id: str, *, version: int, finished_since_ms: int | None = None) -> bool:
        end_s = self._calls.end_s()
        while time.monotonic() < end_s:
            stored = self._head(process_id)
            if stored is None or stored.version != version:
                return False
            since_ms = stored.summary.since_ms if stored.is_terminal else None
            if finished_since_ms not in (None, since_ms):
                return False
            try:
                self._remove(process_id, stored)
            except ConditionFailed as failed:
                if failed.may_be_done and failed.found.get(_HEAD, failed) is None:
                    return True
            else:
                return True
        raise errors.StoreUnavailable(f"process {process_id} is changed all the time and cannot be deleted now")

    def _remove(self, process_id: str, stored: StoredHead) -> None:
        """Raises ConditionFailed."""
        table, head = self._calls.table, process_items.head(process_id)
        same = expressions(condition="#version = :old_version", old_version=stored.version)
        writes: list[dict[str, Any]] = [{"Delete": {"TableName": table, "Key": head.packed, **same}}]
        if self._holder(stored.summary.key) == process_id:
            writes.append(self._release(process_id, stored.summary.key))
        rest = [key for key in self._leftovers.keys_below(process_id) if key != head]
        is_short = len(rest) <= WRITES_IN_TRANSACTION
        if is_short:
            writes += [{"Delete": {"TableName": table, "Key": key.packed}} for key in rest]
        else:
            writes.append({"Put": self._leftovers.sign(process_id, due_ms=self.now_ms())})
        self._calls.transact(writes)
        if not is_short:
            self._leftovers.clear(process_id)

    # Read

    def get_by_id(self, process_id: str) -> Process | None:
        for reading in range(READINGS):
            if reading:
                time.sleep(0.001 * reading)  # let the writer come to its end
            if (stored := self._head(process_id)) is None:
                return None
            if (contents := self._groups.read(process_id, stored.groups)) is not None:
                return _process(process_id, stored, contents)
        raise errors.CorruptRecord(key=process_id, problem="of its groups of steps some are missing")

    def _head(self, process_id: str) -> StoredHead | None:
        if not is_process_id(process_id):
            return None
        item = self._calls.get(process_items.head(process_id))
        return None if item is None else load_head(process_id, item)

    def _holder(self, key: BusinessKey) -> str | None:
        item = self._calls.get(process_items.live(key))
        return None if item is None else str(item["process_id"]["S"])

    def get_by_aggregate(self, key: BusinessKey) -> Process | None:
        for _ in range(READINGS):
            holder = self._holder(key)
            if holder is None:
                return None
            process = self.get_by_id(holder)
            if process is not None and not process.state.is_terminal:
                return process
        raise errors.CorruptRecord(key=str(holder), problem="it holds a business key and is not live")

    def history(self, process_id: str) -> list[Event]:
        if not is_process_id(process_id):
            return []
        below = query("#pk = :pk AND begins_with(#sk, :log)", pk=process_items.partition(process_id), log=keys.LOG)
        found = [item for page in self._calls.pages(**below, ConsistentRead=True) for item in page["Items"]]
        # A deletion that was broken off may have left a part of it.
        return read_log(found) if found and self._calls.get(process_items.head(process_id)) is not None else []

    # All of them

    def list_newest(self, only: ProcessFilter, *, limit: int, after: Position | None) -> list[ProcessSummary]:
        return self._lists.list_processes(only, limit=limit, after=after)

    def all_timed_out(self, *, now_ms: int, limit: int) -> list[Process]:
        partitions = [process_items.clock_partition(shard) for shard in keys.ALL_LIST_SHARDS]
        entries = islice(self._entries.until("due", partitions, now_ms=now_ms, page=limit), limit)
        found = self._calls.parallel(self._late, list(entries))
        late = [each for each in found if each is not None and (each.next_deadline_ms or now_ms + 1) <= now_ms]
        return sorted(late, key=lambda each: each.next_deadline_ms or 0)

    def _late(self, entry: Entry) -> Process | None:
        """The process that the entry stands for, if it does. A damaged one must not hide the others."""
        process_id = process_items.process_of(entry.key.pk)
        try:
            if entry.key == process_items.head(process_id) and is_process_id(process_id):
                return self.get_by_id(process_id)
            if entry.key == process_items.leftovers(process_id):
                self._leftovers.clear(process_id)
            else:
                self._entries.discard("due", entry)
        except errors.CorruptRecord:
            logger.exception("process_unusable", extra={"process_id": process_id})
        return None

    def finished(
        self, *, is_archived: bool, until_ms: int | None, limit: int, after: Finished | None
    ) -> list[Finished]:
        return self._lists.finished(is_archived=is_archived, until_ms=until_ms, limit=limit, after=after)

    def count_finished(self, *, is_archived: bool) -> int:
        return self._lists.count_finished(is_archived=is_archived)

    def mark_archived(self, finished: Sequence[Finished]) -> None:
        self._lists.mark_archived(finished)


def _process(process_id: str, stored: StoredHead, contents: Sequence[Contents]) -> Process:
    metadata, *groups = contents
    steps = (step for group in groups if isinstance(group, tuple) for step in group)
    return Process(
        id=process_id,
        key=stored.summary.key,
        steps={step.name: step for step in steps},
        own=stored.own,
        started_at_ms=stored.summary.started_at_ms,
        metadata=codec.load_json(metadata) if isinstance(metadata, bytes) else {},
        version=stored.version,
    )


def _stale(process: Process) -> errors.StaleWrite:
    return errors.StaleWrite(process_id=process.id, version=process.version)
